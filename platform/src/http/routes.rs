//! The route table: no route without an access, none missing from the API description.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use protocol::{ErrorBody, ErrorCode, Scope};
use utoipa::openapi::path::{
    Operation as Described, Parameter, ParameterBuilder, ParameterIn, PathItem,
};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    Content, InfoBuilder, LicenseBuilder, OpenApi, Ref, Required, ResponseBuilder,
};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use super::access::Access;
use super::guard::{Gate, GuardLayer};
use super::operation::Operation;
use crate::app::App;
use crate::error::{Error, Refused};

/// The routes of one domain.
pub struct Routes {
    domain: &'static str,
    rows: Vec<Row>,
}

struct Row {
    access: Access,
    is_hot: bool,
    route: UtoipaMethodRouter<App>,
}

impl Routes {
    /// Starts the table of a domain; its name becomes the tag in the API description.
    pub fn new(domain: &'static str) -> Self {
        Self {
            domain,
            rows: Vec::new(),
        }
    }

    /// Adds a route: who may call it, and its handler as `routes!(handler)`.
    pub fn route(self, access: Access, route: UtoipaMethodRouter<App>) -> Self {
        self.add(access, false, route)
    }

    /// Adds a route of the hot path, which has a rate limit of its own.
    pub fn hot(self, access: Access, route: UtoipaMethodRouter<App>) -> Self {
        self.add(access, true, route)
    }

    fn add(mut self, access: Access, is_hot: bool, route: UtoipaMethodRouter<App>) -> Self {
        // `routes!(a, b)` with two different paths would mount both handlers on both.
        assert_eq!(
            route.1.paths.len(),
            1,
            "one path a row in the routes of {}",
            self.domain
        );
        self.rows.push(Row {
            access,
            is_hot,
            route,
        });
        self
    }

    /// Puts a guard in front of every handler.
    pub fn mount(self, app: &App) -> Router<App> {
        let mut router = Router::new();
        for Row {
            access,
            is_hot,
            route: (_, mut paths, methods),
        } in self.rows
        {
            let (path, item) = paths.paths.iter_mut().next().expect("one path a row");
            let operation = operations(item)
                .find_map(|(_, described)| described.operation_id.clone())
                .expect("every handler has an operation id");
            let gate = Gate {
                app: app.clone(),
                access,
                is_hot,
                operation: Operation::named(operation),
            };
            router = router.route(path, methods.layer(GuardLayer(Arc::new(gate))));
        }
        router
    }

    /// Writes the same facts into the description of the API.
    fn describe(self, mut whole: OpenApiRouter<App>) -> OpenApiRouter<App> {
        for Row {
            access,
            route: (schemas, mut paths, methods),
            ..
        } in self.rows
        {
            let (path, item) = paths.paths.iter_mut().next().expect("one path a row");
            for (method, described) in operations(item) {
                describe(described, self.domain, access, path, method);
            }
            whole = whole.routes((schemas, paths, methods));
        }
        whole
    }
}

/// The description of the whole API, from the same tables that are mounted.
pub fn describe_all(tables: Vec<Routes>) -> OpenApi {
    let mut whole = OpenApiRouter::<App>::default();
    for table in tables {
        whole = table.describe(whole);
    }
    let mut described = whole.into_openapi();
    described.info = InfoBuilder::new()
        .title("Stint")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Records tasks and hands them out to workers."))
        .license(Some(LicenseBuilder::new().name("Apache-2.0").build()))
        .build();
    let components = described.components.get_or_insert_default();
    let mut schemas = vec![];
    ErrorBody::schemas(&mut schemas);
    schemas.push((ErrorBody::name().into_owned(), ErrorBody::schema()));
    components.schemas.extend(schemas);
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("st_<scope>_<secret>")
        .description(Some(scopes_in_words()))
        .build();
    components
        .security_schemes
        .insert("key".to_owned(), SecurityScheme::Http(scheme).into());
    described
}

/// The operations of a path with their methods.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Described)> {
    [
        ("get", item.get.as_mut()),
        ("post", item.post.as_mut()),
        ("put", item.put.as_mut()),
        ("patch", item.patch.as_mut()),
        ("delete", item.delete.as_mut()),
    ]
    .into_iter()
    .filter_map(|(method, described)| Some((method, described?)))
}

/// Writes what is uniform: tag, security, idempotency header, path parameters, error answers.
fn describe(operation: &mut Described, domain: &str, access: Access, path: &str, method: &str) {
    operation.tags = Some(vec![domain.to_owned()]);
    let mut refusals = vec![
        ("400", "The request cannot be understood"),
        ("500", "Our fault"),
    ];
    if !matches!(access, Access::Public) {
        operation.security = Some(vec![SecurityRequirement::new::<_, [String; 1], _>(
            "key",
            [access.describe()],
        )]);
        refusals.extend([
            ("401", "No valid key"),
            ("403", "The key does not allow this"),
            ("429", "Too much at once; see Retry-After"),
            ("503", "Not now; see Retry-After"),
        ]);
    }
    let parameters = operation.parameters.get_or_insert_default();
    for name in path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    {
        if !parameters
            .iter()
            .any(|known| parameter_name(known) == Some(name))
        {
            parameters.push(path_parameter(name).into());
        }
    }
    // Bodies name things too.
    let changes = method != "get" && !matches!(access, Access::Public);
    if path.contains('{') || changes {
        refusals.push(("404", "No such thing in this tenant"));
    }
    if method != "get" {
        parameters.push(
            ParameterBuilder::new()
                .name("Idempotency-Key")
                .parameter_in(ParameterIn::Header)
                .required(Required::False)
                .description(Some(
                    "Makes the request safe to repeat; the same as request_id in the body",
                ))
                .schema(Some(
                    ObjectBuilder::new()
                        .schema_type(Type::String)
                        .max_length(Some(255)),
                ))
                .build()
                .into(),
        );
        refusals.extend([
            (
                "409",
                "Something else has happened in between; see details.reason_code",
            ),
            ("413", "The body is too large"),
            ("415", "The body is not JSON"),
            ("422", "The body does not fit"),
        ]);
    }
    for (status, description) in refusals {
        operation
            .responses
            .responses
            .entry(status.to_owned())
            .or_insert_with(|| {
                ResponseBuilder::new()
                    .description(description)
                    .content(
                        "application/json",
                        Content::new(Some(Ref::from_schema_name("ErrorBody"))),
                    )
                    .build()
                    .into()
            });
    }
}

fn parameter_name(parameter: &utoipa::openapi::RefOr<Parameter>) -> Option<&str> {
    match parameter {
        utoipa::openapi::RefOr::T(parameter) => Some(&parameter.name),
        utoipa::openapi::RefOr::Ref(_) => None,
    }
}

/// Path parameters are ids, but for the few that name something.
fn path_parameter(name: &str) -> Parameter {
    let schema = ObjectBuilder::new().schema_type(Type::String);
    let schema = if name == "log_id" {
        schema
    } else {
        schema.format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)))
    };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .schema(Some(schema))
        .build()
}

/// 404 for a path that no route has.
pub(crate) async fn no_such_route(request: Request) -> Error {
    Refused::new(
        ErrorCode::NotFound,
        format!("there is no route {}", request.uri().path()),
    )
    .hint("every route is listed at /docs and in /openapi.json")
    .into()
}

/// 405 for a path that exists with other methods.
pub(crate) async fn no_such_method(request: Request) -> Error {
    Refused::new(
        ErrorCode::MethodNotAllowed,
        format!(
            "{} is not possible on {}",
            request.method(),
            request.uri().path()
        ),
    )
    .hint("the header Allow names what is; every route is listed at /docs")
    .into()
}

/// The scope words, for the description of the security scheme.
fn scopes_in_words() -> String {
    let words: Vec<_> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
    format!(
        "`st_<scope>_<secret>`; scopes from least to most: {}",
        words.join(", ")
    )
}

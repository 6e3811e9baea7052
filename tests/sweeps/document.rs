//! The API description, as a list of operations.

use serde_json::{Value, json};
use stint_protocol::Scope;
use stint_tests::{Answer, TestPlatform};

/// The description of the API.
pub(crate) struct Document {
    pub(crate) whole: Value,
    pub(crate) operations: Vec<Operation>,
}

/// One operation of the description.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) id: String,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) described: Value,
}

impl Document {
    /// Reads what a running platform says of itself.
    pub(crate) async fn of(t: &TestPlatform) -> Self {
        let answer = Answer::of(t.request(reqwest::Method::GET, "/openapi.json")).await;
        assert_eq!(answer.status, 200);
        Self::parse(answer.body)
    }

    fn parse(whole: Value) -> Self {
        let mut operations = Vec::new();
        for (path, item) in whole["paths"].as_object().expect("the paths are an object") {
            for method in ["get", "post", "put", "patch", "delete"] {
                if let Some(described) = item.get(method) {
                    operations.push(Operation {
                        id: described["operationId"]
                            .as_str()
                            .expect("an operation has a name")
                            .to_owned(),
                        method: method.to_uppercase(),
                        path: path.clone(),
                        described: described.clone(),
                    });
                }
            }
        }
        assert!(operations.len() > 30, "the description is nearly empty");
        Self { whole, operations }
    }

    /// The operations that change something.
    pub(crate) fn mutations(&self) -> impl Iterator<Item = &Operation> {
        self.operations
            .iter()
            .filter(|operation| operation.changes())
    }

    /// A schema, with the reference at its top followed.
    pub(crate) fn follow<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let mut schema = schema;
        while let Some(reference) = schema["$ref"].as_str() {
            let pointer = reference.strip_prefix('#').expect("references are local");
            schema = self
                .whole
                .pointer(pointer)
                .unwrap_or_else(|| panic!("{reference} leads nowhere"));
        }
        schema
    }

    /// A schema that stands by itself, for a validator.
    pub(crate) fn standalone(&self, schema: &Value) -> Value {
        let mut standalone = schema.clone();
        standalone["components"] = json!({ "schemas": self.whole["components"]["schemas"] });
        standalone
    }
}

impl Operation {
    /// Whether it changes something.
    pub(crate) fn changes(&self) -> bool {
        self.method != "GET"
    }

    /// The domain it belongs to.
    pub(crate) fn tag(&self) -> &str {
        let tags = self.described["tags"].as_array().expect("it has a tag");
        assert_eq!(tags.len(), 1, "{self}");
        tags[0].as_str().expect("a tag is a word")
    }

    /// The scope that the description names; none for a public operation.
    pub(crate) fn scope_in_words(&self) -> Option<&str> {
        let security = self.described.get("security")?;
        Some(
            security[0]["key"][0]
                .as_str()
                .unwrap_or_else(|| panic!("{self} does not name its scope")),
        )
    }

    /// The scopes that may not call it, the strongest first.
    pub(crate) fn scopes_too_weak(&self) -> Vec<Scope> {
        let Some(words) = self.scope_in_words() else {
            return Vec::new();
        };
        let allowed: Vec<Scope> = words
            .split(" or ")
            .map(|word| {
                word.parse()
                    .unwrap_or_else(|_| panic!("{self} names no scope but {words:?}"))
            })
            .collect();
        let is_ladder = allowed.len() == 1;
        Scope::ALL
            .iter()
            .copied()
            .rev()
            .filter(|scope| match is_ladder {
                true => *scope < allowed[0],
                false => !allowed.contains(scope),
            })
            .collect()
    }

    /// The names in its path.
    pub(crate) fn path_parameters(&self) -> Vec<&str> {
        self.path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .collect()
    }

    /// Its path with something put in for each name.
    pub(crate) fn path_with(&self, mut value: impl FnMut(&str) -> String) -> String {
        let parts = self.path.split('/').map(|part| {
            match part
                .strip_prefix('{')
                .and_then(|part| part.strip_suffix('}'))
            {
                Some(name) => value(name),
                None => part.to_owned(),
            }
        });
        parts.collect::<Vec<_>>().join("/")
    }

    /// The schema of its body.
    pub(crate) fn body_schema(&self) -> Option<&Value> {
        self.described
            .pointer("/requestBody/content/application~1json/schema")
    }

    /// The schema of its JSON answer with this status.
    pub(crate) fn answer_schema(&self, status: u16) -> Option<&Value> {
        self.described["responses"]
            .get(status.to_string())?
            .pointer("/content/application~1json/schema")
    }

    /// Whether it answers with a stream that does not end.
    pub(crate) fn streams(&self) -> bool {
        self.described
            .pointer("/responses/200/content/text~1event-stream")
            .is_some()
    }

    /// A request for it, with a key but without a body.
    pub(crate) fn request(
        &self,
        t: &TestPlatform,
        path: &str,
        key: &str,
    ) -> reqwest::RequestBuilder {
        self.request_of_stranger(t, path).bearer_auth(key)
    }

    /// A request for it, without a key or a body.
    pub(crate) fn request_of_stranger(
        &self,
        t: &TestPlatform,
        path: &str,
    ) -> reqwest::RequestBuilder {
        let method = self.method.parse().expect("a method");
        t.request(method, path)
    }
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} {})", self.id, self.method, self.path)
    }
}

/// Refuses an error that does not carry all that an error carries.
#[track_caller]
pub(crate) fn assert_envelope(what: &str, answer: &Answer) {
    let code = answer.error()["code"].as_str().unwrap_or_default();
    let known: stint_protocol::ErrorCode = code
        .parse()
        .unwrap_or_else(|_| panic!("{what}: no known code in {}", answer.text));
    assert_eq!(known.status(), answer.status, "{what}: {}", answer.text);
    for part in ["message", "recovery_hint"] {
        let text = answer.error()[part].as_str().unwrap_or_default();
        assert!(!text.is_empty(), "{what}: no {part} in {}", answer.text);
    }
    let id = answer.header("x-request-id");
    assert!(!id.is_empty(), "{what}: no x-request-id");
    assert_eq!(answer.body["meta"]["request_id"], id, "{what}");
    assert!(answer.body["meta"]["timestamp"].is_string(), "{what}");
    if matches!(answer.status, 429 | 503) {
        assert!(
            !answer.header("retry-after").is_empty(),
            "{what}: no Retry-After"
        );
    }
}

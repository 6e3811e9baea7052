//! The API description, as a list of operations.

use serde_json::Value;
use stint_protocol::Scope;

use crate::http::Answer;
use crate::platform::TestPlatform;

/// The description of the API.
pub struct Document {
    pub whole: Value,
    pub operations: Vec<Operation>,
}

/// One operation of the description.
#[derive(Clone, Debug)]
pub struct Operation {
    pub id: String,
    pub method: String,
    pub path: String,
    pub described: Value,
}

impl Document {
    /// Reads what a running platform says of itself.
    pub async fn of(t: &TestPlatform) -> Self {
        let answer = Answer::of(t.request(reqwest::Method::GET, "/openapi.json")).await;
        assert_eq!(answer.status, 200);
        Self::parse(answer.body)
    }

    pub(crate) fn parse(whole: Value) -> Self {
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
    pub fn mutations(&self) -> impl Iterator<Item = &Operation> {
        self.operations
            .iter()
            .filter(|operation| operation.changes())
    }

    /// A schema, with the reference at its top followed.
    pub fn follow<'a>(&'a self, schema: &'a Value) -> &'a Value {
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
}

impl Operation {
    /// Whether it changes something.
    pub fn changes(&self) -> bool {
        self.method != "GET"
    }

    /// The domain it belongs to.
    pub fn tag(&self) -> &str {
        let tags = self.described["tags"].as_array().expect("it has a tag");
        assert_eq!(tags.len(), 1, "{self}");
        tags[0].as_str().expect("a tag is a word")
    }

    /// The scope that the description names; none for a public operation.
    pub fn scope_in_words(&self) -> Option<&str> {
        let security = self.described.get("security")?;
        Some(
            security[0]["key"][0]
                .as_str()
                .unwrap_or_else(|| panic!("{self} does not name its scope")),
        )
    }

    /// The scopes that may not call it, the strongest first.
    pub fn scopes_too_weak(&self) -> Vec<Scope> {
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
    pub fn path_parameters(&self) -> Vec<&str> {
        self.path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .collect()
    }

    /// Its path with something put in for each name.
    pub fn path_with(&self, mut value: impl FnMut(&str) -> String) -> String {
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
    pub fn body_schema(&self) -> Option<&Value> {
        self.described
            .pointer("/requestBody/content/application~1json/schema")
    }

    /// Whether it answers with a stream that does not end.
    pub fn streams(&self) -> bool {
        self.described
            .pointer("/responses/200/content/text~1event-stream")
            .is_some()
    }

    /// A request for it, with a key but without a body.
    pub fn request(&self, t: &TestPlatform, path: &str, key: &str) -> reqwest::RequestBuilder {
        self.request_of_stranger(t, path).bearer_auth(key)
    }

    /// A request for it, without a key or a body.
    pub fn request_of_stranger(&self, t: &TestPlatform, path: &str) -> reqwest::RequestBuilder {
        let method = self.method.parse().expect("a method");
        t.request(method, path)
    }
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} {})", self.id, self.method, self.path)
    }
}

//! What a launch must give, and whether it does.

use std::collections::BTreeMap;

use protocol::MistakeCode;
use serde_json::{Map, Value};

use crate::graph::Type;
use crate::graph::fields::{Fields, suggestion, type_name};

/// Parameters of one playbook.
const PARAMETERS_MAX: usize = 200;
/// Mistakes of a launch that are told of at once.
const FAULTS_MAX: usize = 100;

/// What a launch must give: a list of texts as in a form, a JSON Schema, or both.
#[derive(Clone, Debug, Default)]
pub struct Parameters {
    /// The fields of the form.
    pub list: Vec<Parameter>,
    /// A JSON Schema of the whole.
    pub schema: Option<Value>,
}

/// A field of the form of a launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub slug: String,
    /// For people.
    pub title: String,
    /// Whether it must be given.
    pub required: bool,
}

impl Parameters {
    /// Reads `parameters` and `parameters_schema`.
    pub(super) fn read(fields: &mut Fields<'_>) -> Self {
        let mut list: Vec<Parameter> = Vec::new();
        for (path, item) in fields.list("parameters", 0..=PARAMETERS_MAX) {
            if let Some(parameter) = Fields::of(item, path, fields.mistakes()) {
                list.extend(Parameter::read(parameter, &list));
            }
        }
        let schema = crate::graph::schema(fields, "parameters_schema").cloned();
        if let Some(schema) = &schema
            && !Type::of_schema(schema).may_be(&Type::closed(BTreeMap::new()))
        {
            let message = "must describe an object: parameters have names";
            let hint = "give it \"type\": \"object\" and properties";
            fields.mistake("parameters_schema", MistakeCode::WrongType, message, hint);
        }
        Self { list, schema }
    }

    /// What is known about the parameters before there are any.
    pub fn known(&self) -> Type {
        let mut members: BTreeMap<String, Type> = BTreeMap::new();
        let mut is_closed = true;
        if let Some(schema) = &self.schema {
            match Type::of_schema(schema) {
                Type::Object {
                    members: described,
                    is_closed: closed,
                } => {
                    members.extend(described);
                    is_closed = closed;
                }
                _ => is_closed = false,
            }
        }
        for parameter in &self.list {
            let known = members.entry(parameter.slug.clone());
            // What need not be given may be null.
            known.or_insert(if parameter.required {
                Type::Text
            } else {
                Type::Any
            });
        }
        Type::Object { members, is_closed }
    }
}

impl Parameter {
    fn read(mut fields: Fields<'_>, earlier: &[Self]) -> Option<Self> {
        let slug = fields.required_text("slug", 1..=120);
        let title = fields.required_text("title", 1..=255);
        let required = fields.flag("required").unwrap_or(false);
        if let Some(slug) = slug {
            if !is_slug(slug) {
                let message = format!("{slug:?} cannot be the name of a parameter");
                let hint = "small letters, digits, underscores and hyphens, beginning with a letter or digit";
                fields.mistake("slug", MistakeCode::OutOfRange, message, hint);
            }
            if earlier.iter().any(|earlier| earlier.slug == slug) {
                let message = format!("there are two parameters {slug:?}");
                let hint = "give each a name of its own";
                fields.mistake("slug", MistakeCode::Duplicate, message, hint);
            }
        }
        fields.finish();
        Some(Self {
            slug: slug?.to_owned(),
            title: title?.to_owned(),
            required,
        })
    }
}

fn is_slug(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.bytes().next().is_some_and(plain)
        && text
            .bytes()
            .all(|byte| plain(byte) || byte == b'_' || byte == b'-')
}

/// What is wrong with one field of a launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterFault {
    /// Which field, such as `parameters.folder`.
    pub path: String,
    /// What is wrong with it.
    pub message: String,
}

/// Checks what a launch gives, and returns what the run then reads as `input`.
///
/// Texts are trimmed. What the list names and the launch leaves out is null; what the schema names with a
/// `default` has that.
///
/// # Errors
/// What is wrong, field by field.
pub fn check_parameters(
    parameters: &Parameters,
    given: &Map<String, Value>,
) -> Result<Map<String, Value>, Vec<ParameterFault>> {
    let mut faults = Vec::new();
    let mut fault = |path: String, message: String| faults.push(ParameterFault { path, message });
    let mut taken = Map::new();
    let described = parameters.schema.is_some();
    for (name, value) in given {
        let path = format!("parameters.{name}");
        let listed = parameters.list.iter().any(|known| known.slug == *name);
        if listed && !described {
            let Some(text) = value.as_str() else {
                fault(path, format!("must be a text, is {}", type_name(value)));
                continue;
            };
            taken.insert(name.clone(), text.trim().into());
        } else if listed || described {
            taken.insert(name.clone(), value.clone());
        } else {
            let known = parameters.list.iter().map(|known| known.slug.as_str());
            let hint = suggestion(name, known.clone()).unwrap_or_else(|| {
                let known: Vec<_> = known.collect();
                if known.is_empty() {
                    "this playbook has no parameters".to_owned()
                } else {
                    format!("there are {}", known.join(", "))
                }
            });
            fault(path, format!("there is no such parameter; {hint}"));
        }
    }
    for parameter in parameters
        .list
        .iter()
        .filter(|parameter| parameter.required)
    {
        let value = taken.get(&parameter.slug);
        let is_blank = value.is_none_or(|value| value.is_null() || value.as_str() == Some(""));
        let is_told = given
            .get(&parameter.slug)
            .is_some_and(|value| !value.is_string());
        if is_blank && !is_told {
            let path = format!("parameters.{}", parameter.slug);
            fault(path, format!("must be given: {}", parameter.title));
        }
    }
    if let Some(schema) = &parameters.schema {
        let described = schema.get("properties").and_then(Value::as_object);
        for (name, property) in described.into_iter().flatten() {
            if let Some(default) = property
                .get("default")
                .filter(|_| !taken.contains_key(name))
            {
                taken.insert(name.clone(), default.clone());
            }
        }
        let whole = Value::Object(taken.clone());
        // It was checked when the playbook was stored.
        if let Ok(validator) = jsonschema::validator_for(schema) {
            for error in validator.iter_errors(&whole).take(FAULTS_MAX) {
                let below = error.instance_path().to_string().replace('/', ".");
                fault(format!("parameters{below}"), error.to_string());
            }
        }
    }
    if faults.is_empty() {
        for parameter in &parameters.list {
            taken.entry(parameter.slug.clone()).or_insert(Value::Null);
        }
        Ok(taken)
    } else {
        faults.truncate(FAULTS_MAX);
        Err(faults)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn form() -> Parameters {
        let parameter = |slug: &str, required| Parameter {
            slug: slug.to_owned(),
            title: slug.to_uppercase(),
            required,
        };
        Parameters {
            list: vec![parameter("folder", true), parameter("title", false)],
            schema: None,
        }
    }

    fn check(parameters: &Parameters, given: Value) -> Result<Value, Vec<String>> {
        check_parameters(parameters, given.as_object().expect("an object is given"))
            .map(Value::Object)
            .map_err(|faults| faults.into_iter().map(|fault| fault.path).collect())
    }

    #[test]
    fn texts_are_trimmed_and_what_is_required_must_be_there() {
        let taken = check(&form(), json!({"folder": " /srv ", "title": ""})).unwrap();
        assert_eq!(taken, json!({"folder": "/srv", "title": ""}));
        let taken = check(&form(), json!({"folder": "x"})).unwrap();
        assert_eq!(taken, json!({"folder": "x", "title": null}));
        assert_eq!(
            check(&form(), json!({})).unwrap_err(),
            ["parameters.folder"]
        );
        assert_eq!(
            check(&form(), json!({"folder": "  "})).unwrap_err(),
            ["parameters.folder"]
        );
    }

    #[test]
    fn every_field_that_does_not_fit_is_named_once() {
        let faults = check(&form(), json!({"folder": 7, "titel": "x", "title": "y"})).unwrap_err();
        assert_eq!(faults, ["parameters.folder", "parameters.titel"]);
    }

    #[test]
    fn a_schema_names_the_field_below_which_it_does_not_fit() {
        let parameters = Parameters {
            list: vec![],
            schema: Some(json!({
                "type": "object", "required": ["n"], "additionalProperties": false,
                "properties": {"n": {"type": "integer"}, "m": {"type": "integer", "default": 7}, "files": {"type": "array", "items": {"type": "string"}}},
            })),
        };
        assert_eq!(
            check(&parameters, json!({"n": 1})).unwrap(),
            json!({"n": 1, "m": 7})
        );
        let faults = check(&parameters, json!({"n": "x", "files": ["a", 2]})).unwrap_err();
        assert_eq!(faults, ["parameters.files.1", "parameters.n"]);
        assert_eq!(check(&parameters, json!({})).unwrap_err(), ["parameters"]);
    }
}

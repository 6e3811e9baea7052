//! JSON that passes through: kept byte for byte, never re-ordered, never interpreted.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

/// Any JSON value, exactly as it was sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Json(Box<RawValue>);

impl Json {
    /// Takes text that is known to be JSON, such as a `json` column.
    ///
    /// # Errors
    /// When the text is not one JSON value.
    pub fn from_text(text: String) -> Result<Self, serde_json::Error> {
        RawValue::from_string(text).map(Self)
    }

    /// Writes a value as JSON.
    ///
    /// # Errors
    /// When the value cannot be written as JSON, such as a map with keys that are not strings.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        serde_json::value::to_raw_value(value).map(Self)
    }

    /// The JSON text.
    pub fn text(&self) -> &str {
        self.0.get()
    }

    /// Reads the text into a type.
    ///
    /// # Errors
    /// When the text does not fit the type.
    pub fn parse<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.text())
    }

    /// The same value as a tree, for code that must look inside.
    pub fn value(&self) -> serde_json::Value {
        self.parse().expect("raw JSON is JSON")
    }
}

impl PartialEq for Json {
    /// Two values are equal when they mean the same, whatever their spacing or the order of keys.
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text() || self.value() == other.value()
    }
}

impl PartialSchema for Json {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::AnyValue)
            .description(Some("Any JSON value; stored and returned byte for byte"))
            .into()
    }
}

impl ToSchema for Json {}

/// A JSON object, exactly as it was sent. Anything but an object is refused.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct JsonObject(Json);

impl JsonObject {
    /// The object without members.
    pub fn empty() -> Self {
        Self(Json::from_text("{}".to_owned()).expect("{} is JSON"))
    }

    /// Takes text that is known to be a JSON object, such as a `json` column.
    ///
    /// # Errors
    /// When the text is not one JSON object.
    pub fn from_text(text: String) -> Result<Self, serde_json::Error> {
        Self::try_from(Json::from_text(text)?)
    }

    /// The JSON text.
    pub fn text(&self) -> &str {
        self.0.text()
    }

    /// The members, for code that must look inside.
    pub fn members(&self) -> serde_json::Map<String, serde_json::Value> {
        self.0.parse().expect("a JSON object has members")
    }
}

impl TryFrom<Json> for JsonObject {
    type Error = serde_json::Error;

    fn try_from(json: Json) -> Result<Self, Self::Error> {
        if json.text().starts_with('{') {
            Ok(Self(json))
        } else {
            Err(serde_json::Error::custom("expected a JSON object"))
        }
    }
}

impl From<serde_json::Map<String, serde_json::Value>> for JsonObject {
    fn from(members: serde_json::Map<String, serde_json::Value>) -> Self {
        Self(Json::of(&members).expect("a map with string keys is a JSON object"))
    }
}

impl Default for JsonObject {
    fn default() -> Self {
        Self::empty()
    }
}

impl<'de> Deserialize<'de> for JsonObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Json::deserialize(deserializer)?;
        Self::try_from(json).map_err(|_| D::Error::custom("expected a JSON object"))
    }
}

impl PartialSchema for JsonObject {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::Object))
            .description(Some("Any JSON object; stored and returned byte for byte"))
            .additional_properties(Some(
                utoipa::openapi::schema::AdditionalProperties::FreeForm(true),
            ))
            .into()
    }
}

impl ToSchema for JsonObject {}

/// A field whose absence leaves things as they are, and whose null takes them away.
pub(crate) mod nullable {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<T: Serialize, S: Serializer>(
        value: &Option<Option<T>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value
            .as_ref()
            .and_then(Option::as_ref)
            .serialize(serializer)
    }

    pub(crate) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Option<T>>, D::Error> {
        Option::deserialize(deserializer).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_the_order_and_spacing_it_was_sent_with() {
        let text = r#"{"b": 1,  "a": 2}"#;
        let json: Json = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&json).unwrap(), text);
    }

    #[test]
    fn values_that_mean_the_same_are_equal() {
        let one: Json = serde_json::from_str(r#"{"b":1,"a":2}"#).unwrap();
        let two: Json = serde_json::from_str(r#"{ "a": 2, "b": 1 }"#).unwrap();
        assert_eq!(one, two);
    }

    #[test]
    fn a_list_is_not_an_object() {
        assert!(serde_json::from_str::<JsonObject>("[1]").is_err());
        assert!(serde_json::from_str::<JsonObject>(r#"{"a":1}"#).is_ok());
    }
}

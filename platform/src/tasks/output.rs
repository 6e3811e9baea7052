//! Whether an output fits the schema that its task's role asks for.

use protocol::JsonObject;

use crate::error::Error;

/// The schema that the output must fit, if the role's settings have one.
pub(super) fn output_schema(
    role_config: &JsonObject,
) -> Result<Option<jsonschema::Validator>, Error> {
    if !role_config.text().contains("output_schema") {
        return Ok(None);
    }
    let Some(schema) = role_config
        .members()
        .remove("output_schema")
        .filter(|schema| !schema.is_null())
    else {
        return Ok(None);
    };
    jsonschema::validator_for(&schema)
        .map(Some)
        .map_err(|error| {
            Error::field(
                "role_config.output_schema",
                format!("is not a JSON Schema: {error}"),
            )
        })
}

/// What is wrong with an output, the first ten faults; empty when it fits.
pub(crate) fn output_faults(role_config: &str, output: &str) -> Result<Vec<String>, Error> {
    let role_config = JsonObject::from_text(role_config.to_owned())?;
    let Some(schema) = output_schema(&role_config)? else {
        return Ok(Vec::new());
    };
    let output: serde_json::Value = serde_json::from_str(output)?;
    Ok(schema
        .iter_errors(&output)
        .take(10)
        .map(|fault| format!("{}: {fault}", fault.instance_path()))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_is_checked_against_its_schema() {
        let role_config = r#"{"output_schema":{"type":"object","required":["n"],"properties":{"n":{"type":"integer"}}}}"#;
        assert!(output_faults(role_config, r#"{"n":1}"#).unwrap().is_empty());
        assert_eq!(output_faults(role_config, r#"{"n":"x"}"#).unwrap().len(), 1);
        assert!(output_faults("{}", "17").unwrap().is_empty());
    }

    #[test]
    fn a_schema_that_is_none_is_refused() {
        let role_config =
            JsonObject::from_text(r#"{"output_schema":{"type":"nonsense"}}"#.to_owned()).unwrap();
        assert!(output_schema(&role_config).is_err());
    }
}

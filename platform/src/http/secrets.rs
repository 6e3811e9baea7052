//! Secrets do not belong into bodies: plain ones are refused on the way in, masked on the way out.
//!
//! The one rule, for every domain: under a key that looks like a secret's name, inside a field that
//! holds free data, only a reference (`secret:NAME`) or a placeholder (`redacted://…`) may stand.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use protocol::{ErrorCode, ReasonCode};
use serde_json::Value;

use crate::error::{Error, Refused};

/// Parts of keys under which a value is taken for a secret.
const SECRET_WORDS: &[&str] = &[
    "secret",
    "token",
    "password",
    "api_key",
    "apikey",
    "credential",
    "authorization",
    "private_key",
    "known_hosts",
    "webhook_url",
];

/// Keys that contain such a word, but count or limit something.
const HARMLESS_KEYS: &[&str] = &[
    "token_budget",
    "token_count",
    "tokens",
    "max_tokens",
    "total_tokens",
    "tokens_in",
    "tokens_out",
    "input_tokens",
    "output_tokens",
];

/// The fields of a body that hold free data.
const FREE_FIELDS: &[&str] = &[
    "credentials",
    "input",
    "override_input",
    "context",
    "role_config",
    "environment",
    "resource_bindings",
    "metadata",
    "host_info",
    "acp",
    "profile",
    "agents",
];

/// Refuses a body in which a plain secret stands in free data.
pub(super) fn refuse_plain(body: &[u8]) -> Result<(), Error> {
    // Most bodies contain none of the words, and are not looked into any further.
    if !NAMES.is_match(body) {
        return Ok(());
    }
    let Ok(Value::Object(fields)) = serde_json::from_slice::<Value>(body) else {
        return Ok(());
    };
    let mut found = Vec::new();
    for (name, value) in &fields {
        if FREE_FIELDS.contains(&name.as_str()) {
            collect(value, name, &mut found);
        }
    }
    refuse_found(found)
}

/// Refuses a value in which a plain secret stands, for fields that the rule for bodies does not know.
///
/// What holds a template is no plain value.
///
/// # Errors
/// 400 `plain_secret` with every path.
pub fn refuse_secrets(path: &str, value: &Value) -> Result<(), Error> {
    let mut found = Vec::new();
    collect(value, path, &mut found);
    refuse_found(found)
}

fn refuse_found(found: Vec<String>) -> Result<(), Error> {
    if found.is_empty() {
        return Ok(());
    }
    let message = format!(
        "plain values stand where secrets seem to be meant: {}",
        found.join(", ")
    );
    Err(Refused::new(ErrorCode::ValidationError, message)
        .reason(ReasonCode::PlainSecret)
        .hint("put a reference like \"secret:NAME\" there, and give the value to the worker in its own configuration")
        .secret_paths(found)
        .into())
}

fn collect(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                let path = format!("{path}.{key}");
                match member {
                    Value::String(text)
                        if is_secret_key(key) && !is_reference(text) && !is_template(text) =>
                    {
                        found.push(path);
                    }
                    _ => collect(member, &path, found),
                }
            }
        }
        Value::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                collect(item, &format!("{path}[{place}]"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace('-', "_");
    !HARMLESS_KEYS.contains(&key.as_str()) && SECRET_WORDS.iter().any(|word| key.contains(word))
}

fn is_reference(text: &str) -> bool {
    text.is_empty() || text.starts_with("secret:") || text.starts_with("redacted://")
}

fn is_template(text: &str) -> bool {
    text.starts_with("{{") && text.ends_with("}}")
}

/// Finds parts of a JSON text that could name a secret. Most texts have none, and are not parsed for it.
static NAMES: LazyLock<AhoCorasick> = LazyLock::new(|| {
    // A name may also be written with escapes.
    finds(SECRET_WORDS.iter().chain(&["\\u"]))
});

/// Finds how values that are secrets begin.
static VALUES: LazyLock<AhoCorasick> = LazyLock::new(|| finds(&["bearer ", "sk-", "st_", "eyj"]));

/// Finds any of these words, in letters of any case, with `_` or `-`.
fn finds<'a>(words: impl IntoIterator<Item = &'a &'a str>) -> AhoCorasick {
    let words = words
        .into_iter()
        .flat_map(|word| [(*word).to_owned(), word.replace('_', "-")]);
    AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .build(words)
        .expect("a few words make an automaton")
}

/// Masks what looks like a secret in free data that came from outside, such as a log payload.
///
/// Returns the text as it was when nothing had to be masked.
pub fn mask_secrets(json: &str) -> String {
    if !NAMES.is_match(json) && !VALUES.is_match(json) {
        return json.to_owned();
    }
    let Ok(mut value) = serde_json::from_str::<Value>(json) else {
        return json.to_owned();
    };
    if mask(&mut value) {
        value.to_string()
    } else {
        json.to_owned()
    }
}

const MASK: &str = "[REDACTED]";

fn mask(value: &mut Value) -> bool {
    match value {
        Value::Object(members) => {
            let mut changed = false;
            for (key, member) in members.iter_mut() {
                match member {
                    Value::String(text) if is_secret_key(key) && !is_reference(text) => {
                        *member = Value::from(MASK);
                        changed = true;
                    }
                    _ => changed |= mask(member),
                }
            }
            changed
        }
        Value::Array(items) => {
            let mut changed = false;
            for item in items {
                changed |= mask(item);
            }
            changed
        }
        Value::String(text) if is_secret_value(text) => {
            *text = MASK.to_owned();
            true
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Whether a text by itself is a credential: a bearer token, a key of ours or of a model provider, a JWT.
fn is_secret_value(text: &str) -> bool {
    let is_word = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    let after = |prefix: &str| {
        text.strip_prefix(prefix)
            .filter(|rest| rest.len() >= 16 && is_word(rest))
    };
    after("Bearer ").is_some()
        || after("sk-").is_some()
        || ["st_admin_", "st_agent_", "st_worker_", "st_service_"]
            .iter()
            .any(|prefix| after(prefix).is_some())
        || (text.starts_with("eyJ") && is_word(text) && text.split('.').count() == 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_secret_in_free_data_is_refused_with_its_path() {
        let body = br#"{"title":"x","input":{"deep":[{"API_Key":"abc"}]}}"#;
        let refusal = refuse_plain(body).unwrap_err();
        let wire = refusal.refusal().unwrap().to_wire();
        assert_eq!(
            wire.details.unwrap().secret_paths,
            ["input.deep[0].API_Key"]
        );
    }

    #[test]
    fn references_placeholders_and_numbers_pass() {
        let body = br#"{"input":{"password":"secret:DB","token":"redacted://x","api_key":7,"max_tokens":"9"}}"#;
        refuse_plain(body).unwrap();
    }

    #[test]
    fn fields_that_are_not_free_data_pass() {
        refuse_plain(br#"{"title":"rotate the password","token":"abc"}"#).unwrap();
    }

    #[test]
    fn a_name_written_with_escapes_is_found() {
        assert!(refuse_plain(br#"{"input":{"p\u0061ssword":"hunter2"}}"#).is_err());
    }

    #[test]
    fn credentials_are_masked_wherever_they_stand() {
        let masked =
            mask_secrets(r#"{"line":"sk-abcdefghijklmnop1234","n":{"password":"x"},"ok":"word"}"#);
        assert_eq!(
            masked,
            r#"{"line":"[REDACTED]","n":{"password":"[REDACTED]"},"ok":"word"}"#
        );
    }

    #[test]
    fn harmless_data_keeps_its_bytes() {
        let text = r#"{"b": 1,  "a": "token of thanks"}"#;
        assert_eq!(mask_secrets(text), text);
    }

    proptest::proptest! {
        #[test]
        fn a_secret_under_any_suspicious_key_is_masked_however_deep(
            word in proptest::sample::select(SECRET_WORDS),
            before in "[a-z_]{0,6}",
            depth in 0_usize..12,
            canary in "canary-[A-Za-z0-9]{12}",
        ) {
            let key = format!("{before}{}", word.to_uppercase());
            proptest::prop_assume!(is_secret_key(&key));
            let mut value = serde_json::json!({ key: canary.clone() });
            for level in 0..depth {
                value = match level % 2 {
                    0 => serde_json::json!([1, value]),
                    _ => serde_json::json!({ "more": value }),
                };
            }
            proptest::prop_assert!(!mask_secrets(&value.to_string()).contains(&canary));
            let body = serde_json::json!({ "input": value }).to_string();
            proptest::prop_assert!(refuse_plain(body.as_bytes()).is_err());
        }

        #[test]
        fn masking_leaves_json_that_can_be_read(text in "\\PC{0,80}") {
            let json = serde_json::json!({ "token": text, "list": [text] }).to_string();
            proptest::prop_assert!(serde_json::from_str::<Value>(&mask_secrets(&json)).is_ok());
            // What is no JSON is left alone, and does no harm.
            mask_secrets(&text);
        }
    }
}

//! From bytes to a typed body, or to a refusal that says what is wrong where.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use protocol::{ErrorCode, ReasonCode};
use serde::de::DeserializeOwned;

use super::secrets;
use crate::error::{Error, Refused};

/// What a typed body costs a lane beyond its bytes.
pub const BODY_BYTES_OVERHEAD: usize = 256;

/// How deep lists and objects of a body may be nested. What reads JSON into a tree goes 128 levels deep, and the
/// platform puts what it was sent into things of its own: the output of a task into the context of the next.
const DEPTH_MAX: usize = 64;

/// How long a body may take to arrive: a client that stops in the middle must not be waited for.
const BODY_PATIENCE: Duration = Duration::from_secs(30);

/// Reads a body of at most `limit` bytes. An empty body counts as `{}`.
pub(super) async fn read(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, Error> {
    let too_large = || {
        Error::from(
            Refused::new(
                ErrorCode::PayloadTooLarge,
                format!("the body is larger than {limit} bytes"),
            )
            .hint("send less at once, or a reference in place of the data"),
        )
    };
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let whole = tokio::time::timeout(BODY_PATIENCE, Limited::new(body, limit).collect()).await;
    let Ok(collected) = whole else {
        return Err(Error::invalid(format!(
            "the body did not arrive within {BODY_PATIENCE:?}"
        )));
    };
    let bytes = match collected {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(too_large()),
        Err(error) => return Err(Error::invalid(format!("the body broke off: {error}"))),
    };
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Bytes::from_static(b"{}"));
    }
    if !is_json(headers) {
        return Err(Refused::new(
            ErrorCode::UnsupportedMediaType,
            "the body is not announced as JSON",
        )
        .hint("send the header `Content-Type: application/json`")
        .into());
    }
    Ok(bytes)
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
    else {
        return false;
    };
    let essence = value
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    essence == "application/json" || essence.ends_with("+json")
}

/// Parses a body and refuses what must never be stored.
pub(super) fn parse<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, Error> {
    if contains_nul(bytes) {
        return Err(Refused::new(
            ErrorCode::SchemaValidationFailed,
            "the body contains the character NUL (\\u0000)",
        )
        .reason(ReasonCode::NulCharacter)
        .hint("remove it: PostgreSQL cannot store it")
        .into());
    }
    if is_too_deep(bytes) {
        return Err(Refused::new(
            ErrorCode::ValidationError,
            format!("the body is nested more than {DEPTH_MAX} levels deep"),
        )
        .hint("send what lies deeper as text")
        .into());
    }
    if may_not_be_readable(bytes) {
        // What passes through unread must still be readable for whoever gets it.
        serde_json::from_slice::<serde_json::Value>(bytes)
            .map_err(|error| refuse(bytes, &error))?;
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let parsed =
        T::deserialize(&mut deserializer).and_then(|body| deserializer.end().map(|()| body));
    let body = parsed.map_err(|error| refuse(bytes, &error))?;
    // serde would take the items of an array for the fields, in their order.
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(Refused::new(
            ErrorCode::SchemaValidationFailed,
            "the body does not fit: it must be an object",
        )
        .hint("the schema of the body is in /openapi.json")
        .into());
    }
    secrets::refuse_plain(bytes)?;
    Ok(body)
}

/// Malformed JSON is 400; JSON of another shape is 422 with the field that is wrong.
fn refuse(bytes: &[u8], error: &serde_json::Error) -> Error {
    // Reading stops at the first field that does not fit; what follows may not even be JSON.
    let malformed = serde_json::from_slice::<serde_json::Value>(bytes).err();
    let Some(malformed) = malformed else {
        let message = error.to_string();
        let field = message.split('`').nth(1).unwrap_or_default().to_owned();
        let refused = Refused::new(
            ErrorCode::SchemaValidationFailed,
            format!("the body does not fit: {message}"),
        )
        .hint("the schema of the body is in /openapi.json");
        return refused.issue(field, message).into();
    };
    Refused::new(
        ErrorCode::ValidationError,
        format!("the body is not valid JSON: {malformed}"),
    )
    .hint("the position is the line and column where reading stopped")
    .into()
}

/// Whether a JSON text contains NUL, as a byte or as an escape.
fn contains_nul(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = memchr::memchr2(b'\\', 0, rest) {
        if rest[at] == 0 || rest[at..].starts_with(b"\\u0000") {
            return true;
        }
        // A backslash takes the next byte with it, so that `\\u0000` (an escaped backslash) is text.
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    false
}

/// Whether a JSON text is nested too deep.
fn is_too_deep(bytes: &[u8]) -> bool {
    // Hardly a body opens so much that it is worth a closer look.
    if memchr::memchr2_iter(b'{', b'[', bytes).count() <= DEPTH_MAX {
        return false;
    }
    let (mut depth, mut is_text, mut at) = (0_usize, false, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            // It takes the next byte with it.
            b'\\' if is_text => at += 1,
            b'"' => is_text = !is_text,
            b'{' | b'[' if !is_text => depth += 1,
            b'}' | b']' if !is_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return true;
        }
        at += 1;
    }
    false
}

/// Whether a JSON text may have a part that parses as JSON and still cannot be read: half a surrogate pair,
/// or a number beyond any float. Says yes too often rather than too rarely; the caller then looks closely.
fn may_not_be_readable(bytes: &[u8]) -> bool {
    /// Digits that an exponent, or a whole number, may have without being suspicious.
    const EXPONENT_DIGITS: usize = 2;
    const DIGITS: usize = 300;
    let mut digits = 0;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                digits += 1;
                if digits > DIGITS {
                    return true;
                }
            }
            b'e' | b'E' if digits > 0 => {
                let exponent = bytes[at + 1..]
                    .iter()
                    .skip_while(|byte| matches!(byte, b'+' | b'-'));
                if exponent.take_while(|byte| byte.is_ascii_digit()).count() > EXPONENT_DIGITS {
                    return true;
                }
                digits = 0;
            }
            b'\\' if bytes[at + 1..].starts_with(b"ud") || bytes[at + 1..].starts_with(b"uD") => {
                return true;
            }
            _ => digits = 0,
        }
    }
    false
}

/// Refuses a text outside its length, in characters.
///
/// # Errors
/// 422 that names the field.
pub fn check_length(
    path: &str,
    text: &str,
    range: std::ops::RangeInclusive<usize>,
) -> Result<(), Error> {
    let length = text.chars().count();
    if range.contains(&length) {
        return Ok(());
    }
    Err(Error::field(
        path,
        format!(
            "must have {} to {} characters, has {length}",
            range.start(),
            range.end()
        ),
    ))
}

/// Refuses a list that is too long.
///
/// # Errors
/// 422 that names the field.
pub fn check_count(path: &str, count: usize, most: usize) -> Result<(), Error> {
    if count <= most {
        return Ok(());
    }
    let message = format!("may have at most {most} items, has {count}");
    Err(Error::field(path, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nul_is_found_as_byte_and_as_escape() {
        assert!(contains_nul(br#"{"a":"\u0000"}"#));
        assert!(contains_nul(b"{\"a\":\"\0\"}"));
        assert!(contains_nul(br#"{"a":"\n\\\u0000"}"#));
    }

    #[test]
    fn half_a_surrogate_pair_and_an_endless_number_are_refused() {
        for body in [
            r#"{"a":"\ud800"}"#,
            r#"{"a":1e999}"#,
            r#"{"a":[{"b":-1E+4000}]}"#,
        ] {
            let bytes = Bytes::from_static(body.as_bytes());
            assert!(parse::<protocol::JsonObject>(&bytes).is_err(), "{body}");
        }
        for body in [
            r#"{"a":"\ud83d\ude00"}"#,
            r#"{"a":1e99, "b":"1e999"}"#,
            r#"{"a":"e123456"}"#,
        ] {
            let bytes = Bytes::from_static(body.as_bytes());
            parse::<protocol::JsonObject>(&bytes).expect(body);
        }
    }

    #[test]
    fn a_body_is_nested_sixty_four_levels_deep_at_most() {
        let nested = |depth: usize| {
            let (open, close) = ("[".repeat(depth - 1), "]".repeat(depth - 1));
            Bytes::from(format!(r#"{{"a":{open}1{close}}}"#))
        };
        parse::<protocol::JsonObject>(&nested(DEPTH_MAX)).expect("it may be so deep");
        assert!(parse::<protocol::JsonObject>(&nested(DEPTH_MAX + 1)).is_err());
        let flat = format!(
            r#"{{"a":"{}\"{}","b":[{}[]]}}"#,
            "[".repeat(200),
            "{".repeat(200),
            "[],".repeat(200)
        );
        parse::<protocol::JsonObject>(&Bytes::from(flat))
            .expect("text and neighbours do not count");
    }

    #[test]
    fn an_escaped_backslash_before_u0000_is_text() {
        assert!(!contains_nul(br#"{"a":"\\u0000"}"#));
        assert!(!contains_nul(br#"{"a":"\u0001 \\"}"#));
    }

    proptest::proptest! {
        #[test]
        fn no_body_makes_the_reader_panic(body in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            drop(parse::<serde_json::Map<String, serde_json::Value>>(&Bytes::from(body)));
        }

        #[test]
        fn a_nul_character_is_found_however_it_is_written(
            before in "[a-z\\\\\"ä]{0,10}", after in "\\PC{0,10}", is_escaped in proptest::bool::ANY,
        ) {
            let text = format!("{before}\0{after}");
            let body = match is_escaped {
                true => serde_json::json!({ "text": text }).to_string(),
                false => format!("{{\"text\": \"{text}\"}}"),
            };
            proptest::prop_assert!(parse::<serde_json::Map<String, serde_json::Value>>(&Bytes::from(body)).is_err());
        }

        #[test]
        fn a_text_without_nul_is_taken_as_it_is(text in "[^\0]{0,40}") {
            let body = serde_json::json!({ "text": text }).to_string();
            let read = parse::<serde_json::Map<String, serde_json::Value>>(&Bytes::from(body));
            let read = read.expect("it is an object");
            proptest::prop_assert_eq!(read["text"].as_str(), Some(text.as_str()));
        }
    }
}

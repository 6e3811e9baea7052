//! What tells two bodies apart that were sent under one request id.

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A body in one form, whatever its spacing and the order of its members, without its `request_id`.
///
/// Numbers count as they are written: a body is stored so, and a tree of floats would not tell apart what differs
/// in the twentieth digit.
pub(super) fn canonical(body: &[u8]) -> Vec<u8> {
    let mut written = Vec::with_capacity(body.len());
    let read = serde_json::from_slice::<Members<'_>>(body);
    let read = read.and_then(|Members(mut members)| {
        members.retain(|(key, _)| key != "request_id");
        write_members(members, &mut written)
    });
    match read {
        Ok(()) => written,
        Err(_) => body.to_vec(),
    }
}

/// The members of an object as they stand there, also those that are there twice.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Read)
    }
}

fn write_members(
    mut members: Vec<(String, &RawValue)>,
    written: &mut Vec<u8>,
) -> serde_json::Result<()> {
    members.sort_by(|(one, _), (other, _)| one.cmp(other));
    written.push(b'{');
    for (key, value) in members {
        serde_json::to_writer(&mut *written, &key)?;
        written.push(b':');
        write_value(value.get(), written)?;
        written.push(b',');
    }
    written.push(b'}');
    Ok(())
}

fn write_value(text: &str, written: &mut Vec<u8>) -> serde_json::Result<()> {
    match text.as_bytes().first() {
        Some(b'{') => {
            let Members(members) = serde_json::from_str(text)?;
            write_members(members, written)
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text)?;
            written.push(b'[');
            for item in items {
                write_value(item.get(), written)?;
                written.push(b',');
            }
            written.push(b']');
            Ok(())
        }
        // Letters can be written in several ways.
        Some(b'"') => serde_json::to_writer(written, &serde_json::from_str::<String>(text)?),
        _ => {
            written.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_spacing_and_request_id_do_not_change_the_canonical_form() {
        assert_eq!(
            canonical(br#"{"b":1, "a":{"d":1,"c":2},"request_id":"x"}"#),
            canonical(br#"{"a":{"c":2,"d":1},"b":1}"#)
        );
        assert_eq!(
            canonical(r#"{"a":["\u00e4"]}"#.as_bytes()),
            canonical(r#"{"a":["ä"]}"#.as_bytes())
        );
    }

    #[test]
    fn what_differs_in_any_digit_or_in_a_member_that_is_there_twice_has_another_canonical_form() {
        for (one, other) in [
            (r#"{"a":1}"#, r#"{"a":2}"#),
            (
                r#"{"a":[12345678901234567890123]}"#,
                r#"{"a":[12345678901234567890124]}"#,
            ),
            (r#"{"a":{"n":1,"n":2}}"#, r#"{"a":{"n":7,"n":2}}"#),
            (r#"{"a":[1,[2]]}"#, r#"{"a":[[1],2]}"#),
        ] {
            assert_ne!(canonical(one.as_bytes()), canonical(other.as_bytes()));
        }
    }
}

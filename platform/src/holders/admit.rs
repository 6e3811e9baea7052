//! What workers and agents may register with.

use protocol::{ErrorCode, JsonObject, PROTOCOL_VERSION, PROTOCOL_VERSION_MIN, ReasonCode};

use crate::error::{Error, Refused};
use crate::http::check_length;

/// Routing tags that one key, worker or agent can have.
const ROUTING_TAGS_MAX: usize = 100;
/// Longest routing tag.
const ROUTING_TAG_LENGTH_MAX: usize = 200;
/// Largest piece of free data that a worker or an agent registers with.
pub const FREE_DATA_BYTES_MAX: usize = 64 * 1024;

/// Refuses a name that is empty or too long.
///
/// # Errors
/// 422 that names the field.
pub fn check_name(path: &str, name: &str) -> Result<(), Error> {
    check_length(path, name.trim(), 1..=200)
}

/// Refuses too many, empty or overlong routing tags.
///
/// # Errors
/// 422 that names the field.
pub fn check_routing_tags(path: &str, tags: &[String]) -> Result<(), Error> {
    if tags.len() > ROUTING_TAGS_MAX {
        let message = format!(
            "must have at most {ROUTING_TAGS_MAX} entries, has {}",
            tags.len()
        );
        return Err(Error::field(path, message));
    }
    tags.iter()
        .try_for_each(|tag| check_length(path, tag, 1..=ROUTING_TAG_LENGTH_MAX))
}

/// How many leases a holder may have at once; 1 unless given.
///
/// # Errors
/// 422 that names the field.
pub fn check_capacity(path: &str, capacity: Option<i32>) -> Result<i32, Error> {
    in_range(path, capacity.unwrap_or(1), 1, 1000)
}

/// How often a holder means to beat, in seconds.
///
/// # Errors
/// 422 that names the field.
pub fn check_interval(interval: Option<i32>, fallback: i32) -> Result<i32, Error> {
    in_range(
        "heartbeat_interval_seconds",
        interval.unwrap_or(fallback),
        5,
        3600,
    )
}

fn in_range(path: &str, value: i32, least: i32, most: i32) -> Result<i32, Error> {
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(Error::field(
        path,
        format!("must be between {least} and {most}, is {value}"),
    ))
}

/// Refuses free data that is too large.
///
/// # Errors
/// 422 that names the field.
pub fn check_free_data(
    path: &str,
    data: Option<&JsonObject>,
    bytes_max: usize,
) -> Result<(), Error> {
    let bytes = data.map_or(0, |data| data.text().len());
    if bytes <= bytes_max {
        return Ok(());
    }
    Err(Error::field(
        path,
        format!("must have at most {bytes_max} bytes, has {bytes}"),
    ))
}

/// The worker protocol that a holder speaks, as it is stored; none for a plain client of the contract.
///
/// A newer one than ours is welcome: the answer says what we speak, and the holder adapts or leaves.
///
/// # Errors
/// 409 `upgrade_required` for one that is no longer served.
pub fn protocol_version(spoken: Option<u32>) -> Result<Option<i32>, Error> {
    let Some(version) = spoken else {
        return Ok(None);
    };
    if version < PROTOCOL_VERSION_MIN {
        return Err(Refused::new(
            ErrorCode::Conflict,
            format!(
                "worker protocol {version} is no longer served; this platform speaks {PROTOCOL_VERSION_MIN} to {PROTOCOL_VERSION}"
            ),
        )
        .reason(ReasonCode::UpgradeRequired)
        .hint("upgrade the worker, then register again")
        .into());
    }
    i32::try_from(version)
        .map(Some)
        .map_err(|_| Error::field("protocol_version", "is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_include_both_ends() {
        assert_eq!(check_capacity("capacity", None).unwrap(), 1);
        assert_eq!(check_capacity("capacity", Some(1000)).unwrap(), 1000);
        assert!(check_capacity("capacity", Some(0)).is_err());
        assert_eq!(check_interval(Some(5), 30).unwrap(), 5);
        assert_eq!(check_interval(None, 30).unwrap(), 30);
        assert!(check_interval(Some(3601), 30).is_err());
    }

    #[test]
    fn a_protocol_that_is_no_longer_served_is_refused_and_a_newer_one_is_not() {
        assert_eq!(protocol_version(None).unwrap(), None);
        assert_eq!(
            protocol_version(Some(PROTOCOL_VERSION + 1)).unwrap(),
            Some(2)
        );
        let refusal = protocol_version(Some(0)).unwrap_err();
        let details = refusal.refusal().unwrap().to_wire().details.unwrap();
        assert_eq!(details.reason_code, Some(ReasonCode::UpgradeRequired));
    }

    #[test]
    fn blank_names_and_empty_tags_are_refused() {
        assert!(check_name("name", "  ").is_err());
        check_name("name", "w1").unwrap();
        assert!(check_routing_tags("routing_tags", &[String::new()]).is_err());
        assert!(check_routing_tags("routing_tags", &vec!["a".to_owned(); 101]).is_err());
    }
}

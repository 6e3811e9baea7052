//! What may stand in the settings of a workspace, and what becomes of the token in them.

use protocol::{JsonObject, UnknownWord, WorkspaceId};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::error::Error;
use crate::graph::fields::{Fields, Mistakes};
use crate::http::refuse_secrets;

/// Bytes of the settings of one workspace.
const SETTINGS_BYTES_MAX: usize = 256 * 1024;
/// Characters of a token for git.
const TOKEN_CHARS_MAX: usize = 4096;

/// Settings that were checked, without their token.
pub(super) struct Settings {
    /// What is stored, and read back.
    pub(super) members: Map<String, Value>,
    /// What becomes of the token.
    pub(super) token: Token,
}

/// What becomes of the token for git.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// It stays as it is.
    Keep,
    /// There is none any more.
    Clear,
    /// This is the new one.
    Set(String),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Storage {
    GitRemote,
    HostDirectory,
    WorkspaceArtifacts,
}

impl std::str::FromStr for Storage {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "git_remote" => Ok(Self::GitRemote),
            "host_directory" => Ok(Self::HostDirectory),
            "workspace_artifacts" => Ok(Self::WorkspaceArtifacts),
            _ => Err(UnknownWord {
                word: text.to_owned(),
                allowed: &["git_remote", "host_directory", "workspace_artifacts"],
            }),
        }
    }
}

/// Takes settings that were given on top of those that are stored: member by member, and null takes one away.
///
/// # Errors
/// 422 that names every field that does not fit; 400 for a plain secret.
pub(super) fn merge(
    stored: Map<String, Value>,
    given: Option<&JsonObject>,
) -> Result<Settings, Error> {
    let mut members = stored;
    let mut token = Token::Keep;
    for (name, value) in given.map(JsonObject::members).unwrap_or_default() {
        if name == "credentials" {
            let (rest, new) = take_token(value)?;
            token = new;
            match rest {
                Some(rest) => members.insert(name, rest),
                None => members.remove(&name),
            };
        } else if value.is_null() {
            members.remove(&name);
        } else {
            members.insert(name, value);
        }
    }
    let whole = Value::Object(members);
    check(&whole)?;
    refuse_secrets("settings", &whole)?;
    let Value::Object(members) = whole else {
        unreachable!("it was made an object above");
    };
    Ok(Settings { members, token })
}

/// Takes the token out of the credentials, under either of its names.
fn take_token(credentials: Value) -> Result<(Option<Value>, Token), Error> {
    let mut credentials = match credentials {
        Value::Null => return Ok((None, Token::Clear)),
        Value::Object(credentials) => credentials,
        _ => return Err(Error::field("settings.credentials", "must be an object")),
    };
    credentials.remove("git_token_configured");
    let mut token = Token::Keep;
    for name in ["git_token_secret_ref", "git_token"] {
        match credentials.remove(name) {
            None => {}
            Some(Value::Null) => token = Token::Clear,
            Some(Value::String(text)) if text.starts_with("redacted://") => {}
            Some(Value::String(text)) => {
                let path = format!("settings.credentials.{name}");
                crate::http::check_length(&path, &text, 1..=TOKEN_CHARS_MAX)?;
                token = Token::Set(text);
            }
            Some(_) => {
                let path = format!("settings.credentials.{name}");
                return Err(Error::field(
                    path,
                    "must be a text, or null to take it away",
                ));
            }
        }
    }
    let rest = (!credentials.is_empty()).then_some(Value::Object(credentials));
    Ok((rest, token))
}

fn check(settings: &Value) -> Result<(), Error> {
    let bytes = settings.to_string().len();
    if bytes > SETTINGS_BYTES_MAX {
        let message = format!("must have at most {SETTINGS_BYTES_MAX} bytes, has {bytes}");
        return Err(Error::field("settings", message));
    }
    let mistakes = Mistakes::default();
    let Some(mut fields) = Fields::of(settings, "settings", &mistakes) else {
        return Err(Error::field("settings", "must be an object"));
    };
    for name in ["model_override", "model_overrides"] {
        if fields.value(name).is_some() {
            let message = "models are not chosen by a workspace";
            return Err(Error::field(format!("settings.{name}"), message));
        }
    }
    fields.text("workspace_brief", 0..=20_000);
    for name in ["default_branch", "git_user_name", "git_user_email"] {
        fields.text(name, 0..=255);
    }
    let playbook = fields.text("planning_playbook_id", 36..=36);
    if playbook.is_some_and(|id| id.parse::<Uuid>().is_err()) {
        let message = "must be the id of a playbook";
        return Err(Error::field("settings.planning_playbook_id", message));
    }
    let storage = fields.word("workspace_storage_type");
    let place = fields.object("workspace_storage");
    check_storage(storage.unwrap_or(Storage::WorkspaceArtifacts), place);
    refuse(mistakes)
}

fn check_storage(storage: Storage, place: Option<Fields<'_>>) {
    let Some(mut place) = place else { return };
    match storage {
        Storage::GitRemote => {
            place.required_text("repository_url", 1..=2000);
            for name in ["default_branch", "git_user_name", "git_user_email"] {
                place.text(name, 0..=255);
            }
        }
        Storage::HostDirectory => {
            let path = place.required_text("host_path", 1..=4096);
            if path.is_some_and(|path| !path.starts_with('/')) {
                let code = protocol::MistakeCode::OutOfRange;
                place.mistake(
                    "host_path",
                    code,
                    "must begin with /",
                    "give the whole path",
                );
            }
            place.flag("read_only");
        }
        Storage::WorkspaceArtifacts => return,
    }
    place.finish();
}

/// 422 that names every mistake.
fn refuse(mistakes: Mistakes) -> Result<(), Error> {
    let list = mistakes.into_list();
    let Some(first) = list.first() else {
        return Ok(());
    };
    let mut refused = crate::error::Refused::new(
        protocol::ErrorCode::SchemaValidationFailed,
        format!("the settings do not fit: {}: {}", first.path, first.message),
    )
    .hint(first.hint.clone());
    for mistake in &list {
        refused = refused.issue(mistake.path.clone(), mistake.message.clone());
    }
    Err(refused.into())
}

/// Settings as they are read: with a word on whether there is a token.
pub(super) fn shown(stored: &str, has_token: bool) -> Result<JsonObject, Error> {
    let mut members: Map<String, Value> = serde_json::from_str(stored)?;
    let storage = members.entry("workspace_storage_type");
    storage.or_insert_with(|| "workspace_artifacts".into());
    let credentials = members.entry("credentials").or_insert_with(|| json!({}));
    credentials["git_token_configured"] = has_token.into();
    Ok(members.into())
}

/// What a token is sealed for: one workspace, so that it cannot be moved to another one.
pub(super) fn sealed_text(workspace: WorkspaceId, token: &str) -> Vec<u8> {
    format!("{workspace} {token}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(value: Value) -> JsonObject {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_token_is_taken_out_and_the_rest_stays() {
        let wanted = given(json!({"credentials": {"git_token": "abc", "user": "x"}, "a": 1}));
        let settings = merge(Map::new(), Some(&wanted)).unwrap();
        assert_eq!(settings.token, Token::Set("abc".to_owned()));
        assert_eq!(
            Value::Object(settings.members),
            json!({"credentials": {"user": "x"}, "a": 1})
        );
    }

    #[test]
    fn members_are_replaced_one_by_one_and_null_takes_one_away() {
        let stored = json!({"a": 1, "b": {"c": 2}}).as_object().unwrap().clone();
        let settings = merge(stored, Some(&given(json!({"a": null, "d": 3})))).unwrap();
        assert_eq!(settings.token, Token::Keep);
        assert_eq!(
            Value::Object(settings.members),
            json!({"b": {"c": 2}, "d": 3})
        );
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (wanted, path) in [
            (
                json!({"workspace_storage_type": "floppy"}),
                "settings.workspace_storage_type",
            ),
            (json!({"model_override": "x"}), "settings.model_override"),
            (
                json!({"workspace_storage_type": "host_directory", "workspace_storage": {"host_path": "a"}}),
                "settings.workspace_storage.host_path",
            ),
            (
                json!({"workspace_storage_type": "git_remote", "workspace_storage": {}}),
                "settings.workspace_storage.repository_url",
            ),
            (
                json!({"planning_playbook_id": "x".repeat(36)}),
                "settings.planning_playbook_id",
            ),
            (json!({"workspace_brief": 7}), "settings.workspace_brief"),
        ] {
            let error = merge(Map::new(), Some(&given(wanted))).err().unwrap();
            let details = error.refusal().unwrap().to_wire().details.unwrap();
            let fields = details.issues.unwrap().field_errors;
            assert!(fields.contains_key(path), "{path}: {fields:?}");
        }
    }

    #[test]
    fn a_plain_secret_elsewhere_is_refused() {
        assert!(
            merge(
                Map::new(),
                Some(&given(json!({"deploy": {"password": "x"}})))
            )
            .is_err()
        );
        merge(
            Map::new(),
            Some(&given(json!({"deploy": {"password": "secret:X"}}))),
        )
        .unwrap();
    }
}

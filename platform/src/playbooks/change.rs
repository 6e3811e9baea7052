//! Making a playbook, editing its draft, making its next version.

use protocol::{
    CreatePlaybook, JsonObject, Lifecycle, Playbook, PlaybookId, PlaybookStatus, ReasonCode,
    UpdatePlaybook,
};
use serde_json::Value;

use super::definition::Definition;
use super::store::{self, Facts};
use super::{bad_definition, must_reach_all, no_such_playbook, tell};
use crate::error::Error;
use crate::http::{Write, check_length, refuse_secrets};

/// Characters of a slug.
const SLUG_CHARS_MAX: usize = 80;

/// Makes the first version of a playbook.
///
/// # Errors
/// 409 `name_taken`; 422 for bad fields and for every mistake in the definition.
pub(super) async fn create_playbook(
    write: &mut Write,
    wanted: CreatePlaybook,
) -> Result<Playbook, Error> {
    let is_draft = wanted.draft.unwrap_or(false);
    let facts = Facts {
        name: wanted.name,
        description: wanted.description,
        outcome: wanted.outcome,
        lifecycle: wanted.lifecycle.unwrap_or(Lifecycle::Planned),
        changelog: wanted.changelog,
        definition: wanted.definition,
    };
    check(&facts, is_draft)?;
    let slug = normalised(wanted.slug.as_deref().unwrap_or(&facts.name));
    if slug.is_empty() {
        let message = "must have a letter or digit";
        let field = if wanted.slug.is_some() {
            "slug"
        } else {
            "name"
        };
        return Err(Error::field(field, message));
    }
    let caller = write.caller().clone();
    must_reach_all(&caller)?;
    store::lock_family(write.conn(), caller.tenant(), &slug).await?;
    if store::newest_version(write.conn(), caller.tenant(), &slug).await? > 0 {
        let message = format!("there is a playbook {slug:?} already");
        return Err(
            crate::error::Refused::new(protocol::ErrorCode::Conflict, message)
                .reason(ReasonCode::NameTaken)
                .hint("choose another slug, or PATCH the one there is to make its next version")
                .into(),
        );
    }
    let made = store::insert(write.conn(), caller.tenant(), &slug, 1, &facts, is_draft).await?;
    tell(write.tx(), &caller, "playbook.created", &made).await?;
    if !is_draft {
        tell(write.tx(), &caller, "playbook.published", &made).await?;
    }
    Ok(made)
}

/// What a change leaves out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LeftOut {
    /// It stays as it is.
    Stays,
    /// It must be there: the whole is given anew.
    MustBeGiven,
}

/// Edits a draft in place; of anything else, makes the next version.
///
/// # Errors
/// 404; 409 when there is another draft already; 422 for bad fields and for every mistake in the definition.
pub(super) async fn update_playbook(
    write: &mut Write,
    id: PlaybookId,
    wanted: UpdatePlaybook,
    left_out: LeftOut,
) -> Result<Playbook, Error> {
    let caller = write.caller().clone();
    must_reach_all(&caller)?;
    let tenant = caller.tenant();
    let old = store::read(write.conn(), tenant, id).await?;
    let old = old.ok_or_else(|| no_such_playbook(id))?;
    // Everything about the versions of one playbook happens one after the other.
    store::lock_family(write.conn(), tenant, &old.slug).await?;
    let old = store::read(write.conn(), tenant, id).await?;
    let old = old.ok_or_else(|| no_such_playbook(id))?;
    if wanted
        .slug
        .as_deref()
        .is_some_and(|slug| normalised(slug) != old.slug)
    {
        let message = format!(
            "is what the versions have in common: {:?}; it cannot be changed",
            old.slug
        );
        return Err(Error::field("slug", message));
    }
    let is_edit = old.status == PlaybookStatus::Draft;
    if is_edit && wanted.draft == Some(false) {
        let message = "a draft is published by POST /api/v1/playbooks/{playbook_id}/publish";
        return Err(Error::field("draft", message));
    }
    let is_draft = is_edit || wanted.draft.unwrap_or(false);
    let facts = merged(wanted, &old, left_out)?;
    check(&facts, is_draft)?;
    if is_edit {
        let edited = store::edit(write.conn(), tenant, id, &facts).await?;
        tell(write.tx(), &caller, "playbook.updated", &edited).await?;
        return Ok(edited);
    }
    if is_draft && store::has_draft(write.conn(), tenant, &old.slug).await? {
        return Err(crate::error::Refused::new(
            protocol::ErrorCode::Conflict,
            format!("playbook {:?} has a draft already", old.slug),
        )
        .reason(ReasonCode::InUse)
        .hint("edit that one, publish it, or delete it; GET /api/v1/playbooks/{playbook_id}/versions names it")
        .into());
    }
    let version = store::newest_version(write.conn(), tenant, &old.slug).await? + 1;
    if !is_draft {
        store::deactivate(write.conn(), tenant, &old.slug).await?;
    }
    let made = store::insert(write.conn(), tenant, &old.slug, version, &facts, is_draft).await?;
    tell(write.tx(), &caller, "playbook.updated", &made).await?;
    if !is_draft {
        tell(write.tx(), &caller, "playbook.published", &made).await?;
    }
    Ok(made)
}

fn merged(wanted: UpdatePlaybook, old: &Playbook, left_out: LeftOut) -> Result<Facts, Error> {
    if left_out == LeftOut::MustBeGiven {
        for (name, is_given) in [
            ("name", wanted.name.is_some()),
            ("outcome", wanted.outcome.is_some()),
            ("definition", wanted.definition.is_some()),
        ] {
            if !is_given {
                return Err(Error::field(
                    name,
                    "must be given; PATCH changes single fields",
                ));
            }
        }
    }
    let stays = left_out == LeftOut::Stays;
    Ok(Facts {
        name: wanted.name.unwrap_or_else(|| old.name.clone()),
        description: match wanted.description {
            None if stays => old.description.clone(),
            given => given,
        },
        outcome: wanted.outcome.unwrap_or_else(|| old.outcome.clone()),
        lifecycle: match wanted.lifecycle {
            None if stays => old.lifecycle,
            given => given.unwrap_or(Lifecycle::Planned),
        },
        changelog: match wanted.changelog {
            // What is told of a published version says nothing about the next one.
            None if stays && old.status == PlaybookStatus::Draft => old.changelog.clone(),
            given => given,
        },
        definition: wanted.definition.unwrap_or_else(|| old.definition.clone()),
    })
}

/// Refuses what cannot be stored. A draft may still have mistakes in its definition.
pub(super) fn check(facts: &Facts, is_draft: bool) -> Result<(), Error> {
    check_length("name", facts.name.trim(), 1..=255)?;
    check_length("outcome", facts.outcome.trim(), 1..=4000)?;
    for (name, text) in [
        ("description", &facts.description),
        ("changelog", &facts.changelog),
    ] {
        check_length(name, text.as_deref().unwrap_or_default(), 0..=4000)?;
    }
    refuse_plain_secrets(&facts.definition)?;
    if is_draft {
        return Ok(());
    }
    match Definition::parse(&facts.definition, facts.lifecycle) {
        Ok(_) => Ok(()),
        Err(mistakes) => Err(bad_definition(&mistakes)),
    }
}

/// A definition is read by many, so no plain secret may stand in it.
fn refuse_plain_secrets(definition: &JsonObject) -> Result<(), Error> {
    refuse_secrets("definition", &Value::Object(definition.members()))
}

/// A slug as it is stored: small letters and digits with hyphens between.
pub(super) fn normalised(text: &str) -> String {
    let mut slug = String::new();
    for character in text.to_lowercase().chars() {
        if character.is_ascii_alphanumeric() {
            slug.push(character);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.truncate(SLUG_CHARS_MAX);
    slug.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_is_made_of_what_fits_into_an_address() {
        assert_eq!(normalised("  Check the Files! "), "check-the-files");
        assert_eq!(normalised("Prüfung №7"), "pr-fung-7");
        assert_eq!(normalised("…"), "");
        assert_eq!(normalised(&"a-".repeat(100)).len(), 79);
    }
}

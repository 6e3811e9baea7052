//! Making and changing workspaces.

use protocol::{CreateWorkspace, JsonObject, ReasonCode, UpdateWorkspace, Workspace, WorkspaceId};
use serde_json::{Map, json};

use super::settings::{self, Token, sealed_text};
use super::store::{self, Facts, Stored};
use super::{memory, must_be_visible, no_such_workspace, tell};
use crate::app::App;
use crate::error::Error;
use crate::http::{Write, check_length};

/// Makes a workspace.
///
/// # Errors
/// 403 for a key that is restricted to other workspaces; 409 `name_taken`; 422 for bad fields.
pub(super) async fn create_workspace(
    app: &App,
    write: &mut Write,
    wanted: &CreateWorkspace,
) -> Result<Workspace, Error> {
    let caller = write.caller().clone();
    caller.may_reach(None)?;
    check_texts(
        Some(&wanted.name),
        Some(&wanted.slug),
        wanted.description.as_deref(),
        wanted.repository_url.as_deref(),
    )?;
    let settings = settings::merge(Map::new(), wanted.settings.as_ref())?;
    let id = WorkspaceId::new();
    let token = match &settings.token {
        Token::Set(token) => Some(app.seal.close(&sealed_text(id, token))?),
        Token::Keep | Token::Clear => None,
    };
    let facts = Facts {
        name: wanted.name.trim(),
        slug: &wanted.slug,
        description: given(wanted.description.as_deref()),
        repository_url: given(wanted.repository_url.as_deref()),
        settings: serde_json::to_string(&settings.members)?,
        git_token: token,
        is_active: true,
    };
    if !store::insert(write.conn(), caller.tenant(), id, &facts).await? {
        return Err(slug_taken(&wanted.slug));
    }
    let entries = wanted.memory.as_ref().map(JsonObject::members);
    memory::fill(
        write.conn(),
        caller.tenant(),
        id,
        &entries.unwrap_or_default(),
    )
    .await?;
    let data = json!({ "name": facts.name, "slug": facts.slug });
    tell(write.tx(), &caller, "workspace.created", id, data).await?;
    let made = store::read(write.conn(), caller.tenant(), id).await?;
    made.ok_or_else(|| no_such_workspace(id))
}

/// Changes what is given of a workspace.
///
/// # Errors
/// 404; 409 `name_taken`; 422 for bad fields.
pub(super) async fn update_workspace(
    app: &App,
    write: &mut Write,
    id: WorkspaceId,
    wanted: &UpdateWorkspace,
) -> Result<Workspace, Error> {
    let caller = write.caller().clone();
    must_be_visible(&caller, id)?;
    check_texts(
        wanted.name.as_deref(),
        wanted.slug.as_deref(),
        wanted.description.as_deref(),
        wanted.repository_url.as_deref(),
    )?;
    let stored = store::lock(write.conn(), caller.tenant(), id).await?;
    let Stored {
        name,
        slug,
        description,
        repository_url,
        settings: before,
        git_token,
        is_active,
    } = stored.ok_or_else(|| no_such_workspace(id))?;
    let settings = settings::merge(serde_json::from_str(&before)?, wanted.settings.as_ref())?;
    let git_token = match &settings.token {
        Token::Keep => git_token,
        Token::Clear => None,
        Token::Set(token) => Some(app.seal.close(&sealed_text(id, token))?),
    };
    let facts = Facts {
        name: wanted.name.as_deref().map_or(&name, |name| name.trim()),
        slug: wanted.slug.as_deref().unwrap_or(&slug),
        description: given(wanted.description.as_deref().or(description.as_deref())),
        repository_url: given(
            wanted
                .repository_url
                .as_deref()
                .or(repository_url.as_deref()),
        ),
        settings: serde_json::to_string(&settings.members)?,
        git_token,
        is_active: wanted.is_active.unwrap_or(is_active),
    };
    if !store::update(write.conn(), caller.tenant(), id, &facts).await? {
        return Err(slug_taken(facts.slug));
    }
    let named = [
        ("name", wanted.name.is_some()),
        ("slug", wanted.slug.is_some()),
        ("description", wanted.description.is_some()),
        ("repository_url", wanted.repository_url.is_some()),
        ("settings", wanted.settings.is_some()),
        ("is_active", wanted.is_active.is_some()),
    ];
    let fields: Vec<&str> = named
        .iter()
        .filter(|(_, is)| *is)
        .map(|(name, _)| *name)
        .collect();
    let data = json!({ "fields": fields });
    tell(write.tx(), &caller, "workspace.updated", id, data).await?;
    let changed = store::read(write.conn(), caller.tenant(), id).await?;
    changed.ok_or_else(|| no_such_workspace(id))
}

/// An empty text counts as none.
fn given(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

fn slug_taken(slug: &str) -> Error {
    let message = format!("there is a workspace {slug:?} already; choose another slug");
    Error::conflict(ReasonCode::NameTaken, message)
}

fn check_texts(
    name: Option<&str>,
    slug: Option<&str>,
    description: Option<&str>,
    repository_url: Option<&str>,
) -> Result<(), Error> {
    if let Some(name) = name {
        check_length("name", name.trim(), 1..=255)?;
    }
    if let Some(slug) = slug {
        check_slug(slug)?;
    }
    if let Some(description) = description {
        check_length("description", description, 0..=4000)?;
    }
    if let Some(url) = repository_url {
        check_length("repository_url", url, 0..=2000)?;
    }
    Ok(())
}

fn check_slug(slug: &str) -> Result<(), Error> {
    check_length("slug", slug, 1..=120)?;
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let fits = slug.bytes().all(|byte| is_plain(byte) || byte == b'-')
        && !slug.starts_with('-')
        && !slug.ends_with('-');
    if fits {
        return Ok(());
    }
    Err(Error::field(
        "slug",
        "must be lower case letters, digits and hyphens, and begin and end with a letter or digit",
    ))
}

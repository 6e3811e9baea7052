//! A request to change something, off the hot path: from its slot to its commit.

use axum::extract::{FromRequest, Request};
use http::StatusCode;
use protocol::ReasonCode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use super::caller::Caller;
use super::canonical::canonical;
use super::operation::Operation;
use super::reply::Reply;
use super::slots::{self, Turn};
use super::{body, store};
use crate::app::App;
use crate::db::Tx;
use crate::error::{Error, Refused};

/// How long an answer is remembered.
const KEEP_HOURS: i32 = 7 * 24;
/// How long an answer that holds a key is remembered, encrypted.
const KEEP_SEALED_HOURS: i32 = 24;

/// A request to change something: who asks, what is asked, under which idempotency key.
pub struct Command<T> {
    /// Who asks.
    pub caller: Caller,
    /// What is asked.
    pub body: T,
    slot: Option<Slot>,
}

/// The slot that a request's idempotency key names.
struct Slot {
    request_id: String,
    operation: &'static str,
    target: String,
    fingerprint: Vec<u8>,
}

/// The transaction of a command. It ends in [`Write::commit`] or one of its siblings, or is rolled back.
pub struct Write {
    app: App,
    tx: Tx,
    slot: Option<(Slot, Turn)>,
    caller: Caller,
}

impl<T: DeserializeOwned + Send> FromRequest<App> for Command<T> {
    type Rejection = Error;

    async fn from_request(request: Request, app: &App) -> Result<Self, Error> {
        let (parts, stream) = request.into_parts();
        let bytes = body::read(&parts.headers, stream, app.config.limits.body_bytes_max).await?;
        let body = body::parse(&bytes)?;
        let public = || Error::Internal(anyhow::anyhow!("a route that takes a command is public"));
        let caller = parts
            .extensions
            .get::<Caller>()
            .cloned()
            .ok_or_else(public)?;
        let operation = parts
            .extensions
            .get::<Operation>()
            .ok_or_else(public)?
            .name();
        let slot = slots::request_id(&parts.headers, &bytes)?.map(|request_id| Slot {
            request_id,
            operation,
            target: parts.uri.path().to_owned(),
            fingerprint: fingerprint(&caller, &bytes),
        });
        Ok(Self { caller, body, slot })
    }
}

impl<T> Command<T> {
    /// Opens the transaction and takes the slot, or ends the request with the earlier answer.
    ///
    /// # Errors
    /// The earlier answer; 409 when the key was used for something else or its request still runs.
    pub async fn begin(self, app: &App) -> Result<(Write, T), Error> {
        let tenant = self.caller.tenant().uuid();
        let holder = self.caller.slot_holder();
        let turn = match &self.slot {
            Some(slot) => Some(
                app.in_flight
                    .turn((tenant, holder, slot.request_id.clone()))
                    .await,
            ),
            None => None,
        };
        let mut tx = app.db.begin().await?;
        if let Some(slot) = &self.slot {
            let row = store::Slot {
                tenant,
                holder,
                request_id: &slot.request_id,
                operation: slot.operation,
                target: &slot.target,
                fingerprint: &slot.fingerprint,
            };
            if !store::take(tx.conn(), &row, KEEP_HOURS).await? {
                return Err(earlier_answer(app, tx.conn(), &row).await?);
            }
        }
        let write = Write {
            app: app.clone(),
            tx,
            slot: self.slot.zip(turn),
            caller: self.caller,
        };
        Ok((write, self.body))
    }
}

/// What tells two requests under one idempotency key apart.
///
/// The restrictions of the key are part of it: automation keys share their request ids, and a restricted
/// one must not be given the answer, or the new key, that a less restricted one got.
fn fingerprint(caller: &Caller, body: &[u8]) -> Vec<u8> {
    let identity = caller.identity();
    let mut digest = Sha256::new();
    digest.update(canonical(body));
    for workspace in &identity.workspaces {
        digest.update(workspace.uuid());
    }
    for tag in &identity.routing_tags {
        digest.update([0]);
        digest.update(tag);
    }
    digest.finalize().to_vec()
}

/// What the request that took the slot was answered, or why this one is refused.
async fn earlier_answer(
    app: &App,
    db: &mut PgConnection,
    slot: &store::Slot<'_>,
) -> Result<Error, Error> {
    let in_progress = || {
        Refused::new(
            protocol::ErrorCode::Conflict,
            "a request with this request_id is still running",
        )
        .reason(ReasonCode::RequestInProgress)
        .hint("repeat it after Retry-After: it then gets the answer of the first one")
        .retry_after(1)
        .into()
    };
    let Some(taken) = store::read(db, slot).await? else {
        return Ok(in_progress());
    };
    if taken.operation != slot.operation
        || taken.target != slot.target
        || taken.fingerprint != slot.fingerprint
    {
        return Ok(Refused::new(
            protocol::ErrorCode::Conflict,
            format!("request_id {:?} was used before, for {} on {} or with another body", slot.request_id, taken.operation, taken.target),
        )
        .reason(ReasonCode::RequestIdReused)
        .hint("use a new request_id for every new request, and the same one only to repeat it unchanged")
        .into());
    }
    let Some(status) = taken
        .status
        .and_then(|status| StatusCode::from_u16(status.unsigned_abs()).ok())
    else {
        return Ok(in_progress());
    };
    let body = taken.body.unwrap_or_default();
    let data = if taken.is_sealed {
        app.seal.open(&body)?
    } else {
        body
    };
    Ok(Error::Replayed { status, data })
}

impl Write {
    /// Who asks.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The connection of the transaction.
    pub fn conn(&mut self) -> &mut PgConnection {
        self.tx.conn()
    }

    /// The transaction itself, for operations that move tasks or wake someone.
    pub fn tx(&mut self) -> &mut Tx {
        &mut self.tx
    }

    /// Stores the answer, commits, and answers.
    ///
    /// # Errors
    /// 503 `outcome_unknown` when the connection died while committing.
    pub async fn commit<T: Serialize>(
        self,
        status: StatusCode,
        data: T,
    ) -> Result<Reply<T>, Error> {
        self.finish(status, serde_json::to_vec(&data)?, None).await
    }

    /// Like [`Write::commit`], for an answer that holds a key: it is remembered encrypted, and not for long.
    ///
    /// # Errors
    /// As for `commit`.
    pub async fn commit_secret<T: Serialize>(
        self,
        status: StatusCode,
        data: T,
    ) -> Result<Reply<T>, Error> {
        self.finish(status, serde_json::to_vec(&data)?, Some(KEEP_SEALED_HOURS))
            .await
    }

    /// Commits and answers without a body.
    ///
    /// # Errors
    /// As for `commit`.
    pub async fn commit_empty(self) -> Result<Reply<()>, Error> {
        self.finish(StatusCode::NO_CONTENT, Vec::new(), None).await
    }

    async fn finish<T>(
        mut self,
        status: StatusCode,
        data: Vec<u8>,
        seal_hours: Option<i32>,
    ) -> Result<Reply<T>, Error> {
        match &self.slot {
            Some((slot, _)) => {
                let stored = match seal_hours {
                    Some(_) => self.app.seal.close(&data)?,
                    None => data.clone(),
                };
                let code = i16::try_from(status.as_u16()).expect("a status is below 1000");
                let (tenant, holder) = (self.caller.tenant().uuid(), self.caller.slot_holder());
                store::fill(
                    self.tx.conn(),
                    tenant,
                    holder,
                    &slot.request_id,
                    code,
                    &stored,
                    seal_hours,
                )
                .await?;
            }
            None => store::prove(self.tx.conn()).await?,
        }
        self.tx.commit(&self.app).await?;
        if data.is_empty() {
            return Ok(Reply::no_content());
        }
        Reply::of_data(status, data)
    }
}

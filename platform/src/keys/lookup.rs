//! From the header to the identity, mostly without the database.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use protocol::{KeyId, TenantId};
use uuid::Uuid;

use super::store::{Named, Valid};
use super::{secret, store};
use crate::app::App;
use crate::auth;
use crate::error::Error;
use crate::http::{Caller, Identity};

/// How long an entry is believed without hearing anything: bounds a revocation whose note was lost.
const BELIEVED_FOR: Duration = Duration::from_secs(30);
/// Entries at most; beyond, the cache starts anew.
const ENTRIES_MAX: usize = 100_000;

/// Keys, and tokens that stand for keys, that were found valid.
#[derive(Default)]
pub struct KeyCache {
    /// By the hash of what stood in the header.
    entries: DashMap<[u8; 32], Entry>,
    /// Raised by every revocation: what was read before it must not be remembered after it.
    generation: AtomicU64,
}

struct Entry {
    identity: Arc<Identity>,
    until: Instant,
    /// Whether it was used since its use was last written down.
    was_used: AtomicBool,
}

impl KeyCache {
    /// Who a bearer stands for, or none when it is neither a valid key nor a valid token.
    ///
    /// # Errors
    /// 503 when the database cannot be reached.
    pub async fn authenticate(
        &self,
        app: &App,
        bearer: &str,
    ) -> Result<Option<Arc<Identity>>, Error> {
        let hash = secret::hash(bearer);
        if let Some(entry) = self.entries.get(&hash)
            && entry.until > Instant::now()
        {
            entry.was_used.store(true, Ordering::Relaxed);
            return Ok(Some(Arc::clone(&entry.identity)));
        }
        // Boxed: the room that the database takes is not kept for every request that waits.
        Box::pin(self.ask(app, bearer, hash)).await
    }

    async fn ask(
        &self,
        app: &App,
        bearer: &str,
        hash: [u8; 32],
    ) -> Result<Option<Arc<Identity>>, Error> {
        let (named, believed_for) = if auth::is_token(bearer) {
            let Some(token) = auth::verify(app.seal.signing_key(), bearer) else {
                return Ok(None);
            };
            (Named::Id(token.tenant, token.key), token.time_left)
        } else {
            (Named::Hash(&hash), BELIEVED_FOR)
        };
        let generation = self.generation.load(Ordering::Acquire);
        let mut db = app.db.reader().await?;
        let Some(valid) = store::find_valid(&mut db, named).await? else {
            self.entries.remove(&hash);
            return Ok(None);
        };
        drop(db);
        let left = valid.seconds_left.map_or(BELIEVED_FOR, |seconds| {
            // A key may end in thousands of years, more than a Duration likes to be made from.
            Duration::from_secs_f64(seconds.clamp(0.0, BELIEVED_FOR.as_secs_f64()))
        });
        let identity = Arc::new(valid.identity);
        if self.entries.len() >= ENTRIES_MAX {
            self.entries.clear();
        }
        let entry = Entry {
            identity: Arc::clone(&identity),
            until: Instant::now() + left.min(believed_for).min(BELIEVED_FOR),
            was_used: AtomicBool::new(true),
        };
        self.entries.insert(hash, entry);
        // A revocation that came in between found nothing to forget, or is about to find this entry.
        if self.generation.load(Ordering::Acquire) != generation {
            self.entries.remove(&hash);
        }
        Ok(Some(identity))
    }

    /// Forgets a key that was revoked or changed, and its tokens.
    pub fn forget(&self, key: KeyId) {
        self.forget_where(|identity| identity.key == key);
    }

    /// Forgets every key of a tenant that was activated or deactivated.
    pub fn forget_tenant(&self, tenant: TenantId) {
        self.forget_where(|identity| identity.tenant == tenant);
    }

    /// Forgets every key: notes may have been missed.
    pub fn forget_everything(&self) {
        self.forget_where(|_| true);
    }

    fn forget_where(&self, goes: impl Fn(&Identity) -> bool) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.entries.retain(|_, entry| !goes(&entry.identity));
    }

    /// The keys that were used since this was last asked. Drops what is not believed any more.
    fn take_used(&self) -> Vec<(Uuid, Uuid)> {
        let now = Instant::now();
        let mut used = Vec::new();
        self.entries.retain(|_, entry| {
            if entry.was_used.swap(false, Ordering::Relaxed) {
                used.push((entry.identity.tenant.uuid(), entry.identity.key.uuid()));
            }
            entry.until > now
        });
        used.sort_unstable();
        used.dedup();
        used
    }
}

/// Looks up a key by its secret, past the cache.
///
/// # Errors
/// 503 when the database cannot be reached.
pub async fn look_up(app: &App, key: &str) -> Result<Option<Valid>, Error> {
    let mut db = app.db.reader().await?;
    store::find_valid(&mut db, Named::Hash(&secret::hash(key))).await
}

/// Whether the caller's key is still valid, past the cache: for requests that last long, such as streams.
///
/// # Errors
/// 503 when the database cannot be reached.
pub async fn is_still_valid(app: &App, caller: &Caller) -> Result<bool, Error> {
    let named = Named::Id(caller.tenant(), caller.identity().key);
    let mut db = app.db.reader().await?;
    Ok(store::find_valid(&mut db, named).await?.is_some())
}

/// Loop body: writes down which keys were used. What cannot be written is noted with the next use.
pub async fn note_key_use(app: App) -> Result<u64, Error> {
    let (tenants, keys): (Vec<_>, Vec<_>) = app.keys.take_used().into_iter().unzip();
    if keys.is_empty() {
        return Ok(0);
    }
    let mut db = app.db.internal().await?;
    Ok(store::note_use(&mut db, &tenants, &keys).await?)
}

/// Loop body: forgets keys of agents and workers that ended long ago.
pub async fn forget_keys(app: App) -> Result<u64, Error> {
    let days = app.config.retention.holder_retention_days;
    let mut db = app.db.internal().await?;
    Ok(store::forget(&mut db, days).await?)
}

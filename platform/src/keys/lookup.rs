//! From the header to the identity, mostly without the database.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use protocol::KeyId;

use super::{secret, store};
use crate::app::App;
use crate::error::Error;
use crate::http::Identity;

/// How long an entry is believed without hearing anything: bounds a revocation whose note was lost.
const BELIEVED_FOR: Duration = Duration::from_secs(30);
/// Entries at most; beyond, the cache starts anew.
const ENTRIES_MAX: usize = 100_000;

/// Keys that were found valid.
#[derive(Default)]
pub struct KeyCache {
    entries: DashMap<[u8; 32], Entry>,
    /// Raised by every revocation: what was read before it must not be remembered after it.
    generation: AtomicU64,
}

struct Entry {
    identity: Arc<Identity>,
    until: Instant,
}

impl KeyCache {
    /// Who a bearer token stands for, or none when it is not valid.
    ///
    /// # Errors
    /// 503 when the database cannot be reached.
    pub async fn authenticate(
        &self,
        app: &App,
        token: &str,
    ) -> Result<Option<Arc<Identity>>, Error> {
        let hash = secret::hash(token);
        if let Some(entry) = self.entries.get(&hash)
            && entry.until > Instant::now()
        {
            return Ok(Some(Arc::clone(&entry.identity)));
        }
        let generation = self.generation.load(Ordering::Acquire);
        let mut db = app.db.reader().await?;
        let Some(valid) = store::find_valid(&mut db, &hash).await? else {
            self.entries.remove(&hash);
            return Ok(None);
        };
        let left = valid.seconds_left.map_or(BELIEVED_FOR, |seconds| {
            Duration::from_secs_f64(seconds.max(0.0))
        });
        let identity = Arc::new(valid.identity);
        if self.entries.len() >= ENTRIES_MAX {
            self.entries.clear();
        }
        if self.generation.load(Ordering::Acquire) == generation {
            let until = Instant::now() + left.min(BELIEVED_FOR);
            self.entries.insert(
                hash,
                Entry {
                    identity: Arc::clone(&identity),
                    until,
                },
            );
        }
        Ok(Some(identity))
    }

    /// Forgets a key that was revoked or changed.
    pub fn forget(&self, key: KeyId) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.entries.retain(|_, entry| entry.identity.key != key);
    }

    /// Forgets every key: notes may have been missed.
    pub fn forget_everything(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.entries.clear();
    }
}

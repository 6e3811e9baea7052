//! How far the streams of a tenant can be read by now.
//!
//! Any number of streams of one tenant share one watcher, which looks for the newest settled row when
//! this replica has appended something, and twice a second besides, because other replicas append too.
//! It ends with its last stream. Streams themselves ask the database only when there is news.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use futures_util::future::BoxFuture;
use protocol::TenantId;
use tokio::sync::{Semaphore, watch};

use super::cursor::Cursor;
use crate::app::App;
use crate::error::Error;

/// Longest pause between two looks: what another replica appended is seen this late at most.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Shortest pause between two looks, so that a busy replica does not look after every commit.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A kind of row that is followed: where it is found, and what tells that there are more.
pub struct Followed {
    /// For log lines.
    pub name: &'static str,
    /// Its watchers on a replica.
    pub tails: fn(&App) -> &Tails,
    /// Changes whenever this replica has appended such rows.
    pub appended: fn(&App) -> watch::Receiver<u64>,
    /// The newest row of a tenant that nothing can come before any more.
    pub newest: fn(App, TenantId) -> BoxFuture<'static, Result<Cursor, Error>>,
}

/// The watchers of one kind of row on this replica.
pub struct Tails {
    watched: DashMap<TenantId, watch::Sender<Cursor>>,
    pub(super) streams: Arc<Semaphore>,
}

impl Tails {
    /// Nobody follows yet; at most `streams_max` may.
    pub fn new(streams_max: usize) -> Self {
        Self {
            watched: DashMap::new(),
            streams: Arc::new(Semaphore::new(streams_max)),
        }
    }
}

/// Follows the newest settled row of a tenant.
pub(super) fn follow(
    app: &App,
    kind: &'static Followed,
    tenant: TenantId,
) -> watch::Receiver<Cursor> {
    match (kind.tails)(app).watched.entry(tenant) {
        Entry::Occupied(watched) => watched.get().subscribe(),
        Entry::Vacant(vacant) => {
            let (sender, receiver) = watch::channel(Cursor::START);
            vacant.insert(sender);
            app.spawn(keep_looking(app.clone(), kind, tenant));
            receiver
        }
    }
}

async fn keep_looking(app: App, kind: &'static Followed, tenant: TenantId) {
    let tails = (kind.tails)(&app);
    let mut appended = (kind.appended)(&app);
    loop {
        // Nobody can subscribe between this look and the removal: both hold the entry.
        let is_over = tails
            .watched
            .remove_if(&tenant, |_, watched| watched.receiver_count() == 0);
        if is_over.is_some() {
            return;
        }
        // Mark what was appended as seen before looking: what comes in between makes us look again.
        appended.borrow_and_update();
        let looked = app.db.unless_silent((kind.newest)(app.clone(), tenant));
        match looked.await.flatten() {
            Ok(newest) => {
                if let Some(watched) = tails.watched.get(&tenant) {
                    watched.send_if_modified(|known| {
                        let has_news = newest > *known;
                        *known = newest.max(*known);
                        has_news
                    });
                }
            }
            Err(error) => {
                tracing::warn!(%error, "streams of {} cannot look for news; trying again", kind.name);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            () = app.shutdown.cancelled() => return,
        }
        tokio::select! {
            _ = appended.changed() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = app.shutdown.cancelled() => return,
        }
    }
}

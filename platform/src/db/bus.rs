//! Telling what has happened: to this replica at once, to the others by NOTIFY.
//!
//! A note only makes something sooner. Whoever acts on notes also looks by itself, so a lost note costs
//! seconds and never a task. NOTIFY serialises commits, so it is sent outside the transactions that
//! cause it, gathered for some milliseconds, and only for what other replicas wait for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use protocol::{KeyId, TenantId};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgListener;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use crate::app::App;
use crate::error::Error;

const CHANNEL: &str = "stint";
/// Notes are gathered this long before they go to the other replicas together.
const GATHER: Duration = Duration::from_millis(5);
/// PostgreSQL takes payloads below 8000 bytes.
const PAYLOAD_BYTES_MAX: usize = 7900;

/// Something others want to know once it has been committed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Note {
    /// A lane of a tenant has got work that can be claimed.
    WorkReady {
        /// Whose.
        tenant: TenantId,
        /// Which lane.
        lane: String,
        /// How many tasks.
        tasks: u32,
        /// Whether they went back to their old places, before the watermark of other replicas.
        at_old_place: bool,
    },
    /// A key was revoked or changed.
    KeyChanged {
        /// Which key.
        key: KeyId,
    },
    /// A tenant was activated or deactivated, and with it all of its keys.
    TenantChanged {
        /// Which tenant.
        tenant: TenantId,
    },
    /// Events were appended. For this replica only.
    EventsAppended,
    /// Log entries were appended. For this replica only.
    LogsAppended,
    /// Something will be due: a loop may have to wake sooner. For this replica only.
    DueSooner {
        /// The loop.
        name: String,
    },
}

impl Note {
    /// Whether other replicas wait for it.
    fn concerns_others(&self) -> bool {
        matches!(
            self,
            Self::WorkReady { .. } | Self::KeyChanged { .. } | Self::TenantChanged { .. }
        )
    }
}

#[derive(Serialize, Deserialize)]
struct Payload {
    from: Uuid,
    notes: Vec<Note>,
}

/// Where notes go.
pub struct Bus {
    replica: Uuid,
    outgoing: mpsc::UnboundedSender<Note>,
    events: watch::Sender<u64>,
    logs: watch::Sender<u64>,
    is_silent: AtomicBool,
}

/// The end of the bus from which the notifier takes what other replicas shall hear.
pub struct Outgoing(mpsc::UnboundedReceiver<Note>);

impl Bus {
    /// A bus for one replica, and the end that [`run`] needs.
    pub fn new() -> (Self, Outgoing) {
        let (outgoing, receiver) = mpsc::unbounded_channel();
        let bus = Self {
            replica: Uuid::now_v7(),
            outgoing,
            events: watch::Sender::new(0),
            logs: watch::Sender::new(0),
            is_silent: AtomicBool::new(false),
        };
        (bus, Outgoing(receiver))
    }

    /// Changes whenever this replica has appended events.
    pub fn events_appended(&self) -> watch::Receiver<u64> {
        self.events.subscribe()
    }

    /// Changes whenever this replica has appended log entries.
    pub fn logs_appended(&self) -> watch::Receiver<u64> {
        self.logs.subscribe()
    }

    /// From now on this replica neither tells nor hears anything, itself included: every note is lost. For
    /// tests that show that notes only make things sooner.
    pub fn fall_silent(&self) {
        self.is_silent.store(true, Ordering::Relaxed);
    }

    /// Tells this replica at once, and the others soon.
    pub fn publish(&self, app: &App, notes: Vec<Note>) {
        if self.is_silent.load(Ordering::Relaxed) {
            return;
        }
        for note in notes {
            self.apply(app, &note);
            if note.concerns_others() && self.outgoing.send(note).is_err() {
                tracing::debug!("a note was not sent: the platform is shutting down");
            }
        }
    }

    fn apply(&self, app: &App, note: &Note) {
        match note {
            Note::WorkReady {
                tenant,
                lane,
                tasks,
                at_old_place,
            } => {
                if *at_old_place {
                    app.hints.look_from_the_start(*tenant, lane);
                }
                app.hints.work_ready(*tenant, lane, *tasks);
            }
            Note::KeyChanged { key } => app.keys.forget(*key),
            Note::TenantChanged { tenant } => app.keys.forget_tenant(*tenant),
            Note::EventsAppended => self
                .events
                .send_modify(|count| *count = count.wrapping_add(1)),
            Note::LogsAppended => self
                .logs
                .send_modify(|count| *count = count.wrapping_add(1)),
            Note::DueSooner { name } => app.loops.wake(name),
        }
    }
}

/// Sends notes to the other replicas, and hears theirs, until the platform shuts down.
pub async fn run(app: App, outgoing: Outgoing) {
    tokio::join!(send(app.clone(), outgoing), hear(app));
}

async fn send(app: App, Outgoing(mut outgoing): Outgoing) {
    loop {
        let first = tokio::select! {
            note = outgoing.recv() => note,
            () = app.shutdown.cancelled() => return,
        };
        let Some(first) = first else { return };
        tokio::time::sleep(GATHER).await;
        let mut notes = vec![first];
        while let Ok(note) = outgoing.try_recv() {
            merge(&mut notes, note);
        }
        for payload in payloads(app.bus.replica, notes) {
            let told = app.db.unless_silent(notify(&app, &payload)).await;
            if let Err(error) = told.flatten() {
                tracing::warn!(%error, "other replicas could not be told; they look by themselves");
            }
        }
    }
}

async fn notify(app: &App, payload: &str) -> Result<(), Error> {
    let mut db = app.db.internal().await?;
    sqlx::query!("select pg_notify($1, $2)", CHANNEL, payload)
        .execute(&mut *db)
        .await?;
    Ok(())
}

/// Adds a note to those that wait; work for one lane is added up.
fn merge(notes: &mut Vec<Note>, note: Note) {
    if let Note::WorkReady {
        tenant,
        lane,
        tasks,
        at_old_place,
    } = &note
    {
        for known in notes.iter_mut() {
            if let Note::WorkReady {
                tenant: t,
                lane: l,
                tasks: sum,
                at_old_place: old,
            } = known
                && t == tenant
                && l == lane
            {
                *sum = sum.saturating_add(*tasks);
                *old |= *at_old_place;
                return;
            }
        }
    }
    notes.push(note);
}

/// Notes as payloads that PostgreSQL takes.
fn payloads(from: Uuid, notes: Vec<Note>) -> Vec<String> {
    let write = |notes: &[Note]| {
        serde_json::to_string(&Payload {
            from,
            notes: notes.to_vec(),
        })
        .expect("notes are plain data")
    };
    let mut done = Vec::new();
    let mut pending: Vec<Note> = Vec::new();
    for note in notes {
        pending.push(note);
        if write(&pending).len() > PAYLOAD_BYTES_MAX {
            let last = pending.pop().expect("just pushed");
            if !pending.is_empty() {
                done.push(write(&pending));
            }
            pending = vec![last];
        }
    }
    if !pending.is_empty() {
        done.push(write(&pending));
    }
    done
}

async fn hear(app: App) {
    loop {
        let ended = tokio::select! {
            ended = app.db.unless_silent(listen(&app)) => ended.and_then(|ended| ended.map_err(Error::from)),
            () = app.shutdown.cancelled() => return,
        };
        if let Err(error) = ended {
            tracing::warn!(%error, "LISTEN was lost; connecting again");
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            () = app.shutdown.cancelled() => return,
        }
    }
}

async fn listen(app: &App) -> sqlx::Result<()> {
    let mut listener = PgListener::connect_with(&app.db.internal_pool()).await?;
    listener.listen(CHANNEL).await?;
    // Whatever was said while nobody listened is lost: take nothing remembered for true.
    app.hints.forget_everything();
    app.keys.forget_everything();
    // `try_recv` answers None when the connection was lost.
    while let Some(notification) = listener.try_recv().await? {
        match serde_json::from_str::<Payload>(notification.payload()) {
            Ok(_) if app.bus.is_silent.load(Ordering::Relaxed) => {}
            Ok(payload) if payload.from != app.bus.replica => {
                for note in &payload.notes {
                    app.bus.apply(app, note);
                }
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "a note of another release was passed over"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(lane: &str, tasks: u32) -> Note {
        Note::WorkReady {
            tenant: TenantId::from(Uuid::nil()),
            lane: lane.to_owned(),
            tasks,
            at_old_place: false,
        }
    }

    #[test]
    fn work_for_one_lane_is_added_up() {
        let mut notes = vec![work("a", 1)];
        merge(&mut notes, work("b", 1));
        merge(&mut notes, work("a", 2));
        assert_eq!(notes, [work("a", 3), work("b", 1)]);
    }

    #[test]
    fn payloads_stay_below_what_postgres_takes() {
        let notes: Vec<_> = (0..500).map(|n| work(&format!("role:{n}"), 1)).collect();
        let texts = payloads(Uuid::nil(), notes);
        assert!(texts.len() > 1);
        let heard: usize = texts
            .iter()
            .map(|text| serde_json::from_str::<Payload>(text).unwrap().notes.len())
            .sum();
        assert_eq!(heard, 500);
        assert!(texts.iter().all(|text| text.len() < 8000));
    }
}

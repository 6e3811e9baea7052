//! Everything the checker judges: the histories of the clients, and what the database holds at the end.

use sqlx::PgConnection;
use sqlx::Row as _;
use uuid::Uuid;

use crate::history::Op;

/// One run, after it is over.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    pub(crate) ops: Vec<Op>,
    pub(crate) tasks: Vec<TaskRow>,
    /// Where tasks lie: one row for each drawer that has the task.
    pub(crate) places: Vec<PlaceRow>,
    /// In the order of their tasks, and of each task in the order of `task_seq`.
    pub(crate) events: Vec<EventRow>,
    pub(crate) holders: Vec<HolderRow>,
    pub(crate) runs: Vec<RunRow>,
    /// Which task still waits for which.
    pub(crate) edges: Vec<(Uuid, Uuid)>,
    /// Places in which a secret was found: files, and lines of the database.
    pub(crate) secrets_seen: Vec<String>,
    /// Whether everything was given the time to end.
    pub(crate) is_over: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct TaskRow {
    pub(crate) tenant: Uuid,
    pub(crate) id: Uuid,
    pub(crate) request_id: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct PlaceRow {
    pub(crate) task: Uuid,
    pub(crate) state: String,
    pub(crate) attempt: i32,
    pub(crate) task_seq: i32,
    pub(crate) blocked_count: i32,
    /// Whether a time, a gate or a person is named that lets it go on.
    pub(crate) has_reason: bool,
    pub(crate) agent: Option<Uuid>,
    pub(crate) worker: Option<Uuid>,
    /// Seconds until its lease ends; negative when nobody has noticed yet.
    pub(crate) lease_left: Option<f64>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct EventRow {
    /// Its number among all events.
    pub(crate) number: i64,
    pub(crate) task: Uuid,
    pub(crate) task_seq: i32,
    pub(crate) attempt: i32,
    pub(crate) from: Option<String>,
    pub(crate) to: String,
    pub(crate) reason: Option<String>,
    pub(crate) actor_type: String,
    /// Whose key made the move.
    pub(crate) actor: Option<Uuid>,
}

#[derive(Clone, Debug)]
pub(crate) struct HolderRow {
    pub(crate) id: Uuid,
    pub(crate) capacity: i64,
    /// How many leases it has, as the API tells.
    pub(crate) leases_told: i64,
}

#[derive(Clone, Debug)]
pub(crate) struct RunRow {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) state: String,
    /// Whether some step of it is open, or could be started.
    pub(crate) has_open_step: bool,
}

impl Evidence {
    /// Reads what the database holds.
    pub(crate) async fn read_database(&mut self, db: &mut PgConnection) {
        let rows = sqlx::query("select tenant_id, id, request_id from tasks")
            .fetch_all(&mut *db)
            .await
            .expect("tasks can be read");
        self.tasks = rows
            .iter()
            .map(|row| TaskRow {
                tenant: row.get("tenant_id"),
                id: row.get("id"),
                request_id: row.get("request_id"),
            })
            .collect();
        let rows = sqlx::query(
            "select task_id, state, attempt, task_seq, blocked_count, agent_id, worker_id,
                    extract(epoch from expires_at - clock_timestamp())::float8 as lease_left,
                    state <> 'pending' or exists (
                        select from task_waiting w
                        where w.tenant_id = p.tenant_id and w.task_id = p.task_id
                          and (w.available_at is not null or w.held is not null or w.needs_approval)
                    ) as has_reason
             from task_positions p",
        )
        .fetch_all(&mut *db)
        .await
        .expect("the drawers can be read");
        self.places = rows
            .iter()
            .map(|row| PlaceRow {
                task: row.get("task_id"),
                state: row.get("state"),
                attempt: row.get("attempt"),
                task_seq: row.get("task_seq"),
                blocked_count: row.get("blocked_count"),
                has_reason: row.get("has_reason"),
                agent: row.get("agent_id"),
                worker: row.get("worker_id"),
                lease_left: row.get("lease_left"),
            })
            .collect();
        let rows = sqlx::query(
            "select id, task_id, task_seq, attempt, from_state, to_state, reason, actor_type, actor_id
             from task_moves
             order by task_id, task_seq, xid, id",
        )
        .fetch_all(&mut *db)
        .await
        .expect("events can be read");
        self.events = rows
            .iter()
            .map(|row| EventRow {
                number: row.get("id"),
                actor: row.get("actor_id"),
                task: row.get("task_id"),
                task_seq: row.get("task_seq"),
                attempt: row.get::<Option<i32>, _>("attempt").unwrap_or(0),
                from: row.get("from_state"),
                to: row.get::<Option<String>, _>("to_state").unwrap_or_default(),
                reason: row.get("reason"),
                actor_type: row.get("actor_type"),
            })
            .collect();
        let rows = sqlx::query(
            "select id, capacity, leases from workers join worker_standing using (tenant_id, id, capacity)
             union all
             select id, capacity, leases from agents join agent_standing using (tenant_id, id, capacity)",
        )
        .fetch_all(&mut *db)
        .await
        .expect("holders can be read");
        self.holders = rows
            .iter()
            .map(|row| HolderRow {
                id: row.get("id"),
                capacity: row.get::<i32, _>("capacity").into(),
                leases_told: row.get("leases"),
            })
            .collect();
        let rows = sqlx::query(
            "select id, name, state, exists (
                 select from workflow_steps s where s.tenant_id = w.tenant_id and s.workflow_id = w.id
                   and (s.state in ('running', 'waiting') or (s.state = 'pending' and s.unmet = 0))
             ) as has_open_step
             from workflows w",
        )
        .fetch_all(&mut *db)
        .await
        .expect("runs can be read");
        self.runs = rows
            .iter()
            .map(|row| RunRow {
                id: row.get("id"),
                name: row.get("name"),
                state: row.get("state"),
                has_open_step: row.get("has_open_step"),
            })
            .collect();
        let rows = sqlx::query("select task_id, needs_id from task_dependencies")
            .fetch_all(db)
            .await
            .expect("dependencies can be read");
        self.edges = rows
            .iter()
            .map(|row| (row.get("task_id"), row.get("needs_id")))
            .collect();
    }
}

//! A task is one unit of work, held by at most one attempt at a time.
//!
//! ```text
//! pending ──► ready ──claim──► claimed ──start──► in_progress ──complete──► completed
//!    ▲          ▲                 │                   │  │ fail ──────────► failed
//!    │ retry    │ release,        │                   │  └ hold ──► output_pending_assessment
//!    └──────────┴─ lease lost ────┴───────────────────┘
//! ```
//!
//! What people decide is in `people`; `approvals` lists what waits for them.
//!
//! `attempt` counts claims. It is the fence: a report that names an older attempt changes nothing,
//! however late and however honest it is. The whole table of moves is in [`MOVES`].
//!
//! Facts are here (`store`, the table `tasks`); where a task lies is the queue's. Creating, claiming,
//! starting, completing, failing and releasing are lanes: what waits together commits together.

use std::collections::BTreeMap;

use protocol::TenantId;

mod activation_store;
mod belong;
mod claim;
mod claim_lane;
mod complete;
mod context;
mod create;
mod create_in;
mod feed;
mod fence;
mod forget;
mod forget_store;
mod hand_in;
mod holders;
mod holding;
mod new_task;
mod operate;
mod output;
mod people;
mod people_routes;
mod people_store;
mod record;
mod retry;
mod routes;
mod start;
mod state;
mod store;
mod verdict;
mod why;
mod why_store;

pub(crate) use activation_store::bind_to_activation;
pub use claim_lane::ClaimLane;
pub use complete::CompleteLane;
pub use create::CreateLane;
pub(crate) use create_in::create_task_in;
pub use fence::{after_lost_lease, judge};
pub use forget::{delete_of_workspace, forget_tasks};
pub use hand_in::{HandInLane, fail_timed_out};
pub use holders::Holders;
pub(crate) use holding::{must_have_held, must_have_worked_on, must_hold};
pub use new_task::REWORKS_MAX;
pub use new_task::check_policy;
pub(crate) use new_task::{ABANDONS_MAX, REWORKS_LIMIT};
pub(crate) use operate::{cancel_task, lock, read, replace_input, retry_task};
pub(crate) use output::output_faults;
pub(crate) use people::{
    approve_task, approve_task_output, escalate_with, override_task_output, reassign_task,
    reject_task, request_task_changes, resolve_task_escalation, skip_task,
};
pub(crate) use people_routes::agent_escalate;
pub use people_routes::people_routes;
pub use routes::routes;
pub use start::StartLane;
pub use state::{MOVES, states_before};
pub(crate) use store::{by_ids, forget_of_runs as forget_tasks_of_runs, record};
pub(crate) use why::explain;

/// The members of a batch, tenant by tenant, with their places in it.
///
/// No statement touches two tenants. Each tenant's part commits by itself: the reports are safe to run
/// again, so a batch that fails half-way can be.
fn by_tenant<M>(
    members: &[M],
    tenant_of: impl Fn(&M) -> TenantId,
) -> Vec<(TenantId, Vec<&M>, Vec<usize>)> {
    let mut groups: BTreeMap<TenantId, Vec<usize>> = BTreeMap::new();
    for (place, member) in members.iter().enumerate() {
        groups.entry(tenant_of(member)).or_default().push(place);
    }
    let group = |places: &Vec<usize>| places.iter().map(|place| &members[*place]).collect();
    groups
        .into_iter()
        .map(|(tenant, places)| (tenant, group(&places), places))
        .collect()
}

/// Answers that come in tenant by tenant, put back into the order of the batch.
struct Answers<A>(Vec<Option<A>>);

impl<A> Answers<A> {
    fn for_batch_of(members: usize) -> Self {
        Self((0..members).map(|_| None).collect())
    }

    fn put(&mut self, places: &[usize], answers: impl IntoIterator<Item = A>) {
        for (place, answer) in places.iter().zip(answers) {
            self.0[*place] = Some(answer);
        }
    }

    fn in_order(self) -> Vec<A> {
        self.0
            .into_iter()
            .map(|answer| answer.expect("every member belongs to one tenant"))
            .collect()
    }
}

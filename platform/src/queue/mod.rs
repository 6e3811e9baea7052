//! Where tasks lie: five drawers, and the moves between them.
//!
//! ```text
//!            task_waiting ──► task_queue ──► task_leases ──► task_results
//!             pending          ready      claimed            completed
//!             (blocked,        ▲  ▲       in_progress        failed
//!              not due)        │  │           │              cancelled
//!                │             │  └─ release, │                 ▲
//!                └─────────────┘     lose     ▼                 │
//!                                         task_parked ──────────┘
//!                                         waits for a person
//! ```
//!
//! One narrow row per task lies in exactly one drawer, and the drawer is the task's state. A move deletes
//! from one and inserts into the next, with its event, in one statement; the row lock decides every race.
//! The wide facts in `tasks` are not touched.
//!
//! Tasks of a run pass its gates ([`settle`]) before they become ready: it may be paused, cancelled, or at
//! a limit. The ways in and out: [`place`] creates, [`claim_next`] hands out, [`start`] and [`complete`] are the
//! hot reports, [`move_tasks`] is every other move, [`unblock`] counts dependencies off. All are
//! set-based and total: what depends on data is a verdict, not an error. Whoever makes a task claimable
//! leaves a note, and [`Hints`] wakes the claims that wait for it.
//!
//! Of `task_leases` nearly all rows are dead, the more so while somebody holds a snapshot. The planner takes it for
//! empty, and a walk over all of it for as cheap as a look for one row. So tasks are looked for one by one, in a
//! lateral with a limit, or as an array; and who looks for the leases of a holder compares the tenant by
//! `is not distinct from`, which no index serves, so that only the index of the holder is left. (A router that finds
//! the machine of a tenant by `tenant_id = …` does not see through that: spread over machines, these few want the
//! plain comparison.)

mod claim;
mod claim_store;
mod expiry_hints;
mod gates;
mod gates_store;
mod hints;
mod holder_hints;
mod lanes;
mod loops;
mod loops_store;
mod moves;
mod place;
mod renew;
mod renew_by_log_store;
mod renew_store;
mod report;
mod store;
mod watermark;

pub use claim::{Advance, Claimant, Claimed, Claims, Held, claim_next, settle_pinned};
pub use gates::{
    Limits, Run, cancel, held_at_gate, pause, resume, set_limits, settle, settle_gates,
};
pub use gates_store::forget_gates;
pub(crate) use hints::too_many_waiting;
pub use hints::{Hints, Observed, Taken, Ticket, Woken};
pub(crate) use lanes::tag_of;
pub use lanes::{lane_of, lanes_of};
pub use loops::{
    expire_leases, forget_claim_requests, keep_pulse, look_for_work, release_due, time_out_tasks,
};
pub use moves::{Destination, Moved, Order, Outcome, move_tasks, unblock};
pub use place::{NewTask, Placed, place, place_in_run};
pub(crate) use place::{mark, request_approval};
pub use renew::{Holding, Renewal, cancelled_among, expire_leases_of, held_by, renew};
pub use renew_by_log_store::{LogTouch, touch_leases};
pub use report::{Completion, Report, TakenReport, Verdict, complete, start};
pub use store::{
    Dependant, HeldTask, change_lane, dependants_that_end, lock_held, lock_predecessors,
    reprioritise, unclaim,
};

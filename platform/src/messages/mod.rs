//! Messages: what orchestrators and operators say to whoever holds a task.
//!
//! ```text
//! POST /orchestrator/tasks/{id}/tasks/{id}/message ─┐
//! POST /tasks/{id}/messages ────────────────────────┴─► task_messages, in order
//!                                                           │  every heartbeat answer, from any replica,
//!                                                           ▼  until it is acknowledged
//!                                            the attempt that holds the task
//!                                                           │
//! POST /tasks/{id}/messages/{id}/ack ◄──────────────────────┘
//! ```
//!
//! A message lies in the database, and a heartbeat looks for it: there is no signal that could be lost, and it
//! does not matter which replica was told it and which one hears the holder. Claims and reports know nothing of
//! messages.
//!
//! An acknowledgement is one attempt's, as a report is. Whoever takes a task up after it begins anew, and is
//! told everything again that the task was told.

mod routes;
mod send;
mod store;
mod tell;

pub use routes::routes;
pub(crate) use send::send_message;
pub(crate) use store::waiting;
pub(crate) use tell::tell;

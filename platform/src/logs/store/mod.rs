//! Every statement that writes `execution_logs` and `log_heads`, and those that read them.

mod read;
mod write;

pub(super) use read::{Filter, Order, Range, Row, between, find, newest};
pub(super) use write::{
    NewLog, Task, forget_heads, former_holders, insert, lock_heads, tasks, write_heads,
};

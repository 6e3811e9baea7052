//! Which of the messages that wait go into one heartbeat answer.

use std::collections::HashMap;

use protocol::{PendingMessage, TaskId};

/// Bytes of messages that one answer carries at most; what does not fit follows when these are acknowledged.
const BYTES_MAX: usize = 512 * 1024;

/// What the holder of these tasks is told of the messages that wait. The first one of each task goes before the
/// second of any, so that a task with many does not keep those of others back.
pub(crate) fn tell(
    tasks: impl Iterator<Item = TaskId>,
    waiting: &HashMap<TaskId, Vec<PendingMessage>>,
) -> Vec<PendingMessage> {
    if waiting.is_empty() {
        return Vec::new();
    }
    let mut ranked: Vec<(usize, &PendingMessage)> = tasks
        .filter_map(|task| waiting.get(&task))
        .flat_map(|messages| messages.iter().enumerate())
        .collect();
    ranked.sort_by_key(|(rank, message)| (*rank, message.seq));
    let mut room = BYTES_MAX;
    let fitting = ranked.into_iter().map_while(|(_, message)| {
        room = room.checked_sub(message.message.len())?;
        Some(message.clone())
    });
    fitting.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{MessageId, Urgency};
    use sqlx::types::chrono::DateTime;

    fn message(task_id: TaskId, seq: i64, bytes: usize) -> PendingMessage {
        PendingMessage {
            id: MessageId::new(),
            task_id,
            attempt: 1,
            seq,
            message: "x".repeat(bytes),
            urgency: Urgency::Info,
            sent_at: DateTime::UNIX_EPOCH.into(),
        }
    }

    #[test]
    fn many_messages_to_one_task_do_not_keep_those_to_another_back() {
        let (talkative, quiet, elsewhere) = (TaskId::new(), TaskId::new(), TaskId::new());
        let large = BYTES_MAX / 2;
        let waiting = HashMap::from([
            (
                talkative,
                vec![message(talkative, 1, large), message(talkative, 2, large)],
            ),
            (quiet, vec![message(quiet, 3, 1)]),
            (elsewhere, vec![message(elsewhere, 4, 1)]),
        ]);
        let told = tell([talkative, quiet].into_iter(), &waiting);
        let told: Vec<i64> = told.iter().map(|message| message.seq).collect();
        assert_eq!(told, [1, 3], "the second large one follows later");
    }
}

//! What people do with tasks: every state, every move, and every refusal.

mod holders;

use serde_json::json;
use stint_platform::tasks::MOVES;
use stint_protocol::client::ClientError;
use stint_protocol::{
    AgentEscalate, AgentHeartbeat, AnswerEscalation, ApproveOutput, ApproveTask, CancelTask,
    ClaimedTask, ErrorCode, EscalateTask, HeartbeatLease, LeaseRef, OverrideOutput, ReasonCode,
    ReassignTask, RejectTask, RequestChanges, SkipTask, Task, TaskId, TaskMove, TaskState,
    WhyReason,
};
use stint_tests::{TestPlatform, TestWorker, object, refused, refused_because, test};
use uuid::Uuid;

/// What people can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Approve,
    ApproveOutput,
    Reject,
    RequestChanges,
    Rework,
    Skip,
    Reassign,
    Escalate,
    ResolveEscalation,
    OverrideOutput,
}

impl Decision {
    const ALL: [Self; 10] = [
        Self::Approve,
        Self::ApproveOutput,
        Self::Reject,
        Self::RequestChanges,
        Self::Rework,
        Self::Skip,
        Self::Reassign,
        Self::Escalate,
        Self::ResolveEscalation,
        Self::OverrideOutput,
    ];

    fn made(self) -> TaskMove {
        match self {
            Self::Approve => TaskMove::Approve,
            Self::ApproveOutput => TaskMove::ApproveOutput,
            Self::Reject => TaskMove::Reject,
            Self::RequestChanges | Self::Rework => TaskMove::RequestChanges,
            Self::Skip => TaskMove::Skip,
            Self::Reassign => TaskMove::Reassign,
            Self::Escalate => TaskMove::Escalate,
            Self::ResolveEscalation => TaskMove::ResolveEscalation,
            Self::OverrideOutput => TaskMove::OverrideOutput,
        }
    }

    /// Where it leads, by the table of moves.
    fn leads_to(self, from: TaskState) -> Option<TaskState> {
        MOVES
            .iter()
            .find(|(source, made, _)| *source == from && *made == self.made())
            .map(|(.., to)| *to)
    }

    async fn ask(self, t: &TestPlatform, id: TaskId) -> Result<Task, ClientError> {
        let admin = t.admin();
        match self {
            Self::Approve => admin.approve_task(id, &ApproveTask::default()).await,
            Self::ApproveOutput => {
                let body = ApproveOutput::default();
                admin.approve_task_output(id, &body).await
            }
            Self::Reject => admin.reject_task(id, &rejection("wrong")).await,
            Self::RequestChanges => admin.request_task_changes(id, &changes("bluer")).await,
            Self::Rework => admin.rework_task(id, &changes("bluer")).await,
            Self::Skip => admin.skip_task(id, &skip("not needed")).await,
            Self::Reassign => admin.reassign_task(id, &reassignment()).await,
            Self::Escalate => admin.escalate_task(id, &escalation("stuck")).await,
            Self::ResolveEscalation => admin.resolve_task_escalation(id, &answer("go on")).await,
            Self::OverrideOutput => admin.override_task_output(id, &by_hand(json!(7))).await,
        }
    }
}

fn rejection(feedback: &str) -> RejectTask {
    RejectTask {
        feedback: feedback.to_owned(),
        request_id: None,
    }
}

fn changes(feedback: &str) -> RequestChanges {
    RequestChanges {
        feedback: feedback.to_owned(),
        ..RequestChanges::default()
    }
}

fn skip(reason: &str) -> SkipTask {
    SkipTask {
        reason: reason.to_owned(),
        request_id: None,
    }
}

fn reassignment() -> ReassignTask {
    ReassignTask {
        reason: "somebody else should".to_owned(),
        ..ReassignTask::default()
    }
}

fn escalation(reason: &str) -> EscalateTask {
    EscalateTask {
        reason: reason.to_owned(),
        ..EscalateTask::default()
    }
}

fn answer(instructions: &str) -> AnswerEscalation {
    AnswerEscalation {
        instructions: instructions.to_owned(),
        ..AnswerEscalation::default()
    }
}

fn by_hand(output: serde_json::Value) -> OverrideOutput {
    OverrideOutput {
        output: stint_tests::json(output),
        reason: "known by heart".to_owned(),
        request_id: None,
    }
}

fn call_for_help(held: &ClaimedTask) -> AgentEscalate {
    AgentEscalate {
        reason: "which blue?".to_owned(),
        context_summary: Some("there are two".to_owned()),
        work_so_far: Some("the door".to_owned()),
        attempt: Some(held.attempt),
        ..AgentEscalate::default()
    }
}

/// A task in this state, which only claims for its role find.
async fn task_in(t: &TestPlatform, worker: &TestWorker, role: &str, state: TaskState) -> Task {
    let due = chrono::DateTime::from_timestamp(4_000_000_000, 0).expect("a moment");
    let made = t
        .create_with(role, |task| {
            task.role = Some(role.to_owned());
            task.run_at = (state == TaskState::Pending).then(|| due.into());
            task.requires_approval = Some(state == TaskState::AwaitingApproval);
        })
        .await;
    let claim = async |start| {
        worker
            .claim_with(|claim| {
                claim.routing_tags = vec![format!("role:{role}")];
                claim.start = Some(start);
            })
            .await
            .expect("a claim")
            .expect("the task")
    };
    match state {
        TaskState::Claimed => drop(claim(false).await),
        TaskState::InProgress => drop(claim(true).await),
        TaskState::Completed => {
            let held = claim(true).await;
            worker.complete(&held, json!(1)).await.expect("an end");
        }
        TaskState::OutputPendingAssessment => {
            let mut completion = TestWorker::completion(&claim(true).await, json!(1));
            completion.verification = Some(object(json!({"passed": false})));
            let done = worker.agent.complete_task(made.id, &completion).await;
            done.expect("an end");
        }
        TaskState::Failed => {
            let held = claim(true).await;
            worker.fail(&held, "broken").await.expect("a failure");
        }
        TaskState::Cancelled => {
            let cancelled = t.admin().cancel_task(made.id, &CancelTask::default()).await;
            cancelled.expect("a cancellation");
        }
        TaskState::Escalated => {
            let help = call_for_help(&claim(true).await);
            let asked = worker.agent.agent_escalate_task(made.id, &help).await;
            asked.expect("a call for help");
        }
        TaskState::Pending | TaskState::Ready | TaskState::AwaitingApproval => {}
    }
    let task = t.task(made.id).await;
    assert_eq!(task.state, state);
    task
}

#[test]
fn every_decision_in_every_state_does_what_the_table_of_moves_says() {
    test(async |t| {
        let worker = t.worker("w1").capacity(100).await;
        for state in TaskState::ALL {
            for decision in Decision::ALL {
                let what = format!("{decision:?} of a task that is {state}");
                let role = format!("{decision:?}-{state}");
                let before = task_in(t, &worker, &role, *state).await;
                let steps = t.steps(before.id).await.len();
                let answered = decision.ask(t, before.id).await;
                let after = t.task(before.id).await;
                match decision.leads_to(*state) {
                    Some(to) => {
                        assert_eq!(answered.expect(&what).state, to, "{what}");
                        assert_eq!(after.state, to, "{what}");
                        let offered = &before.available_actions;
                        assert!(offered.contains(&decision.made()), "{what} is not offered");
                    }
                    None => {
                        refused(answered, ErrorCode::InvalidStateTransition);
                        assert_eq!(after.state, before.state, "{what}");
                        assert_eq!(t.steps(before.id).await.len(), steps, "{what}");
                    }
                }
            }
        }
    });
}

#[test]
fn an_accepted_output_lets_dependants_run() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let role = "painter";
        let task = task_in(t, &worker, role, TaskState::OutputPendingAssessment).await;
        let dependant = t
            .create_with("dry", |dependant| dependant.depends_on = vec![task.id])
            .await
            .id;
        let body = ApproveOutput {
            request_id: Some("yes".to_owned()),
        };
        for _ in 0..2 {
            let done = t.admin().approve_task_output(task.id, &body).await;
            let done = done.expect("an approval");
            assert_eq!(
                (done.state, done.output),
                (TaskState::Completed, task.output.clone())
            );
        }
        assert_eq!(t.state(dependant).await, TaskState::Ready);
    });
}

#[test]
fn a_rejected_task_fails_with_the_feedback_and_its_dependants_with_it() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let task = task_in(t, &worker, "painter", TaskState::InProgress).await;
        let dependant = t
            .create_with("dry", |dependant| dependant.depends_on = vec![task.id])
            .await
            .id;
        let rejected = t.admin().reject_task(task.id, &rejection("too dark")).await;
        let error = rejected.expect("a rejection").error.expect("an error");
        assert_eq!(error.category.as_deref(), Some("assessment_rejected"));
        assert_eq!(
            (error.message.as_str(), error.recoverable),
            ("too dark", Some(true))
        );
        assert_eq!(t.state(dependant).await, TaskState::Failed);
    });
}

#[test]
fn a_rework_tells_the_next_attempt_what_to_change_until_it_was_sent_back_too_often() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let task = t
            .create_with("paint", |task| task.max_reworks = Some(1))
            .await
            .id;
        let held = worker.begin().await;
        worker.complete(&held, json!("red")).await.expect("an end");
        let mut wanted = changes("bluer");
        wanted.override_input = Some(object(json!({"colour": "blue"})));
        let again = t.admin().request_task_changes(task, &wanted).await;
        let again = again.expect("a rework");
        assert_eq!(
            (again.state, again.rework_count, again.retry_count),
            (TaskState::Ready, 1, 1)
        );
        let held = worker.begin().await;
        assert_eq!(held.input, object(json!({"colour": "blue"})));
        let told = held.context.clone().expect("a context").members();
        assert_eq!(
            told["rework"],
            json!({"cycle": 1, "feedback": "bluer", "output": "red"})
        );
        worker.complete(&held, json!("blue")).await.expect("an end");
        let ended = t
            .admin()
            .request_task_changes(task, &changes("greener"))
            .await;
        let ended = ended.expect("an end");
        let error = ended.error.expect("an error");
        assert_eq!(ended.state, TaskState::Failed);
        assert_eq!(error.category.as_deref(), Some("max_rework_exceeded"));
        assert!(error.message.contains("greener"));
    });
}

#[test]
fn a_skipped_task_counts_as_completed() {
    test(async |t| {
        let task = t.create("paint").await.id;
        let dependant = t
            .create_with("dry", |dependant| dependant.depends_on = vec![task])
            .await
            .id;
        let skipped = t
            .admin()
            .skip_task(task, &skip("too old"))
            .await
            .expect("a skip");
        let expected = json!({"skipped": true, "reason": "too old"});
        assert_eq!(skipped.output, Some(stint_tests::json(expected)));
        assert_eq!(t.state(dependant).await, TaskState::Ready);
    });
}

#[test]
fn an_output_given_by_hand_replaces_what_there_was() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let task = task_in(t, &worker, "painter", TaskState::Failed).await;
        let done = t
            .admin()
            .override_task_output(task.id, &by_hand(json!({"n": 1})))
            .await;
        let done = done.expect("an output");
        assert_eq!(done.state, TaskState::Completed);
        assert_eq!(done.output, Some(stint_tests::json(json!({"n": 1}))));
        assert_eq!(done.error, None);
    });
}

#[test]
fn what_people_say_has_a_length() {
    test(async |t| {
        let task = t.create("paint").await.id;
        let (none, much) = (String::new(), "x".repeat(4001));
        for words in [&none, &much] {
            let admin = t.admin();
            refused(
                admin.reject_task(task, &rejection(words)).await,
                ErrorCode::SchemaValidationFailed,
            );
            refused(
                admin.request_task_changes(task, &changes(words)).await,
                ErrorCode::SchemaValidationFailed,
            );
            refused(
                admin.skip_task(task, &skip(words)).await,
                ErrorCode::SchemaValidationFailed,
            );
            refused(
                admin.escalate_task(task, &escalation(words)).await,
                ErrorCode::SchemaValidationFailed,
            );
            refused(
                admin.resolve_task_escalation(task, &answer(words)).await,
                ErrorCode::SchemaValidationFailed,
            );
            refused(
                admin.answer_task_escalation(task, &answer(words)).await,
                ErrorCode::SchemaValidationFailed,
            );
            let mut wanted = reassignment();
            wanted.reason = words.clone();
            refused(
                admin.reassign_task(task, &wanted).await,
                ErrorCode::SchemaValidationFailed,
            );
            let mut output = by_hand(json!(1));
            output.reason = words.clone();
            refused(
                admin.override_task_output(task, &output).await,
                ErrorCode::SchemaValidationFailed,
            );
        }
        assert_eq!(t.reasons(task).await, ["create"]);
    });
}

#[test]
fn nobody_decides_about_a_task_of_another_tenant() {
    test(async |t| {
        let other = t.other_tenant().await;
        let task = t
            .create_with("paint", |task| task.requires_approval = Some(true))
            .await
            .id;
        refused(
            other.approve_task(task, &ApproveTask::default()).await,
            ErrorCode::NotFound,
        );
        refused(
            other.skip_task(task, &skip("no")).await,
            ErrorCode::NotFound,
        );
        refused(
            other.reassign_task(task, &reassignment()).await,
            ErrorCode::NotFound,
        );
        assert_eq!(t.state(task).await, TaskState::AwaitingApproval);
    });
}

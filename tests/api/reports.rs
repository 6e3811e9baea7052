//! Reports: start, complete, fail, release; who may report, on which attempt, and how often.

use serde_json::json;
use stint_protocol::{
    CompleteTask, CompleteTasks, Completion, ErrorCode, FailTask, ReasonCode, ReleaseTask,
    StartTask, TaskState,
};
use stint_tests::{TestPlatform, TestWorker, json as raw, object, refused, refused_because, test};
use uuid::Uuid;

async fn report(
    t: &TestPlatform,
    key: &str,
    path: &str,
    body: serde_json::Value,
) -> stint_tests::Answer {
    t.post(&format!("/api/v1/tasks/{path}"), key, &body).await
}

#[test]
fn a_task_goes_from_claimed_to_completed() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let task = t.create("paint").await.id;
        let held = worker.claim_one().await;
        assert_eq!(
            worker.start(&held).await.unwrap().state,
            TaskState::InProgress
        );
        let done = worker.complete(&held, json!({"walls": 3})).await.unwrap();
        assert_eq!(done.state, TaskState::Completed);
        assert_eq!(done.output.unwrap().value(), json!({"walls": 3}));
        assert!(done.completed_at.is_some());
        assert_eq!(
            t.reasons(task).await,
            ["create", "claim", "start", "complete"]
        );
    });
}

#[test]
fn what_the_holder_measured_is_kept() {
    test(async |t| {
        let worker = t.worker("w1").await;
        t.create("paint").await;
        let held = worker.begin().await;
        let mut completion = TestWorker::completion(&held, json!(1));
        completion.metrics = Some(object(json!({"seconds": 3})));
        completion.git_info = Some(object(json!({"commit": "abc"})));
        completion.verification = Some(object(json!({"passed": true})));
        let done = worker
            .agent
            .complete_task(held.id, &completion)
            .await
            .unwrap();
        assert_eq!(done.metrics, completion.metrics);
        assert_eq!(done.git_info, completion.git_info);
        assert_eq!(done.verification, completion.verification);
    });
}

#[test]
fn any_json_value_can_be_an_output() {
    test(async |t| {
        let worker = t.worker("w1").await;
        for output in [json!(null), json!(17), json!("text"), json!([1, {"a": 2}])] {
            t.create("paint").await;
            let held = worker.begin().await;
            let done = worker.complete(&held, output.clone()).await.unwrap();
            let read = t.task(done.id).await;
            assert_eq!(read.output.map(|json| json.value()), Some(output));
        }
    });
}

#[test]
fn a_claimed_task_must_be_started_before_it_completes() {
    test(async |t| {
        let worker = t.worker("w1").await;
        t.create("paint").await;
        let held = worker.claim_one().await;
        refused(
            worker.complete(&held, json!(1)).await,
            ErrorCode::InvalidStateTransition,
        );
    });
}

#[test]
fn a_claimed_task_may_fail_without_a_start() {
    test(async |t| {
        let worker = t.worker("w1").await;
        t.create("paint").await;
        let held = worker.claim_one().await;
        assert_eq!(
            worker.fail(&held, "broken").await.unwrap().state,
            TaskState::Failed
        );
    });
}

#[test]
fn a_second_start_is_a_replay() {
    test(async |t| {
        let worker = t.worker("w1").await;
        t.create("paint").await;
        let held = worker.claim_one().await;
        let path = format!("{}/start", held.id);
        let start = async || report(t, &worker.agent_key, &path, json!({"attempt": 1})).await;
        assert!(!start().await.is_replay());
        let second = start().await;
        assert_eq!(second.status, 200);
        assert!(second.is_replay());
    });
}

#[test]
fn a_completion_with_the_same_output_is_a_replay() {
    test(async |t| {
        let worker = t.worker("w1").await;
        t.create("paint").await;
        let held = worker.begin().await;
        let path = format!("{}/complete", held.id);
        let complete = async |output| {
            let body = json!({"attempt": 1, "output": output});
            report(t, &worker.agent_key, &path, body).await
        };
        assert!(!complete(json!({"a": 1, "b": 2})).await.is_replay());
        let second = complete(json!({"b": 2, "a": 1})).await;
        assert_eq!(second.status, 200, "{}", second.text);
        assert!(second.is_replay());
    });
}

#[test]
fn a_completion_with_another_output_is_refused() {
    test(async |t| {
        let worker = t.worker("w1").await;
        t.create("paint").await;
        let held = worker.begin().await;
        worker.complete(&held, json!(1)).await.unwrap();
        refused_because(
            worker.complete(&held, json!(2)).await,
            ReasonCode::ResultDiffers,
        );
        assert_eq!(t.task(held.id).await.output.unwrap().value(), json!(1));
    });
}

#[test]
fn a_failure_reported_twice_counts_once() {
    test(async |t| {
        let worker = t.worker("w1").await;
        t.create("paint").await;
        let held = worker.begin().await;
        worker.fail(&held, "broken").await.unwrap();
        worker.fail(&held, "broken").await.unwrap();
        assert_eq!(t.reasons(held.id).await.len(), 4);
        refused_because(
            worker.fail(&held, "otherwise").await,
            ReasonCode::ResultDiffers,
        );
    });
}

#[test]
fn a_failure_that_was_retried_can_be_repeated() {
    test(async |t| {
        let worker = t.worker("w1").await;
        t.create_with("paint", |task| {
            task.auto_retry = Some(true);
            task.max_retries = Some(3);
        })
        .await;
        let held = worker.begin().await;
        worker.fail(&held, "timeout").await.unwrap();
        worker.fail(&held, "timeout").await.unwrap();
        assert_eq!(t.task(held.id).await.retry_count, 1);
    });
}

#[test]
fn a_completion_after_a_failure_is_refused() {
    test(async |t| {
        let worker = t.worker("w1").await;
        t.create("paint").await;
        let held = worker.begin().await;
        worker.fail(&held, "broken").await.unwrap();
        refused_because(
            worker.complete(&held, json!(1)).await,
            ReasonCode::ResultDiffers,
        );
    });
}

#[test]
fn a_release_gives_the_task_back_without_counting_anything() {
    test(async |t| {
        let worker = t.worker("w1").await;
        t.create("paint").await;
        let held = worker.begin().await;
        let release = ReleaseTask {
            attempt: Some(held.attempt),
            reason: Some("drain".to_owned()),
            progress: Some(object(json!({"walls": 2}))),
            ..ReleaseTask::default()
        };
        let task = worker.agent.release_task(held.id, &release).await.unwrap();
        assert_eq!(task.state, TaskState::Ready);
        assert_eq!((task.abandon_count, task.retry_count), (0, 0));
        let again = worker.claim_one().await;
        assert_eq!(again.attempt, 2);
        assert_eq!(again.progress, Some(object(json!({"walls": 2}))));
    });
}

#[test]
fn a_release_repeated_before_the_next_claim_is_a_replay() {
    test(async |t| {
        let worker = t.worker("w1").await;
        t.create("paint").await;
        let held = worker.begin().await;
        worker.release(&held).await.unwrap();
        worker.release(&held).await.unwrap();
        worker.claim_one().await;
        refused_because(worker.release(&held).await, ReasonCode::LeaseLost);
    });
}

#[test]
fn too_much_progress_is_refused() {
    test(async |t| {
        let worker = t.worker("w1").await;
        t.create("paint").await;
        let held = worker.begin().await;
        let release = ReleaseTask {
            attempt: Some(held.attempt),
            progress: Some(object(json!({"text": "x".repeat(8200)}))),
            ..ReleaseTask::default()
        };
        refused(
            worker.agent.release_task(held.id, &release).await,
            ErrorCode::SchemaValidationFailed,
        );
    });
}

#[test]
fn a_stale_attempt_is_told_which_one_counts_now() {
    test(async |t| {
        let (one, two) = (t.worker("w1").await, t.worker("w2").await);
        let task = t.create("paint").await.id;
        let stale = one.begin().await;
        t.lose_lease(task).await;
        two.begin().await;
        for refused in [
            one.start(&stale).await,
            one.complete(&stale, json!(1)).await,
            one.fail(&stale, "broken").await,
            one.release(&stale).await,
        ] {
            let refusal = refused_because(refused, ReasonCode::LeaseLost);
            assert_eq!(refusal.details.unwrap().current_attempt, Some(2));
        }
        assert_eq!(t.task(task).await.assigned_agent_id, Some(two.agent_id));
    });
}

#[test]
fn a_stale_attempt_of_the_same_holder_is_refused_too() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let task = t.create("paint").await.id;
        let stale = worker.begin().await;
        t.lose_lease(task).await;
        let current = worker.begin().await;
        refused_because(
            worker.complete(&stale, json!(1)).await,
            ReasonCode::LeaseLost,
        );
        worker.complete(&current, json!(2)).await.unwrap();
    });
}

#[test]
fn a_stale_attempt_is_refused_after_the_task_has_ended() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let task = t.create("paint").await.id;
        let stale = worker.begin().await;
        t.lose_lease(task).await;
        let current = worker.begin().await;
        worker.complete(&current, json!(1)).await.unwrap();
        refused_because(
            worker.complete(&stale, json!(1)).await,
            ReasonCode::LeaseLost,
        );
    });
}

#[test]
fn a_holder_of_the_worker_protocol_must_name_its_attempt() {
    test(async |t| {
        let worker = t.worker("w1").await;
        t.create("paint").await;
        let held = worker.begin().await;
        let mut completion = TestWorker::completion(&held, json!(1));
        completion.attempt = None;
        let mut failure = TestWorker::failure(&held, "x");
        failure.attempt = None;
        let agent = &worker.agent;
        for refused in [
            agent.start_task(held.id, &StartTask::default()).await,
            agent.complete_task(held.id, &completion).await,
            agent.fail_task(held.id, &failure).await,
            agent.release_task(held.id, &ReleaseTask::default()).await,
        ] {
            refused_because(refused, ReasonCode::AttemptMissing);
        }
    });
}

#[test]
fn a_plain_client_need_not_name_its_attempt() {
    test(async |t| {
        let worker = t.worker("w1").plain().await;
        let task = t.create("paint").await.id;
        worker.claim_one().await;
        let agent = &worker.agent;
        agent.start_task(task, &StartTask::default()).await.unwrap();
        let completion = CompleteTask {
            attempt: None,
            ..completion_of(json!(1))
        };
        let done = agent.complete_task(task, &completion).await.unwrap();
        assert_eq!(done.state, TaskState::Completed);
    });
}

fn completion_of(output: serde_json::Value) -> CompleteTask {
    CompleteTask {
        output: raw(output),
        attempt: None,
        metrics: None,
        git_info: None,
        verification: None,
        agent_id: None,
        worker_id: None,
        request_id: None,
    }
}

#[test]
fn the_events_of_a_plain_client_say_that_it_was_not_fenced() {
    test(async |t| {
        for (worker, fenced) in [
            (t.worker("plain").plain().await, false),
            (t.worker("fenced").await, true),
        ] {
            let task = t.create("paint").await.id;
            let held = worker.begin().await;
            worker.complete(&held, json!(1)).await.unwrap();
            let steps = t.steps(task).await;
            let told: Vec<_> = steps[1..].iter().map(|step| step.fenced).collect();
            assert_eq!(told, [Some(fenced); 3]);
        }
    });
}

#[test]
fn a_plain_client_is_fenced_by_its_identity() {
    test(async |t| {
        let (one, two) = (t.worker("w1").plain().await, t.worker("w2").plain().await);
        let task = t.create("paint").await.id;
        one.begin().await;
        t.lose_lease(task).await;
        two.begin().await;
        let late = one
            .agent
            .complete_task(task, &completion_of(json!(1)))
            .await;
        refused_because(late, ReasonCode::NotHolder);
    });
}

#[test]
fn another_holder_cannot_report() {
    test(async |t| {
        let (one, other) = (t.worker("w1").await, t.worker("w2").await);
        t.create("paint").await;
        let held = one.begin().await;
        refused_because(other.start(&held).await, ReasonCode::NotHolder);
        refused_because(other.complete(&held, json!(1)).await, ReasonCode::NotHolder);
        refused_because(other.fail(&held, "x").await, ReasonCode::NotHolder);
        refused_because(other.release(&held).await, ReasonCode::NotHolder);
        assert_eq!(t.state(held.id).await, TaskState::InProgress);
    });
}

#[test]
fn a_worker_may_report_for_its_agent() {
    test(async |t| {
        let worker = t.worker("w1").await;
        t.create("paint").await;
        let held = worker.begin().await;
        let completion = TestWorker::completion(&held, json!(1));
        worker
            .worker
            .complete_task(held.id, &completion)
            .await
            .unwrap();
    });
}

#[test]
fn an_operator_cannot_start_or_complete() {
    test(async |t| {
        let worker = t.worker("w1").await;
        t.create("paint").await;
        let held = worker.begin().await;
        let start = StartTask::default();
        refused_because(
            t.admin().start_task(held.id, &start).await,
            ReasonCode::NotHolder,
        );
        refused_because(
            t.admin()
                .complete_task(held.id, &completion_of(json!(1)))
                .await,
            ReasonCode::NotHolder,
        );
    });
}

#[test]
fn an_operator_may_fail_or_release_what_others_hold() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let task = t.create("paint").await.id;
        worker.begin().await;
        t.admin()
            .release_task(task, &ReleaseTask::default())
            .await
            .unwrap();
        let held = worker.begin().await;
        let failure = FailTask {
            attempt: None,
            ..TestWorker::failure(&held, "broken")
        };
        let failed = t.admin().fail_task(task, &failure).await.unwrap();
        assert_eq!(failed.state, TaskState::Failed);
    });
}

#[test]
fn reports_on_a_task_of_another_tenant_find_nothing() {
    test(async |t| {
        let other = t.other_tenant().await;
        let theirs = t.worker_of(&other, "theirs").await;
        let ours = t.worker("ours").await;
        t.create("paint").await;
        let held = ours.begin().await;
        refused(theirs.start(&held).await, ErrorCode::NotFound);
        refused(theirs.complete(&held, json!(1)).await, ErrorCode::NotFound);
        refused(theirs.fail(&held, "x").await, ErrorCode::NotFound);
        refused(theirs.release(&held).await, ErrorCode::NotFound);
    });
}

#[test]
fn a_report_on_a_task_that_was_never_claimed_is_refused() {
    test(async |t| {
        let worker = t.worker("w1").plain().await;
        let task = t.create("paint").await.id;
        let agent = &worker.agent;
        refused(
            agent.complete_task(task, &completion_of(json!(1))).await,
            ErrorCode::InvalidStateTransition,
        );
    });
}

#[test]
fn an_output_that_does_not_fit_its_schema_waits_for_a_person() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let schema = json!({"output_schema": {"type": "object", "required": ["walls"]}});
        for (output, state) in [
            (json!({"roof": 1}), TaskState::OutputPendingAssessment),
            (json!({"walls": 1}), TaskState::Completed),
        ] {
            t.create_with("paint", |task| task.role_config = Some(object(&schema)))
                .await;
            let held = worker.begin().await;
            let done = worker.complete(&held, output).await.unwrap();
            assert_eq!(done.state, state);
            assert!(done.output.is_some());
        }
    });
}

#[test]
fn an_output_that_failed_its_verification_waits_for_a_person() {
    test(async |t| {
        let worker = t.worker("w1").await;
        t.create("paint").await;
        let held = worker.begin().await;
        let mut completion = TestWorker::completion(&held, json!(1));
        completion.verification = Some(object(json!({"passed": false})));
        let done = worker
            .agent
            .complete_task(held.id, &completion)
            .await
            .unwrap();
        assert_eq!(done.state, TaskState::OutputPendingAssessment);
        let again = worker.agent.complete_task(held.id, &completion).await;
        assert_eq!(again.unwrap().state, TaskState::OutputPendingAssessment);
    });
}

#[test]
fn an_output_that_waits_for_a_person_does_not_release_dependants() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let one = t.create("one").await.id;
        let two = t
            .create_with("two", |task| task.depends_on = vec![one])
            .await
            .id;
        let held = worker.begin().await;
        let mut completion = TestWorker::completion(&held, json!(1));
        completion.metrics = Some(object(json!({"verification_passed": false})));
        worker
            .agent
            .complete_task(held.id, &completion)
            .await
            .unwrap();
        assert_eq!(t.state(two).await, TaskState::Pending);
    });
}

#[test]
fn several_completions_are_judged_one_by_one() {
    test(async |t| {
        let worker = t.worker("w1").capacity(3).await;
        for _ in 0..3 {
            t.create("paint").await;
        }
        let (one, two, claimed) = (
            worker.begin().await,
            worker.begin().await,
            worker.claim_one().await,
        );
        let completion = |task_id, attempt| Completion {
            task_id,
            attempt: Some(attempt),
            output: raw(1),
            metrics: None,
            git_info: None,
            verification: None,
            request_id: None,
        };
        let wanted = CompleteTasks {
            completions: vec![
                completion(one.id, 1),
                completion(two.id, 7),
                completion(claimed.id, 1),
                completion(Uuid::new_v4().into(), 1),
            ],
            request_id: None,
        };
        let answer = worker.agent.complete_tasks(&wanted).await.unwrap();
        let statuses: Vec<u16> = answer.results.iter().map(|result| result.status).collect();
        assert_eq!(statuses, [200, 409, 409, 404]);
        assert_eq!(t.state(one.id).await, TaskState::Completed);
        assert_eq!(t.state(two.id).await, TaskState::InProgress);
    });
}

#[test]
fn one_task_in_a_batch_twice_completes_once() {
    test(async |t| {
        let worker = t.worker("w1").await;
        t.create("paint").await;
        let held = worker.begin().await;
        let completion = |output| Completion {
            task_id: held.id,
            attempt: Some(1),
            output: raw(output),
            metrics: None,
            git_info: None,
            verification: None,
            request_id: None,
        };
        let wanted = CompleteTasks {
            completions: vec![completion(1), completion(1), completion(2)],
            request_id: None,
        };
        let answer = worker.agent.complete_tasks(&wanted).await.unwrap();
        let statuses: Vec<u16> = answer.results.iter().map(|result| result.status).collect();
        assert_eq!(statuses, [200, 200, 409]);
    });
}

#[test]
fn twin_completions_have_one_effect() {
    test(async |t| {
        let replica = t.replica().await;
        let here = t.worker("w1").await;
        let there = here.at(&replica);
        for _ in 0..10 {
            let task = t.create("paint").await.id;
            let held = here.begin().await;
            let (one, other) = tokio::join!(
                here.complete(&held, json!(1)),
                there.complete(&held, json!(1))
            );
            assert_eq!(one.unwrap().state, TaskState::Completed);
            assert_eq!(other.unwrap().state, TaskState::Completed);
            assert_eq!(t.reasons(task).await.len(), 4);
        }
    });
}

#[test]
fn of_a_completion_and_a_failure_at_once_one_wins() {
    test(async |t| {
        let worker = t.worker("w1").await;
        for _ in 0..10 {
            let task = t.create("paint").await.id;
            let held = worker.begin().await;
            let (completed, failed) = tokio::join!(
                worker.complete(&held, json!(1)),
                worker.fail(&held, "broken")
            );
            assert_ne!(completed.is_ok(), failed.is_ok());
            assert_eq!(t.reasons(task).await.len(), 4);
        }
    });
}

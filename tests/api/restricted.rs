//! Keys that reach only some workspaces, or only some routing tags.

use serde_json::json;
use stint_protocol::client::Client;
use stint_protocol::{
    CancelTask, CreateKey, CreateTask, ErrorCode, Json, ReasonCode, ReleaseTask, RetryTask, Scope,
    StartTask, Task, TaskId, TaskState, UpdateTask, WorkspaceId,
};
use stint_tests::{TestPlatform, TestWorker, new_task, refused, refused_because, test};
use uuid::Uuid;

use crate::led::{self, Led};

fn key(scope: Scope) -> CreateKey {
    CreateKey {
        scope,
        owner_type: None,
        owner_id: None,
        label: None,
        expires_at: None,
        workspace_ids: Vec::new(),
        routing_tags: Vec::new(),
        request_id: None,
    }
}

async fn client_with(t: &TestPlatform, key: CreateKey) -> Client {
    let made = t.admin().create_key(&key).await.expect("a key can be made");
    t.first().client(&made.api_key)
}

/// An operator who reaches one workspace.
async fn operator_of(t: &TestPlatform, workspace: WorkspaceId) -> Client {
    let wanted = CreateKey {
        workspace_ids: vec![workspace],
        ..key(Scope::Admin)
    };
    client_with(t, wanted).await
}

/// The same worker, whose agent has a key with restrictions.
async fn restricted(
    t: &TestPlatform,
    worker: &TestWorker,
    workspaces: &[WorkspaceId],
    tags: &[&str],
) -> TestWorker {
    let wanted = CreateKey {
        owner_id: Some(worker.agent_id.uuid()),
        workspace_ids: workspaces.to_vec(),
        routing_tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..key(Scope::Agent)
    };
    let mut bound = worker.clone();
    bound.agent = client_with(t, wanted).await;
    bound
}

fn workspace() -> WorkspaceId {
    Uuid::new_v4().into()
}

async fn create_in(t: &TestPlatform, title: &str, workspace: WorkspaceId) -> Task {
    t.create_with(title, |task| task.workspace_id = Some(workspace))
        .await
}

#[test]
fn a_key_of_a_workspace_claims_only_tasks_of_it() {
    test(async |t| {
        let (here, there) = (workspace(), workspace());
        let worker = t.worker("w1").capacity(5).await;
        let bound = restricted(t, &worker, &[here], &[]).await;
        t.create("nowhere").await;
        create_in(t, "there", there).await;
        assert!(
            bound.claim().await.is_none(),
            "nothing lies in its workspace"
        );
        let task = create_in(t, "here", here).await;
        assert_eq!(bound.claim_one().await.id, task.id);
        assert!(bound.claim().await.is_none());
        assert_eq!(worker.claim_one().await.title, "nowhere");
        assert_eq!(worker.claim_one().await.title, "there");
    });
}

#[test]
fn a_key_of_a_workspace_gets_no_held_task_back_from_outside_it() {
    test(async |t| {
        let (here, there) = (workspace(), workspace());
        let worker = t.worker("w1").await;
        create_in(t, "outside", there).await;
        let held = worker.begin().await;
        let bound = restricted(t, &worker, &[here], &[]).await;
        assert!(
            bound.claim().await.is_none(),
            "it lies outside the key's workspace"
        );
        let again = worker.claim_one().await;
        assert_eq!(
            (again.id, again.attempt),
            (held.id, 2),
            "the agent's own key gets it back"
        );
    });
}

#[test]
fn a_waiting_claim_with_the_key_of_a_workspace_is_woken_only_by_its_tasks() {
    test(async |t| {
        let (here, there) = (workspace(), workspace());
        let worker = t.worker("w1").await;
        let bound = restricted(t, &worker, &[here], &[]).await;
        let waiting = bound.claim_with(|claim| claim.wait_seconds = Some(20));
        let creating = async {
            stint_tests::until("the claim waits", async || {
                t.app().hints.waiting_count() == 1
            })
            .await;
            let other = create_in(t, "there", there).await.id;
            (other, create_in(t, "here", here).await.id)
        };
        let (found, (other, own)) = tokio::join!(waiting, creating);
        let found = found.expect("the claim is accepted");
        assert_eq!(found.map(|task| task.id), Some(own));
        assert_eq!(t.state(other).await, TaskState::Ready);
    });
}

#[test]
fn a_key_of_a_workspace_finds_no_task_outside_it() {
    test(async |t| {
        let (here, there) = (workspace(), workspace());
        let operator = operator_of(t, here).await;
        let own = create_in(t, "here", here).await.id;
        operator.get_task(own).await.expect("its own task");
        operator.explain_task(own).await.expect("its own task");
        for outside in [
            t.create("nowhere").await.id,
            create_in(t, "there", there).await.id,
        ] {
            refused(operator.get_task(outside).await, ErrorCode::NotFound);
            refused(operator.explain_task(outside).await, ErrorCode::NotFound);
            refused(
                operator.get_task_context(outside, None).await,
                ErrorCode::NotFound,
            );
        }
        let listed = operator.list_tasks(&[]).await.expect("a list");
        let listed: Vec<_> = listed.data.iter().map(|task| task.id).collect();
        assert_eq!(listed, [own]);
    });
}

#[test]
fn a_key_of_a_workspace_changes_no_task_outside_it() {
    test(async |t| {
        let (here, there) = (workspace(), workspace());
        let operator = operator_of(t, here).await;
        let task = create_in(t, "there", there).await.id;
        let before = (t.task(task).await.title, t.steps(task).await);
        let change = UpdateTask {
            title: Some("mine".to_owned()),
            ..UpdateTask::default()
        };
        refused(
            operator.update_task(task, &change).await,
            ErrorCode::NotFound,
        );
        let cancel = CancelTask::default();
        refused(
            operator.cancel_task(task, &cancel).await,
            ErrorCode::NotFound,
        );
        let retry = RetryTask::default();
        refused(operator.retry_task(task, &retry).await, ErrorCode::NotFound);
        let release = ReleaseTask::default();
        refused(
            operator.release_task(task, &release).await,
            ErrorCode::NotFound,
        );
        assert_eq!((t.task(task).await.title, t.steps(task).await), before);
    });
}

#[test]
fn a_key_of_a_workspace_reports_on_no_task_outside_it() {
    test(async |t| {
        let (here, there) = (workspace(), workspace());
        let worker = t.worker("w1").await;
        let bound = restricted(t, &worker, &[here], &[]).await;
        create_in(t, "there", there).await;
        let held = worker.begin().await;
        refused(bound.start(&held).await, ErrorCode::NotFound);
        refused(bound.complete(&held, json!(1)).await, ErrorCode::NotFound);
        refused(bound.fail(&held, "x").await, ErrorCode::NotFound);
        refused(bound.release(&held).await, ErrorCode::NotFound);
        assert_eq!(t.state(held.id).await, TaskState::InProgress);
        worker
            .complete(&held, json!(1))
            .await
            .expect("an unrestricted key may");
    });
}

#[test]
fn a_key_of_a_workspace_creates_tasks_only_in_it() {
    test(async |t| {
        let (here, there) = (workspace(), workspace());
        let operator = operator_of(t, here).await;
        for outside in [None, Some(there)] {
            let mut task = new_task("outside");
            task.workspace_id = outside;
            refused_because(
                operator.create_task(&task).await,
                ReasonCode::OutsideWorkspaces,
            );
        }
        let mut task = new_task("here");
        task.workspace_id = Some(here);
        let made = operator.create_task(&task).await.expect("its workspace");
        assert_eq!(made.workspace_id, Some(here));
        let all = t.admin().list_tasks(&[]).await.expect("a list");
        assert_eq!(all.data.len(), 1);
    });
}

#[test]
fn a_key_of_some_tags_claims_no_other_ones() {
    test(async |t| {
        let worker = t.worker("w1").capacity(5).await;
        let bound = restricted(t, &worker, &[], &["role:painter"]).await;
        for tags in [&["role:mason"] as &[&str], &["role:painter", "role:mason"]] {
            let claimed = bound
                .claim_with(|claim| {
                    claim.routing_tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
                })
                .await;
            let refusal = refused_because(claimed, ReasonCode::OutsideRoutingTags);
            assert_eq!(refusal.code, ErrorCode::Forbidden);
        }
    });
}

#[test]
fn a_key_of_some_tags_never_claims_untagged_tasks() {
    test(async |t| {
        let worker = t.worker("w1").tags(&["role:painter"]).capacity(5).await;
        let bound = restricted(t, &worker, &[], &["role:painter"]).await;
        let untagged = t.create("anybody's").await.id;
        assert!(bound.claim().await.is_none());
        let without_tags = bound.claim_with(|claim| claim.routing_tags.clear()).await;
        assert!(without_tags.expect("the claim is accepted").is_none());
        let tagged = t
            .create_with("paint", |task| task.role = Some("painter".to_owned()))
            .await
            .id;
        assert_eq!(bound.claim_one().await.id, tagged);
        assert!(bound.claim().await.is_none());
        assert_eq!(worker.claim_one().await.id, untagged);
    });
}

#[test]
fn a_key_of_some_tags_reports_on_what_it_claimed() {
    test(async |t| {
        let worker = t.worker("w1").tags(&["role:painter"]).await;
        let bound = restricted(t, &worker, &[], &["role:painter"]).await;
        t.create_with("paint", |task| task.role = Some("painter".to_owned()))
            .await;
        let held = bound.claim_one().await;
        let start = StartTask {
            attempt: Some(held.attempt),
            ..StartTask::default()
        };
        let started = bound.agent.start_task(held.id, &start).await;
        assert_eq!(started.expect("a start").state, TaskState::InProgress);
        let done = bound.complete(&held, json!({"walls": 4})).await;
        let done = done.expect("a completion");
        assert_eq!(
            done.output,
            Some(Json::of(&json!({"walls": 4})).expect("JSON"))
        );
    });
}

#[test]
fn a_task_of_a_restricted_key_names_no_task_of_another_workspace() {
    test(async |t| {
        let (here, there) = (workspace(), workspace());
        let operator = operator_of(t, here).await;
        let hidden = create_in(t, "there", there).await.id;
        let own = create_in(t, "here", here).await.id;
        let names: [fn(&mut CreateTask, TaskId); 3] = [
            |task, other| task.depends_on = vec![other],
            |task, other| task.subject_task_id = Some(other),
            |task, other| task.parent_id = Some(other),
        ];
        for name in names {
            let mut task = new_task("names it");
            task.workspace_id = Some(here);
            name(&mut task, hidden);
            refused(operator.create_task(&task).await, ErrorCode::NotFound);
            name(&mut task, own);
            operator.create_task(&task).await.expect("its own task");
        }
        let mut change = UpdateTask {
            parent_id: Some(hidden),
            ..UpdateTask::default()
        };
        refused(
            operator.update_task(own, &change).await,
            ErrorCode::NotFound,
        );
        let other = create_in(t, "other", here).await.id;
        change.parent_id = Some(other);
        operator
            .update_task(own, &change)
            .await
            .expect("its own task");
    });
}

#[test]
fn an_orchestrator_with_the_key_of_a_workspace_makes_tasks_in_its_run() {
    test(async |t| {
        let led = Led::of(t).await;
        let here = t.run(led.run).await.workflow.workspace_id;
        let item = led.item("One").await;
        for (workspace, may) in [(here, true), (workspace(), false)] {
            let bound = restricted(t, &led.conductor, &[workspace], &[]).await;
            let steer = bound.agent.steering(led.task.id, Some(led.task.attempt));
            let planned = steer.plan_task(&led::task(&item, "part")).await;
            assert_eq!(planned.is_ok(), may, "{planned:?}");
        }
    });
}

//! Work items of orchestrated runs: people make them, and tasks in them.

mod memory;
mod nested;

use serde_json::json;
use stint_protocol::{
    AgentEscalate, Bare, BranchStatus, CreateTask, CreateWorkItem, EscalationAction,
    EscalationStatus, ReasonCode, ResolveWorkItemEscalation, RetryTask, RunWhyReason, StepState,
    TaskState, UpdateWorkItem, WorkItem, WorkItemId, WorkItems, WorkflowId, WorkflowState,
};
use stint_tests::{TestPlatform, new_task, refused_because, status_of, test};

fn item(title: &str) -> CreateWorkItem {
    CreateWorkItem {
        title: title.to_owned(),
        parent_work_item_id: None,
        branch_key: None,
        stage_name: None,
        goal: None,
        acceptance_criteria: None,
        column_id: None,
        owner_role: None,
        priority: None,
        notes: None,
        initial_input_packet: None,
        metadata: None,
        request_id: None,
    }
}

async fn orchestrated(t: &TestPlatform) -> WorkflowId {
    let definition = json!({
        "process_instructions": "Do it.",
        "stages": [{ "name": "plan", "goal": "Plan" }, { "name": "do", "goal": "Do" }],
    });
    t.launch_with(definition, json!({})).await.workflow.id
}

async fn make(t: &TestPlatform, run: WorkflowId, title: &str) -> WorkItem {
    t.admin()
        .create_work_item(run, &item(title))
        .await
        .expect("a work item")
}

fn task_in(title: &str, item: WorkItemId) -> CreateTask {
    CreateTask {
        work_item_id: Some(item),
        ..new_task(title)
    }
}

async fn move_to(t: &TestPlatform, item: &WorkItem, column: &str) -> WorkItem {
    let change = UpdateWorkItem {
        column_id: Some(column.to_owned()),
        ..UpdateWorkItem::default()
    };
    let moved = t
        .admin()
        .update_work_item(item.workflow_id, item.id, &change)
        .await;
    moved.expect("a move")
}

#[test]
fn a_run_of_people_lives_from_its_work_items() {
    test(async |t| {
        let worker = t.worker("w1").capacity(50).await;
        let run = orchestrated(t).await;
        assert_eq!(t.run_state(run).await, WorkflowState::Pending);
        let made = make(t, run, "One").await;
        assert_eq!(
            (made.column_id.as_str(), made.stage_name.as_deref()),
            ("inbox", Some("plan"))
        );
        assert_eq!(t.run_state(run).await, WorkflowState::Active);
        let task = t
            .admin()
            .create_task(&task_in("work", made.id))
            .await
            .unwrap();
        assert_eq!(
            (task.workflow_id, task.stage_name.as_deref()),
            (Some(run), Some("plan"))
        );
        assert!(task.workspace_id.is_some());
        let refusal = t
            .admin()
            .update_work_item(
                run,
                made.id,
                &UpdateWorkItem {
                    column_id: Some("done".to_owned()),
                    ..UpdateWorkItem::default()
                },
            )
            .await;
        assert_eq!(status_of(refusal), 409, "it has an open task");
        worker.work_off(|_| json!({})).await;
        let done = move_to(t, &made, "done").await;
        assert_eq!(done.branch_status, BranchStatus::Completed);
        assert_eq!(t.run_state(run).await, WorkflowState::Completed);
        let open = move_to(t, &done, "active").await;
        assert_eq!(open.completed_at, None);
        assert_eq!(t.run_state(run).await, WorkflowState::Active);
    });
}

#[test]
fn a_task_fits_its_work_item_or_is_refused() {
    test(async |t| {
        let run = orchestrated(t).await;
        let made = make(t, run, "One").await;
        let admin = t.admin();
        let mut wrong = task_in("x", made.id);
        wrong.stage_name = Some("do".to_owned());
        refused_because(
            admin.create_task(&wrong).await,
            ReasonCode::TaskStageMismatch,
        );
        assert_eq!(
            status_of(admin.create_task(&task_in("x", WorkItemId::new())).await),
            404
        );
        let mut wrong = task_in("x", made.id);
        wrong.workflow_id = Some(WorkflowId::new());
        assert_eq!(status_of(admin.create_task(&wrong).await), 400);
        let mut wrong = new_task("x");
        wrong.workflow_id = Some(run);
        assert_eq!(status_of(admin.create_task(&wrong).await), 400);
        move_to(t, &made, "done").await;
        assert_eq!(
            status_of(admin.create_task(&task_in("x", made.id)).await),
            409
        );
    });
}

#[test]
fn a_tree_of_work_items_is_shown_by_parents_and_by_columns() {
    test(async |t| {
        let run = orchestrated(t).await;
        let parent = make(t, run, "Parent").await;
        let mut child = item("Child");
        child.parent_work_item_id = Some(parent.id);
        let child = t.admin().create_work_item(run, &child).await.unwrap();
        let shown = t
            .admin()
            .get_work_item(run, parent.id, &[("include_children", "true")])
            .await
            .unwrap();
        assert_eq!((shown.children_count, shown.children[0].id), (1, child.id));
        let circle = UpdateWorkItem {
            parent_work_item_id: Some(Some(child.id)),
            ..UpdateWorkItem::default()
        };
        assert_eq!(
            status_of(t.admin().update_work_item(run, parent.id, &circle).await),
            422
        );
        let found = t
            .admin()
            .list_work_items(run, &[("grouped", "true")])
            .await
            .unwrap();
        let WorkItems::Grouped(groups) = found else {
            panic!("groups were asked for")
        };
        assert_eq!(groups[0].column_id, "inbox");
        assert_eq!(groups[0].work_items.len(), 2);
    });
}

#[test]
fn a_paused_work_item_hands_out_nothing_while_others_go_on() {
    test(async |t| {
        let worker = t.worker("w1").capacity(50).await;
        let run = orchestrated(t).await;
        let (one, two) = (make(t, run, "One").await, make(t, run, "Two").await);
        t.admin()
            .create_task(&task_in("of one", one.id))
            .await
            .unwrap();
        let paused = t
            .admin()
            .pause_work_item(run, one.id, &Bare::default())
            .await
            .unwrap();
        assert!(paused.pause_requested_at.is_some());
        assert!(worker.claim().await.is_none());
        assert_eq!(
            t.admin()
                .explain_work_item(run, one.id)
                .await
                .unwrap()
                .reason,
            RunWhyReason::Paused
        );
        t.admin()
            .create_task(&task_in("of two", two.id))
            .await
            .unwrap();
        let other = worker.begin().await;
        assert_eq!(other.title, "of two");
        worker.complete(&other, json!({})).await.unwrap();
        t.admin()
            .resume_work_item(run, one.id, &Bare::default())
            .await
            .unwrap();
        assert_eq!(worker.begin().await.title, "of one");
    });
}

#[test]
fn a_cancelled_work_item_ends_its_tasks_and_the_step_that_made_it() {
    test(async |t| {
        let run = t
            .launch(json!({ "a": { "kind": "task" }, "b": { "kind": "task", "needs": ["a"] } }))
            .await;
        let (id, item) = (run.workflow.id, &run.work_items[0]);
        t.admin()
            .cancel_work_item(id, item.id, &Bare::default())
            .await
            .unwrap();
        assert_eq!(t.step(id, "a").await.state, StepState::Cancelled);
        let run = t.run(id).await;
        assert_eq!(run.workflow.state, WorkflowState::Failed);
        assert_eq!(run.tasks[0].state, TaskState::Cancelled);
    });
}

#[test]
fn a_run_whose_last_work_item_is_called_off_is_called_off_unless_something_was_done() {
    test(async |t| {
        for (is_one_done, state) in [
            (false, WorkflowState::Cancelled),
            (true, WorkflowState::Completed),
        ] {
            let run = orchestrated(t).await;
            let (one, two) = (make(t, run, "One").await, make(t, run, "Two").await);
            let cancel = async |item| {
                t.admin()
                    .cancel_work_item(run, item, &Bare::default())
                    .await
            };
            match is_one_done {
                true => {
                    move_to(t, &one, "done").await;
                }
                false => {
                    cancel(one.id).await.expect("it is called off");
                }
            }
            assert_eq!(t.run_state(run).await, WorkflowState::Active);
            cancel(two.id).await.expect("it is called off");
            assert_eq!(t.run_state(run).await, state);
        }
    });
}

#[test]
fn a_work_item_is_retried_by_its_failed_task() {
    test(async |t| {
        let worker = t.worker("w1").capacity(50).await;
        let run = t.launch(json!({ "a": { "kind": "task" } })).await;
        let (id, item) = (run.workflow.id, run.work_items[0].id);
        let none = t
            .admin()
            .retry_work_item(id, item, &RetryTask::default())
            .await;
        assert_eq!(status_of(none), 409);
        let a = worker.begin().await;
        worker.fail(&a, "broken").await.unwrap();
        let blocked = t.admin().get_work_item(id, item, &[]).await.unwrap();
        assert_eq!(
            (blocked.branch_status, blocked.column_id.as_str()),
            (BranchStatus::Blocked, "blocked")
        );
        let retried = t
            .admin()
            .retry_work_item(id, item, &RetryTask::default())
            .await
            .unwrap();
        assert_eq!((retried.id, retried.state), (a.id, TaskState::Ready));
        worker.work_off(|_| json!({})).await;
        let done = t.admin().get_work_item(id, item, &[]).await.unwrap();
        assert_eq!(
            (done.branch_status, done.rework_count),
            (BranchStatus::Completed, 1)
        );
        assert_eq!(t.run_state(id).await, WorkflowState::Completed);
        let events = t
            .admin()
            .list_work_item_events(id, item, &[("limit", "5")])
            .await
            .unwrap();
        assert_eq!(events.len(), 5);
        assert_eq!(
            t.admin()
                .list_work_item_tasks(id, item)
                .await
                .unwrap()
                .len(),
            1
        );
    });
}

#[test]
fn a_skipped_work_item_lets_its_run_go_on() {
    test(async |t| {
        let worker = t.worker("w1").capacity(50).await;
        let steps = json!({ "a": { "kind": "task" }, "b": { "kind": "task", "needs": ["a"] } });
        let run = t.launch(steps).await;
        let (id, item) = (run.workflow.id, run.work_items[0].id);
        let a = worker.begin().await;
        worker.fail(&a, "broken").await.unwrap();
        assert_eq!(t.run_state(id).await, WorkflowState::Failed);
        let skip = serde_json::from_value(json!({ "reason": "not needed" })).unwrap();
        let skipped = t.admin().skip_work_item(id, item, &skip).await.unwrap();
        assert_eq!(skipped.state, TaskState::Completed);
        assert_eq!(t.step(id, "a").await.state, StepState::Completed);
        assert_eq!(worker.work_off(|_| json!({})).await, 1);
        assert_eq!(t.run_state(id).await, WorkflowState::Completed);
    });
}

#[test]
fn a_call_for_help_is_answered_by_the_work_item_whose_task_asks() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let run = t.launch(json!({ "a": { "kind": "task" } })).await;
        let (id, item) = (run.workflow.id, run.work_items[0].id);
        let mut answer = ResolveWorkItemEscalation {
            action: EscalationAction::UnblockSubject,
            feedback: Some("the light one".to_owned()),
            request_id: None,
        };
        let resolve = async |answer: &_| {
            t.admin()
                .resolve_work_item_escalation(id, item, answer)
                .await
        };
        refused_because(resolve(&answer).await, ReasonCode::StateChanged);
        let escalate = async || {
            let a = worker.begin().await;
            let help = AgentEscalate {
                reason: "which blue?".to_owned(),
                attempt: Some(a.attempt),
                ..AgentEscalate::default()
            };
            worker
                .agent
                .agent_escalate_task(a.id, &help)
                .await
                .expect("a call for help");
            a.id
        };
        let task = escalate().await;
        let shown = t.admin().get_work_item(id, item, &[]).await.expect("it");
        assert_eq!(shown.escalation_status, Some(EscalationStatus::Open));
        answer.feedback = None;
        assert_eq!(
            status_of(resolve(&answer).await),
            422,
            "an answer has words"
        );
        answer.feedback = Some("the light one".to_owned());
        let resolved = resolve(&answer).await.expect("an answer");
        assert_eq!(resolved.escalation_status, None);
        let context = t.task(task).await.context.members();
        assert_eq!(context["escalation"]["instructions"], "the light one");

        assert_eq!(escalate().await, task, "it goes on with a new attempt");
        let dismissed = ResolveWorkItemEscalation {
            action: EscalationAction::Dismiss,
            feedback: None,
            request_id: None,
        };
        resolve(&dismissed).await.expect("an answer");
        assert_eq!(worker.begin().await.id, task);
        let events = t
            .admin()
            .list_work_item_events(id, item, &[])
            .await
            .expect("events");
        let resolved = events
            .iter()
            .filter(|event| event.event_type == "work_item.escalation_resolved");
        assert_eq!(resolved.count(), 2);
    });
}

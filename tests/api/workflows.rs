//! Runs: launch, look, pause, resume, cancel, redrive, delete.

use serde_json::{Value, json};
use stint_protocol::{
    Bare, BulkDeleteWorkflows, ErrorCode, InheritancePolicy, LiveVisibilityMode, RedriveWorkflow,
    RunWhyReason, StageStatus, StepState, TaskState, UpdateWorkflowSettings, WorkflowState,
};
use stint_tests::{refused, status_of, test};

fn two_steps() -> Value {
    json!({ "a": { "kind": "task" }, "b": { "kind": "task", "needs": ["a"], "input": { "x": "{{ steps.a.output.x }}" } } })
}

fn bare(request_id: &str) -> Bare {
    Bare {
        request_id: Some(request_id.to_owned()),
    }
}

#[test]
fn a_repeated_launch_is_the_same_run_and_another_body_is_refused() {
    test(async |t| {
        let playbook = t
            .playbook(&json!({ "kind": "graph", "steps": two_steps() }))
            .await;
        let mut request = t.launch_request(playbook, json!({})).await;
        request.request_id = Some("launch-1".to_owned());
        let first = t.admin().create_workflow(&request).await.unwrap();
        let again = t.admin().create_workflow(&request).await.unwrap();
        assert_eq!(first.workflow.id, again.workflow.id);
        request.name = "Other".to_owned();
        assert_eq!(status_of(t.admin().create_workflow(&request).await), 409);
        assert_eq!(t.admin().list_workflows(&[]).await.unwrap().meta.total, 1);
    });
}

#[test]
fn a_launch_that_does_not_fit_is_refused_field_by_field_and_leaves_nothing() {
    test(async |t| {
        let definition = json!({
            "kind": "graph", "steps": two_steps(),
            "parameters": [{ "slug": "folder", "title": "Folder", "required": true }],
        });
        let playbook = t.playbook(&definition).await;
        let request = t.launch_request(playbook, json!({ "foldr": "x" })).await;
        let refusal = refused(
            t.admin().create_workflow(&request).await,
            ErrorCode::SchemaValidationFailed,
        );
        let details = serde_json::to_value(refusal.details).unwrap();
        let fields = &details["issues"]["fieldErrors"];
        assert!(
            fields["parameters.foldr"].is_array() && fields["parameters.folder"].is_array(),
            "{fields}"
        );
        let mut request = t.launch_request(playbook, json!({ "folder": "x" })).await;
        request.playbook_id = stint_protocol::PlaybookId::new();
        assert_eq!(status_of(t.admin().create_workflow(&request).await), 404);
        assert_eq!(t.admin().list_workflows(&[]).await.unwrap().meta.total, 0);
    });
}

#[test]
fn another_tenant_sees_nothing_of_a_run() {
    test(async |t| {
        let id = t.launch(two_steps()).await.workflow.id;
        let other = t.other_tenant().await;
        assert_eq!(status_of(other.get_workflow(id).await), 404);
        assert_eq!(
            status_of(other.pause_workflow(id, &Bare::default()).await),
            404
        );
        assert_eq!(
            status_of(other.cancel_workflow(id, &Bare::default()).await),
            404
        );
        assert_eq!(status_of(other.list_work_items(id, &[]).await), 404);
        assert_eq!(other.list_workflows(&[]).await.unwrap().meta.total, 0);
    });
}

#[test]
fn a_paused_run_starts_nothing_keeps_what_ends_and_goes_on_where_it_was() {
    test(async |t| {
        let worker = t.worker("w1").capacity(5).await;
        let id = t
            .launch(json!({ "a": { "kind": "task" }, "b": { "kind": "task", "needs": ["a"] }, "c": { "kind": "task" } }))
            .await
            .workflow
            .id;
        let held = worker.begin().await;
        let paused = t.admin().pause_workflow(id, &bare("p1")).await.unwrap();
        assert_eq!(paused.workflow.state, WorkflowState::Paused);
        assert!(
            worker.claim().await.is_none(),
            "a paused run hands out nothing"
        );
        worker
            .complete(&held, json!({ "x": 1 }))
            .await
            .expect("what runs may end");
        assert!(worker.claim().await.is_none());
        assert_eq!(t.run_state(id).await, WorkflowState::Paused);
        let why = t.admin().explain_workflow(id).await.unwrap();
        assert_eq!(why.reason, RunWhyReason::Paused);
        let again = t.admin().pause_workflow(id, &bare("p1")).await.unwrap();
        assert_eq!(again.workflow.id, id);
        let resumed = t.admin().resume_workflow(id, &bare("r1")).await.unwrap();
        assert_eq!(resumed.workflow.state, WorkflowState::Active);
        assert_eq!(worker.work_off(|_| json!({})).await, 2);
        assert_eq!(t.run_state(id).await, WorkflowState::Completed);
        assert_eq!(
            status_of(t.admin().pause_workflow(id, &bare("p2")).await),
            409
        );
    });
}

#[test]
fn a_cancelled_run_ends_at_once_and_an_end_that_was_reported_in_time_counts() {
    test(async |t| {
        let worker = t.worker("w1").capacity(5).await;
        let id = t
            .launch(json!({ "a": { "kind": "task" }, "b": { "kind": "task", "needs": ["a"] }, "c": { "kind": "task" } }))
            .await
            .workflow
            .id;
        let held = worker.begin().await;
        let cancelled = t.admin().cancel_workflow(id, &bare("c1")).await.unwrap();
        assert_eq!(cancelled.workflow.state, WorkflowState::Cancelled);
        assert!(cancelled.workflow.completed_at.is_some());
        assert!(worker.claim().await.is_none());
        worker
            .complete(&held, json!({ "x": 1 }))
            .await
            .expect("in time");
        assert_eq!(t.state(held.id).await, TaskState::Completed);
        let run = t.run(id).await;
        assert_eq!(run.workflow.state, WorkflowState::Cancelled);
        assert!(
            run.steps
                .iter()
                .all(|step| step.state == StepState::Cancelled)
        );
        assert!(
            worker.claim().await.is_none(),
            "nothing follows in a cancelled run"
        );
        assert_eq!(
            status_of(t.admin().resume_workflow(id, &bare("r1")).await),
            409
        );
    });
}

#[test]
fn a_redrive_goes_on_where_the_run_had_failed() {
    test(async |t| {
        let worker = t.worker("w1").capacity(50).await;
        let id = t.launch(two_steps()).await.workflow.id;
        let a = worker.begin().await;
        worker.complete(&a, json!({ "x": 7 })).await.unwrap();
        let b = worker.begin().await;
        worker.fail(&b, "broken").await.unwrap();
        let redrive = RedriveWorkflow {
            reason: Some("again".to_owned()),
            request_id: Some("again-1".to_owned()),
            ..RedriveWorkflow::default()
        };
        let redriven = t.admin().redrive_workflow(id, &redrive).await.unwrap();
        let twin = t.admin().redrive_workflow(id, &redrive).await.unwrap();
        assert_eq!(redriven.workflow.workflow.id, twin.workflow.workflow.id);
        assert_eq!(
            (
                redriven.attempt_number,
                redriven.redrive_lineage.inherited_steps
            ),
            (2, 1)
        );
        let again = worker.begin().await;
        assert_eq!(again.input.members()["x"], 7);
        worker.complete(&again, json!({})).await.unwrap();
        let new = redriven.workflow.workflow.id;
        assert_eq!(t.run_state(new).await, WorkflowState::Completed);
        assert_eq!(t.run_state(id).await, WorkflowState::Failed);
        let anew = RedriveWorkflow {
            inheritance_policy: Some(InheritancePolicy::InheritNone),
            ..RedriveWorkflow::default()
        };
        let anew = t.admin().redrive_workflow(id, &anew).await.unwrap();
        assert_eq!(
            (anew.attempt_number, anew.redrive_lineage.inherited_steps),
            (3, 0)
        );
        assert_eq!(worker.begin().await.title, "a");
        let open = RedriveWorkflow::default();
        let refusal = t
            .admin()
            .redrive_workflow(anew.workflow.workflow.id, &open)
            .await;
        assert_eq!(status_of(refusal), 409);
    });
}

#[test]
fn a_run_that_has_ended_is_deleted_with_all_that_belongs_to_it() {
    test(async |t| {
        let worker = t.worker("w1").capacity(50).await;
        let id = t.launch(two_steps()).await.workflow.id;
        assert_eq!(status_of(t.admin().delete_workflow(id).await), 409);
        worker.work_off(|_| json!({ "x": 1 })).await;
        let kept = t.create("a task of no run").await;
        assert!(t.admin().delete_workflow(id).await.unwrap().deleted);
        assert_eq!(status_of(t.admin().get_workflow(id).await), 404);
        let left: i64 = sqlx::query_scalar(
            "select (select count(*) from tasks) + (select count(*) from task_results) + (select count(*) from work_items)
                  + (select count(*) from workflow_steps) + (select count(*) from task_gates)",
        )
        .fetch_one(t.sql())
        .await
        .unwrap();
        assert_eq!(left, 1);
        assert_eq!(t.state(kept.id).await, TaskState::Ready);
    });
}

#[test]
fn several_runs_are_deleted_together_or_not_at_all() {
    test(async |t| {
        let worker = t.worker("w1").capacity(50).await;
        let one = t.launch(two_steps()).await.workflow.id;
        worker.work_off(|_| json!({ "x": 1 })).await;
        let two = t.launch(two_steps()).await.workflow.id;
        let both = BulkDeleteWorkflows {
            workflow_ids: vec![one, two],
            request_id: None,
        };
        assert_eq!(status_of(t.admin().bulk_delete_workflows(&both).await), 409);
        assert_eq!(t.admin().list_workflows(&[]).await.unwrap().meta.total, 2);
        worker.work_off(|_| json!({ "x": 1 })).await;
        let deleted = t.admin().bulk_delete_workflows(&both).await.unwrap();
        assert_eq!(deleted.deleted_workflow_count, 2);
    });
}

#[test]
fn runs_that_ended_long_ago_are_forgotten() {
    test(async |t| {
        let worker = t.worker("w1").capacity(50).await;
        let old = t.launch(two_steps()).await.workflow.id;
        worker.work_off(|_| json!({ "x": 1 })).await;
        t.execute("update workflows set completed_at = completed_at - interval '31 days'")
            .await;
        let open = t.launch(two_steps()).await.workflow.id;
        assert_eq!(t.run_loop("forget_workflows").await.changed, 1);
        assert_eq!(status_of(t.admin().get_workflow(old).await), 404);
        assert_eq!(t.run_state(open).await, WorkflowState::Active);
    });
}

#[test]
fn settings_are_changed_by_whoever_has_seen_them() {
    test(async |t| {
        let id = t.launch(two_steps()).await.workflow.id;
        let seen = t.admin().get_workflow_settings(id).await.unwrap();
        let change = UpdateWorkflowSettings {
            live_visibility_mode: Some(LiveVisibilityMode::Standard),
            settings_revision: seen.revision,
            request_id: None,
        };
        let changed = t
            .admin()
            .update_workflow_settings(id, &change)
            .await
            .unwrap();
        assert_eq!(
            changed.effective_live_visibility_mode,
            LiveVisibilityMode::Standard
        );
        assert_eq!(
            status_of(t.admin().update_workflow_settings(id, &change).await),
            409
        );
    });
}

#[test]
fn stages_and_board_follow_the_steps() {
    test(async |t| {
        let worker = t.worker("w1").capacity(50).await;
        let definition = json!({
            "kind": "graph",
            "stages": [{ "name": "build", "goal": "Build it" }, { "name": "ship", "goal": "Ship it" }],
            "steps": { "a": { "kind": "task", "stage": "build" }, "b": { "kind": "task", "stage": "ship", "needs": ["a"] } },
        });
        let id = t.launch_with(definition, json!({})).await.workflow.id;
        let status = async || -> Vec<StageStatus> {
            let stages = t.admin().list_workflow_stages(id).await.unwrap();
            stages.into_iter().map(|stage| stage.status).collect()
        };
        assert_eq!(status().await, [StageStatus::Active, StageStatus::Pending]);
        assert_eq!(
            t.run(id).await.workflow.current_stage.as_deref(),
            Some("build")
        );
        let a = worker.begin().await;
        assert_eq!(a.stage_name.as_deref(), Some("build"));
        worker.complete(&a, json!({})).await.unwrap();
        assert_eq!(
            status().await,
            [StageStatus::Completed, StageStatus::Active]
        );
        let board = t.admin().get_workflow_board(id).await.unwrap();
        let columns: Vec<&str> = board
            .work_items
            .iter()
            .map(|item| item.column_id.as_str())
            .collect();
        assert_eq!(columns, ["active", "done"]);
        let events = t.admin().list_workflow_events(id, &[]).await.unwrap().data;
        let kinds: Vec<&str> = events
            .iter()
            .map(|event| event.event_type.as_str())
            .collect();
        for wanted in [
            "workflow.created",
            "stage.started",
            "work_item.created",
            "task.created",
            "stage.completed",
        ] {
            assert!(kinds.contains(&wanted), "{wanted} is missing in {kinds:?}");
        }
    });
}

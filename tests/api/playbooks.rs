//! Playbooks: what a run does, in versions.

use serde_json::{Value, json};
use stint_protocol::{
    ArchivePlaybook, ChangeKind, CreatePlaybook, ErrorCode, Lifecycle, MistakeCode, Playbook,
    PlaybookId, PlaybookKind, PlaybookStatus, PublishPlaybook, ReasonCode, UpdatePlaybook,
    ValidatePlaybook,
};
use stint_tests::{TestPlatform, refused, refused_because, test};

fn new(body: Value) -> CreatePlaybook {
    serde_json::from_value(body).expect("the body of a playbook")
}

fn change(body: Value) -> UpdatePlaybook {
    serde_json::from_value(body).expect("a change of a playbook")
}

fn graph(role: &str) -> Value {
    json!({
        "kind": "graph",
        "parameters": [{ "slug": "folder", "title": "Folder", "required": true }],
        "steps": {
            "list": { "kind": "task", "role": role, "input": { "folder": "{{ input.folder }}" } },
            "check": {
                "kind": "for_each", "items": "{{ steps.list.output.files }}", "max_parallel": 2,
                "task": { "role": role, "input": { "file": "{{ item }}" } },
            },
        },
    })
}

async fn make(t: &TestPlatform, body: Value) -> Playbook {
    t.admin()
        .create_playbook(&new(body))
        .await
        .expect("a playbook can be made")
}

async fn read(t: &TestPlatform, id: PlaybookId) -> Playbook {
    t.admin().get_playbook(id).await.expect("it is there")
}

/// How the versions of a playbook stand, newest first.
async fn versions(t: &TestPlatform, id: PlaybookId) -> Vec<(i32, PlaybookStatus, bool)> {
    let versions = t.admin().list_playbook_versions(id, &[]).await;
    let versions = versions.expect("it is there");
    let versions = versions.data.into_iter();
    versions
        .map(|one| (one.version, one.status, one.is_active))
        .collect()
}

use PlaybookStatus::{Archived, Draft, Published};

#[test]
fn a_playbook_is_published_at_once_unless_it_is_to_be_a_draft() {
    test(async |t| {
        let made = make(
            t,
            json!({ "name": "Check files!", "outcome": "Checked", "definition": graph("a") }),
        )
        .await;
        assert_eq!(
            (made.slug.as_str(), made.version, made.kind),
            ("check-files", 1, PlaybookKind::Graph)
        );
        assert_eq!(
            (made.status, made.is_active, made.lifecycle),
            (Published, true, Lifecycle::Planned)
        );
        assert!(made.published_at.is_some());
        let draft = make(t, json!({
            "name": "Later", "slug": "Some Day", "outcome": "x", "draft": true, "definition": { "kind": "graph" },
        }))
        .await;
        assert_eq!(
            (draft.slug.as_str(), draft.status, draft.is_active),
            ("some-day", Draft, false)
        );
        assert!(draft.published_at.is_none(), "and it may have mistakes");
    });
}

#[test]
fn a_slug_is_taken_once() {
    test(async |t| {
        let body = json!({ "name": "A", "outcome": "x", "definition": {} });
        make(t, body.clone()).await;
        let refusal = refused_because(
            t.admin().create_playbook(&new(body)).await,
            ReasonCode::NameTaken,
        );
        assert!(refusal.recovery_hint.unwrap().contains("PATCH"));
    });
}

#[test]
fn a_change_of_a_published_version_makes_the_next_one() {
    test(async |t| {
        let first = make(
            t,
            json!({ "name": "A", "outcome": "x", "definition": graph("a"), "changelog": "New" }),
        )
        .await;
        let second =
            change(json!({ "definition": graph("b"), "changelog": "Role b", "request_id": "r" }));
        let second = t.admin().update_playbook(first.id, &second).await.unwrap();
        assert_ne!(second.id, first.id);
        assert_eq!(
            (
                second.version,
                second.name.as_str(),
                second.changelog.as_deref()
            ),
            (2, "A", Some("Role b"))
        );
        let again = read(t, first.id).await;
        assert_eq!(
            again.definition, first.definition,
            "what was published never changes"
        );
        assert!(!again.is_active);
        assert_eq!(
            versions(t, first.id).await,
            [(2, Published, true), (1, Published, false)]
        );
        // Also from a version that is not the newest.
        let third = change(json!({ "outcome": "y" }));
        let third = t.admin().update_playbook(first.id, &third).await.unwrap();
        assert_eq!((third.version, &third.definition), (3, &first.definition));
        assert_eq!(third.changelog, None);
        let renamed = t
            .admin()
            .update_playbook(first.id, &change(json!({ "slug": "b" })))
            .await;
        refused(renamed, ErrorCode::SchemaValidationFailed);
    });
}

#[test]
fn the_whole_is_replaced_by_put() {
    test(async |t| {
        let first = make(
            t,
            json!({ "name": "A", "description": "d", "outcome": "x", "definition": graph("a") }),
        )
        .await;
        let partly = t
            .admin()
            .replace_playbook(first.id, &change(json!({ "name": "B" })))
            .await;
        refused(partly, ErrorCode::SchemaValidationFailed);
        let whole = change(json!({ "name": "B", "outcome": "y", "definition": {} }));
        let second = t.admin().replace_playbook(first.id, &whole).await.unwrap();
        assert_eq!((second.version, second.description), (2, None));
        assert_eq!(second.kind, PlaybookKind::Orchestrated);
    });
}

#[test]
fn a_draft_is_edited_in_place_and_published_once() {
    test(async |t| {
        let first = make(
            t,
            json!({ "name": "A", "outcome": "x", "definition": graph("a") }),
        )
        .await;
        let draft = change(json!({ "definition": { "kind": "graph" }, "draft": true }));
        let draft = t.admin().update_playbook(first.id, &draft).await.unwrap();
        assert_eq!(
            versions(t, first.id).await,
            [(2, Draft, false), (1, Published, true)]
        );
        let another = change(json!({ "draft": true }));
        let another = t.admin().update_playbook(first.id, &another).await;
        refused_because(another, ReasonCode::InUse);
        let publish = PublishPlaybook {
            changelog: Some("Better".to_owned()),
            request_id: None,
        };
        let refusal = refused(
            t.admin().publish_playbook(draft.id, &publish).await,
            ErrorCode::SchemaValidationFailed,
        );
        assert!(
            refusal
                .details
                .unwrap()
                .issues
                .unwrap()
                .field_errors
                .contains_key("definition.steps")
        );
        let edited = change(json!({ "definition": graph("b") }));
        let edited = t.admin().update_playbook(draft.id, &edited).await.unwrap();
        assert_eq!((edited.id, edited.version), (draft.id, 2));
        // Somebody publishes beside it: the draft gets the next free number.
        t.admin()
            .update_playbook(first.id, &change(json!({ "outcome": "z" })))
            .await
            .unwrap();
        let published = t
            .admin()
            .publish_playbook(draft.id, &publish)
            .await
            .unwrap();
        assert_eq!(
            (published.id, published.version, published.is_active),
            (draft.id, 4, true)
        );
        assert_eq!(published.changelog.as_deref(), Some("Better"));
        assert_eq!(
            versions(t, first.id).await,
            [
                (4, Published, true),
                (3, Published, false),
                (1, Published, false)
            ]
        );
        let twice = refused(
            t.admin().publish_playbook(draft.id, &publish).await,
            ErrorCode::InvalidStateTransition,
        );
        assert_eq!(
            twice.details.unwrap().current_state.as_deref(),
            Some("published")
        );
    });
}

#[test]
fn a_definition_is_refused_with_every_mistake_and_nothing_is_stored() {
    test(async |t| {
        let definition = json!({
            "kind": "graph",
            "steps": {
                "a": { "kind": "task", "needs": ["b"], "input": { "x": "{{ input.folder }}" } },
                "b": { "kind": "task", "when": "steps.a.output.ok", "typo": 1 },
            },
        });
        let body = new(json!({ "name": "A", "outcome": "x", "definition": definition }));
        let refusal = refused(
            t.admin().create_playbook(&body).await,
            ErrorCode::SchemaValidationFailed,
        );
        let fields = refusal.details.unwrap().issues.unwrap().field_errors;
        let paths: Vec<&str> = fields.keys().map(String::as_str).collect();
        assert_eq!(
            paths,
            [
                "definition.steps.a",
                "definition.steps.a.input.x",
                "definition.steps.b.typo"
            ]
        );
        assert_eq!(t.admin().list_playbooks(&[]).await.unwrap().meta.total, 0);
        let looked = ValidatePlaybook {
            definition: body.definition.clone(),
            lifecycle: None,
            request_id: None,
        };
        let looked = t.admin().validate_playbook(&looked).await.unwrap();
        assert!(!looked.valid);
        let codes: Vec<_> = looked.mistakes.iter().map(|mistake| mistake.code).collect();
        assert_eq!(codes.len(), 3);
        for code in [
            MistakeCode::Cycle,
            MistakeCode::UnknownReference,
            MistakeCode::UnknownField,
        ] {
            assert!(codes.contains(&code), "{code} is not among {codes:?}");
        }
        assert!(
            looked
                .mistakes
                .iter()
                .all(|mistake| !mistake.hint.is_empty())
        );
        let secret = json!({ "kind": "graph", "steps": { "a": { "kind": "task", "input": { "api_key": "abc" } } } });
        let secret = new(json!({ "name": "A", "outcome": "x", "definition": secret }));
        refused_because(
            t.admin().create_playbook(&secret).await,
            ReasonCode::PlainSecret,
        );
    });
}

#[test]
fn versions_are_compared_by_what_is_written_in_them() {
    test(async |t| {
        let first = make(
            t,
            json!({ "name": "A", "outcome": "x", "definition": graph("a") }),
        )
        .await;
        let mut definition = graph("a");
        definition["steps"]["list"]["role"] = "b".into();
        definition["steps"]["report"] = json!({ "kind": "task", "needs": ["check"] });
        definition["parameters"] = json!([
            { "slug": "title", "title": "Title" },
            { "slug": "folder", "title": "Folder", "required": true },
        ]);
        definition["steps"]["check"]["max_parallel"] = Value::Null;
        let second = change(json!({ "definition": definition, "outcome": "y" }));
        let second = t.admin().update_playbook(first.id, &second).await.unwrap();
        let compared = t
            .admin()
            .compare_playbooks(first.id, second.id)
            .await
            .unwrap();
        assert_eq!((compared.from.version, compared.to.version), (1, 2));
        let found: Vec<_> = compared
            .changes
            .iter()
            .map(|change| (change.path.as_str(), change.change))
            .collect();
        assert_eq!(
            found,
            [
                ("definition.parameters[title]", ChangeKind::Added),
                ("definition.steps.check.max_parallel", ChangeKind::Changed),
                ("definition.steps.list.role", ChangeKind::Changed),
                ("definition.steps.report", ChangeKind::Added),
                ("outcome", ChangeKind::Changed),
            ]
        );
        assert_eq!(compared.changes[4].to.as_ref().unwrap().value(), json!("y"));
        let same = t
            .admin()
            .compare_playbooks(second.id, second.id)
            .await
            .unwrap();
        assert!(same.changes.is_empty());
    });
}

#[test]
fn an_archived_playbook_comes_back_with_the_version_that_is_named() {
    test(async |t| {
        let first = make(t, json!({ "name": "A", "outcome": "x", "definition": {} })).await;
        let second = t
            .admin()
            .update_playbook(first.id, &change(json!({ "outcome": "y" })))
            .await
            .unwrap();
        let archive = |archived| ArchivePlaybook {
            archived,
            request_id: None,
        };
        let gone = t
            .admin()
            .archive_playbook(first.id, &archive(true))
            .await
            .unwrap();
        assert_eq!((gone.status, gone.is_active), (Archived, false));
        assert_eq!(
            versions(t, first.id).await,
            [(2, Archived, false), (1, Archived, false)]
        );
        let back = t
            .admin()
            .archive_playbook(first.id, &archive(false))
            .await
            .unwrap();
        assert_eq!((back.status, back.is_active), (Published, true));
        assert_eq!(
            versions(t, first.id).await,
            [(2, Archived, false), (1, Published, true)]
        );
        t.admin()
            .archive_playbook(second.id, &archive(false))
            .await
            .unwrap();
        assert_eq!(
            versions(t, first.id).await,
            [(2, Published, true), (1, Published, false)]
        );
        let filters = [("entity_type", "playbook")];
        let events = t.admin().list_events(&filters).await.unwrap();
        let events: Vec<_> = events
            .data
            .iter()
            .map(|event| event.event_type.as_str())
            .collect();
        assert_eq!(
            events,
            [
                "playbook.created",
                "playbook.published",
                "playbook.updated",
                "playbook.published",
                "playbook.archived",
                "playbook.restored",
                "playbook.restored",
            ]
        );
    });
}

#[test]
fn lists_are_filtered_active_ones_first() {
    test(async |t| {
        let first = make(
            t,
            json!({ "name": "Alpha", "outcome": "x", "definition": {} }),
        )
        .await;
        t.admin()
            .update_playbook(first.id, &change(json!({ "outcome": "y" })))
            .await
            .unwrap();
        make(
            t,
            json!({ "name": "Beta", "outcome": "x", "definition": {}, "draft": true }),
        )
        .await;
        let listed = async |filters: &[(&str, &str)]| -> Vec<(String, i32)> {
            let page = t.admin().list_playbooks(filters).await.unwrap();
            page.data
                .into_iter()
                .map(|one| (one.slug, one.version))
                .collect()
        };
        let told = |slug: &str, version| (slug.to_owned(), version);
        assert_eq!(
            listed(&[]).await,
            [told("alpha", 2), told("beta", 1), told("alpha", 1)]
        );
        assert_eq!(listed(&[("q", "ALPH")]).await.len(), 2);
        assert_eq!(listed(&[("slug", "beta")]).await, [told("beta", 1)]);
        assert_eq!(listed(&[("status", "draft")]).await, [told("beta", 1)]);
        assert_eq!(listed(&[("is_active", "true")]).await, [told("alpha", 2)]);
        assert_eq!(
            listed(&[("per_page", "1"), ("page", "3")]).await,
            [told("alpha", 1)]
        );
    });
}

#[test]
fn a_version_without_runs_is_deleted() {
    test(async |t| {
        let first = make(t, json!({ "name": "A", "outcome": "x", "definition": {} })).await;
        let second = t
            .admin()
            .update_playbook(first.id, &change(json!({ "outcome": "y" })))
            .await
            .unwrap();
        let impact = t
            .admin()
            .get_playbook_delete_impact(first.id)
            .await
            .unwrap();
        assert_eq!((impact.family.revisions, impact.revision.workflows), (2, 0));
        t.admin().delete_playbook(first.id).await.unwrap();
        refused(t.admin().get_playbook(first.id).await, ErrorCode::NotFound);
        assert_eq!(versions(t, second.id).await, [(2, Published, true)]);
    });
}

#[test]
fn a_key_that_is_restricted_to_workspaces_changes_no_playbook() {
    test(async |t| {
        let body = json!({ "name": "A", "outcome": "x", "definition": {} });
        let made = make(t, body.clone()).await;
        let key = json!({ "scope": "admin", "workspace_ids": [uuid::Uuid::new_v4()] });
        let key = serde_json::from_value(key).unwrap();
        let key = t.admin().create_key(&key).await.unwrap().api_key;
        let bound = t.first().client(&key);
        bound.get_playbook(made.id).await.unwrap();
        let why = ReasonCode::OutsideWorkspaces;
        refused_because(bound.create_playbook(&new(body)).await, why);
        let changed = bound
            .update_playbook(made.id, &change(json!({ "name": "B" })))
            .await;
        refused_because(changed, why);
        let archive = ArchivePlaybook {
            archived: true,
            request_id: None,
        };
        refused_because(bound.archive_playbook(made.id, &archive).await, why);
        refused_because(bound.delete_playbook(made.id).await, why);
    });
}

#[test]
fn a_version_with_runs_is_kept_and_says_what_hangs_on_it() {
    test(async |t| {
        let definition = json!({ "kind": "graph", "steps": { "a": { "kind": "task" } } });
        let body = json!({ "name": "A", "outcome": "x", "definition": definition });
        let made = make(t, body).await;
        let place = json!({ "name": "P", "slug": "p" });
        let place = serde_json::from_value(place).unwrap();
        let place = t.admin().create_workspace(&place).await.unwrap().id;
        let run = json!({ "playbook_id": made.id, "workspace_id": place, "name": "R" });
        let run = serde_json::from_value(run).unwrap();
        let run = t.admin().create_workflow(&run).await.unwrap().workflow.id;
        t.admin()
            .update_playbook(made.id, &change(json!({ "outcome": "y" })))
            .await
            .unwrap();
        let impact = t.admin().get_playbook_delete_impact(made.id).await.unwrap();
        let counts = impact.revision;
        assert_eq!((counts.workflows, counts.active_workflows), (1, 1));
        assert_eq!(
            (counts.tasks, counts.active_tasks, counts.work_items),
            (1, 1, 1)
        );
        assert_eq!((impact.family.revisions, impact.family.runs), (2, counts));
        refused_because(t.admin().delete_playbook(made.id).await, ReasonCode::InUse);
        // The workspace knows of it too, and goes only when it has ended.
        let summary = t.admin().get_workspace(place).await.unwrap().summary;
        assert_eq!(
            (summary.active_workflow_count, summary.total_workflow_count),
            (1, 1)
        );
        assert!(summary.last_workflow_activity_at.is_some());
        let all = t.admin().delete_playbook_family(made.id).await;
        refused_because(all, ReasonCode::InUse);
        let gone = t.admin().delete_workspace(place, true).await;
        let refusal = refused_because(gone, ReasonCode::InUse);
        assert!(refusal.recovery_hint.unwrap().contains("cancel"));
        let bare = serde_json::from_value(json!({})).unwrap();
        t.admin().cancel_workflow(run, &bare).await.unwrap();
        let impact = t.admin().get_workspace_delete_impact(place).await.unwrap();
        assert_eq!((impact.workflows, impact.active_workflows), (1, 0));
        t.admin().delete_workspace(place, true).await.unwrap();
        refused(t.admin().get_workflow(run).await, ErrorCode::NotFound);
        t.admin().delete_playbook(made.id).await.unwrap();
    });
}

#[test]
fn a_playbook_is_deleted_for_good_with_all_versions_and_runs_once_these_have_ended() {
    test(async |t| {
        let definition = json!({ "kind": "graph", "steps": { "a": { "kind": "task" } } });
        let run = t.launch_with(definition, json!({})).await.workflow;
        let bare = serde_json::from_value(json!({})).unwrap();
        t.admin().cancel_workflow(run.id, &bare).await.unwrap();
        let gone = t.admin().delete_playbook_family(run.playbook_id).await;
        let gone = gone.unwrap();
        assert_eq!(
            (
                gone.deleted_revision_count,
                gone.deleted_workflow_count,
                gone.deleted_task_count
            ),
            (1, 1, 1)
        );
        refused(t.admin().get_workflow(run.id).await, ErrorCode::NotFound);
        let again = t.admin().delete_playbook_family(run.playbook_id).await;
        refused(again, ErrorCode::NotFound);
    });
}

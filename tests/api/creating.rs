//! Creating tasks: what is accepted, what is refused, and what a repetition does.

use reqwest::Method;
use serde_json::{Value, json};
use stint_protocol::{
    CreateTask, ErrorCode, ExecutionBackend, Priority, ReasonCode, TaskKind, TaskState, TaskType,
};
use stint_tests::{Answer, TestPlatform, new_task, object, refused, refused_because, test};
use uuid::Uuid;

/// Creates a task from a title, a type and these members.
async fn post(t: &TestPlatform, members: Value) -> Answer {
    let mut body = json!({"title": "paint", "type": "code"});
    for (key, value) in members.as_object().expect("an object") {
        body[key] = value.clone();
    }
    t.post("/api/v1/tasks", t.admin_key(), &body).await
}

async fn assert_field_refused(t: &TestPlatform, members: Value, field: &str) {
    let answer = post(t, members.clone()).await;
    assert_eq!(answer.status, 422, "{members}: {}", answer.text);
    let errors = &answer.error()["details"]["issues"]["fieldErrors"];
    assert!(
        errors
            .as_object()
            .is_some_and(|errors| errors.contains_key(field)),
        "{members}: {}",
        answer.text
    );
}

#[test]
fn a_task_without_conditions_is_ready_at_once() {
    test(async |t| {
        let task = t.create("paint").await;
        assert_eq!(task.state, TaskState::Ready);
        assert_eq!(task.attempt, 0);
    });
}

#[test]
fn a_task_has_sensible_defaults() {
    test(async |t| {
        let task = t.create("paint").await;
        assert_eq!(task.priority, Priority::Normal);
        assert_eq!(task.task_kind, TaskKind::Delivery);
        assert_eq!(task.execution_backend, ExecutionBackend::RuntimePlusTask);
        assert_eq!(task.timeout_minutes, 180);
        assert_eq!(task.max_abandons, 3);
        assert_eq!(task.retry_policy, None);
    });
}

#[test]
fn what_is_said_about_a_task_is_kept() {
    test(async |t| {
        let made = t
            .create_with("paint", |task| {
                task.description = Some("the whole wall".to_owned());
                task.priority = Some(Priority::High);
                task.input = Some(object(json!({"wall": 3})));
                task.context = Some(object(json!({"colour": "red"})));
                task.metadata = Some(object(json!({"by": "me"})));
                task.environment = Some(object(json!({"image": "x"})));
                task.stage_name = Some("walls".to_owned());
                task.token_budget = Some(1000);
                task.cost_cap_usd = Some(1.5);
                task.max_iterations = Some(7);
            })
            .await;
        let task = t.task(made.id).await;
        assert_eq!(task.description.as_deref(), Some("the whole wall"));
        assert_eq!(task.priority, Priority::High);
        assert_eq!(task.input, object(json!({"wall": 3})));
        assert_eq!(task.context, object(json!({"colour": "red"})));
        assert_eq!(task.metadata, object(json!({"by": "me"})));
        assert_eq!(task.environment, object(json!({"image": "x"})));
        assert_eq!(task.stage_name.as_deref(), Some("walls"));
        assert_eq!(task.token_budget, Some(1000));
        assert_eq!(task.cost_cap_usd.as_deref(), Some("1.5"));
        assert_eq!(task.max_iterations, Some(7));
    });
}

#[test]
fn a_create_is_answered_with_what_a_read_would_show() {
    test(async |t| {
        let earlier = t.create("buy paint").await.id;
        let plain = json!({});
        let ample = json!({
            "description": "the whole wall", "priority": "high", "role": "painter", "stage_name": "walls",
            "input": {"wall": 3, "share": 2.50}, "context": {"colour": "red"}, "metadata": {"by": "me"},
            "environment": {"image": "x"}, "role_config": {"tools": ["brush"]}, "timeout_minutes": 7,
            "max_abandons": 5, "max_reworks": 2, "token_budget": 1000, "cost_cap_usd": 1.5, "max_iterations": 7,
            "llm_max_retries": 2, "assessment_prompt": "is it red?", "request_id": "r1",
            "retry_policy": {"max_attempts": 3, "backoff_strategy": "exponential", "initial_backoff_seconds": 2}
        });
        let later = json!({"run_at": "2100-01-01T00:00:00Z"});
        let asked = json!({"requires_approval": true});
        let blocked = json!({"depends_on": [earlier]});
        for members in [plain, ample, later, asked, blocked] {
            let made = post(t, members).await;
            assert_eq!(made.status, 201, "{}", made.text);
            let id = made.data()["id"].as_str().expect("an id").to_owned();
            let read = t.get(&format!("/api/v1/tasks/{id}"), t.admin_key()).await;
            assert_eq!(made.data(), read.data());
        }
    });
}

#[test]
fn input_comes_back_in_the_order_it_was_sent() {
    test(async |t| {
        let body = r#"{"title":"paint","type":"code","input":{"z":1,"a":{"y":2.50,"b":3}}}"#;
        let made = Answer::of(
            t.request(Method::POST, "/api/v1/tasks")
                .bearer_auth(t.admin_key())
                .header("content-type", "application/json")
                .body(body),
        )
        .await;
        assert_eq!(made.status, 201, "{}", made.text);
        assert!(
            made.text
                .contains(r#""input":{"z":1,"a":{"y":2.50,"b":3}}"#),
            "{}",
            made.text
        );
    });
}

#[test]
fn a_field_outside_its_limits_is_refused_by_its_name() {
    test(async |t| {
        let long = |length: usize| "x".repeat(length);
        for (members, field) in [
            (json!({"title": ""}), "title"),
            (json!({"title": long(501)}), "title"),
            (json!({"description": long(5001)}), "description"),
            (json!({"role": ""}), "role"),
            (json!({"role": long(121)}), "role"),
            (json!({"stage_name": long(121)}), "stage_name"),
            (
                json!({"assessment_prompt": long(2001)}),
                "assessment_prompt",
            ),
            (json!({"timeout_minutes": 0}), "timeout_minutes"),
            (json!({"timeout_minutes": 241}), "timeout_minutes"),
            (json!({"max_abandons": -1}), "max_abandons"),
            (json!({"max_abandons": 101}), "max_abandons"),
            (json!({"max_retries": 11}), "max_retries"),
            (json!({"max_iterations": 0}), "max_iterations"),
            (json!({"llm_max_retries": 0}), "llm_max_retries"),
            (json!({"subject_revision": 0}), "subject_revision"),
            (json!({"token_budget": 0}), "token_budget"),
            (json!({"cost_cap_usd": 0}), "cost_cap_usd"),
            (
                json!({"retry_policy": {"max_attempts": 0}}),
                "retry_policy.max_attempts",
            ),
            (
                json!({"retry_policy": {"max_attempts": 101}}),
                "retry_policy.max_attempts",
            ),
            (
                json!({"retry_policy": {"max_attempts": 1, "initial_backoff_seconds": -1}}),
                "retry_policy.initial_backoff_seconds",
            ),
            (
                json!({"retry_policy": {"max_attempts": 1, "jitter": 1.5}}),
                "retry_policy.jitter",
            ),
            (
                json!({"execution_backend": "runtime_only"}),
                "execution_backend",
            ),
            (
                json!({"role_config": {"output_schema": {"type": "nonsense"}}}),
                "role_config.output_schema",
            ),
        ] {
            assert_field_refused(t, members, field).await;
        }
    });
}

#[test]
fn the_limits_themselves_are_accepted() {
    test(async |t| {
        for members in [
            json!({"title": "x".repeat(500)}),
            json!({"description": "x".repeat(5000)}),
            json!({"role": "x".repeat(120)}),
            json!({"timeout_minutes": 1}),
            json!({"timeout_minutes": 240}),
            json!({"max_abandons": 0}),
            json!({"max_abandons": 100}),
            json!({"retry_policy": {"max_attempts": 100, "jitter": 1, "initial_backoff_seconds": 86400}}),
        ] {
            let answer = post(t, members).await;
            assert_eq!(answer.status, 201, "{}", answer.text);
        }
    });
}

#[test]
fn a_body_that_does_not_fit_is_refused() {
    test(async |t| {
        for members in [
            json!({"colour": "red"}),
            json!({"title": null}),
            json!({"title": 3}),
            json!({"type": "unheard_of"}),
            json!({"priority": "urgent"}),
            json!({"input": [1]}),
            json!({"depends_on": ["not-an-id"]}),
            json!({"run_at": "tomorrow"}),
            json!({"on_dependency_failure": "ignore"}),
        ] {
            let answer = post(t, members.clone()).await;
            assert_eq!(answer.status, 422, "{members}: {}", answer.text);
        }
    });
}

#[test]
fn a_refused_task_leaves_nothing_behind() {
    test(async |t| {
        post(t, json!({"timeout_minutes": 0})).await;
        post(t, json!({"depends_on": [Uuid::new_v4()]})).await;
        post(t, json!({"colour": "red"})).await;
        let tasks: i64 = sqlx::query_scalar("select count(*) from tasks")
            .fetch_one(t.sql())
            .await
            .unwrap();
        assert_eq!(tasks, 0);
    });
}

#[test]
fn a_nul_character_is_refused() {
    test(async |t| {
        let answer = post(t, json!({"input": {"text": "a\u{0}b"}})).await;
        assert_eq!(answer.reason(), "nul_character", "{}", answer.text);
    });
}

#[test]
fn a_plain_secret_is_refused_and_not_repeated() {
    test(async |t| {
        let answer = post(t, json!({"environment": {"api_key": "hunter2hunter2"}})).await;
        assert_eq!(answer.reason(), "plain_secret", "{}", answer.text);
        assert!(!answer.text.contains("hunter2"), "{}", answer.text);
    });
}

#[test]
fn an_orchestrator_task_and_its_kind_go_together() {
    test(async |t| {
        let answer = post(t, json!({"task_kind": "orchestrator"})).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
        let answer = post(t, json!({"is_orchestrator_task": true})).await;
        assert_eq!(
            answer.data()["task_kind"],
            "orchestrator",
            "{}",
            answer.text
        );
        assert_eq!(answer.data()["execution_backend"], "runtime_only");
    });
}

#[test]
fn an_assessment_needs_its_subject() {
    test(async |t| {
        let answer = post(t, json!({"task_kind": "assessment"})).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
        let subject = t.create("paint").await;
        let made = t
            .create_with("judge", |task| {
                task.task_type = TaskType::Assessment;
                task.task_kind = Some(TaskKind::Assessment);
                task.subject_task_id = Some(subject.id);
                task.subject_revision = Some(1);
            })
            .await;
        assert_eq!(made.task_kind, TaskKind::Assessment);
    });
}

#[test]
fn a_thing_that_is_not_there_is_not_found() {
    test(async |t| {
        let nobody = Uuid::new_v4();
        for members in [
            json!({"depends_on": [nobody]}),
            json!({"parent_id": nobody}),
            json!({"preferred_agent_id": nobody}),
            json!({"preferred_worker_id": nobody}),
            json!({"subject_task_id": nobody}),
            json!({"workflow_id": nobody, "work_item_id": nobody}),
            json!({"work_item_id": nobody}),
        ] {
            let answer = post(t, members.clone()).await;
            assert_eq!(answer.status, 404, "{members}: {}", answer.text);
        }
        let answer = post(t, json!({"activation_id": nobody})).await;
        assert_eq!(answer.status, 422, "the platform notes it: {}", answer.text);
    });
}

#[test]
fn another_tenants_things_are_not_found() {
    test(async |t| {
        let other = t.other_tenant().await;
        let theirs = other.create_task(&new_task("theirs")).await.unwrap();
        let worker = t.worker_of(&other, "theirs").await;
        for members in [
            json!({"depends_on": [theirs.id]}),
            json!({"parent_id": theirs.id}),
            json!({"preferred_agent_id": worker.agent_id}),
            json!({"preferred_worker_id": worker.worker_id}),
        ] {
            let answer = post(t, members.clone()).await;
            assert_eq!(answer.status, 404, "{members}: {}", answer.text);
        }
    });
}

#[test]
fn subtasks_are_bounded_in_depth() {
    test(async |t| {
        let mut parent = t.create("root").await.id;
        for depth in 1..=t.app().config.limits.subtask_depth_max {
            parent = t
                .create_with(&format!("depth {depth}"), |task| {
                    task.parent_id = Some(parent);
                })
                .await
                .id;
        }
        let mut deeper = new_task("too deep");
        deeper.parent_id = Some(parent);
        refused_because(
            t.admin().create_task(&deeper).await,
            ReasonCode::LimitReached,
        );
    });
}

#[test]
fn subtasks_are_bounded_in_number() {
    test(async |t| {
        let parent = t.create("root").await.id;
        let child = |task: &mut CreateTask| task.parent_id = Some(parent);
        for _ in 0..t.app().config.limits.subtasks_max {
            t.create_with("child", child).await;
        }
        let mut more = new_task("one too many");
        child(&mut more);
        refused_because(t.admin().create_task(&more).await, ReasonCode::LimitReached);
    });
}

#[test]
fn subtasks_made_together_are_bounded_together() {
    test(async |t| {
        let parent = t.create("root").await.id;
        let mut child = new_task("child");
        child.parent_id = Some(parent);
        let admin = t.admin();
        let most = usize::try_from(t.app().config.limits.subtasks_max).unwrap();
        let made = futures_util::future::join_all(
            (0..most + 10).map(|_| async { admin.create_task(&child).await.is_ok() }),
        )
        .await;
        assert_eq!(made.into_iter().filter(|made| *made).count(), most);
    });
}

#[test]
fn the_holder_of_a_task_may_make_subtasks_of_it_and_others_may_not() {
    test(async |t| {
        let (holder, other) = (t.worker("w1").await, t.worker("w2").await);
        let parent = t.create("root").await;
        holder.claim_one().await;
        let mut child = new_task("child");
        child.parent_id = Some(parent.id);
        holder.agent.create_task(&child).await.unwrap();
        holder.worker.create_task(&child).await.unwrap();
        refused_because(other.agent.create_task(&child).await, ReasonCode::NotHolder);
        refused_because(
            other.worker.create_task(&child).await,
            ReasonCode::NotHolder,
        );
    });
}

#[test]
fn the_same_request_twice_makes_one_task() {
    test(async |t| {
        let mut task = new_task("once");
        task.request_id = Some("r1".to_owned());
        let first = t.admin().create_task(&task).await.unwrap();
        let second = t.admin().create_task(&task).await.unwrap();
        assert_eq!(first.id, second.id);
    });
}

#[test]
fn a_repeated_creation_says_that_it_is_a_replay() {
    test(async |t| {
        let members = json!({"request_id": "r1"});
        assert!(!post(t, members.clone()).await.is_replay());
        let replay = post(t, members).await;
        assert_eq!(replay.status, 201);
        assert!(replay.is_replay());
    });
}

#[test]
fn a_repeated_creation_answers_the_task_as_it_is_now() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let mut task = new_task("once");
        task.request_id = Some("r1".to_owned());
        t.admin().create_task(&task).await.unwrap();
        worker.claim_one().await;
        let again = t.admin().create_task(&task).await.unwrap();
        assert_eq!(again.state, TaskState::Claimed);
    });
}

#[test]
fn a_request_id_with_another_body_is_refused() {
    test(async |t| {
        post(t, json!({"request_id": "r1"})).await;
        let answer = post(t, json!({"request_id": "r1", "priority": "high"})).await;
        assert_eq!(answer.status, 409);
        assert_eq!(answer.reason(), "request_id_reused", "{}", answer.text);
    });
}

#[test]
fn the_header_makes_a_creation_safe_to_repeat_too() {
    test(async |t| {
        let send = async || {
            Answer::of(
                t.request(Method::POST, "/api/v1/tasks")
                    .bearer_auth(t.admin_key())
                    .header("idempotency-key", "h1")
                    .json(&json!({"title": "once", "type": "code"})),
            )
            .await
        };
        let (first, second) = (send().await, send().await);
        assert_eq!(first.data()["id"], second.data()["id"]);
        assert!(second.is_replay());
    });
}

#[test]
fn two_tenants_may_use_the_same_request_id() {
    test(async |t| {
        let mut task = new_task("once");
        task.request_id = Some("r1".to_owned());
        let ours = t.admin().create_task(&task).await.unwrap();
        let theirs = t.other_tenant().await.create_task(&task).await.unwrap();
        assert_ne!(ours.id, theirs.id);
    });
}

#[test]
fn an_agent_and_an_operator_may_use_the_same_request_id() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let mut task = new_task("once");
        task.request_id = Some("r1".to_owned());
        let ours = t.admin().create_task(&task).await.unwrap();
        let theirs = worker.agent.create_task(&task).await.unwrap();
        assert_ne!(ours.id, theirs.id);
    });
}

#[test]
fn twins_make_one_task_and_the_second_is_a_replay() {
    test(async |t| {
        let members = json!({"request_id": "twin"});
        let (one, other) = tokio::join!(post(t, members.clone()), post(t, members.clone()));
        assert_eq!((one.status, other.status), (201, 201));
        assert_eq!(one.data()["id"], other.data()["id"]);
        assert_ne!(one.is_replay(), other.is_replay());
    });
}

#[test]
fn twins_on_two_replicas_make_one_task() {
    test(async |t| {
        let replica = t.replica().await;
        for number in 0..10 {
            let mut task = new_task("once");
            task.request_id = Some(format!("twin {number}"));
            let (here, there) = (t.admin(), replica.admin());
            let (one, other) = tokio::join!(here.create_task(&task), there.create_task(&task));
            assert_eq!(one.unwrap().id, other.unwrap().id);
        }
    });
}

#[test]
fn a_delayed_task_waits_until_it_is_due() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let due = chrono::DateTime::from_timestamp(4_000_000_000, 0).unwrap();
        let task = t
            .create_with("later", |task| task.run_at = Some(due.into()))
            .await;
        assert_eq!(task.state, TaskState::Pending);
        assert_eq!(task.available_at, Some(due.into()));
        t.run_loop("release_due").await;
        assert!(worker.claim().await.is_none());
        t.release_due().await;
        assert_eq!(worker.claim_one().await.id, task.id);
    });
}

#[test]
fn a_delay_that_is_over_already_is_released_by_the_loop() {
    test(async |t| {
        let past = chrono::DateTime::from_timestamp(1_000_000_000, 0).unwrap();
        let task = t
            .create_with("late", |task| task.run_at = Some(past.into()))
            .await;
        t.run_loop("release_due").await;
        assert_eq!(t.state(task.id).await, TaskState::Ready);
    });
}

#[test]
fn an_agent_may_create_a_task_and_a_stranger_may_not() {
    test(async |t| {
        let worker = t.worker("w1").await;
        worker.agent.create_task(&new_task("mine")).await.unwrap();
        refused(
            t.stranger().create_task(&new_task("x")).await,
            ErrorCode::Unauthorized,
        );
    });
}

#[test]
fn a_moment_that_no_calendar_has_is_refused() {
    test(async |t| {
        for moment in ["-9999-01-01T00:00:00Z", "+12026-01-01T00:00:00Z"] {
            let body = json!({ "title": "x", "type": "custom", "run_at": moment });
            let answer = t.post("/api/v1/tasks", t.admin_key(), &body).await;
            assert_eq!(answer.status, 422, "{}", answer.text);
            let path = format!("/api/v1/logs?since={}", moment.replace('+', "%2B"));
            let answer = t.get(&path, t.admin_key()).await;
            assert_eq!(answer.status, 400, "{}", answer.text);
        }
    });
}

#[test]
fn a_list_tells_how_many_tasks_there_are_however_few_it_shows() {
    test(async |t| {
        let worker = t.worker("w1").await;
        for title in ["one", "two", "three"] {
            t.create(title).await;
        }
        worker.begin().await;
        for (filters, total) in [
            (vec![], 3),
            (vec![("state", "ready")], 2),
            (vec![("state", "in_progress")], 1),
            (vec![("role", "nobody")], 0),
        ] {
            let filters: Vec<(&str, &str)> =
                [("per_page", "1")].into_iter().chain(filters).collect();
            let list = t.admin().list_tasks(&filters).await.expect("a list");
            assert_eq!(list.meta.total, total, "{filters:?}");
            assert!(list.data.len() <= 1);
        }
    });
}

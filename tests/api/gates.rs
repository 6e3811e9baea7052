//! The gates of a run: pause, cancellation with a deadline, limits. The runs are made with the queue's own
//! operations, so that nothing but the gates decides.

use std::collections::BTreeSet;

use serde_json::json;
use stint_platform::queue::{self, Limits, Run};
use stint_protocol::{
    AgentHeartbeat, HeartbeatLease, LeaseRef, Priority, ReasonCode, RetryPolicy, TaskId, TaskState,
    TenantId, WhyReason, WorkItemId, WorkflowId,
};
use stint_tests::{TestPlatform, TestWorker, refused_because, test};
use uuid::Uuid;

/// A run in the default tenant.
struct TestRun<'a> {
    t: &'a TestPlatform,
    tenant: TenantId,
    run: Run,
}

impl<'a> TestRun<'a> {
    async fn with(t: &'a TestPlatform, limits: Limits) -> Self {
        let tenant: Uuid = sqlx::query_scalar("select id from tenants")
            .fetch_one(t.sql())
            .await
            .expect("the default tenant");
        let tenant = TenantId::from(tenant);
        let run = Run {
            workflow: WorkflowId::new(),
            work_item: None,
        };
        let made = Self { t, tenant, run };
        made.change(async |tx| queue::set_limits(tx, tenant, run, limits).await)
            .await;
        made
    }

    async fn open(t: &'a TestPlatform) -> Self {
        Self::with(t, Limits::default()).await
    }

    fn item(&self) -> Self {
        Self {
            t: self.t,
            tenant: self.tenant,
            run: Run {
                workflow: self.run.workflow,
                work_item: Some(WorkItemId::new()),
            },
        }
    }

    async fn change(
        &self,
        operation: impl AsyncFnOnce(
            &mut stint_platform::db::Tx,
        ) -> Result<(), stint_platform::error::Error>,
    ) {
        let app = self.t.app();
        let mut tx = app.db.begin_internal().await.expect("a transaction");
        operation(&mut tx).await.expect("the operation works");
        queue::settle(&mut tx).await.expect("the gates are settled");
        tx.commit(app).await.expect("it commits");
    }

    async fn pause(&self) {
        self.change(async |tx| queue::pause(tx, self.tenant, self.run).await)
            .await;
    }

    async fn resume(&self) {
        self.change(async |tx| queue::resume(tx, self.tenant, self.run).await)
            .await;
    }

    async fn cancel(&self) {
        self.change(async |tx| queue::cancel(tx, self.tenant, self.run, 60).await)
            .await;
    }

    /// Makes a task of the run, as the engine does.
    async fn task(&self, change: impl FnOnce(&mut queue::NewTask)) -> TaskId {
        let mut task = queue::NewTask {
            id: TaskId::new(),
            request_holder: Uuid::nil(),
            request_id: None,
            fingerprint: None,
            title: "part of a run".to_owned(),
            description: None,
            task_type: "custom",
            task_kind: "delivery",
            role: None,
            stage_name: None,
            priority: Priority::Normal.rank(),
            workflow_id: Some(self.run.workflow.uuid()),
            work_item_id: self.run.work_item.map(WorkItemId::uuid),
            workspace_id: None,
            parent_id: None,
            preferred_agent_id: None,
            preferred_worker_id: None,
            is_orchestrator_task: false,
            timeout_minutes: 5,
            max_abandons: 3,
            max_reworks: 10,
            requires_approval: false,
            on_dependency_failure: "fail",
            depends_on: Vec::new(),
            has_output_schema: false,
            retry_policy: None,
            settings: "{}".to_owned(),
            input: "{}".to_owned(),
            context: "{}".to_owned(),
            role_config: "{}".to_owned(),
            environment: "{}".to_owned(),
            resource_bindings: "[]".to_owned(),
            metadata: "{}".to_owned(),
            lane: String::new(),
            available_at: None,
            actor_type: "system",
            actor: None,
        };
        change(&mut task);
        self.change(async |tx| {
            let placed = queue::place_in_run(tx, self.tenant, &[&task]).await?;
            assert!(placed[0].is_made);
            Ok(())
        })
        .await;
        task.id
    }

    async fn tasks(&self, count: usize) -> Vec<TaskId> {
        let mut made = Vec::new();
        for _ in 0..count {
            made.push(self.task(|_| {}).await);
        }
        made
    }
}

async fn why(t: &TestPlatform, task: TaskId) -> WhyReason {
    let why = t.admin().explain_task(task).await.expect("a reason");
    assert!(why.message.len() > 10);
    why.reason
}

async fn states(t: &TestPlatform, tasks: &[TaskId]) -> Vec<TaskState> {
    let mut states = Vec::new();
    for task in tasks {
        states.push(t.state(*task).await);
    }
    states
}

/// Which of these tasks can be claimed.
async fn ready(t: &TestPlatform, tasks: &[TaskId]) -> BTreeSet<usize> {
    let states = states(t, tasks).await;
    (0..tasks.len())
        .filter(|place| states[*place] == TaskState::Ready)
        .collect()
}

async fn beat(worker: &TestWorker, leases: &[LeaseRef]) -> stint_protocol::AgentHeartbeatAnswer {
    let beat = AgentHeartbeat {
        leases: Some(
            leases
                .iter()
                .map(|lease| HeartbeatLease {
                    task_id: lease.task_id,
                    attempt: lease.attempt,
                    progress: None,
                })
                .collect(),
        ),
        ..AgentHeartbeat::default()
    };
    worker
        .agent
        .heartbeat_agent(worker.agent_id, &beat)
        .await
        .expect("a heartbeat")
}

fn one_retry() -> String {
    serde_json::to_string(&RetryPolicy {
        max_attempts: 1,
        backoff_strategy: None,
        initial_backoff_seconds: Some(100.0),
        jitter: Some(0.0),
        retryable_categories: None,
    })
    .expect("a policy")
}

#[test]
fn the_tasks_of_a_paused_run_are_not_handed_out_and_keep_their_place() {
    test(async |t| {
        let worker = t.worker("w1").capacity(5).await;
        let run = TestRun::open(t).await;
        let first = run.task(|_| {}).await;
        let other = t.create("of no run").await.id;
        run.pause().await;
        assert_eq!(t.state(first).await, TaskState::Pending);
        assert_eq!(why(t, first).await, WhyReason::Paused);
        t.release_due().await;
        assert_eq!(worker.claim_one().await.id, other);
        assert!(worker.claim().await.is_none());

        let later = t.create("made while the run was paused").await.id;
        run.resume().await;
        assert_eq!(t.state(first).await, TaskState::Ready);
        assert_eq!(worker.claim_one().await.id, first);
        assert_eq!(worker.claim_one().await.id, later);
        assert_eq!(
            t.reasons(first).await,
            ["create", "pause", "become_ready", "claim"]
        );
    });
}

#[test]
fn what_becomes_ready_in_a_paused_run_waits_however_it_came_there() {
    test(async |t| {
        let worker = t.worker("w1").capacity(5).await;
        let run = TestRun::open(t).await;
        let released = run.task(|_| {}).await;
        let held = worker.begin().await;
        let lost = run.task(|_| {}).await;
        worker.begin().await;
        let failed = run.task(|task| task.retry_policy = Some(one_retry())).await;
        let failing = worker.begin().await;
        let ended = run.task(|_| {}).await;
        let ending = worker.begin().await;
        run.pause().await;

        worker.release(&held).await.expect("a release");
        t.lose_lease(lost).await;
        worker.fail(&failing, "timeout").await.expect("a failure");
        worker.complete(&ending, json!(1)).await.expect("an end");
        let made = run.task(|_| {}).await;
        let waiting = [released, lost, failed, made];
        assert_eq!(states(t, &waiting).await, [TaskState::Pending; 4]);
        assert_eq!(t.state(ended).await, TaskState::Completed);
        for task in waiting {
            assert_eq!(why(t, task).await, WhyReason::Paused);
        }
        assert!(worker.claim().await.is_none());

        run.resume().await;
        assert_eq!(
            states(t, &waiting).await,
            [
                TaskState::Ready,
                TaskState::Ready,
                TaskState::Pending,
                TaskState::Ready
            ]
        );
        assert_eq!(why(t, failed).await, WhyReason::NotDue);
        t.release_due().await;
        assert_eq!(t.state(failed).await, TaskState::Ready);
        for expected in [released, lost, made, failed] {
            assert_eq!(worker.claim_one().await.id, expected);
        }
    });
}

#[test]
fn delays_stop_while_a_run_is_paused_and_go_on_afterwards() {
    test(async |t| {
        let run = TestRun::open(t).await;
        let in_an_hour = "select clock_timestamp() + interval '1 hour'";
        let due = sqlx::query_scalar(in_an_hour)
            .fetch_one(t.sql())
            .await
            .expect("a time");
        let before = run.task(|task| task.available_at = Some(due)).await;
        run.pause().await;
        let during = run.task(|task| task.available_at = Some(due)).await;
        for task in [before, during] {
            assert_eq!(t.task(task).await.available_at, None);
            assert_eq!(why(t, task).await, WhyReason::Paused);
        }
        // Half an hour goes by: what was left of the delay is what the clock showed.
        t.execute(
            "update task_waiting set delay_left = delay_left - 1800 where delay_left is not null",
        )
        .await;
        run.resume().await;
        for task in [before, during] {
            let left: f64 = sqlx::query_scalar(
                "select extract(epoch from available_at - clock_timestamp())::float8 from task_waiting where task_id = $1",
            )
            .bind(task.uuid())
            .fetch_one(t.sql())
            .await
            .expect("a delay");
            assert!((1700.0..=1800.0).contains(&left), "{left} s are left");
            assert_eq!(why(t, task).await, WhyReason::NotDue);
        }
        t.release_due().await;
        assert_eq!(states(t, &[before, during]).await, [TaskState::Ready; 2]);
    });
}

#[test]
fn a_paused_work_item_holds_its_own_tasks_only() {
    test(async |t| {
        let run = TestRun::open(t).await;
        let (one, two) = (run.item(), run.item());
        let tasks = [one.task(|_| {}).await, two.task(|_| {}).await];
        one.pause().await;
        assert_eq!(ready(t, &tasks).await, [1].into());
        run.pause().await;
        assert_eq!(ready(t, &tasks).await, [].into());
        run.resume().await;
        assert_eq!(ready(t, &tasks).await, [1].into());
        assert_eq!(why(t, tasks[0]).await, WhyReason::Paused);
        one.resume().await;
        assert_eq!(ready(t, &tasks).await, [0, 1].into());
    });
}

#[test]
fn a_dependant_that_is_unblocked_in_a_paused_run_waits() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let run = TestRun::open(t).await;
        let needed = t.create("needed").await.id;
        let dependant = run.task(|_| {}).await;
        t.execute(&format!(
            "update task_queue set has_dependants = true where task_id = '{needed}';
             delete from task_queue where task_id = '{dependant}';
             insert into task_dependencies (tenant_id, needs_id, task_id)
                 select tenant_id, '{needed}', id from tasks where id = '{dependant}';
             insert into task_waiting (tenant_id, task_id, attempt, task_seq, retry_count, abandon_count, rework_count, lane,
                     priority, seq, workflow_id, has_dependants, state_changed_at, blocked_count, on_dependency_failure)
                 select tenant_id, id, 0, 1, 0, 0, 0, '', 2, 0, workflow_id, false, now(), 1, 'fail'
                 from tasks where id = '{dependant}'"
        ))
        .await;
        run.pause().await;
        let held = worker.begin().await;
        assert_eq!(held.id, needed);
        worker.complete(&held, json!(1)).await.expect("an end");
        assert_eq!(t.task(dependant).await.blocked_count, 0);
        assert_eq!(why(t, dependant).await, WhyReason::Paused);
        run.resume().await;
        assert_eq!(worker.claim_one().await.id, dependant);
    });
}

#[test]
fn a_cancelled_run_ends_what_nobody_holds_and_tells_the_holders_of_the_rest() {
    test(async |t| {
        let worker = t.worker("w1").capacity(2).await;
        let run = TestRun::open(t).await;
        let running = run.task(|_| {}).await;
        let held = worker.begin().await;
        let lease = LeaseRef {
            task_id: running,
            attempt: held.attempt,
        };
        let idle = run.task(|_| {}).await;
        run.cancel().await;
        assert_eq!(t.state(idle).await, TaskState::Cancelled);
        assert_eq!(t.state(running).await, TaskState::InProgress);
        // Nothing of the run is begun any more.
        let late = run.task(|_| {}).await;
        assert_eq!(t.state(late).await, TaskState::Cancelled);

        let told = beat(&worker, &[lease]).await;
        assert_eq!((told.cancelled, told.lost), (vec![lease], vec![]));
        let released = worker.release(&held).await.expect("a release");
        assert_eq!(released.state, TaskState::Cancelled);
        assert_eq!(
            t.reasons(running).await,
            ["create", "claim", "start", "cancel"]
        );
    });
}

#[test]
fn an_end_that_is_reported_before_the_deadline_counts() {
    test(async |t| {
        let worker = t.worker("w1").capacity(4).await;
        let run = TestRun::open(t).await;
        let retries = |task: &mut queue::NewTask| task.retry_policy = Some(one_retry());
        let completed = run.task(|_| {}).await;
        let completing = worker.begin().await;
        let failed = run.task(retries).await;
        let failing = worker.begin().await;
        let doubtful = run.task(|_| {}).await;
        let doubting = worker.begin().await;
        run.cancel().await;

        worker
            .complete(&completing, json!(7))
            .await
            .expect("an end");
        let task = t.task(completed).await;
        assert_eq!(
            (task.state, task.output),
            (TaskState::Completed, Some(stint_tests::json(7)))
        );

        let told = worker.fail(&failing, "timeout").await.expect("a failure");
        assert_eq!(told.state, TaskState::Cancelled);
        let again = worker.fail(&failing, "timeout").await.expect("a replay");
        assert_eq!((again.id, again.state), (failed, TaskState::Cancelled));
        assert_eq!(
            again.error.and_then(|error| error.category).as_deref(),
            Some("timeout")
        );

        let mut completion = TestWorker::completion(&doubting, json!(8));
        completion.verification = Some(stint_tests::object(json!({"passed": false})));
        for _ in 0..2 {
            let told = worker.agent.complete_task(doubtful, &completion).await;
            assert_eq!(told.expect("an end").state, TaskState::Cancelled);
        }
    });
}

#[test]
fn past_its_deadline_a_held_task_of_a_cancelled_run_is_cancelled() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let run = TestRun::open(t).await;
        let task = run.task(|task| task.retry_policy = Some(one_retry())).await;
        let held = worker.begin().await;
        run.cancel().await;
        t.run_loop("time_out_tasks").await;
        assert_eq!(t.state(task).await, TaskState::InProgress);
        // Whoever has forgotten what it holds does not get it again.
        assert!(worker.claim().await.is_none());
        t.age_leases(61.0).await;
        t.run_loop("time_out_tasks").await;
        assert_eq!(t.state(task).await, TaskState::Cancelled);
        refused_because(
            worker.complete(&held, json!(1)).await,
            ReasonCode::LeaseLost,
        );
    });
}

#[test]
fn a_silent_holder_of_a_cancelled_run_loses_its_task_for_good() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let run = TestRun::open(t).await;
        let task = run.task(|_| {}).await;
        worker.begin().await;
        run.cancel().await;
        t.lose_lease(task).await;
        assert_eq!(t.state(task).await, TaskState::Cancelled);
    });
}

#[test]
fn a_holder_that_was_passed_over_is_given_notice_later() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let run = TestRun::open(t).await;
        let task = run.task(|_| {}).await;
        let held = worker.begin().await;
        run.cancel().await;
        t.execute("update task_leases set cancel_by = null").await;
        t.run_loop("settle_gates").await;
        let lease = LeaseRef {
            task_id: task,
            attempt: held.attempt,
        };
        assert_eq!(beat(&worker, &[lease]).await.cancelled, [lease]);
    });
}

#[test]
fn a_run_has_no_more_tasks_under_way_than_its_limit() {
    test(async |t| {
        let worker = t.worker("w1").capacity(9).await;
        let limits = Limits {
            active_max: Some(2),
            ..Limits::default()
        };
        let run = TestRun::with(t, limits).await;
        let mut tasks = run.tasks(4).await;
        tasks.push(run.task(|task| task.priority = Priority::High.rank()).await);
        assert_eq!(ready(t, &tasks).await, [0, 1].into());
        assert_eq!(why(t, tasks[2]).await, WhyReason::LimitFull);
        let held = [worker.begin().await, worker.begin().await];
        assert!(worker.claim().await.is_none());

        // By priority, then age, and one for each that ends, in whatever way.
        worker.complete(&held[0], json!(1)).await.expect("an end");
        assert_eq!(ready(t, &tasks).await, [4].into());
        worker.fail(&held[1], "broken").await.expect("a failure");
        assert_eq!(ready(t, &tasks).await, [2, 4].into());
        let third = worker.begin().await;
        assert_eq!(third.id, tasks[4]);
        worker.release(&third).await.expect("a release");
        assert_eq!(ready(t, &tasks).await.len(), 2);
        t.admin()
            .cancel_task(tasks[4], &stint_protocol::CancelTask::default())
            .await
            .expect("a cancellation");
        assert_eq!(ready(t, &tasks).await, [2, 3].into());
    });
}

#[test]
fn a_limit_counts_what_a_crash_left_and_not_what_was_paused() {
    test(async |t| {
        let limits = Limits {
            active_max: Some(1),
            ..Limits::default()
        };
        let run = TestRun::with(t, limits).await;
        let tasks = run.tasks(2).await;
        run.pause().await;
        assert_eq!(why(t, tasks[1]).await, WhyReason::Paused);
        run.resume().await;
        assert_eq!(ready(t, &tasks).await, [0].into());
        assert_eq!(why(t, tasks[1]).await, WhyReason::LimitFull);
        // A transaction that failed half-way promoted nobody: the loop does.
        t.execute("update task_gates set active_max = 2").await;
        t.run_loop("settle_gates").await;
        assert_eq!(t.state(tasks[1]).await, TaskState::Ready);
    });
}

#[test]
fn each_work_item_has_its_limit() {
    test(async |t| {
        let worker = t.worker("w1").capacity(9).await;
        let limits = Limits {
            active_max: Some(3),
            item_active_max: Some(2),
            items_max: None,
        };
        let run = TestRun::with(t, limits).await;
        let (one, two) = (run.item(), run.item());
        let mut tasks = one.tasks(3).await;
        tasks.extend(two.tasks(2).await);
        assert_eq!(ready(t, &tasks).await, [0, 1, 3].into());
        let held = worker.begin().await;
        assert_eq!(held.id, tasks[0]);
        worker.complete(&held, json!(1)).await.expect("an end");
        assert_eq!(ready(t, &tasks).await, [1, 2, 3].into());
        // A limit of its own, on top.
        let own = Limits {
            active_max: Some(1),
            ..Limits::default()
        };
        let three = run.item();
        three
            .change(async |tx| queue::set_limits(tx, three.tenant, three.run, own).await)
            .await;
        for _ in 0..3 {
            let held = worker.begin().await;
            worker.complete(&held, json!(1)).await.expect("an end");
        }
        let more = three.tasks(2).await;
        assert_eq!(ready(t, &more).await, [0].into());
    });
}

#[test]
fn work_items_beside_each_other_are_limited() {
    test(async |t| {
        let worker = t.worker("w1").capacity(9).await;
        let limits = Limits {
            items_max: Some(1),
            ..Limits::default()
        };
        let run = TestRun::with(t, limits).await;
        let (one, two) = (run.item(), run.item());
        let mut tasks = one.tasks(2).await;
        tasks.extend(two.tasks(2).await);
        assert_eq!(ready(t, &tasks).await, [0, 1].into());
        for _ in 0..2 {
            let held = worker.begin().await;
            worker.complete(&held, json!(1)).await.expect("an end");
        }
        assert_eq!(ready(t, &tasks).await, [2, 3].into());
    });
}

#[test]
fn what_steers_a_run_is_not_limited() {
    test(async |t| {
        let limits = Limits {
            active_max: Some(1),
            ..Limits::default()
        };
        let run = TestRun::with(t, limits).await;
        let steers = |task: &mut queue::NewTask| {
            task.is_orchestrator_task = true;
            task.lane = "orchestrator".to_owned();
        };
        let tasks = [
            run.task(|_| {}).await,
            run.task(steers).await,
            run.task(|_| {}).await,
        ];
        assert_eq!(ready(t, &tasks).await, [0, 1].into());
    });
}

#[test]
fn a_limit_holds_when_many_ends_and_starts_come_at_once() {
    test(async |t| {
        let limits = Limits {
            active_max: Some(3),
            ..Limits::default()
        };
        let run = TestRun::with(t, limits).await;
        let worker = t.worker("w1").capacity(20).await;
        let tasks = run.tasks(20).await;
        let mut done = 0;
        while done < tasks.len() {
            let mut held = Vec::new();
            while let Some(claimed) = worker
                .claim_with(|claim| claim.start = Some(true))
                .await
                .expect("a claim")
            {
                held.push(claimed);
            }
            assert!(
                (1..=3).contains(&held.len()),
                "{} are under way",
                held.len()
            );
            done += held.len();
            let ends = held.iter().map(|held| worker.complete(held, json!(1)));
            for end in futures_util::future::join_all(ends).await {
                end.expect("an end");
            }
        }
    });
}

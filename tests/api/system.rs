//! Health, readiness, numbers and loops.

use serde_json::json;
use stint_protocol::{Bare, ErrorCode};
use stint_tests::{refused, test};

#[test]
fn strangers_may_ask_for_health_and_readiness() {
    test(async |t| {
        assert_eq!(t.stranger().get_health().await.unwrap().status, "ok");
        let ready = t.stranger().get_readiness().await.unwrap();
        assert_eq!(ready.status, "ready");
        assert!(ready.database && ready.migrations);
    });
}

#[test]
fn an_unmigrated_platform_is_not_ready() {
    test(async |t| {
        t.execute("delete from _sqlx_migrations where version = (select max(version) from _sqlx_migrations)")
            .await;
        let ready = t.stranger().get_readiness().await.unwrap();
        assert_eq!(ready.status, "not_ready");
        assert!(ready.database && !ready.migrations);
        assert_eq!(t.stranger().get_health().await.unwrap().status, "ok");
    });
}

#[test]
fn numbers_are_told_to_admins_and_about_their_tenant_alone() {
    test(async |t| {
        t.create("one").await;
        let text = t.admin().get_metrics().await.unwrap();
        assert!(text.contains("stint_http_requests_total"), "{text}");
        let worker = t.worker("w1").await;
        refused(worker.worker.get_metrics().await, ErrorCode::Forbidden);
        for line in text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            let value = line.rsplit(' ').next().unwrap_or_default();
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
    });
}

#[test]
fn loops_report_how_they_are_doing() {
    test(async |t| {
        let of = async |name: &str| {
            let loops = t.admin().list_loops().await.unwrap();
            loops
                .into_iter()
                .find(|report| report.name == name)
                .unwrap()
        };
        assert_eq!(of("expire_leases").await.runs, 0);
        t.create("one").await;
        let worker = t.worker("w1").await;
        let task = worker.claim_one().await;
        t.lose_lease(task.id).await;
        let report = of("expire_leases").await;
        assert_eq!((report.runs, report.changed), (1, 1));
        assert!(report.last_run.is_some() && report.took_ms.is_some() && report.error.is_none());
    });
}

#[test]
fn numbers_tell_how_runs_are_doing_and_what_waits_for_a_person() {
    test(async |t| {
        let steps = json!({ "ask": { "kind": "approval", "message": "Go on?" } });
        let paused = t.launch(steps.clone()).await.workflow.id;
        t.admin()
            .pause_workflow(paused, &Bare::default())
            .await
            .expect("a pause");
        let asking = t.launch(steps).await.workflow.id;
        t.create_with("may it run", |task| task.requires_approval = Some(true))
            .await;
        t.execute("update workflow_steps set started_at = clock_timestamp() - interval '1 hour'")
            .await;
        let text = t.admin().get_metrics().await.expect("numbers");
        let number = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
            value.unwrap_or_else(|| panic!("{name} is a number in {text}"))
        };
        assert_eq!(number("stint_runs{state=\"paused\"}"), 1.0);
        assert_eq!(number("stint_runs{state=\"active\"}"), 1.0);
        assert_eq!(number("stint_approvals_open"), 3.0);
        assert_eq!(number("stint_gates_open"), 0.0);
        assert!(number("stint_approvals_oldest_seconds") >= 3600.0);
        // Counters are of the process, which other tests share.
        assert!(number("stint_runs_launched_total") >= 2.0);

        let no = serde_json::from_value(json!({ "action": "reject" })).expect("a decision");
        t.admin()
            .decide_workflow_step(asking, "ask", &no)
            .await
            .expect("a decision");
        let text = t.admin().get_metrics().await.expect("numbers");
        for counted in [
            "stint_steps_ended_total{state=\"failed\"}",
            "stint_runs_ended_total{state=\"failed\"}",
        ] {
            assert!(text.contains(counted), "{counted} in {text}");
        }
    });
}

//! Health, readiness, numbers and loops.

use stint_protocol::ErrorCode;
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

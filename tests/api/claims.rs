//! Claiming: who gets which task.

use stint_tests::test;

#[test]
fn a_created_task_can_be_claimed() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let task = t.create("paint").await;
        assert_eq!(worker.claim_one().await.id, task.id);
    });
}

#[test]
fn a_claim_without_work_gets_nothing() {
    test(async |t| {
        let worker = t.worker("w1").await;
        assert!(worker.claim().await.is_none());
    });
}

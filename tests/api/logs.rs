//! Execution logs: judged entry by entry, never skipped by a reader.

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use stint_protocol::ClaimedTask;
use stint_tests::{TestPlatform, TestWorker, test};
use uuid::Uuid;

fn entry(task: &ClaimedTask, seq: i64) -> Value {
    json!({
        "trace_id": Uuid::new_v4(), "span_id": Uuid::new_v4(), "source": "task_container",
        "category": "tool", "operation": "command.output", "status": "completed",
        "payload": { "stream": "stdout", "line": format!("line {seq}") },
        "task_id": task.id, "attempt": task.attempt, "seq": seq,
    })
}

async fn ingest(t: &TestPlatform, worker: &TestWorker, entries: &[Value]) -> Value {
    let answer = t
        .post(
            "/api/v1/logs/ingest",
            &worker.agent_key,
            &json!({ "entries": entries }),
        )
        .await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    answer.data().clone()
}

async fn seqs(t: &TestPlatform) -> Vec<i64> {
    // The newest first shows also what is not settled yet.
    let page = t.admin().list_logs(&[]).await.expect("it is accepted");
    page.data
        .iter()
        .rev()
        .filter_map(|entry| entry.seq)
        .collect()
}

async fn holder(t: &TestPlatform) -> (TestWorker, ClaimedTask) {
    let worker = t.worker("w1").await;
    t.create("one").await;
    let task = worker.begin().await;
    (worker, task)
}

#[test]
fn entries_are_judged_one_by_one() {
    test(async |t| {
        let (worker, task) = holder(t).await;
        let mut elsewhere = entry(&task, 2);
        elsewhere["task_id"] = json!(Uuid::new_v4());
        let taken = ingest(t, &worker, &[entry(&task, 1), elsewhere, entry(&task, 2)]).await;
        assert_eq!(
            (&taken["accepted"], &taken["rejected"]),
            (&json!(2), &json!(1))
        );
        assert_eq!(taken["rejection_details"][0]["index"], 1);
        assert_eq!(taken["rejection_details"][0]["reason"], "task_not_found");
        assert_eq!(seqs(t).await, [1, 2]);
    });
}

#[test]
fn a_repeated_batch_is_stored_once() {
    test(async |t| {
        let (worker, task) = holder(t).await;
        let batch = [entry(&task, 1), entry(&task, 2)];
        ingest(t, &worker, &batch).await;
        let again = ingest(t, &worker, &batch).await;
        assert_eq!(again["accepted"], 2);
        assert_eq!(seqs(t).await, [1, 2]);
    });
}

#[test]
fn missing_numbers_are_told() {
    test(async |t| {
        let (worker, task) = holder(t).await;
        let taken = ingest(t, &worker, &[entry(&task, 1), entry(&task, 4)]).await;
        assert_eq!(taken["gaps"][0]["from_seq"], 2);
        assert_eq!(taken["gaps"][0]["to_seq"], 3);
        let taken = ingest(t, &worker, &[entry(&task, 2), entry(&task, 3)]).await;
        assert!(taken.get("gaps").is_none(), "{taken}");
    });
}

#[test]
fn a_superseded_attempt_is_not_taken() {
    test(async |t| {
        let (worker, task) = holder(t).await;
        t.lose_lease(task.id).await;
        let other = t.worker("w2").await;
        assert_eq!(other.begin().await.id, task.id);
        let taken = ingest(t, &worker, &[entry(&task, 1)]).await;
        assert_eq!(taken["rejected"], 1, "{taken}");
        assert_eq!(
            taken["rejection_details"][0]["reason"],
            "superseded_attempt"
        );
    });
}

#[test]
fn following_the_log_page_by_page_skips_nothing() {
    test(async |t| {
        let (worker, task) = holder(t).await;
        let batch: Vec<Value> = (1..=25).map(|seq| entry(&task, seq)).collect();
        ingest(t, &worker, &batch).await;
        let mut found = Vec::new();
        let mut cursor = String::new();
        while found.len() < 30 {
            let mut filters = vec![("order", "asc"), ("per_page", "7")];
            if !cursor.is_empty() {
                filters.push(("cursor", &cursor));
            }
            let page = t.admin().list_logs(&filters).await.unwrap();
            found.extend(page.data.iter().filter_map(|entry| entry.seq));
            let has_more = page.pagination.has_more;
            cursor = page.pagination.next_cursor.expect("to follow the log");
            if !has_more && found.len() == 25 {
                let more: Vec<Value> = (26..=30).map(|seq| entry(&task, seq)).collect();
                ingest(t, &worker, &more).await;
            }
        }
        assert_eq!(found, (1..=30).collect::<Vec<i64>>());
    });
}

#[test]
fn filters_leave_out_what_does_not_fit() {
    test(async |t| {
        let (worker, task) = holder(t).await;
        let mut warning = entry(&task, 2);
        warning["level"] = json!("warn");
        ingest(t, &worker, &[entry(&task, 1), warning]).await;
        for (filter, wanted) in [
            (("level", "warn"), 1),
            (("search", "LINE 1"), 1),
            (("operation", "command.*"), 2),
            (("operation", "other"), 0),
            (("source", "runtime"), 0),
            (("attempt", "2"), 0),
        ] {
            let page = t.admin().list_logs(&[filter]).await.unwrap();
            assert_eq!(page.data.len(), wanted, "{filter:?}");
        }
    });
}

#[test]
fn a_live_stream_resumes_where_it_broke_off() {
    test(async |t| {
        let (worker, task) = holder(t).await;
        let mut stream = t.admin().stream_logs(&[], None).await.unwrap();
        ingest(t, &worker, &[entry(&task, 1)]).await;
        let first = stream.next().await.expect("it does not end").unwrap();
        assert_eq!(first.entry.seq, Some(1));
        drop(stream);
        ingest(t, &worker, &[entry(&task, 2), entry(&task, 3)]).await;
        let last = first.id.expect("entries have ids");
        let stream = t.admin().stream_logs(&[], Some(&last)).await.unwrap();
        let rest: Vec<_> = stream.take(2).collect().await;
        let seqs: Vec<_> = rest
            .into_iter()
            .map(|entry| entry.unwrap().entry.seq)
            .collect();
        assert_eq!(seqs, [Some(2), Some(3)]);
    });
}

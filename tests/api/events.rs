//! Events: read forward, each seen once.

use futures_util::StreamExt as _;
use stint_protocol::Event;
use stint_tests::{TestPlatform, test};

async fn after(t: &TestPlatform, cursor: &str) -> (Vec<Event>, String) {
    let mut filters = vec![("entity_type", "task")];
    if !cursor.is_empty() {
        filters.push(("after", cursor));
    }
    let stretch = t
        .admin()
        .list_events(&filters)
        .await
        .expect("it is accepted");
    let next = stretch
        .meta
        .next_after
        .expect("there is always a place to go on");
    (stretch.data, next)
}

/// Waits for some: the transactions of other tests on the same server hold events back too.
async fn some_after(t: &TestPlatform, cursor: &str, count: usize) -> (Vec<Event>, String) {
    stint_tests::until("the events are settled", async || {
        after(t, cursor).await.0.len() >= count
    })
    .await;
    after(t, cursor).await
}

#[test]
fn events_are_listed_forward_and_once() {
    test(async |t| {
        let one = t.create("one").await;
        let (first, cursor) = some_after(t, "", 1).await;
        assert_eq!(first.len(), 1);
        assert_eq!(first[0].entity_id, one.id.uuid());
        assert!(after(t, &cursor).await.0.is_empty());
        let two = t.create("two").await;
        let (second, _) = some_after(t, &cursor, 1).await;
        assert_eq!(second.len(), 1);
        assert_eq!(second[0].entity_id, two.id.uuid());
    });
}

/// What is told of a move: its number, from where, to where, and why.
fn told(event: &Event) -> (i32, String, String, String) {
    let data = event.data.members();
    let word = |name: &str| data[name].as_str().expect("a word").to_owned();
    (
        event.task_seq.expect("a move"),
        word("from_state"),
        word("to_state"),
        word("reason"),
    )
}

#[test]
fn a_claim_that_also_starts_tells_two_events_and_a_reader_may_stop_between_them() {
    test(async |t| {
        let worker = t.worker("w").await;
        t.create("one").await;
        let (_, created) = some_after(t, "", 1).await;
        worker
            .claim_with(|claim| claim.start = Some(true))
            .await
            .unwrap()
            .expect("the task");
        let (both, _) = some_after(t, &created, 2).await;
        let moves: Vec<_> = both.iter().map(told).collect();
        let word = |text: &str| text.to_owned();
        assert_eq!(
            moves,
            [
                (2, word("ready"), word("claimed"), word("claim")),
                (3, word("claimed"), word("in_progress"), word("start")),
            ]
        );
        assert!(
            both.iter()
                .all(|event| event.data.members()["attempt"] == 1)
        );
        // Page by page, one event each; the place between the two is that of the first one.
        let (mut cursor, mut seen) = (created, Vec::new());
        for _ in 0..2 {
            let filters = [
                ("entity_type", "task"),
                ("limit", "1"),
                ("after", cursor.as_str()),
            ];
            let page = t.admin().list_events(&filters).await.unwrap();
            seen.extend(page.data);
            cursor = page.meta.next_after.expect("a place to go on");
        }
        let ids = |events: &[Event]| -> Vec<String> {
            events.iter().map(|event| event.id.clone()).collect()
        };
        assert_eq!(ids(&seen), ids(&both));
        let (second, _) = after(t, &both[0].id).await;
        assert_eq!(ids(&second), ids(&both[1..]));
    });
}

#[test]
fn an_event_whose_transaction_was_slow_is_not_skipped() {
    test(async |t| {
        let held = t.create("held").await;
        let (_, cursor) = some_after(t, "", 1).await;
        // A writer takes its place in the order, and commits after one that came later.
        let mut slow = t.sql().begin().await.unwrap();
        sqlx::query("select pg_current_xact_id()")
            .execute(&mut *slow)
            .await
            .unwrap();
        sqlx::query("update tasks set title = title where id = $1")
            .bind(held.id.uuid())
            .execute(&mut *slow)
            .await
            .unwrap();
        let copied = sqlx::query(
            "insert into events select (jsonb_populate_record(e, jsonb_build_object(
                 'id', e.id + 1000000, 'xid', pg_current_xact_id()::text, 'entity_id', gen_random_uuid()))).*
             from events e where e.entity_id = $1",
        )
        .bind(held.id.uuid())
        .execute(&mut *slow)
        .await
        .unwrap();
        assert_eq!(copied.rows_affected(), 1);
        let later = t.create("later").await;
        let (while_open, cursor) = after(t, &cursor).await;
        assert!(
            while_open.is_empty(),
            "nothing behind an open transaction is shown"
        );
        slow.commit().await.unwrap();
        let (both, cursor) = some_after(t, &cursor, 2).await;
        assert_eq!(both.len(), 2);
        assert_eq!(both[1].entity_id, later.id.uuid());
        assert!(after(t, &cursor).await.0.is_empty());
    });
}

#[test]
fn a_stream_resumes_where_it_broke_off() {
    test(async |t| {
        let mut stream = t
            .admin()
            .stream_events(&[("entity_type", "task")], None)
            .await
            .unwrap();
        let one = t.create("one").await;
        let first = stream.next().await.expect("it does not end").unwrap();
        assert_eq!(first.entry.entity_id, one.id.uuid());
        drop(stream);
        let two = t.create("two").await;
        let last = first.id.expect("events have ids");
        let mut stream = t
            .admin()
            .stream_events(&[("entity_type", "task")], Some(&last))
            .await
            .unwrap();
        let next = stream.next().await.expect("it does not end").unwrap();
        assert_eq!(next.entry.entity_id, two.id.uuid());
    });
}

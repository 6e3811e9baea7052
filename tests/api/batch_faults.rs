//! What shares a batch shares no fate: a member that cannot succeed fails alone.

use futures_util::future::join_all;
use serde_json::{Value, json};
use stint_protocol::TaskState;
use stint_tests::{Answer, TestPlatform, test, until};

/// A statement on tasks with this title fails.
const POISON: &str = "
    create function refuse_poison() returns trigger language plpgsql as $$
    begin
        if new.title = 'poison' then
            raise exception 'this task is poisoned';
        end if;
        return new;
    end $$;
    create trigger refuse_poison before insert on tasks
        for each row execute function refuse_poison();";

/// Whoever commits a task with this title loses its connection.
const DEADLY: &str = "
    create function die_at_commit() returns trigger language plpgsql as $$
    begin
        perform pg_terminate_backend(pg_backend_pid());
        return null;
    end $$;
    create constraint trigger die_at_commit after insert on tasks
        deferrable initially deferred
        for each row when (new.title = 'deadly') execute function die_at_commit();";

/// A statement on tasks with this title finds the disk full.
const FULL: &str = "
    create function find_no_room() returns trigger language plpgsql as $$
    begin
        raise exception 'could not extend file' using errcode = 'disk_full';
    end $$;
    create trigger find_no_room before insert on tasks
        for each row when (new.title = 'large') execute function find_no_room();";

/// The first so many statements that make tasks lose a deadlock. What counts them is not rolled back with them.
fn deadlocks(lost: u32) -> String {
    format!(
        "create sequence deadlocks;
         create function lose_a_deadlock() returns trigger language plpgsql as $$
         begin
             if nextval('deadlocks') <= {lost} then
                 raise exception 'deadlock detected' using errcode = 'deadlock_detected';
             end if;
             return new;
         end $$;
         create trigger lose_a_deadlock before insert on tasks
             for each row execute function lose_a_deadlock();"
    )
}

async fn create(t: &TestPlatform, members: Value) -> Answer {
    let mut body = json!({"type": "code"});
    for (key, value) in members.as_object().expect("an object") {
        body[key] = value.clone();
    }
    t.post("/api/v1/tasks", t.admin_key(), &body).await
}

async fn count(t: &TestPlatform, title: &str) -> i64 {
    sqlx::query_scalar("select count(*) from tasks where title = $1")
        .bind(title)
        .fetch_one(t.sql())
        .await
        .expect("tasks can be counted")
}

#[test]
fn a_poisoned_member_fails_alone() {
    const GOOD: usize = 63;
    test(async |t| {
        t.execute(POISON).await;
        let worker = t.worker("w1").capacity(100).await;
        let titles = (0..=GOOD).map(|number| if number == 31 { "poison" } else { "good" });
        let answers = join_all(titles.map(|title| create(t, json!({"title": title})))).await;
        let (made, failed): (Vec<&Answer>, Vec<&Answer>) =
            answers.iter().partition(|answer| answer.status == 201);
        assert_eq!(made.len(), GOOD);
        let [failed] = failed.as_slice() else {
            panic!("only the poisoned one fails, not {failed:?}");
        };
        assert_eq!(
            (failed.status, &failed.error()["code"]),
            (500, &json!("INTERNAL_ERROR"))
        );
        assert!(!failed.text.contains("poisoned"), "{}", failed.text);
        assert_eq!((count(t, "good").await, count(t, "poison").await), (63, 0));
        let errors = t.take_errors();
        assert!(
            !errors.is_empty() && errors.iter().all(|error| error.contains("poisoned")),
            "{errors:?}"
        );
        for _ in 0..GOOD {
            worker.claim_one().await;
        }
        assert!(worker.claim().await.is_none());
    });
}

#[test]
fn twins_among_others_have_one_effect() {
    test(async |t| {
        let twins = (0..4).map(|_| create(t, json!({"title": "twin", "request_id": "twin"})));
        let others = (0..20).map(|number| create(t, json!({"title": format!("other {number}")})));
        let (twins, others) = tokio::join!(join_all(twins), join_all(others));
        assert!(others.iter().all(|answer| answer.status == 201));
        assert!(twins.iter().all(|answer| answer.status == 201), "{twins:?}");
        assert!(
            twins
                .iter()
                .all(|twin| twin.data()["id"] == twins[0].data()["id"])
        );
        let first = twins.iter().filter(|twin| !twin.is_replay()).count();
        assert_eq!((first, count(t, "twin").await), (1, 1));
    });
}

#[test]
fn a_request_id_that_a_poisoned_member_used_is_free_again() {
    test(async |t| {
        t.execute(POISON).await;
        let failed = create(t, json!({"title": "poison", "request_id": "once"})).await;
        assert_eq!(failed.status, 500, "{}", failed.text);
        t.take_errors();
        t.execute("drop trigger refuse_poison on tasks").await;
        let made = create(t, json!({"title": "poison", "request_id": "once"})).await;
        assert_eq!((made.status, made.is_replay()), (201, false));
        assert_eq!(count(t, "poison").await, 1);
    });
}

#[test]
fn a_connection_that_dies_at_the_commit_leaves_the_outcome_unknown() {
    test(async |t| {
        t.execute(DEADLY).await;
        let deadly = json!({"title": "deadly", "request_id": "once"});
        let broken = create(t, deadly.clone()).await;
        assert_eq!(
            (broken.status, broken.reason()),
            (503, "outcome_unknown"),
            "{}",
            broken.text
        );
        assert!(!broken.header("retry-after").is_empty());
        t.take_errors();
        t.execute("drop trigger die_at_commit on tasks").await;
        let made = create(t, deadly.clone()).await;
        assert_eq!(made.status, 201, "{}", made.text);
        let again = create(t, deadly).await;
        assert_eq!((again.status, again.is_replay()), (201, true));
        assert_eq!(again.data()["id"], made.data()["id"]);
        assert_eq!(count(t, "deadly").await, 1);
    });
}

#[test]
fn a_connection_that_dies_in_a_transaction_leaves_the_outcome_unknown_too() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let needed = t.create("needed").await.id;
        t.execute(DEADLY).await;
        // Because it depends on another task, it is made in a transaction of several statements.
        let deadly = json!({"title": "deadly", "request_id": "once", "depends_on": [needed]});
        let broken = create(t, deadly.clone()).await;
        assert_eq!(
            (broken.status, broken.reason()),
            (503, "outcome_unknown"),
            "{}",
            broken.text
        );
        t.take_errors();
        t.execute("drop trigger die_at_commit on tasks").await;
        let made = create(t, deadly).await;
        assert_eq!(made.status, 201, "{}", made.text);
        assert_eq!(count(t, "deadly").await, 1);
        let held = worker.begin().await;
        worker
            .complete(&held, json!(1))
            .await
            .expect("a completion");
        let next = worker.claim_one().await;
        assert_eq!(
            (next.title.as_str(), next.state),
            ("deadly", TaskState::Claimed)
        );
    });
}

#[test]
fn a_database_without_room_asks_for_patience() {
    test(async |t| {
        t.execute(FULL).await;
        let large = json!({"title": "large", "request_id": "once"});
        let refused = create(t, large.clone()).await;
        assert_eq!(
            (refused.status, refused.reason()),
            (503, "database_full"),
            "{}",
            refused.text
        );
        assert!(!refused.header("retry-after").is_empty());
        assert!(!refused.text.contains("extend"), "{}", refused.text);
        assert!(!t.take_errors().is_empty(), "its operator is told");
        t.execute("drop trigger find_no_room on tasks").await;
        let made = create(t, large).await;
        assert_eq!((made.status, made.is_replay()), (201, false));
        assert_eq!(count(t, "large").await, 1);
    });
}

#[test]
fn whoever_lost_a_deadlock_is_tried_again() {
    test(async |t| {
        t.execute(&deadlocks(1)).await;
        let made = create(t, json!({"title": "good"})).await;
        assert_eq!(made.status, 201, "{}", made.text);
    });
}

#[test]
fn whoever_loses_deadlocks_again_and_again_is_asked_to_come_back() {
    test(async |t| {
        t.execute(&deadlocks(1_000)).await;
        let refused = create(t, json!({"title": "good", "request_id": "once"})).await;
        assert_eq!(
            (refused.status, refused.reason()),
            (409, "request_in_progress"),
            "{}",
            refused.text
        );
        assert!(!refused.header("retry-after").is_empty());
        t.take_errors();
        t.execute("drop trigger lose_a_deadlock on tasks").await;
        let made = create(t, json!({"title": "good", "request_id": "once"})).await;
        assert_eq!((made.status, made.is_replay()), (201, false));
    });
}

#[test]
fn a_transaction_that_broke_off_does_not_stay_open() {
    test(async |t| {
        let needed = t.create("needed").await.id;
        t.execute(POISON).await;
        // Because it depends on another task, it is made in a transaction of several statements.
        let failed = create(t, json!({"title": "poison", "depends_on": [needed]})).await;
        assert_eq!(failed.status, 500, "{}", failed.text);
        t.take_errors();
        until("no transaction is left open", async || {
            let open: i64 = sqlx::query_scalar(
                "select count(*) from pg_stat_activity
                 where datname = current_database() and state like 'idle in transaction%'",
            )
            .fetch_one(t.sql())
            .await
            .expect("sessions can be read");
            open == 0
        })
        .await;
    });
}

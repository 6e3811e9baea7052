//! What is said to whoever holds a task, and how it gets there.

use serde_json::json;
use stint_protocol::client::{Client, ClientError};
use stint_protocol::{
    AcknowledgeMessage, AgentHeartbeat, ClaimedTask, DeliveryState, NotYetReason, PendingMessage,
    ReasonCode, SendMessage, TaskId, TaskMessage, Urgency, WorkerHeartbeat,
};
use stint_tests::holder::beat;
use stint_tests::{TestPlatform, TestWorker, refused_because, status_of, test};

use crate::led::{Led, done, not_yet};

fn words(text: &str) -> SendMessage {
    SendMessage {
        message: text.to_owned(),
        ..SendMessage::default()
    }
}

async fn say(t: &TestPlatform, task: TaskId, text: &str) -> TaskMessage {
    let sent = t.admin().send_message(task, &words(text)).await;
    sent.expect("the message is taken")
}

/// What the agent that holds a task hears with its heartbeat.
async fn heard(holder: &TestWorker, task: &ClaimedTask) -> Vec<PendingMessage> {
    let lists = beat(&[(task.id, task.attempt)]);
    let answer = holder.agent.heartbeat_agent(holder.agent_id, &lists).await;
    answer.expect("a heartbeat").messages
}

fn texts(messages: &[PendingMessage]) -> Vec<&str> {
    let texts = messages.iter().map(|message| message.message.as_str());
    texts.collect()
}

async fn acknowledge(
    by: &Client,
    message: &PendingMessage,
    attempt: i32,
) -> Result<TaskMessage, ClientError> {
    let body = AcknowledgeMessage {
        attempt: Some(attempt),
        request_id: None,
    };
    by.acknowledge_message(message.task_id, message.id, &body)
        .await
}

async fn states(t: &TestPlatform, task: TaskId) -> Vec<DeliveryState> {
    let listed = t.admin().list_messages(task).await.expect("a list");
    listed.iter().map(|one| one.delivery_state).collect()
}

#[test]
fn messages_come_with_every_heartbeat_of_the_holder_in_order_until_they_are_acknowledged() {
    test(async |t| {
        // What is said on one replica is heard on another, which nobody tells of it.
        let other = t.replica().await;
        let holder = t.worker("holder").await.at(&other);
        let made = t.create("long").await;
        let task = holder.begin().await;
        assert!(heard(&holder, &task).await.is_empty());
        say(t, made.id, "slower").await;
        say(t, made.id, "stop at noon").await;
        let hears = heard(&holder, &task).await;
        assert_eq!(texts(&hears), ["slower", "stop at noon"]);
        assert_eq!(texts(&heard(&holder, &task).await), texts(&hears));
        let lists = json!({ "leases": [{ "task_id": task.id, "attempt": 1 }] });
        let lists: WorkerHeartbeat = serde_json::from_value(lists).unwrap();
        let by_worker = holder.worker.heartbeat_worker(holder.worker_id, &lists);
        assert_eq!(by_worker.await.unwrap().messages.len(), 2);
        let plain = AgentHeartbeat::default();
        let unlisted = holder.agent.heartbeat_agent(holder.agent_id, &plain).await;
        assert_eq!(unlisted.unwrap().messages.len(), 2);

        let taken = acknowledge(&holder.agent, &hears[0], 1).await.unwrap();
        assert_eq!(taken.delivery_state, DeliveryState::Delivered);
        assert_eq!(taken.delivered_attempt, Some(1));
        assert_eq!(texts(&heard(&holder, &task).await), ["stop at noon"]);
        let again = acknowledge(&holder.agent, &hears[0], 1).await.unwrap();
        assert_eq!(again.delivered_at, taken.delivered_at);
        assert_eq!(
            states(t, task.id).await,
            [DeliveryState::Delivered, DeliveryState::PendingDelivery]
        );
        // The worker may speak for its agent.
        acknowledge(&holder.worker, &hears[1], 1).await.unwrap();
        assert!(heard(&holder, &task).await.is_empty());
        let told: Vec<(String, String)> = sqlx::query_as(
            "select event_type, data::jsonb ->> 'message_id' from events where event_type like 'task.message%' order by id",
        )
        .fetch_all(t.sql())
        .await
        .unwrap();
        let (first, second) = (hears[0].id.to_string(), hears[1].id.to_string());
        let expected = [
            ("task.message_sent", &first),
            ("task.message_sent", &second),
            ("task.message_delivered", &first),
            ("task.message_delivered", &second),
        ];
        assert_eq!(
            told,
            expected.map(|(kind, id)| (kind.to_owned(), id.clone()))
        );
    });
}

#[test]
fn what_was_said_before_anybody_held_the_task_and_to_earlier_attempts_is_told_to_the_next_one() {
    test(async |t| {
        let made = t.create("long").await;
        say(t, made.id, "early").await;
        assert_eq!(states(t, made.id).await, [DeliveryState::TaskNotInProgress]);
        let holder = t.worker("holder").await;
        let task = holder.begin().await;
        let hears = heard(&holder, &task).await;
        assert_eq!(texts(&hears), ["early"]);
        acknowledge(&holder.agent, &hears[0], 1).await.unwrap();
        say(t, made.id, "late").await;
        let late = heard(&holder, &task).await.remove(0);
        t.lose_lease(task.id).await;
        // Whoever lost the task acknowledges nothing: the next holder must hear it.
        let lost = acknowledge(&holder.agent, &late, 1).await;
        refused_because(lost, ReasonCode::LeaseLost);
        let next = t.worker("next").await;
        let task = next.begin().await;
        assert_eq!(task.attempt, 2);
        let hears = heard(&next, &task).await;
        assert_eq!(texts(&hears), ["early", "late"]);
        assert!(hears.iter().all(|message| message.attempt == 2));
        assert!(heard(&holder, &task).await.is_empty());
        let stale = acknowledge(&next.agent, &late, 1).await;
        refused_because(stale, ReasonCode::LeaseLost);
        let foreign = acknowledge(&holder.agent, &late, 2).await;
        refused_because(foreign, ReasonCode::NotHolder);
        let blind = AcknowledgeMessage::default();
        let blind = next
            .agent
            .acknowledge_message(task.id, late.id, &blind)
            .await;
        refused_because(blind, ReasonCode::AttemptMissing);
        for message in hears {
            acknowledge(&next.agent, &message, 2).await.unwrap();
        }
        assert!(heard(&next, &task).await.is_empty());
        next.complete(&task, json!({})).await.unwrap();
        let after = t.admin().send_message(task.id, &words("too late")).await;
        refused_because(after, ReasonCode::StateChanged);
    });
}

#[test]
fn an_orchestrator_says_something_to_a_task_of_its_run_as_long_as_that_has_not_ended() {
    test(async |t| {
        let led = Led::of(t).await;
        let item = led.item("roof").await;
        let part = led.task_in(&item, "tiles").await;
        let builder = t.worker("builder").tags(&["role:builder"]).await;
        let task = builder.begin().await;
        let message = SendMessage {
            message: "use the red ones".to_owned(),
            urgency: Some(Urgency::Critical),
            request_id: Some("say-it-once".to_owned()),
        };
        let sent = led.steer().message_managed_task(part.id, &message).await;
        let sent = done(sent.unwrap());
        assert_eq!(sent.delivery_state, DeliveryState::PendingDelivery);
        assert_eq!(sent.orchestrator_task_id, Some(led.task.id));
        assert_eq!(sent.activation_id, led.task.activation_id);
        let repeated = led.steer().message_managed_task(part.id, &message).await;
        assert_eq!(done(repeated.unwrap()).id, sent.id);
        let hears = heard(&builder, &task).await;
        assert_eq!(texts(&hears), ["use the red ones"]);
        assert_eq!(hears[0].urgency, Urgency::Critical);
        // Its own task, and those of others, are none that it gives to anybody.
        let to_itself = led
            .steer()
            .message_managed_task(led.task.id, &words("x"))
            .await;
        assert_eq!(status_of(to_itself), 404);
        builder.complete(&task, json!({})).await.unwrap();
        let late = led.steer().message_managed_task(part.id, &words("x")).await;
        assert_eq!(not_yet(&late.unwrap()), NotYetReason::SubjectTaskNotReady);
        t.lose_lease(led.task.id).await;
        let superseded = led.steer().message_managed_task(part.id, &words("x")).await;
        refused_because(superseded, ReasonCode::LeaseLost);
    });
}

#[test]
fn a_task_is_sent_only_so_many_messages_and_one_answer_tells_only_some_of_them() {
    test(async |t| {
        let made = t.create("long").await;
        let holder = t.worker("holder").await;
        let task = holder.begin().await;
        say(t, made.id, "the first").await;
        t.execute(
            "insert into task_messages (tenant_id, id, task_id, urgency, body, sent_by_type, sent_by)
             select tenant_id, gen_random_uuid(), task_id, urgency, 'more', sent_by_type, sent_by
             from task_messages, generate_series(1, 199)",
        )
        .await;
        let full = t.admin().send_message(made.id, &words("one more")).await;
        refused_because(full, ReasonCode::LimitReached);
        let hears = heard(&holder, &task).await;
        assert_eq!((hears.len(), texts(&hears)[0]), (20, "the first"));
        for message in &hears {
            acknowledge(&holder.agent, message, 1).await.unwrap();
        }
        let follow = heard(&holder, &task).await;
        assert_eq!(follow.len(), 20);
        assert!(follow[0].seq > hears[19].seq);
    });
}

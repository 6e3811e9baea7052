//! An orchestrator without a model: leads the runs of `examples/orchestrated`.
//!
//! ```text
//! woken ─► look at the run ─► write: a work item and a task for each chapter; what failed goes back
//!                         └─► bind:  one task for the whole; a person is asked; the run is completed
//! ```
//!
//! It remembers nothing: every time it is woken it looks at the run, and does whatever is missing. So it may
//! be killed at any moment, and the next attempt goes on. What has changed is told in `input.events`; it is
//! enough for it to know that something has.
//!
//! With a platform at hand and a key of scope worker or admin:
//!
//! ```sh
//! STINT_URL=http://127.0.0.1:7000 STINT_API_KEY=st_worker_... cargo run --example orchestrate
//! ```

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};
use stint_protocol::client::{Client, ClientError, Steering};
use stint_protocol::{
    AdvanceStage, CompleteWorkItem, CompleteWorkflow, CreateWorkItem, GateStatus, Guided,
    JsonObject, MutationOutcome, PlanTask, RequestChanges, RequestGate, StageGate, Task, TaskState,
    WorkItem, WorkflowDetail, WorkflowId,
};
use stint_worker::{Failure, Match, Shutdown, TaskRun, Worker};

/// Words that a chapter must have.
const WORDS: u32 = 40;
/// How long a request is repeated while the platform is away.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long to wait before a request is repeated.
const PAUSE: Duration = Duration::from_millis(250);

#[derive(Deserialize)]
struct Input {
    parameters: Booklet,
    events: Vec<Value>,
}

#[derive(Deserialize)]
struct Booklet {
    title: String,
    chapters: String,
}

/// A run that is being led.
struct Leader {
    client: Client,
    steer: Steering,
    run: WorkflowId,
    booklet: Booklet,
}

async fn orchestrate(run: TaskRun) -> Result<Value, Failure> {
    let input: Input = run.input()?;
    for event in &input.events {
        run.log(&format!("woken by {}", event["type"]));
    }
    let workflow = run.task().workflow_id;
    let leader = Leader {
        client: run.client().clone(),
        steer: run.steering(),
        run: workflow.ok_or_else(|| Failure::new("the task belongs to no run"))?,
        booklet: input.parameters,
    };
    let did = leader.lead().await?;
    run.log(&did);
    Ok(json!({ "did": did }))
}

impl Leader {
    /// Does what is missing, and says what that was.
    async fn lead(&self) -> Result<String, Failure> {
        let mut now = self.look().await?;
        if now.workflow.current_stage.as_deref() == Some("write") {
            if !self.write(&now).await? {
                return Ok("chapters are being written".to_owned());
            }
            let advance = AdvanceStage {
                request_id: Some(self.request("advance", "write")),
                ..AdvanceStage::default()
            };
            patiently(|| self.steer.advance_stage("write", &advance))
                .await
                .done()?;
            now = self.look().await?;
        }
        if now.workflow.current_stage.as_deref() == Some("bind") {
            return self.bind(&now).await;
        }
        Ok("nothing is left to do".to_owned())
    }

    async fn look(&self) -> Result<WorkflowDetail, Failure> {
        Ok(patiently(|| self.client.get_workflow(self.run)).await?)
    }

    /// Has every chapter written. True when all of them are.
    async fn write(&self, now: &WorkflowDetail) -> Result<bool, Failure> {
        let mut is_written = true;
        for (number, chapter) in self.chapters().into_iter().enumerate() {
            let item = self.item(now, "write", &chapter).await?;
            if item.completed_at.is_some() {
                continue;
            }
            let input = |feedback: Option<&str>| json!({ "chapter": chapter, "number": number + 1, "words": WORDS, "feedback": feedback });
            let Some(task) = self.task_of(now, &item).await? else {
                self.give(&item, "writer", &format!("Write {chapter}"), input(None))
                    .await?;
                is_written = false;
                continue;
            };
            match task.state {
                TaskState::Completed => self.complete(&item).await?,
                TaskState::Failed => {
                    let error = task.error.as_ref().map(|error| error.message.as_str());
                    let feedback = error.unwrap_or_default();
                    let feedback = format!("please write {WORDS} words ({feedback})");
                    self.send_back(&task, &feedback, input(Some(&feedback)))
                        .await?;
                    is_written = false;
                }
                _ => is_written = false,
            }
        }
        Ok(is_written)
    }

    /// Has the booklet bound, and asks a person; when they have approved, completes the run.
    async fn bind(&self, now: &WorkflowDetail) -> Result<String, Failure> {
        let title = &self.booklet.title;
        let item = self.item(now, "bind", title).await?;
        let Some(task) = self.task_of(now, &item).await? else {
            let chapters = self.texts(now).await?;
            let input = json!({ "title": title, "chapters": chapters });
            self.give(&item, "binder", &format!("Bind {title}"), input)
                .await?;
            return Ok("the booklet is being bound".to_owned());
        };
        if task.state != TaskState::Completed {
            return Ok(format!("binding is {}", task.state));
        }
        let stage = now
            .workflow_stages
            .iter()
            .find(|stage| stage.name == "bind");
        match stage.map(|stage| stage.gate_status) {
            Some(GateStatus::Approved) => {
                self.complete(&item).await?;
                self.finish(&task, title).await
            }
            Some(GateStatus::NotRequested | GateStatus::ChangesRequested) => {
                self.ask(&task).await?;
                Ok("a person is asked".to_owned())
            }
            _ => Ok("a person has to decide".to_owned()),
        }
    }

    fn chapters(&self) -> Vec<String> {
        let chapters = self.booklet.chapters.split(',').map(str::trim);
        chapters
            .filter(|chapter| !chapter.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// The work item of this title; made if it is missing.
    async fn item(
        &self,
        now: &WorkflowDetail,
        stage: &str,
        title: &str,
    ) -> Result<WorkItem, Failure> {
        let known = now
            .work_items
            .iter()
            .find(|item| item.title == title && item.stage_name.as_deref() == Some(stage));
        if let Some(item) = known {
            return Ok(item.clone());
        }
        let plan: CreateWorkItem = serde_json::from_value(json!({
            "title": title, "stage_name": stage, "request_id": self.request("item", title),
        }))?;
        patiently(|| self.steer.plan_work_item(&plan)).await.done()
    }

    async fn task_of(
        &self,
        now: &WorkflowDetail,
        item: &WorkItem,
    ) -> Result<Option<Task>, Failure> {
        let known = now
            .tasks
            .iter()
            .find(|task| task.work_item_id == Some(item.id));
        let Some(known) = known else { return Ok(None) };
        Ok(Some(
            patiently(|| self.steer.get_managed_task(known.id)).await?,
        ))
    }

    async fn give(
        &self,
        item: &WorkItem,
        role: &str,
        title: &str,
        input: Value,
    ) -> Result<(), Failure> {
        let plan: PlanTask = serde_json::from_value(json!({
            "title": title, "work_item_id": item.id, "role": role, "input": input,
            "request_id": self.request("task", title),
        }))?;
        patiently(|| self.steer.plan_task(&plan)).await.done()?;
        Ok(())
    }

    async fn send_back(&self, task: &Task, feedback: &str, input: Value) -> Result<(), Failure> {
        let changes = RequestChanges {
            feedback: feedback.to_owned(),
            override_input: Some(serde_json::from_value(input)?),
            request_id: Some(self.request("rework", &format!("{}-{}", task.id, task.rework_count))),
            ..RequestChanges::default()
        };
        patiently(|| self.steer.rework_managed_task(task.id, &changes))
            .await
            .done()?;
        Ok(())
    }

    async fn complete(&self, item: &WorkItem) -> Result<(), Failure> {
        let end = CompleteWorkItem::default();
        patiently(|| self.steer.complete_work_item(item.id, &end))
            .await
            .done()?;
        Ok(())
    }

    /// What was written, in the order of the chapters.
    async fn texts(&self, now: &WorkflowDetail) -> Result<Vec<Value>, Failure> {
        let mut texts = Vec::new();
        for chapter in self.chapters() {
            let item = self.item(now, "write", &chapter).await?;
            let task = self.task_of(now, &item).await?;
            let output = task.and_then(|task| task.output);
            texts.push(output.map_or(Value::Null, |output| output.value()));
        }
        Ok(texts)
    }

    async fn ask(&self, bound: &Task) -> Result<StageGate, Failure> {
        let output = bound.output.as_ref().map(|output| output.value());
        let output = output.unwrap_or_default();
        let artifact: JsonObject = serde_json::from_value(json!({ "task_id": bound.id }))?;
        let request = RequestGate {
            summary: format!(
                "{:?} has {} chapters and {} words. Is it good?",
                self.booklet.title, output["chapters"], output["words"]
            ),
            recommendation: Some("approve".to_owned()),
            key_artifacts: vec![artifact],
            ..RequestGate::default()
        };
        patiently(|| self.steer.request_gate("bind", &request))
            .await
            .done()
    }

    async fn finish(&self, bound: &Task, title: &str) -> Result<String, Failure> {
        let end = CompleteWorkflow {
            summary: format!("{title:?} is written, bound and approved"),
            final_artifacts: bound.output.clone().into_iter().collect(),
            request_id: Some(self.request("complete", title)),
            ..CompleteWorkflow::default()
        };
        patiently(|| self.steer.complete_run(&end)).await.done()?;
        Ok("the run is complete".to_owned())
    }

    fn request(&self, what: &str, about: &str) -> String {
        let name = format!("{what}-{}-{about}", self.run);
        name.chars().take(255).collect()
    }
}

/// What came of a change, or why it could not be made.
trait Done<T> {
    fn done(self) -> Result<T, Failure>;
}

impl<T> Done<T> for Result<Guided<T>, ClientError> {
    fn done(self) -> Result<T, Failure> {
        let answer = self?;
        match (answer.mutation_outcome, answer.result) {
            (MutationOutcome::Applied, Some(result)) => Ok(result),
            _ => Err(Failure::new(answer.message.unwrap_or_default())),
        }
    }
}

/// Sends a request that is safe to repeat until it is answered, for a minute at most.
async fn patiently<T, F: Future<Output = Result<T, ClientError>>>(
    request: impl Fn() -> F,
) -> Result<T, ClientError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match request().await {
            Err(error) if error.is_safe_to_repeat() && Instant::now() < deadline => {
                tokio::time::sleep(error.retry_after().unwrap_or(PAUSE)).await;
            }
            answer => return answer,
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let (url, key) = (std::env::var("STINT_URL")?, std::env::var("STINT_API_KEY")?);
    let worker = Worker::builder(url, key)
        .name("orchestrator")
        .capacity(4)
        .heartbeat(Duration::from_secs(5))
        .lease(Duration::from_secs(15))
        .handler(Match::Orchestrator, orchestrate)
        .build()?;
    worker.run(Shutdown::on_signals()?).await?;
    Ok(())
}

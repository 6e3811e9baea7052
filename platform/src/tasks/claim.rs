//! A holder asks for a task.

use std::time::Duration;

use protocol::{ClaimTask, ClaimTasks, ClaimedTask, Priority, ReasonCode, TenantId, WorkerId};
use tokio::time::Instant;

use super::record::{Settings, object, word};
use super::verdict;
use crate::app::App;
use crate::error::Error;
use crate::http::{Caller, check_length};
use crate::queue::{self, Claimant, Claimed, Held, Woken};

/// Longest a claim may wait for work. Below the 30 s that common proxies allow an idle request.
const WAIT_SECONDS_MAX: u32 = 25;
/// Characters of the request id of a claim of several tasks.
const REQUEST_ID_CHARS_OF_MANY: usize = 240;
/// How soon a waiting claim of a holder that was full looks again: its own reports make room.
const FULL_LOOKS_AGAIN: Duration = Duration::from_millis(500);
/// Tags that one claim may name.
const TAGS_MAX: usize = 100;
/// Turns an agent may take unless its task says so, as the contract has it.
const ITERATIONS: i32 = 800;
/// Repetitions of a model call unless the task says so, as the contract has it.
const LLM_RETRIES: i32 = 5;

/// A claim that has been checked.
#[derive(Clone)]
pub struct Claim {
    pub(super) tenant: TenantId,
    pub(super) lanes: Vec<String>,
    pub(super) claimant: Claimant,
    wait: Duration,
    has_context: bool,
    /// No task can suit: it names a playbook, and no task belongs to one.
    suits_nothing: bool,
}

/// What a claim is answered.
pub(super) enum Outcome {
    /// A task.
    Claimed(Box<ClaimedTask>),
    /// The task that the same request got before.
    Replayed(Box<ClaimedTask>),
    /// Nothing within the wait.
    Nothing,
}

impl Claim {
    /// Checks everything that needs no transaction.
    ///
    /// # Errors
    /// 422 for what does not fit; 403 when the key acts for someone else or is restricted; 404 for an
    /// unknown agent.
    pub(super) async fn admit(
        app: &App,
        caller: &Caller,
        request_id: Option<String>,
        body: ClaimTask,
    ) -> Result<Self, Error> {
        let tenant = caller.tenant();
        check(&body)?;
        // A worker key claims for its own agents, which only the agent's record tells.
        if caller.worker().is_none() {
            caller.must_be(Some(body.agent_id), None)?;
        }
        let holder = app.holders.get(app, tenant, body.agent_id).await?;
        if caller.worker().is_some() {
            caller.must_be(None, holder.worker)?;
        }
        if body.worker_id.is_some() && body.worker_id != holder.worker {
            return Err(Error::forbidden(
                ReasonCode::OtherIdentity,
                format!(
                    "agent {} does not belong to the worker that worker_id names",
                    body.agent_id
                ),
            ));
        }
        let allowed = &caller.identity().routing_tags;
        if let Some(outside) = body
            .routing_tags
            .iter()
            .find(|tag| !allowed.is_empty() && !allowed.contains(tag))
        {
            return Err(Error::forbidden(
                ReasonCode::OutsideRoutingTags,
                format!("this key is restricted to other routing tags than {outside:?}"),
            ));
        }
        let lanes = queue::lanes_of(
            &body.routing_tags,
            holder.mode,
            body.agent_id,
            holder.worker,
            !allowed.is_empty(),
        );
        let claimant = Claimant {
            agent: body.agent_id,
            worker: holder.worker,
            agent_capacity: holder.capacity,
            worker_capacity: holder.worker_capacity,
            request_id,
            lease_seconds: body.lease_seconds.unwrap_or(holder.lease_seconds),
            fenced: holder.is_fenced,
            starts: body.start.unwrap_or(false),
            workspaces: caller.workspace_filter(),
            workflow: body.workflow_id,
            actor_type: caller.scope().as_str(),
            actor: caller.actor(),
        };
        Ok(Self {
            tenant,
            suits_nothing: lanes.is_empty() || body.playbook_id.is_some(),
            lanes,
            claimant,
            wait: Duration::from_secs(u64::from(body.wait_seconds.unwrap_or(0))),
            has_context: body.include_context.unwrap_or(true),
        })
    }

    /// One of several claims of the same holder: without a wait, under a request id of its own.
    fn sibling(&self, number: u32, request_id: Option<&str>) -> Self {
        let mut sibling = self.clone();
        sibling.wait = Duration::ZERO;
        sibling.claimant.request_id = request_id.map(|id| format!("{id}#{number}"));
        sibling
    }

    /// Whether the lanes are known to hold nothing for it, without asking the database.
    ///
    /// A claim with a request id may be a repetition, and a holder of capacity 1 may get back what it
    /// holds: these must ask.
    fn is_known_to_find_nothing(&self, app: &App) -> bool {
        let claimant = &self.claimant;
        claimant.request_id.is_none()
            && (claimant.agent_capacity > 1 || app.hints.holders.is_known_free(claimant.agent))
            && app.hints.are_known_empty(self.tenant, &self.lanes)
    }

    async fn look(&self, app: &App) -> Result<Claimed, Error> {
        Ok(app.lanes.claim.run(self.clone()).await?.claimed)
    }

    /// Looks for a task, and waits for one if the claim says so.
    ///
    /// # Errors
    /// 404 for an agent that has gone; 409 for a spent request id; 429 when too many claims wait.
    pub(super) async fn run(self, app: &App) -> Result<Outcome, Error> {
        let began = std::time::Instant::now();
        let claimed = if self.suits_nothing {
            Claimed::Nothing
        } else {
            self.find(app).await?
        };
        let outcome = match claimed {
            Claimed::Task(held) => {
                Outcome::Claimed(Box::new(answer(self.tenant, *held, self.has_context)?))
            }
            Claimed::Replayed(held) => {
                Outcome::Replayed(Box::new(answer(self.tenant, *held, self.has_context)?))
            }
            Claimed::Nothing | Claimed::Full | Claimed::Draining => Outcome::Nothing,
            Claimed::Spent { task, attempt } => {
                return Err(verdict::spent(task, attempt));
            }
            Claimed::Gone => {
                app.holders.forget(self.tenant, self.claimant.agent);
                return Err(Error::not_found("agent", self.claimant.agent));
            }
        };
        let word = match outcome {
            Outcome::Claimed(_) => "claimed",
            Outcome::Replayed(_) => "replayed",
            Outcome::Nothing => "empty",
        };
        metrics::counter!("stint_claims_total", "outcome" => word).increment(1);
        if self.wait.is_zero() {
            metrics::histogram!("stint_claim_duration_seconds")
                .record(began.elapsed().as_secs_f64());
        }
        Ok(outcome)
    }

    async fn find(&self, app: &App) -> Result<Claimed, Error> {
        if self.wait.is_zero() {
            if self.is_known_to_find_nothing(app) {
                return Ok(Claimed::Nothing);
            }
            return self.look(app).await;
        }
        let waiting_max = app.config.limits.waiting_claims_max;
        if app.hints.waiting_count() >= waiting_max {
            return Err(queue::too_many_waiting(waiting_max));
        }
        let deadline = Instant::now() + self.wait;
        // Join before looking: work that arrives in between must still wake us.
        let ticket = app.hints.join(self.tenant, &self.lanes, &self.claimant);
        loop {
            ticket.looking();
            let mut patience = deadline;
            if !self.is_known_to_find_nothing(app) {
                match self.look(app).await? {
                    Claimed::Nothing => {}
                    Claimed::Full => patience = deadline.min(Instant::now() + FULL_LOOKS_AGAIN),
                    Claimed::Draining => return Ok(Claimed::Draining),
                    found => return Ok(found),
                }
            }
            let wait = ticket.wait();
            tokio::pin!(wait);
            let woken = tokio::select! {
                woken = &mut wait => woken,
                () = tokio::time::sleep_until(patience) => {
                    if ticket.leave() {
                        if patience < deadline {
                            continue;
                        }
                        app.hints.holders.waited_in_vain(self.claimant.agent);
                        return Ok(Claimed::Nothing);
                    }
                    // Somebody is handing us a task at this very moment.
                    wait.await
                }
                () = app.shutdown.cancelled() => {
                    if ticket.leave() {
                        return Ok(Claimed::Nothing);
                    }
                    wait.await
                }
            };
            match woken {
                Woken::Fed(claimed) => return Ok(*claimed),
                Woken::LookAgain if Instant::now() >= deadline => return Ok(Claimed::Nothing),
                Woken::LookAgain => {}
            }
        }
    }
}

fn check(body: &ClaimTask) -> Result<(), Error> {
    if body
        .wait_seconds
        .is_some_and(|seconds| seconds > WAIT_SECONDS_MAX)
    {
        return Err(Error::field(
            "wait_seconds",
            format!("must be between 0 and {WAIT_SECONDS_MAX}"),
        ));
    }
    if body
        .lease_seconds
        .is_some_and(|seconds| !(2..=86_400).contains(&seconds))
    {
        return Err(Error::field("lease_seconds", "must be between 2 and 86400"));
    }
    if body.routing_tags.len() > TAGS_MAX {
        return Err(Error::field(
            "routing_tags",
            format!("may name at most {TAGS_MAX} tags"),
        ));
    }
    for tag in &body.routing_tags {
        check_length("routing_tags", tag, 1..=255)?;
    }
    Ok(())
}

/// Refuses a request for no tasks, or for too many.
///
/// # Errors
/// 422.
pub(super) fn check_many(body: &ClaimTasks) -> Result<(), Error> {
    if (1..=100).contains(&body.max_tasks) {
        return Ok(());
    }
    Err(Error::field("max_tasks", "must be between 1 and 100"))
}

/// Claims several tasks: the first one waits, the others take what is there.
///
/// # Errors
/// As for a single claim.
pub(super) async fn claim_many(
    app: &App,
    caller: &Caller,
    request_id: Option<String>,
    body: ClaimTasks,
) -> Result<Vec<ClaimedTask>, Error> {
    check_many(&body)?;
    // Each of the claims has a request id of its own, which is longer than that of the request.
    if let Some(id) = &request_id {
        check_length("request_id", id, 1..=REQUEST_ID_CHARS_OF_MANY)?;
    }
    let max_tasks = body.max_tasks;
    let single = ClaimTask {
        agent_id: body.agent_id,
        worker_id: body.worker_id,
        routing_tags: body.routing_tags,
        workflow_id: body.workflow_id,
        playbook_id: None,
        include_context: body.include_context,
        start: body.start,
        wait_seconds: body.wait_seconds,
        lease_seconds: body.lease_seconds,
        request_id: None,
    };
    let first = Claim::admit(
        app,
        caller,
        request_id.as_ref().map(|id| format!("{id}#1")),
        single,
    )
    .await?;
    let siblings: Vec<Claim> = (2..=max_tasks)
        .map(|number| first.sibling(number, request_id.as_deref()))
        .collect();
    let mut tasks = Vec::new();
    let mut ended = None;
    match first.run(app).await {
        Ok(Outcome::Claimed(task) | Outcome::Replayed(task)) => tasks.push(*task),
        Ok(Outcome::Nothing) => return Ok(tasks),
        // The first of those that the request had got has ended; it may hold the others.
        Err(error) if error.has_reason(ReasonCode::LeaseLost) => ended = Some(error),
        Err(error) => return Err(error),
    }
    for found in
        futures_util::future::join_all(siblings.into_iter().map(|claim| claim.run(app))).await
    {
        match found {
            Ok(Outcome::Claimed(task) | Outcome::Replayed(task)) => tasks.push(*task),
            Ok(Outcome::Nothing) => {}
            // What was claimed already must reach its holder; the rest is asked for again.
            Err(error) => tracing::debug!(%error, "one of several claims found nothing"),
        }
    }
    match ended {
        Some(error) if tasks.is_empty() => Err(error),
        _ => Ok(tasks),
    }
}

fn answer(tenant: TenantId, held: Held, has_context: bool) -> Result<ClaimedTask, Error> {
    let settings: Settings = serde_json::from_str(&held.settings)?;
    Ok(ClaimedTask {
        id: held.task,
        tenant_id: tenant,
        workflow_id: held.workflow_id.map(Into::into),
        work_item_id: held.work_item_id.map(Into::into),
        workspace_id: held.workspace_id.map(Into::into),
        activation_id: held.activation_id.map(Into::into),
        title: held.title,
        description: held.description,
        task_type: word(&held.task_type)?,
        task_kind: word(&held.task_kind)?,
        role: held.role,
        stage_name: held.stage_name,
        priority: Priority::from_rank(held.priority),
        state: word(&held.state)?,
        attempt: held.attempt,
        retry_count: held.retry_count,
        abandon_count: held.abandon_count,
        rework_count: held.rework_count,
        assigned_agent_id: held.agent,
        assigned_worker_id: held.worker.map(WorkerId::uuid).map(Into::into),
        claimed_at: held.claimed_at,
        started_at: held.started_at,
        lease_expires_at: held.expires_at,
        lease_seconds: held.lease_seconds,
        timeout_minutes: held.timeout_minutes,
        input: object(held.input)?,
        context: if has_context {
            Some(object(held.context)?)
        } else {
            None
        },
        depends_on: held.depends_on.into_iter().map(Into::into).collect(),
        role_config: object(held.role_config)?,
        environment: object(held.environment)?,
        metadata: object(held.metadata)?,
        progress: held.progress.map(object).transpose()?,
        is_orchestrator_task: held.is_orchestrator_task,
        execution_backend: settings.backend(held.is_orchestrator_task),
        loop_mode: if held.is_orchestrator_task {
            "tpaov"
        } else {
            "reactive"
        }
        .to_owned(),
        max_iterations: settings.max_iterations.unwrap_or(ITERATIONS),
        llm_max_retries: settings.llm_max_retries.unwrap_or(LLM_RETRIES),
        token_budget: settings.token_budget,
        cost_cap_usd: settings.cost_cap(),
        created_at: held.created_at,
    })
}

//! From a request to create a task to what is stored of it: everything that needs no database.

use protocol::{CreateTask, JsonObject, RetryPolicy, TaskId, TaskKind, TaskType, TenantId};
use uuid::Uuid;

use super::output::output_schema;
use super::record::Settings;
use crate::config::LimitConfig;
use crate::error::Error;
use crate::http::{Caller, Hot, check_length};
use crate::queue::{self, NewTask};

/// Tasks that one task may depend on: one fan-in of the largest kind that is promised.
const DEPENDENCIES_MAX: usize = 10_000;
/// How often a holder may fall silent over a task before it fails, unless the task says so.
pub(crate) const ABANDONS_MAX: i32 = 3;
/// How often a task may be sent back for changes before it fails, unless the task says so.
pub const REWORKS_MAX: i32 = 10;
/// The most that a task can say of that.
pub(crate) const REWORKS_LIMIT: i32 = 100;

/// A task to be made.
pub struct Member {
    pub(super) tenant: TenantId,
    pub(super) task: NewTask,
    /// A subtask may be made by operators, and by whoever holds its parent.
    pub(super) made_by: Maker,
    pub(super) subject: Option<Uuid>,
    pub(super) limits: (i32, i64),
    /// The workspaces that its maker is restricted to.
    pub(super) workspaces: Option<Vec<Uuid>>,
    pub(super) weight: usize,
}

pub(super) enum Maker {
    Operator,
    Agent(Option<Uuid>),
    Worker(Option<Uuid>),
}

impl Member {
    /// Checks everything that needs no database, and turns the request into what is stored.
    ///
    /// # Errors
    /// 422 with the path of the field that does not fit; 403 outside the key's restrictions.
    pub(super) fn admit(hot: Hot<CreateTask>, limits: &LimitConfig) -> Result<Self, Error> {
        let weight = hot.weight();
        let fingerprint = hot.request_id.is_some().then(|| hot.fingerprint());
        let repeated = hot.request_id.clone().zip(fingerprint);
        Self::of(&hot.caller, hot.body, repeated, weight, limits)
    }

    /// Like [`Member::admit`], for a body that is known; with the request id and fingerprint by which the
    /// task is known when it is asked for again.
    ///
    /// # Errors
    /// As for `admit`.
    pub(super) fn of(
        caller: &Caller,
        body: CreateTask,
        repeated: Option<(String, Vec<u8>)>,
        weight: usize,
        limits: &LimitConfig,
    ) -> Result<Self, Error> {
        let (request_id, fingerprint) = repeated.unzip();
        // A work item tells its workspace, and is looked at later.
        if body.work_item_id.is_none() || body.workspace_id.is_some() {
            caller.may_reach(body.workspace_id)?;
        }
        check(&body)?;
        let is_orchestrator_task = body.is_orchestrator_task.unwrap_or(false);
        let role_config = body.role_config.unwrap_or_default();
        let has_output_schema = output_schema(&role_config)?.is_some();
        let text = |object: Option<JsonObject>| object.unwrap_or_default().text().to_owned();
        let retry_policy = match (body.retry_policy, body.auto_retry, body.max_retries) {
            (Some(policy), ..) => Some(policy),
            (None, Some(true), Some(retries)) if retries > 0 => Some(RetryPolicy {
                max_attempts: retries,
                backoff_strategy: None,
                initial_backoff_seconds: None,
                jitter: None,
                retryable_categories: None,
            }),
            (None, ..) => None,
        };
        let settings = Settings {
            subject_task_id: body.subject_task_id.map(TaskId::uuid),
            subject_work_item_id: body.subject_work_item_id.map(Into::into),
            subject_handoff_id: body.subject_handoff_id,
            subject_revision: body.subject_revision,
            assessment_prompt: body.assessment_prompt,
            token_budget: body.token_budget,
            cost_cap_usd: body.cost_cap_usd,
            auto_retry: body.auto_retry.unwrap_or(false),
            max_retries: body.max_retries.unwrap_or(0),
            max_iterations: body.max_iterations,
            llm_max_retries: body.llm_max_retries,
            execution_backend: body.execution_backend,
        };
        let agent = body.preferred_agent_id.map(Into::into);
        let worker = body.preferred_worker_id.map(Into::into);
        let mut depends_on: Vec<Uuid> = body.depends_on.into_iter().map(TaskId::uuid).collect();
        let mut seen = std::collections::HashSet::new();
        depends_on.retain(|id| seen.insert(*id));
        let task = NewTask {
            id: TaskId::new(),
            request_holder: caller.slot_holder(),
            request_id,
            fingerprint,
            title: body.title,
            description: body.description,
            task_type: body.task_type.as_str(),
            task_kind: kind_of(body.task_kind, body.task_type, is_orchestrator_task).as_str(),
            lane: queue::lane_of(body.role.as_deref(), is_orchestrator_task, agent.or(worker)),
            role: body.role,
            stage_name: body.stage_name,
            priority: body.priority.unwrap_or_default().rank(),
            workflow_id: body.workflow_id.map(Into::into),
            work_item_id: body.work_item_id.map(Into::into),
            workspace_id: body.workspace_id.map(Into::into),
            parent_id: body.parent_id.map(TaskId::uuid),
            preferred_agent_id: agent,
            preferred_worker_id: worker,
            is_orchestrator_task,
            timeout_minutes: body.timeout_minutes.unwrap_or(limits.task_timeout_minutes),
            max_abandons: body.max_abandons.unwrap_or(ABANDONS_MAX),
            max_reworks: body.max_reworks.unwrap_or(REWORKS_MAX),
            requires_approval: body.requires_approval.unwrap_or(false),
            on_dependency_failure: body
                .on_dependency_failure
                .unwrap_or(protocol::OnDependencyFailure::Fail)
                .as_str(),
            depends_on,
            has_output_schema,
            retry_policy: retry_policy
                .map(|policy| serde_json::to_string(&policy))
                .transpose()?,
            settings: serde_json::to_string(&settings)?,
            input: text(body.input),
            context: text(body.context),
            role_config: role_config.text().to_owned(),
            environment: text(body.environment),
            resource_bindings: serde_json::to_string(&body.resource_bindings.unwrap_or_default())?,
            metadata: text(body.metadata),
            available_at: body.run_at.map(|moment| moment.utc()),
            actor_type: caller.scope().as_str(),
            actor: Some(caller.actor()),
        };
        let made_by = match caller.scope() {
            protocol::Scope::Agent => Maker::Agent(caller.agent().map(Into::into)),
            protocol::Scope::Worker => Maker::Worker(caller.worker().map(Into::into)),
            protocol::Scope::Admin | protocol::Scope::Service => Maker::Operator,
        };
        Ok(Self {
            tenant: caller.tenant(),
            task,
            made_by,
            subject: settings.subject_task_id,
            limits: (limits.subtask_depth_max, limits.subtasks_max),
            workspaces: caller.workspace_filter(),
            weight,
        })
    }

    /// The task that is to be made.
    pub(super) fn id(&self) -> TaskId {
        self.task.id
    }

    /// Whether the statement alone cannot decide: other tasks or holders must be looked at first.
    pub(super) fn concerns_others(&self) -> bool {
        !self.task.depends_on.is_empty()
            || self.task.work_item_id.is_some()
            || self.task.requires_approval
            || self.task.parent_id.is_some()
            || self.subject.is_some()
            || self.task.preferred_agent_id.is_some()
            || self.task.preferred_worker_id.is_some()
    }

    pub(super) fn is_ready_at_once(&self) -> bool {
        self.task.depends_on.is_empty()
            && self.task.available_at.is_none()
            && self.task.work_item_id.is_none()
            && !self.task.requires_approval
    }
}

/// The part a task plays, by its type unless it says so.
fn kind_of(said: Option<TaskKind>, task_type: TaskType, is_orchestrator_task: bool) -> TaskKind {
    said.unwrap_or(match task_type {
        _ if is_orchestrator_task => TaskKind::Orchestrator,
        TaskType::Assessment => TaskKind::Assessment,
        _ => TaskKind::Delivery,
    })
}

fn check(body: &CreateTask) -> Result<(), Error> {
    check_length("title", &body.title, 1..=500)?;
    for (path, text, max) in [
        ("description", &body.description, 5000),
        ("role", &body.role, 120),
        ("stage_name", &body.stage_name, 120),
        ("assessment_prompt", &body.assessment_prompt, 2000),
    ] {
        if let Some(text) = text {
            check_length(path, text, usize::from(path != "description")..=max)?;
        }
    }
    check_range("timeout_minutes", body.timeout_minutes, 1..=240)?;
    check_range("max_abandons", body.max_abandons, 0..=100)?;
    check_range("max_reworks", body.max_reworks, 0..=REWORKS_LIMIT)?;
    check_range("max_retries", body.max_retries, 0..=10)?;
    check_range("max_iterations", body.max_iterations, 1..=i32::MAX)?;
    check_range("llm_max_retries", body.llm_max_retries, 1..=i32::MAX)?;
    check_range("subject_revision", body.subject_revision, 1..=i32::MAX)?;
    if body.token_budget.is_some_and(|budget| budget < 1) {
        return Err(Error::field("token_budget", "must be at least 1"));
    }
    if body.cost_cap_usd.is_some_and(|cap| cap <= 0.0) {
        return Err(Error::field("cost_cap_usd", "must be more than 0"));
    }
    if body.depends_on.len() > DEPENDENCIES_MAX {
        return Err(Error::field(
            "depends_on",
            format!("may name at most {DEPENDENCIES_MAX} tasks"),
        ));
    }
    if let Some(policy) = &body.retry_policy {
        check_policy(policy)?;
    }
    check_kind(body)?;
    if body.workflow_id.is_some() && body.work_item_id.is_none() {
        return Err(Error::invalid(
            "a task of a workflow belongs to one of its work items: name work_item_id",
        ));
    }
    if body.activation_id.is_some() {
        return Err(Error::field(
            "activation_id",
            "is noted by the platform, for the tasks that an orchestrator makes; leave it out",
        ));
    }
    // They are named by ids, and there are none in this release.
    if let Some(id) = body.subject_handoff_id {
        return Err(Error::not_found("handoff", id));
    }
    Ok(())
}

fn check_range(
    path: &str,
    value: Option<i32>,
    range: std::ops::RangeInclusive<i32>,
) -> Result<(), Error> {
    match value {
        Some(value) if !range.contains(&value) => Err(Error::field(
            path,
            format!("must be between {} and {}", range.start(), range.end()),
        )),
        _ => Ok(()),
    }
}

/// Refuses a policy outside its limits.
///
/// # Errors
/// 422 that names the field.
pub fn check_policy(policy: &RetryPolicy) -> Result<(), Error> {
    check_range(
        "retry_policy.max_attempts",
        Some(policy.max_attempts),
        1..=100,
    )?;
    if policy
        .initial_backoff_seconds
        .is_some_and(|seconds| !(0.0..=86_400.0).contains(&seconds))
    {
        return Err(Error::field(
            "retry_policy.initial_backoff_seconds",
            "must be between 0 and 86400",
        ));
    }
    if policy
        .jitter
        .is_some_and(|jitter| !(0.0..=1.0).contains(&jitter))
    {
        return Err(Error::field(
            "retry_policy.jitter",
            "must be between 0 and 1",
        ));
    }
    for category in policy.retryable_categories.iter().flatten() {
        check_length("retry_policy.retryable_categories", category, 1..=120)?;
    }
    Ok(())
}

fn check_kind(body: &CreateTask) -> Result<(), Error> {
    let is_orchestrator_task = body.is_orchestrator_task.unwrap_or(false);
    if let Some(backend) = body.execution_backend
        && (backend == protocol::ExecutionBackend::RuntimeOnly) != is_orchestrator_task
    {
        return Err(Error::field(
            "execution_backend",
            "runtime_only belongs to orchestrator tasks, runtime_plus_task to all others",
        ));
    }
    let kind = kind_of(body.task_kind, body.task_type, is_orchestrator_task);
    if (kind == TaskKind::Orchestrator) != is_orchestrator_task {
        return Err(Error::invalid(
            "task_kind orchestrator and is_orchestrator_task go together",
        ));
    }
    // A subject is asked for only where the kind was named: a type alone is no more than a label.
    let has_subject = body.subject_task_id.is_some() && body.subject_revision.is_some();
    if matches!(
        body.task_kind,
        Some(TaskKind::Assessment | TaskKind::Approval)
    ) && !has_subject
    {
        return Err(Error::invalid(format!(
            "task_kind {kind} needs subject_task_id and subject_revision"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_follows_from_the_type_unless_it_is_said() {
        assert_eq!(
            kind_of(None, TaskType::Assessment, false),
            TaskKind::Assessment
        );
        assert_eq!(kind_of(None, TaskType::Code, true), TaskKind::Orchestrator);
        assert_eq!(
            kind_of(Some(TaskKind::Delivery), TaskType::Assessment, false),
            TaskKind::Delivery
        );
    }
}

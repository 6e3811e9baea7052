//! The holder reports success.

use std::collections::{BTreeSet, HashMap};

use protocol::{CompleteTask, Completion, Json, JsonObject, Task, TaskId, TaskState, TenantId};
use uuid::Uuid;

use super::store;
use super::verdict::{self, Reported};
use crate::activations::TaskWake;
use crate::app::App;
use crate::batch::Lane;
use crate::consequences::{self, FinishedTask};
use crate::db::{LaneDb, Note, Touch};
use crate::error::Error;
use crate::http::{Caller, Wanted};
use crate::queue::{self, TakenReport, Verdict};
use crate::workflows;

/// What waits together to be completed commits together.
pub struct CompleteLane;

/// A reported output.
#[derive(Clone)]
pub struct Member {
    tenant: TenantId,
    completion: queue::Completion,
    wants: Wanted,
}

impl Member {
    /// Checks what can be checked without the database.
    ///
    /// # Errors
    /// 403 for operators and for keys that act for someone else.
    pub(super) fn admit(
        caller: &Caller,
        task: TaskId,
        body: CompleteTask,
        wants: Wanted,
    ) -> Result<Self, Error> {
        verdict::only_holders(caller)?;
        let report = verdict::report_of(caller, task, body.attempt, body.agent_id, body.worker_id)?;
        let must_be_assessed = says_false(body.verification.as_ref(), "passed")
            || says_false(body.metrics.as_ref(), "verification_passed");
        let to = if must_be_assessed {
            TaskState::OutputPendingAssessment
        } else {
            TaskState::Completed
        };
        let text = |object: Option<JsonObject>| object.map(|object| object.text().to_owned());
        let completion = queue::Completion {
            report,
            to,
            output: body.output.text().to_owned(),
            metrics: text(body.metrics),
            git_info: text(body.git_info),
            verification: text(body.verification),
            is_checked: false,
        };
        Ok(Self {
            tenant: caller.tenant(),
            completion,
            wants,
        })
    }

    /// One of several completions.
    pub(super) fn admit_one(caller: &Caller, one: Completion) -> Result<Self, Error> {
        let body = CompleteTask {
            output: one.output,
            attempt: one.attempt,
            metrics: one.metrics,
            git_info: one.git_info,
            verification: one.verification,
            agent_id: None,
            worker_id: None,
            request_id: None,
        };
        Self::admit(caller, one.task_id, body, Wanted::Minimal)
    }

    fn task(&self) -> TaskId {
        self.completion.report.task
    }
}

fn says_false(object: Option<&JsonObject>, member: &str) -> bool {
    object
        .is_some_and(|object| object.members().get(member) == Some(&serde_json::Value::Bool(false)))
}

impl Lane for CompleteLane {
    type Member = Member;
    type Answer = Result<Reported, Error>;
    type Key = TaskId;
    const NAME: &'static str = "complete";

    fn key(member: &Member) -> Option<TaskId> {
        Some(member.task())
    }

    fn weight(member: &Member) -> usize {
        size_of::<Member>() + member.completion.output.len()
    }

    async fn run(app: &App, members: &[Member]) -> Result<Vec<Self::Answer>, Error> {
        let mut answers = super::Answers::for_batch_of(members.len());
        for (tenant, group, places) in super::by_tenant(members, |member| member.tenant) {
            answers.put(&places, serve(app, tenant, &group).await?);
        }
        Ok(answers.in_order())
    }
}

async fn serve(
    app: &App,
    tenant: TenantId,
    group: &[&Member],
) -> Result<Vec<Result<Reported, Error>>, Error> {
    let mut completions: Vec<queue::Completion> = group
        .iter()
        .map(|member| member.completion.clone())
        .collect();
    let taken = settle(app, tenant, &mut completions).await?;
    for (completion, taken) in completions.iter().zip(&taken) {
        if let (Verdict::Moved, Some(agent)) = (taken.verdict, completion.report.agent) {
            app.hints
                .holders
                .has_handed_in(agent, completion.report.task);
        }
    }
    app.bus.publish(app, vec![Note::EventsAppended]);
    // Whoever is content with the effect, and has it, costs no read.
    let is_told = |member: &Member, taken: &TakenReport| {
        member.wants == Wanted::Minimal && taken.verdict == Verdict::Moved
    };
    let ids: Vec<Uuid> = group
        .iter()
        .zip(&taken)
        .filter(|(member, taken)| !is_told(member, taken))
        .map(|(member, _)| member.task().uuid())
        .collect();
    let mut records = if ids.is_empty() {
        HashMap::new()
    } else {
        let mut db = app.db.lane(LaneDb::Complete).await?;
        store::records(&mut db, tenant, &ids).await?
    };
    let answers = group.iter().zip(taken).map(|(member, taken)| {
        if is_told(member, &taken) {
            return Ok(Reported::moved_to(taken.to));
        }
        let completion = &member.completion;
        let task = records.remove(&completion.report.task);
        let (report, wanted) = (&completion.report, TaskState::Completed);
        verdict::tell(report, taken.verdict, task, wanted, |task| {
            is_same(completion, task)
        })
    });
    Ok(answers.collect())
}

/// Whether a task ended with what is reported now.
fn is_same(completion: &queue::Completion, task: &Task) -> bool {
    let reported = Json::from_text(completion.output.clone()).ok();
    matches!(
        task.state,
        TaskState::Completed | TaskState::OutputPendingAssessment | TaskState::Cancelled
    ) && task.output == reported
}

/// Reports until every completion has its final verdict.
///
/// A lone completion that concerns nobody else and has no schema is one statement, which commits by itself.
async fn settle(
    app: &App,
    tenant: TenantId,
    completions: &mut [queue::Completion],
) -> Result<Vec<TakenReport>, Error> {
    let all: Vec<usize> = (0..completions.len()).collect();
    let mut taken = report(app, tenant, completions, &all).await?;
    let unchecked: Vec<usize> = all
        .iter()
        .copied()
        .filter(|place| taken[*place].verdict == Verdict::CheckOutput)
        .collect();
    if !unchecked.is_empty() {
        check_outputs(app, tenant, completions, &unchecked).await?;
        for (place, anew) in unchecked
            .iter()
            .zip(report(app, tenant, completions, &unchecked).await?)
        {
            taken[*place] = anew;
        }
    }
    let concerning: Vec<usize> = all
        .into_iter()
        .filter(|place| matches!(taken[*place].verdict, Verdict::HasDependants(_)))
        .collect();
    if !concerning.is_empty() {
        let runs = concerning
            .iter()
            .filter_map(|place| match taken[*place].verdict {
                Verdict::HasDependants(run) => run,
                _ => None,
            });
        let runs: Vec<Uuid> = BTreeSet::from_iter(runs).into_iter().collect();
        for (place, anew) in concerning
            .iter()
            .zip(report_and_follow(app, tenant, completions, &concerning, &runs).await?)
        {
            taken[*place] = anew;
        }
    }
    Ok(taken)
}

async fn report(
    app: &App,
    tenant: TenantId,
    completions: &[queue::Completion],
    places: &[usize],
) -> Result<Vec<TakenReport>, Error> {
    let chosen: Vec<&queue::Completion> = places.iter().map(|place| &completions[*place]).collect();
    let mut db = app.db.lane(LaneDb::Complete).await?;
    let taken = queue::complete(&mut db, tenant, &chosen, false)
        .await
        .map_err(crate::db::unknown_outcome)?;
    db.put_back();
    Ok(taken)
}

async fn report_and_follow(
    app: &App,
    tenant: TenantId,
    completions: &[queue::Completion],
    places: &[usize],
    runs: &[Uuid],
) -> Result<Vec<TakenReport>, Error> {
    let chosen: Vec<&queue::Completion> = places.iter().map(|place| &completions[*place]).collect();
    let mut tx = app.db.begin_lane(LaneDb::Complete).await?;
    if !runs.is_empty() {
        // Whoever changes a run locks it before its tasks.
        workflows::lock_runs(&mut tx, tenant, runs).await?;
    }
    let taken = queue::complete(tx.conn(), tenant, &chosen, true).await?;
    let (mut finished, mut judged) = (Vec::new(), Vec::new());
    for (completion, taken) in chosen.iter().zip(&taken) {
        if taken.verdict != Verdict::Moved {
            continue;
        }
        if let Some(run) = taken.run {
            tx.unsettle(tenant, run.workflow, run.work_item, Touch::Freed);
        }
        if taken.to.is_final() {
            finished.push(FinishedTask {
                task: completion.report.task,
                state: taken.to,
                run: taken.run,
            });
        } else if let Some(run) = taken.run {
            judged.push(TaskWake {
                task: completion.report.task,
                workflow: run.workflow,
                event_type: "task.output_pending_assessment",
            });
        }
    }
    consequences::tasks_finished(&mut tx, tenant, &finished, judged).await?;
    tx.commit(app).await?;
    Ok(taken)
}

/// Checks outputs against their tasks' schemas. An output that does not fit waits for a person, with what
/// is wrong in its `verification`.
async fn check_outputs(
    app: &App,
    tenant: TenantId,
    completions: &mut [queue::Completion],
    places: &[usize],
) -> Result<(), Error> {
    let ids: Vec<Uuid> = places
        .iter()
        .map(|place| completions[*place].report.task.uuid())
        .collect();
    let mut db = app.db.lane(LaneDb::Complete).await?;
    let role_configs: HashMap<TaskId, String> = store::role_configs(&mut db, tenant, &ids).await?;
    db.put_back();
    for place in places {
        let completion = &mut completions[*place];
        completion.is_checked = true;
        let Some(role_config) = role_configs.get(&completion.report.task) else {
            continue;
        };
        let faults = super::output::output_faults(role_config, &completion.output)?;
        if !faults.is_empty() {
            completion.to = TaskState::OutputPendingAssessment;
            let verification = serde_json::json!({
                "passed": false,
                "reason": "the output does not fit role_config.output_schema",
                "faults": faults,
            });
            completion.verification = Some(verification.to_string());
        }
    }
    Ok(())
}

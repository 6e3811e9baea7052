//! The holder begins to work.

use protocol::{StartTask, TaskId, TaskState, TenantId};

use super::store;
use super::verdict::{self, Reported};
use crate::app::App;
use crate::batch::Lane;
use crate::db::{LaneDb, Note};
use crate::error::Error;
use crate::http::{Caller, Wanted};
use crate::queue::{self, Report, Verdict};

/// What waits together to be started commits together.
pub struct StartLane;

/// A report that an attempt begins.
pub struct Member {
    tenant: TenantId,
    report: Report,
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
        body: &StartTask,
        wants: Wanted,
    ) -> Result<Self, Error> {
        verdict::only_holders(caller)?;
        let report = verdict::report_of(caller, task, body.attempt, body.agent_id, body.worker_id)?;
        Ok(Self {
            tenant: caller.tenant(),
            report,
            wants,
        })
    }
}

impl Lane for StartLane {
    type Member = Member;
    type Answer = Result<Reported, Error>;
    type Key = TaskId;
    const NAME: &'static str = "start";

    fn key(member: &Member) -> Option<TaskId> {
        Some(member.report.task)
    }

    fn weight(_: &Member) -> usize {
        size_of::<Member>()
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
    let reports: Vec<&Report> = group.iter().map(|member| &member.report).collect();
    let mut db = app.db.lane(LaneDb::Start).await?;
    let verdicts = queue::start(&mut db, tenant, &reports).await?;
    app.bus.publish(app, vec![Note::EventsAppended]);
    // Whoever is content with the effect, and has it, costs no read.
    let is_told =
        |member: &Member, verdict| member.wants == Wanted::Minimal && verdict == Verdict::Moved;
    let ids: Vec<_> = group
        .iter()
        .zip(&verdicts)
        .filter(|(member, verdict)| !is_told(member, **verdict))
        .map(|(member, _)| member.report.task.uuid())
        .collect();
    let mut records = store::records(&mut db, tenant, &ids).await?;
    db.put_back();
    let answers = group.iter().zip(verdicts).map(|(member, verdict)| {
        if is_told(member, verdict) {
            return Ok(Reported::moved_to(TaskState::InProgress));
        }
        let report = &member.report;
        let task = records.remove(&report.task);
        verdict::tell(report, verdict, task, TaskState::InProgress, |_| false)
    });
    Ok(answers.collect())
}

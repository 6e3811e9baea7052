//! Every statement of the graph engine.

use protocol::TenantId;
use sqlx::PgConnection;
use uuid::Uuid;

use super::TaskChange;
use super::hand_out::{HandedOut, NewMember};
use super::pass::Ended;
use super::start::Begun;
use crate::error::Error;

/// Bytes that the outputs of a list of tasks may have together: whoever reads them has to hold them.
const LIST_BYTES_MAX: i64 = 16 << 20;

/// What the engine has to know of a run.
#[derive(Clone, Debug)]
pub(in crate::workflows) struct Run {
    pub(in crate::workflows) id: Uuid,
    pub(in crate::workflows) name: String,
    pub(in crate::workflows) playbook_id: Uuid,
    pub(in crate::workflows) workspace_id: Uuid,
    pub(in crate::workflows) task_timeout_minutes: i32,
    pub(in crate::workflows) is_paused: bool,
    pub(in crate::workflows) is_cancelled: bool,
    pub(in crate::workflows) is_orchestrated: bool,
}

impl Run {
    /// Whether something new may begin in it.
    pub(in crate::workflows) fn takes_starts(&self) -> bool {
        !self.is_paused && !self.is_cancelled
    }
}

/// Locks runs in the order of their ids, and reads what is small of them.
pub(super) async fn lock(
    db: &mut PgConnection,
    tenant: TenantId,
    runs: &[Uuid],
) -> Result<Vec<Run>, Error> {
    Ok(sqlx::query_as!(
        Run,
        r#"select id, name, playbook_id, workspace_id, task_timeout_minutes,
                  pause_requested_at is not null as "is_paused!", cancel_requested_at is not null as "is_cancelled!",
                  kind = 'orchestrated' as "is_orchestrated!"
           from workflows
           where tenant_id = $1 and id = any($2)
           order by id
           for no key update"#,
        tenant.uuid(),
        runs,
    )
    .fetch_all(db)
    .await?)
}

/// The counts of a step that makes tasks.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    pub(super) workflow_id: Uuid,
    pub(super) step_id: String,
    pub(super) state: String,
    pub(super) members: i32,
    pub(super) max_parallel: i32,
    pub(super) made: i32,
    pub(super) open: i32,
    pub(super) lost: i32,
    pub(super) work_item_id: Option<Uuid>,
    pub(super) is_reopened: bool,
}

/// Lets the members of tasks follow them, and counts their steps anew.
pub(super) async fn settle(
    db: &mut PgConnection,
    tenant: TenantId,
    changes: &[TaskChange],
) -> Result<Vec<Counts>, Error> {
    let tasks: Vec<Uuid> = changes.iter().map(|change| change.task.uuid()).collect();
    let states: Vec<&str> = changes.iter().map(TaskChange::member_state).collect();
    Ok(sqlx::query_file_as!(
        Counts,
        "src/workflows/engine/settle.sql",
        tenant.uuid(),
        &tasks,
        &states as &[&str],
    )
    .fetch_all(db)
    .await?)
}

/// The running steps of a run that have room for more members.
pub(super) async fn unfinished(
    db: &mut PgConnection,
    tenant: TenantId,
    run: Uuid,
) -> Result<Vec<Counts>, Error> {
    Ok(sqlx::query_as!(
        Counts,
        r#"select workflow_id, step_id, state, members, max_parallel, made, open, lost, work_item_id, false as "is_reopened!"
           from workflow_steps
           where tenant_id = $1 and workflow_id = $2 and state = 'running' and open < max_parallel"#,
        tenant.uuid(),
        run,
    )
    .fetch_all(db)
    .await?)
}

/// A step that nothing stands in the way of.
#[derive(Clone, Debug)]
pub(super) struct Startable {
    pub(super) workflow_id: Uuid,
    pub(super) step_id: String,
    /// How many of the steps that it needs have ended without being skipped.
    pub(super) lived: i32,
}

/// The steps of a run that wait for nothing but their start.
pub(super) async fn startable(
    db: &mut PgConnection,
    tenant: TenantId,
    run: Uuid,
) -> Result<Vec<Startable>, Error> {
    Ok(sqlx::query_as!(
        Startable,
        "select workflow_id, step_id, lived
         from workflow_steps
         where tenant_id = $1 and workflow_id = $2 and state = 'pending' and unmet = 0
         order by position",
        tenant.uuid(),
        run,
    )
    .fetch_all(db)
    .await?)
}

/// How often steps are counted off because of steps that have ended.
#[derive(Debug, Default)]
pub(super) struct Release {
    pub(super) workflows: Vec<Uuid>,
    pub(super) steps: Vec<String>,
    pub(super) ended: Vec<i32>,
    pub(super) lived: Vec<i32>,
}

/// Counts off the needs of steps, and answers with those that need nothing any more.
pub(super) async fn release(
    db: &mut PgConnection,
    tenant: TenantId,
    release: &Release,
) -> Result<Vec<Startable>, Error> {
    let rows = sqlx::query!(
        r#"update workflow_steps s
           set unmet = s.unmet - r.ended, lived = s.lived + r.lived
           from unnest($2::uuid[], $3::text[], $4::int[], $5::int[]) as r (workflow_id, step_id, ended, lived)
           where s.tenant_id = $1 and s.workflow_id = r.workflow_id and s.step_id = r.step_id
           returning s.workflow_id, s.step_id, s.lived, s.unmet = 0 and s.state = 'pending' as "is_startable!""#,
        tenant.uuid(),
        &release.workflows,
        &release.steps,
        &release.ended,
        &release.lived,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .filter(|row| row.is_startable)
        .map(|row| Startable {
            workflow_id: row.workflow_id,
            step_id: row.step_id,
            lived: row.lived,
        })
        .collect())
}

/// A step that has just ended.
#[derive(Clone, Debug)]
pub(super) struct EndedRow {
    pub(super) workflow_id: Uuid,
    pub(super) step_id: String,
    pub(super) state: String,
    pub(super) work_item_id: Option<Uuid>,
    pub(super) error: Option<String>,
    pub(super) stage_name: Option<String>,
    /// Whether those that need it are to be told.
    pub(super) releases: bool,
}

/// Ends steps, and puts together what came of their tasks.
pub(super) async fn end_steps(
    db: &mut PgConnection,
    tenant: TenantId,
    ended: &[Ended],
) -> Result<Vec<EndedRow>, Error> {
    macro_rules! column {
        ($step:ident => $value:expr) => {
            ended.iter().map(|$step| $value).collect::<Vec<_>>()
        };
    }
    Ok(sqlx::query_file_as!(
        EndedRow,
        "src/workflows/engine/end_steps.sql",
        tenant.uuid(),
        &column!(step => step.run),
        &column!(step => step.step.clone()),
        &column!(step => step.state.as_str()) as &[&str],
        &column!(step => step.output.clone()) as &[Option<String>],
        &column!(step => step.error.clone()) as &[Option<String>],
        &column!(step => step.collects),
        &column!(step => step.is_list),
        LIST_BYTES_MAX,
    )
    .fetch_all(db)
    .await?)
}

/// Notes that steps have begun.
pub(super) async fn begin_steps(
    db: &mut PgConnection,
    tenant: TenantId,
    begun: &[Begun],
) -> Result<(), Error> {
    macro_rules! column {
        ($step:ident => $value:expr) => {
            begun.iter().map(|$step| $value).collect::<Vec<_>>()
        };
    }
    sqlx::query_file!(
        "src/workflows/engine/begin_steps.sql",
        tenant.uuid(),
        &column!(step => step.run),
        &column!(step => step.step.clone()),
        &column!(step => step.state.as_str()) as &[&str],
        &column!(step => step.members),
        &column!(step => step.max_parallel),
        &column!(step => step.made),
        &column!(step => step.open),
        &column!(step => step.lost),
        &column!(step => step.work_item) as &[Option<Uuid>],
        &column!(step => step.question.clone()) as &[Option<String>],
        &column!(step => step.expires_seconds) as &[Option<f64>],
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Makes the members of steps that begin.
pub(super) async fn make_members(
    db: &mut PgConnection,
    tenant: TenantId,
    members: &[NewMember],
) -> Result<(), Error> {
    macro_rules! column {
        ($member:ident => $value:expr) => {
            members.iter().map(|$member| $value).collect::<Vec<_>>()
        };
    }
    sqlx::query!(
        "insert into workflow_step_members (tenant_id, workflow_id, step_id, position, item, task_id, state, error)
         select $1, m.workflow_id, m.step_id, m.position, m.item::json, m.task_id, m.state, m.error::json
         from unnest($2::uuid[], $3::text[], $4::int[], $5::text[], $6::uuid[], $7::text[], $8::text[])
              as m (workflow_id, step_id, position, item, task_id, state, error)",
        tenant.uuid(),
        &column!(member => member.run),
        &column!(member => member.step.clone()),
        &column!(member => member.position),
        &column!(member => member.item.clone()) as &[Option<String>],
        &column!(member => member.task) as &[Option<Uuid>],
        &column!(member => member.state) as &[&str],
        &column!(member => member.error.clone()) as &[Option<String>],
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A member that has no task yet.
pub(super) struct Waiting {
    pub(super) workflow_id: Uuid,
    pub(super) step_id: String,
    pub(super) position: i32,
    pub(super) item: Option<String>,
}

/// The next members of steps: so many of each, from the first one that was not made.
pub(super) async fn next_members(
    db: &mut PgConnection,
    tenant: TenantId,
    wanted: &[(Uuid, String, i32, i32)],
) -> Result<Vec<Waiting>, Error> {
    let runs: Vec<Uuid> = wanted.iter().map(|(run, ..)| *run).collect();
    let steps: Vec<String> = wanted.iter().map(|(_, step, ..)| step.clone()).collect();
    let from: Vec<i32> = wanted.iter().map(|(_, _, from, _)| *from).collect();
    let counts: Vec<i32> = wanted.iter().map(|(.., count)| *count).collect();
    Ok(sqlx::query_as!(
        Waiting,
        r#"select m.workflow_id, m.step_id, m.position, m.item::text as item
           from unnest($2::uuid[], $3::text[], $4::int[], $5::int[]) as w (workflow_id, step_id, first, count)
           cross join lateral (
               select * from workflow_step_members m
               where m.tenant_id = $1 and m.workflow_id = w.workflow_id and m.step_id = w.step_id
                 and m.position >= w.first and m.position < w.first + w.count
               order by m.position
           ) m"#,
        tenant.uuid(),
        &runs,
        &steps,
        &from,
        &counts,
    )
    .fetch_all(db)
    .await?)
}

/// Notes which members got a task, or failed before they had one, and counts their steps.
pub(super) async fn hand_out(
    db: &mut PgConnection,
    tenant: TenantId,
    members: &[NewMember],
    steps: &[HandedOut],
) -> Result<(), Error> {
    macro_rules! column {
        ($of:ident, $member:ident => $value:expr) => {
            $of.iter().map(|$member| $value).collect::<Vec<_>>()
        };
    }
    sqlx::query!(
        "with members as (
             update workflow_step_members m
             set task_id = n.task_id, state = n.state, error = n.error::json, item = null
             from unnest($2::uuid[], $3::text[], $4::int[], $5::uuid[], $6::text[], $7::text[])
                  as n (workflow_id, step_id, position, task_id, state, error)
             where m.tenant_id = $1 and m.workflow_id = n.workflow_id and m.step_id = n.step_id and m.position = n.position
         )
         update workflow_steps s
         set made = s.made + h.made, open = s.open + h.open, lost = s.lost + h.lost
         from unnest($8::uuid[], $9::text[], $10::int[], $11::int[], $12::int[]) as h (workflow_id, step_id, made, open, lost)
         where s.tenant_id = $1 and s.workflow_id = h.workflow_id and s.step_id = h.step_id",
        tenant.uuid(),
        &column!(members, member => member.run),
        &column!(members, member => member.step.clone()),
        &column!(members, member => member.position),
        &column!(members, member => member.task) as &[Option<Uuid>],
        &column!(members, member => member.state) as &[&str],
        &column!(members, member => member.error.clone()) as &[Option<String>],
        &column!(steps, step => step.run),
        &column!(steps, step => step.step.clone()),
        &column!(steps, step => step.made),
        &column!(steps, step => step.open),
        &column!(steps, step => step.lost),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Why the first member of a step that did not complete did not.
pub(super) async fn first_loss(
    db: &mut PgConnection,
    tenant: TenantId,
    run: Uuid,
    step: &str,
) -> Result<Option<(i32, Option<Uuid>, String, Option<String>)>, Error> {
    let row = sqlx::query!(
        r#"select m.position, m.task_id, m.state, coalesce(m.error->>'message', r.error->>'message') as message
           from workflow_step_members m
           left join task_results r on r.tenant_id = $1 and r.task_id = m.task_id
           where m.tenant_id = $1 and m.workflow_id = $2 and m.step_id = $3 and m.state in ('failed', 'cancelled')
           order by m.position
           limit 1"#,
        tenant.uuid(),
        run,
        step,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| (row.position, row.task_id, row.state, row.message)))
}

/// What a step has come to, for templates.
pub(super) struct StepValue {
    pub(super) workflow_id: Uuid,
    pub(super) step_id: String,
    pub(super) state: String,
    pub(super) output: Option<String>,
    pub(super) error: Option<String>,
}

/// Reads what steps have come to.
pub(super) async fn step_values(
    db: &mut PgConnection,
    tenant: TenantId,
    runs: &[Uuid],
    steps: &[String],
) -> Result<Vec<StepValue>, Error> {
    Ok(sqlx::query_as!(
        StepValue,
        r#"select s.workflow_id, s.step_id, s.state, s.output::text as output, s.error::text as error
           from unnest($2::uuid[], $3::text[]) as w (workflow_id, step_id)
           join workflow_steps s on s.tenant_id = $1 and s.workflow_id = w.workflow_id and s.step_id = w.step_id"#,
        tenant.uuid(),
        runs,
        steps,
    )
    .fetch_all(db)
    .await?)
}

/// A member of what a run was launched with, or all of it.
pub(super) struct InputRow {
    pub(super) workflow_id: Uuid,
    pub(super) member: Option<String>,
    /// JSON text.
    pub(super) value: String,
}

/// Reads members of what runs were launched with, as far as they are there; where none is named, all of it.
pub(super) async fn inputs(
    db: &mut PgConnection,
    tenant: TenantId,
    wanted: &[(Uuid, Option<String>)],
) -> Result<Vec<InputRow>, Error> {
    let runs: Vec<Uuid> = wanted.iter().map(|(run, _)| *run).collect();
    let members: Vec<Option<&str>> = wanted.iter().map(|(_, member)| member.as_deref()).collect();
    Ok(sqlx::query_as!(
        InputRow,
        r#"select i.workflow_id as "workflow_id!", i.member, i.value as "value!"
           from (
               select r.workflow_id, r.member,
                      (select case when r.member is null then w.input else w.input -> r.member end::text
                       from workflows w
                       where w.tenant_id = $1 and w.id = r.workflow_id) as value
               from unnest($2::uuid[], $3::text[]) as r (workflow_id, member)
           ) i
           where i.value is not null"#,
        tenant.uuid(),
        &runs,
        &members as &[Option<&str>],
    )
    .fetch_all(db)
    .await?)
}

/// Notes that stages have begun; answers with those that had not before.
pub(super) async fn begin_stages(
    db: &mut PgConnection,
    tenant: TenantId,
    runs: &[Uuid],
    stages: &[String],
) -> Result<Vec<(Uuid, Uuid, String)>, Error> {
    let rows = sqlx::query!(
        "update workflow_stages g
         set started_at = coalesce(g.started_at, clock_timestamp()), completed_at = null
         from (select distinct workflow_id, name from unnest($2::uuid[], $3::text[]) as n (workflow_id, name)) n
         where g.tenant_id = $1 and g.workflow_id = n.workflow_id and g.name = n.name
           and (g.started_at is null or g.completed_at is not null)
         returning g.workflow_id, g.id, g.name",
        tenant.uuid(),
        runs,
        stages,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.workflow_id, row.id, row.name))
        .collect())
}

/// Notes that stages have ended, where no step of them has anything left; answers with those.
pub(super) async fn end_stages(
    db: &mut PgConnection,
    tenant: TenantId,
    runs: &[Uuid],
    stages: &[String],
) -> Result<Vec<(Uuid, Uuid, String)>, Error> {
    let rows = sqlx::query!(
        "update workflow_stages g
         set completed_at = clock_timestamp()
         from (select distinct workflow_id, name from unnest($2::uuid[], $3::text[]) as n (workflow_id, name)) n
         where g.tenant_id = $1 and g.workflow_id = n.workflow_id and g.name = n.name and g.completed_at is null
           and not exists (
               select from workflow_steps s
               where s.tenant_id = $1 and s.workflow_id = g.workflow_id and s.stage_name = g.name
                 and s.state in ('pending', 'running', 'waiting', 'failed'))
         returning g.workflow_id, g.id, g.name",
        tenant.uuid(),
        runs,
        stages,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.workflow_id, row.id, row.name))
        .collect())
}

/// Where a run should be in its life.
#[derive(Debug)]
pub(super) struct Derived {
    pub(super) id: Uuid,
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) playbook_id: Uuid,
    pub(super) parent_workflow_id: Option<Uuid>,
    pub(super) state: String,
    pub(super) derived: String,
    pub(super) failed_step: Option<String>,
    pub(super) failed_state: Option<String>,
    pub(super) failed_error: Option<String>,
}

/// Derives where runs are in their lives.
pub(super) async fn derive(
    db: &mut PgConnection,
    tenant: TenantId,
    runs: &[Uuid],
) -> Result<Vec<Derived>, Error> {
    Ok(sqlx::query_file_as!(
        Derived,
        "src/workflows/engine/derive.sql",
        tenant.uuid(),
        runs,
    )
    .fetch_all(db)
    .await?)
}

/// Puts a run where it was derived to be.
pub(super) async fn put(
    db: &mut PgConnection,
    tenant: TenantId,
    run: Uuid,
    state: protocol::WorkflowState,
    output: Option<&str>,
    error: Option<&str>,
) -> Result<(), Error> {
    sqlx::query!(
        "update workflows
         set state = $3,
             -- What its orchestrator has said of a run stays.
             output = coalesce($4::text::json, case when kind = 'orchestrated' then output end),
             error = $5::text::json,
             started_at = case when $3 = 'pending' then started_at else coalesce(started_at, clock_timestamp()) end,
             completed_at = case when $6 then coalesce(completed_at, clock_timestamp()) end,
             updated_at = clock_timestamp()
         where tenant_id = $1 and id = $2",
        tenant.uuid(),
        run,
        state.as_str(),
        output,
        error,
        state.is_final(),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The definition of a version of a playbook, as JSON text, and its lifecycle.
pub(super) async fn playbook(
    db: &mut PgConnection,
    tenant: TenantId,
    playbook: Uuid,
) -> Result<Option<(String, String)>, Error> {
    let row = sqlx::query!(
        r#"select definition::text as "definition!", lifecycle from playbooks where tenant_id = $1 and id = $2"#,
        tenant.uuid(),
        playbook,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| (row.definition, row.lifecycle)))
}

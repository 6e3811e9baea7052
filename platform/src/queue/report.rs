//! The hot reports of a holder: it has begun, it is done.

use protocol::{AgentId, TaskId, TaskState, TenantId, WorkerId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::gates::Run;
use crate::error::Error;

/// Who reports on which task.
#[derive(Clone, Debug)]
pub struct Report {
    /// The task.
    pub task: TaskId,
    /// The attempt that reports, if it names itself.
    pub attempt: Option<i32>,
    /// The agent that must hold it.
    pub agent: Option<AgentId>,
    /// The worker whose agent must hold it.
    pub worker: Option<WorkerId>,
    /// What kind of caller reports.
    pub actor_type: &'static str,
    /// Which caller reports.
    pub actor: Uuid,
}

/// A reported output.
#[derive(Clone, Debug)]
pub struct Completion {
    /// Who reports on which task.
    pub report: Report,
    /// Completed, or waiting for an assessment.
    pub to: TaskState,
    /// What came out, as JSON text.
    pub output: String,
    /// What the holder measured, as JSON text.
    pub metrics: Option<String>,
    /// What the holder did with git, as JSON text.
    pub git_info: Option<String>,
    /// What the holder verified, as JSON text.
    pub verification: Option<String>,
    /// Whether the output was checked against the task's schema.
    pub is_checked: bool,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It took effect.
    Moved,
    /// It had taken effect before.
    Replayed,
    /// No attempt holds the task now, or there is no such task.
    Absent,
    /// Another attempt holds it: this one.
    Stale(i32),
    /// The attempt is right, but its holder is another one.
    NotHolder,
    /// The holder must name its attempt.
    AttemptMissing,
    /// It must be started first.
    NotStarted,
    /// The output must be checked against the task's schema first.
    CheckOutput,
    /// The end of the task concerns others, among them this run: report in a transaction.
    HasDependants(Option<Uuid>),
    /// Its lease changed in the moment of the report: report once more.
    Again,
}

/// How often a report is repeated whose lease keeps changing under it.
const TRIES: usize = 5;

struct Row {
    #[expect(dead_code, reason = "rows come in the order of the reports")]
    place: i64,
    verdict: String,
    attempt: Option<i32>,
    #[expect(dead_code, reason = "told for people who run the statement by hand")]
    state: Option<String>,
}

struct CompletedRow {
    #[expect(dead_code, reason = "rows come in the order of the reports")]
    place: i64,
    verdict: String,
    attempt: Option<i32>,
    to_state: String,
    workflow_id: Option<Uuid>,
    work_item_id: Option<Uuid>,
}

/// What became of a completion.
#[derive(Clone, Copy, Debug)]
pub struct TakenReport {
    /// Whether it took effect.
    pub verdict: Verdict,
    /// Where the task is, if it did: a cancelled run cancels what would have to be assessed.
    pub to: TaskState,
    /// The run that the task belongs to.
    pub run: Option<Run>,
}

impl Verdict {
    fn of(word: &str, attempt: Option<i32>, workflow: Option<Uuid>) -> Result<Self, Error> {
        Ok(match word {
            "moved" => Verdict::Moved,
            "replayed" => Verdict::Replayed,
            "absent" => Verdict::Absent,
            "stale" => Verdict::Stale(attempt.unwrap_or_default()),
            "not_holder" => Verdict::NotHolder,
            "attempt_missing" => Verdict::AttemptMissing,
            "not_started" => Verdict::NotStarted,
            "check_output" => Verdict::CheckOutput,
            "has_dependants" => Verdict::HasDependants(workflow),
            "again" => Verdict::Again,
            unknown => {
                return Err(anyhow::anyhow!("a report has the unknown verdict {unknown}").into());
            }
        })
    }
}

struct Columns<'a> {
    tasks: Vec<Uuid>,
    attempts: Vec<Option<i32>>,
    agents: Vec<Option<Uuid>>,
    workers: Vec<Option<Uuid>>,
    actor_types: Vec<&'a str>,
    actors: Vec<Uuid>,
}

impl<'a> Columns<'a> {
    fn of(reports: impl Iterator<Item = &'a Report> + Clone) -> Self {
        Self {
            tasks: reports.clone().map(|report| report.task.uuid()).collect(),
            attempts: reports.clone().map(|report| report.attempt).collect(),
            agents: reports
                .clone()
                .map(|report| report.agent.map(AgentId::uuid))
                .collect(),
            workers: reports
                .clone()
                .map(|report| report.worker.map(WorkerId::uuid))
                .collect(),
            actor_types: reports.clone().map(|report| report.actor_type).collect(),
            actors: reports.map(|report| report.actor).collect(),
        }
    }
}

/// Which reports must be repeated.
fn to_repeat(verdicts: impl Iterator<Item = Verdict>) -> Vec<usize> {
    verdicts
        .enumerate()
        .filter(|(_, verdict)| *verdict == Verdict::Again)
        .map(|(place, _)| place)
        .collect()
}

/// Puts the answers to repeated reports where the first ones stood.
fn replace<A>(answers: &mut [A], places: &[usize], newer: Vec<A>) {
    for (place, answer) in places.iter().zip(newer) {
        answers[*place] = answer;
    }
}

/// Marks held tasks as begun: one verdict per report, in their order.
///
/// # Errors
/// Those of the database.
pub async fn start(
    db: &mut PgConnection,
    tenant: TenantId,
    reports: &[&Report],
) -> Result<Vec<Verdict>, Error> {
    let mut verdicts = start_once(db, tenant, reports).await?;
    for _ in 1..TRIES {
        let open = to_repeat(verdicts.iter().copied());
        if open.is_empty() {
            break;
        }
        let chosen: Vec<_> = open.iter().map(|place| reports[*place]).collect();
        replace(&mut verdicts, &open, start_once(db, tenant, &chosen).await?);
    }
    Ok(verdicts)
}

async fn start_once(
    db: &mut PgConnection,
    tenant: TenantId,
    reports: &[&Report],
) -> Result<Vec<Verdict>, Error> {
    let columns = Columns::of(reports.iter().copied());
    let rows = sqlx::query_file_as!(
        Row,
        "src/queue/start.sql",
        tenant.uuid(),
        &columns.tasks,
        &columns.attempts as &[Option<i32>],
        &columns.agents as &[Option<Uuid>],
        &columns.workers as &[Option<Uuid>],
        &columns.actor_types as &[&str],
        &columns.actors,
    )
    .fetch_all(db)
    .await?;
    rows.iter()
        .map(|row| Verdict::of(&row.verdict, row.attempt, None))
        .collect()
}

/// Takes reported outputs: one answer per report, in their order.
///
/// `carries_consequences` says that the caller carries out what follows for others in the same
/// transaction; otherwise tasks whose end concerns others, or a run, are left where they are.
///
/// # Errors
/// Those of the database.
pub async fn complete(
    db: &mut PgConnection,
    tenant: TenantId,
    completions: &[&Completion],
    carries_consequences: bool,
) -> Result<Vec<TakenReport>, Error> {
    let mut taken = complete_once(db, tenant, completions, carries_consequences).await?;
    for _ in 1..TRIES {
        let open = to_repeat(taken.iter().map(|taken| taken.verdict));
        if open.is_empty() {
            break;
        }
        let chosen: Vec<_> = open.iter().map(|place| completions[*place]).collect();
        let newer = complete_once(db, tenant, &chosen, carries_consequences).await?;
        replace(&mut taken, &open, newer);
    }
    Ok(taken)
}

async fn complete_once(
    db: &mut PgConnection,
    tenant: TenantId,
    completions: &[&Completion],
    carries_consequences: bool,
) -> Result<Vec<TakenReport>, Error> {
    let columns = Columns::of(completions.iter().map(|completion| &completion.report));
    let to_states: Vec<&str> = completions
        .iter()
        .map(|completion| completion.to.as_str())
        .collect();
    let outputs: Vec<&str> = completions
        .iter()
        .map(|completion| completion.output.as_str())
        .collect();
    let metrics: Vec<Option<&str>> = completions
        .iter()
        .map(|completion| completion.metrics.as_deref())
        .collect();
    let git_infos: Vec<Option<&str>> = completions
        .iter()
        .map(|completion| completion.git_info.as_deref())
        .collect();
    let verifications: Vec<Option<&str>> = completions
        .iter()
        .map(|completion| completion.verification.as_deref())
        .collect();
    let checked: Vec<bool> = completions
        .iter()
        .map(|completion| completion.is_checked)
        .collect();
    let allowed = crate::tasks::states_before(protocol::TaskMove::Complete);
    let rows = sqlx::query_file_as!(
        CompletedRow,
        "src/queue/complete.sql",
        tenant.uuid(),
        &columns.tasks,
        &columns.attempts as &[Option<i32>],
        &columns.agents as &[Option<Uuid>],
        &columns.workers as &[Option<Uuid>],
        &to_states as &[&str],
        &outputs as &[&str],
        &metrics as &[Option<&str>],
        &git_infos as &[Option<&str>],
        &verifications as &[Option<&str>],
        &checked,
        &columns.actor_types as &[&str],
        &columns.actors,
        &allowed as &[&str],
        carries_consequences,
    )
    .fetch_all(db)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(TakenReport {
                verdict: Verdict::of(&row.verdict, row.attempt, row.workflow_id)?,
                to: row
                    .to_state
                    .parse::<TaskState>()
                    .map_err(anyhow::Error::from)?,
                run: Run::of(row.workflow_id, row.work_item_id),
            })
        })
        .collect()
}

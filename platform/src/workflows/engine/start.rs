//! The start of steps whose needs have ended.

use std::collections::BTreeSet;

use protocol::{EntityType, StepState};
use serde_json::json;
use uuid::Uuid;

use super::definitions::InputReads;
use super::hand_out::NewMember;
use super::kinds::{self, Started};
use super::pass::{Ended, Pass};
use super::store;
use crate::error::Error;
use crate::graph::{Budget, Scope, Step};
use crate::queue::NewTask;
use crate::work_items::StepItem;

/// A step that begins.
#[derive(Clone, Debug)]
pub(super) struct Begun {
    pub(super) run: Uuid,
    pub(super) step: String,
    pub(super) state: StepState,
    pub(super) members: i32,
    pub(super) max_parallel: i32,
    pub(super) made: i32,
    pub(super) open: i32,
    pub(super) lost: i32,
    pub(super) work_item: Option<Uuid>,
    pub(super) question: Option<String>,
    pub(super) expires_seconds: Option<f64>,
}

/// How a step may start.
enum Verdict {
    Runs,
    Skipped,
    Failed(String),
}

impl Pass<'_> {
    /// Starts steps. Those of runs that are paused or called off stay where they are.
    pub(super) async fn start(&mut self) -> Result<(), Error> {
        let mut startable = std::mem::take(&mut self.startable);
        startable.retain(|step| {
            self.runs
                .get(&step.workflow_id)
                .is_some_and(store::Run::takes_starts)
        });
        let mut wanted = BTreeSet::new();
        let mut inputs = Vec::new();
        for start in &startable {
            let definition = self.definition_of(start.workflow_id).await?;
            let needs = definition.step(&start.step_id).map(|step| &step.needs);
            for need in needs.into_iter().flatten() {
                wanted.insert((start.workflow_id, need.clone()));
            }
            inputs.push((start.workflow_id, InputReads::Whole));
        }
        self.read_values(&wanted).await?;
        self.read_inputs(inputs).await?;
        let (mut staged_runs, mut stages) = (Vec::new(), Vec::new());
        for start in startable {
            let run = start.workflow_id;
            let definition = self.definition_of(run).await?;
            let step = definition
                .step(&start.step_id)
                .ok_or_else(|| anyhow::anyhow!("the definition has no step {}", start.step_id))?;
            match verdict(step, start.lived, &self.scope(run)) {
                Verdict::Runs => {
                    if let Some(stage) = &step.stage {
                        staged_runs.push(run);
                        stages.push(stage.clone());
                    }
                    self.begin(run, step, definition.active_column());
                }
                Verdict::Skipped => {
                    self.ended
                        .push(Ended::bare(run, &step.id, StepState::Skipped));
                }
                Verdict::Failed(fault) => {
                    let fault = format!("steps.{}.when: {fault}", step.id);
                    self.ended
                        .push(Ended::failed(run, &step.id, "condition_failed", &fault));
                }
            }
        }
        if stages.is_empty() {
            return Ok(());
        }
        for (run, stage, name) in
            store::begin_stages(self.tx.conn(), self.tenant, &staged_runs, &stages).await?
        {
            let data = json!({ "stage_id": stage, "stage_name": name });
            self.tell(run, "stage.started", (EntityType::Workflow, run), data);
        }
        Ok(())
    }

    fn begin(&mut self, run: Uuid, step: &Step, column: &str) {
        let item = Uuid::now_v7();
        let place = Place {
            run: &self.runs[&run],
            step,
            item,
        };
        let scope = self.scope(run);
        let title = match title_of(step, &scope) {
            Ok(title) => title,
            Err(fault) => {
                self.ended
                    .push(Ended::failed(run, &step.id, "template_failed", &fault));
                return;
            }
        };
        let started = kinds::start(&place, &title, &scope);
        let mut begun = Begun {
            run,
            step: step.id.clone(),
            state: StepState::Running,
            members: 0,
            max_parallel: 1,
            made: 0,
            open: 0,
            lost: 0,
            work_item: Some(item),
            question: None,
            expires_seconds: None,
        };
        match started {
            Err(fault) => {
                self.ended
                    .push(Ended::failed(run, &step.id, "template_failed", &fault));
                return;
            }
            Ok(Started::Ended(ended)) => {
                self.ended.push(ended);
                return;
            }
            Ok(Started::Asks {
                question,
                expires_seconds,
            }) => {
                begun.state = StepState::Waiting;
                begun.question = Some(question.to_string());
                begun.expires_seconds = expires_seconds;
            }
            Ok(Started::Tasks {
                members,
                max_parallel,
            }) => {
                let is = |member: &&(NewMember, Option<NewTask>), state| member.0.state == state;
                let count = |state| members.iter().filter(|member| is(member, state)).count();
                begun.members = number(members.len());
                begun.max_parallel = max_parallel;
                begun.open = number(count("open"));
                begun.lost = number(count("failed"));
                begun.made = begun.open + begun.lost;
                for (member, task) in members {
                    self.members.push(member);
                    self.tasks.extend(task);
                }
            }
        }
        self.items.push(StepItem {
            id: item,
            workflow: run,
            step_id: step.id.clone(),
            stage_name: step.stage.clone(),
            title,
            column: column.to_owned(),
            priority: kinds::priority(&step.body).rank(),
        });
        self.touch(run);
        self.begun.push(begun);
    }
}

/// Where a step makes its tasks.
pub(super) struct Place<'p> {
    pub(super) run: &'p store::Run,
    pub(super) step: &'p Step,
    pub(super) item: Uuid,
}

/// A count, as the database has it. No list is longer than a step may be.
pub(super) fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Whether a step runs. With a condition of its own that decides; without one it is skipped with all that
/// it needs.
fn verdict(step: &Step, lived: i32, scope: &Scope<'_>) -> Verdict {
    match &step.when {
        Some(when) => match when.holds(scope, &mut Budget::default()) {
            Ok(true) => Verdict::Runs,
            Ok(false) => Verdict::Skipped,
            Err(fault) => Verdict::Failed(fault.to_string()),
        },
        None if !step.needs.is_empty() && lived == 0 => Verdict::Skipped,
        None => Verdict::Runs,
    }
}

/// Characters of a title at most; what templates make longer is cut.
const TITLE_CHARS_MAX: usize = 500;

fn title_of(step: &Step, scope: &Scope<'_>) -> Result<String, String> {
    let Some(title) = &step.title else {
        return Ok(step.id.clone());
    };
    title
        .render_text(scope, &mut Budget::default())
        .map(|text| cut(&text, &step.id))
        .map_err(|fault| format!("steps.{}.title: {fault}", step.id))
}

/// A text as a title: not empty, and not too long.
pub(super) fn cut(text: &str, otherwise: &str) -> String {
    let text = text.trim().replace('\0', " ");
    if text.is_empty() {
        return otherwise.to_owned();
    }
    text.chars().take(TITLE_CHARS_MAX).collect()
}

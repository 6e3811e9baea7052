//! The end of steps, and of runs.

use std::collections::BTreeMap;

use protocol::{EntityType, StepState, WorkflowState};
use serde_json::{Value, json};
use uuid::Uuid;

use super::pass::{Pass, error_text};
use super::store::{self, Derived, EndedRow};
use crate::activations;
use crate::error::Error;
use crate::graph::Budget;
use crate::work_items::{self, ItemEnd};

impl Pass<'_> {
    /// Ends steps, tells those that need them, and finds who needs nothing any more.
    pub(super) async fn finish(&mut self) -> Result<(), Error> {
        let ended = std::mem::take(&mut self.ended);
        let rows = store::end_steps(self.tx.conn(), self.tenant, &ended).await?;
        let mut tally: BTreeMap<(Uuid, String), (i32, i32)> = BTreeMap::new();
        for row in &rows {
            self.touch(row.workflow_id);
            let counter =
                metrics::counter!("stint_steps_ended_total", "state" => row.state.clone());
            self.tx.count(counter);
            if !row.releases {
                continue;
            }
            let definition = self.definition_of(row.workflow_id).await?;
            for dependant in definition.dependants(&row.step_id) {
                let counts = tally
                    .entry((row.workflow_id, dependant.clone()))
                    .or_default();
                counts.0 += 1;
                counts.1 += i32::from(row.state != StepState::Skipped.as_str());
            }
        }
        self.end_items(&rows).await?;
        self.end_stages(&rows).await?;
        if tally.is_empty() {
            return Ok(());
        }
        let mut release = store::Release::default();
        for ((run, step), (ended, lived)) in tally {
            release.workflows.push(run);
            release.steps.push(step);
            release.ended.push(ended);
            release.lived.push(lived);
        }
        let found = store::release(self.tx.conn(), self.tenant, &release).await?;
        self.startable.extend(found);
        Ok(())
    }

    /// The work items of steps end with them: on the board they go to the column of what is done, or blocked.
    async fn end_items(&mut self, rows: &[EndedRow]) -> Result<(), Error> {
        let mut ends = Vec::new();
        for row in rows {
            let Some(item) = row.work_item_id else {
                continue;
            };
            let definition = self.definition_of(row.workflow_id).await?;
            let is_done = row.state == StepState::Completed.as_str();
            ends.push(ItemEnd {
                id: item,
                column: if is_done {
                    definition.done_column().to_owned()
                } else {
                    definition.blocked_column().to_owned()
                },
                is_done,
                reason: row.error.as_deref().map(message_of).transpose()?,
            });
            let (event, data) = if is_done {
                ("work_item.completed", json!({ "step_id": row.step_id }))
            } else {
                let reason = ends.last().and_then(|end| end.reason.clone());
                let data = json!({ "step_id": row.step_id, "blocked_reason": reason });
                ("work_item.updated", data)
            };
            self.tell(row.workflow_id, event, (EntityType::WorkItem, item), data);
        }
        if !ends.is_empty() {
            work_items::end_for_steps(self.tx.conn(), self.tenant, &ends).await?;
        }
        Ok(())
    }

    async fn end_stages(&mut self, rows: &[EndedRow]) -> Result<(), Error> {
        let staged = rows
            .iter()
            .filter_map(|row| Some((row.workflow_id, row.stage_name.clone()?)));
        let (runs, stages): (Vec<Uuid>, Vec<String>) = staged.unzip();
        if runs.is_empty() {
            return Ok(());
        }
        for (run, stage, name) in
            store::end_stages(self.tx.conn(), self.tenant, &runs, &stages).await?
        {
            let data = json!({ "stage_id": stage, "stage_name": name });
            self.tell(run, "stage.completed", (EntityType::Workflow, run), data);
        }
        Ok(())
    }

    /// Derives where the runs that were touched are in their lives.
    pub(super) async fn derive(&mut self) -> Result<(), Error> {
        let touched: Vec<Uuid> = std::mem::take(&mut self.touched).into_iter().collect();
        if touched.is_empty() {
            return Ok(());
        }
        for derived in store::derive(self.tx.conn(), self.tenant, &touched).await? {
            if derived.state != derived.derived {
                self.put(derived).await?;
            }
        }
        Ok(())
    }

    async fn put(&mut self, derived: Derived) -> Result<(), Error> {
        let run = derived.id;
        let mut state: WorkflowState = derived.derived.parse().map_err(anyhow::Error::from)?;
        let mut output = None;
        let mut error = None;
        match state {
            WorkflowState::Failed => error = Some(failure(&derived)?),
            WorkflowState::Completed if derived.kind == "graph" => {
                match self.output_of(run).await? {
                    Ok(value) => output = value.map(|value| value.to_string()),
                    Err(fault) => {
                        state = WorkflowState::Failed;
                        error = Some(error_text("output_failed", &fault));
                    }
                }
            }
            WorkflowState::Pending
            | WorkflowState::Active
            | WorkflowState::Paused
            | WorkflowState::Completed
            | WorkflowState::Cancelled => {}
        }
        if derived.state == state.as_str() {
            return Ok(());
        }
        let (conn, tenant) = (self.tx.conn(), self.tenant);
        store::put(
            conn,
            tenant,
            run,
            state,
            output.as_deref(),
            error.as_deref(),
        )
        .await?;
        let error: Option<Value> = error.as_deref().map(serde_json::from_str).transpose()?;
        let mut data =
            json!({ "from_state": derived.state, "to_state": state, "name": derived.name });
        if let (Some(error), Value::Object(members)) = (error, &mut data) {
            members.insert("error".to_owned(), error);
        }
        let entity = (EntityType::Workflow, run);
        self.tell(run, "workflow.state_changed", entity, data);
        if let (true, Some(parent)) = (state.is_final(), derived.parent_workflow_id) {
            let child = activations::EndedChild {
                id: run.into(),
                name: &derived.name,
                state,
            };
            activations::child_ended(self.tx, self.tenant, parent.into(), child).await?;
        }
        if state.is_final() {
            let counter = metrics::counter!("stint_runs_ended_total", "state" => state.as_str());
            self.tx.count(counter);
        }
        if state.is_final() && derived.kind == "orchestrated" {
            activations::run_ended(self.tx, self.tenant, run.into()).await?;
        }
        if state == WorkflowState::Completed {
            let data = json!({ "playbook_id": derived.playbook_id });
            self.tell(run, "workflow.completed", entity, data);
        }
        Ok(())
    }

    /// What a run puts out, as its playbook defines; or why that cannot be had.
    async fn output_of(&mut self, run: Uuid) -> Result<Result<Option<Value>, String>, Error> {
        let definition = self.definition_of(run).await?;
        let Some(output) = definition.output() else {
            return Ok(Ok(None));
        };
        let reads = definition.output_reads();
        let steps = reads.steps.iter().map(|step| (run, step.clone()));
        self.read_values(&steps.collect()).await?;
        self.read_inputs([(run, reads.input.clone())]).await?;
        let rendered = output.render(&self.scope(run), &mut Budget::default());
        Ok(rendered.map(Some).map_err(|fault| fault.to_string()))
    }
}

/// Why a run failed: because a step did.
fn failure(derived: &Derived) -> Result<String, Error> {
    let step = derived.failed_step.as_deref().unwrap_or_default();
    let how = derived.failed_state.as_deref().unwrap_or_default();
    let why = match &derived.failed_error {
        Some(text) => format!(": {}", message_of(text)?),
        None => String::new(),
    };
    Ok(error_text(
        "step_failed",
        &format!("step {step} has {how}{why}"),
    ))
}

fn message_of(error: &str) -> Result<String, Error> {
    let error: protocol::TaskError = serde_json::from_str(error)?;
    Ok(error.message)
}

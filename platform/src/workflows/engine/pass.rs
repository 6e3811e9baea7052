//! One pass of the engine: what is to be done, round after round, until nothing follows any more.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use protocol::{EntityType, JsonObject, OnStepFailure, StepState, TenantId, WorkflowId};
use serde_json::{Value, json};
use uuid::Uuid;

use super::definitions::{Definition, InputReads, definition};
use super::hand_out::NewMember;
use super::start::Begun;
use super::store::{self, Counts, Run, Startable};
use super::{TaskChange, kinds};
use crate::activations::{self, TaskWake};
use crate::db::Tx;
use crate::error::Error;
use crate::events::NewEvent;
use crate::queue::NewTask;
use crate::work_items::StepItem;
use crate::{queue, work_items};

/// A step that ends.
#[derive(Clone, Debug)]
pub(in crate::workflows) struct Ended {
    /// Its run.
    pub(in crate::workflows) run: Uuid,
    /// Its name.
    pub(in crate::workflows) step: String,
    /// How it ends.
    pub(in crate::workflows) state: StepState,
    /// What came out, as JSON text.
    pub(in crate::workflows) output: Option<String>,
    /// Why it failed, as JSON text.
    pub(in crate::workflows) error: Option<String>,
    /// Whether its output is put together from its tasks.
    pub(in crate::workflows) collects: bool,
    /// Whether that output is a list.
    pub(in crate::workflows) is_list: bool,
}

impl Ended {
    /// A step that ends without an output.
    pub(in crate::workflows) fn bare(run: Uuid, step: &str, state: StepState) -> Self {
        Self {
            run,
            step: step.to_owned(),
            state,
            output: None,
            error: None,
            collects: false,
            is_list: false,
        }
    }

    /// A step that fails for a reason of its own.
    pub(super) fn failed(run: Uuid, step: &str, category: &str, message: &str) -> Self {
        Self {
            error: Some(error_text(category, message)),
            ..Self::bare(run, step, StepState::Failed)
        }
    }
}

/// A reason for a failure, as JSON text in the form of a task's error.
pub(super) fn error_text(category: &str, message: &str) -> String {
    json!({ "category": category, "message": message, "recoverable": false }).to_string()
}

/// What is to be done in some runs of a tenant, whose rows are locked.
pub(in crate::workflows) struct Pass<'t> {
    pub(super) tx: &'t mut Tx,
    pub(super) tenant: TenantId,
    pub(super) runs: BTreeMap<Uuid, Run>,
    definitions: HashMap<Uuid, Arc<Definition>>,
    /// What steps have come to, as far as templates wanted to know.
    values: HashMap<Uuid, BTreeMap<String, Value>>,
    /// What runs were launched with, as far as templates wanted to know.
    inputs: HashMap<Uuid, Input>,
    pub(super) ended: Vec<Ended>,
    pub(super) startable: Vec<Startable>,
    pub(super) hungry: Vec<Counts>,
    pub(super) begun: Vec<Begun>,
    pub(super) members: Vec<NewMember>,
    pub(super) tasks: Vec<NewTask>,
    pub(super) items: Vec<StepItem>,
    pub(super) touched: BTreeSet<Uuid>,
    pub(super) events: Vec<(WorkflowId, NewEvent)>,
}

/// What templates see of a run beside its steps.
struct Input {
    /// How much of the value has been read.
    known: InputReads,
    value: Value,
    workflow: Value,
}

impl Input {
    fn unread(run: &Run) -> Self {
        Self {
            known: InputReads::default(),
            value: json!({}),
            workflow: json!({
                "id": run.id, "name": run.name, "workspace_id": run.workspace_id,
                "playbook_id": run.playbook_id,
            }),
        }
    }
}

impl<'t> Pass<'t> {
    /// Locks the runs.
    ///
    /// # Errors
    /// Those of the database.
    pub(in crate::workflows) async fn lock(
        tx: &'t mut Tx,
        tenant: TenantId,
        runs: &[Uuid],
    ) -> Result<Self, Error> {
        let runs = store::lock(tx.conn(), tenant, runs).await?;
        Ok(Self {
            tx,
            tenant,
            runs: runs.into_iter().map(|run| (run.id, run)).collect(),
            definitions: HashMap::new(),
            values: HashMap::new(),
            inputs: HashMap::new(),
            ended: Vec::new(),
            startable: Vec::new(),
            hungry: Vec::new(),
            begun: Vec::new(),
            members: Vec::new(),
            tasks: Vec::new(),
            items: Vec::new(),
            touched: BTreeSet::new(),
            events: Vec::new(),
        })
    }

    /// A step ends, by a decision or by its time.
    pub(in crate::workflows) fn end(&mut self, ended: Ended) {
        self.ended.push(ended);
    }

    /// Something of a run has changed: where it is in its life is to be derived.
    pub(super) fn touch(&mut self, run: Uuid) {
        self.touched.insert(run);
    }

    /// Tells that something has happened in a run.
    pub(super) fn tell(
        &mut self,
        run: Uuid,
        event_type: &'static str,
        entity: (EntityType, Uuid),
        data: Value,
    ) {
        let Value::Object(members) = data else {
            unreachable!("the data of an event is an object")
        };
        let event = NewEvent {
            event_type,
            entity_type: entity.0,
            entity: entity.1,
            actor_type: "system",
            actor: None,
            data: JsonObject::from(members),
        };
        self.events.push((run.into(), event));
    }

    /// Lets members follow their tasks, and looks at what that means for their steps.
    pub(super) async fn settle(&mut self, changes: &[TaskChange]) -> Result<(), Error> {
        for counts in store::settle(self.tx.conn(), self.tenant, changes).await? {
            if counts.is_reopened {
                self.touch(counts.workflow_id);
                if let Some(item) = counts.work_item_id {
                    self.reopen_item(counts.workflow_id, item).await?;
                }
            }
            self.look_at(counts).await?;
        }
        Ok(())
    }

    /// Wakes the orchestrators of those of the runs that have one.
    pub(super) async fn wake(&mut self, wakes: &[TaskWake]) -> Result<(), Error> {
        let orchestrated = self.runs.values().filter(|run| run.is_orchestrated);
        let orchestrated: BTreeSet<Uuid> = orchestrated.map(|run| run.id).collect();
        if orchestrated.is_empty() {
            return Ok(());
        }
        activations::wake_for_tasks(self.tx, self.tenant, &orchestrated, wakes).await?;
        self.touched.extend(orchestrated);
        Ok(())
    }

    async fn reopen_item(&mut self, run: Uuid, item: Uuid) -> Result<(), Error> {
        let definition = self.definition_of(run).await?;
        let column = definition.active_column().to_owned();
        if work_items::reopen(self.tx.conn(), self.tenant, item, &column).await? {
            let entity = (EntityType::WorkItem, item);
            self.tell(run, "work_item.reopened", entity, json!({}));
        }
        Ok(())
    }

    /// What follows from the counts of a step: more of its members, its end, or nothing yet.
    pub(super) async fn look_at(&mut self, counts: Counts) -> Result<(), Error> {
        let Some(run) = self.runs.get(&counts.workflow_id) else {
            return Ok(());
        };
        // What was called off stays so, whatever becomes of its tasks.
        if run.is_cancelled || counts.state != StepState::Running.as_str() {
            return Ok(());
        }
        let takes_starts = run.takes_starts();
        let definition = self.definition_of(counts.workflow_id).await?;
        let Some(body) = definition.step(&counts.step_id).map(|step| &step.body) else {
            return Ok(());
        };
        let gives_up = counts.lost > 0 && kinds::on_member_failure(body) == OnStepFailure::Fail;
        let has_more = counts.made < counts.members && !gives_up;
        if has_more {
            if takes_starts && counts.open < counts.max_parallel {
                self.hungry.push(counts);
            }
        } else if counts.open == 0 {
            let mut ended = Ended::bare(counts.workflow_id, &counts.step_id, StepState::Completed);
            if gives_up {
                ended.state = StepState::Failed;
                ended.error = Some(self.loss(&counts).await?);
            } else {
                ended.collects = true;
                ended.is_list = kinds::puts_out_list(body);
            }
            self.ended.push(ended);
        }
        Ok(())
    }

    /// Why a step failed whose members did not all complete.
    async fn loss(&mut self, counts: &Counts) -> Result<String, Error> {
        let first = store::first_loss(
            self.tx.conn(),
            self.tenant,
            counts.workflow_id,
            &counts.step_id,
        )
        .await?;
        let Some((position, task, state, message)) = first else {
            return Ok(error_text("task_failed", "a task of it did not complete"));
        };
        let message = message.unwrap_or_else(|| format!("it was {state}"));
        let what = match task {
            Some(task) => format!("task {task} did not complete: {message}"),
            None => message,
        };
        Ok(if counts.members > 1 {
            error_text(
                "items_failed",
                &format!(
                    "{} of {} items did not complete; the first of them is item {position}: {what}",
                    counts.lost, counts.members
                ),
            )
        } else {
            error_text("task_failed", &what)
        })
    }

    /// Finds the steps of a run that wait for nothing but their start.
    pub(super) async fn find_startable(&mut self, run: WorkflowId) -> Result<(), Error> {
        let found = store::startable(self.tx.conn(), self.tenant, run.uuid()).await?;
        self.startable.extend(found);
        Ok(())
    }

    /// Finds the running steps of a run that have room for more of their members, or none open any more.
    pub(super) async fn find_unfinished(&mut self, run: WorkflowId) -> Result<(), Error> {
        for counts in store::unfinished(self.tx.conn(), self.tenant, run.uuid()).await? {
            self.look_at(counts).await?;
        }
        Ok(())
    }

    /// Round after round, until nothing follows any more; then writes what has begun, and derives where the
    /// runs are in their lives.
    ///
    /// # Errors
    /// Those of the database.
    pub(in crate::workflows) async fn carry_out(mut self) -> Result<(), Error> {
        loop {
            if !self.ended.is_empty() {
                self.finish().await?;
            } else if !self.startable.is_empty() {
                self.start().await?;
            } else if !self.hungry.is_empty() {
                self.hand_out_members().await?;
            } else {
                break;
            }
        }
        self.write().await?;
        self.derive().await?;
        if !self.events.is_empty() {
            crate::events::append_to_runs(self.tx.conn(), self.tenant, &self.events).await?;
            self.tx.note(crate::db::Note::EventsAppended);
        }
        Ok(())
    }

    /// Writes what has begun: work items, steps, members, tasks.
    async fn write(&mut self) -> Result<(), Error> {
        if !self.items.is_empty() {
            work_items::make_for_steps(self.tx.conn(), self.tenant, &self.items).await?;
            for item in std::mem::take(&mut self.items) {
                let data = json!({ "step_id": item.step_id, "title": item.title });
                let entity = (EntityType::WorkItem, item.id);
                self.tell(item.workflow, "work_item.created", entity, data);
            }
        }
        if !self.begun.is_empty() {
            store::begin_steps(self.tx.conn(), self.tenant, &self.begun).await?;
        }
        if !self.members.is_empty() {
            store::make_members(self.tx.conn(), self.tenant, &self.members).await?;
        }
        if !self.tasks.is_empty() {
            let tasks: Vec<&NewTask> = self.tasks.iter().collect();
            queue::place_in_run(self.tx, self.tenant, &tasks).await?;
        }
        Ok(())
    }

    /// The definition that a run follows.
    pub(super) async fn definition_of(&mut self, run: Uuid) -> Result<Arc<Definition>, Error> {
        let playbook = self
            .runs
            .get(&run)
            .map(|run| run.playbook_id)
            .ok_or_else(|| anyhow::anyhow!("the run {run} is not locked"))?;
        if let Some(known) = self.definitions.get(&playbook) {
            return Ok(Arc::clone(known));
        }
        let found = definition(self.tx.conn(), self.tenant, playbook.into()).await?;
        self.definitions.insert(playbook, Arc::clone(&found));
        Ok(found)
    }

    /// Reads what templates of these steps want to know, as far as it has not been read.
    pub(super) async fn read_values(
        &mut self,
        wanted: &BTreeSet<(Uuid, String)>,
    ) -> Result<(), Error> {
        let (mut runs, mut steps) = (Vec::new(), Vec::new());
        for (run, step) in wanted {
            let known = self.values.get(run);
            if !known.is_some_and(|known| known.contains_key(step)) {
                runs.push(*run);
                steps.push(step.clone());
            }
        }
        if runs.is_empty() {
            return Ok(());
        }
        let parse = |text: Option<String>| match text {
            Some(text) => serde_json::from_str::<Value>(&text),
            None => Ok(Value::Null),
        };
        for row in store::step_values(self.tx.conn(), self.tenant, &runs, &steps).await? {
            let value = crate::graph::ended_step(&row.state, parse(row.output)?, parse(row.error)?);
            let known = self.values.entry(row.workflow_id).or_default();
            known.insert(row.step_id, value);
        }
        Ok(())
    }

    /// Reads what runs were launched with, as far as templates want to know and it has not been read.
    pub(super) async fn read_inputs(
        &mut self,
        wanted: impl IntoIterator<Item = (Uuid, InputReads)>,
    ) -> Result<(), Error> {
        let mut missing = Vec::new();
        for (run, wanted) in wanted {
            let input = self
                .inputs
                .entry(run)
                .or_insert_with(|| Input::unread(&self.runs[&run]));
            match (&mut input.known, wanted) {
                (InputReads::Whole, _) => {}
                (known, InputReads::Whole) => {
                    *known = InputReads::Whole;
                    missing.push((run, None));
                }
                (InputReads::Members(known), InputReads::Members(wanted)) => {
                    let new = wanted
                        .into_iter()
                        .filter(|member| known.insert(member.clone()));
                    missing.extend(new.map(|member| (run, Some(member))));
                }
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        for read in store::inputs(self.tx.conn(), self.tenant, &missing).await? {
            let value: Value = serde_json::from_str(&read.value)?;
            if let Some(input) = self.inputs.get_mut(&read.workflow_id) {
                match read.member {
                    Some(member) => input.value[member] = value,
                    None => input.value = value,
                }
            }
        }
        Ok(())
    }

    /// What templates of a run can read, once it has been read.
    pub(super) fn scope(&self, run: Uuid) -> crate::graph::Scope<'_> {
        static NOTHING: BTreeMap<String, Value> = BTreeMap::new();
        let input = &self.inputs[&run];
        crate::graph::Scope {
            input: &input.value,
            workflow: &input.workflow,
            steps: self.values.get(&run).unwrap_or(&NOTHING),
            item: None,
        }
    }
}

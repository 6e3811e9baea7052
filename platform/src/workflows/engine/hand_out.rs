//! The members of steps that make several tasks: the next ones are made as others end.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::kinds;
use super::pass::Pass;
use super::start::{Place, number};
use super::store;
use crate::error::Error;

/// A member with its task, or with the reason why it has none, or without both: to be made later.
#[derive(Clone, Debug)]
pub(super) struct NewMember {
    pub(super) run: Uuid,
    pub(super) step: String,
    pub(super) position: i32,
    pub(super) item: Option<String>,
    pub(super) task: Option<Uuid>,
    pub(super) state: &'static str,
    pub(super) error: Option<String>,
}

/// How many members of a step were made, and what became of them.
#[derive(Clone, Debug)]
pub(super) struct HandedOut {
    pub(super) run: Uuid,
    pub(super) step: String,
    pub(super) made: i32,
    pub(super) open: i32,
    pub(super) lost: i32,
}

impl Pass<'_> {
    /// Makes the next members of steps that have room for more.
    pub(super) async fn hand_out_members(&mut self) -> Result<(), Error> {
        let hungry = std::mem::take(&mut self.hungry);
        let (mut steps, mut inputs) = (BTreeSet::new(), Vec::new());
        let mut ranges = Vec::new();
        for counts in &hungry {
            let definition = self.definition_of(counts.workflow_id).await?;
            if let Some(reads) = definition.task_reads(&counts.step_id) {
                let run = counts.workflow_id;
                steps.extend(reads.steps.iter().map(|step| (run, step.clone())));
                inputs.push((run, reads.input.clone()));
            }
            let room = counts.max_parallel - counts.open;
            let left = counts.members - counts.made;
            let range = (
                counts.workflow_id,
                counts.step_id.clone(),
                counts.made,
                room.min(left),
            );
            ranges.push(range);
        }
        self.read_values(&steps).await?;
        self.read_inputs(inputs).await?;
        let waiting = store::next_members(self.tx.conn(), self.tenant, &ranges).await?;
        let mut counted: BTreeMap<(Uuid, String), (i32, i32, i32)> = BTreeMap::new();
        let mut made = Vec::with_capacity(waiting.len());
        for member in waiting {
            let (run, step_id) = (member.workflow_id, member.step_id);
            let counts = hungry
                .iter()
                .find(|counts| counts.workflow_id == run && counts.step_id == step_id)
                .ok_or_else(|| anyhow::anyhow!("a member of a step that wants none"))?;
            let definition = self.definition_of(run).await?;
            let step = definition
                .step(&step_id)
                .ok_or_else(|| anyhow::anyhow!("the definition has no step {step_id}"))?;
            let place = Place {
                run: &self.runs[&run],
                step,
                item: counts.work_item_id.unwrap_or_default(),
            };
            let item = serde_json::from_str(member.item.as_deref().unwrap_or("null"))?;
            let position = usize::try_from(member.position).unwrap_or_default();
            let (member, task) = kinds::make_member(&place, &item, position, &self.scope(run));
            let entry = counted.entry((run, step_id)).or_default();
            entry.0 += 1;
            entry.1 += number(usize::from(task.is_some()));
            entry.2 += number(usize::from(task.is_none()));
            self.tasks.extend(task);
            made.push(member);
        }
        let steps: Vec<HandedOut> = counted
            .into_iter()
            .map(|((run, step), (made, open, lost))| HandedOut {
                run,
                step,
                made,
                open,
                lost,
            })
            .collect();
        if steps.is_empty() {
            return Ok(());
        }
        store::hand_out(self.tx.conn(), self.tenant, &made, &steps).await?;
        // Where a template failed, there is room again, or nothing left.
        for handed in steps.into_iter().filter(|handed| handed.lost > 0) {
            let before = hungry
                .iter()
                .find(|counts| counts.workflow_id == handed.run && counts.step_id == handed.step);
            if let Some(before) = before {
                let mut counts = before.clone();
                counts.made += handed.made;
                counts.open += handed.open;
                counts.lost += handed.lost;
                self.look_at(counts).await?;
            }
        }
        Ok(())
    }
}

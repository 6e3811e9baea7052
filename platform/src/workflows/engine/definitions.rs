//! The definitions that runs follow: read once, kept in memory. A version that has runs never changes.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, LazyLock, RwLock};

use protocol::{JsonObject, Lifecycle, PlaybookId, TenantId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::store;
use crate::error::Error;
use crate::graph::{Body, Graph, Read, Step, Tree};
use crate::playbooks;

/// Definitions that are kept: a large one takes some megabytes.
const KEPT_MAX: usize = 256;

/// Ids are unique across databases, so that all replicas of a process can share them.
static KEPT: LazyLock<RwLock<HashMap<Uuid, Arc<Definition>>>> = LazyLock::new(RwLock::default);

/// What a run follows, with what the engine asks of it again and again.
#[derive(Debug)]
pub(in crate::workflows) struct Definition {
    whole: playbooks::Definition,
    output_reads: Reads,
    task_reads: HashMap<String, Reads>,
}

/// What templates read of a run.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// The steps.
    pub(super) steps: BTreeSet<String>,
    /// What the run was launched with.
    pub(super) input: InputReads,
}

/// How much is read of what a run was launched with.
#[derive(Clone, Debug)]
pub(super) enum InputReads {
    /// These members.
    Members(BTreeSet<String>),
    /// All of it.
    Whole,
}

impl Default for InputReads {
    fn default() -> Self {
        Self::Members(BTreeSet::new())
    }
}

impl FromIterator<Read> for Reads {
    fn from_iter<R: IntoIterator<Item = Read>>(all: R) -> Self {
        let mut reads = Self::default();
        for read in all {
            if let Some(step) = read.step() {
                reads.steps.insert(step.to_owned());
            }
            match (read.names.as_slice(), &mut reads.input) {
                ([root, member, ..], InputReads::Members(members)) if root == "input" => {
                    members.insert(member.clone());
                }
                ([root], input) if root == "input" => *input = InputReads::Whole,
                _ => {}
            }
        }
        reads
    }
}

/// The definition that runs of a version follow.
///
/// # Errors
/// 404; when what is stored can no longer be read.
pub(in crate::workflows) async fn definition(
    db: &mut PgConnection,
    tenant: TenantId,
    playbook: PlaybookId,
) -> Result<Arc<Definition>, Error> {
    let known = KEPT
        .read()
        .expect("no panic under this lock")
        .get(&playbook.uuid())
        .cloned();
    if let Some(known) = known {
        return Ok(known);
    }
    let (text, lifecycle) = store::playbook(db, tenant, playbook.uuid())
        .await?
        .ok_or_else(|| Error::not_found("playbook", playbook))?;
    let lifecycle: Lifecycle = lifecycle.parse().map_err(anyhow::Error::from)?;
    let whole = playbooks::Definition::parse(&JsonObject::from_text(text)?, lifecycle)
        .map_err(|mistakes| anyhow::anyhow!("playbook {playbook} cannot be read: {mistakes:?}"))?;
    let found = Arc::new(Definition::of(whole));
    let mut kept = KEPT.write().expect("no panic under this lock");
    if kept.len() >= KEPT_MAX {
        // Whichever: the next run that needs it reads it again.
        let one = kept.keys().next().copied();
        one.and_then(|one| kept.remove(&one));
    }
    kept.insert(playbook.uuid(), Arc::clone(&found));
    Ok(found)
}

impl Definition {
    fn of(whole: playbooks::Definition) -> Self {
        let mut output_reads = Reads::default();
        let mut task_reads = HashMap::new();
        if let Some(graph) = whole.graph() {
            if let Some(output) = &graph.output {
                output_reads = output.reads().into_iter().collect();
            }
            for step in graph.steps.values() {
                if let Body::ForEach(body) = &step.body {
                    let reads = body.task.reads().into_iter().collect();
                    task_reads.insert(step.id.clone(), reads);
                }
            }
        }
        Self {
            whole,
            output_reads,
            task_reads,
        }
    }

    /// All of it.
    pub(in crate::workflows) fn whole(&self) -> &playbooks::Definition {
        &self.whole
    }

    /// Its graph, if it is one.
    pub(in crate::workflows) fn graph(&self) -> Option<&Graph> {
        self.whole.graph()
    }

    /// A step of its graph.
    pub(in crate::workflows) fn step(&self, id: &str) -> Option<&Step> {
        self.graph().and_then(|graph| graph.steps.get(id))
    }

    /// The steps that need a step.
    pub(super) fn dependants(&self, step: &str) -> &[String] {
        self.graph().map_or(&[], |graph| graph.dependants(step))
    }

    /// What the run puts out.
    pub(super) fn output(&self) -> Option<&Tree> {
        self.graph().and_then(|graph| graph.output.as_ref())
    }

    /// What it reads for that.
    pub(super) fn output_reads(&self) -> &Reads {
        &self.output_reads
    }

    /// What the tasks of a `for_each` read. Not what its list was read from: that would be as long as the list, each
    /// time that a task of it is made.
    pub(super) fn task_reads(&self, step: &str) -> Option<&Reads> {
        self.task_reads.get(step)
    }

    /// The column of what is being worked on: the first one that is neither the entry nor blocked nor terminal.
    pub(in crate::workflows) fn active_column(&self) -> &str {
        let board = &self.whole.board;
        board
            .columns
            .iter()
            .find(|column| {
                !column.is_blocked && !column.is_terminal && column.id != board.entry_column_id
            })
            .map_or(&board.entry_column_id, |column| &column.id)
    }

    /// The column of what is done.
    pub(super) fn done_column(&self) -> &str {
        self.column(|column| column.is_terminal)
    }

    /// The column of what cannot go on.
    pub(super) fn blocked_column(&self) -> &str {
        self.column(|column| column.is_blocked)
    }

    fn column(&self, is: fn(&playbooks::Column) -> bool) -> &str {
        let board = &self.whole.board;
        let found = board.columns.iter().find(|column| is(column));
        found.map_or(&board.entry_column_id, |column| &column.id)
    }
}

//! What stands in a playbook's definition, read strictly: every mistake is told of, with its place.

use protocol::{JsonObject, Lifecycle, Mistake, MistakeCode, PlaybookKind};
use serde_json::Value;

use super::parameters::Parameters;
use crate::graph::Graph;
use crate::graph::fields::{Fields, Mistakes};

/// Stages of one playbook.
const STAGES_MAX: usize = 100;
/// Columns of one board.
const COLUMNS_MAX: usize = 50;
/// Roles of one playbook.
const ROLES_MAX: usize = 100;

/// What a playbook says, as a run needs it.
#[derive(Clone, Debug)]
pub struct Definition {
    /// The stages in their order.
    pub stages: Vec<Stage>,
    /// Where work items stand.
    pub board: Board,
    /// What a launch must give.
    pub parameters: Parameters,
    /// How much may go on at once.
    pub limits: Limits,
    /// The lowest layer of a run's settings.
    pub config: JsonObject,
    /// Who decides what happens next.
    pub plan: Plan,
}

/// Who decides what happens next in a run.
#[derive(Clone, Debug)]
pub enum Plan {
    /// An orchestrator, or people.
    Orchestrated(Orchestration),
    /// The platform, by the steps.
    Graph(Graph),
}

/// What a playbook says to the orchestrator of its runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orchestration {
    /// The roles that work may be given to; empty: any.
    pub roles: Vec<String>,
    /// What it is to do.
    pub instructions: Option<String>,
    /// What it may use.
    pub tools: Vec<String>,
    /// How often it may send a task back.
    pub max_rework_iterations: Option<i32>,
    /// How many turns it may take.
    pub max_iterations: Option<i32>,
    /// How often it may repeat a call to a model.
    pub llm_max_retries: Option<i32>,
}

/// A stage of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Its name, and its title on the board.
    pub name: String,
    /// What it is for.
    pub goal: String,
    /// The roles that take part.
    pub involves: Vec<String>,
    /// How to go about it.
    pub guidance: Option<String>,
}

/// Where the work items of a run stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Board {
    /// The columns from left to right.
    pub columns: Vec<Column>,
    /// The column that new work items stand in.
    pub entry_column_id: String,
}

/// A column of a board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub id: String,
    /// For people.
    pub label: String,
    /// For people, longer.
    pub description: Option<String>,
    /// Whether what stands in it waits for something.
    pub is_blocked: bool,
    /// Whether what stands in it is done.
    pub is_terminal: bool,
}

/// How much of a run may go on at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Tasks of the run that may be active.
    pub max_active_tasks: Option<i32>,
    /// Tasks of one work item that may be active.
    pub max_active_tasks_per_work_item: Option<i32>,
    /// Whether tasks of two work items may be active.
    pub allow_parallel_work_items: bool,
}

impl Definition {
    /// Reads a definition.
    ///
    /// # Errors
    /// Every mistake there is, up to a limit, each with its path, which begins with `definition`.
    pub fn parse(definition: &JsonObject, lifecycle: Lifecycle) -> Result<Self, Vec<Mistake>> {
        let value = Value::Object(definition.members());
        let mistakes = Mistakes::default();
        let read = Fields::of(&value, "definition", &mistakes)
            .and_then(|fields| Self::read(fields, lifecycle, &mistakes));
        match read {
            Some(definition) if mistakes.is_empty() => Ok(definition),
            _ => Err(mistakes.into_list()),
        }
    }

    /// The kind that a definition names.
    pub fn kind_of(definition: &JsonObject) -> PlaybookKind {
        let kind = definition.members().remove("kind");
        let word = kind.as_ref().and_then(Value::as_str);
        word.and_then(|word| word.parse().ok())
            .unwrap_or(PlaybookKind::Orchestrated)
    }

    fn read(mut fields: Fields<'_>, lifecycle: Lifecycle, mistakes: &Mistakes) -> Option<Self> {
        let kind = match fields.value("kind") {
            Some(_) => fields.word("kind"),
            None => Some(PlaybookKind::Orchestrated),
        };
        fields.text("outcome", 0..=4000);
        lifecycle_of(&mut fields, lifecycle, kind);
        let stages = stages(&mut fields, kind);
        let board = board(&mut fields);
        let parameters = Parameters::read(&mut fields);
        let config = fields.members("config").cloned().unwrap_or_default();
        // Without its kind nobody knows which other fields it may have.
        let (plan, limits) = match kind? {
            PlaybookKind::Orchestrated => {
                let (orchestration, limits) = orchestrated(&mut fields);
                check_involved(&fields, &stages, &orchestration.roles);
                (Some(Plan::Orchestrated(orchestration)), limits)
            }
            PlaybookKind::Graph => {
                let limits = limits(fields.object("limits"));
                let names: Vec<String> = stages.iter().map(|stage| stage.name.clone()).collect();
                let graph = Graph::read(&mut fields, &names, &parameters.known(), mistakes);
                (graph.map(Plan::Graph), limits)
            }
        };
        fields.finish();
        Some(Self {
            stages,
            board,
            parameters,
            limits,
            config: config.into(),
            plan: plan?,
        })
    }

    /// The graph, if it is one.
    pub fn graph(&self) -> Option<&Graph> {
        match &self.plan {
            Plan::Orchestrated(_) => None,
            Plan::Graph(graph) => Some(graph),
        }
    }

    /// What it says to an orchestrator, if it has one.
    pub fn orchestration(&self) -> Option<&Orchestration> {
        match &self.plan {
            Plan::Orchestrated(orchestration) => Some(orchestration),
            Plan::Graph(_) => None,
        }
    }
}

fn lifecycle_of(fields: &mut Fields<'_>, lifecycle: Lifecycle, kind: Option<PlaybookKind>) {
    if let Some(named) = fields.word::<Lifecycle>("lifecycle")
        && named != lifecycle
    {
        let message = format!("is {named}, but the playbook is {lifecycle}");
        let hint = "leave it out here";
        fields.mistake("lifecycle", MistakeCode::Contradiction, message, hint);
    }
    if kind == Some(PlaybookKind::Graph) && lifecycle == Lifecycle::Ongoing {
        let message = "a graph comes to an end, so its lifecycle is planned";
        let hint = "choose lifecycle planned";
        fields.mistake("lifecycle", MistakeCode::Contradiction, message, hint);
    }
}

/// The fields that only an orchestrator interprets, and its limits.
fn orchestrated(fields: &mut Fields<'_>) -> (Orchestration, Limits) {
    let process = fields.text("process_instructions", 1..=12_000);
    let mut orchestration = Orchestration {
        roles: fields.texts("roles", 0..=ROLES_MAX, 1..=120),
        instructions: process.map(str::to_owned),
        ..Orchestration::default()
    };
    fields.members("config_policy");
    fields.members("default_instruction_config");
    fields.members("runtime");
    let mut own = fields.object("orchestrator");
    if let Some(own) = &mut own {
        let any = i64::from(i32::MAX);
        let instructions = own.text("instructions", 0..=20_000).map(str::to_owned);
        orchestration.instructions = orchestration.instructions.or(instructions);
        orchestration.tools = own.texts("tools", 0..=64, 1..=120);
        orchestration.max_rework_iterations = own.number("max_rework_iterations", 0..=any);
        orchestration.max_iterations = own.number("max_iterations", 1..=any);
        orchestration.llm_max_retries = own.number("llm_max_retries", 1..=any);
    }
    (orchestration, limits(own))
}

/// Stages involve roles that work may be given to.
fn check_involved(fields: &Fields<'_>, stages: &[Stage], roles: &[String]) {
    if roles.is_empty() {
        return;
    }
    for stage in stages {
        for role in stage.involves.iter().filter(|role| !roles.contains(role)) {
            let message = format!(
                "stage {:?} involves {role:?}, which is no role of the playbook",
                stage.name
            );
            let hint = "name it in roles, or take it off the stage";
            fields.mistake("roles", MistakeCode::UnknownReference, message, hint);
        }
    }
}

fn limits(fields: Option<Fields<'_>>) -> Limits {
    let mut limits = Limits {
        max_active_tasks: None,
        max_active_tasks_per_work_item: None,
        allow_parallel_work_items: true,
    };
    let Some(mut fields) = fields else {
        return limits;
    };
    let any = i64::from(i32::MAX);
    limits.max_active_tasks = fields.number("max_active_tasks", 1..=any);
    limits.max_active_tasks_per_work_item =
        fields.number("max_active_tasks_per_work_item", 1..=any);
    limits.allow_parallel_work_items = fields.flag("allow_parallel_work_items").unwrap_or(true);
    fields.finish();
    limits
}

fn stages(fields: &mut Fields<'_>, kind: Option<PlaybookKind>) -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    for (path, item) in fields.list("stages", 0..=STAGES_MAX) {
        let Some(mut stage) = Fields::of(item, path, fields.mistakes()) else {
            continue;
        };
        let name = stage.required_text("name", 1..=120);
        let goal = if kind == Some(PlaybookKind::Graph) {
            stage.text("goal", 1..=4000)
        } else {
            stage.required_text("goal", 1..=4000)
        };
        let involves = stage.texts("involves", 0..=ROLES_MAX, 1..=120);
        let guidance = stage.text("guidance", 0..=8000).map(str::to_owned);
        if let Some(name) = name {
            if stages.iter().any(|earlier| earlier.name == name) {
                let message = format!("there are two stages {name:?}");
                let hint = "give each a name of its own";
                stage.mistake("name", MistakeCode::Duplicate, message, hint);
            }
            stages.push(Stage {
                name: name.to_owned(),
                goal: goal.unwrap_or_default().to_owned(),
                involves,
                guidance,
            });
        }
        stage.finish();
    }
    stages
}

fn board(fields: &mut Fields<'_>) -> Board {
    let Some(mut board) = fields.object("board") else {
        return Board::usual();
    };
    let mut columns: Vec<Column> = Vec::new();
    board.required("columns");
    for (path, item) in board.list("columns", 1..=COLUMNS_MAX) {
        let Some(mut column) = Fields::of(item, path, board.mistakes()) else {
            continue;
        };
        let id = column.required_text("id", 1..=120);
        let label = column.required_text("label", 1..=120);
        let description = column.text("description", 0..=4000).map(str::to_owned);
        let is_blocked = column.flag("is_blocked").unwrap_or(false);
        let is_terminal = column.flag("is_terminal").unwrap_or(false);
        if let Some(id) = id {
            if columns.iter().any(|earlier| earlier.id == id) {
                let message = format!("there are two columns {id:?}");
                let hint = "give each an id of its own";
                column.mistake("id", MistakeCode::Duplicate, message, hint);
            }
            columns.push(Column {
                id: id.to_owned(),
                label: label.unwrap_or(id).to_owned(),
                description,
                is_blocked,
                is_terminal,
            });
        }
        column.finish();
    }
    only_one(&board, &columns, "is_blocked", |column| column.is_blocked);
    only_one(&board, &columns, "is_terminal", |column| column.is_terminal);
    let named = board.text("entry_column_id", 1..=120);
    let usual = columns.iter().find(|column| column.id == "inbox");
    let entry = match named {
        Some(id) => columns.iter().find(|column| column.id == id),
        None => usual.or(columns.first()),
    };
    if entry.is_none_or(|entry| entry.is_blocked || entry.is_terminal) && !columns.is_empty() {
        let message = "must be a column that is neither blocked nor terminal";
        let hint = "name the column that new work items stand in";
        board.mistake(
            "entry_column_id",
            MistakeCode::UnknownReference,
            message,
            hint,
        );
    }
    let entry_column_id = entry.map(|entry| entry.id.clone()).unwrap_or_default();
    board.finish();
    Board {
        columns,
        entry_column_id,
    }
}

fn only_one(board: &Fields<'_>, columns: &[Column], what: &str, is: fn(&Column) -> bool) {
    if columns.iter().filter(|column| is(column)).count() > 1 {
        let message = format!("more than one column has {what}");
        let hint = "choose one of them";
        board.mistake("columns", MistakeCode::Contradiction, message, hint);
    }
}

impl Board {
    /// The board of a playbook that describes none.
    fn usual() -> Self {
        let column = |id: &str, label: &str| Column {
            id: id.to_owned(),
            label: label.to_owned(),
            description: None,
            is_blocked: id == "blocked",
            is_terminal: id == "done",
        };
        Self {
            columns: vec![
                column("inbox", "Inbox"),
                column("active", "Active"),
                column("blocked", "Blocked"),
                column("done", "Done"),
            ],
            entry_column_id: "inbox".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(definition: Value) -> Result<Definition, Vec<String>> {
        let definition: JsonObject =
            serde_json::from_value(definition).expect("an object is given");
        Definition::parse(&definition, Lifecycle::Planned)
            .map_err(|mistakes| mistakes.into_iter().map(|mistake| mistake.path).collect())
    }

    #[test]
    fn the_example_of_the_contract_can_be_read() {
        let definition = parse(json!({
            "process_instructions": "Review once.", "roles": ["reviewer"],
            "board": {
                "columns": [{"id": "todo", "label": "To do"}, {"id": "done", "label": "Done", "is_terminal": true}],
                "entry_column_id": "todo",
            },
            "stages": [{"name": "review", "goal": "Review it", "involves": ["reviewer"]}],
            "orchestrator": {"max_rework_iterations": 5, "max_active_tasks": 3, "allow_parallel_work_items": false},
            "parameters": [{"slug": "issue_summary", "title": "Issue", "required": true}],
        }))
        .unwrap();
        assert_eq!(definition.board.entry_column_id, "todo");
        assert_eq!(definition.limits.max_active_tasks, Some(3));
        assert!(!definition.limits.allow_parallel_work_items);
        assert!(definition.graph().is_none());
        assert_eq!(parse(json!({})).unwrap().board.columns.len(), 4);
    }

    #[test]
    fn the_playbook_of_the_demo_has_no_mistake() {
        let text = include_str!("../../../examples/workflow/playbook.json");
        let playbook: Value = serde_json::from_str(text).unwrap();
        let definition = parse(playbook["definition"].clone()).unwrap();
        let graph = definition.graph().unwrap();
        assert_eq!(graph.dependants("approve"), ["report"]);
    }

    #[test]
    fn parts_that_contradict_each_other_are_refused() {
        let faults = parse(json!({
            "board": {
                "columns": [
                    {"id": "a", "label": "A", "is_blocked": true}, {"id": "a", "label": "B", "is_blocked": true},
                ],
                "entry_column_id": "a",
            },
            "stages": [{"name": "x", "goal": "g"}, {"name": "x", "goal": "g"}],
            "parameters": [{"slug": "p", "title": "P"}, {"slug": "p", "title": "P"}, {"slug": "-", "title": "P"}],
            "lifecycle": "ongoing",
            "steps": {},
        }))
        .unwrap_err();
        for path in [
            "definition.board.columns[1].id",
            "definition.board.columns",
            "definition.board.entry_column_id",
            "definition.stages[1].name",
            "definition.parameters[1].slug",
            "definition.parameters[2].slug",
            "definition.lifecycle",
            "definition.steps",
        ] {
            assert!(
                faults.iter().any(|fault| fault == path),
                "{path}: {faults:?}"
            );
        }
        assert_eq!(faults.len(), 8, "{faults:?}");
    }

    #[test]
    fn a_graph_reads_its_parameters() {
        let graph = |text: &str| {
            parse(json!({
                "kind": "graph", "parameters": [{"slug": "folder", "title": "Folder"}],
                "limits": {"max_active_tasks": 2},
                "steps": {"list": {"kind": "task", "input": {"x": text}}},
            }))
        };
        let definition = graph("{{ input.folder }}").unwrap();
        assert_eq!(definition.graph().unwrap().steps.len(), 1);
        assert_eq!(definition.limits.max_active_tasks, Some(2));
        assert_eq!(
            graph("{{ input.file }}").unwrap_err(),
            ["definition.steps.list.input.x"]
        );
    }
}

//! `task`: one task of any role and type. Its output is the output of the step.
//!
//! ```json
//! { "kind": "task", "role": "checker", "input": { "path": "{{ input.folder }}" },
//!   "retry_policy": { "max_attempts": 2 }, "timeout_minutes": 5 }
//! ```

use protocol::{JsonObject, MistakeCode, Priority, RetryPolicy, TaskType};

use crate::graph::fields::Fields;
use crate::graph::language::{Read, Template, Tree};
use crate::graph::read::{self, Use};
use crate::graph::types::Type;
use crate::tasks;

/// What a task of a step is like. It is also what a `for_each` makes of every item.
#[derive(Clone, Debug)]
pub struct TaskStep {
    /// Who is to do it: whoever claims with the tag `role:<role>` is able to.
    pub role: Option<String>,
    /// What sort of work it is; `custom` unless given.
    pub task_type: TaskType,
    /// For people; the title of the step unless given.
    pub title: Option<Template>,
    /// For people, longer.
    pub description: Option<Template>,
    /// What it works on: an object with templates.
    pub input: Option<Tree>,
    /// What it should know: an object with templates.
    pub context: Option<Tree>,
    /// The environment it runs in.
    pub environment: Option<JsonObject>,
    /// Settings of its role. `output_schema`, a JSON Schema, is checked against the output.
    pub role_config: JsonObject,
    /// How urgent it is.
    pub priority: Priority,
    /// When a failed attempt is followed by another one.
    pub retry_policy: Option<RetryPolicy>,
    /// How long an attempt may take.
    pub timeout_minutes: Option<i32>,
    /// How often a holder may fall silent over it before it fails.
    pub max_abandons: Option<i32>,
}

impl TaskStep {
    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let role = fields.text("role", 1..=120).map(str::to_owned);
        let task_type = fields.word("type").unwrap_or(TaskType::Custom);
        if task_type == TaskType::Orchestration {
            let message = "a graph has no orchestrator";
            let hint = "choose another type, or a playbook of kind orchestrated";
            fields.mistake("type", MistakeCode::Contradiction, message, hint);
        }
        let title = read::template(fields, "task_title");
        let description = read::template(fields, "description");
        let input = read::object_tree(fields, "input");
        let context = read::object_tree(fields, "context");
        let environment = fields.members("environment").cloned().map(JsonObject::from);
        let mut role_config = fields.members("role_config").cloned().unwrap_or_default();
        if let Some(schema) = read::schema(fields, "output_schema") {
            role_config.insert("output_schema".to_owned(), schema.clone());
        }
        let retry_policy: Option<RetryPolicy> = fields.typed("retry_policy");
        if let Some(policy) = &retry_policy
            && let Err(error) = tasks::check_policy(policy)
        {
            let hint = "the limits of a retry policy are in /openapi.json";
            fields.mistake(
                "retry_policy",
                MistakeCode::OutOfRange,
                error.to_string(),
                hint,
            );
        }
        Some(Self {
            role,
            task_type,
            title,
            description,
            input,
            context,
            environment,
            role_config: role_config.into(),
            priority: fields.word("priority").unwrap_or_default(),
            retry_policy,
            timeout_minutes: fields.number("timeout_minutes", 1..=240),
            max_abandons: fields.number("max_abandons", 0..=100),
        })
    }

    /// Every path that its templates may read.
    pub fn reads(&self) -> Vec<Read> {
        let mut reads = Vec::new();
        self.each_use("", &mut |found| reads.extend(found.reads));
        reads
    }

    pub(super) fn each_use(&self, path: &str, visit: &mut dyn FnMut(Use<'_>)) {
        for (name, template) in [
            ("task_title", &self.title),
            ("description", &self.description),
        ] {
            if let Some(template) = template {
                visit(Use::text(format!("{path}.{name}"), template));
            }
        }
        for (name, tree) in [("input", &self.input), ("context", &self.context)] {
            if let Some(tree) = tree {
                tree.each(&format!("{path}.{name}"), &mut |path, template| {
                    visit(Use::any(path.to_owned(), template));
                });
            }
        }
    }

    pub(super) fn output(&self) -> Type {
        let settings = self.role_config.members();
        settings
            .get("output_schema")
            .map_or(Type::Any, Type::of_schema)
    }
}

//! Looks for what cannot work in a graph that can be read: names that lead nowhere, steps that wait for
//! one another, values of the wrong type.

use std::collections::BTreeMap;

use protocol::MistakeCode;

use super::Graph;
use super::fields::{Mistakes, suggestion};
use super::language::{Known, Wrong};
use super::order;
use super::read::Use;
use super::step::{Step, never_holds};
use super::types::Type;

/// Notes every mistake of a graph.
pub(super) fn check(
    graph: &Graph,
    steps_path: &str,
    output_path: &str,
    stages: &[String],
    input: &Type,
    mistakes: &Mistakes,
) {
    let check = Check {
        graph,
        input,
        mistakes,
    };
    for step in graph.steps.values() {
        let path = format!("{steps_path}.{}", step.id);
        check.names(step, &path, stages);
        step.each_use(&path, &mut |found| check.expressions(&found));
    }
    if let Some(output) = &graph.output {
        output.each(output_path, &mut |path, template| {
            check.expressions(&Use::any(path.to_owned(), template));
        });
    }
    check.order(steps_path);
}

struct Check<'c> {
    graph: &'c Graph,
    input: &'c Type,
    mistakes: &'c Mistakes,
}

impl Check<'_> {
    /// The steps and the stage that a step names outside its templates.
    fn names(&self, step: &Step, path: &str, stages: &[String]) {
        for (place, need) in step.listed.iter().enumerate() {
            if !self.graph.steps.contains_key(need) {
                let path = format!("{path}.needs[{place}]");
                let (message, hint) = self.no_such_step(need);
                self.mistakes
                    .note(path, MistakeCode::UnknownReference, message, hint);
            }
        }
        if let Some(stage) = &step.stage
            && !stages.contains(stage)
        {
            let known = stages.iter().map(String::as_str);
            let hint = suggestion(stage, known)
                .unwrap_or_else(|| "add it to stages, or leave it out here".to_owned());
            let message = format!("there is no stage {stage:?}");
            let path = format!("{path}.stage");
            self.mistakes
                .note(path, MistakeCode::UnknownReference, message, hint);
        }
        if step.when.as_ref().is_some_and(never_holds) {
            let message = format!("step {:?} is always skipped", step.id);
            let hint = "write a condition that can hold, or take the step out";
            let path = format!("{path}.when");
            self.mistakes
                .note(path, MistakeCode::Unreachable, message, hint);
        }
    }

    fn no_such_step(&self, name: &str) -> (String, String) {
        let known = self.graph.steps.keys().map(String::as_str);
        let hint =
            suggestion(name, known).unwrap_or_else(|| "add it, or name another one".to_owned());
        (format!("there is no step {name:?}"), hint)
    }

    /// What is sure to fail in a template or condition.
    fn expressions(&self, found: &Use<'_>) {
        let known = Names {
            check: self,
            item: found.item.as_ref(),
        };
        let is_sole = found.expressions.len() == 1;
        for (expression, begins) in &found.expressions {
            let mut wrong = Vec::new();
            let is_worth = expression.infer(&known, &mut wrong);
            for wrong in wrong {
                let (code, fault) = match wrong {
                    Wrong::Reference(fault) => (MistakeCode::UnknownReference, fault),
                    Wrong::Type(fault) => (MistakeCode::WrongType, fault),
                };
                let place = begins + fault.at + 1;
                let hint = format!(
                    "see character {place}; possible are input, steps.<name>, workflow, and within a for_each item and index"
                );
                self.mistakes
                    .note(found.path.as_str(), code, fault.message, hint);
            }
            let must_fit = matches!(found.wanted, Type::Flag | Type::List(_)) && is_sole;
            if must_fit && !is_worth.may_be(&found.wanted) {
                let message = format!("must be {}, is {}", found.wanted.name(), is_worth.name());
                let hint = "compare it with something, or name another value";
                self.mistakes
                    .note(found.path.as_str(), MistakeCode::WrongType, message, hint);
            }
        }
    }

    /// Steps that wait for one another, and those that wait for them.
    fn order(&self, steps_path: &str) {
        let steps = self.graph.steps.iter();
        let needs: BTreeMap<&str, Vec<&str>> = steps
            .map(|(name, step)| {
                let needs = step.needs.iter().map(String::as_str).collect();
                (name.as_str(), needs)
            })
            .collect();
        let blocked = order::blocked(&needs);
        for mut cycle in blocked.cycles {
            let first = cycle[0].clone();
            cycle.push(first.clone());
            let message = format!("these steps wait for one another: {}", cycle.join(" -> "));
            let hint = "take one of the arrows away: a need, or a template that names the step";
            let path = format!("{steps_path}.{first}");
            self.mistakes.note(path, MistakeCode::Cycle, message, hint);
        }
        for (step, need) in blocked.behind {
            let message = format!("step {step:?} can never run, because {need:?} never ends");
            let hint = "break the cycle that it waits for";
            let path = format!("{steps_path}.{step}");
            self.mistakes
                .note(path, MistakeCode::Unreachable, message, hint);
        }
    }
}

/// What the names in one template stand for.
struct Names<'c> {
    check: &'c Check<'c>,
    item: Option<&'c Type>,
}

impl Known for Names<'_> {
    fn root(&self, name: &str) -> Result<Type, String> {
        match (name, self.item) {
            ("input", _) => Ok(self.check.input.clone()),
            ("workflow", _) => Ok(workflow()),
            ("item", Some(item)) => Ok(item.clone()),
            ("index", Some(_)) => Ok(Type::Number),
            ("item" | "index", None) => Err(format!("{name:?} is known within a for_each alone")),
            ("steps", _) => Err("\"steps\" stands alone; name a step behind it".to_owned()),
            _ => {
                let known = ["input", "steps", "workflow", "item", "index"];
                let hint = suggestion(name, known);
                let hint = hint.map_or(String::new(), |hint| format!("; {hint}"));
                Err(format!("there is no {name:?} here{hint}"))
            }
        }
    }

    fn step(&self, name: &str) -> Result<Type, String> {
        let Some(step) = self.check.graph.steps.get(name) else {
            let (message, hint) = self.check.no_such_step(name);
            return Err(format!("{message}; {hint}"));
        };
        Ok(Type::closed(BTreeMap::from([
            ("state".to_owned(), Type::Text),
            ("output".to_owned(), step.body.output()),
            ("error".to_owned(), Type::Any),
        ])))
    }
}

/// What a template knows about the run it is in.
fn workflow() -> Type {
    let text = |name: &str| (name.to_owned(), Type::Text);
    Type::closed(BTreeMap::from([
        text("id"),
        text("name"),
        text("workspace_id"),
        text("playbook_id"),
        ("attempt_number".to_owned(), Type::Number),
    ]))
}

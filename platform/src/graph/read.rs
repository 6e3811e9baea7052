//! Reads templates, trees and steps out of a definition.

use std::collections::BTreeMap;

use protocol::MistakeCode;
use serde_json::Value;

use super::fields::{Fields, wrong_type};
use super::language::{Condition, Expression, Fault, Read, Template, Tree};
use super::step::{Step, is_name};
use super::types::Type;
use super::{STEP_NAME_CHARS_MAX, STEPS_MAX};

/// A template or condition in its place.
pub(super) struct Use<'t> {
    /// Where it is.
    pub(super) path: String,
    /// What it may read.
    pub(super) reads: Vec<Read>,
    /// Its expressions, and at which character of the source each begins.
    pub(super) expressions: Vec<(&'t Expression, usize)>,
    /// What it must be worth.
    pub(super) wanted: Type,
    /// What is known about `item`, where there is one.
    pub(super) item: Option<Type>,
}

impl<'t> Use<'t> {
    /// A template of any value.
    pub(super) fn any(path: String, template: &'t Template) -> Self {
        Self {
            path,
            reads: template.reads(),
            expressions: template.expressions().collect(),
            wanted: Type::Any,
            item: None,
        }
    }

    /// A template that must be worth a text.
    pub(super) fn text(path: String, template: &'t Template) -> Self {
        Self {
            wanted: Type::Text,
            ..Self::any(path, template)
        }
    }

    /// A condition.
    pub(super) fn condition(path: String, condition: &'t Condition) -> Self {
        Self {
            path,
            reads: condition.expression().reads(),
            expressions: vec![(condition.expression(), 0)],
            wanted: Type::Flag,
            item: None,
        }
    }

    /// The same where there is an item.
    pub(super) fn with_item(mut self, item: Type) -> Self {
        self.item = Some(item);
        self
    }
}

/// A template under a name.
pub(super) fn template(fields: &mut Fields<'_>, name: &'static str) -> Option<Template> {
    let value = fields.value(name)?;
    let Some(text) = value.as_str() else {
        wrong_type(fields.mistakes(), fields.at(name), "a text", value);
        return None;
    };
    match Template::parse(text) {
        Ok(template) => Some(template),
        Err(fault) => {
            bad_template(fields, fields.at(name), &fault);
            None
        }
    }
}

/// A value with templates in it under a name.
pub(super) fn tree(fields: &mut Fields<'_>, name: &'static str) -> Option<Tree> {
    let value = fields.value(name)?;
    let path = fields.at(name);
    let tree = Tree::parse(value, &path, &mut |path, fault| {
        bad_template(fields, path, &fault);
    });
    Some(tree)
}

/// An object with templates in it under a name.
pub(super) fn object_tree(fields: &mut Fields<'_>, name: &'static str) -> Option<Tree> {
    fields.members(name)?;
    tree(fields, name)
}

/// A condition under a name: an expression, or true or false itself.
pub(super) fn condition(fields: &mut Fields<'_>, name: &'static str) -> Option<Condition> {
    let value = fields.value(name)?;
    let source = match value {
        Value::Bool(flag) => flag.to_string(),
        Value::String(text) => text.clone(),
        other => {
            wrong_type(fields.mistakes(), fields.at(name), "a condition", other);
            return None;
        }
    };
    match Condition::parse(&source) {
        Ok(condition) => Some(condition),
        Err(fault) => {
            let hint = "write it like: steps.check.output.ok and input.strict == true";
            fields.mistake(name, MistakeCode::BadCondition, fault.to_string(), hint);
            None
        }
    }
}

fn bad_template(fields: &Fields<'_>, path: String, fault: &Fault) {
    let hint = "an expression stands in braces, like {{ steps.fetch.output.url }}; to write two braces themselves: {{ \"{{\" }}";
    let message = fault.to_string();
    fields
        .mistakes()
        .note(path, MistakeCode::BadTemplate, message, hint);
}

/// The steps of a definition, as far as they can be read.
pub(super) fn steps(fields: &mut Fields<'_>) -> BTreeMap<String, Step> {
    let mut steps = BTreeMap::new();
    if fields.required("steps").is_none() {
        return steps;
    }
    let Some(members) = fields.members("steps") else {
        return steps;
    };
    if members.is_empty() || members.len() > STEPS_MAX {
        let message = format!("must have 1 to {STEPS_MAX} steps, has {}", members.len());
        let hint = "a for_each makes many tasks out of one step";
        fields.mistake("steps", MistakeCode::OutOfRange, message, hint);
    }
    let path = fields.at("steps");
    for (name, member) in members.iter().take(STEPS_MAX) {
        let path = format!("{path}.{name}");
        if !is_name(name) {
            let message = format!("{name:?} cannot be the name of a step");
            let hint = format!(
                "letters, digits and underscores, not beginning with a digit, {STEP_NAME_CHARS_MAX} at most"
            );
            fields
                .mistakes()
                .note(path.as_str(), MistakeCode::OutOfRange, message, hint);
        }
        let step = Fields::of(member, path, fields.mistakes());
        if let Some(step) = step.and_then(|fields| Step::read(name, fields)) {
            steps.insert(name.clone(), step);
        }
    }
    steps
}

/// A JSON Schema under a name.
pub fn schema<'a>(fields: &mut Fields<'a>, name: &'static str) -> Option<&'a Value> {
    let value = fields.value(name)?;
    if !value.is_object() && !value.is_boolean() {
        wrong_type(fields.mistakes(), fields.at(name), "a JSON Schema", value);
        return None;
    }
    match jsonschema::validator_for(value) {
        Ok(_) => Some(value),
        Err(error) => {
            let hint = "write it in JSON Schema 2020-12; references lead within the schema only";
            let message = format!("is not a JSON Schema: {error}");
            fields.mistake(name, MistakeCode::BadSchema, message, hint);
            None
        }
    }
}

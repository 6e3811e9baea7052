//! Templates: text, or a whole tree of JSON, with expressions in it.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::evaluate::text_of;
use super::parse::{Expression, Read};
use super::token::Lexer;
use super::{Budget, Fault, Scope};
use crate::graph::fields::type_name;

/// Bytes of one template.
pub const TEMPLATE_BYTES_MAX: usize = 20_000;

/// A text with expressions in it: `Check {{ item.name }}`.
///
/// One that is nothing but an expression has the value of the expression, whatever its type. Any other
/// one is a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    source: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    /// An expression, and the character of the template it begins at.
    Expression(Expression, usize),
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(source: &str) -> Result<Self, Fault> {
        if source.len() > TEMPLATE_BYTES_MAX {
            let message = format!("a template has {TEMPLATE_BYTES_MAX} bytes at most");
            return Err(Fault::new(0, message));
        }
        let mut parts = Vec::new();
        let (mut rest, mut read_chars) = (source, 0);
        while let Some(place) = rest.find("{{") {
            let (text, behind) = rest.split_at(place);
            if !text.is_empty() {
                parts.push(Part::Text(text.to_owned()));
            }
            read_chars += text.chars().count() + 2;
            let mut lexer = Lexer::new(&behind[2..], true);
            let expression =
                Expression::read(&mut lexer).map_err(|fault| fault.within(source, read_chars))?;
            parts.push(Part::Expression(expression, read_chars));
            read_chars += lexer.at();
            rest = lexer.rest();
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self {
            source: source.to_owned(),
            parts,
        })
    }

    /// What was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The expression, when the template is nothing but one.
    pub fn sole_expression(&self) -> Option<&Expression> {
        match self.parts.as_slice() {
            [Part::Expression(expression, _)] => Some(expression),
            _ => None,
        }
    }

    /// The expressions of the template, each with the character it begins at.
    pub fn expressions(&self) -> impl Iterator<Item = (&Expression, usize)> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Expression(expression, begins) => Some((expression, *begins)),
        })
    }

    /// The value of the template.
    ///
    /// # Errors
    /// What is missing or of the wrong type, and where.
    pub fn render(&self, scope: &Scope<'_>, budget: &mut Budget) -> Result<Value, Fault> {
        let fault = |begins: usize| move |fault: Fault| fault.within(&self.source, begins);
        if let [Part::Expression(expression, begins)] = self.parts.as_slice() {
            let value = expression.evaluate(scope, budget).map_err(fault(*begins))?;
            if let Cow::Borrowed(value) = value {
                budget.value(value, 0).map_err(fault(*begins))?;
            }
            return Ok(value.into_owned());
        }
        self.render_text(scope, budget).map(Value::from)
    }

    /// The value of the template as text.
    ///
    /// # Errors
    /// What is missing or of the wrong type, and where.
    pub fn render_text(&self, scope: &Scope<'_>, budget: &mut Budget) -> Result<String, Fault> {
        let mut rendered = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => {
                    budget
                        .bytes(text.len(), 0)
                        .map_err(|fault| fault.within(&self.source, 0))?;
                    rendered.push_str(text);
                }
                Part::Expression(expression, begins) => {
                    let text = expression
                        .evaluate(scope, budget)
                        .and_then(|value| text_of(&value, budget, 0))
                        .map_err(|fault| fault.within(&self.source, *begins))?;
                    rendered.push_str(&text);
                }
            }
        }
        Ok(rendered)
    }

    /// Every path the template may read.
    pub fn reads(&self) -> Vec<Read> {
        let mut reads = Vec::new();
        for part in &self.parts {
            if let Part::Expression(expression, begins) = part {
                reads.extend(expression.reads().into_iter().map(|read| Read {
                    at: read.at + begins,
                    ..read
                }));
            }
        }
        reads
    }
}

/// A value of JSON whose texts are templates.
#[derive(Clone, Debug, PartialEq)]
pub enum Tree {
    /// Nothing to fill in below here.
    Fixed(Value),
    /// A text with expressions.
    Text(Template),
    /// A list with expressions somewhere in it.
    List(Vec<Tree>),
    /// An object with expressions somewhere in it.
    Object(Vec<(String, Tree)>),
}

impl Tree {
    /// Reads every text in a value as a template, and tells of all that cannot be read.
    pub fn parse(value: &Value, path: &str, wrong: &mut dyn FnMut(String, Fault)) -> Self {
        match value {
            Value::String(text) if text.contains("{{") => match Template::parse(text) {
                Ok(template) => Self::Text(template),
                Err(fault) => {
                    wrong(path.to_owned(), fault);
                    Self::Fixed(Value::Null)
                }
            },
            Value::Array(items) => {
                let trees = items.iter().enumerate();
                Self::list(
                    trees
                        .map(|(place, item)| Self::parse(item, &format!("{path}[{place}]"), wrong))
                        .collect(),
                )
            }
            Value::Object(members) => {
                let trees = members.iter();
                Self::object(
                    trees
                        .map(|(name, member)| {
                            let tree = Self::parse(member, &format!("{path}.{name}"), wrong);
                            (name.clone(), tree)
                        })
                        .collect(),
                )
            }
            fixed => Self::Fixed(fixed.clone()),
        }
    }

    fn list(trees: Vec<Self>) -> Self {
        let fixed = |tree: &Self| matches!(tree, Self::Fixed(_));
        if !trees.iter().all(fixed) {
            return Self::List(trees);
        }
        let values = trees.into_iter().filter_map(Self::into_fixed);
        Self::Fixed(values.collect())
    }

    fn object(trees: Vec<(String, Self)>) -> Self {
        let fixed = |(_, tree): &(String, Self)| matches!(tree, Self::Fixed(_));
        if !trees.iter().all(fixed) {
            return Self::Object(trees);
        }
        let members = trees.into_iter();
        let members = members.filter_map(|(name, tree)| Some((name, tree.into_fixed()?)));
        Self::Fixed(Value::Object(members.collect()))
    }

    fn into_fixed(self) -> Option<Value> {
        match self {
            Self::Fixed(value) => Some(value),
            Self::Text(_) | Self::List(_) | Self::Object(_) => None,
        }
    }

    /// The value with everything filled in.
    ///
    /// # Errors
    /// What is missing or of the wrong type, and where.
    pub fn render(&self, scope: &Scope<'_>, budget: &mut Budget) -> Result<Value, Fault> {
        Ok(match self {
            Self::Fixed(value) => {
                budget.value(value, 0)?;
                value.clone()
            }
            Self::Text(template) => template.render(scope, budget)?,
            Self::List(items) => {
                let mut list = Vec::with_capacity(items.len());
                for item in items {
                    list.push(item.render(scope, budget)?);
                }
                list.into()
            }
            Self::Object(members) => {
                let mut object = Map::new();
                for (name, member) in members {
                    budget.bytes(name.len(), 0)?;
                    object.insert(name.clone(), member.render(scope, budget)?);
                }
                object.into()
            }
        })
    }

    /// Every path that a template in it may read.
    pub fn reads(&self) -> Vec<Read> {
        let mut reads = Vec::new();
        self.each("", &mut |_, template| reads.extend(template.reads()));
        reads
    }

    /// Every template in the tree with the path that leads to it.
    pub fn each(&self, path: &str, visit: &mut dyn FnMut(&str, &Template)) {
        match self {
            Self::Fixed(_) => {}
            Self::Text(template) => visit(path, template),
            Self::List(items) => {
                for (place, item) in items.iter().enumerate() {
                    item.each(&format!("{path}[{place}]"), visit);
                }
            }
            Self::Object(members) => {
                for (name, member) in members {
                    member.each(&format!("{path}.{name}"), visit);
                }
            }
        }
    }
}

/// An expression that is true or false.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    source: String,
    expression: Expression,
}

impl Condition {
    /// Reads a condition, with or without braces around it.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(source: &str) -> Result<Self, Fault> {
        let bare = source.trim();
        let inner = bare
            .strip_prefix("{{")
            .and_then(|bare| bare.strip_suffix("}}"))
            .unwrap_or(bare);
        if inner.trim().is_empty() {
            return Err(Fault::new(0, "a condition is missing"));
        }
        Ok(Self {
            source: inner.to_owned(),
            expression: Expression::parse(inner)?,
        })
    }

    /// Whether it holds.
    ///
    /// # Errors
    /// What is missing, or that it is neither true nor false.
    pub fn holds(&self, scope: &Scope<'_>, budget: &mut Budget) -> Result<bool, Fault> {
        let value = self.expression.evaluate(scope, budget);
        let value = value.map_err(|fault| fault.within(&self.source, 0))?;
        value.as_bool().ok_or_else(|| {
            let message = format!("a condition is true or false, not {}", type_name(&value));
            Fault::new(0, message).within(&self.source, 0)
        })
    }

    /// What was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The expression itself.
    pub fn expression(&self) -> &Expression {
        &self.expression
    }
}

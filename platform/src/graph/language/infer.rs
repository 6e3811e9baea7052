//! What an expression is worth as far as that is known before it runs: mistakes that are sure to be ones.

use serde_json::Value;

use super::Fault;
use super::parse::{Expression, Kind, Node, Operator};
use crate::graph::fields::suggestion;
use crate::graph::types::Type;

/// What is known about the names an expression may use.
pub trait Known {
    /// The type of a name that stands alone, or why there is none.
    ///
    /// # Errors
    /// What to tell the author.
    fn root(&self, name: &str) -> Result<Type, String>;

    /// The type of a step's entry, or why there is none.
    ///
    /// # Errors
    /// What to tell the author.
    fn step(&self, name: &str) -> Result<Type, String>;
}

/// What is wrong with an expression before it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// A name leads nowhere.
    Reference(Fault),
    /// A value is of a type that does not fit.
    Type(Fault),
}

impl Expression {
    /// The type of the expression; notes what is sure to fail.
    pub fn infer(&self, known: &dyn Known, wrong: &mut Vec<Wrong>) -> Type {
        Inference { known, wrong }.of(&self.root)
    }
}

struct Inference<'i> {
    known: &'i dyn Known,
    wrong: &'i mut Vec<Wrong>,
}

impl Inference<'_> {
    fn reference(&mut self, at: usize, message: String) -> Type {
        self.wrong.push(Wrong::Reference(Fault::new(at, message)));
        Type::Any
    }

    fn mismatch(&mut self, at: usize, message: String) -> Type {
        self.wrong.push(Wrong::Type(Fault::new(at, message)));
        Type::Any
    }

    /// The type of a part, which must fit what is wanted of it.
    fn wants(&mut self, node: &Node, wanted: &Type) {
        let found = self.of(node);
        if !found.may_be(wanted) {
            let message = format!("{} is wanted, not {}", wanted.name(), found.name());
            self.mismatch(node.at, message);
        }
    }

    fn of(&mut self, node: &Node) -> Type {
        match &node.kind {
            Kind::Literal(value) => type_of(value),
            Kind::Name(name) => match self.known.root(name) {
                Ok(found) => found,
                Err(message) => self.reference(node.at, message),
            },
            Kind::List(items) => {
                for item in items {
                    self.of(item);
                }
                Type::list()
            }
            Kind::Field(inner, name) => self.member(inner, name, node.at),
            Kind::Index(inner, index) => self.item(inner, index, node.at),
            Kind::Filter(inner, filter, arguments) => {
                let is_default = filter.is_default();
                let inner = self.of(inner);
                let arguments: Vec<Type> = arguments.iter().map(|item| self.of(item)).collect();
                if is_default {
                    // Either of the two.
                    return match arguments.first() {
                        Some(fallback) if *fallback == inner => inner,
                        _ => Type::Any,
                    };
                }
                let (takes, gives) = filter.types(&inner);
                if !takes.iter().any(|wanted| inner.may_be(wanted)) {
                    let wanted: Vec<_> = takes.iter().map(Type::name).collect();
                    let message = format!(
                        "`{}` takes {}, not {}",
                        filter.name,
                        wanted.join(" or "),
                        inner.name()
                    );
                    self.mismatch(node.at, message);
                }
                gives
            }
            Kind::Not(inner) => {
                self.wants(inner, &Type::Flag);
                Type::Flag
            }
            Kind::Negate(inner) => {
                self.wants(inner, &Type::Number);
                Type::Number
            }
            Kind::And(left, right) | Kind::Or(left, right) => {
                self.wants(left, &Type::Flag);
                self.wants(right, &Type::Flag);
                Type::Flag
            }
            Kind::Binary(operator, left, right) => self.binary(*operator, left, right, node.at),
            Kind::Choice {
                condition,
                then,
                otherwise,
            } => {
                self.wants(condition, &Type::Flag);
                let (then, otherwise) = (self.of(then), self.of(otherwise));
                if then == otherwise { then } else { Type::Any }
            }
        }
    }

    fn member(&mut self, inner: &Node, name: &str, at: usize) -> Type {
        if let Kind::Name(steps) = &inner.kind
            && steps == "steps"
        {
            return match self.known.step(name) {
                Ok(found) => found,
                Err(message) => self.reference(at, message),
            };
        }
        match self.of(inner) {
            Type::Object { members, is_closed } => match members.get(name) {
                Some(member) => member.clone(),
                None if is_closed => {
                    let known = members.keys().map(String::as_str);
                    let hint = suggestion(name, known.clone()).unwrap_or_else(|| {
                        format!("there are {}", known.collect::<Vec<_>>().join(", "))
                    });
                    self.reference(at, format!("there is no {name:?} here; {hint}"))
                }
                None => Type::Any,
            },
            Type::Any => Type::Any,
            other => {
                let message = format!("{name:?} is looked for in {}", other.name());
                self.mismatch(at, message)
            }
        }
    }

    fn item(&mut self, inner: &Node, index: &Node, at: usize) -> Type {
        if let Kind::Literal(Value::String(name)) = &index.kind {
            return self.member(inner, name, at);
        }
        let place = self.of(index);
        if let Kind::Name(steps) = &inner.kind
            && steps == "steps"
        {
            let message = "steps are named as they are, so that it is known which one is needed";
            return self.reference(at, message.to_owned());
        }
        match self.of(inner) {
            Type::List(item) if place.may_be(&Type::Number) => *item,
            Type::Object { .. } if place.may_be(&Type::Text) => Type::Any,
            Type::Any => Type::Any,
            other => {
                let message = format!("{} cannot be looked up in {}", place.name(), other.name());
                self.mismatch(at, message)
            }
        }
    }

    fn binary(&mut self, operator: Operator, left: &Node, right: &Node, at: usize) -> Type {
        match operator {
            Operator::Equal | Operator::Unequal | Operator::In | Operator::NotIn => {
                self.of(left);
                self.of(right);
                Type::Flag
            }
            Operator::Less | Operator::AtMost | Operator::Greater | Operator::AtLeast => {
                let (left, right) = (self.of(left), self.of(right));
                let has_order = |of: &Type| matches!(of, Type::Any | Type::Number | Type::Text);
                if !has_order(&left) || !has_order(&right) || !left.may_be(&right) {
                    let message = format!("{} and {} have no order", left.name(), right.name());
                    self.mismatch(at, message);
                }
                Type::Flag
            }
            Operator::Add
            | Operator::Subtract
            | Operator::Multiply
            | Operator::Divide
            | Operator::Remainder => {
                self.wants(left, &Type::Number);
                self.wants(right, &Type::Number);
                Type::Number
            }
        }
    }
}

fn type_of(value: &Value) -> Type {
    match value {
        Value::Null => Type::Any,
        Value::Bool(_) => Type::Flag,
        Value::Number(_) => Type::Number,
        Value::String(_) => Type::Text,
        Value::Array(_) => Type::list(),
        Value::Object(_) => Type::Object {
            members: std::collections::BTreeMap::new(),
            is_closed: false,
        },
    }
}

//! What an expression is worth in a scope.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::filters::Call;
use super::parse::{Expression, Kind, Node, Operator};
use super::{Budget, Fault, Scope};
use crate::graph::fields::{suggestion, type_name};

/// Why there is no value: a path may lead nowhere, which `default` forgives; nothing else is forgiven.
enum Lack {
    Nowhere(Fault),
    Wrong(Fault),
}

impl From<Fault> for Lack {
    fn from(fault: Fault) -> Self {
        Self::Wrong(fault)
    }
}

impl From<Lack> for Fault {
    fn from(lack: Lack) -> Self {
        match lack {
            Lack::Nowhere(fault) | Lack::Wrong(fault) => fault,
        }
    }
}

impl Expression {
    /// The value of the expression.
    ///
    /// # Errors
    /// What is missing or of the wrong type, and where.
    pub fn evaluate<'v>(
        &'v self,
        scope: &Scope<'v>,
        budget: &mut Budget,
    ) -> Result<Cow<'v, Value>, Fault> {
        Ok(value(&self.root, scope, budget)?)
    }
}

fn value<'v>(
    node: &'v Node,
    scope: &Scope<'v>,
    budget: &mut Budget,
) -> Result<Cow<'v, Value>, Lack> {
    budget.work(1, node.at)?;
    Ok(match &node.kind {
        Kind::Literal(literal) => Cow::Borrowed(literal),
        Kind::Name(name) => root(name, node.at, scope)?,
        Kind::Field(inner, name) => {
            if let Kind::Name(steps) = &inner.kind
                && steps == "steps"
            {
                return Ok(Cow::Borrowed(step(name, node.at, scope)?));
            }
            member(value(inner, scope, budget)?, name, node.at)?
        }
        Kind::Index(inner, index) => {
            let index = value(index, scope, budget)?;
            if let (Kind::Name(steps), Value::String(name)) = (&inner.kind, index.as_ref())
                && steps == "steps"
            {
                return Ok(Cow::Borrowed(step(name, node.at, scope)?));
            }
            item(value(inner, scope, budget)?, &index, node.at)?
        }
        Kind::List(items) => {
            let mut list = Vec::with_capacity(items.len());
            for item in items {
                let item = value(item, scope, budget)?;
                budget.value(&item, node.at)?;
                list.push(item.into_owned());
            }
            Cow::Owned(list.into())
        }
        Kind::Filter(inner, filter, arguments) => {
            let inner = value(inner, scope, budget);
            if filter.is_default() {
                return match inner {
                    Ok(found) if !found.is_null() => Ok(found),
                    Ok(_) | Err(Lack::Nowhere(_)) => value(&arguments[0], scope, budget),
                    Err(wrong) => Err(wrong),
                };
            }
            let mut given = Vec::with_capacity(arguments.len());
            for argument in arguments {
                let argument = value(argument, scope, budget)?;
                budget.value(&argument, node.at)?;
                given.push(argument.into_owned());
            }
            let inner = inner?;
            let call = Call {
                value: &inner,
                arguments: &given,
                filter,
                at: node.at,
            };
            Cow::Owned(filter.apply(&call, budget)?)
        }
        Kind::Not(inner) => Cow::Owned((!truth(inner, scope, budget)?).into()),
        Kind::Negate(inner) => {
            let zero = Value::from(0);
            let inner = value(inner, scope, budget)?;
            Cow::Owned(arithmetic(Operator::Subtract, &zero, &inner, node.at)?)
        }
        Kind::And(left, right) => {
            Cow::Owned((truth(left, scope, budget)? && truth(right, scope, budget)?).into())
        }
        Kind::Or(left, right) => {
            Cow::Owned((truth(left, scope, budget)? || truth(right, scope, budget)?).into())
        }
        Kind::Binary(operator, left, right) => {
            let (left, right) = (value(left, scope, budget)?, value(right, scope, budget)?);
            Cow::Owned(binary(*operator, &left, &right, budget, node.at)?)
        }
        Kind::Choice {
            condition,
            then,
            otherwise,
        } => {
            let chosen = if truth(condition, scope, budget)? {
                then
            } else {
                otherwise
            };
            value(chosen, scope, budget)?
        }
    })
}

/// A name that stands alone.
fn root<'v>(name: &str, at: usize, scope: &Scope<'v>) -> Result<Cow<'v, Value>, Fault> {
    match (name, scope.item) {
        ("input", _) => Ok(Cow::Borrowed(scope.input)),
        ("workflow", _) => Ok(Cow::Borrowed(scope.workflow)),
        ("item", Some((item, _))) => Ok(Cow::Borrowed(item)),
        ("index", Some((_, index))) => Ok(Cow::Owned(index.into())),
        ("steps", _) => Err(Fault::new(
            at,
            "`steps` stands alone; name a step behind it",
        )),
        _ => Err(Fault::new(at, format!("there is no `{name}` here"))),
    }
}

fn step<'v>(name: &str, at: usize, scope: &Scope<'v>) -> Result<&'v Value, Lack> {
    scope.steps.get(name).ok_or_else(|| {
        let message = format!("step {name:?} has not ended, or there is no such step");
        Lack::Nowhere(Fault::new(at, message))
    })
}

/// A member of an object. What is looked up in null leads nowhere, like what is not there.
fn member<'v>(of: Cow<'v, Value>, name: &str, at: usize) -> Result<Cow<'v, Value>, Lack> {
    let found = match of {
        Cow::Borrowed(Value::Object(members)) => members.get(name).map(Cow::Borrowed),
        Cow::Owned(Value::Object(ref members)) => members.get(name).cloned().map(Cow::Owned),
        _ if of.is_null() => {
            let message = format!("there is no {name:?}, because what it is looked for in is null");
            return Err(Lack::Nowhere(Fault::new(at, message)));
        }
        _ => {
            let message = format!("{name:?} is looked for in {}", type_name(&of));
            return Err(Lack::Wrong(Fault::new(at, message)));
        }
    };
    found.ok_or_else(|| {
        let known = of
            .as_object()
            .into_iter()
            .flat_map(|members| members.keys());
        let hint = suggestion(name, known.map(String::as_str));
        let message = format!("there is no {name:?} here");
        let message = hint.map_or(message.clone(), |hint| format!("{message}; {hint}"));
        Lack::Nowhere(Fault::new(at, message))
    })
}

fn item<'v>(of: Cow<'v, Value>, index: &Value, at: usize) -> Result<Cow<'v, Value>, Lack> {
    if let Value::String(name) = index {
        return member(of, name, at);
    }
    let Value::Array(items) = of.as_ref() else {
        if of.is_null() {
            let message = "there is no such item, because the list is null";
            return Err(Lack::Nowhere(Fault::new(at, message)));
        }
        let message = format!("an item is looked for in {}", type_name(&of));
        return Err(Lack::Wrong(Fault::new(at, message)));
    };
    let Some(wanted) = index.as_i64() else {
        let message = format!(
            "an item is named by a whole number, not by {}",
            type_name(index)
        );
        return Err(Lack::Wrong(Fault::new(at, message)));
    };
    // Negative places count from the end.
    let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let place = if wanted < 0 {
        wanted.saturating_add(length)
    } else {
        wanted
    };
    let place = usize::try_from(place)
        .ok()
        .filter(|place| *place < items.len());
    let Some(place) = place else {
        let message = format!("there is no item {wanted} in a list of {length}");
        return Err(Lack::Nowhere(Fault::new(at, message)));
    };
    Ok(match of {
        Cow::Borrowed(Value::Array(items)) => Cow::Borrowed(&items[place]),
        _ => Cow::Owned(of[place].clone()),
    })
}

fn truth<'v>(node: &'v Node, scope: &Scope<'v>, budget: &mut Budget) -> Result<bool, Lack> {
    let found = value(node, scope, budget)?;
    found.as_bool().ok_or_else(|| {
        let message = format!("true or false is wanted, not {}", type_name(&found));
        Lack::Wrong(Fault::new(node.at, message))
    })
}

fn binary(
    operator: Operator,
    left: &Value,
    right: &Value,
    budget: &mut Budget,
    at: usize,
) -> Result<Value, Fault> {
    let order = || compare(left, right, at);
    Ok(match operator {
        Operator::Equal => equal(left, right, budget, at)?.into(),
        Operator::Unequal => (!equal(left, right, budget, at)?).into(),
        Operator::Less => (order()? == Ordering::Less).into(),
        Operator::AtMost => (order()? != Ordering::Greater).into(),
        Operator::Greater => (order()? == Ordering::Greater).into(),
        Operator::AtLeast => (order()? != Ordering::Less).into(),
        Operator::In => contains(right, left, budget, at)?.into(),
        Operator::NotIn => (!contains(right, left, budget, at)?).into(),
        Operator::Add
        | Operator::Subtract
        | Operator::Multiply
        | Operator::Divide
        | Operator::Remainder => arithmetic(operator, left, right, at)?,
    })
}

/// Whether two values mean the same. Numbers are equal by what they are, not by how they are written.
pub(super) fn equal(
    left: &Value,
    right: &Value,
    budget: &mut Budget,
    at: usize,
) -> Result<bool, Fault> {
    budget.work(1, at)?;
    Ok(match (left, right) {
        (Value::Number(_), Value::Number(_)) => compare(left, right, at)? == Ordering::Equal,
        (Value::String(left), Value::String(right)) => {
            budget.work(left.len().min(right.len()) / 16, at)?;
            left == right
        }
        (Value::Array(left), Value::Array(right)) => {
            if left.len() != right.len() {
                return Ok(false);
            }
            for (left, right) in left.iter().zip(right) {
                if !equal(left, right, budget, at)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Object(left), Value::Object(right)) => {
            if left.len() != right.len() {
                return Ok(false);
            }
            for (name, left) in left {
                let Some(right) = right.get(name) else {
                    return Ok(false);
                };
                if !equal(left, right, budget, at)? {
                    return Ok(false);
                }
            }
            true
        }
        (left, right) => left == right,
    })
}

/// The order of two numbers or two texts. Nothing else has one.
pub(super) fn compare(left: &Value, right: &Value, at: usize) -> Result<Ordering, Fault> {
    let no_order = || {
        let message = format!(
            "{} and {} have no order; only two numbers or two texts have",
            type_name(left),
            type_name(right)
        );
        Fault::new(at, message)
    };
    match (left, right) {
        (Value::String(left), Value::String(right)) => Ok(left.cmp(right)),
        (Value::Number(left), Value::Number(right)) => {
            let floats = (left.as_f64(), right.as_f64());
            match (whole(left), whole(right), floats) {
                (Some(left), Some(right), _) => Ok(left.cmp(&right)),
                (Some(left), None, (_, Some(right))) => Ok(exactly(left, right)),
                (None, Some(right), (Some(left), _)) => Ok(exactly(right, left).reverse()),
                (_, _, (Some(left), Some(right))) => left.partial_cmp(&right).ok_or_else(no_order),
                _ => Err(no_order()),
            }
        }
        _ => Err(no_order()),
    }
}

/// The order of a whole number and another one, without rounding: sorting needs an order without holes.
fn exactly(whole: i128, float: f64) -> Ordering {
    /// Beyond it, and well within `i128`, there are no whole numbers of ours.
    const FAR: f64 = 1e30;
    if float.abs() >= FAR {
        return if float > 0.0 {
            Ordering::Less
        } else {
            Ordering::Greater
        };
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is whole, and within the range"
    )]
    let below = float.floor() as i128;
    match whole.cmp(&below) {
        Ordering::Equal if float.fract() != 0.0 => Ordering::Less,
        order => order,
    }
}

fn whole(number: &Number) -> Option<i128> {
    let signed = number.as_i64().map(i128::from);
    signed.or_else(|| number.as_u64().map(i128::from))
}

fn contains(holder: &Value, wanted: &Value, budget: &mut Budget, at: usize) -> Result<bool, Fault> {
    match (holder, wanted) {
        (Value::Array(items), _) => {
            for item in items {
                if equal(item, wanted, budget, at)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        (Value::Object(members), Value::String(name)) => Ok(members.contains_key(name)),
        (Value::String(text), Value::String(part)) => {
            budget.work(text.len(), at)?;
            Ok(text.contains(part.as_str()))
        }
        (holder, wanted) => {
            let message = format!(
                "`in` looks for an item in a list, a name in an object or a text in a text, not for {} in {}",
                type_name(wanted),
                type_name(holder)
            );
            Err(Fault::new(at, message))
        }
    }
}

/// Adds up two numbers.
pub(super) fn number_sum(left: &Value, right: &Value, at: usize) -> Result<Value, Fault> {
    arithmetic(Operator::Add, left, right, at)
}

fn arithmetic(operator: Operator, left: &Value, right: &Value, at: usize) -> Result<Value, Fault> {
    let (Value::Number(first), Value::Number(second)) = (left, right) else {
        let wrong = if left.is_number() { right } else { left };
        let message = format!("numbers are wanted here, not {}", type_name(wrong));
        return Err(Fault::new(at, message));
    };
    let is_zero = second.as_f64() == Some(0.0);
    if is_zero && matches!(operator, Operator::Divide | Operator::Remainder) {
        return Err(Fault::new(at, "nothing can be divided by zero"));
    }
    if let (Some(first), Some(second)) = (whole(first), whole(second)) {
        let exact = match operator {
            Operator::Add => first.checked_add(second),
            Operator::Subtract => first.checked_sub(second),
            Operator::Multiply => first.checked_mul(second),
            Operator::Remainder => first.checked_rem_euclid(second),
            // A division without remainder stays whole.
            Operator::Divide if first % second == 0 => Some(first / second),
            _ => None,
        };
        if let Some(exact) = exact {
            let stored = i64::try_from(exact).map(Value::from);
            return stored.map_err(|_| Fault::new(at, "the result is too large a number"));
        }
    }
    let float = |number: &Number| number.as_f64().unwrap_or(f64::NAN);
    let (first, second) = (float(first), float(second));
    let result = match operator {
        Operator::Add => first + second,
        Operator::Subtract => first - second,
        Operator::Multiply => first * second,
        Operator::Divide => first / second,
        _ => first.rem_euclid(second),
    };
    let number = Number::from_f64(result);
    number
        .map(Value::Number)
        .ok_or_else(|| Fault::new(at, "the result is too large a number"))
}

/// A value as it stands within a text.
pub(super) fn text_of(value: &Value, budget: &mut Budget, at: usize) -> Result<String, Fault> {
    if value.is_null() {
        let message = "null cannot stand in a text; `| default(\"\")` gives it a meaning";
        return Err(Fault::new(at, message));
    }
    budget.value(value, at)?;
    Ok(match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    })
}

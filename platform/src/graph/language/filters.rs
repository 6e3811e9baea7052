//! Filters: `value | name(arguments)`.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::evaluate::{compare, equal, number_sum, text_of};
use super::{Budget, Fault};
use crate::graph::fields::{suggestion, type_name};
use crate::graph::types::Type;

/// A filter: its name, what it does, and the number of its arguments.
#[derive(Debug)]
pub struct Filter {
    /// How it is called.
    pub name: &'static str,
    /// How many arguments it takes.
    pub arguments: RangeInclusive<usize>,
    /// An example, and what it is for.
    pub usage: &'static str,
    apply: Apply,
}

#[derive(Debug)]
enum Apply {
    /// `default`, which the evaluation itself knows: its value need not be there.
    Default,
    /// Takes what it is given apart; may be expensive in proportion to it.
    Of(fn(&Call<'_>, &mut Budget) -> Result<Value, Fault>),
}

/// One use of a filter.
pub(super) struct Call<'c> {
    pub(super) value: &'c Value,
    pub(super) arguments: &'c [Value],
    pub(super) filter: &'static Filter,
    pub(super) at: usize,
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Filter {
    /// Whether its value need not be there.
    pub(super) fn is_default(&self) -> bool {
        matches!(self.apply, Apply::Default)
    }

    /// How many arguments it takes, in words.
    pub(super) fn arguments_text(&self) -> String {
        let (least, most) = (self.arguments.start(), self.arguments.end());
        if least == most {
            least.to_string()
        } else {
            format!("{least} to {most}")
        }
    }

    /// What it takes, and what comes out of that.
    pub(super) fn types(&self, of: &Type) -> (Vec<Type>, Type) {
        let object = || Type::Object {
            members: std::collections::BTreeMap::new(),
            is_closed: false,
        };
        let item = || match of {
            Type::List(item) => (**item).clone(),
            _ => Type::Any,
        };
        let same_list = || Type::List(Box::new(item()));
        match self.name {
            "length" => (vec![Type::Text, Type::list(), object()], Type::Number),
            "first" | "last" => (vec![Type::list()], item()),
            "where" | "sort" | "unique" => (vec![Type::list()], same_list()),
            "map" | "flatten" => (vec![Type::list()], Type::list()),
            "sum" => (vec![Type::list()], Type::Number),
            "join" => (vec![Type::list()], Type::Text),
            "split" => (vec![Type::Text], Type::List(Box::new(Type::Text))),
            "keys" => (vec![object()], Type::List(Box::new(Type::Text))),
            "values" => (vec![object()], Type::list()),
            "lower" | "upper" | "trim" => (vec![Type::Text], Type::Text),
            "number" => (vec![Type::Text, Type::Number], Type::Number),
            "text" | "json" => (vec![Type::Any], Type::Text),
            _ => (vec![Type::Any], Type::Any),
        }
    }

    pub(super) fn apply(&self, call: &Call<'_>, budget: &mut Budget) -> Result<Value, Fault> {
        match self.apply {
            Apply::Default => Ok(call.value.clone()),
            Apply::Of(filter) => filter(call, budget),
        }
    }
}

/// Every filter there is.
pub static FILTERS: &[Filter] = &[
    Filter {
        name: "default",
        arguments: 1..=1,
        usage: "`path | default(value)`: the value when the path leads nowhere or to null",
        apply: Apply::Default,
    },
    Filter {
        name: "length",
        arguments: 0..=0,
        usage: "`value | length`: characters of a text, items of a list, members of an object",
        apply: Apply::Of(length),
    },
    Filter {
        name: "first",
        arguments: 0..=0,
        usage: "`list | first`: its first item; an empty list has none",
        apply: Apply::Of(|call, budget| end_of(call, budget, <[Value]>::first)),
    },
    Filter {
        name: "last",
        arguments: 0..=0,
        usage: "`list | last`: its last item; an empty list has none",
        apply: Apply::Of(|call, budget| end_of(call, budget, <[Value]>::last)),
    },
    Filter {
        name: "map",
        arguments: 1..=1,
        usage: "`list | map(\"name\")`: that field of every item",
        apply: Apply::Of(map),
    },
    Filter {
        name: "where",
        arguments: 1..=2,
        usage: "`list | where(\"name\", value)`: the items whose field is the value, or is true when no value is given",
        apply: Apply::Of(only_where),
    },
    Filter {
        name: "flatten",
        arguments: 0..=0,
        usage: "`list | flatten`: the items of its lists in one list; null is left out",
        apply: Apply::Of(flatten),
    },
    Filter {
        name: "sort",
        arguments: 0..=1,
        usage: "`list | sort` or `list | sort(\"name\")`: ordered by the items, or by a field of theirs",
        apply: Apply::Of(sort),
    },
    Filter {
        name: "unique",
        arguments: 0..=0,
        usage: "`list | unique`: every item once",
        apply: Apply::Of(unique),
    },
    Filter {
        name: "sum",
        arguments: 0..=0,
        usage: "`numbers | sum`: all added up",
        apply: Apply::Of(sum),
    },
    Filter {
        name: "join",
        arguments: 0..=1,
        usage: "`list | join(\", \")`: its items as one text",
        apply: Apply::Of(join),
    },
    Filter {
        name: "split",
        arguments: 1..=1,
        usage: "`text | split(\",\")`: the parts between, as a list",
        apply: Apply::Of(split),
    },
    Filter {
        name: "keys",
        arguments: 0..=0,
        usage: "`object | keys`: the names of its members",
        apply: Apply::Of(keys),
    },
    Filter {
        name: "values",
        arguments: 0..=0,
        usage: "`object | values`: its members without their names",
        apply: Apply::Of(values),
    },
    Filter {
        name: "lower",
        arguments: 0..=0,
        usage: "`text | lower`: in small letters",
        apply: Apply::Of(|call, budget| text(call, budget, str::to_lowercase)),
    },
    Filter {
        name: "upper",
        arguments: 0..=0,
        usage: "`text | upper`: in capital letters",
        apply: Apply::Of(|call, budget| text(call, budget, str::to_uppercase)),
    },
    Filter {
        name: "trim",
        arguments: 0..=0,
        usage: "`text | trim`: without blanks at its ends",
        apply: Apply::Of(|call, budget| text(call, budget, |text| text.trim().to_owned())),
    },
    Filter {
        name: "text",
        arguments: 0..=0,
        usage: "`value | text`: as a text; a list or an object as JSON",
        apply: Apply::Of(|call, budget| Ok(text_of(call.value, budget, call.at)?.into())),
    },
    Filter {
        name: "json",
        arguments: 0..=0,
        usage: "`value | json`: as JSON in a text",
        apply: Apply::Of(json),
    },
    Filter {
        name: "number",
        arguments: 0..=0,
        usage: "`text | number`: the number it spells",
        apply: Apply::Of(number),
    },
];

/// The filter of a name, or what to say when there is none.
pub(super) fn named(name: &str) -> Result<&'static Filter, String> {
    if let Some(filter) = FILTERS.iter().find(|filter| filter.name == name) {
        return Ok(filter);
    }
    let known = FILTERS.iter().map(|filter| filter.name);
    let all = || format!("there are {}", known.clone().collect::<Vec<_>>().join(", "));
    let hint = suggestion(name, known.clone()).unwrap_or_else(all);
    Err(format!("there is no filter `{name}`; {hint}"))
}

impl<'c> Call<'c> {
    fn fault(&self, wanted: &str, found: &Value) -> Fault {
        let name = self.filter.name;
        Fault::new(
            self.at,
            format!("`{name}` takes {wanted}, not {}", type_name(found)),
        )
    }

    fn list(&self, budget: &mut Budget) -> Result<&'c [Value], Fault> {
        let Value::Array(items) = self.value else {
            return Err(self.fault("a list", self.value));
        };
        budget.work(items.len(), self.at)?;
        Ok(items)
    }

    fn text(&self, budget: &mut Budget) -> Result<&'c str, Fault> {
        let Value::String(text) = self.value else {
            return Err(self.fault("a text", self.value));
        };
        budget.work(text.len() / 16, self.at)?;
        Ok(text)
    }

    fn object(&self, budget: &mut Budget) -> Result<&'c Map<String, Value>, Fault> {
        let Value::Object(members) = self.value else {
            return Err(self.fault("an object", self.value));
        };
        budget.work(members.len(), self.at)?;
        Ok(members)
    }

    /// A text that was given as an argument.
    fn name(&self, place: usize) -> Result<&'c str, Fault> {
        match &self.arguments[place] {
            Value::String(name) => Ok(name),
            other => Err(self.fault("a text in its brackets", other)),
        }
    }

    /// A field of an item of the list.
    fn field<'v>(&self, item: &'v Value, name: &str, place: usize) -> Result<&'v Value, Fault> {
        item.get(name).ok_or_else(|| {
            let message = format!("item {place} of the list has no field {name:?}");
            Fault::new(self.at, message)
        })
    }

    fn build<'v>(
        &self,
        items: impl Iterator<Item = &'v Value>,
        budget: &mut Budget,
    ) -> Result<Value, Fault> {
        let mut built = Vec::new();
        for item in items {
            budget.value(item, self.at)?;
            built.push(item.clone());
        }
        Ok(built.into())
    }
}

fn length(call: &Call<'_>, budget: &mut Budget) -> Result<Value, Fault> {
    Ok(match call.value {
        Value::String(_) => call.text(budget)?.chars().count().into(),
        Value::Array(items) => items.len().into(),
        Value::Object(members) => members.len().into(),
        other => return Err(call.fault("a text, a list or an object", other)),
    })
}

fn end_of(
    call: &Call<'_>,
    budget: &mut Budget,
    which: fn(&[Value]) -> Option<&Value>,
) -> Result<Value, Fault> {
    let Value::Array(items) = call.value else {
        return Err(call.fault("a list", call.value));
    };
    let Some(item) = which(items) else {
        let name = call.filter.name;
        return Err(Fault::new(
            call.at,
            format!("an empty list has no {name} item"),
        ));
    };
    budget.value(item, call.at)?;
    Ok(item.clone())
}

fn map(call: &Call<'_>, budget: &mut Budget) -> Result<Value, Fault> {
    let (items, name) = (call.list(budget)?, call.name(0)?);
    let mut fields = Vec::with_capacity(items.len());
    for (place, item) in items.iter().enumerate() {
        fields.push(call.field(item, name, place)?);
    }
    call.build(fields.into_iter(), budget)
}

fn only_where(call: &Call<'_>, budget: &mut Budget) -> Result<Value, Fault> {
    let (items, name) = (call.list(budget)?, call.name(0)?);
    let wanted = call.arguments.get(1).unwrap_or(&Value::Bool(true));
    let mut chosen = Vec::new();
    for (place, item) in items.iter().enumerate() {
        if equal(call.field(item, name, place)?, wanted, budget, call.at)? {
            chosen.push(item);
        }
    }
    call.build(chosen.into_iter(), budget)
}

fn flatten(call: &Call<'_>, budget: &mut Budget) -> Result<Value, Fault> {
    let items = call.list(budget)?;
    let mut all = Vec::new();
    for (place, item) in items.iter().enumerate() {
        match item {
            Value::Array(inner) => {
                budget.work(inner.len(), call.at)?;
                all.extend(inner);
            }
            Value::Null => {}
            other => {
                let message = format!("item {place} is {}, not a list", type_name(other));
                return Err(Fault::new(call.at, message));
            }
        }
    }
    call.build(all.into_iter(), budget)
}

fn sort(call: &Call<'_>, budget: &mut Budget) -> Result<Value, Fault> {
    let items = call.list(budget)?;
    let mut keyed = Vec::with_capacity(items.len());
    for (place, item) in items.iter().enumerate() {
        let key = match call.arguments.first() {
            Some(_) => call.field(item, call.name(0)?, place)?,
            None => item,
        };
        // Checked before sorting, so that the order below is total.
        compare(key, key, call.at)?;
        compare(keyed.first().map_or(key, |(first, _)| *first), key, call.at)?;
        keyed.push((key, item));
    }
    let comparisons = items.len() * (items.len().max(2).ilog2() as usize + 1);
    budget.work(comparisons, call.at)?;
    keyed.sort_by(|(left, _), (right, _)| {
        compare(left, right, call.at).unwrap_or(std::cmp::Ordering::Equal)
    });
    call.build(keyed.into_iter().map(|(_, item)| item), budget)
}

fn unique(call: &Call<'_>, budget: &mut Budget) -> Result<Value, Fault> {
    let mut seen: Vec<&Value> = Vec::new();
    'items: for item in call.list(budget)? {
        for earlier in &seen {
            if equal(earlier, item, budget, call.at)? {
                continue 'items;
            }
        }
        seen.push(item);
    }
    call.build(seen.into_iter(), budget)
}

fn sum(call: &Call<'_>, budget: &mut Budget) -> Result<Value, Fault> {
    let mut total = Value::from(0);
    for item in call.list(budget)? {
        total = number_sum(&total, item, call.at)?;
    }
    Ok(total)
}

fn join(call: &Call<'_>, budget: &mut Budget) -> Result<Value, Fault> {
    let between = match call.arguments.first() {
        Some(_) => call.name(0)?,
        None => "",
    };
    let mut joined = String::new();
    for (place, item) in call.list(budget)?.iter().enumerate() {
        if place > 0 {
            budget.bytes(between.len(), call.at)?;
            joined.push_str(between);
        }
        joined.push_str(&text_of(item, budget, call.at)?);
    }
    Ok(joined.into())
}

fn split(call: &Call<'_>, budget: &mut Budget) -> Result<Value, Fault> {
    let (whole, between) = (call.text(budget)?, call.name(0)?);
    if between.is_empty() {
        let message = "`split` needs at least one character to split at";
        return Err(Fault::new(call.at, message));
    }
    let mut parts = Vec::new();
    for part in whole.split(between) {
        let part = Value::from(part);
        budget.value(&part, call.at)?;
        parts.push(part);
    }
    Ok(parts.into())
}

fn keys(call: &Call<'_>, budget: &mut Budget) -> Result<Value, Fault> {
    let mut names = Vec::new();
    for name in call.object(budget)?.keys() {
        budget.bytes(name.len() + 2, call.at)?;
        names.push(Value::from(name.as_str()));
    }
    Ok(names.into())
}

fn values(call: &Call<'_>, budget: &mut Budget) -> Result<Value, Fault> {
    let members = call.object(budget)?;
    call.build(members.values(), budget)
}

fn text(call: &Call<'_>, budget: &mut Budget, change: fn(&str) -> String) -> Result<Value, Fault> {
    let changed = change(call.text(budget)?);
    budget.bytes(changed.len(), call.at)?;
    Ok(changed.into())
}

fn json(call: &Call<'_>, budget: &mut Budget) -> Result<Value, Fault> {
    budget.value(call.value, call.at)?;
    Ok(call.value.to_string().into())
}

fn number(call: &Call<'_>, budget: &mut Budget) -> Result<Value, Fault> {
    if call.value.is_number() {
        return Ok(call.value.clone());
    }
    let text = call.text(budget)?.trim();
    let whole = text.parse::<i64>().map(Value::from);
    let number = whole.ok().or_else(|| {
        let float = text.parse::<f64>().ok()?;
        serde_json::Number::from_f64(float).map(Value::Number)
    });
    number.ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        Fault::new(call.at, format!("{shown:?} spells no number"))
    })
}

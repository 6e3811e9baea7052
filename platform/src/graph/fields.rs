//! Reads a definition and notes every mistake on the way, in place of stopping at the first one.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::str::FromStr;

use protocol::{Mistake, MistakeCode, UnknownWord};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Mistakes that are told of at once; a definition with more is wrong in the same way over and over.
pub const MISTAKES_MAX: usize = 100;

/// The mistakes found so far.
#[derive(Debug, Default)]
pub struct Mistakes(RefCell<Vec<Mistake>>);

impl Mistakes {
    /// Notes a mistake.
    pub fn note(
        &self,
        path: impl Into<String>,
        code: MistakeCode,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let mut found = self.0.borrow_mut();
        if found.len() < MISTAKES_MAX {
            found.push(Mistake {
                path: path.into(),
                code,
                message: message.into(),
                hint: hint.into(),
            });
        }
    }

    /// Whether none was found.
    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// What was found, in the order of finding.
    pub fn into_list(self) -> Vec<Mistake> {
        self.0.into_inner()
    }
}

/// The members of one object of a definition, each of which is asked for by name.
///
/// What was not asked for by the end is unknown, which is a mistake.
pub struct Fields<'a> {
    path: String,
    members: &'a Map<String, Value>,
    asked: BTreeSet<&'static str>,
    mistakes: &'a Mistakes,
}

impl<'a> Fields<'a> {
    /// Looks into a value, which must be an object.
    pub fn of(value: &'a Value, path: impl Into<String>, mistakes: &'a Mistakes) -> Option<Self> {
        let path = path.into();
        match value {
            Value::Object(members) => Some(Self {
                path,
                members,
                asked: BTreeSet::new(),
                mistakes,
            }),
            other => {
                wrong_type(mistakes, path, "an object", other);
                None
            }
        }
    }

    /// Where a member is.
    pub fn at(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    /// Where the object itself is.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Where mistakes are noted.
    pub fn mistakes(&self) -> &'a Mistakes {
        self.mistakes
    }

    /// Notes a mistake in a member.
    pub fn mistake(
        &self,
        name: &str,
        code: MistakeCode,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.mistakes.note(self.at(name), code, message, hint);
    }

    /// A member as it is. What is `null` counts as left out.
    pub fn value(&mut self, name: &'static str) -> Option<&'a Value> {
        self.asked.insert(name);
        self.members.get(name).filter(|value| !value.is_null())
    }

    /// A member that must be there.
    pub fn required(&mut self, name: &'static str) -> Option<&'a Value> {
        let value = self.value(name);
        if value.is_none() {
            let (message, hint) = ("must be given", format!("add {name:?}"));
            self.mistake(name, MistakeCode::Missing, message, hint);
        }
        value
    }

    /// A text within a length in characters.
    pub fn text(&mut self, name: &'static str, length: RangeInclusive<usize>) -> Option<&'a str> {
        let value = self.value(name)?;
        text_at(self.mistakes, self.at(name), value, length)
    }

    /// A text that must be there.
    pub fn required_text(
        &mut self,
        name: &'static str,
        length: RangeInclusive<usize>,
    ) -> Option<&'a str> {
        let value = self.required(name)?;
        text_at(self.mistakes, self.at(name), value, length)
    }

    /// A whole number within limits.
    pub fn number<N: TryFrom<i64>>(
        &mut self,
        name: &'static str,
        range: RangeInclusive<i64>,
    ) -> Option<N> {
        let value = self.value(name)?;
        let Some(number) = value.as_i64() else {
            wrong_type(self.mistakes, self.at(name), "a whole number", value);
            return None;
        };
        if !range.contains(&number) {
            let message = format!("must be between {} and {}", range.start(), range.end());
            let hint = format!("{number} is outside; choose a number within");
            self.mistake(name, MistakeCode::OutOfRange, message, hint);
            return None;
        }
        N::try_from(number).ok()
    }

    /// True or false.
    pub fn flag(&mut self, name: &'static str) -> Option<bool> {
        let value = self.value(name)?;
        if !value.is_boolean() {
            wrong_type(self.mistakes, self.at(name), "true or false", value);
        }
        value.as_bool()
    }

    /// A word of a closed set.
    pub fn word<W: FromStr<Err = UnknownWord>>(&mut self, name: &'static str) -> Option<W> {
        let value = self.value(name)?;
        let Some(text) = value.as_str() else {
            wrong_type(self.mistakes, self.at(name), "a text", value);
            return None;
        };
        match text.parse() {
            Ok(word) => Some(word),
            Err(unknown) => {
                let hint = suggestion(text, unknown.allowed.iter().copied())
                    .unwrap_or_else(|| "use one of them".to_owned());
                self.mistake(name, MistakeCode::UnknownWord, unknown.to_string(), hint);
                None
            }
        }
    }

    /// A part of the contract that has a type of its own.
    pub fn typed<T: DeserializeOwned>(&mut self, name: &'static str) -> Option<T> {
        let value = self.value(name)?;
        match T::deserialize(value) {
            Ok(typed) => Some(typed),
            Err(error) => {
                let hint = "the schema of this part is in /openapi.json";
                self.mistake(name, MistakeCode::WrongType, error.to_string(), hint);
                None
            }
        }
    }

    /// An object of free members.
    pub fn members(&mut self, name: &'static str) -> Option<&'a Map<String, Value>> {
        let value = self.value(name)?;
        if !value.is_object() {
            wrong_type(self.mistakes, self.at(name), "an object", value);
        }
        value.as_object()
    }

    /// An object whose members are asked for by name.
    pub fn object(&mut self, name: &'static str) -> Option<Fields<'a>> {
        let value = self.value(name)?;
        Fields::of(value, self.at(name), self.mistakes)
    }

    /// The items of a list with their paths.
    pub fn list(
        &mut self,
        name: &'static str,
        length: RangeInclusive<usize>,
    ) -> Vec<(String, &'a Value)> {
        let Some(value) = self.value(name) else {
            return vec![];
        };
        let Value::Array(items) = value else {
            wrong_type(self.mistakes, self.at(name), "a list", value);
            return vec![];
        };
        if !length.contains(&items.len()) {
            let message = format!(
                "must have {} to {} entries, has {}",
                length.start(),
                length.end(),
                items.len()
            );
            let hint = "shorten or fill the list";
            self.mistake(name, MistakeCode::OutOfRange, message, hint);
        }
        let path = self.at(name);
        let items = items.iter().take(*length.end()).enumerate();
        items
            .map(|(place, item)| (format!("{path}[{place}]"), item))
            .collect()
    }

    /// A list of texts, none of them twice.
    pub fn texts(
        &mut self,
        name: &'static str,
        length: RangeInclusive<usize>,
        each: RangeInclusive<usize>,
    ) -> Vec<String> {
        let mut texts: Vec<String> = Vec::new();
        for (path, item) in self.list(name, length) {
            let Some(text) = text_at(self.mistakes, path.clone(), item, each.clone()) else {
                continue;
            };
            if texts.iter().any(|earlier| earlier == text) {
                let message = format!("{text:?} stands here twice");
                let hint = "name it once";
                self.mistakes
                    .note(path, MistakeCode::Duplicate, message, hint);
            } else {
                texts.push(text.to_owned());
            }
        }
        texts
    }

    /// Notes every member that nobody asked for.
    pub fn finish(self) {
        for name in self.members.keys() {
            if self.asked.contains(name.as_str()) {
                continue;
            }
            let known = self.asked.iter().copied();
            let hint = suggestion(name, known.clone()).unwrap_or_else(|| {
                let known: Vec<_> = known.collect();
                format!("possible here: {}", known.join(", "))
            });
            let message = format!("there is no field {name:?} here");
            self.mistake(name, MistakeCode::UnknownField, message, hint);
        }
    }
}

fn text_at<'a>(
    mistakes: &Mistakes,
    path: String,
    value: &'a Value,
    length: RangeInclusive<usize>,
) -> Option<&'a str> {
    let Some(text) = value.as_str() else {
        wrong_type(mistakes, path, "a text", value);
        return None;
    };
    let has = text.chars().count();
    if length.contains(&has) {
        return Some(text);
    }
    let message = format!(
        "must have {} to {} characters, has {has}",
        length.start(),
        length.end()
    );
    let hint = "shorten or fill the text";
    mistakes.note(path, MistakeCode::OutOfRange, message, hint);
    None
}

/// Notes that something else was wanted.
pub fn wrong_type(mistakes: &Mistakes, path: impl Into<String>, wanted: &str, found: &Value) {
    let message = format!("must be {wanted}, is {}", type_name(found));
    let hint = format!("write {wanted} here");
    mistakes.note(path, MistakeCode::WrongType, message, hint);
}

/// What a value is, for people.
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// What somebody may have meant who wrote this word.
pub fn suggestion<'w>(written: &str, known: impl IntoIterator<Item = &'w str>) -> Option<String> {
    known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(written, word), word))
        .filter(|(distance, word)| *distance <= 2 && *distance < word.len())
        .min()
        .map(|(_, word)| format!("did you mean {word:?}?"))
}

//! YAML, read in one of two ways: into a caller's own type ([`read`]), or into a tree in which every
//! key and value knows its line and column (`tree`), so that a problem of meaning has a place too.
//!
//! Anchors and merge keys are expanded. A key written twice is a problem here, where YAML tools often take
//! the last one in silence.

use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Error, MessageFormatter, Spanned, UserMessageFormatter};

use super::problem::{Problem, Problems};

/// Reads YAML text into a type of the caller's.
///
/// # Errors
/// The first thing that is not YAML or not of this type, with its place in `file`. The YAML crate reads on
/// no further.
pub fn read<T: DeserializeOwned>(text: &str, file: &str) -> Result<T, Problems> {
    serde_saphyr::from_str(text).map_err(|error| Problems::one(problem(&error, file)))
}

/// Reads only what the caller's type asks for. In the rest numbers may be any, `.nan` and `.inf` too.
///
/// # Errors
/// As [`read`].
pub fn read_part<T: DeserializeOwned>(text: &str, file: &str) -> Result<T, Problems> {
    let options = serde_saphyr::options! { non_finite_float_policy: NonFiniteFloatPolicy::PassThrough };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| Problems::one(problem(&error, file)))
}

/// A place: which file of the configuration, from 0; line and column, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) file: u16,
    pub(super) line: u32,
    pub(super) column: u32,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) at: Place,
}

/// A value. Integers are wide enough for every number a file may hold.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

impl Value {
    /// Whether it is more than nothing and an empty text.
    pub(super) fn says_something(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Text(text) => !text.trim().is_empty(),
            _ => true,
        }
    }

    /// What it is, for messages; never what it says.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Integer(_) | Self::Float(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

/// A key, where it stands, and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) at: Place,
    pub(super) node: Node,
}

/// Reads a file into a tree; `number` is the file's among those of the configuration. Keys written twice are in it twice; [`duplicates`] finds them.
pub(super) fn tree(text: &str, file: &str, number: u16) -> Result<Node, Problems> {
    let options = serde_saphyr::options! { duplicate_keys: DuplicateKeyPolicy::PassThrough };
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Node { value: Value::Null, at: Place { file: number, line: 1, column: 1 } });
    }
    let read = serde_saphyr::from_str_with_options(text, options);
    let mut root: Node = read.map_err(|error| Problems::one(problem(&error, file)))?;
    single_letters(&mut root, &text.lines().collect::<Vec<_>>());
    if number > 0 {
        place_in(&mut root, number);
    }
    Ok(root)
}

/// `y` and `n` are text, as `PyYAML` has it, by which LiteLLM reads; the YAML crate takes them for true and false.
fn single_letters(node: &mut Node, lines: &[&str]) {
    match &mut node.value {
        Value::Bool(_) => {
            let line = lines.get(node.at.line.saturating_sub(1) as usize).unwrap_or(&"");
            let mut written = line.chars().skip(node.at.column.saturating_sub(1) as usize);
            let letter = written.next().filter(|letter| matches!(letter, 'y' | 'Y' | 'n' | 'N'));
            if let Some(letter) = letter.filter(|_| !written.next().is_some_and(char::is_alphabetic)) {
                node.value = Value::Text(letter.to_string());
            }
        }
        Value::List(items) => items.iter_mut().for_each(|item| single_letters(item, lines)),
        Value::Map(entries) => entries.iter_mut().for_each(|entry| single_letters(&mut entry.node, lines)),
        _ => {}
    }
}

fn place_in(node: &mut Node, file: u16) {
    node.at.file = file;
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| place_in(item, file)),
        Value::Map(entries) => entries.iter_mut().for_each(|entry| {
            entry.at.file = file;
            place_in(&mut entry.node, file);
        }),
        _ => {}
    }
}

/// Every key that is written twice in one mapping: the later place, the key, the earlier place.
pub(super) fn duplicates<'a>(node: &'a Node, found: &mut Vec<(Place, &'a str, Place)>) {
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| duplicates(item, found)),
        Value::Map(entries) => {
            let mut seen: HashMap<&str, Place> = HashMap::with_capacity(entries.len());
            for entry in entries {
                let first = *seen.entry(&entry.key).or_insert(entry.at);
                if first != entry.at {
                    found.push((entry.at, &entry.key, first));
                }
                duplicates(&entry.node, found);
            }
        }
        _ => {}
    }
}

/// What the YAML crate says, in our form. Its words for users name what was expected, not what was read.
fn problem(error: &Error, file: &str) -> Problem {
    let (line, column) = error.location().map_or((0, 0), |at| (place(at).line, place(at).column));
    let inner = error.without_snippet();
    let message = UserMessageFormatter.format_message(inner).trim().replace('\n', " ");
    Problem { file: file.to_owned(), line, column, message, hint: None }
}

fn place(at: serde_saphyr::Location) -> Place {
    let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Place { file: 0, line: narrow(at.line()), column: narrow(at.column()) }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self { value: spanned.value, at: place(spanned.referenced) })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u128<E: serde::de::Error>(self, value: u128) -> Result<Value, E> {
        i128::try_from(value).map(Value::Integer).map_err(|_| E::custom("the number is too large"))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        // As text, so that a key `on` or `1` stays as it is written.
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            entries.push(Entry { key: key.value, at: place(key.referenced), node: map.next_value()? });
        }
        Ok(Value::Map(entries))
    }
}

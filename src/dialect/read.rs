//! JSON, taken apart with the place of every part at hand, so that a wrong shape is blamed exactly:
//! `messages[2].content[0].source.url`. Syntax is blamed by line and column.
//!
//! The body is read once into a tree; texts are then moved out of it, never copied.

use std::fmt;

use serde_json::{Map, Value};

use crate::fault::{AttemptFault, FaultKind, Refusal, RefusalKind};

/// A part that is not what the dialect says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shape {
    /// The field; empty for the whole body.
    pub(super) path: String,
    /// What is wrong with it.
    pub(super) problem: String,
}

impl From<Shape> for Refusal {
    fn from(shape: Shape) -> Self {
        if shape.path.is_empty() {
            return Self::new(RefusalKind::InvalidRequest, shape.problem);
        }
        Self::new(RefusalKind::InvalidRequest, format!("`{}`: {}", shape.path, shape.problem)).at(shape.path)
    }
}

impl From<Shape> for AttemptFault {
    fn from(shape: Shape) -> Self {
        let place = if shape.path.is_empty() { String::new() } else { format!("`{}`: ", shape.path) };
        Self::new(FaultKind::BrokenStream, format!("the provider's reply is not of its dialect: {place}{}", shape.problem))
    }
}

/// Where a part is. Links to its parent, so that nothing is written unless something is wrong.
#[derive(Clone, Copy)]
pub(super) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

impl<'a> Path<'a> {
    /// The body itself.
    pub(super) const ROOT: Path<'static> = Path { parent: None, step: Step::Root };

    /// The field `name` of this.
    pub(super) const fn key(&'a self, name: &'a str) -> Self {
        Self { parent: Some(self), step: Step::Key(name) }
    }

    /// The item `index` of this.
    pub(super) const fn index(&'a self, index: usize) -> Self {
        Self { parent: Some(self), step: Step::Index(index) }
    }

    /// Blames this place.
    pub(super) fn wrong(&self, problem: impl Into<String>) -> Shape {
        Shape { path: self.to_string(), problem: problem.into() }
    }

    fn expected(&self, what: &str, found: &Value) -> Shape {
        self.wrong(format!("expected {what}, found {}", kind(found)))
    }

    /// The text `value` must be.
    pub(super) fn string(&self, value: Value) -> Result<String, Shape> {
        match value {
            Value::String(text) => Ok(text),
            other => Err(self.expected("a string", &other)),
        }
    }

    /// The object `value` must be.
    pub(super) fn fields(&'a self, value: Value) -> Result<Fields<'a>, Shape> {
        match value {
            Value::Object(map) => Ok(Fields { path: self, map }),
            other => Err(self.expected("an object", &other)),
        }
    }

    /// The array `value` must be.
    pub(super) fn array(&self, value: Value) -> Result<Vec<Value>, Shape> {
        match value {
            Value::Array(items) => Ok(items),
            other => Err(self.expected("an array", &other)),
        }
    }

    /// The array of texts `value` must be.
    pub(super) fn strings(&self, value: Value) -> Result<Vec<String>, Shape> {
        let items = self.array(value)?;
        items.into_iter().enumerate().map(|(index, item)| self.index(index).string(item)).collect()
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
            if matches!((parent.step, self.step), (Step::Key(_) | Step::Index(_), Step::Key(_))) {
                f.write_str(".")?;
            }
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Key(name) => f.write_str(name),
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The fields of one object, taken out one by one; what is left is its `rest`. `null` is as good as absent.
pub(super) struct Fields<'a> {
    path: &'a Path<'a>,
    map: Map<String, Value>,
}

impl Fields<'_> {
    /// Any value.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        // `shift_remove` keeps the order of what is left; `remove` would not.
        self.map.shift_remove(name).filter(|value| !value.is_null())
    }

    /// A value that must be there.
    pub(super) fn required(&mut self, name: &str) -> Result<Value, Shape> {
        self.take(name).ok_or_else(|| self.path.key(name).wrong("this field is required"))
    }

    /// A text.
    pub(super) fn string(&mut self, name: &str) -> Result<Option<String>, Shape> {
        self.take(name).map(|value| self.path.key(name).string(value)).transpose()
    }

    /// A text that must be there.
    pub(super) fn required_string(&mut self, name: &str) -> Result<String, Shape> {
        let value = self.required(name)?;
        self.path.key(name).string(value)
    }

    /// A boolean.
    pub(super) fn boolean(&mut self, name: &str) -> Result<Option<bool>, Shape> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(other) => Err(self.path.key(name).expected("a boolean", &other)),
        }
    }

    /// A whole number from 0 that fits in 32 bits.
    pub(super) fn count(&mut self, name: &str) -> Result<Option<u32>, Shape> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match value.as_u64().and_then(|number| u32::try_from(number).ok()) {
            Some(number) => Ok(Some(number)),
            None if value.is_number() => {
                Err(self.path.key(name).wrong(format!("expected a whole number from 0 to {}, found {value}", u32::MAX)))
            }
            None => Err(self.path.key(name).expected("a whole number", &value)),
        }
    }

    /// A number.
    pub(super) fn number(&mut self, name: &str) -> Result<Option<f64>, Shape> {
        let Some(value) = self.take(name) else { return Ok(None) };
        value.as_f64().map(Some).ok_or_else(|| self.path.key(name).expected("a number", &value))
    }

    /// Whether the field is there and not `null`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.map.get(name).is_some_and(|value| !value.is_null())
    }

    /// The text of a field, which stays where it is.
    pub(super) fn peek(&self, name: &str) -> Option<&str> {
        self.map.get(name).and_then(Value::as_str)
    }

    /// Puts a field back among those left.
    pub(super) fn put(&mut self, name: &str, value: Value) {
        self.map.insert(name.to_owned(), value);
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// What nobody took, in the order it came.
    pub(super) fn rest(self) -> Map<String, Value> {
        self.map
    }
}

/// The JSON in a request's body.
pub(super) fn body(bytes: &[u8]) -> Result<Value, Shape> {
    serde_json::from_slice(bytes).map_err(|error| {
        let place = format!(" at line {} column {}", error.line(), error.column());
        let text = error.to_string();
        let cause = text.strip_suffix(&place).unwrap_or(&text);
        Path::ROOT.wrong(format!("invalid JSON at line {}, column {}: {cause}", error.line(), error.column()))
    })
}

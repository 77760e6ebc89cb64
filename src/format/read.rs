//! Reading JSON that strangers wrote: known fields are taken out by name, what stays is `rest`, and a
//! complaint always says where: the line and column of bad syntax, the field path of a bad shape.

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;

use super::json::{self, Json, Members};
use crate::chat::Rest;
use crate::fault::{AttemptFault, FaultKind, Refusal, RefusalKind};

/// The most values (numbers, texts, arrays …) of a request: a hundred times what a long conversation with many tools has.
const MAX_REQUEST_VALUES: usize = 1 << 18;
/// The same of a reply or an event: log probabilities make many.
pub(super) const MAX_REPLY_VALUES: usize = 1 << 19;

/// Where in a document a value stands. Borrowed step by step, so that only a complaint allocates.
#[derive(Clone, Copy)]
pub(super) enum Path<'a> {
    Root,
    Key(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl<'a> Path<'a> {
    pub(super) const fn key(&'a self, name: &'a str) -> Self {
        Self::Key(self, name)
    }

    pub(super) const fn index(&'a self, index: usize) -> Self {
        Self::Index(self, index)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Key(Self::Root, name) => f.write_str(name),
            Self::Key(parent, name) => write!(f, "{parent}.{name}"),
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// A value that is not what its place in the document asks for.
#[derive(Debug, PartialEq)]
pub(super) struct Mismatch {
    path: String,
    problem: String,
}

impl Mismatch {
    /// `problem` at `path`.
    pub(super) fn new(path: &Path<'_>, problem: impl Into<String>) -> Self {
        Self { path: path.to_string(), problem: problem.into() }
    }

    /// `found` stands at `path` where `expected` should.
    pub(super) fn expected(path: &Path<'_>, expected: &str, found: &Json<'_>) -> Self {
        Self::new(path, format!("expected {expected}, found {}", describe(found)))
    }

    /// The field `path` is not there and must be.
    pub(super) fn missing(path: &Path<'_>) -> Self {
        Self::new(path, "this field is required")
    }

    /// The same, about a provider's words.
    pub(super) fn into_fault(self) -> AttemptFault {
        AttemptFault::new(
            FaultKind::BrokenStream,
            format!("the provider's reply is not understood: {}", self.sentence()),
        )
    }

    fn sentence(&self) -> String {
        if self.path.is_empty() { self.problem.clone() } else { format!("`{}`: {}", self.path, self.problem) }
    }
}

impl From<Mismatch> for Refusal {
    fn from(mismatch: Mismatch) -> Self {
        let refusal = Self::new(RefusalKind::InvalidRequest, mismatch.sentence());
        if mismatch.path.is_empty() { refusal } else { refusal.at(mismatch.path) }
    }
}

fn describe(value: &Json<'_>) -> String {
    match value {
        Json::Null => "null".to_owned(),
        Json::Bool(flag) => flag.to_string(),
        Json::Number(number) => number.to_string(),
        // Long texts (a picture, a prompt) do not belong into a message.
        Json::Text(text) if text.len() <= 40 => format!("{text:?}"),
        Json::Text(_) => "a text".to_owned(),
        Json::Array(_) => "an array".to_owned(),
        Json::Object(_) => "an object".to_owned(),
    }
}

/// A client's body as JSON.
///
/// # Errors
/// `InvalidRequest` with line and column.
pub(super) fn request_body(body: &[u8]) -> Result<Json<'_>, Refusal> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(Refusal::new(RefusalKind::InvalidRequest, "the request has no body; a JSON object is expected"));
    }
    Json::parse(body, MAX_REQUEST_VALUES).map_err(|error| {
        let what = if error.is_data() { "too large" } else { "not JSON" };
        Refusal::new(RefusalKind::InvalidRequest, format!("the body is {what}: {}", position(&error)))
    })
}

/// A provider's body or event as JSON.
///
/// # Errors
/// `BrokenStream` with line and column.
pub(super) fn reply_body(body: &[u8]) -> Result<Json<'_>, AttemptFault> {
    Json::parse(body, MAX_REPLY_VALUES).map_err(|error| {
        AttemptFault::new(FaultKind::BrokenStream, format!("the provider's reply is not JSON: {}", position(&error)))
    })
}

/// `line 3, column 14: expected value`.
fn position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let problem = text.rsplit_once(" at line ").map_or(text.as_str(), |(problem, _)| problem);
    format!("line {}, column {}: {problem}", error.line(), error.column())
}

/// An object being read. A field that is `null` counts as absent: that is what it means in both dialects.
pub(super) struct Fields<'p> {
    members: Members<'p>,
    /// What was put back, which goes after what was not read.
    put: Vec<(&'static str, Value)>,
    path: &'p Path<'p>,
}

impl<'p> Fields<'p> {
    /// The object at `path`.
    pub(super) fn of(value: Json<'p>, path: &'p Path<'p>) -> Result<Self, Mismatch> {
        match value {
            Json::Object(members) => Ok(Self { members, put: Vec::new(), path }),
            other => Err(Mismatch::expected(path, "an object", &other)),
        }
    }

    /// Where the object stands.
    pub(super) const fn path(&self) -> &'p Path<'p> {
        self.path
    }

    /// The field as it stands, left in place.
    pub(super) fn peek(&self, name: &str) -> Option<&Json<'p>> {
        json::find(&self.members, name).filter(|value| !value.is_null())
    }

    /// The field, whatever it is.
    pub(super) fn take(&mut self, name: &str) -> Option<Json<'p>> {
        // All of that name go; the last of them is what it says.
        let last = self.members.extract_if(.., |(found, _)| found == name).last();
        last.map(|(_, value)| value).filter(|value| !value.is_null())
    }

    /// A text to look at.
    pub(super) fn word(&mut self, name: &str) -> Result<Option<Cow<'p, str>>, Mismatch> {
        self.read(name, "a text", |value| match value {
            Json::Text(text) => Ok(text),
            other => Err(other),
        })
    }

    /// A text to look at that must be there.
    pub(super) fn need_word(&mut self, name: &str) -> Result<Cow<'p, str>, Mismatch> {
        self.word(name)?.ok_or_else(|| Mismatch::missing(&self.path.key(name)))
    }

    /// A text.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Mismatch> {
        Ok(self.word(name)?.map(Cow::into_owned))
    }

    /// A text that must be there.
    pub(super) fn need_text(&mut self, name: &str) -> Result<String, Mismatch> {
        self.need_word(name).map(Cow::into_owned)
    }

    /// True or false.
    pub(super) fn flag(&mut self, name: &str) -> Result<Option<bool>, Mismatch> {
        self.read(name, "true or false", |value| value.as_bool().ok_or(value))
    }

    /// A whole number that fits 32 bits.
    pub(super) fn whole(&mut self, name: &str) -> Result<Option<u32>, Mismatch> {
        self.read(name, "a whole number from 0 to 4294967295", |value| {
            value.as_u64().and_then(|number| u32::try_from(number).ok()).ok_or(value)
        })
    }

    /// A number.
    pub(super) fn number(&mut self, name: &str) -> Result<Option<f64>, Mismatch> {
        self.read(name, "a number", |value| value.as_f64().ok_or(value))
    }

    /// A list.
    pub(super) fn list(&mut self, name: &str) -> Result<Option<Vec<Json<'p>>>, Mismatch> {
        self.read(name, "an array", |value| match value {
            Json::Array(items) => Ok(items),
            other => Err(other),
        })
    }

    /// The list of `messages`. It may be missing only where a prompt is to be built from what stands in its place.
    pub(super) fn messages(&mut self) -> Result<Vec<Json<'p>>, Mismatch> {
        let path = self.path().key("messages");
        let built = ["prompt_variables", "prompt_items"].into_iter().any(|name| self.peek(name).is_some());
        match self.list("messages")? {
            None if built => Ok(Vec::new()),
            None => Err(Mismatch::missing(&path)),
            Some(items) if items.is_empty() && !built => Err(Mismatch::new(&path, "at least one message is required")),
            Some(items) => Ok(items),
        }
    }

    /// A count a provider reports: absent and nonsense are 0, a float loses its fraction.
    pub(super) fn count(&mut self, name: &str) -> u64 {
        self.take(name).map_or(0, |value| lenient_count(&value))
    }

    /// Puts back what was left of a field that was read in part, under its own name.
    pub(super) fn keep(&mut self, name: &'static str, left: Rest) {
        if !left.is_empty() {
            self.put(name, Value::Object(left));
        }
    }

    /// Puts a field back, or adds one. It is there to be kept, and not read again.
    pub(super) fn put(&mut self, name: &'static str, value: Value) {
        self.put.push((name, value));
    }

    /// What was not read.
    pub(super) fn rest(self) -> Rest {
        let mut rest = json::kept(self.members);
        rest.extend(self.put.into_iter().map(|(name, value)| (name.to_owned(), value)));
        rest
    }

    /// What was not read and says something: `null` is left out.
    pub(super) fn telling_rest(mut self) -> Rest {
        // Mostly there is nothing else, and then there is nothing to make.
        if self.members.iter().all(|(_, value)| value.is_null()) {
            self.members.clear();
        }
        let mut rest = self.rest();
        rest.retain(|_, value| !value.is_null());
        rest
    }

    fn read<T>(
        &mut self,
        name: &str,
        expected: &str,
        convert: impl FnOnce(Json<'p>) -> Result<T, Json<'p>>,
    ) -> Result<Option<T>, Mismatch> {
        self.take(name)
            .map(|value| convert(value).map_err(|found| Mismatch::expected(&self.path.key(name), expected, &found)))
            .transpose()
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates; a count is what is meant")]
fn lenient_count(value: &Json<'_>) -> u64 {
    value.as_u64().or_else(|| value.as_f64().map(|number| number as u64)).unwrap_or(0)
}

#[cfg(test)]
mod tests;

//! A reader of the tree that collects instead of stopping: every question that a file answers wrongly becomes
//! a problem with its place, every key becomes a line of the report, and reading goes on.
//!
//! `os.environ/NAME` is looked up where a value is read, so a variable that only an ignored key names may be
//! missing. The value of a variable is never told.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use secrecy::SecretString;

use super::problem::{Problem, closest};
use super::report::{Grade, KeyReport, grade};
use super::yaml::{Entry, Node, Place, Value};

/// LiteLLM's way of naming a variable of the environment: the whole value, never a part of one.
const FROM_ENVIRONMENT: &str = "os.environ/";
/// Longer times are taken for a slip: seconds where milliseconds were meant, and the like.
const LONGEST: f64 = 366.0 * 86_400.0;

/// Shorter values of variables are words and numbers, and stand in messages of their own right.
const SHORTEST: usize = 8;

/// Whether a name that leads to no variable may stand in a message. Keys get pasted where the name belongs; some are
/// made of letters, digits and underscores only, but they are long, or mix small letters with capitals.
fn may_be_told(name: &str) -> bool {
    let sound = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let small = name.bytes().any(|byte| byte.is_ascii_lowercase());
    let mixed = small && name.bytes().any(|byte| byte.is_ascii_uppercase());
    let longest = if small { 30 } else { 64 };
    sound && !mixed && (1..=longest).contains(&name.len()) && !name.starts_with(|first: char| first.is_ascii_digit())
}

/// Reads one file.
pub(super) struct Reader<'e> {
    file: &'e str,
    environment: &'e dyn Fn(&str) -> Option<String>,
    /// The file's own `environment_variables`; they win over the environment.
    variables: RefCell<BTreeMap<String, String>>,
    problems: RefCell<Vec<Problem>>,
    report: RefCell<Vec<(Place, KeyReport)>>,
    /// The values of variables, and how the file writes each: problems name the variable.
    resolved: RefCell<BTreeMap<String, String>>,
    /// Every key that was asked for, by section: a test holds them against the table of keys.
    asked: RefCell<BTreeSet<(&'static str, &'static str)>>,
}

impl<'e> Reader<'e> {
    pub(super) fn new(file: &'e str, environment: &'e dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            file,
            environment,
            variables: RefCell::default(),
            problems: RefCell::default(),
            report: RefCell::default(),
            resolved: RefCell::default(),
            asked: RefCell::default(),
        }
    }

    /// What was found: the problems, and the report in the order of the file.
    pub(super) fn finish(self) -> (Vec<Problem>, Vec<KeyReport>) {
        let mut report = self.report.into_inner();
        report.sort_by_key(|(at, _)| *at);
        let mut problems = self.problems.into_inner();
        // Here and not where they are noted: no message can forget it.
        let mut resolved: Vec<_> = self.resolved.into_inner().into_iter().collect();
        resolved.retain(|(value, _)| value.len() >= SHORTEST);
        resolved.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
        for text in
            problems.iter_mut().flat_map(|problem| [Some(&mut problem.message), problem.hint.as_mut()]).flatten()
        {
            for (value, written) in &resolved {
                if text.contains(value) {
                    *text = text.replace(value, written);
                }
            }
        }
        (problems, report.into_iter().map(|(_, row)| row).collect())
    }

    #[cfg(test)]
    pub(super) fn asked(&self) -> BTreeSet<(&'static str, &'static str)> {
        self.asked.borrow().clone()
    }

    /// Notes a problem.
    pub(super) fn problem(&self, at: Place, message: impl Into<String>, hint: impl Into<String>) {
        let hint = hint.into();
        self.problems.borrow_mut().push(Problem {
            file: self.file.to_owned(),
            line: at.line,
            column: at.column,
            message: message.into(),
            hint: (!hint.is_empty()).then_some(hint),
        });
    }

    pub(super) fn set_variable(&self, name: &str, value: String) {
        self.variables.borrow_mut().insert(name.to_owned(), value);
    }

    /// A variable, from the file or the environment. An empty one counts as not set.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        let own = self.variables.borrow().get(name).cloned();
        own.or_else(|| (self.environment)(name)).filter(|value| !value.trim().is_empty())
    }

    /// The text of a node, its variable looked up.
    pub(super) fn resolve(&self, text: &str, at: Place) -> Option<String> {
        let Some(name) = text.strip_prefix(FROM_ENVIRONMENT) else { return Some(text.to_owned()) };
        let value = self.variable(name);
        match &value {
            Some(value) => {
                self.resolved.borrow_mut().insert(value.trim().to_owned(), text.to_owned());
            }
            None if may_be_told(name) => self.problem(
                at,
                format!("the environment variable `{name}` is not set"),
                format!("set {name} where witgate runs, or under `environment_variables`"),
            ),
            None => self.problem(
                at,
                "what follows `os.environ/` is not a variable that is set; it is not repeated here, since it may be a key",
                "write the name of a variable after `os.environ/`, or the value without it",
            ),
        }
        value
    }

    fn mismatch(&self, node: &Node, key: &str, wanted: &str) {
        self.problem(node.at, format!("`{key}` must be {wanted}, not {}", node.value.kind()), "");
    }

    /// Text. Numbers are taken as they are written, since YAML reads an unquoted `1` as one.
    pub(super) fn text(&self, node: &Node, key: &str) -> Option<String> {
        match &node.value {
            Value::Text(text) => self.resolve(text, node.at),
            Value::Integer(number) => Some(number.to_string()),
            Value::Float(number) => Some(number.to_string()),
            _ => {
                self.mismatch(node, key, "text");
                None
            }
        }
    }

    /// A number; a numeric text counts, because that is what a variable holds.
    fn number(&self, node: &Node, key: &str, wanted: &str) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "a setting beyond 2^53 is refused by its range")]
        let number = match &node.value {
            Value::Integer(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            Value::Text(text) => self.resolve(text, node.at)?.trim().parse().ok(),
            _ => None,
        };
        if number.is_none() {
            self.mismatch(node, key, wanted);
        }
        number
    }

    fn ranged(&self, node: &Node, key: &str, wanted: &str, fits: impl Fn(f64) -> bool) -> Option<f64> {
        let number = self.number(node, key, wanted)?;
        if !fits(number) {
            self.problem(node.at, format!("`{key}` must be {wanted}"), "");
            return None;
        }
        Some(number)
    }

    /// Any JSON value, variables looked up all the way down.
    pub(super) fn json(&self, node: &Node) -> serde_json::Value {
        match &node.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(flag) => (*flag).into(),
            Value::Integer(number) => match i64::try_from(*number) {
                Ok(number) => number.into(),
                Err(_) => u64::try_from(*number).map_or(serde_json::Value::Null, Into::into),
            },
            Value::Float(number) => (*number).into(),
            Value::Text(text) => self.resolve(text, node.at).into(),
            Value::List(items) => items.iter().map(|item| self.json(item)).collect(),
            Value::Map(entries) => entries
                .iter()
                .map(|entry| (entry.key.clone(), self.json(&entry.node)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }

    pub(super) fn list<'a>(&self, node: &'a Node, key: &str) -> &'a [Node] {
        match &node.value {
            Value::List(items) => items,
            Value::Null => &[],
            _ => {
                self.mismatch(node, key, "a list");
                &[]
            }
        }
    }

    pub(super) fn map<'a>(&self, node: &'a Node, key: &str) -> &'a [Entry] {
        match &node.value {
            Value::Map(entries) => entries,
            Value::Null => &[],
            _ => {
                self.mismatch(node, key, "a mapping");
                &[]
            }
        }
    }

    /// A mapping as a section. `path` is the report's, empty at the top.
    pub(super) fn section<'r>(&'r self, node: &'r Node, name: &'static str, path: &str) -> Section<'r, 'e> {
        let entries = self.map(node, if path.is_empty() { "(the file)" } else { path });
        Section {
            reader: self,
            name,
            path: path.to_owned(),
            at: node.at,
            entries,
            taken: BTreeSet::new(),
            inner: BTreeSet::new(),
            strict: false,
        }
    }
}

/// One mapping of the file whose keys are known. Every key that is asked for acts; [`Section::finish`]
/// reports those that were not.
pub(super) struct Section<'r, 'e> {
    pub(super) reader: &'r Reader<'e>,
    name: &'static str,
    pub(super) path: String,
    pub(super) at: Place,
    entries: &'r [Entry],
    taken: BTreeSet<&'static str>,
    /// Keys whose value is reported key by key.
    inner: BTreeSet<&'static str>,
    strict: bool,
}

impl<'r> Section<'r, '_> {
    /// The same as a section of our own, in which an unknown key is a problem.
    pub(super) fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// The value of `key` where it is given and not null. From here on the key counts as one that acts.
    pub(super) fn get(&mut self, key: &'static str) -> Option<&'r Node> {
        self.taken.insert(key);
        self.reader.asked.borrow_mut().insert((self.name, key));
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        (!matches!(entry.node.value, Value::Null)).then_some(&entry.node)
    }

    /// Whether `key` is given, without taking it for one that acts.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key && !matches!(entry.node.value, Value::Null))
    }

    /// The path of a key in the report.
    pub(super) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// A section within this one; absent ones are empty.
    pub(super) fn inner(&mut self, key: &'static str, name: &'static str) -> Self {
        let path = self.path_of(key);
        let node = self.descend(key);
        let entries = node.map_or(&[] as &[Entry], |node| self.reader.map(node, &path));
        let at = node.map_or(self.at, |node| node.at);
        Self {
            reader: self.reader,
            name,
            path,
            at,
            entries,
            taken: BTreeSet::new(),
            inner: BTreeSet::new(),
            strict: self.strict,
        }
    }

    /// The same as [`Self::get`] for a value whose own keys are reported in its place.
    pub(super) fn descend(&mut self, key: &'static str) -> Option<&'r Node> {
        self.inner.insert(key);
        self.get(key)
    }

    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        let node = self.get(key)?;
        self.reader.text(node, key)
    }

    /// Text that may be a secret, and the name of the variable it came from.
    pub(super) fn secret(&mut self, key: &'static str) -> Option<(SecretString, Option<&'r str>)> {
        let node = self.get(key)?;
        let text = self.reader.text(node, key)?;
        if text.trim().is_empty() {
            self.reader.problem(node.at, format!("`{key}` is empty"), "leave the key out where none is wanted");
            return None;
        }
        let variable = match &node.value {
            Value::Text(written) => written.strip_prefix(FROM_ENVIRONMENT),
            _ => None,
        };
        // Files of secrets end with a newline more often than not.
        Some((SecretString::from(text.trim()), variable))
    }

    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        let node = self.get(key)?;
        let flag = match &node.value {
            Value::Bool(flag) => Some(*flag),
            Value::Text(text) => match self.reader.resolve(text, node.at)?.trim().to_lowercase().as_str() {
                "true" => Some(true),
                "false" => Some(false),
                _ => None,
            },
            _ => None,
        };
        if flag.is_none() {
            self.reader.mismatch(node, key, "true or false");
        }
        flag
    }

    /// A whole number from 0, below 2^53.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked first")]
    pub(super) fn count(&mut self, key: &'static str) -> Option<u64> {
        let node = self.get(key)?;
        let fits = |number: f64| number.fract() == 0.0 && (0.0..9e15).contains(&number);
        self.reader.ranged(node, key, "a whole number from 0", fits).map(|number| number as u64)
    }

    /// The same for what is counted in 32 bits.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked first")]
    pub(super) fn small(&mut self, key: &'static str) -> Option<u32> {
        let node = self.get(key)?;
        let fits = |number: f64| number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number);
        self.reader.ranged(node, key, "a whole number from 0", fits).map(|number| number as u32)
    }

    /// A finite number from 0.
    pub(super) fn amount(&mut self, key: &'static str) -> Option<f64> {
        let node = self.get(key)?;
        self.reader.ranged(node, key, "a number from 0", |number| number.is_finite() && number >= 0.0)
    }

    /// A share: 0 to 1, both ends included.
    pub(super) fn share(&mut self, key: &'static str) -> Option<f64> {
        let node = self.get(key)?;
        self.reader.ranged(node, key, "a number from 0 to 1", |number| (0.0..=1.0).contains(&number))
    }

    /// Seconds above 0.
    pub(super) fn seconds(&mut self, key: &'static str) -> Option<Duration> {
        let node = self.get(key)?;
        let fits = |number: f64| number > 0.0 && number <= LONGEST;
        self.reader.ranged(node, key, "a number of seconds above 0, a year at most", fits).map(Duration::from_secs_f64)
    }

    /// Seconds from 0.
    pub(super) fn seconds_or_none(&mut self, key: &'static str) -> Option<Duration> {
        let node = self.get(key)?;
        let fits = |number: f64| (0.0..=LONGEST).contains(&number);
        self.reader.ranged(node, key, "a number of seconds from 0, a year at most", fits).map(Duration::from_secs_f64)
    }

    pub(super) fn texts(&mut self, key: &'static str) -> Vec<String> {
        let Some(node) = self.get(key) else { return Vec::new() };
        let reader = self.reader;
        reader.list(node, key).iter().filter_map(|item| reader.text(item, key)).collect()
    }

    /// Notes a problem at the value of `key`, or at the section where it is absent.
    pub(super) fn error_at(&self, key: &str, message: impl Into<String>, hint: impl Into<String>) {
        let at = self.entries.iter().find(|entry| entry.key == key).map_or(self.at, |entry| entry.node.at);
        self.reader.problem(at, message, hint);
    }

    /// Reports `key` with another grade than the table's, because of the value it has.
    pub(super) fn downgrade(&self, key: &str, grade: Grade, note: impl Into<String>) {
        if let Some(entry) = self.entries.iter().find(|entry| entry.key == key) {
            self.note(key, entry.at, grade, note.into());
        }
    }

    fn note(&self, key: &str, at: Place, grade: Grade, note: String) {
        let key = self.path_of(key);
        let mut report = self.reader.report.borrow_mut();
        if report.iter().all(|(_, row)| row.key != key) {
            report.push((at, KeyReport { key, line: at.line, grade, note }));
        }
    }

    /// Reports every key of the section.
    pub(super) fn finish(self) {
        for entry in self.entries {
            if self.inner.contains(entry.key.as_str()) {
                continue;
            }
            let known = self.taken.contains(entry.key.as_str());
            if self.strict {
                if known {
                    self.note(&entry.key, entry.at, Grade::Exact, String::new());
                } else {
                    let hint = match closest(&entry.key, self.taken.iter().copied()) {
                        Some(name) => format!("did you mean `{name}`?"),
                        None => format!("known here: {}", self.taken.iter().copied().collect::<Vec<_>>().join(", ")),
                    };
                    self.reader.problem(entry.at, format!("`{}` has no key `{}`", self.path, entry.key), hint);
                }
            } else {
                let (grade, note) = grade(self.name, &entry.key);
                self.note(&entry.key, entry.at, grade, note);
            }
        }
    }
}

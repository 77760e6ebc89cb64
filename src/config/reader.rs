//! A reader of the tree that collects instead of stopping: whatever cannot be read becomes a problem with its place, and reading goes on.
//!
//! `os.environ/NAME` is looked up where a value is read, so a variable that only an ignored key names may be
//! missing. The value of a variable is never shown.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, hash_map};
use std::sync::Arc;

use super::problem::Problem;
use super::report::KeyReport;
use super::section::{KeyPlaces, Kind, Section};
use super::yaml::{Entry, Node, Place, Value};

/// LiteLLM's way of naming a variable of the environment: the whole value, never a part of one.
pub(super) const FROM_ENVIRONMENT: &str = "os.environ/";
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
    /// The configuration's files, the first one first.
    files: &'e [String],
    environment: &'e dyn Fn(&str) -> Option<String>,
    /// The file's own `environment_variables`; they win over the environment.
    variables: RefCell<BTreeMap<String, String>>,
    problems: RefCell<Vec<Problem>>,
    /// Why deployments are left out.
    left_out: RefCell<Vec<Problem>>,
    report: RefCell<Report>,
    /// The names of the file's credentials.
    credentials: RefCell<BTreeSet<String>>,
    /// The values of variables, and how the file writes each: problems name the variable.
    resolved: RefCell<BTreeMap<String, String>>,
    /// Every key that was read, by section, and what it is read as: the schema of the file is made of them, and a test holds them
    /// against the table of keys.
    keys_read: RefCell<BTreeMap<(&'static str, &'static str), Kind>>,
    /// The sections in which an unknown key is a problem.
    strict: RefCell<BTreeSet<&'static str>>,
}

/// The report as it grows, one row a key.
#[derive(Default)]
struct Report {
    rows: Vec<(Place, KeyReport)>,
    index: HashMap<String, usize>,
}

impl<'e> Reader<'e> {
    pub(super) fn new(files: &'e [String], environment: &'e dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            files,
            environment,
            variables: RefCell::default(),
            problems: RefCell::default(),
            left_out: RefCell::default(),
            report: RefCell::default(),
            credentials: RefCell::default(),
            resolved: RefCell::default(),
            keys_read: RefCell::default(),
            strict: RefCell::default(),
        }
    }

    /// What was found: the problems, what is left out and why, and the report in the order of the file.
    pub(super) fn finish(self) -> (Vec<Problem>, Vec<Problem>, Vec<KeyReport>) {
        let mut report = self.report.into_inner().rows;
        report.sort_by_key(|(at, _)| *at);
        let (mut problems, mut left_out) = (self.problems.into_inner(), self.left_out.into_inner());
        // Here and not where they are noted: no message can forget it.
        let mut resolved: Vec<_> = self.resolved.into_inner().into_iter().collect();
        resolved.retain(|(value, _)| value.len() >= SHORTEST);
        resolved.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
        for text in problems
            .iter_mut()
            .chain(&mut left_out)
            .flat_map(|problem| [Some(&mut problem.message), problem.hint.as_mut()])
            .flatten()
        {
            for (value, written) in &resolved {
                if text.contains(value) {
                    *text = text.replace(value, written);
                }
            }
        }
        (problems, left_out, report.into_iter().map(|(_, row)| row).collect())
    }

    /// Notes that a key of a section is read as a `kind`; what says more than another kind stands.
    pub(super) fn reads(&self, section: &'static str, key: &'static str, kind: Kind) {
        let mut read = self.keys_read.borrow_mut();
        let known = read.entry((section, key)).or_insert(kind);
        if *known == Kind::Any {
            *known = kind;
        }
    }

    /// Notes that a section has no keys but those that are read.
    pub(super) fn reads_strictly(&self, section: &'static str) {
        self.strict.borrow_mut().insert(section);
    }

    /// Whether it has none.
    pub(super) fn is_strict(&self, section: &str) -> bool {
        self.strict.borrow().contains(section)
    }

    /// Every key that was read, by section.
    pub(super) fn keys_read(&self) -> BTreeMap<(&'static str, &'static str), Kind> {
        self.keys_read.borrow().clone()
    }

    /// A place in words: `FILE:LINE:COLUMN`.
    pub(super) fn told(&self, at: Place) -> Arc<str> {
        format!("{}:{}:{}", self.file(at), at.line, at.column).into()
    }

    /// Notes a problem.
    pub(super) fn problem(&self, at: Place, message: impl Into<String>, hint: impl Into<String>) {
        let problem = self.found(at, message.into(), hint.into());
        self.problems.borrow_mut().push(problem);
    }

    /// Notes why a deployment is left out, which keeps nothing else from being served.
    pub(super) fn leave_out(&self, at: Place, message: impl Into<String>, hint: impl Into<String>) {
        let problem = self.found(at, message.into(), hint.into());
        self.left_out.borrow_mut().push(problem);
    }

    /// Whether no problem was found so far.
    pub(super) fn is_sound(&self) -> bool {
        self.problems.borrow().is_empty()
    }

    /// The file of a place.
    fn file(&self, at: Place) -> &'e str {
        self.files.get(usize::from(at.file)).map_or("", String::as_str)
    }

    /// The same, where it is not the configuration's first file.
    pub(super) fn other_file(&self, at: Place) -> Option<String> {
        (at.file > 0).then(|| self.file(at).to_owned())
    }

    fn found(&self, at: Place, message: String, hint: String) -> Problem {
        let (line, column) = (at.line, at.column);
        Problem { file: self.file(at).to_owned(), line, column, message, hint: (!hint.is_empty()).then_some(hint) }
    }

    /// Reports a key, unless it is reported already.
    pub(super) fn report(&self, at: Place, row: KeyReport) {
        let Report { rows, index } = &mut *self.report.borrow_mut();
        if let hash_map::Entry::Vacant(free) = index.entry(row.key.clone()) {
            free.insert(rows.len());
            rows.push((at, row));
        }
    }

    /// Reports a key, whatever was reported of it before.
    pub(super) fn report_again(&self, at: Place, row: KeyReport) {
        let known = self.report.borrow().index.get(&row.key).copied();
        match known {
            Some(index) => self.report.borrow_mut().rows[index] = (at, row),
            None => self.report(at, row),
        }
    }

    pub(super) fn name_credential(&self, name: String) {
        self.credentials.borrow_mut().insert(name);
    }

    pub(super) fn has_credential(&self, name: &str) -> bool {
        self.credentials.borrow().contains(name)
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
        self.looked_up(text).map_err(|(message, hint)| self.problem(at, message, hint)).ok()
    }

    /// The same for a value without which one deployment is left out.
    pub(super) fn resolve_or_leave_out(&self, text: &str, at: Place) -> Option<String> {
        self.looked_up(text).map_err(|(message, hint)| self.leave_out(at, message, hint)).ok()
    }

    /// The same for a value without which there is as much as without its key.
    pub(super) fn resolve_if_set(&self, text: &str) -> Option<String> {
        self.looked_up(text).ok()
    }

    /// The text, or what is wrong and what to do about it.
    fn looked_up(&self, text: &str) -> Result<String, (String, String)> {
        let Some(name) = text.strip_prefix(FROM_ENVIRONMENT) else { return Ok(text.to_owned()) };
        let Some(value) = self.variable(name) else {
            return Err(if may_be_told(name) {
                (
                    format!("the environment variable `{name}` is not set"),
                    format!("set {name} where witgate runs, or under `environment_variables`"),
                )
            } else {
                (
                    "what follows `os.environ/` is not a variable that is set; it is not repeated here, since it may be a key"
                        .to_owned(),
                    "write the name of a variable after `os.environ/`, or the value without it".to_owned(),
                )
            });
        };
        self.resolved.borrow_mut().insert(value.trim().to_owned(), text.to_owned());
        Ok(value)
    }

    pub(super) fn mismatch(&self, node: &Node, key: &str, wanted: &str) {
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

    pub(super) fn ranged(&self, node: &Node, key: &str, wanted: &str, fits: impl Fn(f64) -> bool) -> Option<f64> {
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
        Section::new(KeyPlaces { reader: self, path: path.into(), at: node.at, entries }, name)
    }
}

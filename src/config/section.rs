//! One mapping of a file whose keys are known: each key is read by its name and type, and every key that was not read is
//! reported.
//!
//! Where the keys stand outlives the reading, so that what is found wrong later, when values are put together, is reported at its
//! place in the file all the same.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use super::problem::closest;
use super::reader::{FROM_ENVIRONMENT, Reader};
use super::report::{Grade, KeyReport, grade, is_unknown, restricts};
use super::yaml::{Entry, Node, Place, Value};

/// Longer times are taken for a slip: seconds where milliseconds were meant, and the like.
const LONGEST: f64 = 366.0 * 86_400.0;

/// What a key is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Anything.
    Any,
    Text,
    /// One of these words.
    OneOf(&'static [&'static str]),
    Flag,
    /// From 0.
    Whole,
    /// From 0.
    Number,
    /// 0 to 1.
    Share,
    /// Above 0, or from 0.
    Seconds,
    Texts,
    /// One, or a list of such.
    TextOrTexts,
    List,
    Map,
    /// Text, or a mapping of anything.
    TextOrMap,
    /// A mapping from names to texts.
    TextByName,
    /// The section of this name.
    Section(&'static str),
    /// A list of such.
    Sections(&'static str),
    /// A mapping from names to such.
    SectionByName(&'static str),
    /// One of these words, or such a section.
    WordOrSection(&'static [&'static str], &'static str),
}

/// Where the keys of one mapping stand.
#[derive(Clone)]
pub(super) struct KeyPlaces<'r, 'e> {
    pub(super) reader: &'r Reader<'e>,
    pub(super) path: Rc<str>,
    pub(super) at: Place,
    pub(super) entries: &'r [Entry],
}

impl KeyPlaces<'_, '_> {
    /// Whether `key` is given, without taking it for one that acts.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key && entry.node.value.says_something())
    }

    /// Whether one of these keys is given and was not read, for which it is reported already. `keys` says of each whether it was.
    pub(super) fn any_unread(&self, keys: &[(&str, bool)]) -> bool {
        keys.iter().any(|(key, read)| !read && self.has(key))
    }

    /// Whether a key is given that begins so.
    pub(super) fn has_any(&self, beginning: &str) -> bool {
        self.entries.iter().any(|entry| entry.key.starts_with(beginning) && entry.node.value.says_something())
    }

    /// The path of a key in the report.
    pub(super) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Notes a problem at the value of `key`, or at the mapping where it is absent.
    pub(super) fn error_at(&self, key: &str, message: impl Into<String>, hint: impl Into<String>) {
        self.reader.problem(self.place_of(key), message, hint);
    }

    /// Notes there why the deployment this mapping describes is left out.
    pub(super) fn leave_out_at(&self, key: &str, message: impl Into<String>, hint: impl Into<String>) {
        self.reader.leave_out(self.place_of(key), message, hint);
    }

    /// The place of `key` in words, where it is given.
    pub(super) fn told(&self, key: &str) -> Option<Arc<str>> {
        self.has(key).then(|| self.reader.told(self.place_of(key)))
    }

    /// Where the value of `key` stands, or the mapping where it is absent.
    pub(super) fn place_of(&self, key: &str) -> Place {
        self.entries.iter().find(|entry| entry.key == key).map_or(self.at, |entry| entry.node.at)
    }

    /// Reports `key` with another grade than the table's, because of the value it has.
    pub(super) fn downgrade(&self, key: &str, grade: Grade, note: impl Into<String>) {
        if let Some(entry) = self.entries.iter().find(|entry| entry.key == key) {
            self.reader.report_again(entry.at, self.row(entry, grade, note.into()));
        }
    }

    fn row(&self, entry: &Entry, grade: Grade, note: String) -> KeyReport {
        let (key, file) = (self.path_of(&entry.key), self.reader.other_file(entry.at));
        KeyReport { key, file, line: entry.at.line, grade, note }
    }
}

/// One mapping of the file whose keys are known. Every key that is read acts; [`Section::finish`]
/// reports those that were not.
pub(super) struct Section<'r, 'e> {
    pub(super) places: KeyPlaces<'r, 'e>,
    name: &'static str,
    taken: BTreeSet<&'static str>,
    /// Keys whose value is reported key by key.
    inner: BTreeSet<&'static str>,
    strict: bool,
    /// Of one whose values may name variables that are not set: the keys that do.
    unset: Option<Vec<&'static str>>,
    /// Keys that nobody knows and that act all the same, as the table says of none.
    sent: BTreeSet<&'r str>,
}

/// What is said of a key that goes to the provider.
const SENT: &str = "nobody knows it but the provider: it is sent as it is written, as LiteLLM does it";

impl<'r, 'e> Section<'r, 'e> {
    pub(super) fn new(places: KeyPlaces<'r, 'e>, name: &'static str) -> Self {
        Self {
            places,
            name,
            taken: BTreeSet::new(),
            inner: BTreeSet::new(),
            strict: false,
            unset: None,
            sent: BTreeSet::new(),
        }
    }

    /// Who reads it.
    pub(super) fn reader(&self) -> &'r Reader<'e> {
        self.places.reader
    }

    /// The same as a section of our own, in which an unknown key is a problem.
    pub(super) fn strict(mut self) -> Self {
        self.strict = true;
        self.reader().reads_strictly(self.name);
        self
    }

    /// The same as a section in which a value that is a variable which is not set says as little as no key, as in LiteLLM.
    pub(super) fn lenient(mut self) -> Self {
        self.unset = Some(Vec::new());
        self
    }

    /// The keys of a lenient section whose values are variables that are not set.
    pub(super) fn unset(&self) -> &[&'static str] {
        self.unset.as_deref().unwrap_or_default()
    }

    /// The value of `key`, read as a `kind`, where it is given and not null. From here on the key counts as one that acts.
    pub(super) fn get(&mut self, key: &'static str, kind: Kind) -> Option<&'r Node> {
        let node = self.written(key, kind)?;
        if let (Some(unset), Value::Text(text)) = (&mut self.unset, &node.value)
            && self.places.reader.resolve_if_set(text).is_none()
        {
            unset.push(key);
            return None;
        }
        Some(node)
    }

    /// The same, whether it is a variable that is set or not.
    fn written(&mut self, key: &'static str, kind: Kind) -> Option<&'r Node> {
        self.taken.insert(key);
        self.reader().reads(self.name, key, kind);
        let entry = self.places.entries.iter().find(|entry| entry.key == key)?;
        let value = &entry.node.value;
        let says = if self.unset.is_some() { value.says_something() } else { !matches!(value, Value::Null) };
        says.then_some(&entry.node)
    }

    /// A section within this one; absent ones are empty.
    pub(super) fn inner(&mut self, key: &'static str, name: &'static str) -> Self {
        let (reader, path) = (self.reader(), self.places.path_of(key));
        let node = self.descend(key, Kind::Section(name));
        let entries = node.map_or(&[] as &[Entry], |node| reader.map(node, &path));
        let at = node.map_or(self.places.at, |node| node.at);
        let inner = Self::new(KeyPlaces { reader, path: path.into(), at, entries }, name);
        if self.strict { inner.strict() } else { inner }
    }

    /// The same as [`Self::get`] for a value whose own keys are reported in its place.
    pub(super) fn descend(&mut self, key: &'static str, kind: Kind) -> Option<&'r Node> {
        self.inner.insert(key);
        self.get(key, kind)
    }

    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        let node = self.get(key, Kind::Text)?;
        self.reader().text(node, key)
    }

    /// Text or a number; nothing where it names a variable that is not set.
    pub(super) fn text_if_set(&mut self, key: &'static str) -> Option<String> {
        let node = self.get(key, Kind::Text)?;
        match &node.value {
            Value::Text(text) => self.reader().resolve_if_set(text),
            Value::Integer(number) => Some(number.to_string()),
            _ => self.reader().text(node, key),
        }
    }

    /// The value that goes with one of these words; any other is a problem, with `hint`.
    pub(super) fn word<T: Copy>(
        &mut self,
        key: &'static str,
        words: &'static [&'static str],
        values: &[T],
        hint: &str,
    ) -> Option<T> {
        let node = self.get(key, Kind::OneOf(words))?;
        let text = self.reader().text(node, key)?;
        let found = words.iter().zip(values).find(|(word, _)| **word == text);
        if found.is_none() {
            let message = format!("`{key}` must be one of: {}", words.join(", "));
            self.reader().problem(node.at, message, hint);
        }
        found.map(|(_, value)| *value)
    }

    /// Text without which a deployment is left out, where it names a variable that is not set.
    pub(super) fn text_or_leave_out(&mut self, key: &'static str) -> Option<String> {
        let node = self.written(key, Kind::Text)?;
        match &node.value {
            Value::Text(text) => self.reader().resolve_or_leave_out(text, node.at),
            _ => self.reader().text(node, key),
        }
    }

    /// Text that may be a secret, and the name of the variable it came from.
    pub(super) fn secret(&mut self, key: &'static str) -> Option<(SecretString, Option<&'r str>)> {
        let node = self.get(key, Kind::Text)?;
        let text = self.reader().text(node, key)?;
        self.secret_of(node, key, &text)
    }

    /// The same for a deployment's, without which it is left out.
    pub(super) fn secret_or_leave_out(&mut self, key: &'static str) -> Option<(SecretString, Option<&'r str>)> {
        let node = self.written(key, Kind::Text)?;
        let text = match &node.value {
            Value::Text(text) => self.reader().resolve_or_leave_out(text, node.at)?,
            _ => self.reader().text(node, key)?,
        };
        self.secret_of(node, key, &text)
    }

    /// The same for what may also be a mapping, which counts as its own text in JSON.
    pub(super) fn secret_or_map_or_leave_out(&mut self, key: &'static str) -> Option<(SecretString, Option<&'r str>)> {
        let Value::Map(entries) = &self.written(key, Kind::TextOrMap)?.value else {
            return self.secret_or_leave_out(key);
        };
        let reader = self.reader();
        let value = |entry: &Entry| match &entry.node.value {
            Value::Text(text) => reader.resolve_or_leave_out(text, entry.node.at).map(serde_json::Value::String),
            _ => Some(reader.json(&entry.node)),
        };
        let fields = entries.iter().map(|entry| Some((entry.key.clone(), value(entry)?)));
        let fields = fields.collect::<Option<serde_json::Map<_, _>>>()?;
        Some((SecretString::from(serde_json::Value::Object(fields).to_string()), None))
    }

    fn secret_of(&self, node: &'r Node, key: &'static str, text: &str) -> Option<(SecretString, Option<&'r str>)> {
        if text.trim().is_empty() {
            self.reader().problem(node.at, format!("`{key}` is empty"), "leave the key out where none is wanted");
            return None;
        }
        if is_placeholder(text.trim()) {
            let message = format!("`{key}` is a placeholder as it is written: nothing fills it in here");
            let hint = "name the variable as `os.environ/NAME`";
            if self.unset.is_some() {
                self.reader().leave_out(node.at, message, hint);
            } else {
                self.reader().problem(node.at, message, hint);
            }
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
        let node = self.get(key, Kind::Flag)?;
        let flag = match &node.value {
            Value::Bool(flag) => Some(*flag),
            Value::Text(text) => match self.reader().resolve(text, node.at)?.trim().to_lowercase().as_str() {
                "true" => Some(true),
                "false" => Some(false),
                _ => None,
            },
            _ => None,
        };
        if flag.is_none() {
            self.reader().mismatch(node, key, "true or false");
        }
        flag
    }

    /// A whole number from 0, below 2^53.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked first")]
    pub(super) fn count(&mut self, key: &'static str) -> Option<u64> {
        let node = self.get(key, Kind::Whole)?;
        let fits = |number: f64| number.fract() == 0.0 && (0.0..9e15).contains(&number);
        self.reader().ranged(node, key, "a whole number from 0", fits).map(|number| number as u64)
    }

    /// The same for what is counted in 32 bits.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked first")]
    pub(super) fn small(&mut self, key: &'static str) -> Option<u32> {
        let node = self.get(key, Kind::Whole)?;
        let fits = |number: f64| number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number);
        self.reader().ranged(node, key, "a whole number from 0", fits).map(|number| number as u32)
    }

    /// A finite number from 0.
    pub(super) fn amount(&mut self, key: &'static str) -> Option<f64> {
        let node = self.get(key, Kind::Number)?;
        self.reader().ranged(node, key, "a number from 0", |number| number.is_finite() && number >= 0.0)
    }

    /// The numbers from 0 whose keys begin so, each with what follows the beginning: keys of which there is no list. The table grades them.
    /// Those that were read by their whole name are left out.
    pub(super) fn amounts(&self, beginning: &str) -> Vec<(&'r str, f64)> {
        let reader = self.reader();
        let amount = |entry: &'r Entry| {
            let unread = !matches!(entry.node.value, Value::Null) && !self.taken.contains(entry.key.as_str());
            let ending = entry.key.strip_prefix(beginning).filter(|_| unread)?;
            let fits = |number: f64| number.is_finite() && number >= 0.0;
            Some((ending, reader.ranged(&entry.node, &entry.key, "a number from 0", fits)?))
        };
        self.places.entries.iter().filter_map(amount).collect()
    }

    /// A share: 0 to 1, both ends included.
    pub(super) fn share(&mut self, key: &'static str) -> Option<f64> {
        let node = self.get(key, Kind::Share)?;
        self.reader().ranged(node, key, "a number from 0 to 1", |number| (0.0..=1.0).contains(&number))
    }

    /// Seconds above 0.
    pub(super) fn seconds(&mut self, key: &'static str) -> Option<Duration> {
        let node = self.get(key, Kind::Seconds)?;
        let fits = |number: f64| number > 0.0 && number <= LONGEST;
        self.reader()
            .ranged(node, key, "a number of seconds above 0, a year at most", fits)
            .map(Duration::from_secs_f64)
    }

    /// Seconds from 0.
    pub(super) fn seconds_or_none(&mut self, key: &'static str) -> Option<Duration> {
        let node = self.get(key, Kind::Seconds)?;
        let fits = |number: f64| (0.0..=LONGEST).contains(&number);
        self.reader().ranged(node, key, "a number of seconds from 0, a year at most", fits).map(Duration::from_secs_f64)
    }

    pub(super) fn texts(&mut self, key: &'static str) -> Vec<String> {
        let Some(node) = self.get(key, Kind::Texts) else { return Vec::new() };
        let reader = self.reader();
        reader.list(node, key).iter().filter_map(|item| reader.text(item, key)).collect()
    }

    pub(super) fn text_or_texts(&mut self, key: &'static str) -> Vec<String> {
        let Some(node) = self.get(key, Kind::TextOrTexts) else { return Vec::new() };
        let items = match &node.value {
            Value::List(items) => items,
            _ => std::slice::from_ref(node),
        };
        items.iter().filter_map(|item| self.reader().text(item, key)).collect()
    }

    /// The keys that neither were read nor stand in the table, nor look like one that does, but those of which `is_ours` holds. They act.
    pub(super) fn others(&mut self, is_ours: impl Fn(&str) -> bool) -> Vec<(&'r str, &'r Node)> {
        let is_other = |entry: &&'r Entry| {
            let key = entry.key.as_str();
            !self.taken.contains(key)
                && is_unknown(self.name, key)
                && !is_ours(key)
                && entry.node.value.says_something()
        };
        let others: Vec<_> = self.places.entries.iter().filter(is_other).collect();
        self.sent.extend(others.iter().map(|entry| entry.key.as_str()));
        others.into_iter().map(|entry| (entry.key.as_str(), &entry.node)).collect()
    }

    /// Reports every key of the section.
    pub(super) fn finish(self) {
        for entry in self.places.entries {
            if self.inner.contains(entry.key.as_str()) {
                continue;
            }
            let known = self.taken.contains(entry.key.as_str());
            if self.strict && !known {
                let hint = match closest(&entry.key, self.taken.iter().copied()) {
                    Some(name) => format!("did you mean `{name}`?"),
                    None => format!("known here: {}", self.taken.iter().copied().collect::<Vec<_>>().join(", ")),
                };
                let message = format!("`{}` has no key `{}`", self.places.path, entry.key);
                self.reader().problem(entry.at, message, hint);
                continue;
            }
            if !self.strict
                && let Some(why) = restricts(self.name, &entry.key)
                && match (self.name, entry.key.as_str()) {
                    ("top" | "litellm_settings", "guardrails") => has_default(&entry.node.value),
                    ("litellm_settings", "callbacks") => has_filter(&entry.node.value),
                    _ => is_on(&entry.node.value),
                }
            {
                let message = format!("`{}` restricts who may do what, and is not supported", entry.key);
                self.reader().problem(entry.at, message, why);
            }
            let (grade, note) = match () {
                () if self.strict => (Grade::Exact, String::new()),
                () if self.sent.contains(entry.key.as_str()) => (Grade::Approximate, SENT.to_owned()),
                () => grade(self.name, &entry.key),
            };
            self.reader().report(entry.at, self.places.row(entry, grade, note));
        }
    }
}

/// Whether a secret is what other programs put a variable in the place of: it would be the same, and known, wherever the file is.
fn is_placeholder(text: &str) -> bool {
    [("${", "}"), ("$(", ")"), ("{{", "}}")].iter().any(|(begin, end)| text.starts_with(begin) && text.ends_with(end))
}

/// Whether guardrails that are described run for requests that name none.
fn has_default(value: &Value) -> bool {
    match value {
        Value::List(items) => items.iter().any(|item| has_default(&item.value)),
        Value::Map(entries) => entries.iter().any(|entry| match entry.key.as_str() {
            "default_on" => is_on(&entry.node.value),
            _ => has_default(&entry.node.value),
        }),
        _ => false,
    }
}

/// Callbacks of LiteLLM's that look at what is asked or answered and refuse or change it (`initialize_callbacks_on_proxy`).
const FILTERS: [&str; 12] = [
    "aporia_prompt_injection",
    "azure_content_safety",
    "banned_keywords",
    "blocked_user_check",
    "detect_prompt_injection",
    "google_text_moderation",
    "hide_secrets",
    "lakera_prompt_injection",
    "llamaguard_moderations",
    "llmguard_moderations",
    "openai_moderations",
    "presidio",
];

/// Whether one of these callbacks is a filter.
fn has_filter(value: &Value) -> bool {
    match value {
        Value::List(items) => items.iter().any(|item| has_filter(&item.value)),
        Value::Text(name) => FILTERS.contains(&name.trim()),
        _ => false,
    }
}

/// Whether a value turns anything on.
fn is_on(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Text(text) => !matches!(text.trim().to_lowercase().as_str(), "" | "false"),
        Value::List(items) => !items.is_empty(),
        Value::Map(entries) => !entries.is_empty(),
        Value::Bool(true) | Value::Integer(_) | Value::Float(_) => true,
    }
}

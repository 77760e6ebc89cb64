//! One tree out of what stands in several places: the files of `include`, the values of named credentials, and
//! `default_litellm_params`. What is put together keeps the place it was written at, so problems name it.
//!
//! As in LiteLLM, lists of an included file are added to ours, any other section of it takes ours' place, files are merged in the
//! order they are named, those of an included file after all of ours, and no file twice. A file that includes one that includes it
//! is a problem here.

use std::collections::VecDeque;
use std::path::{Component, Path, PathBuf};

use super::problem::{Problem, Problems};
use super::yaml::{self, Entry, Node, Place, Value};

/// Files of one configuration.
const MOST_FILES: usize = 200;

/// Reads a file that a configuration includes: its text, or why it cannot be read.
pub type Open<'o> = dyn Fn(&Path) -> Result<String, String> + 'o;

/// The tree, and what its files are called, the first one first.
pub(super) struct Composed {
    pub(super) root: Node,
    pub(super) files: Vec<String>,
    /// Sections that an included file replaces: which, where it stood, and the place of what counts.
    pub(super) replaced: Vec<(String, Place, Place)>,
    /// What is wrong with what is included.
    pub(super) problems: Vec<Problem>,
}

struct Pending {
    path: PathBuf,
    /// Where it is named.
    at: Place,
    /// The files on the way there, itself not among them.
    through: Vec<PathBuf>,
}

/// Reads `text` and all it includes.
pub(super) fn compose(text: &str, file: &str, open: &Open<'_>) -> Result<Composed, Problems> {
    let root = yaml::tree(text, file, 0)?;
    let mut composed = Composed { root, files: vec![file.to_owned()], replaced: Vec::new(), problems: Vec::new() };
    let mut problems = Vec::new();
    let first = plain(Path::new(file));
    let mut loaded = vec![first.clone()];
    let mut pending: VecDeque<Pending> = composed.includes(&composed.root, &[first], &mut problems).into();
    while let Some(Pending { path, at, through }) = pending.pop_front() {
        if through.contains(&path) {
            let message = format!("{} includes itself", path.display());
            problems.push(composed.problem(at, message, "remove one of the two"));
            continue;
        }
        if loaded.contains(&path) {
            continue;
        }
        if loaded.len() == MOST_FILES {
            problems.push(composed.problem(at, format!("more than {MOST_FILES} files"), ""));
            break;
        }
        loaded.push(path.clone());
        let name = path.display().to_string();
        let read = open(&path).map_err(|why| composed.problem(at, format!("{name}: cannot be read: {why}"), ""));
        let text = match read {
            Ok(text) => text,
            Err(problem) => {
                problems.push(problem);
                continue;
            }
        };
        let number = u16::try_from(composed.files.len()).unwrap_or(u16::MAX);
        composed.files.push(name.clone());
        match yaml::tree(&text, &name, number) {
            Ok(root) => {
                let chain: Vec<PathBuf> = through.into_iter().chain([path]).collect();
                pending.extend(composed.includes(&root, &chain, &mut problems));
                composed.merge(root, &mut problems);
            }
            Err(found) => problems.extend(found.iter().cloned()),
        }
    }
    composed.share();
    composed.problems = problems;
    Ok(composed)
}

impl Composed {
    fn problem(&self, at: Place, message: String, hint: &str) -> Problem {
        let file = self.files.get(usize::from(at.file)).cloned().unwrap_or_default();
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        Problem { file, line: at.line, column: at.column, message, hint }
    }

    /// The files that `root` names, relative to the last of `chain`, which it is of.
    fn includes(&self, root: &Node, chain: &[PathBuf], problems: &mut Vec<Problem>) -> Vec<Pending> {
        let Some(node) = value(root, "include") else { return Vec::new() };
        let folder = chain.last().and_then(|path| path.parent()).unwrap_or(Path::new(""));
        let refused =
            |at: Place| self.problem(at, "`include` must be a list of files".to_owned(), "include: [models.yaml]");
        let items: &[Node] = match &node.value {
            Value::List(items) => items,
            Value::Null => &[],
            _ => {
                problems.push(refused(node.at));
                &[]
            }
        };
        let named = items.iter().filter_map(|item| match &item.value {
            Value::Text(name) if !name.is_empty() => {
                Some(Pending { path: plain(&folder.join(name)), at: item.at, through: chain.to_vec() })
            }
            _ => {
                problems.push(refused(item.at));
                None
            }
        });
        named.collect()
    }

    fn merge(&mut self, included: Node, problems: &mut Vec<Problem>) {
        let included = match included.value {
            Value::Map(entries) => entries,
            Value::Null => return,
            _ => {
                problems.push(self.problem(included.at, "an included file must be a mapping".to_owned(), ""));
                return;
            }
        };
        if matches!(self.root.value, Value::Null) {
            self.root.value = Value::Map(Vec::new());
        }
        let Value::Map(own) = &mut self.root.value else { return };
        for entry in included.into_iter().filter(|entry| entry.key != "include") {
            let Some(before) = own.iter_mut().find(|own| own.key == entry.key) else {
                own.push(entry);
                continue;
            };
            match (&mut before.node.value, entry.node.value) {
                (Value::List(items), Value::List(more)) => items.extend(more),
                (_, value) => {
                    self.replaced.push((entry.key.clone(), before.at, entry.at));
                    *before = Entry { node: Node { value, at: entry.node.at }, ..entry };
                }
            }
        }
    }

    /// Gives deployments what named credentials and `default_litellm_params` hold for them, where they say nothing themselves.
    fn share(&mut self) {
        let credentials: Vec<(String, Vec<Entry>)> =
            value(&self.root, "credential_list").map(credentials).unwrap_or_default();
        let defaults = value(&self.root, "router_settings").and_then(|router| value(router, "default_litellm_params"));
        let defaults = match defaults.map(|node| &node.value) {
            Some(Value::Map(entries)) => entries.clone(),
            _ => Vec::new(),
        };
        if credentials.is_empty() && defaults.is_empty() {
            return;
        }
        let Some(Value::List(models)) = value_mut(&mut self.root, "model_list").map(|node| &mut node.value) else {
            return;
        };
        for params in models.iter_mut().filter_map(|model| value_mut(model, "litellm_params")) {
            let named = match value(params, "litellm_credential_name").map(|node| &node.value) {
                Some(Value::Text(name)) => credentials.iter().find(|(one, _)| one == name).map(|(_, values)| values),
                _ => None,
            };
            let Value::Map(own) = &mut params.value else { continue };
            for entry in named.into_iter().flatten().chain(&defaults) {
                if !own.iter().any(|own| own.key == entry.key) {
                    own.push(entry.clone());
                }
            }
        }
    }
}

fn credentials(list: &Node) -> Vec<(String, Vec<Entry>)> {
    let Value::List(items) = &list.value else { return Vec::new() };
    let of = |item: &Node| match (&value(item, "credential_name")?.value, &value(item, "credential_values")?.value) {
        (Value::Text(name), Value::Map(values)) => Some((name.clone(), values.clone())),
        _ => None,
    };
    items.iter().filter_map(of).collect()
}

fn value<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    let Value::Map(entries) = &node.value else { return None };
    entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node)
}

fn value_mut<'n>(node: &'n mut Node, key: &str) -> Option<&'n mut Node> {
    let Value::Map(entries) = &mut node.value else { return None };
    entries.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.node)
}

/// The path without `.` and `..` where that can be told without looking.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(plain.components().next_back(), Some(Component::Normal(_))) => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
}

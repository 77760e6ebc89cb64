//! What tools are called: by models, which are shown functions with plain names, and by clients, whose tools are of several kinds
//! and stand in namespaces.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::chat::Rest;

/// The longest name of a function that every provider takes.
const LONGEST: usize = 64;

/// Where the names stand in a request's echo, for those who write its reply. No reply repeats them.
const ECHO: &str = "witgate:tools";

/// What a call to a tool is in this API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Function,
    Custom,
    LocalShell,
    Shell,
    ApplyPatch,
    ToolSearch,
}

impl Kind {
    const ALL: [Self; 6] =
        [Self::Function, Self::Custom, Self::LocalShell, Self::Shell, Self::ApplyPatch, Self::ToolSearch];

    /// The type of such tools, which is the name of those that have no other.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::Custom => "custom",
            Self::LocalShell => "local_shell",
            Self::Shell => "shell",
            Self::ApplyPatch => "apply_patch",
            Self::ToolSearch => "tool_search",
        }
    }

    /// The kind of tools of this type.
    pub(super) fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// Whether a provider that speaks this API is told of such a tool as its client told, where it stands in no namespace.
    pub(super) const fn goes_as_written(self) -> bool {
        matches!(self, Self::Custom | Self::LocalShell)
    }

    /// Whether such tools have a name of their own.
    pub(super) const fn is_named(self) -> bool {
        matches!(self, Self::Function | Self::Custom)
    }
}

/// A tool as its client calls it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Called {
    pub(super) kind: Kind,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
}

impl Called {
    /// A tool of this name. A namespace without a name is none.
    pub(super) fn new(kind: Kind, namespace: Option<String>, name: String) -> Self {
        Self { kind, namespace: namespace.filter(|namespace| !namespace.is_empty()), name }
    }

    /// The tool of a kind of which there is one.
    pub(super) fn nameless(kind: Kind) -> Self {
        Self { kind, namespace: None, name: kind.word().to_owned() }
    }

    /// Whether a provider that speaks this API is told of it as its client told: what such models write is meant for it then.
    pub(super) fn goes_as_written(&self) -> bool {
        self.namespace.is_none() && self.kind.goes_as_written()
    }

    /// The name that models are shown, where no other tool has it: the tool's own, behind its namespace.
    pub(super) fn shown(&self) -> String {
        let whole = self.whole();
        if self.namespace.is_none() || (whole.len() <= LONGEST && whole.chars().all(is_plain)) {
            whole
        } else {
            self.marked()
        }
    }

    /// The same with a mark that tells it from other tools', in letters that every provider takes. It is the same in every request: what is
    /// said in it again must be read as the same conversation.
    pub(super) fn marked(&self) -> String {
        let mark = format!("_{:08x}", self.print());
        let plain = |letter| if is_plain(letter) { letter } else { '_' };
        let mut name: String = self.whole().chars().map(plain).take(LONGEST - mark.len()).collect();
        name.push_str(&mark);
        name
    }

    fn whole(&self) -> String {
        match self.namespace.as_deref() {
            Some(namespace) if !self.tells_namespace(namespace) => {
                format!("{}__{}", namespace.trim_end_matches('_'), self.name.trim_start_matches('_'))
            }
            _ => self.name.clone(),
        }
    }

    /// Whether the name begins with its namespace already.
    fn tells_namespace(&self, namespace: &str) -> bool {
        let rest = self.name.strip_prefix(namespace);
        rest.is_some_and(|rest| namespace.ends_with('_') || !rest.starts_with(char::is_alphanumeric))
    }

    /// FNV-1a, 32 bits: no keys, no versions.
    fn print(&self) -> u32 {
        let texts = [self.kind.word(), self.namespace.as_deref().unwrap_or_default(), self.name.as_str()];
        let bytes = texts.into_iter().flat_map(|text| text.bytes().chain([0]));
        bytes.fold(0x811C_9DC5, |print: u32, byte| (print ^ u32::from(byte)).wrapping_mul(0x0100_0193))
    }
}

const fn is_plain(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-')
}

/// The tools of a request that are no functions, or that models know by another name.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<String, Called>);

impl Names {
    /// Keeps these names in the echo of a request, and beside them the tools that go out as their client wrote them.
    pub(super) fn keep<'n>(names: impl Iterator<Item = (&'n str, &'n Called, Option<&'n Value>)>, echo: &mut Rest) {
        let telling = names.filter(|(shown, called, _)| {
            called.kind != Kind::Function || called.namespace.is_some() || called.name != *shown
        });
        let list: Vec<Value> = telling
            .map(|(shown, Called { kind, namespace, name }, written)| {
                json!([shown, kind.word(), namespace, name, written])
            })
            .collect();
        if !list.is_empty() {
            echo.insert(ECHO.to_owned(), list.into());
        }
    }

    /// Takes them out of it.
    pub(super) fn take(echo: &mut Rest) -> Self {
        let names = Self::of(echo);
        echo.shift_remove(ECHO);
        names
    }

    /// Those of a request's echo.
    pub(super) fn of(echo: &Rest) -> Self {
        let Some(Value::Array(list)) = echo.get(ECHO) else { return Self::default() };
        let read = |entry: &Value| {
            let text = |place: usize| entry.get(place).and_then(Value::as_str);
            let (kind, namespace, name) = (Kind::of(text(1)?)?, text(2).map(str::to_owned), text(3)?.to_owned());
            Some((text(0)?.to_owned(), Called { kind, namespace, name }))
        };
        Self(list.iter().filter_map(read).collect())
    }

    /// The tools of a request's echo that go out as their client wrote them, by the names that models are shown.
    pub(super) fn written(echo: &Rest) -> HashMap<&str, &Value> {
        let list = echo.get(ECHO).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let told = list.iter().filter_map(|entry| {
            let written = entry.get(4).filter(|written| !written.is_null())?;
            Some((entry.get(0)?.as_str()?, written))
        });
        told.collect()
    }

    /// What a model means that calls this name: a function, where no tool is known by it.
    pub(super) fn called(&self, shown: &str) -> Called {
        let function = || Called::new(Kind::Function, None, shown.to_owned());
        self.0.get(shown).cloned().unwrap_or_else(function)
    }
}

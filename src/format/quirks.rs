//! What a provider that imitates a format takes otherwise than the one it imitates, as data (`data/providers.json`).
//!
//! A field under another name is sent under that name. A field that is refused is left out, and reported where a client sent
//! it. Whoever imitates well has no quirks, and pays nothing for those who have.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::chat::Rest;

/// One provider's quirks.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quirks {
    /// Fields of the request it refuses.
    refuses: BTreeSet<String>,
    /// Fields of the request it knows by another name: theirs, and its own.
    renames: BTreeMap<String, String>,
    /// Roles of messages it knows by another name.
    roles: BTreeMap<String, String>,
}

/// No quirks at all.
pub static NO_QUIRKS: Quirks = Quirks { refuses: BTreeSet::new(), renames: BTreeMap::new(), roles: BTreeMap::new() };

impl Quirks {
    /// The name a field is sent under; `None` where it is left out.
    pub(super) fn field<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        if self.refuses.contains(name) {
            return None;
        }
        Some(self.renames.get(name).map_or(name, String::as_str))
    }

    /// The name of a role.
    pub(super) fn role<'a>(&'a self, name: &'a str) -> &'a str {
        self.roles.get(name).map_or(name, String::as_str)
    }

    /// The same fields but those `without`, as this provider takes them; `None` where that makes no difference. Refused ones
    /// are named in `dropped`.
    pub(super) fn fields(&self, rest: &Rest, without: &[&str], dropped: &mut Vec<String>) -> Option<Rest> {
        let unknown = |name: &String| !self.refuses.contains(name) && !self.renames.contains_key(name);
        if rest.keys().all(unknown) {
            return None;
        }
        let mut taken = Rest::new();
        for (name, value) in rest.iter().filter(|(name, _)| !without.contains(&name.as_str())) {
            match self.field(name) {
                Some(name) => drop(taken.insert(name.to_owned(), value.clone())),
                None if !value.is_null() => dropped.push(name.clone()),
                None => {}
            }
        }
        Some(taken)
    }
}

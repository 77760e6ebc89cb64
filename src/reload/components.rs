//! The components of the policies' folder: each is compiled once, whatever becomes of the configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::id::PolicyName;
use crate::policy::{Component, Digest, Engine};

/// A component, as it is loaded: its lines in the log carry its name, so that of two files with the same bytes each has its own. The last says
/// whether it may import WASI.
type Key = (PolicyName, Digest, bool);

/// What is known of components.
pub(super) struct Components {
    engine: Engine,
    /// The policies that may import WASI, every call of which traps.
    wasi_stubs: Vec<PolicyName>,
    /// A file that did not change is not loaded again, unless what it may import did.
    loaded: BTreeMap<Key, Arc<Component>>,
    /// Those that could not be loaded, so that one that compiles for half a minute does so once.
    refused: BTreeMap<Key, String>,
    /// Those that no group names, to be checked aside.
    unchecked: Vec<Unchecked>,
}

/// A component that no group names. Whether it could serve is found out aside: no change of the configuration waits for it.
pub(super) struct Unchecked {
    pub(super) name: PolicyName,
    pub(super) digest: Digest,
    bytes: Vec<u8>,
    wasi_stubs: bool,
    engine: Engine,
}

/// What was found out about one.
pub(super) struct Checked {
    pub(super) name: PolicyName,
    pub(super) digest: Digest,
    wasi_stubs: bool,
    found: Result<Arc<Component>, String>,
}

impl Unchecked {
    /// Loads it. Blocks for as long as compiling takes.
    pub(super) fn check(self) -> Checked {
        let Self { name, digest, bytes, wasi_stubs, engine } = self;
        let found = load(&engine, &name, digest, &bytes, wasi_stubs);
        Checked { name, digest, wasi_stubs, found }
    }
}

impl Checked {
    /// What is wrong with it, if anything is.
    pub(super) fn problem(self) -> Option<String> {
        self.found.err()
    }
}

fn load(
    engine: &Engine,
    name: &PolicyName,
    digest: Digest,
    bytes: &[u8],
    wasi_stubs: bool,
) -> Result<Arc<Component>, String> {
    engine
        .load_granted(name, bytes, wasi_stubs)
        .map_err(|problem| format!("policy `{name}` ({}): {}", digest.short(), in_one_line(&problem.to_string())))
}

/// What libraries say of damaged bytes is written over many lines, one a byte.
fn in_one_line(problem: &str) -> String {
    problem.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Components {
    pub(super) const fn new(engine: Engine) -> Self {
        Self {
            engine,
            wasi_stubs: Vec::new(),
            loaded: BTreeMap::new(),
            refused: BTreeMap::new(),
            unchecked: Vec::new(),
        }
    }

    /// A build begins, under which these policies may import WASI.
    pub(super) fn begin(&mut self, wasi_stubs: &[PolicyName]) {
        self.unchecked.clear();
        self.wasi_stubs = wasi_stubs.to_vec();
    }

    /// Forgets what is neither in use nor in the folder any more.
    pub(super) fn keep(&mut self, present: &BTreeSet<Digest>, found: &BTreeSet<Digest>) {
        self.refused.retain(|(_, digest, _), _| present.contains(digest));
        self.loaded.retain(|(_, digest, _), _| found.contains(digest));
    }

    /// Loads a component that is needed now. Blocks for as long as compiling takes.
    pub(super) fn load(&mut self, name: &PolicyName, bytes: &[u8]) -> Result<Arc<Component>, String> {
        let digest = Digest::of(bytes);
        if let Some(known) = self.found(name, digest) {
            return known;
        }
        let wasi_stubs = self.wasi_stubs.contains(name);
        let found = load(&self.engine, name, digest, bytes, wasi_stubs);
        self.remember(Checked { name: name.clone(), digest, wasi_stubs, found: found.clone() });
        found
    }

    /// What is known of a component that nobody needs now; one that is not known is put down to be checked.
    pub(super) fn known(&mut self, name: &PolicyName, bytes: &[u8]) -> Option<Result<Arc<Component>, String>> {
        let digest = Digest::of(bytes);
        let known = self.found(name, digest);
        if known.is_none() {
            let (name, engine) = (name.clone(), self.engine.clone());
            let wasi_stubs = self.wasi_stubs.contains(&name);
            self.unchecked.push(Unchecked { name, digest, bytes: bytes.to_vec(), wasi_stubs, engine });
        }
        known
    }

    fn found(&self, name: &PolicyName, digest: Digest) -> Option<Result<Arc<Component>, String>> {
        let key = (name.clone(), digest, self.wasi_stubs.contains(name));
        if let Some(problem) = self.refused.get(&key) {
            return Some(Err(problem.clone()));
        }
        self.loaded.get(&key).map(|known| Ok(Arc::clone(known)))
    }

    /// What the last build left to be checked.
    pub(super) fn take_unchecked(&mut self) -> Vec<Unchecked> {
        std::mem::take(&mut self.unchecked)
    }

    /// Takes in what was found out aside, for the next build.
    pub(super) fn remember(&mut self, checked: Checked) {
        let key = (checked.name, checked.digest, checked.wasi_stubs);
        match checked.found {
            Ok(component) => drop(self.loaded.insert(key, component)),
            Err(problem) => drop(self.refused.insert(key, problem)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin_policies::SHIPPED;
    use crate::policy::EngineOptions;

    #[test]
    fn what_nobody_names_is_checked_aside_once() {
        let mut components = Components::new(Engine::new(EngineOptions::default()).unwrap());
        let files = [("good", SHIPPED[0].1), ("bad", &b"no component"[..]), ("twin", SHIPPED[0].1)];
        for (name, bytes) in files {
            assert!(components.known(&PolicyName::from(name), bytes).is_none(), "nothing was compiled");
        }
        let unchecked = components.take_unchecked();
        assert_eq!(unchecked.len(), 3);
        for one in unchecked {
            components.remember(one.check());
        }
        let [good, bad, twin] = files.map(|(name, bytes)| components.known(&PolicyName::from(name), bytes));
        assert!(good.is_some_and(|found| found.is_ok()) && twin.is_some_and(|found| found.is_ok()));
        assert!(bad.is_some_and(|found| found.is_err_and(|problem| problem.contains("policy `bad`"))));
        assert!(components.take_unchecked().is_empty());
    }

    #[test]
    fn what_is_wrong_with_a_file_is_one_line() {
        let mut components = Components::new(Engine::new(EngineOptions::default()).unwrap());
        for bytes in [&b"no component"[..], b"", &SHIPPED[0].1[..100]] {
            let problem = components.load(&PolicyName::from("bad"), bytes).unwrap_err();
            assert!(problem.starts_with("policy `bad` (") && problem.lines().count() == 1, "{problem}");
        }
    }
}

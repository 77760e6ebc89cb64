//! The components of the policies' folder: each is compiled once, whatever becomes of the configuration, and however many files have
//! the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use super::compiling::{Aside, Compiled, Key, Uncompiled};
use crate::id::PolicyName;
use crate::policy::{Component, Digest, Engine, Inspection, PolicyProblem, inspect};
use crate::rollout::Compiling;

/// What is known of components, by digest.
pub(super) struct Components {
    engine: Engine,
    /// The policies that may import WASI, every call of which traps.
    wasi_stubs: Vec<PolicyName>,
    /// A file that did not change is not loaded again, unless what it may import did. By name, too: files of the same bytes share
    /// what was compiled.
    loaded: BTreeMap<Key, BTreeMap<PolicyName, Arc<Component>>>,
    /// Those that could not be loaded, so that one that compiles for half a minute does so once.
    refused: BTreeMap<Key, PolicyProblem>,
    /// What those that groups name say of themselves; `None` of one that cannot be a policy.
    inspected: BTreeMap<Key, Option<Inspection>>,
    /// Those that are to be compiled.
    uncompiled: Vec<Uncompiled>,
    /// What compiles them; without it, whoever needs one waits.
    aside: Option<Aside>,
    /// Those that groups name and that are being compiled.
    coming: Vec<(Key, Compiling)>,
}

fn told(name: &PolicyName, digest: Digest, problem: PolicyProblem) -> String {
    format!("policy `{name}` ({}): {}", digest.short(), in_one_line(&problem.about(name).to_string()))
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
            inspected: BTreeMap::new(),
            uncompiled: Vec::new(),
            aside: None,
            coming: Vec::new(),
        }
    }

    /// From now on components are compiled aside, and whoever builds is woken when one is done.
    ///
    /// # Errors
    /// There are no threads for that.
    pub(super) fn compile_aside(&mut self, wake: &Sender<()>) -> io::Result<()> {
        self.aside = Some(Aside::start(wake)?);
        Ok(())
    }

    /// Takes in what was compiled aside.
    pub(super) fn take_in(&mut self) {
        let done = self.aside.as_ref().map(Aside::done).unwrap_or_default();
        for compiled in done {
            self.remember(compiled);
        }
        let Self { coming, loaded, refused, .. } = self;
        coming.retain(|(key, _)| !loaded.contains_key(key) && !refused.contains_key(key));
    }

    /// A build begins, under which these policies may import WASI.
    pub(super) fn begin(&mut self, wasi_stubs: &[PolicyName]) {
        self.uncompiled.clear();
        self.wasi_stubs = wasi_stubs.to_vec();
    }

    /// Forgets what is neither in use nor in the folder any more.
    pub(super) fn keep(&mut self, present: &BTreeSet<Digest>, found: &BTreeSet<Digest>) {
        self.refused.retain(|(digest, _), _| present.contains(digest));
        self.inspected.retain(|(digest, _), _| present.contains(digest));
        self.loaded.retain(|(digest, _), _| found.contains(digest));
    }

    /// Loads a component that is needed now. Blocks for as long as compiling takes.
    pub(super) fn load(&mut self, name: &PolicyName, bytes: &[u8]) -> Result<Arc<Component>, String> {
        let digest = Digest::of(bytes);
        if let Some(known) = self.found(name, digest) {
            return known;
        }
        let key = self.key(name, digest);
        let found = self.engine.load_granted(name, bytes, key.1);
        self.remember(Compiled { name: name.clone(), key, found: found.clone() });
        found.map_err(|problem| told(name, digest, problem))
    }

    /// What is known of a component under this name; nothing of one that is not compiled.
    pub(super) fn found(&mut self, name: &PolicyName, digest: Digest) -> Option<Result<Arc<Component>, String>> {
        let key = self.key(name, digest);
        if let Some(problem) = self.refused.get(&key) {
            return Some(Err(told(name, digest, problem.clone())));
        }
        let named = self.loaded.get_mut(&key)?;
        if let Some(known) = named.get(name) {
            return Some(Ok(Arc::clone(known)));
        }
        let twin = named.values().next()?;
        tracing::info!(policy = twin.label(), "is `{name}`, too: it is not loaded again");
        let same = twin.under(name);
        named.insert(name.clone(), Arc::clone(&same));
        Some(Ok(same))
    }

    /// What a component says of itself, which is known before it is compiled; nothing of one that cannot be a policy.
    pub(super) fn inspection(&mut self, name: &PolicyName, digest: Digest, bytes: &[u8]) -> Option<&Inspection> {
        let key = self.key(name, digest);
        self.inspected.entry(key).or_insert_with(|| inspect(bytes, key.1).ok()).as_ref()
    }

    /// Puts a component down to be compiled, once for all names under which it is there. `named` says whether some group names it.
    pub(super) fn put_down(&mut self, name: &PolicyName, digest: Digest, bytes: &[u8], named: bool) {
        let key = self.key(name, digest);
        if self.aside.as_ref().is_some_and(|aside| aside.has_begun(key)) {
            return;
        }
        match self.uncompiled.iter_mut().find(|other| other.key == key) {
            Some(other) if named && !other.named => {
                other.name = name.clone();
                other.named = true;
            }
            Some(_) => {}
            None => {
                let (name, engine) = (name.clone(), self.engine.clone());
                self.uncompiled.push(Uncompiled { name, key, bytes: bytes.to_vec(), named, engine });
            }
        }
    }

    /// Has compiled what was put down: aside, where there are threads for that. Else what groups name is compiled here, and blocks.
    pub(super) fn compile(&mut self) {
        let uncompiled = std::mem::take(&mut self.uncompiled);
        let compiled = if let Some(aside) = &self.aside {
            aside.hand_over(uncompiled)
        } else {
            let (named, others): (Vec<_>, Vec<_>) = uncompiled.into_iter().partition(|one| one.named);
            self.uncompiled = others;
            named.into_iter().map(Uncompiled::compile).collect()
        };
        for one in compiled {
            self.remember(one);
        }
    }

    /// Compiles what nobody names, and tells what is wrong with it. Blocks.
    pub(super) fn check_unnamed(&mut self) -> Vec<String> {
        let compiled = std::mem::take(&mut self.uncompiled).into_iter().map(Uncompiled::compile);
        compiled.filter_map(|one| Some(told(&one.name, one.key.0, one.found.err()?))).collect()
    }

    /// These are named by groups and not compiled yet: each with whether somebody decides in its place until then.
    pub(super) fn await_all(&mut self, lacking: Vec<(PolicyName, Digest, bool)>) {
        let coming = lacking.into_iter().map(|(name, digest, goes_on)| {
            let key = self.key(&name, digest);
            (key, Compiling { policy: name.to_string(), digest, goes_on })
        });
        let coming: Vec<_> = coming.collect();
        for (_, one) in coming.iter().filter(|one| !self.coming.contains(one)) {
            let Compiling { policy, digest, goes_on } = one;
            let until =
                if *goes_on { "what is in force decides until then" } else { "what names it is put in force then" };
            tracing::info!(%policy, digest = digest.short(), "a new version is being compiled: {until}");
        }
        self.coming = coming;
    }

    /// What groups name and is being compiled.
    pub(super) fn coming(&self) -> impl Iterator<Item = &Compiling> {
        self.coming.iter().map(|(_, one)| one)
    }

    fn key(&self, name: &PolicyName, digest: Digest) -> Key {
        (digest, self.wasi_stubs.contains(name))
    }

    fn remember(&mut self, compiled: Compiled) {
        let Compiled { name, key, found } = compiled;
        match found {
            Ok(component) => drop(self.loaded.entry(key).or_default().insert(name, component)),
            Err(problem) => drop(self.refused.insert(key, problem)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::builtin_policies::SHIPPED;
    use crate::policy::{EngineOptions, Role};

    fn components() -> Components {
        Components::new(Engine::new(EngineOptions::default()).unwrap())
    }

    /// A build that finds these files, all of which some group names or none does: what is known of each.
    fn build(
        components: &mut Components,
        files: &[(&str, &[u8])],
        named: bool,
    ) -> Vec<Option<Result<Arc<Component>, String>>> {
        components.take_in();
        components.begin(&[]);
        let files: Vec<_> =
            files.iter().map(|(name, bytes)| (PolicyName::from(*name), Digest::of(bytes), *bytes)).collect();
        for (name, digest, bytes) in &files {
            if components.found(name, *digest).is_none() {
                components.put_down(name, *digest, bytes, named);
            }
        }
        components.compile();
        let found = files.iter().map(|(name, digest, _)| components.found(name, *digest)).collect();
        let present = files.iter().map(|(_, digest, _)| *digest).collect();
        components.keep(&present, &present);
        found
    }

    #[test]
    fn what_nobody_names_is_checked_aside_once() {
        let mut components = components();
        let files = [("good", SHIPPED[0].1), ("bad", &b"no component"[..])];
        assert!(build(&mut components, &files, false).iter().all(Option::is_none), "nothing was compiled");
        let (wake, woken) = mpsc::channel();
        components.compile_aside(&wake).unwrap();
        let found = loop {
            let found: Vec<_> = build(&mut components, &files, false).into_iter().flatten().collect();
            if found.len() == files.len() {
                break found;
            }
            woken.recv().unwrap();
        };
        assert!(found[0].is_ok() && found[1].as_ref().is_err_and(|problem| problem.contains("policy `bad`")));
        for _ in 0..3 {
            assert!(build(&mut components, &files, false).iter().all(Option::is_some));
        }
        while woken.try_recv().is_ok() {}
        assert!(components.aside.as_ref().is_some_and(|aside| aside.done().is_empty()), "and no more");
    }

    /// They would take each other's place, and each would be compiled anew in every build.
    #[test]
    fn files_of_the_same_bytes_are_loaded_once_and_each_has_its_own_name() {
        let mut components = components();
        let files = [("one", SHIPPED[0].1), ("two", SHIPPED[0].1)];
        let of = |found: Vec<Option<Result<Arc<Component>, String>>>| {
            found.into_iter().map(|one| one.unwrap().unwrap()).collect::<Vec<_>>()
        };
        let first = of(build(&mut components, &files, true));
        assert_eq!(first.iter().map(|one| one.name().as_str()).collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(first[0].load_time(), first[1].load_time(), "it was loaded once");
        for _ in 0..3 {
            let again = of(build(&mut components, &files, true));
            assert!(again.iter().zip(&first).all(|(again, first)| Arc::ptr_eq(again, first)));
            assert!(components.uncompiled.is_empty());
        }
        // One comes back after it was gone, and a third is there under another name.
        of(build(&mut components, &files[..1], true));
        let other = of(build(&mut components, &[files[0], ("three", SHIPPED[0].1)], false));
        assert!(Arc::ptr_eq(&other[0], &first[0]) && other[1].name().as_str() == "three");
        assert_eq!(other[1].inspection(), first[0].inspection());
    }

    #[test]
    fn a_file_that_is_refused_is_told_under_each_name() {
        let mut components = components();
        let files = [("one", &b"no component"[..]), ("two", &b"no component"[..])];
        let found = build(&mut components, &files, true);
        for ((name, _), found) in files.iter().zip(found) {
            let problem = found.unwrap().unwrap_err();
            assert!(problem.starts_with(&format!("policy `{name}` (")), "{problem}");
        }
    }

    #[test]
    fn what_a_component_is_for_is_known_without_compiling_it() {
        let mut components = components();
        let (name, digest) = (PolicyName::from("p"), Digest::of(SHIPPED[0].1));
        let roles = components.inspection(&name, digest, SHIPPED[0].1).map(|found| found.roles.clone());
        assert_eq!(roles, Some(vec![Role::Router]));
        assert!(components.found(&name, digest).is_none());
        assert!(components.inspection(&name, Digest::of(b"none"), b"none").is_none());
    }

    #[test]
    fn what_is_wrong_with_a_file_is_one_line() {
        let mut components = components();
        for bytes in [&b"no component"[..], b"", &SHIPPED[0].1[..100]] {
            let problem = components.load(&PolicyName::from("bad"), bytes).unwrap_err();
            assert!(problem.starts_with("policy `bad` (") && problem.lines().count() == 1, "{problem}");
        }
    }
}

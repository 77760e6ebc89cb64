//! Compiling aside, on threads of their own: a build waits for what a file has new no longer than nobody notices, and a stop waits
//! for none.
//!
//! What is to be compiled is handed over anew by each build, in the place of what waited: a version that the folder holds no more is
//! not begun. One that is begun cannot be stopped; what comes of it is for the next build to take or to leave.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::io;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::id::PolicyName;
use crate::policy::{Component, Digest, Engine, PolicyProblem};

/// How long a build waits for what it found new and a group names: a small component is compiled by then, so that one build puts it
/// in force.
const NEW: Duration = Duration::from_millis(150);

/// What is compiled: bytes by their digest, and whether they may import WASI, every call of which traps.
pub(super) type Key = (Digest, bool);

/// A component that is to be compiled.
pub(super) struct Uncompiled {
    /// The name under which it is first told of; others may have the same bytes.
    pub(super) name: PolicyName,
    pub(super) key: Key,
    pub(super) bytes: Vec<u8>,
    /// Whether some group names it.
    pub(super) named: bool,
    pub(super) engine: Engine,
}

/// What came of compiling one.
pub(super) struct Compiled {
    pub(super) name: PolicyName,
    pub(super) key: Key,
    pub(super) found: Result<Arc<Component>, PolicyProblem>,
}

impl Uncompiled {
    /// Checks and compiles it. Blocks for as long as that takes.
    pub(super) fn compile(self) -> Compiled {
        let Self { name, key, bytes, engine, .. } = self;
        let found = engine.load_granted(&name, &bytes, key.1);
        Compiled { name, key, found }
    }
}

/// The threads that compile. They end when this is dropped, once what they have begun is done.
pub(super) struct Aside(Arc<Shared>);

#[derive(Default)]
struct Shared {
    work: Mutex<Work>,
    moved: Condvar,
}

#[derive(Default)]
struct Work {
    /// What is begun next is the last: what groups name before all else, and the smallest first.
    waiting: Vec<Uncompiled>,
    under_way: BTreeSet<Key>,
    done: Vec<Compiled>,
    /// A build waits for what is done, and need not be woken.
    awaited: bool,
    ended: bool,
}

impl Aside {
    /// Starts the threads; whoever builds is woken when something is done. One of them is for what groups name alone: nobody waits
    /// until a component is compiled that none does.
    ///
    /// # Errors
    /// There are no threads.
    pub(super) fn start(wake: &Sender<()>) -> io::Result<Self> {
        let aside = Self(Arc::default());
        for (name, named_only) in [("policy-compile", true), ("policy-check", false)] {
            let (shared, wake) = (Arc::clone(&aside.0), wake.clone());
            std::thread::Builder::new().name(name.to_owned()).spawn(move || shared.run(named_only, &wake))?;
        }
        Ok(aside)
    }

    /// Whether this is being compiled, or has been since somebody took what is done.
    pub(super) fn has_begun(&self, key: Key) -> bool {
        self.0.lock().has_begun(key)
    }

    /// What was done since this was asked last.
    pub(super) fn done(&self) -> Vec<Compiled> {
        std::mem::take(&mut self.0.lock().done)
    }

    /// Hands over all that is to be compiled now, waits a moment where a group names what was not there before, and tells what is done.
    pub(super) fn hand_over(&self, all: Vec<Uncompiled>) -> Vec<Compiled> {
        let mut work = self.0.lock();
        let new = work.replace_waiting(all);
        self.0.moved.notify_all();
        if !new.is_empty() {
            work.awaited = true;
            let waited = self.0.moved.wait_timeout_while(work, NEW, |work| !work.has_done(&new));
            (work, _) = waited.unwrap_or_else(PoisonError::into_inner);
            work.awaited = false;
        }
        std::mem::take(&mut work.done)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.moved.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, named_only: bool, wake: &Sender<()>) {
        while let Some(next) = self.next(named_only) {
            let is_awaited = self.finish(next.compile());
            if !is_awaited && wake.send(()).is_err() {
                return;
            }
        }
    }

    /// What is compiled next, as soon as there is anything; `None` where nobody wants any more.
    fn next(&self, named_only: bool) -> Option<Uncompiled> {
        let idle = |work: &mut Work| !work.ended && !work.has_any(named_only);
        let waited = self.moved.wait_while(self.lock(), idle);
        waited.unwrap_or_else(PoisonError::into_inner).begin(named_only)
    }

    /// Puts down what was done; whether a build waits for it.
    fn finish(&self, compiled: Compiled) -> bool {
        let mut work = self.lock();
        work.under_way.remove(&compiled.key);
        work.done.push(compiled);
        self.moved.notify_all();
        work.awaited
    }
}

impl Work {
    fn has_begun(&self, key: Key) -> bool {
        self.under_way.contains(&key) || self.done.iter().any(|one| one.key == key)
    }

    fn has_done(&self, keys: &BTreeSet<Key>) -> bool {
        keys.iter().all(|key| self.done.iter().any(|one| one.key == *key))
    }

    /// Puts all of this in the place of what waits, but for what is begun. Those that groups name and that did not wait before are told.
    fn replace_waiting(&mut self, mut all: Vec<Uncompiled>) -> BTreeSet<Key> {
        all.retain(|one| !self.has_begun(one.key));
        let waited: BTreeSet<Key> = self.waiting.iter().map(|one| one.key).collect();
        let new = all.iter().filter(|one| one.named && !waited.contains(&one.key)).map(|one| one.key).collect();
        all.sort_by_key(|one| (one.named, Reverse(one.bytes.len())));
        self.waiting = all;
        new
    }

    fn has_any(&self, named_only: bool) -> bool {
        self.waiting.last().is_some_and(|one| one.named || !named_only)
    }

    fn begin(&mut self, named_only: bool) -> Option<Uncompiled> {
        if self.ended {
            return None;
        }
        let next = self.waiting.pop_if(|one| one.named || !named_only)?;
        self.under_way.insert(next.key);
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::policy::EngineOptions;

    fn uncompiled(engine: &Engine, bytes: &str, named: bool) -> Uncompiled {
        let (name, bytes) = (PolicyName::from("p"), bytes.as_bytes().to_vec());
        Uncompiled { name, key: (Digest::of(&bytes), false), bytes, named, engine: engine.clone() }
    }

    #[test]
    fn what_groups_name_is_first_and_what_is_there_no_more_is_not_begun() {
        let engine = Engine::new(EngineOptions::default()).unwrap();
        let of = |bytes: &str, named: bool| uncompiled(&engine, bytes, named);
        let mut work = Work::default();
        let new = work.replace_waiting(vec![of("none", false), of("large", true), of("old", true)]);
        assert_eq!(new, [of("large", true).key, of("old", true).key].into());
        let begin =
            |work: &mut Work, named_only| work.begin(named_only).map(|one| String::from_utf8(one.bytes).unwrap());
        assert_eq!(begin(&mut work, true).as_deref(), Some("old"), "the smallest first");
        // Another version comes while that one is compiled, and another one still.
        assert_eq!(work.replace_waiting(vec![of("none", false), of("large", true), of("newer", true)]).len(), 1);
        let newest = vec![of("none", false), of("large", true), of("old", true), of("the newest", true)];
        assert_eq!(work.replace_waiting(newest), [of("the newest", true).key].into());
        let started = [true, true, true, false, false].map(|named_only| begin(&mut work, named_only));
        let started = started.each_ref().map(Option::as_deref);
        assert_eq!(started, [Some("large"), Some("the newest"), None, Some("none"), None]);
    }

    #[test]
    fn what_is_done_is_told_to_the_build_that_waits_or_to_the_next() {
        let engine = Engine::new(EngineOptions::default()).unwrap();
        let (wake, woken) = mpsc::channel();
        let aside = Aside::start(&wake).unwrap();
        let of = |bytes: &str, named: bool| uncompiled(&engine, bytes, named);
        let mut done = aside.hand_over(vec![of("no component", true), of("none either", false)]);
        while done.len() < 2 {
            woken.recv().unwrap();
            done.extend(aside.done());
        }
        assert!(done.iter().all(|one| one.found.is_err() && !aside.has_begun(one.key)));
        drop(aside);
        drop(wake);
        // The threads have ended, and with them what would wake.
        while woken.recv().is_ok() {}
    }
}

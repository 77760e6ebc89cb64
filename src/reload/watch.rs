//! Watching the sources: the first change applies at once, those that follow within 200 ms.
//!
//! One thread of its own, because building blocks: it reads files and sets policies up. Others compile, and wake it when that is done. It also
//! asks policies, every five seconds, what they have learned, and keeps it.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use crate::clock::Clock;
use crate::rollout::Generation;
use crate::snapshot::Snapshot;

use super::Builder;
use super::changes::changes;
use super::settling::Settling;
use super::states::{keep_limits, keep_states};

/// Between two builds.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a build under way may go on after a stop.
const STOP: Duration = Duration::from_secs(1);
/// Between two looks at what policies have learned.
const TICK: Duration = Duration::from_secs(5);
/// Between two times that what limits have counted is kept: a process that is killed forgets no more than that.
const KEEP: Duration = Duration::from_secs(1);

/// How often links are followed anew because what they lead to moved meanwhile.
const FOLLOWED_AGAIN: usize = 5;
/// As many links as the system itself follows.
const MOST_LINKS: usize = 40;

/// Where builds go.
pub trait Target: Send + 'static {
    /// The snapshot in force.
    fn current(&self) -> Arc<Snapshot>;

    /// A new snapshot is to be put in force; `problems` did not keep it from being built.
    fn applied(&self, snapshot: Snapshot, problems: Vec<String>);

    /// What stands on disk is what is in force, but for `problems`.
    fn unchanged(&self, problems: Vec<String>);

    /// A build failed; the old snapshot stays.
    fn kept(&self, problems: Vec<String>);
}

/// The watching thread; dropping the handle ends it.
pub struct Reloader {
    wake: Sender<()>,
    stopping: Arc<AtomicBool>,
    /// Disconnected when the thread has ended.
    ended: Receiver<Infallible>,
}

impl Reloader {
    /// Starts to watch, and from now on puts every good build in force.
    ///
    /// # Errors
    /// Where no thread or no watcher can be had.
    pub fn start(mut builder: Builder, target: impl Target, clock: Clock) -> Result<Self, String> {
        let (wake, woken) = mpsc::channel();
        let events = wake.clone();
        let named = Names::default();
        let known = Arc::clone(&named);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading files is an event too; only what may have changed them counts.
            let changed = event.is_ok_and(|event| {
                let read = matches!(event.kind, EventKind::Access(_));
                !read && (event.paths.is_empty() || event.paths.iter().any(|path| matters(path, &known)))
            });
            if changed {
                let _watching_ended = events.send(());
            }
        })
        .map_err(|fault| format!("files cannot be watched here: {fault}"))?;
        builder.rollouts.control().wakes(wake.clone());
        let stopping = Arc::new(AtomicBool::new(false));
        let (folders, stops) = (BTreeSet::new(), Arc::clone(&stopping));
        let no_thread = |fault: std::io::Error| format!("no thread to reload on: {fault}");
        builder.components.compile_aside(&wake).map_err(no_thread)?;
        let worker =
            Worker { builder, target, clock, watcher, folders, named, stopping: stops, settling: Settling::default() };
        let (alive, ended) = mpsc::channel();
        let run = move || {
            let _ended = alive;
            worker.run(&woken);
        };
        std::thread::Builder::new().name("reload".to_owned()).spawn(run).map_err(no_thread)?;
        Ok(Self { wake, stopping, ended })
    }

    /// Builds again though nothing on disk said so (SIGHUP, an operator's word).
    pub fn reload(&self) {
        let _thread_ended = self.wake.send(());
    }
}

impl Drop for Reloader {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        let _thread_ended = self.wake.send(());
        // A compilation under way is not waited for: the process ends, or its result goes nowhere.
        let _ended = self.ended.recv_timeout(STOP);
    }
}

/// The names in watched folders whose change counts: what is read, and the links that lead there.
type Names = Arc<Mutex<BTreeSet<OsString>>>;

struct Worker<T> {
    builder: Builder,
    target: T,
    clock: Clock,
    watcher: RecommendedWatcher,
    /// The folders that are watched.
    folders: BTreeSet<PathBuf>,
    named: Names,
    stopping: Arc<AtomicBool>,
    settling: Settling,
}

impl<T: Target> Worker<T> {
    fn run(mut self, woken: &Receiver<()>) {
        // What changed between the first build and the first watch is seen here.
        let mut again = self.look();
        let (mut ticked, mut kept) = (self.clock.now(), self.clock.now());
        loop {
            let now = self.clock.now();
            // Also where changes come so often that none of the waits below ends by itself.
            if now.since(ticked) >= TICK {
                ticked = now;
                self.tick();
            }
            if now.since(kept) >= KEEP {
                kept = now;
                keep_limits(&self.target.current(), self.builder.limits(), now);
            }
            let pause = TICK.saturating_sub(now.since(ticked)).min(KEEP.saturating_sub(now.since(kept)));
            match woken.recv_timeout(again.map_or(pause, |again| again.min(pause))) {
                Ok(()) if !self.stopping.load(Ordering::Acquire) => {
                    drain(woken);
                    again = self.look();
                    // More changes gather in this pause and then apply together.
                    std::thread::sleep(PAUSE);
                    if self.stopping.load(Ordering::Acquire) {
                        return;
                    }
                }
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) if again.is_some() => again = self.look(),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Builds what there is, or says in how long to look again: what is just being written is not looked at.
    fn look(&mut self) -> Option<Duration> {
        self.watch();
        let again = self.settling.wait(self.builder.folder(), self.builder.config(), self.clock.now());
        if again.is_none() {
            self.apply_and_follow();
        }
        again
    }

    /// Builds, and again where the configuration names files that were not watched when they were read.
    fn apply_and_follow(&mut self) {
        self.apply();
        if self.watch() {
            self.apply();
        }
    }

    fn apply(&mut self) {
        let current = self.target.current();
        match self.builder.build(Some(&current)) {
            Ok(draft) if draft.changes(&current) => {
                let problems = draft.problems().to_vec();
                let now = self.clock.now();
                let budgets = self.builder.budgets();
                let change = budgets.change();
                let snapshot = self.builder.publish(&change, draft, current.generation + 1, self.clock);
                let changed = changes(&current, &snapshot);
                snapshot.rollouts.generations.add(Generation {
                    generation: snapshot.generation,
                    at_ms: now.as_millis(),
                    changed,
                });
                self.target.applied(snapshot, problems);
                drop(change);
            }
            Ok(draft) => {
                let problems = draft.problems().to_vec();
                self.builder.settle(draft, current.generation, self.clock.now());
                self.target.unchanged(problems);
            }
            // What is lacking is told where it is compiled, and there is another build when that is done.
            Err(_) if self.builder.is_put_off() => {}
            Err(problems) => self.target.kept(problems),
        }
    }

    fn tick(&self) {
        let now = self.clock.now();
        let current = self.target.current();
        for group in current.groups.values() {
            let candidate = group.rollout.as_ref().map(|rollout| rollout.candidate());
            for router in group.router.iter().chain(candidate) {
                router.tick(now);
            }
            for policy in group.provider_policies() {
                policy.tick(now);
            }
        }
        keep_states(&current, false);
    }

    /// Watches folders, not files: editors and deployments replace files by renaming. Some replace a link on the way
    /// to the file instead (a mounted Kubernetes volume), so every folder such a link stands in is watched too. Whether
    /// anything is watched now that was not.
    fn watch(&mut self) -> bool {
        let before = (self.folders.clone(), self.names());
        for _ in 0..FOLLOWED_AGAIN {
            let mut paths: Vec<PathBuf> = self.builder.folder().map(trail).unwrap_or_default();
            let policies = paths.last().cloned();
            paths.extend(self.builder.config().flat_map(trail));
            let wanted: BTreeSet<PathBuf> = paths.iter().map(|path| parent(path)).chain(policies).collect();
            let names = paths.iter().filter_map(|path| path.file_name()).map(OsStr::to_owned);
            *self.named.lock().unwrap_or_else(PoisonError::into_inner) = names.collect();
            for folder in &wanted {
                // A folder that was removed and made again needs a new watch, so each is asked for every time.
                if folder.is_dir() && self.watcher.watch(folder, RecursiveMode::NonRecursive).is_err() {
                    tracing::warn!(folder = %folder.display(), "cannot be watched; changes in it apply at SIGHUP");
                }
            }
            for left in self.folders.difference(&wanted) {
                let _gone_with_its_folder = self.watcher.unwatch(left);
            }
            // A link may have been replaced after it was followed and before its folder was watched.
            if self.folders == wanted {
                break;
            }
            self.folders = wanted;
        }
        (self.folders.clone(), self.names()) != before
    }

    fn names(&self) -> BTreeSet<OsString> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Every path whose change may change what `path` leads to: each link on the way, and where it ends.
fn trail(path: &Path) -> Vec<PathBuf> {
    let parts = |path: &Path| path.components().rev().map(|part| part.as_os_str().to_owned()).collect::<Vec<_>>();
    let (mut found, mut at, mut left) = (Vec::new(), PathBuf::new(), parts(path));
    while let Some(part) = left.pop() {
        // A link's absolute target takes the place of all that led to it.
        at.push(part);
        if found.len() < MOST_LINKS
            && let Ok(target) = std::fs::read_link(&at)
        {
            found.push(at.clone());
            at.pop();
            left.extend(parts(&target));
        }
    }
    found.push(at);
    found
}

/// Whether a change of `path` may change what is served: the configuration, a component, the lock, or a folder
/// or a link on the way to the configuration or to the policies' folder. (What a component in that folder links to is
/// not followed: links there are not loaded.) Logs written beside the configuration do not
/// count.
fn matters(path: &Path, named: &Names) -> bool {
    let Some(name) = path.file_name() else { return false };
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("wasm"))
        || name == "policies.lock"
        || named.lock().unwrap_or_else(PoisonError::into_inner).contains(name)
}

/// Forgets changes that the build about to start will see anyway.
fn drain(woken: &Receiver<()>) {
    while woken.try_recv().is_ok() {}
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

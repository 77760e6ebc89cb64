//! Watching the sources: the first change applies at once, those that follow within 200 ms.
//!
//! One thread of its own, because building blocks: it reads files and compiles. It also asks policies, every
//! ten seconds, what they have learned.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use crate::clock::Clock;
use crate::snapshot::Snapshot;

use super::Builder;

/// Between two builds.
const PAUSE: Duration = Duration::from_millis(200);
/// Between two looks at what policies have learned.
const TICK: Duration = Duration::from_secs(10);

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
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Reloader {
    /// Starts to watch, and from now on puts every good build in force.
    ///
    /// # Errors
    /// Where no thread or no watcher can be had.
    pub fn start(builder: Builder, target: impl Target, clock: Clock) -> Result<Self, String> {
        let (wake, woken) = mpsc::channel();
        let events = wake.clone();
        let named: Vec<OsString> = builder
            .config()
            .into_iter()
            .chain([builder.folder()])
            .filter_map(Path::file_name)
            .map(OsStr::to_owned)
            .collect();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading files is an event too; only what may have changed them counts.
            let changed = event.is_ok_and(|event| {
                let read = matches!(event.kind, EventKind::Access(_));
                !read && (event.paths.is_empty() || event.paths.iter().any(|path| matters(path, &named)))
            });
            if changed {
                let _watching_ended = events.send(());
            }
        })
        .map_err(|fault| format!("files cannot be watched here: {fault}"))?;
        let stopping = Arc::new(AtomicBool::new(false));
        let worker = Worker { builder, target, clock, watcher, stopping: Arc::clone(&stopping) };
        let thread = std::thread::Builder::new()
            .name("reload".to_owned())
            .spawn(move || worker.run(&woken))
            .map_err(|fault| format!("no thread to reload on: {fault}"))?;
        Ok(Self { wake, stopping, thread: Some(thread) })
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
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

struct Worker<T> {
    builder: Builder,
    target: T,
    clock: Clock,
    watcher: RecommendedWatcher,
    stopping: Arc<AtomicBool>,
}

impl<T: Target> Worker<T> {
    fn run(mut self, woken: &Receiver<()>) {
        self.watch();
        // What changed between the first build and the first watch is seen here.
        self.apply();
        loop {
            match woken.recv_timeout(TICK) {
                Ok(()) if !self.stopping.load(Ordering::Acquire) => {
                    drain(woken);
                    self.watch();
                    self.apply();
                    // More changes gather in this pause and then apply together.
                    std::thread::sleep(PAUSE);
                    if self.stopping.load(Ordering::Acquire) {
                        return;
                    }
                }
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => self.tick(),
            }
        }
    }

    fn apply(&mut self) {
        let current = self.target.current();
        match self.builder.build(Some(&current)) {
            Ok(draft) if draft.changes(&current) => {
                let problems = draft.problems().to_vec();
                let snapshot = self.builder.publish(draft, current.generation + 1, self.clock.now());
                self.target.applied(snapshot, problems);
            }
            Ok(draft) => self.target.unchanged(draft.problems().to_vec()),
            Err(problems) => self.target.kept(problems),
        }
    }

    fn tick(&self) {
        let now = self.clock.now();
        for serving in self.target.current().groups.values() {
            if let Some(router) = &serving.router {
                router.tick(now);
            }
        }
    }

    /// Watches folders, not files: editors and deployments replace files by renaming.
    fn watch(&mut self) {
        let policies = self.builder.folder().to_owned();
        let mut wanted = vec![parent(&policies), policies];
        wanted.extend(self.builder.config().map(parent));
        for folder in wanted {
            // A folder that was removed and made again needs a new watch, so each is asked for every time.
            if folder.is_dir() && self.watcher.watch(&folder, RecursiveMode::NonRecursive).is_err() {
                tracing::warn!(folder = %folder.display(), "cannot be watched; changes in it apply at SIGHUP");
            }
        }
    }
}

/// Whether a change of `path` may change what is served: the configuration, a component, the lock, or a folder
/// (the policies' own may come and go). Logs written beside the configuration do not count.
fn matters(path: &Path, named: &[OsString]) -> bool {
    let Some(name) = path.file_name() else { return false };
    path.extension() == Some(OsStr::new("wasm")) || name == "policies.lock" || named.iter().any(|known| known == name)
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

//! Decisions of routers, kept so that they can be explained and repeated.
//!
//! What is kept is a run: a checkpoint (policy, settings, deployments, seed, what the router knew) and every call of that router
//! after it, in order. A run is whole or it ends early; no call is ever missing in the middle. Runs are drawn, not calls, so that
//! a share of them tells everything about some stretches of time. They are written by a thread of their own: where that cannot
//! follow, the run is given up and the request goes on. The folder has a bound; the oldest runs go first.
//!
//! A line holds what the router was told and what it answered, and what the policies of other roles did: never a key, and what was
//! said, or a policy may have quoted, only where the operator wants words (`withheld`). `wit/README.md` describes it.

mod asked;
mod exact;
mod folder;
mod line;
mod outcome_line;
mod reader;
mod recent;
mod show;
mod withheld;
mod writer;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use arc_swap::ArcSwapOption;
use serde_json::Value;

use crate::config::DecisionSettings;
use crate::id::RequestId;
use crate::policy::{Decision, DecisionLog, RecordedCall, RouterFacts, RunId, RunStart, Stretch};
use crate::record::{Explanation, Record};
use crate::seed;

pub use asked::{asked_as, unheld, withheld_from};
pub use folder::{default_folder, run_files};
pub use line::RequestLine;
pub use reader::{Logged, Run, state_digest};
pub use show::{decision_json, number};

use recent::Recent;
use withheld::Withheld;
use writer::{Message, Writer};

/// Messages that may wait to be written; beyond them, runs are given up.
const WAITING: usize = 4096;
/// Makes the draws of runs unrelated to all others from a router's seed.
const SALT: u64 = 0x6465_6369_7369_6F6E;

/// The decisions of one gateway.
pub struct Decisions {
    /// Where they go whose settings name no folder.
    folder: Option<PathBuf>,
    on: Arc<AtomicBool>,
    active: ArcSwapOption<Active>,
    next: AtomicU64,
    recent: Recent,
    withheld: Withheld,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// What is in force while decisions are kept.
struct Active {
    settings: DecisionSettings,
    /// Runs before this one began under other settings.
    first: u64,
    sender: SyncSender<Message>,
    /// Runs of which something could not be handed over.
    broken: Arc<Mutex<Vec<RunId>>>,
}

impl Decisions {
    /// Keeps none yet. `folder` is where they go where the settings name no other.
    #[must_use]
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self {
            folder,
            on: Arc::default(),
            active: ArcSwapOption::empty(),
            next: AtomicU64::new(0),
            recent: Recent::default(),
            withheld: Withheld::default(),
            writer: Mutex::default(),
        }
    }

    /// Keeps decisions as `settings` say from now on; none where they say nothing.
    ///
    /// # Errors
    /// The folder cannot be used; nothing is kept then.
    pub fn apply(&self, settings: Option<&DecisionSettings>) -> Result<(), String> {
        let same = self.active.load().as_ref().map(|active| active.settings.clone()) == settings.cloned();
        if same {
            return Ok(());
        }
        self.finish();
        let Some(settings) = settings.filter(|settings| settings.share > 0.0) else { return Ok(()) };
        let folder = settings.dir.clone().or_else(|| self.folder.clone()).ok_or(
            "`witgate.decisions`: there is no home folder to keep decisions in\nhint: set `witgate.decisions.dir`",
        )?;
        folder::open(&folder).map_err(|why| {
            format!("`witgate.decisions`: {}: {why}\nhint: choose another `dir`, or chmod 700 it", folder.display())
        })?;
        let broken = Arc::default();
        let (sender, receiver) = std::sync::mpsc::sync_channel(WAITING);
        let withheld = (!settings.words).then(|| self.withheld.clone());
        let writer = Writer::new(folder, settings.keep_bytes, withheld, Arc::clone(&broken));
        let spawned = std::thread::Builder::new().name("decisions".to_owned()).spawn(move || writer.work(&receiver));
        let thread = spawned.map_err(|fault| format!("no thread to write decisions on: {fault}"))?;
        *self.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        let first = self.next.load(Ordering::Relaxed);
        self.active.store(Some(Arc::new(Active { settings: settings.clone(), first, sender, broken })));
        self.on.store(true, Ordering::Release);
        Ok(())
    }

    /// Keeps nothing from now on, and returns when all that was kept is written.
    pub fn finish(&self) {
        self.on.store(false, Ordering::Release);
        drop(self.active.swap(None));
        self.recent.forget();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            let _it_ended_anyhow = writer.join();
        }
    }

    /// A request ended: what became of its decision.
    pub fn ended(&self, record: &Record) {
        if !self.on.load(Ordering::Relaxed) {
            return;
        }
        let line = Arc::new(RequestLine::of(record));
        self.recent.ended(record.id, &line);
        if let Some(active) = &*self.active.load() {
            // A line too many is no gap: what the host did is told beside the run's calls.
            let _full = active.sender.try_send(Message::Request(record.id, line));
        }
    }

    /// For a request that arrives: what is to be told of it beside its record, where anything is kept.
    #[must_use]
    pub fn explanation(&self) -> Option<Box<Explanation>> {
        if !self.on.load(Ordering::Relaxed) {
            return None;
        }
        let words = self.active.load().as_ref().is_some_and(|active| active.settings.words);
        Some(Box::new(Explanation { words, ..Explanation::default() }))
    }

    /// Whether any are kept.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// The decisions of a recent request, and what became of it; `None` where there is none, or none is kept.
    #[must_use]
    pub fn recent(&self, id: RequestId) -> Option<Value> {
        let words = self.active.load().as_ref().is_some_and(|active| active.settings.words);
        self.recent.find(id, (!words).then_some(&self.withheld))
    }
}

impl DecisionLog for Decisions {
    fn switch(&self) -> &Arc<AtomicBool> {
        &self.on
    }

    #[expect(clippy::cast_precision_loss, reason = "53 bits of a draw are exact")]
    fn stretch(&self, seed: u64, number: u64) -> Stretch {
        let active = self.active.load();
        let Some(active) = &*active else { return Stretch { decisions: 1, kept: false } };
        let drawn = (seed::derive(seed ^ SALT, number) >> 11) as f64 / (1_u64 << 53) as f64;
        Stretch { decisions: active.settings.run, kept: drawn < active.settings.share }
    }

    fn begin(&self, start: RunStart) -> Option<RunId> {
        let active = self.active.load();
        let active = active.as_ref()?;
        let run = RunId(self.next.fetch_add(1, Ordering::Relaxed));
        active.sender.try_send(Message::Begin(run, Box::new(start))).ok().map(|()| run)
    }

    fn keep(&self, run: RunId, call: RecordedCall) -> bool {
        let active = self.active.load();
        let Some(active) = active.as_ref().filter(|active| run.0 >= active.first) else { return false };
        let kept = active.sender.try_send(Message::Call(run, call)).is_ok();
        if !kept {
            active.broken.lock().unwrap_or_else(PoisonError::into_inner).push(run);
        }
        kept
    }

    fn end(&self, run: RunId) {
        if let Some(active) = self.active.load().as_ref().filter(|active| run.0 >= active.first) {
            let full = active.sender.try_send(Message::End(run)).is_err();
            if full {
                active.broken.lock().unwrap_or_else(PoisonError::into_inner).push(run);
            }
        }
    }

    fn decided(&self, facts: &Arc<RouterFacts>, decision: &Arc<Decision>) {
        self.recent.decided(facts, decision);
    }
}

impl fmt::Debug for Decisions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decisions").field("on", &self.on).finish_non_exhaustive()
    }
}

impl Drop for Decisions {
    fn drop(&mut self) {
        self.finish();
    }
}

//! Runs of decisions, repeated with no gateway running: by the policy that made them, bit for bit, or by another one, to see what
//! it would have decided.
//!
//! The router begins with the run's checkpoint and gets the run's calls in order. What happened to it from outside is told, not
//! repeated: its CPU time was up, it was quarantined. Calls are bounded by fuel, so a slow machine decides as a fast one.
//!
//! Three ends: all decisions are the same, some differ, or it could not be tried ([`Report::exit_code`]).

mod explain;
mod player;
mod report;

#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use explain::{Explained, explain};
pub use report::{Costs, Difference, Report, RunReport};

use crate::builtin_policies::SHIPPED;
use crate::decisions::{Run, run_files};
use crate::id::PolicyName;
use crate::policy::{Component, Digest, Engine, EngineOptions, RouterFacts};

/// Fuel of one call: a second's work, a hundred times what a call may take in service.
const FUEL: u64 = 1_000_000_000;

/// How runs are repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Ask this component, whatever decided then.
    pub policy: Option<PathBuf>,
    /// Where else the policy that decided is looked for, by its digest.
    pub policies: PathBuf,
    /// The folder with gateways' folders of state, which keep versions that were replaced.
    pub states: Option<PathBuf>,
    /// Where what is compiled is kept: one with an interpreter compiles for half a minute. `None`: nowhere.
    pub cache: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { policy: None, policies: PathBuf::from("policies"), states: None, cache: None }
    }
}

/// Repeats one run file, or every one of a folder, the oldest first.
#[must_use]
pub fn replay(path: &Path, options: &Options) -> Report {
    let files = match run_files(path) {
        Ok(files) if files.is_empty() => return Report::broken(path, "no run (`.jsonl`) is in this folder"),
        Ok(files) => files,
        Err(fault) => return Report::broken(path, format!("cannot be read: {fault}")),
    };
    let components = match Components::new(options) {
        Ok(components) => components,
        Err(problem) => return Report::broken(path, problem),
    };
    let runs = files.iter().map(|file| {
        let played = Run::read(file).and_then(|run| {
            let component = components.of(&run.start.facts).map_err(|why| format!("{}: {why}", file.display()))?;
            player::play(&run, &component).map_err(|why| format!("{}: {why}", file.display()))
        });
        played.unwrap_or_else(|problem| RunReport::broken(file, problem))
    });
    Report { runs: runs.collect() }
}

/// Where the policies of runs come from.
struct Components<'a> {
    engine: Engine,
    options: &'a Options,
}

impl<'a> Components<'a> {
    fn new(options: &'a Options) -> Result<Self, String> {
        let engine = EngineOptions {
            fuel: Some(FUEL),
            cache_dir: options.cache.clone(),
            cache_optional: true,
            ..EngineOptions::default()
        };
        let engine = Engine::new(engine).map_err(|problem| problem.to_string())?;
        Ok(Self { engine, options })
    }

    /// The component that is to decide: the one that is told, else the one that decided.
    fn of(&self, facts: &RouterFacts) -> Result<Arc<Component>, String> {
        if let Some(file) = &self.options.policy {
            let named = |why: String| format!("{}: {why}", file.display());
            let bytes = fs::read(file).map_err(|fault| named(format!("cannot be read: {fault}")))?;
            let name = file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
            return self.engine.load(&PolicyName::from(name), &bytes).map_err(|problem| named(problem.to_string()));
        }
        let (policy, digest) = (&facts.policy, facts.digest);
        let bytes = self.find(digest).ok_or_else(|| {
            format!(
                "its policy, `{policy}` with the digest {digest}, is neither in {} nor built in, nor is it in a gateway's default folder \
                 of state\nhint: name the folder it is in with --policies, or replay the run with the file itself (--policy); a gateway \
                 keeps a version that was replaced as STATE_DIR/policies/{digest}.wasm (`witgate.state_dir`)",
                self.options.policies.display()
            )
        })?;
        self.engine.load(policy, &bytes).map_err(|problem| format!("policy `{policy}`: {problem}"))
    }

    fn find(&self, digest: Digest) -> Option<Vec<u8>> {
        let shipped = SHIPPED.iter().map(|(_, bytes)| *bytes).find(|bytes| Digest::of(bytes) == digest);
        if let Some(bytes) = shipped {
            return Some(bytes.to_vec());
        }
        let files = entries(&self.options.policies);
        let components = files.filter(|file| file.extension().is_some_and(|extension| extension == "wasm"));
        let states = self.options.states.iter().flat_map(|states| entries(states));
        let kept = states.map(|state| state.join("policies").join(format!("{digest}.wasm")));
        components.chain(kept).filter_map(|file| fs::read(file).ok()).find(|bytes| Digest::of(bytes) == digest)
    }
}

/// What is in a folder; nothing where it cannot be read.
fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

//! `cargo xtask prove rollout`: what changes of versions cost over a long time, and how soon a bad one is gone.
//!
//! On virtual time, with the builds and swaps of a gateway that watches its files: a watcher would wait 200 ms after each.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::Uri;
use tempfile::TempDir;
use witgate::clock::Clock;
use witgate::format::{ClientRequest, OpenAi};
use witgate::http::HttpUpstream;
use witgate::moment::Moment;
use witgate::pipeline::{BlockingPool, Gateway, Served};
use witgate::policy::{Compiler, EngineOptions};
use witgate::reload::{Builder, ConfigSource, PolicySource, Sources};
use witgate::rollout::Verdict;
use witgate::start::{Assembled, Options, assemble};
use witgate::telemetry::DroppedLines;

use crate::say;

/// What memory may grow by between the first tenth of the swaps and the last.
const GROWTH_KB: u64 = 8 << 10;
/// Canaries with a fault, each with draws of its own.
const CANARIES: u64 = 40;
/// With a share of 5 % and a fault on every second request, all but one canary in a hundred thousand are gone by then.
const WITHIN: u64 = 460;

/// Files of a gateway.
struct Place {
    folder: TempDir,
    components: PathBuf,
}

impl Place {
    fn new(root: &Path, roll_out: &str) -> Result<Self, String> {
        let failed = |problem: std::io::Error| format!("no folder to work in: {problem}");
        let folder = tempfile::tempdir().map_err(failed)?;
        fs::create_dir(folder.path().join("policies")).map_err(failed)?;
        let deployment = "{model: simulated/m, simulated: {ttft_ms: 5, output_tokens: 2}}";
        let config = format!(
            "model_list: [{{model_name: g, litellm_params: {deployment}}}]\nwitgate: {{state_dir: {}, routers: {{g: {{policy: counting, roll_out: {roll_out}}}}}}}\n",
            folder.path().join("state").display()
        );
        fs::write(folder.path().join("config.yaml"), config).map_err(failed)?;
        let place = Self { folder, components: root.join("tests/fixtures/policies") };
        place.put("counting-a")?;
        Ok(place)
    }

    fn put(&self, name: &str) -> Result<(), String> {
        let from = self.components.join(name).with_extension("wasm");
        let target = self.folder.path().join("policies/counting.wasm");
        fs::copy(&from, target).map(drop).map_err(|problem| format!("{}: {problem}", from.display()))
    }

    fn start(&self, cache: &Path, seed: u64) -> Result<Serving, String> {
        let options = Options {
            sources: Sources {
                config: ConfigSource::File(self.folder.path().join("config.yaml")),
                policies: PolicySource::Folder(self.folder.path().join("policies")),
                ..Sources::default()
            },
            engine: EngineOptions {
                cache_dir: Some(cache.to_owned()),
                compiler: Compiler::InProcess,
                ..EngineOptions::default()
            },
            environment: Arc::new(|_| None),
            clock: Clock::starting_at(Moment::from_millis(1_800_000_000_000)),
            seed,
            dropped_lines: DroppedLines::default(),
        };
        let assembled = assemble(options, Arc::new(HttpUpstream::new()), BlockingPool::in_place());
        let Assembled { gateway, builder, .. } = assembled.map_err(|problems| problems.join("; "))?;
        Ok(Serving { gateway, builder })
    }
}

struct Serving {
    gateway: Arc<Gateway>,
    builder: Builder,
}

impl Serving {
    /// Builds what the files say and puts it in force where it changes anything.
    fn build(&mut self) -> Result<(), String> {
        let current = self.gateway.live.read();
        let draft = self.builder.build(Some(&current)).map_err(|problems| problems.join("; "))?;
        if draft.changes(&current) {
            let change = self.gateway.budgets.change();
            let snapshot = self.builder.publish(&change, draft, current.generation + 1, self.gateway.clock);
            self.gateway.live.publish(snapshot);
        }
        Ok(())
    }

    fn generation(&self) -> u64 {
        self.gateway.live.read().generation
    }

    async fn ask(&self) -> Result<(), String> {
        let body =
            Bytes::from_static(br#"{"model": "g", "priority": 666, "messages": [{"role": "user", "content": "Hi"}]}"#);
        let request = ClientRequest::post(Uri::from_static("/v1/chat/completions"), body);
        match self.gateway.serve(self.gateway.arrive(&OpenAi), Box::new(request)).await {
            Ok(Served::Whole { .. }) => Ok(()),
            Ok(_) => Err("not a whole reply".to_owned()),
            Err(refusal) => Err(format!("a request failed: {}", refusal.message)),
        }
    }
}

/// Proves it, or says what is wrong.
pub(super) fn prove(root: &Path, swaps: u32) -> Result<(), String> {
    let cache = tempfile::tempdir().map_err(|problem| format!("no folder to work in: {problem}"))?;
    let cache = cache.path().join("compiled");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.map_err(|problem| problem.to_string())?.block_on(async {
        Box::pin(swap(root, &cache, swaps.max(20))).await?;
        roll_back(root, &cache).await
    })
}

async fn swap(root: &Path, cache: &Path, swaps: u32) -> Result<(), String> {
    let place = Place::new(root, "replace")?;
    let mut serving = place.start(cache, 1)?;
    let (mut early, mut versions) = (0, ["counting-b", "counting-a"].into_iter().cycle());
    for number in 0..swaps {
        let name = versions.next().unwrap_or_default();
        let before = serving.generation();
        place.put(name)?;
        serving.build()?;
        serving.ask().await?;
        let swapped = serving.generation();
        place.put(name)?;
        serving.build()?;
        serving.ask().await?;
        if (swapped, serving.generation()) != (before + 1, before + 1) {
            return Err(format!("swap {number}: generations {before}, {swapped}, {}", serving.generation()));
        }
        if number == swaps / 10 {
            early = resident_kb()?;
        }
    }
    let late = resident_kb()?;
    say(&format!("{swaps} swaps and as many rewrites of the same bytes: generation {}", serving.generation()));
    say(&format!("memory after a tenth of them {early} KB, after all {late} KB"));
    let kept = fs::read_dir(place.folder.path().join("state/policies")).map_or(0, Iterator::count);
    say(&format!("versions kept: {kept}"));
    if late > early + GROWTH_KB {
        return Err(format!("not true: memory grows by less than {GROWTH_KB} KB"));
    }
    Ok(())
}

async fn roll_back(root: &Path, cache: &Path) -> Result<(), String> {
    let mut took = Vec::new();
    for seed in 0..CANARIES {
        let place = Place::new(root, "{canary: 5%}")?;
        let mut serving = place.start(cache, seed)?;
        place.put("counting-faulty")?;
        serving.build()?;
        let rollout = serving.gateway.live.read().groups.get("g").and_then(|group| group.rollout.clone());
        let rollout = rollout.ok_or("no canary has begun")?;
        let mut requests = 0;
        while rollout.figures().verdict().is_none() && requests < WITHIN {
            serving.ask().await?;
            requests += 1;
        }
        let counts = rollout.figures().counts();
        if rollout.figures().verdict() != Some(Verdict::RolledBack) || counts.fallbacks != 1 {
            return Err(format!("canary {seed}: not rolled back within {WITHIN} requests: {counts:?}"));
        }
        took.push(requests);
    }
    took.sort_unstable();
    let (median, most) = (took[took.len() / 2], took[took.len() - 1]);
    say(&format!(
        "{CANARIES} canaries of 5 % that fail on every second request: rolled back by the first fault, after {median} requests (median), {most} at most; 0 failed"
    ));
    Ok(())
}

/// Memory of this process that is in use.
fn resident_kb() -> Result<u64, String> {
    let text = fs::read_to_string("/proc/self/status").map_err(|problem| format!("/proc/self/status: {problem}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
    number.ok_or_else(|| "/proc/self/status holds no VmRSS".to_owned())
}

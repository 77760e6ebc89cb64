//! What one routing decision costs, through the host that serves requests: every shipped router, asked with the
//! signals it wants, from one to a hundred deployments. Between two decisions it hears how the first choice of the
//! last one ended, as it does in service; that is not measured.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use witgate::id::PolicyName;
use witgate::moment::Moment;
use witgate::policy::{
    Choice, Component, DeploymentInfo, Engine, EngineOptions, Outcome, Role, RouteRequest, Router, Setup, Traits,
};
use witgate::seed;
use witgate::signal::{Attribute, Grants};
use witgate::tokens::Precision;

use super::stats::{micros, percentile};
use super::watch::now;

/// Group sizes.
pub(crate) const SIZES: [usize; 3] = [1, 10, 100];
/// Signal matrices that take turns, so that no answer can be remembered.
const TABLES: usize = 64;
const WARM_UP: usize = 2000;

/// One router in one size of group; times are microseconds, the clock's own 0.05 included.
#[derive(Clone, Debug)]
pub(crate) struct Decision {
    pub(crate) policy: String,
    pub(crate) deployments: usize,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// Measures every component in `policies/` of the repository.
///
/// # Errors
/// A component cannot be put into service or fails a call.
pub(crate) fn measure(root: &Path, calls: usize) -> Result<Vec<Decision>, String> {
    let folder = root.join("policies");
    let failed = |problem: std::io::Error| format!("{}: {problem}\nhint: cargo xtask policies", folder.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "wasm") {
            files.push(path);
        }
    }
    files.sort();
    let engine = Engine::new(EngineOptions::default()).map_err(|problem| problem.to_string())?;
    let mut decisions = Vec::new();
    for file in files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let about = |problem: String| format!("{}: {problem}", file.display());
        let bytes = fs::read(&file).map_err(|problem| about(problem.to_string()))?;
        let component = engine.load(&PolicyName::from(name.as_str()), &bytes);
        let component = component.map_err(|problem| about(problem.to_string()))?;
        if !component.inspection().roles.contains(&Role::Router) {
            continue;
        }
        for deployments in SIZES {
            let times = one(&component, deployments, calls).map_err(about)?;
            let (p50, p99) = times;
            decisions.push(Decision { policy: name.clone(), deployments, p50, p99 });
        }
    }
    Ok(decisions)
}

/// Median and 99th percentile of a decision, microseconds.
fn one(component: &Arc<Component>, deployments: usize, calls: usize) -> Result<(f64, f64), String> {
    let mut asked = Asked::start(component, deployments)?;
    let mut times = asked.times(calls)?;
    Ok((percentile(&mut times, 50), percentile(&mut times, 99)))
}

/// A router that is asked, warm.
pub(crate) struct Asked {
    router: Arc<Router>,
    features: Vec<f32>,
    tables: Vec<Vec<f32>>,
    calls: usize,
    ranking: Vec<Choice>,
}

impl Asked {
    /// A component in service for a group of this size.
    ///
    /// # Errors
    /// It cannot be put into service or fails a call.
    pub(crate) fn start(component: &Arc<Component>, deployments: usize) -> Result<Self, String> {
        let setup = Setup {
            group: None,
            settings: "{}".into(),
            deployments: (0..deployments).map(facts).collect(),
            seed: 1,
            may_read: Grants::All,
        };
        let router = Router::start(Arc::clone(component), setup, None).map_err(|problem| problem.to_string())?;
        let needs = router.needs();
        let features = vec![1000.0; needs.features.len()];
        let cells = needs.signals.len() * deployments;
        let tables = (0..TABLES).map(|table| signals(table, cells)).collect();
        let mut asked = Self { router, features, tables, calls: 0, ranking: Vec::with_capacity(deployments) };
        asked.times(WARM_UP)?;
        Ok(asked)
    }

    /// What its next decisions cost, microseconds.
    ///
    /// # Errors
    /// It fails a call.
    pub(crate) fn times(&mut self, calls: usize) -> Result<Vec<f64>, String> {
        // A request that is served: nobody asks why.
        let told = |wanted: &Attribute| if *wanted == Attribute::Explain { "" } else { "bench" };
        let attributes: Vec<&str> = self.router.needs().attributes.iter().map(told).collect();
        let mut times = Vec::with_capacity(calls);
        for _ in 0..calls {
            let (question, table) = (question(self.calls as u64), &self.tables[self.calls % TABLES]);
            let start = now();
            let answer = self.router.route(&question, table, &self.features, &attributes, &mut self.ranking);
            let took = start.elapsed();
            answer.map_err(|end| format!("call {}: {end:?}", self.calls))?;
            times.push(micros(took));
            self.calls += 1;
            if let Some(first) = self.ranking.first() {
                self.router.observe(&outcome(&question, first.deployment));
            }
        }
        Ok(times)
    }
}

/// A request like most.
pub(crate) fn question(call: u64) -> RouteRequest {
    RouteRequest {
        id: None,
        now: Moment::default() + Duration::from_micros(50 * call),
        seed: seed::derive(7, call),
        input_tokens: 900,
        input_precision: Precision::Exact,
        expected_output_tokens: 200,
        max_output_tokens: Some(256),
        priority: 0,
        deadline_ms: Some(60_000),
        traits: Traits::default(),
    }
}

/// A whole reply that took from one to three seconds.
fn outcome(question: &RouteRequest, deployment: u32) -> Outcome {
    let draw = u16::try_from(question.seed % 2_000).unwrap_or_default();
    Outcome {
        seed: question.seed,
        attempt: 0,
        deployment,
        fault: None,
        input_tokens: question.input_tokens,
        output_tokens: question.expected_output_tokens,
        cost_usd: 0.004,
        latency_ms: 1_000.0 + f32::from(draw),
        ttft_ms: Some(300.0),
        quality: None,
    }
}

/// A deployment like most.
pub(crate) fn facts(index: usize) -> DeploymentInfo {
    DeploymentInfo {
        id: format!("deployment-{index}").as_str().into(),
        provider: "openai".to_owned(),
        model: "bench-model".to_owned(),
        tags: Vec::new(),
        weight: None,
        order: 1,
        input_price: Some(2.5),
        output_price: Some(10.0),
        context_window: Some(128_000),
        rpm: Some(10_000),
        tpm: Some(2_000_000),
        itpm: None,
        otpm: None,
    }
}

/// Numbers a busy group could have, one in four cells zero: nothing to wait for, nothing under way.
fn signals(table: usize, cells: usize) -> Vec<f32> {
    let cell = |cell: usize| {
        let draw = seed::derive(table as u64, cell as u64);
        let small = u16::try_from(draw % 4096).unwrap_or_default();
        if draw >> 62 == 0 { 0.0 } else { f32::from(small) }
    };
    (0..cells).map(cell).collect()
}

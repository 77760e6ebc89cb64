//! What a decision costs: one component beside the shipped routers, in the same run and as a gateway bounds them. Between two
//! decisions each hears how the first choice of the last one ended; that is not measured.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::builtin_policies::SHIPPED;
use crate::id::{DeploymentId, PolicyName};
use crate::policy::{Component, DeploymentInfo, Role, Router, Setup, inspect, stopwatch};
use crate::seed;
use crate::signal::Attribute;

use super::builtin_checks::{outcome, question};
use super::{Options, as_served, load, plain_setup};

/// Decisions of one measurement, and the time after which fewer will do.
const CALLS: u64 = 2_000;
const LONGEST: Duration = Duration::from_millis(150);
/// Decisions before it.
const WARM: u64 = 100;
/// Matrices of signals that take turns, so that no answer can be remembered.
const TABLES: u64 = 16;
/// The largest group that is measured.
pub const MOST_DEPLOYMENTS: usize = 10_000;

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Bench {
    /// The component's rows, then those of the shipped routers.
    pub rows: Vec<BenchRow>,
}

/// One policy over one size of group.
#[derive(Clone, Debug, Serialize)]
pub struct BenchRow {
    /// The policy's name.
    pub policy: String,
    /// Whether it is the component that was asked for.
    pub own: bool,
    /// Deployments in the group.
    pub deployments: usize,
    /// The median of a decision, microseconds.
    pub p50_us: f64,
    /// The 99th percentile.
    pub p99_us: f64,
    /// Decisions that were measured.
    pub decisions: usize,
    /// Bytes of linear memory afterwards.
    pub memory_bytes: usize,
    /// Milliseconds to start it over such a group.
    pub start_ms: f64,
}

/// Measures a component, with the options' settings, and the shipped routers with none. A few seconds at most.
///
/// # Errors
/// The component cannot be started, or fails a decision.
pub fn bench(file: &Path, sizes: &[usize], options: &Options) -> Result<Bench, String> {
    if let Some(size) = sizes.iter().find(|size| !(1..=MOST_DEPLOYMENTS).contains(*size)) {
        return Err(format!("a group of {size} deployments is not measured: 1 to {MOST_DEPLOYMENTS} are"));
    }
    let engine = as_served(options)?;
    let about = |problem: String| format!("{}: {problem}", file.display());
    let component = load(&engine, file)?;
    let mut rows = Vec::new();
    for &size in sizes {
        rows.push(measure(&component, true, size, plain_setup(options)).map_err(about)?);
    }
    for (name, bytes) in SHIPPED {
        if !inspect(bytes, false).is_ok_and(|found| found.roles.contains(&Role::Router)) {
            continue;
        }
        let shipped = engine.load(&PolicyName::from(name), bytes).map_err(|problem| format!("{name}: {problem}"))?;
        for &size in sizes {
            let row = measure(&shipped, false, size, plain_setup(&Options::default()));
            rows.push(row.map_err(|problem| format!("{name}: {problem}"))?);
        }
    }
    Ok(Bench { rows })
}

fn measure(component: &Arc<Component>, own: bool, size: usize, plain: Setup) -> Result<BenchRow, String> {
    let facts = plain.deployments.iter().cycle().take(size).zip(0..);
    let deployments =
        facts.map(|(facts, n)| DeploymentInfo { id: DeploymentId::from(format!("d{n}")), ..facts.clone() }).collect();
    let began = stopwatch();
    let router = Router::start(Arc::clone(component), Setup { deployments, ..plain }, None);
    let start = stopwatch().saturating_sub(began);
    let router = router.map_err(|problem| problem.to_string())?;
    let needs = router.needs();
    let tables: Vec<Vec<f32>> = (0..TABLES).map(|table| signals(table, needs.signals.len() * size)).collect();
    let features = vec![1_000.0; needs.features.len()];
    // A request that is served: nobody asks why.
    let told = |wanted: &Attribute| if *wanted == Attribute::Explain { "" } else { "bench" };
    let attributes: Vec<&str> = needs.attributes.iter().map(told).collect();
    let mut times = Vec::new();
    let mut ranking = Vec::with_capacity(size);
    for (call, table) in (0..WARM + CALLS).zip(tables.iter().cycle()) {
        let question = question(call);
        let began = stopwatch();
        let answer = router.route(&question, table, &features, &attributes, &mut ranking);
        let ended = stopwatch();
        if let Err(crate::policy::RouteError::Fault(fault)) = answer {
            let fault = fault.in_its_words(&router.take_log());
            return Err(format!("decision {call} over {size} deployments: it {fault}"));
        }
        if call >= WARM {
            times.push(ended.saturating_sub(began));
        }
        if let Some(first) = ranking.first() {
            router.observe(&outcome(call, first.deployment));
        }
        if times.len() > 10 && times.iter().sum::<Duration>() > LONGEST {
            break;
        }
    }
    times.sort_unstable();
    let micros = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)].as_secs_f64() * 1e6;
    Ok(BenchRow {
        policy: component.name().to_string(),
        own,
        deployments: size,
        p50_us: micros(50),
        p99_us: micros(99),
        decisions: times.len(),
        memory_bytes: router.memory_bytes(),
        start_ms: start.as_secs_f64() * 1e3,
    })
}

/// Numbers a busy group could have, one in four cells zero.
fn signals(table: u64, cells: usize) -> Vec<f32> {
    let cell = |cell: u64| {
        let draw = seed::derive(table, cell);
        let small = u16::try_from(draw % 4096).unwrap_or_default();
        if draw >> 62 == 0 { 0.0 } else { f32::from(small) }
    };
    (0..).take(cells).map(cell).collect()
}

impl fmt::Display for Bench {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<24} {:>11} {:>9} {:>9} {:>10} {:>9}",
            "POLICY", "DEPLOYMENTS", "P50 µs", "P99 µs", "MEMORY KiB", "START ms"
        )?;
        for row in &self.rows {
            let name = if row.own { format!("* {}", row.policy) } else { row.policy.clone() };
            let BenchRow { deployments, p50_us, p99_us, start_ms, .. } = row;
            let memory = row.memory_bytes / 1024;
            writeln!(f, "{name:<24} {deployments:>11} {p50_us:>9.2} {p99_us:>9.2} {memory:>10} {start_ms:>9.2}")?;
        }
        writeln!(f, "* the component; the others are shipped, measured in the same run")?;
        if cfg!(debug_assertions) {
            writeln!(f, "this is a debug build of witgate: a release takes a fraction of these times")?;
        }
        Ok(())
    }
}

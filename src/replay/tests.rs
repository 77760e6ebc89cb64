//! A policy that means no good, recorded and repeated: what it did happens again, and what happened to it is told.

use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::config::DecisionSettings;
use crate::decisions::Decisions;
use crate::fault::FaultKind;
use crate::id::{GroupName, RequestId};
use crate::moment::Moment;
use crate::policy::{
    Choice, DecisionLog, DeploymentInfo, Outcome, PolicyFault, RouteError, RouteRequest, Router, Setup, Traits,
};

const HOSTILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/policies/hostile.wasm");
/// The priority of requests on which the guest misbehaves.
const CURSED: i32 = 666;

/// A recorded router, and where its runs go.
struct Bench {
    folder: TempDir,
    decisions: Arc<Decisions>,
    router: Arc<Router>,
    asked: u64,
}

impl Bench {
    fn start(settings: &str, run: u32) -> Self {
        let folder = TempDir::new().unwrap();
        let decisions = Arc::new(Decisions::new(None));
        let kept = DecisionSettings {
            share: 1.0,
            run,
            keep_bytes: 1 << 24,
            dir: Some(folder.path().join("runs")),
            words: false,
        };
        decisions.apply(Some(&kept)).unwrap();
        let log = Arc::clone(&decisions) as Arc<dyn DecisionLog>;
        let engine = Engine::new(EngineOptions { decisions: Some(log), ..EngineOptions::default() }).unwrap();
        let component = engine.load(&PolicyName::from("hostile"), &fs::read(HOSTILE).unwrap()).unwrap();
        let deployment = |id: &str| DeploymentInfo::named(id, "p", "m");
        let setup = Setup {
            may_read: crate::signal::Grants::All,
            group: Some(GroupName::from("g")),
            settings: settings.into(),
            deployments: ["a", "b"].map(deployment).to_vec(),
            seed: 7,
        };
        let router = Router::start(component, setup, None).unwrap();
        Self { folder, decisions, router, asked: 0 }
    }

    /// A minute apart, so that no number of faults is too many.
    fn ask(&mut self, priority: i32) -> Result<Vec<u32>, RouteError> {
        self.asked += 1;
        let now = Moment::from_millis(self.asked * 120_000);
        let request = RouteRequest {
            input_precision: crate::tokens::Precision::Exact,
            id: Some(RequestId::derive(now, self.asked)),
            now,
            seed: self.asked,
            input_tokens: 1,
            expected_output_tokens: 1,
            max_output_tokens: None,
            priority,
            deadline_ms: None,
            traits: Traits::default(),
        };
        let mut ranking: Vec<Choice> = Vec::new();
        let signals = vec![0.5; self.router.needs().signals.len() * 2];
        self.router.route(&request, &signals, &[], &[], &mut ranking)?;
        Ok(ranking.iter().map(|choice| choice.deployment).collect())
    }

    fn observe(&self, deployment: u32) {
        self.router.observe(&Outcome {
            seed: self.asked,
            attempt: 0,
            deployment,
            fault: Some(FaultKind::TimedOut),
            input_tokens: 1,
            output_tokens: 1,
            cost_usd: f64::NAN,
            latency_ms: 1.0,
            ttft_ms: None,
            quality: None,
        });
    }

    /// Ends recording and repeats all of it.
    fn repeat(&self) -> Report {
        self.decisions.finish();
        let policies = Path::new(HOSTILE).parent().unwrap().to_owned();
        let options = Options { policies, ..Options::default() };
        replay(&self.folder.path().join("runs"), &options)
    }
}

#[test]
fn a_trap_happens_again_and_what_follows_knows_what_was_saved() {
    let mut bench = Bench::start("route-trap", 100);
    assert!(bench.ask(0).is_ok());
    bench.observe(1);
    assert!(bench.router.save().is_some());
    bench.observe(1);
    assert!(matches!(bench.ask(CURSED), Err(RouteError::Fault(PolicyFault::Trap(_)))));
    assert!(bench.ask(0).is_ok());
    bench.observe(0);
    assert!(bench.router.save().is_some(), "a count in which the lost outcome is not");
    let report = bench.repeat();
    let run = &report.runs[0];
    assert_eq!((report.exit_code(), run.decisions, run.identical, run.told), (0, 3, 3, 0), "{report}");
    assert_eq!((run.outcomes, run.saves, run.other_differences), (3, 2, 0), "{report}");
}

#[test]
fn a_call_whose_time_was_up_is_told_and_not_repeated() {
    let mut bench = Bench::start("route-loop", 100);
    assert!(bench.ask(0).is_ok());
    bench.observe(1);
    assert_eq!(bench.ask(CURSED), Err(RouteError::Fault(PolicyFault::CpuBudget)));
    assert!(bench.ask(0).is_ok());
    assert!(bench.router.save().is_some(), "it began again with what was saved");
    let report = bench.repeat();
    let run = &report.runs[0];
    assert_eq!((report.exit_code(), run.decisions, run.identical, run.told), (0, 3, 3, 1), "{report}");
}

#[test]
fn refusals_and_broken_answers_come_out_the_same() {
    for settings in ["wait", "reject", "empty", "duplicate", "propensity-nan", "route-panic", "stack-overflow"] {
        let mut bench = Bench::start(settings, 100);
        assert!(bench.ask(0).is_ok());
        // None of the deployments is an answer; all else here is none.
        assert_eq!(bench.ask(CURSED).is_ok(), settings == "empty", "{settings}");
        assert!(bench.ask(0).is_ok());
        let report = bench.repeat();
        assert_eq!((report.exit_code(), report.identical()), (0, 3), "{settings}: {report}");
    }
}

#[test]
fn a_quarantined_policy_is_told_as_such() {
    let mut bench = Bench::start("route-trap", 100);
    assert!(bench.ask(0).is_ok());
    let now = bench.asked;
    for _ in 0..3 {
        bench.asked = now;
        assert!(bench.ask(CURSED).is_err());
    }
    bench.asked = now;
    assert_eq!(bench.ask(0), Err(RouteError::Fault(PolicyFault::Quarantined)));
    assert!(bench.ask(0).is_ok(), "it is given another call later");
    let report = bench.repeat();
    assert_eq!((report.exit_code(), report.decisions(), report.runs[0].told), (0, 6, 1), "{report}");
}

#[test]
fn runs_follow_one_another_and_each_begins_with_what_was_known() {
    let mut bench = Bench::start("", 10);
    for n in 0..35 {
        assert!(bench.ask(0).is_ok());
        bench.observe(n % 2);
    }
    let report = bench.repeat();
    let lengths: Vec<usize> = report.runs.iter().map(|run| run.decisions).collect();
    assert_eq!((lengths, report.exit_code()), (vec![10, 10, 10, 5], 0), "{report}");
}

#[test]
fn several_instances_of_a_pure_policy_answer_one_run() {
    let bench = Bench::start("pure", 400);
    let ask = |from: u64| {
        let mut own = Bench {
            folder: TempDir::new().unwrap(),
            decisions: Arc::clone(&bench.decisions),
            router: Arc::clone(&bench.router),
            asked: from,
        };
        for _ in 0..100 {
            assert!(own.ask(0).is_ok());
        }
    };
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || ask(thread * 1000));
        }
    });
    let report = bench.repeat();
    assert_eq!((report.runs.len(), report.identical(), report.exit_code()), (1, 400, 0), "{report}");
}

#[test]
fn what_is_compiled_for_a_replay_is_kept() {
    let mut bench = Bench::start("", 10);
    assert!(bench.ask(0).is_ok());
    bench.decisions.finish();
    let cache = bench.folder.path().join("cache");
    let policies = Path::new(HOSTILE).parent().unwrap().to_owned();
    let options = Options { policies, cache: Some(cache.clone()), ..Options::default() };
    let kept = || fs::read_dir(&cache).unwrap().count();
    let mut before = None;
    for _ in 0..2 {
        let report = replay(&bench.folder.path().join("runs"), &options);
        assert_eq!(report.exit_code(), 0, "{report}");
        assert!(kept() > 0 && before.is_none_or(|before| before == kept()));
        before = Some(kept());
    }
}

#[test]
fn without_its_policy_a_run_cannot_be_repeated() {
    let mut bench = Bench::start("", 10);
    assert!(bench.ask(0).is_ok());
    bench.decisions.finish();
    let nowhere = Options { policies: bench.folder.path().to_owned(), ..Options::default() };
    let report = replay(&bench.folder.path().join("runs"), &nowhere);
    let told = report.to_string();
    assert!(report.exit_code() == 2 && told.contains("hostile") && told.contains("--policy"), "{told}");
    let kept = format!("STATE_DIR/policies/{}.wasm", Digest::of(&fs::read(HOSTILE).unwrap()));
    assert!(told.contains(&kept), "{told}");
    assert_eq!(replay(bench.folder.path(), &nowhere).exit_code(), 2, "a folder without runs");
    assert_eq!(replay(Path::new("nowhere"), &nowhere).exit_code(), 2);
}

#[test]
fn a_version_that_was_replaced_is_found_where_its_gateway_keeps_it() {
    let mut bench = Bench::start("", 10);
    assert!(bench.ask(0).is_ok());
    bench.decisions.finish();
    let states = bench.folder.path().join("states");
    let kept = states.join("0123456789ab/policies");
    fs::create_dir_all(&kept).unwrap();
    let component = fs::read(HOSTILE).unwrap();
    let file = kept.join(format!("{}.wasm", Digest::of(&component)));
    let options = Options { policies: bench.folder.path().join("none"), states: Some(states), ..Options::default() };
    let runs = bench.folder.path().join("runs");
    // It is believed by its digest, whatever it is called.
    for (bytes, code) in [(&b"another"[..], 2), (&component[..], 0)] {
        fs::write(&file, bytes).unwrap();
        let report = replay(&runs, &options);
        assert_eq!(report.exit_code(), code, "{report}");
    }
}

//! The learner's own decisions, kept as a gateway keeps them, in a world of which everything is known.

use std::io::BufReader;

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::builtin_policies::SHIPPED;
use crate::config::DecisionSettings;
use crate::decisions::Decisions;
use crate::evaluate::contender::{asked, facts, signals};
use crate::evaluate::data::{DataSet, read_lines};
use crate::evaluate::log_show::{LogTable, log_page};
use crate::id::{GroupName, PolicyName};
use crate::policy::{Choice, DecisionLog, Engine, EngineOptions, Router, Setup};
use crate::signal::Grants;

/// Two models: one good at sums and dear, one good at poems and cheap.
fn world() -> DataSet {
    let line = |prompt: &str, sums: f64, poems: f64| json!({"prompt": prompt, "models": {"poems": {"reward": poems, "cost": 0.0001}, "sums": {"reward": sums, "cost": 0.001}}});
    let lines = format!(
        "{}\n{}\n",
        line("Compute the sum of the numbers in this list, step by step, and explain why.", 0.9, 0.2),
        line("Write a short poem about a river in the evening.", 0.5, 0.9)
    );
    read_lines("world", BufReader::new(lines.as_bytes())).expect("data")
}

/// The learner decides so many requests; every reply is told, and one in `judged` is judged in the next run.
fn kept(requests: u64, judged: u64, words: bool) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    let decisions = Arc::new(Decisions::new(None));
    let settings =
        DecisionSettings { share: 1.0, run: 100, keep_bytes: 1 << 24, dir: Some(folder.path().join("runs")), words };
    decisions.apply(Some(&settings)).expect("a folder");
    let log = Arc::clone(&decisions) as Arc<dyn DecisionLog>;
    let engine = Engine::new(EngineOptions { decisions: Some(log), ..EngineOptions::default() }).expect("an engine");
    let (name, bytes) = SHIPPED.iter().find(|(name, _)| *name == "bandit").expect("shipped");
    let component = engine.load(&PolicyName::from(*name), bytes).expect("a component");
    let data = world();
    let setup = Setup {
        group: Some(GroupName::from("g")),
        settings: Arc::from(r#"{"uniform": 0.4}"#),
        deployments: data.models.iter().map(|model| facts(model)).collect(),
        seed: 7,
        may_read: Grants::All,
    };
    let router = Router::start(component, setup, None).expect("it starts");
    let signals = signals(router.needs(), &data);
    let mut late = Vec::new();
    for number in 0..requests {
        let example = &data.examples[usize::from(seed::derive(3, number).is_multiple_of(2))];
        let question = asked(router.needs(), example, number, 11, &signals);
        let mut ranking: Vec<Choice> = Vec::new();
        router.route(&question.request, &question.signals, &question.features, &[], &mut ranking).expect("a ranking");
        let deployment = ranking[0].deployment;
        let reply = &example.replies[deployment as usize];
        let end = Outcome {
            seed: question.request.seed,
            attempt: 0,
            deployment,
            fault: None,
            input_tokens: 10,
            output_tokens: 10,
            cost_usd: reply.cost,
            latency_ms: 500.0,
            ttft_ms: None,
            quality: None,
        };
        router.observe(&end);
        if seed::derive(5, number).is_multiple_of(judged) {
            #[expect(clippy::cast_possible_truncation, reason = "outcomes are f32")]
            let quality = Some(reply.reward as f32);
            late.push(Outcome { quality, cost_usd: f64::NAN, latency_ms: f32::NAN, ..end });
        }
        if late.len() > 30 {
            late.drain(..).for_each(|judgement| router.observe(&judgement));
        }
    }
    late.drain(..).for_each(|judgement| router.observe(&judgement));
    decisions.finish();
    folder
}

fn question(folder: &TempDir, router: &str, settings: &Value) -> LogQuestion {
    LogQuestion {
        path: folder.path().join("runs"),
        router: router.to_owned(),
        settings: settings.as_object().cloned().expect("an object"),
        objective: Objective::default(),
        group: None,
    }
}

#[test]
fn a_router_that_never_decided_is_estimated_from_one_that_did() {
    let folder = kept(800, 3, false);
    let report = evaluate_log(&question(&folder, "cost-based", &json!({}))).expect("estimated");
    // It always takes the cheap one: 0.9 where poems are asked, 0.2 where sums are.
    let quality = report.quality.doubly_robust;
    assert!(quality.low < 0.55 && quality.high > 0.55 && quality.high - quality.low < 0.15, "{quality:?}");
    let cost = report.cost_usd.doubly_robust;
    assert!((cost.value - 0.0001).abs() < 0.00002, "{cost:?}");
    assert!((report.judged - 1.0 / 3.0).abs() < 0.05 && report.worth.decisions == 800, "{report:?}");
    assert!(report.worth.better_by.high < 0.0 && !no_worse_by(&report, 0.02), "{:?}", report.worth.better_by);
    assert!((report.shares[0].chosen - 1.0).abs() < 1e-9 && report.runs == 8, "{:?}", report.shares);

    // The learner that explores less than the log's gets more, though it learns from the same replies.
    let settings = json!({"uniform": 0, "warm_up": 0});
    let better = evaluate_log(&question(&folder, "bandit", &settings)).expect("estimated");
    assert!(better.worth.better_by.low > 0.0 && no_worse_by(&better, 0.0), "{}", LogTable(&better));
    let (table, page) = (LogTable(&better).to_string(), log_page(&better));
    assert!(
        table.contains("doubly robust") && table.contains("% judged") && page.contains("<polyline"),
        "{table}{page}"
    );
    let again = evaluate_log(&question(&folder, "bandit", &settings)).expect("estimated");
    assert_eq!(LogTable(&again).to_string(), table);
}

#[test]
fn what_a_log_cannot_say_is_said() {
    let folder = kept(60, 1_000_000, false);
    let runs = question(&folder, "simple-shuffle", &json!({}));
    let report = evaluate_log(&runs).expect("estimated");
    assert!(report.notes.iter().any(|note| note.contains("no reply was judged")), "{:?}", report.notes);
    assert!((report.quality.logged.value - ANSWERED).abs() < 1e-9, "{:?}", report.quality.logged);
    let other = LogQuestion { group: Some("h".to_owned()), ..runs.clone() };
    let why = evaluate_log(&other).expect_err("no such group");
    assert!(why.contains("hint: "), "{why}");
    let why = evaluate_log(&LogQuestion { router: "nobody".to_owned(), ..runs.clone() }).expect_err("no router");
    assert!(why.contains("nobody") && why.contains("hint: "), "{why}");
    let why = evaluate_log(&LogQuestion { path: folder.path().join("none"), ..runs }).expect_err("no folder");
    assert!(why.contains("none"), "{why}");
}

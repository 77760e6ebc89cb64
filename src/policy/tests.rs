//! The host against policies that mean it no good. The guest is `plugins/hostile`, built and committed as
//! `tests/fixtures/policies/hostile.wasm`; its settings name the misbehaviour.

mod hostile;
mod loading;
mod log_lines;
mod manifests;
mod prompts;
mod providers;
mod replies;
mod schemas;
mod swap;

use std::sync::{Arc, LazyLock};

use super::*;
use crate::id::PolicyName;
use crate::moment::Moment;
use crate::signal::Grants;
use crate::tokens::Precision;

const HOSTILE: &[u8] = include_bytes!("../../tests/fixtures/policies/hostile.wasm");

/// The priority of requests on which the guest misbehaves.
const CURSED: i32 = 666;

static ENGINE: LazyLock<Engine> =
    LazyLock::new(|| Engine::new(EngineOptions { capture_log: true, ..EngineOptions::default() }).unwrap());

static COMPONENT: LazyLock<Arc<Component>> =
    LazyLock::new(|| ENGINE.load(&PolicyName::from("hostile"), HOSTILE).unwrap());

static FUEL: LazyLock<Arc<Component>> = LazyLock::new(|| {
    let engine = Engine::new(EngineOptions { fuel: Some(1_000_000), ..EngineOptions::default() }).unwrap();
    engine.load(&PolicyName::from("hostile"), HOSTILE).unwrap()
});

fn facts(id: &str) -> DeploymentInfo {
    DeploymentInfo {
        tags: vec!["fast".to_owned(), "eu".to_owned()],
        weight: Some(1.0),
        input_price: Some(0.15),
        context_window: Some(128_000),
        tpm: Some(100_000),
        ..DeploymentInfo::named(id, "openai", "gpt")
    }
}

fn setup(settings: &str, ids: &[&str]) -> Setup {
    let deployments = ids.iter().map(|id| facts(id)).collect();
    Setup { group: None, settings: settings.into(), deployments, seed: 7, may_read: Grants::default() }
}

fn start(settings: &str) -> Arc<Router> {
    Router::start(Arc::clone(&COMPONENT), setup(settings, &["a", "b", "c"]), None).unwrap()
}

fn question(priority: i32, now: Moment) -> RouteRequest {
    RouteRequest {
        id: None,
        now,
        seed: 1,
        input_tokens: 9000,
        input_precision: Precision::Exact,
        expected_output_tokens: 300,
        max_output_tokens: None,
        priority,
        deadline_ms: Some(1000),
        traits: Traits { streaming: true, ..Traits::default() },
    }
}

fn ask(router: &Router, priority: i32, now: Moment) -> Result<Vec<u32>, RouteError> {
    let mut out = vec![Choice { deployment: 99, propensity: 0.1 }];
    let signals = vec![0.0; router.needs().signals.len() * router.setup().deployments.len()];
    let answer = router.route(&question(priority, now), &signals, &[], &[], &mut out);
    assert!(answer.is_ok() || out.is_empty(), "no half ranking is left behind");
    answer.map(|()| out.into_iter().map(|choice| choice.deployment).collect())
}

fn outcome(deployment: u32) -> Outcome {
    Outcome {
        seed: 1,
        attempt: 0,
        deployment,
        fault: None,
        input_tokens: 10,
        output_tokens: 10,
        cost_usd: 0.001,
        latency_ms: 900.0,
        ttft_ms: None,
        quality: None,
    }
}

/// What the guest counted: outcomes, and the sum of their deployments' indexes.
fn counted(router: &Router) -> (u64, u64) {
    let state = router.save().unwrap();
    assert_eq!(state.schema, "count");
    let number = |at: usize| u64::from_le_bytes(state.bytes[at..at + 8].try_into().unwrap());
    (number(0), number(8))
}

//! Each shipped router's rule, restated without a line of its code, on 1,000 random inputs. What is drawn is
//! checked place by place: that it was among those the rule allows, with the probability the rule gives it.
#![expect(clippy::cast_precision_loss, reason = "counts and limits of a test are small")]

use std::collections::BTreeMap;
use std::sync::Arc;

use fastrand::Rng;

use super::super::suite::plain_facts;
use crate::builtin_policies::SHIPPED;
use crate::fault::FaultKind;
use crate::id::PolicyName;
use crate::moment::Moment;
use crate::policy::{Choice, DeploymentInfo, Engine, EngineOptions, Outcome, RouteRequest, Router, Setup, Traits};
use crate::signal::Signal;

const GROUPS: u64 = 50;
const QUESTIONS: u64 = 20;
const START_MS: u64 = 1_767_225_600_000;

/// One question, everything that was to be known, and the answer.
struct Asked<'a> {
    facts: &'a [DeploymentInfo],
    question: &'a RouteRequest,
    signals: &'a BTreeMap<Signal, Vec<f32>>,
    ranking: &'a [Choice],
}

impl Asked<'_> {
    fn signal(&self, signal: Signal, deployment: usize) -> f64 {
        f64::from(self.signals[&signal][deployment])
    }

    /// An unknown or negative wait is none.
    fn wait(&self, deployment: usize) -> f64 {
        let wait = self.signal(Signal::WaitMs, deployment);
        if wait.is_nan() || wait < 0.0 { 0.0 } else { wait }
    }

    /// Every place holds one of the best of those left; the first of them, or any with an even chance.
    fn follows(&self, draws: bool, slack: f64, value: impl Fn(usize) -> f64) {
        let mut left: Vec<usize> = (0..self.facts.len()).collect();
        for choice in self.ranking {
            let chosen = choice.deployment as usize;
            let shortest = left.iter().map(|&one| self.wait(one)).fold(f64::INFINITY, f64::min);
            let prompt: Vec<usize> = left.iter().copied().filter(|&one| self.wait(one) <= shortest).collect();
            let lowest = prompt.iter().map(|&one| value(one)).fold(f64::INFINITY, f64::min);
            let best: Vec<usize> = prompt
                .iter()
                .copied()
                .filter(|&one| value(one) <= lowest + slack * lowest || value(one) <= lowest)
                .collect();
            assert!(best.contains(&chosen), "chose {chosen}, best are {best:?} of {left:?}");
            let chance = if draws { 1.0 / best.len() as f64 } else { 1.0 };
            assert!((f64::from(choice.propensity) - chance).abs() < 1e-6, "{choice:?}, chance {chance}");
            assert!(draws || best[0] == chosen, "of equals the first");
            left.retain(|&one| one != chosen);
        }
        assert!(left.is_empty(), "all are ranked");
    }
}

fn facts(rng: &mut Rng) -> Vec<DeploymentInfo> {
    let price = |rng: &mut Rng| rng.bool().then(|| f64::from(rng.u32(0..6)) * 0.5);
    let limit = |rng: &mut Rng| rng.bool().then(|| u64::from(rng.u32(0..5)) * 20_000);
    (0..rng.usize(1..12))
        .map(|n| DeploymentInfo {
            weight: rng.bool().then(|| f64::from(rng.i32(-1..4))),
            input_price: price(rng),
            output_price: price(rng),
            rpm: limit(rng),
            tpm: limit(rng),
            ..plain_facts(&format!("d{n}"))
        })
        .collect()
}

/// Coarse, so that equals are common.
fn signal(rng: &mut Rng, signal: Signal) -> f32 {
    if rng.u8(0..12) == 0 {
        return f32::NAN;
    }
    let few = rng.u16(0..4);
    match signal {
        Signal::WaitMs => [0.0, 0.0, 250.0, f32::INFINITY][usize::from(few)],
        Signal::TokensFree if rng.u8(0..8) == 0 => f32::INFINITY,
        Signal::TokensFree | Signal::TokensUsed => f32::from(rng.u16(0..12)) * 2_500.0,
        _ => f32::from(few),
    }
}

fn question(rng: &mut Rng, now_ms: u64) -> RouteRequest {
    RouteRequest {
        id: None,
        now: Moment::from_millis(now_ms),
        seed: rng.u64(..),
        input_tokens: u32::from(rng.u16(0..8)) * 1_000,
        input_precision: crate::tokens::Precision::Exact,
        expected_output_tokens: u32::from(rng.u16(0..4)) * 500,
        max_output_tokens: None,
        priority: 0,
        deadline_ms: None,
        traits: Traits { streaming: rng.bool(), ..Traits::default() },
    }
}

fn outcome(rng: &mut Rng, deployments: usize) -> Outcome {
    Outcome {
        seed: 0,
        attempt: 0,
        deployment: u32::try_from(rng.usize(0..deployments)).unwrap(),
        fault: [None, None, None, Some(FaultKind::TimedOut), Some(FaultKind::Unavailable)][rng.usize(0..5)],
        input_tokens: 0,
        output_tokens: rng.u32(0..3) * 50,
        cost_usd: 0.0,
        latency_ms: if rng.u8(0..6) == 0 { f32::NAN } else { f32::from(rng.u16(0..5)) * 1_000.0 },
        ttft_ms: rng.bool().then(|| f32::from(rng.u16(0..4)) * 100.0),
        quality: rng.bool().then_some(1.0),
    }
}

/// Asks a shipped router everything. `told` hears what it observes, `holds` checks its answers.
fn on_random_inputs<T: Default>(
    policy: &str,
    settings: &str,
    told: impl Fn(&mut T, u64, &Outcome),
    holds: impl Fn(&T, &Asked<'_>),
) {
    let engine = Engine::new(EngineOptions::default()).unwrap();
    let (name, bytes) = SHIPPED.into_iter().find(|(name, _)| *name == policy).unwrap();
    let component = engine.load(&PolicyName::from(name), bytes).unwrap();
    for group in 0..GROUPS {
        let mut rng = Rng::with_seed(group);
        let facts = facts(&mut rng);
        let setup = Setup {
            group: None,
            settings: Arc::from(settings),
            deployments: facts.clone(),
            seed: group,
            may_read: crate::signal::Grants::All,
        };
        let router = Router::start(Arc::clone(&component), setup, None).unwrap();
        let (mut model, mut now_ms) = (T::default(), START_MS);
        for _ in 0..QUESTIONS {
            now_ms += rng.u64(0..20_000);
            let question = question(&mut rng, now_ms);
            let signals: BTreeMap<Signal, Vec<f32>> =
                Signal::ALL.map(|column| (column, facts.iter().map(|_| signal(&mut rng, column)).collect())).into();
            let matrix: Vec<f32> =
                router.needs().signals.iter().flat_map(|column| signals[column].iter().copied()).collect();
            let mut ranking = Vec::new();
            router.route(&question, &matrix, &[], &[], &mut ranking).unwrap();
            holds(&model, &Asked { facts: &facts, question: &question, signals: &signals, ranking: &ranking });
            for _ in 0..rng.usize(0..4) {
                let outcome = outcome(&mut rng, facts.len());
                router.observe(&outcome);
                told(&mut model, now_ms, &outcome);
            }
        }
    }
}

fn learns_nothing(_: &mut (), _: u64, _: &Outcome) {}

#[test]
fn least_busy() {
    on_random_inputs("least-busy", "{}", learns_nothing, |(), asked| {
        let order: Vec<f64> =
            asked.ranking.iter().map(|choice| asked.signal(Signal::InFlight, choice.deployment as usize)).collect();
        let places: Vec<u32> = asked.ranking.iter().map(|choice| choice.deployment).collect();
        for place in 1..order.len() {
            let (before, after) = (order[place - 1], order[place]);
            // Unknown counts as more than any.
            let less = before < after || after.is_nan() && !before.is_nan();
            let more = before > after || before.is_nan() && !after.is_nan();
            assert!(!more && (less || places[place - 1] < places[place]), "{order:?} {places:?}");
        }
        assert_eq!(places.len(), asked.facts.len());
        assert!(asked.ranking.iter().all(|choice| choice.propensity >= 1.0));
    });
}

#[test]
fn cost_based() {
    on_random_inputs("cost-based", r#"{"ttl": 60}"#, learns_nothing, |(), asked| {
        asked.follows(false, 0.0, |one| {
            // Five dollars a token, the others being by the million.
            let per_million = |price: Option<f64>| price.unwrap_or(5.0 * 1e6);
            per_million(asked.facts[one].input_price) + per_million(asked.facts[one].output_price)
        });
    });
}

#[test]
fn cost_based_by_request() {
    on_random_inputs("cost-based", r#"{"by": "request"}"#, learns_nothing, |(), asked| {
        asked.follows(false, 0.0, |one| {
            let cost = asked.signal(Signal::CostUsd, one);
            if cost.is_nan() { f64::INFINITY } else { cost }
        });
    });
}

#[test]
fn usage_based() {
    on_random_inputs("usage-based", "{}", learns_nothing, |(), asked| {
        asked.follows(true, 0.0, |one| {
            let used = asked.signal(Signal::TokensUsed, one);
            if used.is_nan() { 0.0 } else { used }
        });
    });
}

#[test]
fn tpm_aware() {
    on_random_inputs("tpm-aware", "{}", learns_nothing, |(), asked| {
        let tokens = asked.question.input_tokens + asked.question.expected_output_tokens;
        let size = f64::from(tokens.max(1));
        asked.follows(true, 0.0, |one| {
            let free = asked.signal(Signal::TokensFree, one);
            let used = asked.signal(Signal::TokensUsed, one);
            let limit = free + if used.is_nan() { 0.0 } else { used };
            // Classes far apart, and within each what it is ordered by.
            match free {
                free if free.is_nan() => 3e9,
                free if free < size => 4e9,
                free if free < 2.0 * size => (free - size) / size,
                free if free == f64::INFINITY => 1e9,
                free => 2e9 - (free - size) / limit * 1e9,
            }
        });
    });
}

#[test]
fn simple_shuffle() {
    on_random_inputs("simple-shuffle", "{}", learns_nothing, |(), asked| {
        let mut left: Vec<usize> = (0..asked.facts.len()).collect();
        for choice in asked.ranking {
            let facts = |one: usize| &asked.facts[one];
            let sets: [Box<dyn Fn(usize) -> f64>; 4] = [
                Box::new(|one| facts(one).weight.unwrap_or(0.0).max(0.0)),
                Box::new(|one| facts(one).rpm.unwrap_or(0) as f64),
                Box::new(|one| facts(one).tpm.unwrap_or(0) as f64),
                Box::new(|_| 1.0),
            ];
            let total = |set: &dyn Fn(usize) -> f64| left.iter().map(|&one| set(one)).sum::<f64>();
            let weight = sets.iter().find(|set| total(set) > 0.0).unwrap();
            let chosen = choice.deployment as usize;
            let chance = weight(chosen) / total(weight);
            assert!(chance > 0.0, "{chosen} weighs nothing among {left:?}");
            assert!((f64::from(choice.propensity) - chance).abs() < 1e-6, "{choice:?}, chance {chance}");
            left.retain(|&one| one != chosen);
        }
        assert!(left.is_empty());
    });
}

/// Everything latency-based was told: for each deployment when, and how long.
#[derive(Default)]
struct Samples {
    replies: BTreeMap<u32, Vec<(u64, f64)>>,
    first_tokens: BTreeMap<u32, Vec<(u64, f64)>>,
}

impl Samples {
    fn told(&mut self, now_ms: u64, outcome: &Outcome) {
        if outcome.latency_ms.is_nan() {
            return;
        }
        let seconds = f64::from(outcome.latency_ms) / 1e3;
        let reply = match (outcome.fault, outcome.output_tokens) {
            (None, 0) => seconds,
            (None, tokens) => seconds / f64::from(tokens),
            (Some(FaultKind::TimedOut), _) => 1000.0,
            (Some(_), _) => return,
        };
        self.replies.entry(outcome.deployment).or_default().push((now_ms, reply));
        if let (None, Some(ttft)) = (outcome.fault, outcome.ttft_ms) {
            self.first_tokens.entry(outcome.deployment).or_default().push((now_ms, f64::from(ttft) / 1e3));
        }
    }

    fn last(samples: &BTreeMap<u32, Vec<(u64, f64)>>, deployment: usize, now: Moment, size: usize) -> Vec<f64> {
        let all = samples.get(&u32::try_from(deployment).unwrap()).map(Vec::as_slice).unwrap_or_default();
        let kept = &all[all.len().saturating_sub(size)..];
        kept.iter().filter(|(at, _)| now.as_millis() < at + 60_000).map(|(_, seconds)| *seconds).collect()
    }

    fn latency(&self, one: usize, asked: &Asked<'_>, size: usize, percentile: Option<f64>) -> f64 {
        let mean = |samples: &[f64]| samples.iter().sum::<f64>() / samples.len() as f64;
        let replies = Self::last(&self.replies, one, asked.question.now, size);
        let mut first_tokens = Self::last(&self.first_tokens, one, asked.question.now, size);
        first_tokens.sort_by(f64::total_cmp);
        match (asked.question.traits.streaming && !first_tokens.is_empty(), percentile) {
            (true, None) => mean(&first_tokens),
            (true, Some(share)) => {
                let wanted = share * first_tokens.len() as f64;
                // The smallest that at least this share does not exceed.
                let enough = (1..=first_tokens.len()).find(|&count| count as f64 >= wanted).unwrap();
                first_tokens[enough - 1]
            }
            (false, _) if replies.is_empty() => 0.0,
            (false, _) => mean(&replies),
        }
    }
}

#[test]
fn latency_based() {
    let settings = r#"{"ttl": 60, "max_latency_list_size": 3}"#;
    on_random_inputs("latency-based", settings, Samples::told, |samples, asked| {
        asked.follows(true, 0.0, |one| samples.latency(one, asked, 3, None));
    });
}

#[test]
fn latency_based_with_a_buffer_and_a_percentile() {
    let settings = r#"{"ttl": 60, "lowest_latency_buffer": 0.5, "ttft_percentile": 0.5}"#;
    on_random_inputs("latency-based", settings, Samples::told, |samples, asked| {
        asked.follows(true, 0.5, |one| samples.latency(one, asked, 10, Some(0.5)));
    });
}

//! A router that misbehaves on demand: the host's tests name the misbehaviour in its settings.
//!
//! Unless told otherwise it ranks the deployments in their order, counts outcomes, and saves the count. What
//! is to happen in `route` happens only to requests of priority 666, so that it passes the host's self-test.
//!
//! The built component is committed as `tests/fixtures/policies/hostile.wasm`. `cargo xtask policies`
//! builds it.

#![expect(unsafe_code, reason = "the exports of a component and the static its one thread uses")]

use std::cell::RefCell;
use std::hint::black_box;

wit_bindgen::generate!({ world: "router", path: "../../wit" });

use exports::witgate::policy::lifecycle::{self, SavedState, Setup};
use exports::witgate::policy::routing::{self, Deployment, Needs, Outcome, Ranking, Refusal, Request, Traits};
use witgate::policy::log::{Level, write};

/// The priority of requests on which `route` misbehaves.
const CURSED: i32 = 666;

struct Hostile;

#[derive(Default)]
struct State {
    settings: String,
    deployments: u32,
    // Read once: what is measured in `route` is the host.
    eight_columns: bool,
    self_test_trap: bool,
    // It was told an outcome that nobody has but the trial before service.
    on_trial: bool,
    outcomes: u64,
    weight: u64,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

fn told_to(what: &str) -> bool {
    STATE.with_borrow(|state| state.settings.contains(what))
}

impl lifecycle::Guest for Hostile {
    fn configure(setup: Setup) -> Result<(), String> {
        STATE.with_borrow_mut(|state| {
            state.settings.clone_from(&setup.settings);
            state.eight_columns = setup.settings == "eight-columns";
            state.self_test_trap = setup.settings == "self-test-trap";
        });
        if told_to("configure-loop") {
            endless();
        }
        if told_to("configure-refuse") {
            return Err("these settings will not do".to_owned());
        }
        if let Some(saved) = setup.state {
            if told_to("state-trap") {
                unreachable();
            }
            if told_to("state-refuse") {
                return Err("what is this?".to_owned());
            }
            if saved.schema == "count" {
                let number =
                    |at: usize| saved.bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
                STATE.with_borrow_mut(|state| {
                    state.outcomes = number(0).unwrap_or_default();
                    state.weight = number(8).unwrap_or_default();
                });
            }
        }
        Ok(())
    }

    fn save() -> Option<SavedState> {
        let on_trial = STATE.with_borrow(|state| state.on_trial);
        if told_to("trial-save-trap") && on_trial {
            unreachable();
        }
        if told_to("save-loop") && !on_trial {
            endless();
        }
        if told_to("save-huge") && !on_trial {
            return Some(SavedState { schema: "huge".to_owned(), bytes: vec![7; 32 << 20] });
        }
        if told_to("save-nothing") {
            return None;
        }
        let bytes = STATE.with_borrow(|state| [state.outcomes.to_le_bytes(), state.weight.to_le_bytes()].concat());
        Some(SavedState { schema: "count".to_owned(), bytes })
    }
}

impl routing::Guest for Hostile {
    fn start(deployments: Vec<Deployment>) -> Result<Needs, String> {
        STATE.with_borrow_mut(|state| state.deployments = u32::try_from(deployments.len()).unwrap_or(u32::MAX));
        if told_to("start-loop") {
            endless();
        }
        let mut signals = Vec::new();
        if told_to("unknown-signal") {
            signals.push("phase-of-the-moon".to_owned());
        }
        if told_to("eight-columns") {
            let names = [
                "wait-ms",
                "in-flight",
                "latency-ms",
                "ttft-ms",
                "failure-rate",
                "cost-usd",
                "tokens-used",
                "tokens-free",
            ];
            signals.extend(names.map(str::to_owned));
        }
        if told_to("too-many-needs") {
            signals.extend((0..100).map(|_| "wait-ms".to_owned()));
        }
        let features = if told_to("unknown-feature") { vec!["smell".to_owned()] } else { Vec::new() };
        // `{do: attribute X}` asks for X.
        let attributes = STATE.with_borrow(|state| {
            let named =
                state.settings.split_once("attribute ").map(|(_, rest)| rest.trim_end_matches(r#""}"#).to_owned());
            named.into_iter().collect()
        });
        Ok(Needs { signals, features, attributes, exact_tokens: told_to("exact"), pure: told_to("pure") })
    }

    fn route(request: Request, signals: Vec<f32>, _: Vec<f32>, attributes: Vec<String>) -> Result<Ranking, Refusal> {
        let (deployments, eight_columns, self_test_trap) =
            STATE.with_borrow(|state| (state.deployments, state.eight_columns, state.self_test_trap));
        if self_test_trap {
            unreachable();
        }
        if request.priority == i32::MAX && told_to("trial-priority-duplicate") {
            return Ok(plain(vec![0, 0]));
        }
        if request.priority == CURSED {
            return misbehave(deployments, &request);
        }
        if eight_columns {
            return Ok(least_waiting(&signals, deployments as usize));
        }
        // What it is told decides: a word that begins with z turns the order round.
        if attributes.first().is_some_and(|told| told.starts_with('z')) {
            return Ok(plain((0..deployments).rev().collect()));
        }
        Ok(in_order(deployments))
    }

    fn observe(outcome: Outcome) {
        // So many tokens nobody has but the trial before service.
        let on_trial = outcome.input_tokens == u32::MAX;
        if told_to("observe-loop") && !on_trial {
            endless();
        }
        if told_to("observe-trap") && !on_trial {
            unreachable();
        }
        if told_to("trial-outcome-trap") && outcome.latency_ms.is_nan() {
            write(Level::Warn, "a latency that is no number");
            unreachable();
        }
        STATE.with_borrow_mut(|state| {
            state.on_trial |= on_trial;
            state.outcomes += 1;
            state.weight += u64::from(outcome.deployment);
        });
    }
}

fn misbehave(deployments: u32, request: &Request) -> Result<Ranking, Refusal> {
    let settings = STATE.with_borrow(|state| state.settings.clone());
    let of = |deployment, propensity| Ok(Ranking { deployments: vec![deployment], propensities: vec![propensity] });
    // A configuration's settings are an object: `{do: route-loop}`. The host's own tests say it plainly.
    let deed = settings.trim_start_matches(r#"{"do":""#).trim_end_matches(r#""}"#);
    match deed {
        "route-loop" => endless(),
        "route-call-loop" => loop {
            write(Level::Debug, "again");
        },
        "route-trap" => unreachable(),
        "route-panic" => panic!("on purpose"),
        "memory-hog" => {
            let mut kept = Vec::new();
            loop {
                kept.push(black_box(vec![1_u8; 1 << 20]));
            }
        }
        "stack-overflow" => {
            black_box(deeper(1));
        }
        "out-of-range" => return of(deployments, 1.0),
        "far-out-of-range" => return of(u32::MAX, 1.0),
        "propensity-nan" => return of(0, f32::NAN),
        "propensity-negative" => return of(0, -0.5),
        "propensity-zero" => return of(0, 0.0),
        "propensity-above-one" => return of(0, 1.5),
        "propensity-missing" => return Ok(Ranking { propensities: vec![1.0; 1], ..in_order(deployments) }),
        "empty" => return Ok(in_order(0)),
        // None is fit until it has heard of an outcome.
        "empty-first" if STATE.with_borrow(|state| state.outcomes == 0) => return Ok(in_order(0)),
        // A rule with a threshold, which an upper bound must not decide.
        "threshold" if request.input_tokens > 4_000 && !request.traits.contains(Traits::INPUT_BOUND) => {
            return Ok(plain((0..deployments).rev().collect()));
        }
        "duplicate" => return Ok(plain((0..deployments).chain([0]).collect())),
        "huge-list" => return Ok(plain(vec![0; 8 << 20])),
        "log-flood" => (0..2_000).for_each(|n| write(Level::Info, &format!("line {n}"))),
        // Some milliseconds: within the budget of a call, and far too long for a thread that serves.
        "slow" => drop(black_box((0..4_000_000_u64).fold(0, |sum, n| black_box(n ^ sum)))),
        "log-long" => write(Level::Warn, &"ä".repeat(8 << 10)),
        "log-endless" => write(Level::Warn, &"x".repeat(128 << 10)),
        "wait" => return Err(Refusal::Wait(1500)),
        "reject" => return Err(Refusal::Reject("no".repeat(1000))),
        _ => {}
    }
    Ok(in_order(deployments))
}

fn in_order(deployments: u32) -> Ranking {
    plain((0..deployments).collect())
}

fn plain(deployments: Vec<u32>) -> Ranking {
    Ranking { deployments, propensities: Vec::new() }
}

/// A ranking that reads all its columns, for measuring.
fn least_waiting(signals: &[f32], deployments: usize) -> Ranking {
    let (wait, rest) = signals.split_at(deployments);
    let score = |at: usize| {
        let others: f32 = rest.iter().skip(at).step_by(deployments).sum();
        wait[at] * 1000.0 + others
    };
    let mut ranked: Vec<(f32, u32)> = (0_u32..).take(deployments).map(|at| (score(at as usize), at)).collect();
    ranked.sort_unstable_by(|one, other| one.0.total_cmp(&other.0));
    plain(ranked.into_iter().map(|(_, deployment)| deployment).collect())
}

fn endless() -> ! {
    let mut n = 0_u64;
    loop {
        n = black_box(n.wrapping_add(1));
    }
}

fn unreachable() -> ! {
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    std::process::abort()
}

#[expect(unconditional_recursion, reason = "that is the point")]
fn deeper(n: u64) -> u64 {
    black_box(deeper(black_box(n + 1)) + n)
}

export!(Hostile);

//! Examples; the laws are in `schedules`.

mod schedules;

use super::*;

fn demand(input_tokens: u64, output_tokens: u64) -> Demand {
    Demand { input_tokens, output_tokens }
}

fn deployment(name: &str) -> Scope {
    Scope::Deployment(DeploymentId::from(name))
}

fn tokens(limit: u64) -> LimitSpec {
    LimitSpec { tokens: Some(limit), ..LimitSpec::default() }
}

fn limits<const N: usize>(specs: [(Scope, LimitSpec); N]) -> Limits {
    Limits::new(&BTreeMap::from(specs))
}

fn at(seconds: u64) -> Moment {
    Moment::from_millis(1_000_000_000_000 + seconds * 1000)
}

fn granted(decision: Decision) -> (usize, Option<Reservation>, Reservation) {
    match decision {
        Decision::Granted { index, shared, own } => (index, shared, own),
        other => panic!("expected a grant, got {other:?}"),
    }
}

#[test]
fn the_first_candidate_with_room_is_taken() {
    let limits = limits([(deployment("a"), tokens(100)), (deployment("b"), tokens(1000))]);
    let (a, b) = (limits.id(&deployment("a")), limits.id(&deployment("b")));
    let candidates = [(a, demand(80, 0)), (b, demand(80, 0))];
    assert_eq!(granted(limits.reserve(at(0), &[], demand(0, 0), &candidates)).0, 0);
    let (index, shared, _own) = granted(limits.reserve(at(0), &[], demand(0, 0), &candidates));
    assert_eq!((index, shared), (1, None));
}

#[test]
fn a_full_shared_scope_holds_every_candidate_back() {
    let limits = limits([(Scope::Global, LimitSpec { in_flight: Some(1), ..LimitSpec::default() })]);
    let (all, a) = (limits.id(&Scope::Global), limits.id(&deployment("a")));
    let (_, shared, own) = granted(limits.reserve(at(0), &[all], demand(1, 1), &[(a, demand(1, 1))]));
    assert_eq!(limits.reserve(at(0), &[all], demand(1, 1), &[(a, demand(1, 1))]), Decision::Until(None));
    assert_eq!(limits.used(at(0), a).in_flight, 1);
    limits.settle(at(1), own, demand(1, 1));
    limits.settle(at(1), shared.expect("a hold on the shared scope"), demand(1, 1));
    let (_, shared, _) = granted(limits.reserve(at(1), &[all], demand(1, 1), &[(a, demand(1, 1))]));
    assert!(shared.is_some());
}

#[test]
fn a_hold_counts_without_end_until_it_is_answered_and_one_window_from_there() {
    let limits = limits([(deployment("a"), tokens(100))]);
    let a = limits.id(&deployment("a"));
    let (_, _, hold) = granted(limits.reserve(at(0), &[], demand(0, 0), &[(a, demand(60, 40))]));
    assert_eq!(limits.used(at(500), a).tokens, 100);
    assert_eq!(limits.wait(at(500), a, demand(1, 0)), Wait::Unknown);
    limits.answered(at(500), &hold);
    limits.answered(at(530), &hold);
    assert_eq!(limits.wait(at(500), a, demand(1, 0)), Wait::At(at(561)));
    assert_eq!(limits.used(at(560), a).tokens, 100);
    assert_eq!(limits.used(at(561), a).tokens, 0);
    // The stream goes on; settling it now must not touch what others counted since.
    let (_, _, other) = granted(limits.reserve(at(570), &[], demand(0, 0), &[(a, demand(70, 0))]));
    limits.settle(at(571), other, demand(70, 0));
    limits.settle(at(622), hold, demand(60, 4000));
    assert_eq!(limits.used(at(622), a).tokens, 70);
}

#[test]
fn settling_edits_the_amount_where_it_stands_upwards_too() {
    let limits = limits([(deployment("a"), tokens(100))]);
    let a = limits.id(&deployment("a"));
    let (_, _, hold) = granted(limits.reserve(at(0), &[], demand(0, 0), &[(a, demand(10, 10))]));
    limits.answered(at(1), &hold);
    limits.settle(at(40), hold, demand(10, 120));
    let used = limits.used(at(40), a);
    assert_eq!((used.tokens, used.output_tokens, used.requests, used.in_flight), (130, 120, 1, 0));
    assert_eq!(used.free.tokens, Some(0));
    assert_eq!(limits.wait(at(40), a, demand(1, 0)), Wait::At(at(62)));
}

#[test]
fn what_settles_unanswered_counts_from_its_settling() {
    let limits = limits([(deployment("a"), tokens(100))]);
    let a = limits.id(&deployment("a"));
    let (_, _, hold) = granted(limits.reserve(at(0), &[], demand(0, 0), &[(a, demand(50, 50))]));
    limits.settle(at(30), hold, demand(50, 0));
    assert_eq!(limits.used(at(90), a).tokens, 50);
    assert_eq!(limits.used(at(91), a).tokens, 0);
}

#[test]
fn a_refund_leaves_nothing_answered_or_not() {
    let limits = limits([(deployment("a"), tokens(100))]);
    let a = limits.id(&deployment("a"));
    for answered in [false, true] {
        let (_, _, hold) = granted(limits.reserve(at(0), &[], demand(0, 0), &[(a, demand(50, 50))]));
        if answered {
            limits.answered(at(0), &hold);
        }
        limits.refund(at(1), hold);
        assert_eq!(
            limits.used(at(1), a),
            Used { free: Free { tokens: Some(100), ..Free::default() }, ..Used::default() }
        );
    }
}

#[test]
fn never_names_the_largest_limit_and_only_if_all_are_too_small() {
    let limits = limits([
        (deployment("a"), tokens(100)),
        (deployment("b"), LimitSpec { margin: 0.5, ..tokens(1000) }),
        (deployment("c"), tokens(5000)),
        (Scope::Global, LimitSpec { input_tokens: Some(10_000), ..LimitSpec::default() }),
    ]);
    let ids = ["a", "b", "c"].map(|name| limits.id(&deployment(name)));
    let global = limits.id(&Scope::Global);
    let asked = demand(500, 200);
    let decision = limits.reserve(at(0), &[], asked, &[(ids[0], asked), (ids[1], asked)]);
    let excess = Excess { scope: deployment("b"), dimension: Dimension::Tokens, limit: 500, asked: 700 };
    assert_eq!(decision, Decision::Never(excess));
    let all = ids.map(|id| (id, asked));
    let (index, _, hold) = granted(limits.reserve(at(0), &[], asked, &all));
    assert_eq!(index, 2);
    limits.answered(at(0), &hold);
    let large = demand(4500, 0);
    assert_eq!(limits.reserve(at(1), &[], large, &ids.map(|id| (id, large))), Decision::Until(Some(at(61))));
    let larger = demand(10_001, 0);
    let shared = Excess { scope: Scope::Global, dimension: Dimension::InputTokens, limit: 10_000, asked: 10_001 };
    assert_eq!(limits.reserve(at(1), &[global], larger, &all), Decision::Never(shared));
}

#[test]
fn a_margin_rounds_down_but_never_to_nothing() {
    let free = |limit, margin| {
        let limits = limits([(deployment("a"), LimitSpec { requests: Some(limit), margin, ..LimitSpec::default() })]);
        limits.used(at(0), limits.id(&deployment("a"))).free.requests
    };
    assert_eq!(free(100, 0.29), Some(29));
    assert_eq!(free(10, 0.78), Some(7));
    assert_eq!(free(1, 0.8), Some(1));
    assert_eq!(free(0, 0.8), Some(0));
    assert_eq!(free(u64::MAX, 1.0), Some(u64::MAX));
    assert_eq!(free(5, f64::NAN), Some(1));
}

#[test]
fn roomy_is_half_of_every_token_limit_involved() {
    let limits = limits([(deployment("a"), tokens(1000)), (Scope::Global, tokens(3000))]);
    let ids = [limits.id(&deployment("a")), limits.id(&Scope::Global), limits.id(&deployment("unlimited"))];
    assert!(limits.at_most_half(at(0), &ids, demand(400, 100)));
    assert!(!limits.at_most_half(at(0), &ids, demand(400, 101)));
    let (_, _, _hold) = granted(limits.reserve(at(0), &[], demand(0, 0), &[(ids[0], demand(100, 0))]));
    assert!(!limits.at_most_half(at(0), &ids, demand(400, 100)));
    assert!(limits.at_most_half(at(0), &ids[1..], demand(1500, 0)));
}

#[test]
fn absurd_numbers_overflow_nothing() {
    let limits = limits([(deployment("a"), tokens(u64::MAX))]);
    let a = limits.id(&deployment("a"));
    let absurd = demand(u64::MAX, u64::MAX);
    let holds: Vec<_> = (0..100).map(|_| granted(limits.reserve(at(0), &[], absurd, &[(a, absurd)])).2).collect();
    for hold in holds {
        limits.settle(at(0), hold, absurd);
    }
    assert!(limits.used(at(0), a).tokens > 1 << 40);
    assert_eq!(limits.used(at(61), a).tokens, 0);
    assert_eq!(limits.used(Moment::from_nanos(u64::MAX), a).tokens, 0);
}

#[test]
fn a_scope_without_a_spec_is_unlimited_and_counted() {
    let limits = limits([]);
    let key = limits.id(&Scope::Key(KeyId::from("k")));
    let (_, shared, _) = granted(limits.reserve(at(0), &[key, key], demand(7, 3), &[(key, demand(0, 0))]));
    assert!(shared.is_some());
    let used = limits.used(at(0), key);
    assert_eq!((used.tokens, used.requests, used.free), (10, 2, Free::default()));
}

#[test]
fn a_reload_keeps_usage_and_holds_whatever_becomes_of_the_window() {
    let window = |seconds| LimitSpec { window: Duration::from_secs(seconds), ..tokens(100) };
    for (before, after, gone) in [(60, 10, 15), (10, 60, 65), (60, 60, 64), (60, 3600, 3720)] {
        let limits = limits([(deployment("a"), window(before))]);
        let a = limits.id(&deployment("a"));
        let (_, _, old) = granted(limits.reserve(at(0), &[], demand(0, 0), &[(a, demand(30, 0))]));
        let (_, _, open) = granted(limits.reserve(at(0), &[], demand(0, 0), &[(a, demand(20, 0))]));
        limits.answered(at(3), &old);
        limits.apply(&BTreeMap::from([(deployment("a"), window(after))]), at(5));
        assert_eq!(limits.id(&deployment("a")), a);
        assert_eq!(limits.used(at(5), a).tokens, 50);
        limits.settle(at(6), old, demand(25, 0));
        limits.refund(at(6), open);
        assert_eq!(limits.used(at(6), a).tokens, 25);
        assert_eq!(limits.used(at(3 + after), a).tokens, 25);
        assert_eq!(limits.used(at(gone), a).tokens, 0, "{before} s to {after} s");
    }
}

#[test]
fn what_expired_before_a_reload_edits_nothing_after_it() {
    let window = |seconds| {
        BTreeMap::from([(deployment("a"), LimitSpec { window: Duration::from_secs(seconds), ..tokens(100) })])
    };
    let limits = Limits::new(&window(10));
    let a = limits.id(&deployment("a"));
    let (_, _, stream) = granted(limits.reserve(at(0), &[], demand(0, 0), &[(a, demand(100, 0))]));
    limits.answered(at(0), &stream);
    let (_, _, other) = granted(limits.reserve(at(20), &[], demand(0, 0), &[(a, demand(100, 0))]));
    limits.answered(at(20), &other);
    // In slices of a minute both moments are the same: the end of the first must not be taken from the second.
    limits.apply(&window(3600), at(21));
    limits.settle(at(22), stream, demand(1, 0));
    assert_eq!(limits.used(at(22), a).tokens, 100);
    limits.settle(at(23), other, demand(60, 0));
    assert_eq!(limits.used(at(23), a).tokens, 60);
}

#[test]
fn a_scope_that_goes_and_comes_back_finds_what_it_used() {
    let specs = BTreeMap::from([(deployment("a"), tokens(100))]);
    let limits = Limits::new(&specs);
    let a = limits.id(&deployment("a"));
    let (_, _, hold) = granted(limits.reserve(at(0), &[], demand(0, 0), &[(a, demand(100, 0))]));
    limits.apply(&BTreeMap::new(), at(1));
    assert_eq!(limits.wait(at(1), a, demand(1, 0)), Wait::Now);
    limits.settle(at(2), hold, demand(90, 0));
    limits.apply(&specs, at(3));
    assert_eq!(limits.wait(at(3), a, demand(20, 0)), Wait::At(at(63)));
}

/// Run with `cargo test --lib limits -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, not a check"]
#[expect(clippy::disallowed_methods, reason = "it measures real time")]
fn measure_a_reservation() {
    for count in [1_u32, 10, 100] {
        let names: Vec<_> = (0..count).map(|n| deployment(&format!("deployment-{n}"))).collect();
        let limits = Limits::new(&names.iter().map(|name| (name.clone(), tokens(1_000_000_000))).collect());
        let full = tokens(1);
        limits.apply(&names.iter().take(names.len() - 1).map(|name| (name.clone(), full.clone())).collect(), at(0));
        let shared = [limits.id(&Scope::Global), limits.id(&Scope::Key(KeyId::from("key")))];
        let ids: Vec<_> = names.iter().map(|name| limits.id(name)).collect();
        let candidates: Vec<_> = ids.iter().map(|id| (*id, demand(1000, 500))).collect();
        let rounds = 200_000_u32;
        let start = std::time::Instant::now();
        for round in 0..rounds {
            let now = at(0) + Duration::from_micros(u64::from(round) * 50);
            let (_, both, own) = granted(limits.reserve(now, &shared, demand(1000, 500), &candidates));
            let both = both.expect("shared scopes were named");
            limits.answered(now, &own);
            limits.answered(now, &both);
            limits.settle(now, own, demand(1000, 400));
            limits.settle(now, both, demand(1000, 400));
        }
        let cycle = start.elapsed() / rounds;
        let start = std::time::Instant::now();
        for round in 0..rounds / 10 {
            let now = at(20) + Duration::from_micros(u64::from(round) * 50);
            let free: u64 = limits.read(now, |reading| {
                ids.iter()
                    .map(|id| reading.used(*id).tokens + u64::from(reading.wait(*id, demand(1, 0)) == Wait::Now))
                    .sum()
            });
            assert!(free > 0);
        }
        let read = start.elapsed() / (rounds / 10);
        println!("{count} candidates, all but the last full: whole cycle {cycle:?}, reading all {read:?}");
    }
}

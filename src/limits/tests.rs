//! Examples; the laws are in `schedules`.

mod schedules;
mod succession;
mod told;

use super::Dimension::{Cost, InFlight, InputTokens, OutputTokens, Requests, Tokens};
use super::*;
use crate::id::RequestId;

fn demand(input_tokens: u64, output_tokens: u64) -> Demand {
    Demand { input_tokens, output_tokens, cost: NanoUsd(0) }
}

fn deployment(name: &str) -> Scope {
    Scope::Deployment(DeploymentId::from(name))
}

fn tokens(limit: u64) -> LimitSpec {
    LimitSpec::default().with(Tokens, limit)
}

fn limits<const N: usize>(specs: [(Scope, LimitSpec); N]) -> Limits {
    Limits::new(&BTreeMap::from(specs))
}

/// Reserves for some request what was counted.
fn reserve(
    limits: &Limits,
    now: Moment,
    shared: &[ScopeId],
    shared_demand: Demand,
    candidates: &[(ScopeId, Demand)],
) -> Decision {
    let (request, certainty) = (RequestId::derive(at(0), 0), Certainty::Counted);
    limits.reserve(now, &ReserveRequest { request, attempt: 0, shared, shared_demand, candidates, certainty })
}

fn at(seconds: u64) -> Moment {
    Moment::from_millis(1_000_000_000_000 + seconds * 1000)
}

/// A slice of a minute later: what was counted in that second's first slice counts no more.
fn a_slice_after(seconds: u64) -> Moment {
    at(seconds) + Duration::from_millis(250)
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
    assert_eq!(granted(reserve(&limits, at(0), &[], demand(0, 0), &candidates)).0, 0);
    let (index, shared, _own) = granted(reserve(&limits, at(0), &[], demand(0, 0), &candidates));
    assert_eq!((index, shared), (1, None));
}

#[test]
fn a_full_shared_scope_holds_every_candidate_back() {
    let limits = limits([(Scope::Global, LimitSpec::default().with(InFlight, 1))]);
    let (all, a) = (limits.id(&Scope::Global), limits.id(&deployment("a")));
    let (_, shared, own) = granted(reserve(&limits, at(0), &[all], demand(1, 1), &[(a, demand(1, 1))]));
    assert_eq!(reserve(&limits, at(0), &[all], demand(1, 1), &[(a, demand(1, 1))]), Decision::Until(None));
    assert_eq!(limits.used(at(0), a)[InFlight], 1);
    limits.settle(at(1), own, demand(1, 1));
    limits.settle(at(1), shared.expect("a reservation on the shared scope"), demand(1, 1));
    let (_, shared, _) = granted(reserve(&limits, at(1), &[all], demand(1, 1), &[(a, demand(1, 1))]));
    assert!(shared.is_some());
}

#[test]
fn a_reservation_counts_without_end_until_it_is_answered_and_one_window_from_there() {
    let limits = limits([(deployment("a"), tokens(100))]);
    let a = limits.id(&deployment("a"));
    let (_, _, reservation) = granted(reserve(&limits, at(0), &[], demand(0, 0), &[(a, demand(60, 40))]));
    assert_eq!(limits.used(at(500), a)[Tokens], 100);
    assert_eq!(limits.wait(at(500), a, demand(1, 0)), Wait::Unknown);
    limits.response_head(at(500), &reservation);
    limits.response_head(at(530), &reservation);
    assert_eq!(limits.wait(at(500), a, demand(1, 0)), Wait::At(a_slice_after(560)));
    assert_eq!(limits.used(at(560), a)[Tokens], 100);
    assert_eq!(limits.used(at(561), a)[Tokens], 0);
    // The stream goes on; settling it now must not touch what others counted since.
    let (_, _, other) = granted(reserve(&limits, at(570), &[], demand(0, 0), &[(a, demand(70, 0))]));
    limits.settle(at(571), other, demand(70, 0));
    limits.settle(at(622), reservation, demand(60, 4000));
    assert_eq!(limits.used(at(622), a)[Tokens], 70);
}

#[test]
fn settling_edits_the_amount_where_it_stands_upwards_too() {
    let limits = limits([(deployment("a"), tokens(100))]);
    let a = limits.id(&deployment("a"));
    let (_, _, reservation) = granted(reserve(&limits, at(0), &[], demand(0, 0), &[(a, demand(10, 10))]));
    limits.response_head(at(1), &reservation);
    limits.settle(at(40), reservation, demand(10, 120));
    let used = limits.used(at(40), a);
    assert_eq!((used[Tokens], used[OutputTokens], used[Requests], used[InFlight]), (130, 120, 1, 0));
    assert_eq!(used.free[Tokens], Some(0));
    assert_eq!(limits.wait(at(40), a, demand(1, 0)), Wait::At(a_slice_after(61)));
}

#[test]
fn what_settles_unanswered_counts_from_its_settling() {
    let limits = limits([(deployment("a"), tokens(100))]);
    let a = limits.id(&deployment("a"));
    let (_, _, reservation) = granted(reserve(&limits, at(0), &[], demand(0, 0), &[(a, demand(50, 50))]));
    limits.settle(at(30), reservation, demand(50, 0));
    assert_eq!(limits.used(at(90), a)[Tokens], 50);
    assert_eq!(limits.used(at(91), a)[Tokens], 0);
}

#[test]
fn a_refund_leaves_nothing_answered_or_not() {
    let limits = limits([(deployment("a"), tokens(100))]);
    let a = limits.id(&deployment("a"));
    for answered in [false, true] {
        let (_, _, reservation) = granted(reserve(&limits, at(0), &[], demand(0, 0), &[(a, demand(50, 50))]));
        if answered {
            limits.response_head(at(0), &reservation);
        }
        limits.refund(at(1), reservation);
        assert_eq!(
            limits.used(at(1), a),
            Used { free: LimitSpec::default().with(Tokens, 100).limits, ..Used::default() }
        );
    }
}

/// As one whose client went away before its tokens were counted.
#[test]
fn one_that_left_gives_its_places_back_once_and_counts_until_it_ends() {
    for (answered, reloaded) in [(false, false), (true, false), (false, true), (true, true)] {
        let spec = tokens(100).with(InFlight, 1);
        let limits = limits([(Scope::Global, spec.clone()), (deployment("a"), spec.clone())]);
        let scopes = [limits.id(&Scope::Global), limits.id(&deployment("a"))];
        let [global, a] = scopes;
        let take = |now| reserve(&limits, now, &[global], demand(10, 10), &[(a, demand(10, 10))]);
        let used = |now| {
            scopes.map(|scope| {
                let used = limits.used(now, scope);
                (used[InFlight], used[Requests], used[Tokens])
            })
        };
        let (_, shared, own) = granted(take(at(0)));
        let shared = shared.expect("a part on the shared scope");
        if answered {
            limits.response_heads(at(1), &[&own, &shared]);
        }
        assert!(matches!(take(at(1)), Decision::Until(_)), "its place is taken");
        limits.leave(&[&own, &shared]);
        limits.leave(&[&own, &shared]);
        assert_eq!(used(at(2)), [(0, 1, 20); 2]);
        if reloaded {
            let spec = LimitSpec { window: Duration::from_mins(2), ..spec };
            limits.apply(&BTreeMap::from([(Scope::Global, spec.clone()), (deployment("a"), spec)]), at(2));
        }
        let (_, other_shared, other) = granted(take(at(2)));
        limits.settle(at(3), own, demand(10, 50));
        limits.settle(at(3), shared, demand(10, 50));
        assert_eq!(used(at(3)), [(1, 2, 80); 2], "the other's place is its own: {answered} {reloaded}");
        assert!(matches!(take(at(3)), Decision::Until(_)));
        let other_shared = other_shared.expect("a part on the shared scope");
        limits.leave(&[&other, &other_shared]);
        for one in [other, other_shared] {
            limits.refund(at(4), one);
        }
        assert_eq!(used(at(4)), [(0, 1, 60); 2]);
    }
}

#[test]
fn never_names_the_largest_limit_and_only_if_all_are_too_small() {
    let limits = limits([
        (deployment("a"), tokens(100)),
        (deployment("b"), LimitSpec { margin: 0.5, ..tokens(1000) }),
        (deployment("c"), tokens(5000)),
        (Scope::Global, LimitSpec::default().with(InputTokens, 10_000)),
    ]);
    let ids = ["a", "b", "c"].map(|name| limits.id(&deployment(name)));
    let global = limits.id(&Scope::Global);
    let asked = demand(500, 200);
    let decision = reserve(&limits, at(0), &[], asked, &[(ids[0], asked), (ids[1], asked)]);
    let excess = Excess {
        scope: deployment("b"),
        dimension: Dimension::Tokens,
        window: Duration::from_mins(1),
        limit: 500,
        asked: 700,
    };
    assert_eq!(decision, Decision::Never(excess));
    let all = ids.map(|id| (id, asked));
    let (index, _, reservation) = granted(reserve(&limits, at(0), &[], asked, &all));
    assert_eq!(index, 2);
    limits.response_head(at(0), &reservation);
    let large = demand(4500, 0);
    assert_eq!(
        reserve(&limits, at(1), &[], large, &ids.map(|id| (id, large))),
        Decision::Until(Some(a_slice_after(60)))
    );
    let larger = demand(10_001, 0);
    let shared = Excess {
        scope: Scope::Global,
        dimension: Dimension::InputTokens,
        window: Duration::from_mins(1),
        limit: 10_000,
        asked: 10_001,
    };
    assert_eq!(reserve(&limits, at(1), &[global], larger, &all), Decision::Never(shared));
}

#[test]
fn a_margin_rounds_down_but_never_to_nothing() {
    let free = |limit, margin| {
        let limits = limits([(deployment("a"), LimitSpec { margin, ..LimitSpec::default().with(Requests, limit) })]);
        limits.used(at(0), limits.id(&deployment("a"))).free[Requests]
    };
    assert_eq!(free(100, 0.29), Some(29));
    assert_eq!(free(10, 0.78), Some(7));
    assert_eq!(free(1, 0.8), Some(1));
    assert_eq!(free(0, 0.8), Some(0));
    assert_eq!(free(u64::MAX - 1, 1.0), Some(u64::MAX - 1));
    assert_eq!(free(5, f64::NAN), Some(1));
}

#[test]
fn an_upper_bound_is_counted_first_where_a_token_limit_would_be_more_than_half_used() {
    let limits = limits([(deployment("a"), tokens(1000)), (Scope::Global, tokens(3000))]);
    let [a, all, free] = [deployment("a"), Scope::Global, deployment("unlimited")].map(|scope| limits.id(&scope));
    let bounded = |shared: &[ScopeId], candidate, asked| match limits.reserve(
        at(0),
        &ReserveRequest {
            request: RequestId::derive(at(0), 0),
            attempt: 0,
            shared,
            shared_demand: asked,
            candidates: &[(candidate, asked)],
            certainty: Certainty::UpperBound,
        },
    ) {
        Decision::CountFirst => false,
        Decision::Granted { shared, own, .. } => {
            shared.into_iter().chain([own]).for_each(|reservation| limits.refund(at(0), reservation));
            true
        }
        other => panic!("{other:?}"),
    };
    assert!(bounded(&[all], a, demand(400, 100)));
    assert!(!bounded(&[all], a, demand(400, 101)));
    assert!(bounded(&[all], free, demand(1500, 0)) && !bounded(&[all], free, demand(1501, 0)));
    let own = granted(reserve(&limits, at(0), &[], demand(0, 0), &[(a, demand(100, 0))])).2;
    assert!(!bounded(&[all], a, demand(400, 100)));
    limits.refund(at(0), own);
    assert!(bounded(&[all], a, demand(400, 100)), "what was asked first left nothing behind");
}

#[test]
fn absurd_numbers_overflow_nothing() {
    let limits = limits([(deployment("a"), tokens(u64::MAX))]);
    let a = limits.id(&deployment("a"));
    let absurd = demand(u64::MAX, u64::MAX);
    let reservations: Vec<_> =
        (0..100).map(|_| granted(reserve(&limits, at(0), &[], absurd, &[(a, absurd)])).2).collect();
    for reservation in reservations {
        limits.settle(at(0), reservation, absurd);
    }
    assert!(limits.used(at(0), a)[Tokens] > 1 << 40);
    assert_eq!(limits.used(at(61), a)[Tokens], 0);
    assert_eq!(limits.used(Moment::from_nanos(u64::MAX), a)[Tokens], 0);
}

#[test]
fn a_scope_without_a_spec_is_unlimited_and_counted() {
    let limits = limits([]);
    let key = limits.id(&Scope::Key(KeyId::from("k")));
    let (_, shared, _) = granted(reserve(&limits, at(0), &[key, key], demand(7, 3), &[(key, demand(0, 0))]));
    assert!(shared.is_some());
    let used = limits.used(at(0), key);
    assert_eq!((used[Tokens], used[Requests], used.free), (10, 2, PerDimension::default()));
}

#[test]
fn a_reload_keeps_usage_and_reservations_whatever_becomes_of_the_window() {
    let window = |seconds| LimitSpec { window: Duration::from_secs(seconds), ..tokens(100) };
    for (before, after, gone) in [(60, 10, 15), (10, 60, 65), (60, 60, 64), (60, 3600, 3720)] {
        let limits = limits([(deployment("a"), window(before))]);
        let a = limits.id(&deployment("a"));
        let (_, _, old) = granted(reserve(&limits, at(0), &[], demand(0, 0), &[(a, demand(30, 0))]));
        let (_, _, open) = granted(reserve(&limits, at(0), &[], demand(0, 0), &[(a, demand(20, 0))]));
        limits.response_head(at(3), &old);
        limits.apply(&BTreeMap::from([(deployment("a"), window(after))]), at(5));
        assert_eq!(limits.id(&deployment("a")), a);
        assert_eq!(limits.used(at(5), a)[Tokens], 50);
        limits.settle(at(6), old, demand(25, 0));
        limits.refund(at(6), open);
        assert_eq!(limits.used(at(6), a)[Tokens], 25);
        assert_eq!(limits.used(at(3 + after), a)[Tokens], 25);
        assert_eq!(limits.used(at(gone), a)[Tokens], 0, "{before} s to {after} s");
    }
}

#[test]
fn what_expired_before_a_reload_edits_nothing_after_it() {
    let window = |seconds| {
        BTreeMap::from([(deployment("a"), LimitSpec { window: Duration::from_secs(seconds), ..tokens(100) })])
    };
    let limits = Limits::new(&window(10));
    let a = limits.id(&deployment("a"));
    let (_, _, stream) = granted(reserve(&limits, at(0), &[], demand(0, 0), &[(a, demand(100, 0))]));
    limits.response_head(at(0), &stream);
    let (_, _, other) = granted(reserve(&limits, at(20), &[], demand(0, 0), &[(a, demand(100, 0))]));
    limits.response_head(at(20), &other);
    // In slices of a minute both moments are the same: the end of the first must not be taken from the second.
    limits.apply(&window(3600), at(21));
    limits.settle(at(22), stream, demand(1, 0));
    assert_eq!(limits.used(at(22), a)[Tokens], 100);
    limits.settle(at(23), other, demand(60, 0));
    assert_eq!(limits.used(at(23), a)[Tokens], 60);
}

#[test]
fn what_is_still_to_count_counts_as_late_under_a_shorter_window() {
    let window = |seconds| LimitSpec { window: Duration::from_secs(seconds), ..tokens(100) };
    for read_by in [&[4][..], &[1, 4]] {
        let limits = limits([(deployment("a"), window(3600))]);
        let a = limits.id(&deployment("a"));
        let (_, _, sent) = granted(reserve(&limits, at(0), &[], demand(0, 0), &[(a, demand(30, 0))]));
        for by in read_by {
            // Both are in the slice that is being filled.
            limits.sent(at(0), sent.handle(), at(*by));
        }
        limits.apply(&BTreeMap::from([(deployment("a"), window(10))]), at(0));
        assert_eq!(limits.used(at(13), a)[Tokens], 30, "it may have been read at {read_by:?}");
        assert_eq!(limits.used(at(15), a)[Tokens], 0);
    }
}

#[test]
fn a_scope_that_goes_and_comes_back_finds_what_it_used() {
    let specs = BTreeMap::from([(deployment("a"), tokens(100))]);
    let limits = Limits::new(&specs);
    let a = limits.id(&deployment("a"));
    let (_, _, reservation) = granted(reserve(&limits, at(0), &[], demand(0, 0), &[(a, demand(100, 0))]));
    limits.apply(&BTreeMap::new(), at(1));
    assert_eq!(limits.wait(at(1), a, demand(1, 0)), Wait::Now);
    limits.settle(at(2), reservation, demand(90, 0));
    limits.apply(&specs, at(3));
    assert_eq!(limits.wait(at(3), a, demand(20, 0)), Wait::At(a_slice_after(62)));
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
            let (_, both, own) = granted(reserve(&limits, now, &shared, demand(1000, 500), &candidates));
            let both = both.expect("shared scopes were named");
            limits.response_head(now, &own);
            limits.response_head(now, &both);
            limits.settle(now, own, demand(1000, 400));
            limits.settle(now, both, demand(1000, 400));
        }
        let cycle = start.elapsed() / rounds;
        let start = std::time::Instant::now();
        for round in 0..rounds / 10 {
            let now = at(20) + Duration::from_micros(u64::from(round) * 50);
            let free: u64 = limits.read(now, |reading| {
                ids.iter()
                    .map(|id| reading.used(*id)[Tokens] + u64::from(reading.wait(*id, demand(1, 0)) == Wait::Now))
                    .sum()
            });
            assert!(free > 0);
        }
        let read = start.elapsed() / (rounds / 10);
        println!("{count} candidates, all but the last full: whole cycle {cycle:?}, reading all {read:?}");
    }
}

#[test]
fn a_minute_and_a_day_both_hold() {
    let day = (Duration::from_hours(24), LimitSpec::default().with(Tokens, 250).with(Requests, 4).limits);
    let spec = LimitSpec { others: vec![day], ..tokens(100) };
    let limits = limits([(deployment("a"), spec)]);
    let a = limits.id(&deployment("a"));
    let take = |seconds, amount| match reserve(&limits, at(seconds), &[], demand(0, 0), &[(a, demand(amount, 0))]) {
        Decision::Granted { own, .. } => {
            limits.response_head(at(seconds), &own);
            limits.settle(at(seconds), own, demand(amount, 0));
            Ok(())
        }
        refused => Err(refused),
    };
    assert_eq!(take(0, 90), Ok(()));
    assert_eq!(take(1, 90), Err(Decision::Until(Some(a_slice_after(60)))), "the minute is full");
    assert_eq!(take(61, 90), Ok(()));
    let Err(Decision::Until(Some(until))) = take(200, 90) else { panic!("the day is full") };
    assert!(until > at(86_400) && until <= at(86_400 + 24 * 60 + 60), "a slice of a day longer at most: {until:?}");
    assert_eq!(take(200, 70), Ok(()), "the rest of the day");
    let Err(Decision::Never(excess)) = take(300, 101) else { panic!("larger than the minute") };
    assert_eq!((excess.limit, excess.window), (100, Duration::from_mins(1)));
    let used = limits.used(at(300), a);
    assert_eq!((used[Tokens], used.free[Tokens], used.free[Requests]), (0, Some(0), Some(1)), "the tightest is told");
}

#[test]
fn a_longer_window_that_comes_with_a_reload_begins_to_count_then() {
    let limits = limits([(deployment("a"), tokens(100))]);
    let a = limits.id(&deployment("a"));
    let (_, _, own) = granted(reserve(&limits, at(0), &[], demand(0, 0), &[(a, demand(50, 0))]));
    let day = (Duration::from_hours(24), LimitSpec::default().with(Tokens, 60).limits);
    limits.apply(&BTreeMap::from([(deployment("a"), LimitSpec { others: vec![day], ..tokens(100) })]), at(1));
    limits.settle(at(2), own, demand(50, 0));
    assert_eq!(limits.used(at(2), a).free[Tokens], Some(50));
    let (_, _, own) = granted(reserve(&limits, at(3), &[], demand(0, 0), &[(a, demand(50, 0))]));
    limits.settle(at(3), own, demand(50, 0));
    assert_eq!(limits.used(at(100), a).free[Tokens], Some(10));
    limits.apply(&BTreeMap::from([(deployment("a"), tokens(100))]), at(101));
    assert_eq!(limits.used(at(101), a).free[Tokens], Some(100), "a window that goes takes its limit with it");
    assert_eq!(limits.lock().open_reservations(), 0);
}

#[test]
fn cost_is_held_and_settled_like_tokens() {
    let limits = limits([(Scope::Global, LimitSpec::default().with(Cost, 1000))]);
    let (all, a) = (limits.id(&Scope::Global), limits.id(&deployment("a")));
    let priced = |cost| Demand { cost: NanoUsd(cost), ..demand(1, 1) };
    let (_, shared, own) = granted(reserve(&limits, at(0), &[all], priced(800), &[(a, priced(800))]));
    assert_eq!(reserve(&limits, at(0), &[all], priced(300), &[(a, priced(300))]), Decision::Until(None));
    limits.settle(at(1), own, priced(100));
    limits.settle(at(1), shared.expect("the shared part"), priced(100));
    assert_eq!((limits.used(at(1), all)[Cost], limits.used(at(1), all).free[Cost]), (100, Some(900)));
    let _last = granted(reserve(&limits, at(1), &[all], priced(900), &[(a, priced(900))]));
}

#[test]
fn what_was_sent_counts_from_when_it_must_have_been_read_and_no_later_than_the_answer() {
    let limits = limits([(deployment("a"), tokens(100))]);
    let a = limits.id(&deployment("a"));
    let take = |seconds| granted(reserve(&limits, at(seconds), &[], demand(0, 0), &[(a, demand(90, 0))])).2;
    let first = take(0);
    assert_eq!(limits.wait(at(0), a, demand(20, 0)), Wait::Unknown);
    limits.sent(at(0), first.handle(), at(2));
    assert_eq!(limits.wait(at(0), a, demand(20, 0)), Wait::At(a_slice_after(62)), "known before any answer came");
    limits.response_head(at(20), &first);
    assert_eq!(limits.wait(at(20), a, demand(20, 0)), Wait::At(a_slice_after(62)), "a late answer changes nothing");
    limits.settle(at(30), first, demand(90, 0));
    let second = take(63);
    limits.sent(at(63), second.handle(), at(70));
    limits.response_head(at(64), &second);
    assert_eq!(limits.wait(at(64), a, demand(20, 0)), Wait::At(a_slice_after(124)), "an early one does");
    let handle = second.handle();
    limits.refund(at(65), second);
    limits.sent(at(65), handle, at(66));
    assert_eq!(limits.used(at(65), a)[Tokens], 0, "what has ended is told nothing");
}

#[test]
fn the_wire_is_the_truth_below_the_configuration_and_reveals_others() {
    let limits = limits([(deployment("a"), tokens(1000))]);
    let a = limits.id(&deployment("a"));
    let told = |limit, used| Told {
        dimension: Tokens,
        limit: Some(limit),
        used: Some(used),
        reset: None,
        again: None,
        window: None,
        age: Duration::ZERO,
    };
    assert_eq!(limits.told(at(0), a, &[told(2000, 10)], false), News::default());
    assert_eq!(limits.report(at(0), a).limits[Tokens], Some(1000), "the configuration is the ceiling");
    limits.told(at(0), a, &[told(500, 10)], false);
    let report = limits.report(at(0), a);
    assert_eq!((report.limits[Tokens], report.configured[Tokens], report.used[Tokens]), (Some(500), Some(1000), 0));
    let news = limits.told(at(1), a, &[told(500, 300)], false);
    assert_eq!((news.others[Tokens], news.forgotten_early), (300, false));
    assert_eq!(limits.told(at(2), a, &[told(500, 305)], false).others[Tokens], 0, "too little to tell");
    assert_eq!(limits.told(at(2), a, &[told(500, 305)], true).others[Tokens], 5, "a refusal is exact");
    assert_eq!(limits.wait(at(2), a, demand(300, 0)), Wait::At(a_slice_after(61)));
    let days = Told { reset: Some(Duration::from_hours(20)), ..told(100, 90) };
    limits.told(at(2), a, &[days], false);
    assert_eq!(limits.report(at(2), a).limits[Tokens], Some(500), "the limit of a day is no limit of a minute");
    // Nor shortly before the day ends.
    let day = Told { window: Some(Duration::from_hours(24)), reset: Some(Duration::from_secs(30)), ..told(100, 90) };
    assert!(!limits.counts(a, &day) && limits.counts(a, &told(100, 90)));
    assert_eq!(limits.told(at(2), a, &[day], true), News::default());
    assert_eq!(limits.report(at(2), a).limits[Tokens], Some(500));
}

#[test]
fn what_is_told_of_a_window_is_of_the_one_of_its_length() {
    let days = LimitSpec::daily(None, Some(10_000));
    let limits = limits([(deployment("a"), LimitSpec { others: days, ..tokens(1000) })]);
    let a = limits.id(&deployment("a"));
    let told = |hours: u64, limit| Told {
        dimension: Tokens,
        window: Some(Duration::from_mins(60 * hours).max(Duration::from_mins(1))),
        limit: Some(limit),
        used: None,
        reset: Some(Duration::from_secs(5)),
        again: None,
        age: Duration::ZERO,
    };
    limits.told(at(0), a, &[told(0, 700), told(1, 800), told(24, 9000)], false);
    let held: Vec<_> = limits.reports(at(0), a).iter().map(|report| report.limits[Tokens]).collect();
    assert_eq!(held, [Some(700), Some(9000)]);
}

#[test]
fn a_refusal_for_what_was_just_forgotten_says_that_it_was_forgotten_early() {
    let limits = limits([(deployment("a"), tokens(100))]);
    let a = limits.id(&deployment("a"));
    let (_, _, one) = granted(reserve(&limits, at(0), &[], demand(0, 0), &[(a, demand(90, 0))]));
    limits.response_head(at(0), &one);
    limits.settle(at(0), one, demand(90, 0));
    let told = Told {
        dimension: Tokens,
        limit: Some(100),
        used: Some(90),
        reset: None,
        again: None,
        window: None,
        age: Duration::ZERO,
    };
    assert!(limits.told(at(61), a, &[told], true).forgotten_early);
    let told = Told { used: Some(95), ..told };
    assert!(!limits.told(at(130), a, &[told], true).forgotten_early, "that was long ago");
}

#[test]
fn a_refusal_that_a_fixed_window_does_not_explain_makes_it_slide() {
    let spec = LimitSpec { model: WindowModel::Fixed, ..tokens(100) };
    let limits = limits([(deployment("a"), spec.clone())]);
    let a = limits.id(&deployment("a"));
    let used = |by: u64| Told {
        dimension: Tokens,
        limit: Some(100),
        used: Some(by),
        reset: None,
        again: None,
        window: None,
        age: Duration::ZERO,
    };
    // A minute of the clock ends at 20.
    let (_, _, one) = granted(reserve(&limits, at(15), &[], demand(0, 0), &[(a, demand(90, 0))]));
    limits.response_head(at(15), &one);
    limits.settle(at(15), one, demand(90, 0));
    assert_eq!(limits.wait(at(21), a, demand(90, 0)), Wait::Now);
    let (_, _, open) = granted(reserve(&limits, at(21), &[], demand(0, 0), &[(a, demand(10, 0))]));
    assert!(!limits.told(at(21), a, &[used(90)], false).slides, "only a refusal says that it does not fit");
    limits.response_head(at(22), &open);
    assert!(limits.told(at(22), a, &[used(100)], true).slides);
    limits.settle(at(23), open, demand(10, 0));
    assert_eq!(limits.wait(at(23), a, demand(95, 0)), Wait::At(a_slice_after(82)));
    // A reload that changes nothing keeps it, another kind is tried again.
    limits.restrict(&deployment("a"), Some(&spec), at(24));
    assert_eq!(limits.wait(at(79), a, demand(95, 0)), Wait::At(a_slice_after(82)));
    limits.restrict(&deployment("a"), Some(&LimitSpec { model: WindowModel::TokenBucket, ..spec.clone() }), at(79));
    limits.restrict(&deployment("a"), Some(&spec), at(79));
    assert_eq!(limits.wait(at(80), a, demand(95, 0)), Wait::Now);
}

#[test]
fn what_was_forgotten_while_the_answer_was_on_its_way_is_nobody_elses() {
    let limits = limits([(deployment("a"), tokens(100))]);
    let a = limits.id(&deployment("a"));
    let (_, _, one) = granted(reserve(&limits, at(0), &[], demand(0, 0), &[(a, demand(90, 0))]));
    limits.response_head(at(0), &one);
    limits.settle(at(0), one, demand(90, 0));
    let told = |seconds| Told {
        window: None,
        dimension: Tokens,
        limit: Some(100),
        used: Some(95),
        reset: None,
        again: None,
        age: Duration::from_secs(seconds),
    };
    // It was counted three seconds ago, when the first was still there.
    assert_eq!(limits.told(at(62), a, &[told(3)], false).others[Tokens], 5);
    // Of half a minute ago and more nothing is known any more.
    assert_eq!(limits.told(at(65), a, &[told(40)], false), News::default());
    assert_eq!(limits.told(at(66), a, &[told(1)], false).others[Tokens], 90, "that was somebody else");
}

#[test]
fn a_restart_forbids_what_the_minute_before_forbids() {
    let specs = [(deployment("a"), tokens(100)), (Scope::Quota("q".into()), tokens(50))];
    let before = limits(specs.clone());
    let (a, q) = (before.id(&deployment("a")), before.id(&Scope::Quota("q".into())));
    let (_, _, one) = granted(reserve(&before, at(0), &[], demand(0, 0), &[(a, demand(60, 0))]));
    before.response_head(at(0), &one);
    before.settle(at(5), one, demand(60, 0));
    let (_, _, _under_way) = granted(reserve(&before, at(10), &[], demand(0, 0), &[(q, demand(50, 0))]));
    let text = serde_json::to_string(&before.save(at(20))).unwrap();
    let after = limits(specs);
    let (a, q) = (after.id(&deployment("a")), after.id(&Scope::Quota("q".into())));
    after.restore(at(25), &serde_json::from_str(&text).unwrap());
    assert_eq!(after.wait(at(25), a, demand(50, 0)), Wait::At(a_slice_after(60)));
    assert_eq!(after.wait(at(25), q, demand(1, 0)), Wait::At(a_slice_after(80)), "as if it had been counted then");
    assert_eq!(after.used(at(25), q)[InFlight], 0);
    after.restore(at(500), &serde_json::from_str(&text).unwrap());
    assert_eq!(after.used(at(500), a)[Tokens], 0, "too old to count");
}

/// What a provider told, that it slides after all, and what stands in a bucket outlive a restart too.
#[test]
fn a_restart_forgets_neither_what_a_provider_told_nor_what_stands_in_a_bucket() {
    let of = |model| [(deployment("a"), LimitSpec { model, ..tokens(600) })];
    let restarted = |before: &Limits, now, model| {
        let after = limits(of(model));
        let text = serde_json::to_string(&before.save(now)).unwrap();
        after.restore(now, &serde_json::from_str(&text).unwrap());
        let a = after.id(&deployment("a"));
        (after, a)
    };
    let spend = |limits: &Limits, now, amount| {
        let a = limits.id(&deployment("a"));
        let (_, _, one) = granted(reserve(limits, now, &[], demand(0, 0), &[(a, demand(amount, 0))]));
        limits.response_head(now, &one);
        limits.settle(now, one, demand(amount, 0));
    };
    // A bucket of 600 that loses 10 in a second: filled at 0, and kept full for longer than a window.
    let before = limits(of(WindowModel::TokenBucket));
    spend(&before, at(0), 600);
    (1..=90).for_each(|second| spend(&before, at(second) + Duration::from_millis(500), 10));
    let level = before.used(at(95), before.id(&deployment("a")))[Tokens];
    let (after, a) = restarted(&before, at(95), WindowModel::TokenBucket);
    let restored = after.used(at(95), a)[Tokens];
    assert!(level > 500 && restored.abs_diff(level) <= 3, "{level} and {restored}");
    // The same where its length changes.
    let shorter = LimitSpec { window: Duration::from_secs(30), model: WindowModel::TokenBucket, ..tokens(600) };
    before.restrict(&deployment("a"), Some(&shorter), at(95));
    let resized = before.used(at(95), before.id(&deployment("a")))[Tokens];
    assert!(resized.abs_diff(level) <= 25, "{level} and {resized}");

    let before = limits(of(WindowModel::Fixed));
    let told = Told {
        dimension: Tokens,
        limit: Some(300),
        used: Some(300),
        reset: None,
        again: None,
        window: None,
        age: Duration::ZERO,
    };
    spend(&before, at(0), 300);
    assert!(
        before.told(at(25), before.id(&deployment("a")), &[told], true).slides,
        "nothing in a fixed minute explains it"
    );
    let (after, a) = restarted(&before, at(30), WindowModel::Fixed);
    assert_eq!(after.report(at(30), a).limits[Tokens], Some(300));
    assert_eq!(after.wait(at(30), a, demand(300, 0)), before.wait(at(30), before.id(&deployment("a")), demand(300, 0)));
}

use crate::chat::Usage;
use proptest::prelude::*;

use super::*;
use crate::failover::FaultClass;
use crate::fault::Cause;

const COOLDOWN: Duration = Duration::from_secs(5);

fn at(millis: u64) -> Moment {
    Moment::from_millis(1_700_000_000_000 + millis)
}

fn health(rule: BreakerRule) -> Arc<Health> {
    let book = HealthBook::default();
    let id = DeploymentId::from("a");
    book.apply(&BTreeMap::from([(id.clone(), rule)]));
    book.of(&id)
}

fn failed(kind: FaultKind) -> AttemptOutcome {
    AttemptOutcome { fault: Some(kind), ..AttemptOutcome::default() }
}

fn attempt(health: &Arc<Health>, now: Moment, ended: &AttemptOutcome) {
    health.begin(now).expect("the breaker lets it through").end(now, ended);
}

fn fail(health: &Arc<Health>, now: Moment, kind: FaultKind) {
    attempt(health, now, &failed(kind));
}

fn open_until(health: &Arc<Health>, now: Moment) -> Option<Moment> {
    match health.admission(now) {
        Admission::No { until } => Some(until),
        _ => None,
    }
}

#[test]
fn more_than_half_of_five_attempts_opens() {
    let health = health(BreakerRule::default());
    attempt(&health, at(0), &AttemptOutcome::default());
    attempt(&health, at(0), &AttemptOutcome::default());
    fail(&health, at(0), FaultKind::Unavailable);
    fail(&health, at(0), FaultKind::TimedOut);
    assert_eq!(health.admission(at(0)), Admission::Yes);
    fail(&health, at(0), FaultKind::BrokenStream);
    assert_eq!(health.admission(at(0)), Admission::No { until: at(0) + COOLDOWN });
    assert_eq!(health.begin(at(4999)).err(), Some(BreakerOpen { until: at(5000) }));
}

#[test]
fn five_failures_in_a_row_open_however_good_the_minute_was() {
    let health = health(BreakerRule::default());
    for _ in 0..1000 {
        attempt(&health, at(0), &AttemptOutcome::default());
    }
    for _ in 0..4 {
        fail(&health, at(100), FaultKind::Unavailable);
    }
    attempt(&health, at(100), &AttemptOutcome::default());
    for _ in 0..4 {
        fail(&health, at(200), FaultKind::Unavailable);
    }
    assert_eq!(health.admission(at(200)), Admission::Yes);
    fail(&health, at(200), FaultKind::Unavailable);
    assert_eq!(open_until(&health, at(200)), Some(at(200) + COOLDOWN));
}

#[test]
fn each_failed_probe_doubles_the_wait_to_four_times() {
    let health = health(BreakerRule::default());
    fail(&health, at(0), FaultKind::Misconfigured);
    let mut now = at(5000);
    for seconds in [10, 20, 20] {
        fail(&health, now, FaultKind::Unavailable);
        assert_eq!(open_until(&health, now), Some(now + Duration::from_secs(seconds)));
        now = now + Duration::from_secs(seconds);
    }
    let saved = health.open().unwrap();
    let other = super::tests::health(BreakerRule::default());
    other.restore(saved);
    assert_eq!(other.admission(now), Admission::Probe, "after a restart too");
    attempt(&health, now, &AttemptOutcome::default());
    assert_eq!(health.open(), None);
    fail(&health, now, FaultKind::Misconfigured);
    assert_eq!(open_until(&health, now), Some(now + COOLDOWN), "a success forgets it");
}

#[test]
fn a_cooldown_that_is_written_stays_as_long_as_it_is() {
    let health = health(BreakerRule { cooldown: Cooldown::Fixed(Duration::from_secs(7)), ..BreakerRule::default() });
    let mut now = at(0);
    fail(&health, now, FaultKind::Misconfigured);
    for _ in 0..3 {
        assert_eq!(open_until(&health, now), Some(now + Duration::from_secs(7)));
        now = now + Duration::from_secs(7);
        fail(&health, now, FaultKind::Unavailable);
    }
}

#[test]
fn the_class_of_a_failure_names_how_many_are_borne() {
    let policy = ByClass::default().with(FaultClass::RateLimit, Some(2)).with(FaultClass::Timeout, Some(0));
    let health = health(BreakerRule { allowed_fails_policy: policy, ..BreakerRule::default() });
    let of = |kind, class| AttemptOutcome { class: Some(class), ..failed(kind) };
    for _ in 0..2 {
        attempt(&health, at(0), &of(FaultKind::RateLimited, FaultClass::RateLimit));
        assert_eq!(health.admission(at(0)), Admission::Yes, "not at once, where a number is given");
    }
    attempt(&health, at(0), &of(FaultKind::TimedOut, FaultClass::Timeout));
    assert_eq!(open_until(&health, at(0)), Some(at(5000)));
}

#[test]
fn a_refused_credential_takes_out_all_deployments_of_it() {
    let book = HealthBook::default();
    let ids = ["a", "b", "c"].map(DeploymentId::from);
    let rule = |account| BreakerRule { account: Some(AccountId(account)), ..BreakerRule::default() };
    book.apply(&ids.iter().cloned().zip([rule(1), rule(1), rule(2)]).collect());
    let [a, b, c] = ids.map(|id| book.of(&id));
    let refused = AttemptOutcome { cause: Some(Cause::Credential), ..failed(FaultKind::Misconfigured) };
    let late = b.begin(at(0)).unwrap();
    let change = a.begin(at(0)).unwrap().end(at(0), &refused);
    assert_eq!(change, Some(Change::CredentialRefused(at(5000))));
    assert_eq!([&a, &b, &c].map(|one| open_until(one, at(0))), [Some(at(5000)), Some(at(5000)), None]);
    assert_eq!(late.end(at(10), &refused), None, "what began before says nothing new");
    let probe = b.begin(at(5000)).unwrap();
    assert!(probe.is_probe());
    assert!(a.begin(at(5000)).is_err(), "one probe for the account");
    probe.end(at(5000), &refused);
    assert_eq!(open_until(&a, at(5000)), Some(at(15_000)), "twice as long");
    let probe = a.begin(at(15_000)).unwrap();
    probe.end(at(15_000), &failed(FaultKind::Rejected));
    assert_eq!([&a, &b].map(|one| one.admission(at(15_000))), [Admission::Yes; 2], "the key is taken");
}

/// Somebody replaces a key that is refused, or that its provider is about to take back, while calls with it are under way.
#[test]
fn what_is_under_way_with_a_credential_says_nothing_about_the_next_one() {
    let book = HealthBook::default();
    let ids = ["a", "b"].map(DeploymentId::from);
    let rule = |account| BreakerRule { account: Some(AccountId(account)), ..BreakerRule::default() };
    let put = |accounts: [u64; 2]| book.apply(&ids.iter().cloned().zip(accounts.map(rule)).collect());
    put([1, 1]);
    let [a, b] = [&ids[0], &ids[1]].map(|id| book.of(id));
    let refused = AttemptOutcome { cause: Some(Cause::Credential), ..failed(FaultKind::Misconfigured) };
    attempt(&b, at(0), &refused);
    let probe = a.begin(at(5000)).unwrap();
    assert!(probe.is_probe());
    put([2, 1]);
    assert!(b.begin(at(5000)).is_err(), "the probe of the one before is under way");
    let change = probe.end(at(5000), &refused);
    assert_eq!(change, Some(Change::CredentialRefused(at(15_000))));
    let open = [&a, &b].map(|one| open_until(one, at(5000)));
    assert_eq!(open, [None, Some(at(15_000))], "nobody has refused the new one");
}

#[test]
fn failures_older_than_a_minute_are_forgotten() {
    let health = health(BreakerRule::default());
    for second in 0..4 {
        fail(&health, at(second * 1000), FaultKind::Unavailable);
    }
    fail(&health, at(63_000), FaultKind::Unavailable);
    assert_eq!(health.admission(at(63_000)), Admission::Yes);
    for _ in 0..4 {
        fail(&health, at(63_000), FaultKind::Unavailable);
    }
    assert_eq!(open_until(&health, at(63_000)), Some(at(68_000)));
}

#[test]
fn allowed_fails_are_a_number_whatever_the_share() {
    // LiteLLM's own default, which it takes for nothing said.
    let health = health(BreakerRule { allowed_fails: Some(3), ..BreakerRule::default() });
    for _ in 0..100 {
        attempt(&health, at(0), &AttemptOutcome::default());
    }
    for _ in 0..3 {
        fail(&health, at(0), FaultKind::Unavailable);
    }
    assert_eq!(health.admission(at(0)), Admission::Yes);
    fail(&health, at(0), FaultKind::Unavailable);
    assert_eq!(open_until(&health, at(0)), Some(at(5000)));
}

#[test]
fn rate_limits_and_misconfigurations_open_at_once_where_there_are_others() {
    for (fault, retry_after, until) in [
        (FaultKind::RateLimited, None, Some(at(5000))),
        (FaultKind::RateLimited, Some(30), Some(at(30_000))),
        (FaultKind::RateLimited, Some(0), None),
        (FaultKind::Misconfigured, None, Some(at(5000))),
        (FaultKind::Unavailable, Some(30), None),
    ] {
        let health = health(BreakerRule::default());
        let retry_after = retry_after.map(Duration::from_secs);
        attempt(&health, at(0), &AttemptOutcome { retry_after, ..failed(fault) });
        assert_eq!(open_until(&health, at(0)), until, "{fault} after {retry_after:?}");
    }
}

#[test]
fn a_lonely_deployment_opens_only_if_nothing_works() {
    let rule = BreakerRule { alone: true, allowed_fails: Some(0), ..BreakerRule::default() };
    let health = health(rule);
    for _ in 0..100 {
        fail(&health, at(0), FaultKind::RateLimited);
    }
    for _ in 0..19 {
        fail(&health, at(0), FaultKind::Misconfigured);
    }
    assert_eq!(health.admission(at(0)), Admission::Yes);
    fail(&health, at(0), FaultKind::Unavailable);
    assert_eq!(open_until(&health, at(0)), Some(at(5000)));

    let health = self::health(rule);
    attempt(&health, at(0), &AttemptOutcome::default());
    for _ in 0..40 {
        fail(&health, at(0), FaultKind::Unavailable);
    }
    assert_eq!(health.admission(at(0)), Admission::Yes);
}

#[test]
fn what_a_provider_asks_for_holds_though_nobody_else_can_be_asked() {
    let asked =
        |seconds| AttemptOutcome { retry_after: Some(Duration::from_secs(seconds)), ..failed(FaultKind::RateLimited) };
    let [alone, single] = [(true, true), (false, true)].map(|(alone, single)| {
        let health = health(BreakerRule { alone, single, ..BreakerRule::default() });
        let late = health.begin(at(0)).expect("closed");
        attempt(&health, at(0), &asked(90));
        assert_eq!(open_until(&health, at(0)), Some(at(90_000)), "alone: {alone}");
        late.end(at(1000), &asked(6));
        assert_eq!(open_until(&health, at(1000)), Some(at(90_000)), "the longer one holds");
        health
    });
    for health in [alone, single] {
        let probe = health.begin(at(90_000)).expect("the probe");
        assert!(probe.is_probe() && health.begin(at(90_000)).is_err(), "one at a time");
        probe.end(at(90_000), &asked(10));
        assert_eq!(open_until(&health, at(90_000)), Some(at(100_000)));
        attempt(&health, at(100_000), &AttemptOutcome::default());
        assert_eq!(health.admission(at(100_000)), Admission::Yes);
    }
    let waits = Some(COOLDOWN);
    for (retry_after, limit_told, disabled) in
        [(None, false, false), (Some(Duration::ZERO), false, false), (waits, true, false), (waits, false, true)]
    {
        let health = health(BreakerRule { alone: true, single: true, disabled, ..BreakerRule::default() });
        attempt(&health, at(0), &AttemptOutcome { retry_after, limit_told, ..failed(FaultKind::RateLimited) });
        assert_eq!(open_until(&health, at(0)), None, "{retry_after:?}, told: {limit_told}, disabled: {disabled}");
    }
}

#[test]
fn who_waits_for_the_end_of_a_limit_comes_by_and_by() {
    let waits = AttemptOutcome { retry_after: Some(COOLDOWN), ..failed(FaultKind::RateLimited) };
    for (outcome, limited) in [(waits, true), (failed(FaultKind::Misconfigured), false)] {
        let health = health(BreakerRule::default());
        attempt(&health, at(0), &outcome);
        let until = open_until(&health, at(0)).expect("open");
        attempt(&health, until, &AttemptOutcome::default());
        let mut held = Vec::new();
        for (step, most) in [(0, 1), (1000, 2), (2000, 4)] {
            let now = until + Duration::from_millis(step);
            let begun = std::iter::from_fn(|| health.begin(now).ok()).take(20).collect::<Vec<_>>();
            assert_eq!(begun.len(), if limited { most } else { 20 }, "{step}");
            let next = Admission::No { until: now + Duration::from_secs(1) };
            assert_eq!(health.admission(now), if limited { next } else { Admission::Yes });
            held.extend(begun);
        }
        // Fewer want to than may: nobody is kept waiting any more.
        let calm = [3000, 4000].map(|millis| health.begin(until + Duration::from_millis(millis)).expect("closed"));
        let now = until + Duration::from_secs(4);
        assert_eq!(std::iter::from_fn(|| health.begin(now).ok()).take(100).count(), 100);
        drop((held, calm));
    }
}

#[test]
fn rejected_and_cancelled_never_count() {
    let health = health(BreakerRule { allowed_fails: Some(0), ..BreakerRule::default() });
    for _ in 0..30 {
        fail(&health, at(0), FaultKind::Rejected);
        fail(&health, at(0), FaultKind::Cancelled);
        fail(&health, at(0), FaultKind::Gateway);
        drop(health.begin(at(0)));
    }
    let report = health.report(at(0));
    assert_eq!((report.admission, report.in_flight), (Admission::Yes, 0));
    assert!(report.failure_rate.is_nan() && report.latency_ms.is_nan());
}

#[test]
fn one_whose_client_left_gives_its_probe_back_once_and_ends_later() {
    let health = health(BreakerRule::default());
    fail(&health, at(0), FaultKind::Misconfigured);
    let mut left = health.begin(at(5000)).expect("the probe");
    left.leave();
    let next = health.begin(at(5000)).expect("the next probe");
    assert!(next.is_probe());
    assert_eq!(left.end(at(5001), &failed(FaultKind::Cancelled)), None);
    let report = health.report(at(5001));
    assert_eq!((report.in_flight, report.admission), (1, Admission::No { until: at(10_000) }));
}

#[test]
fn opening_again_never_brings_the_end_nearer() {
    let health = health(BreakerRule::default());
    let [first, second, third] = [(); 3].map(|()| health.begin(at(0)).expect("closed"));
    let limited =
        |seconds| AttemptOutcome { retry_after: Some(Duration::from_secs(seconds)), ..failed(FaultKind::RateLimited) };
    first.end(at(0), &limited(60));
    second.end(at(1000), &limited(1));
    assert_eq!(open_until(&health, at(1000)), Some(at(60_000)));
    third.end(at(2000), &limited(90));
    assert_eq!(open_until(&health, at(2000)), Some(at(92_000)));
}

#[test]
fn half_open_lets_exactly_one_probe_through() {
    let health = health(BreakerRule::default());
    fail(&health, at(0), FaultKind::Misconfigured);
    assert_eq!(health.admission(at(4999)), Admission::No { until: at(5000) });
    assert_eq!(health.admission(at(5000)), Admission::Probe);
    assert_eq!(health.admission(at(5000)), Admission::Probe, "asking changes nothing");
    let probe = health.begin(at(5000)).expect("the probe");
    assert!(probe.is_probe());
    assert_eq!(health.begin(at(5000)).err(), Some(BreakerOpen { until: at(10_000) }));
    drop(probe);
    assert_eq!(health.admission(at(5001)), Admission::Probe, "a probe that says nothing gives its place back");
    let probe = health.begin(at(5001)).expect("the probe");
    probe.end(at(5001), &failed(FaultKind::Unavailable));
    assert_eq!(open_until(&health, at(5001)), Some(at(15_001)), "a failed probe opens again, for twice as long");
    let probe = health.begin(at(15_001)).expect("the probe");
    probe.end(at(15_002), &AttemptOutcome::default());
    assert_eq!(health.admission(at(15_002)), Admission::Yes);
    assert!(!health.begin(at(15_002)).expect("closed").is_probe());
}

#[test]
fn a_probe_that_begins_to_answer_closes_and_may_still_fail() {
    let health = health(BreakerRule::default());
    for _ in 0..5 {
        fail(&health, at(0), FaultKind::Unavailable);
    }
    let mut probe = health.begin(at(5000)).expect("the probe");
    probe.answering();
    assert_eq!(health.admission(at(5000)), Admission::Yes);
    probe.end(at(6000), &failed(FaultKind::BrokenStream));
    assert_eq!(health.admission(at(6000)), Admission::Yes, "one failure of the new minute is not enough");
}

#[test]
fn a_probe_that_hangs_is_followed_by_others_ever_more_slowly_and_may_still_close() {
    let health = health(BreakerRule::default());
    fail(&health, at(0), FaultKind::Misconfigured);
    let first = health.begin(at(5000)).expect("the first probe");
    let mut hanging = Vec::new();
    let mut now = 10_000;
    for length in [10_000, 20_000, 40_000, 60_000, 60_000] {
        assert_eq!(health.begin(at(now - 1)).err(), Some(BreakerOpen { until: at(now) }));
        hanging.push(health.begin(at(now)).expect("the next probe"));
        now += length;
    }
    assert_eq!(open_until(&health, at(now - 1)), Some(at(now)));
    first.end(at(now - 1), &AttemptOutcome::default());
    assert_eq!(health.admission(at(now - 1)), Admission::Yes, "late is not wrong");
    for probe in hanging {
        probe.end(at(now), &failed(FaultKind::TimedOut));
    }
    assert_eq!(open_until(&health, at(now)), Some(at(now + 5000)), "five failures in the new minute");
}

#[test]
fn an_overtaken_probe_does_not_close_what_opened_since() {
    let health = health(BreakerRule::default());
    let slow = health.begin(at(0)).expect("closed");
    fail(&health, at(0), FaultKind::Misconfigured);
    let mut probe = health.begin(at(5000)).expect("the probe");
    slow.end(at(6000), &failed(FaultKind::RateLimited));
    probe.answering();
    assert_eq!(open_until(&health, at(6000)), Some(at(11_000)));
    probe.end(at(6500), &AttemptOutcome::default());
    assert_eq!(open_until(&health, at(6500)), Some(at(11_000)));
}

#[test]
fn an_overtaken_probe_does_not_move_the_end_either() {
    let health = health(BreakerRule::default());
    let slow = health.begin(at(0)).expect("closed");
    fail(&health, at(0), FaultKind::Misconfigured);
    let probe = health.begin(at(5000)).expect("the probe");
    slow.end(at(6000), &failed(FaultKind::RateLimited));
    probe.end(at(8000), &failed(FaultKind::Unavailable));
    assert_eq!(open_until(&health, at(8000)), Some(at(11_000)));
}

#[test]
fn a_disabled_breaker_never_opens() {
    let health = health(BreakerRule { disabled: true, ..BreakerRule::default() });
    for _ in 0..50 {
        fail(&health, at(0), FaultKind::RateLimited);
    }
    assert_eq!(health.admission(at(0)), Admission::Yes);
}

#[test]
fn nobody_is_forgotten_however_many_there_are() {
    let book = HealthBook::default();
    let ids: Vec<DeploymentId> = (0..1000).map(|number| DeploymentId::from(format!("d{number}"))).collect();
    book.apply(&ids.iter().map(|id| (id.clone(), BreakerRule::default())).collect());
    for id in &ids {
        fail(&book.of(id), at(0), FaultKind::RateLimited);
    }
    assert!(ids.iter().all(|id| open_until(&book.of(id), at(1)) == Some(at(5000))));
}

#[test]
fn a_reload_keeps_health_by_id_and_forgets_who_is_gone() {
    let book = HealthBook::default();
    let (a, b) = (DeploymentId::from("a"), DeploymentId::from("b"));
    let rules = |ids: &[&DeploymentId]| ids.iter().map(|id| ((*id).clone(), BreakerRule::default())).collect();
    book.apply(&rules(&[&a, &b]));
    fail(&book.of(&a), at(0), FaultKind::RateLimited);
    fail(&book.of(&b), at(0), FaultKind::RateLimited);
    book.apply(&rules(&[&a]));
    assert_eq!(open_until(&book.of(&a), at(1)), Some(at(5000)));
    assert_eq!(book.all().len(), 1);
    book.apply(&rules(&[&a, &b]));
    assert_eq!(book.of(&b).admission(at(1)), Admission::Yes);
}

#[test]
fn means_are_of_the_last_ten_and_the_share_of_the_last_twenty() {
    let health = health(BreakerRule { disabled: true, ..BreakerRule::default() });
    let unknown = health.report(at(0));
    for signal in [Signal::LatencyMs, Signal::LatencyPerTokenMs, Signal::TtftMs, Signal::FailureRate] {
        assert!(unknown.signal(signal).expect("a health signal").is_nan());
    }
    let usage = Usage { output_tokens: 100, ..Usage::default() };
    for millis in 1..=15 {
        let latency = Duration::from_millis(millis * 100);
        let ttft = (millis % 2 == 0).then_some(Duration::from_millis(millis));
        attempt(
            &health,
            at(0),
            &AttemptOutcome { latency, ttft, streamed: true, usage: usage.clone(), ..AttemptOutcome::default() },
        );
    }
    for _ in 0..4 {
        fail(&health, at(0), FaultKind::TimedOut);
    }
    attempt(&health, at(0), &AttemptOutcome { latency: Duration::from_millis(1050), ..AttemptOutcome::default() });
    let under_way = health.begin(at(0));
    let report = health.report(at(0));
    let value = |signal| report.signal(signal).expect("a health signal");
    // 700 … 1500 and 1050; per token 6 … 15 (the last reply told no tokens); first tokens 2, 4 … 14.
    assert!((value(Signal::LatencyMs) - 1095.0).abs() < 1e-3);
    assert!((value(Signal::LatencyPerTokenMs) - 10.5).abs() < 1e-4);
    assert!((value(Signal::TtftMs) - 8.0).abs() < 1e-4);
    assert!((value(Signal::FailureRate) - 0.2).abs() < 1e-6);
    assert!((value(Signal::InFlight) - 1.0).abs() < 1e-6);
    assert!((value(Signal::Healthy) - 1.0).abs() < 1e-6);
    assert_eq!(report.signal(Signal::CostUsd), None);
    drop(under_way);
    for _ in 0..20 {
        fail(&health, at(0), FaultKind::TimedOut);
    }
    assert!((health.report(at(0)).failure_rate - 1.0).abs() < 1e-6);
}

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Begin,
    Answering(usize),
    End(usize, usize, Option<u64>),
    Drop(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0_u64..20_000).prop_map(Step::Pass),
        4 => Just(Step::Begin),
        1 => any::<usize>().prop_map(Step::Answering),
        4 => (any::<usize>(), 0..=FaultKind::ALL.len(), prop::option::of(0_u64..20)).prop_map(|(which, fault, after)| Step::End(which, fault, after)),
        1 => any::<usize>().prop_map(Step::Drop),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn no_ending_leaks_one_probe_at_most_and_no_deadline_shrinks(
        steps in prop::collection::vec(any_step(), 1..100),
        alone in any::<bool>(),
        allowed_fails in prop::option::of(0_u32..5),
    ) {
        let health = health(BreakerRule { allowed_fails, alone, ..BreakerRule::default() });
        let mut live = Vec::new();
        let mut now = at(0);
        let mut deadline = None;
        for step in steps {
            match step {
                Step::Pass(millis) => now = now + Duration::from_millis(millis),
                Step::Begin => {
                    let admission = health.admission(now);
                    match health.begin(now) {
                        Ok(attempt) => {
                            prop_assert_eq!(attempt.is_probe(), admission == Admission::Probe);
                            live.push(attempt);
                        }
                        Err(open) => prop_assert_eq!(Admission::No { until: open.until }, admission),
                    }
                }
                Step::Answering(which) if !live.is_empty() => {
                    let which = which % live.len();
                    live[which].answering();
                }
                Step::End(which, fault, after) if !live.is_empty() => {
                    let fault = FaultKind::ALL.get(fault).copied();
                    let ended = AttemptOutcome { fault, retry_after: after.map(Duration::from_secs), ..AttemptOutcome::default() };
                    live.swap_remove(which % live.len()).end(now, &ended);
                }
                Step::Drop(which) if !live.is_empty() => drop(live.swap_remove(which % live.len())),
                _ => {}
            }
            prop_assert_eq!(health.report(now).in_flight as usize, live.len());
            // While a probe is under way the moment is the one at which the next may follow.
            let probing = live.iter().any(Attempt::is_probe);
            let until = open_until(&health, now).filter(|_| !probing);
            if probing {
                deadline = None;
            }
            if let (Some(before), Some(until)) = (deadline, until) {
                prop_assert!(until >= before);
            } else if let Some(before) = deadline {
                prop_assert!(now >= before, "it closed before its time");
            }
            deadline = until;
        }
        drop(live);
        prop_assert_eq!(health.report(now).in_flight, 0);
        let later = now + Duration::from_mins(1);
        prop_assert!(!matches!(health.admission(later), Admission::No { .. }), "a place of a probe is lost");
    }
}

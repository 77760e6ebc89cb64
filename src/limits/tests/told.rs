//! What a provider tells of others' use, and for how long it counts here.

use proptest::prelude::*;

use super::*;

fn told(used: u64, reset: Option<u64>, again: Option<u64>) -> Told {
    let [reset, again] = [reset, again].map(|seconds| seconds.map(Duration::from_secs));
    Told { dimension: Tokens, limit: Some(6000), used: Some(used), reset, again, window: None, age: Duration::ZERO }
}

fn spend(limits: &Limits, now: Moment, amount: u64) {
    let a = limits.id(&deployment("a"));
    let (_, _, one) = granted(reserve(limits, now, &[], demand(0, 0), &[(a, demand(amount, 0))]));
    limits.response_head(now, &one);
    limits.settle(now, one, demand(amount, 0));
}

#[test]
fn what_others_use_counts_until_its_provider_says_that_it_is_gone() {
    for (reset, again, refused, gone) in [
        (None, None, false, 60),
        (Some(5), None, false, 5),
        (Some(55), Some(7), true, 7),
        (None, Some(7), true, 7),
        (Some(3), Some(7), true, 3),
        // It is no longer than a window, whatever is said.
        (Some(100), None, false, 60),
        (None, Some(300), true, 60),
    ] {
        let limits = limits([(deployment("a"), tokens(6000))]);
        let a = limits.id(&deployment("a"));
        assert_eq!(limits.told(at(0), a, &[told(5500, reset, again)], refused).others[Tokens], 5500);
        assert_eq!(limits.used(at(0), a)[Tokens], 5500);
        let Wait::At(until) = limits.wait(at(0), a, demand(1200, 0)) else { panic!("it is full") };
        assert!(until >= at(gone) && until <= a_slice_after(gone), "{reset:?} {again:?}: {:?}", until.since(at(0)));
        assert_eq!(limits.used(until, a)[Tokens], 0);
    }
    let limits = limits([(deployment("a"), tokens(6000))]);
    let a = limits.id(&deployment("a"));
    limits.told(at(0), a, &[told(5500, Some(0), None)], false);
    assert_eq!(limits.wait(at(0), a, demand(1200, 0)), Wait::Now, "all of it is there already");
}

/// At most one refusal a window is what others may cost who never stop.
#[test]
fn others_who_go_on_are_waited_for_a_whole_window() {
    let limits = limits([(deployment("a"), tokens(6000))]);
    let a = limits.id(&deployment("a"));
    for (from, refused, gone) in [(0, true, 7), (8, true, 60), (70, true, 60), (140, false, 7), (431, true, 7)] {
        limits.told(at(from), a, &[told(5500, None, Some(7))], refused);
        assert_eq!(limits.used(at(from + gone - 1), a)[Tokens], 5500, "{from}");
        assert_eq!(limits.used(at(from + gone + 1), a)[Tokens], 0, "{from}");
    }
}

#[test]
fn what_we_used_ourselves_is_not_forgotten_with_it() {
    let limits = limits([(deployment("a"), tokens(6000))]);
    let a = limits.id(&deployment("a"));
    spend(&limits, at(0), 2000);
    let (_, _, open) = granted(reserve(&limits, at(5), &[], demand(0, 0), &[(a, demand(500, 0))]));
    limits.sent(at(5), open.handle(), at(6));
    assert_eq!(limits.told(at(10), a, &[told(5500, None, Some(5))], true).others[Tokens], 3000);
    assert_eq!(limits.used(at(16), a)[Tokens], 2500);
    limits.settle(at(17), open, demand(400, 0));
    assert_eq!(limits.used(at(17), a)[Tokens], 2400);
    assert_eq!(limits.used(at(61), a)[Tokens], 400);
    assert_eq!(limits.used(at(67), a)[Tokens], 0);
}

/// It was let go because its provider said so: what is counted there still is told by the next answer, and was never ours.
#[test]
fn what_was_let_go_too_early_is_told_again() {
    let limits = limits([(deployment("a"), tokens(6000))]);
    let a = limits.id(&deployment("a"));
    limits.told(at(0), a, &[told(5500, None, Some(7))], true);
    let now = at(8);
    assert_eq!(limits.used(now, a)[Tokens], 0);
    let later = Told { age: Duration::from_secs(2), ..told(4000, None, None) };
    assert_eq!(limits.told(now, a, &[later], false).others[Tokens], 4000);
    let news = limits.told(at(9), a, &[told(5000, None, Some(2))], true);
    assert_eq!((news.others[Tokens], news.forgotten_early), (1000, false));
}

#[test]
fn a_refusal_that_makes_a_window_slide_is_waited_for_as_it_says() {
    let limits = limits([(deployment("a"), LimitSpec { model: WindowModel::Fixed, ..tokens(6000) })]);
    let a = limits.id(&deployment("a"));
    assert!(limits.told(at(22), a, &[told(5500, None, Some(7))], true).slides);
    assert_eq!(limits.used(at(28), a)[Tokens], 5500);
    assert_eq!(limits.used(at(30), a)[Tokens], 0);
    // Before it is known to slide it forgets as it does, whatever is said.
    let limits = self::limits([(deployment("a"), LimitSpec { model: WindowModel::Fixed, ..tokens(6000) })]);
    let a = limits.id(&deployment("a"));
    limits.told(at(22), a, &[told(5500, Some(7), None)], false);
    assert_eq!(limits.used(at(79), a)[Tokens], 5500);
    assert_eq!(limits.used(at(80), a)[Tokens], 0);
}

#[test]
fn a_restart_forgets_it_no_earlier_and_no_later() {
    let before = limits([(deployment("a"), tokens(6000))]);
    before.told(at(0), before.id(&deployment("a")), &[told(5500, Some(20), None)], false);
    let after = limits([(deployment("a"), tokens(6000))]);
    after.restore(at(5), &before.save(at(5)));
    let a = after.id(&deployment("a"));
    assert_eq!((after.used(at(19), a)[Tokens], after.used(a_slice_after(20), a)[Tokens]), (5500, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    /// Whatever is told and when: what is ours counts for its window, and all of it is gone after one.
    #[test]
    fn ours_counts_for_its_window_whatever_is_told(
        steps in prop::collection::vec(
            (0_u64..8000, prop::option::of(1_u64..600), 0_u64..6000, prop::option::of(0_u64..90), prop::option::of(0_u64..90), any::<bool>()),
            1..40,
        ),
    ) {
        let limits = limits([(deployment("a"), tokens(100_000))]);
        let a = limits.id(&deployment("a"));
        let (mut now, mut ours) = (at(0), Vec::new());
        for (millis, amount, used, reset, again, refused) in steps {
            now = now + Duration::from_millis(millis);
            if let Some(amount) = amount {
                spend(&limits, now, amount);
                ours.push((now, amount));
            }
            limits.told(now, a, &[Told { limit: Some(100_000), ..told(used, reset, again) }], refused);
            let counts: u64 =
                ours.iter().filter(|(since, _)| now.since(*since) < Duration::from_mins(1)).map(|(_, amount)| amount).sum();
            prop_assert!(limits.used(now, a)[Tokens] >= counts, "{} of {counts}", limits.used(now, a)[Tokens]);
        }
        prop_assert_eq!(limits.used(now + Duration::from_millis(60_250), a)[Tokens], 0);
    }
}

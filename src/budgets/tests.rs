mod reading;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::id::KeyId;

const NOW: Moment = Moment::of_date(2026, 11, 26);

fn key(name: &str) -> Scope {
    Scope::Key(KeyId::from(name))
}

fn of(max: u64, period: &str) -> BudgetSpec {
    BudgetSpec { max: Some(NanoUsd(max)), period: Period::parse(period), ..BudgetSpec::default() }
}

#[test]
fn what_is_held_is_held_in_all_or_in_none_and_the_bill_counts_in_its_place() {
    let budgets = Budgets::default();
    let mut ids = budgets.set(NOW, &Scope::Global, &[of(100, "1d")]);
    ids.extend(budgets.set(NOW, &key("a"), &[of(50, "")]));
    let hold = budgets.hold(NOW, &ids, NanoUsd(40)).unwrap();
    let short = budgets.hold(NOW, &ids, NanoUsd(20)).unwrap_err();
    assert_eq!((&short.scope, short.left(), short.held, short.may_wait()), (&key("a"), NanoUsd(50), NanoUsd(40), true));
    assert_eq!(budgets.report(NOW, ids[0]).unwrap().held, NanoUsd(40), "nothing was held of the other");
    assert_eq!(budgets.settle(NOW, NOW, hold, NanoUsd(35)), []);
    let short = budgets.hold(NOW, &ids, NanoUsd(20)).unwrap_err();
    assert_eq!((short.left(), short.may_wait(), short.resets), (NanoUsd(15), false, None));
    let hold = budgets.hold(NOW, &ids, NanoUsd(15)).unwrap();
    budgets.release(NOW, hold);
    let all = budgets.report(NOW, ids[0]).unwrap();
    assert_eq!((all.spent, all.held), (NanoUsd(35), NanoUsd(0)));
    assert_eq!(all.resets, Some(NOW + Duration::from_hours(24)));
}

#[test]
fn who_holds_more_waits_for_what_others_hold_and_not_for_its_own() {
    let budgets = Budgets::default();
    let ids = budgets.set(NOW, &key("a"), &[of(100, "")]);
    let mut hold = budgets.hold(NOW, &ids, NanoUsd(40)).unwrap();
    let short = budgets.raise(NOW, &mut hold, NanoUsd(110)).unwrap_err();
    assert_eq!((short.held, short.asked, short.may_wait()), (NanoUsd(0), NanoUsd(110), false), "nobody else holds any");
    let other = budgets.hold(NOW, &ids, NanoUsd(30)).unwrap();
    let short = budgets.short_beside(NOW, &ids, NanoUsd(80), hold.amount()).unwrap();
    assert_eq!((short.held, short.asked, short.may_wait()), (NanoUsd(30), NanoUsd(80), true));
    assert_eq!(budgets.raise(NOW, &mut hold, NanoUsd(70)), Ok(()));
    assert_eq!((hold.amount(), budgets.report(NOW, ids[0]).unwrap().held), (NanoUsd(70), NanoUsd(100)));
    for hold in [hold, other] {
        budgets.release(NOW, hold);
    }
    assert_eq!(budgets.report(NOW, ids[0]).unwrap().held, NanoUsd(0));
}

#[test]
fn a_call_holds_and_counts_in_the_period_in_which_its_money_was_held() {
    let budgets = Budgets::default();
    let ids = budgets.set(NOW, &key("a"), &[of(100, "1h")]);
    let early = budgets.hold(NOW, &ids, NanoUsd(60)).unwrap();
    let hold = budgets.hold(NOW, &ids, NanoUsd(40)).unwrap();
    let _ = budgets.settle(NOW, NOW, hold, NanoUsd(100));
    assert!(budgets.hold(NOW, &ids, NanoUsd(0)).is_err(), "who has nothing left is refused also what costs nothing");
    let later = NOW + Duration::from_hours(1);
    assert_eq!(budgets.short(later, &ids, NanoUsd(100)), None, "what is under way is of the hour before");
    let waited = budgets.hold(later, &ids, NanoUsd(70)).unwrap();
    let sums = || budgets.report(later, ids[0]).map(|report| (report.spent.0, report.held.0)).unwrap();
    let _ = budgets.settle(later, NOW, early, NanoUsd(60));
    assert_eq!(sums(), (0, 70), "it gives back nothing that others hold");
    let _ = budgets.settle(later, NOW, waited, NanoUsd(50));
    assert_eq!(sums(), (50, 0), "its request arrived before, and waited for its turn");
}

/// As the minutes pass, each call arrives in one and is made in the next.
#[test]
fn who_waits_for_the_next_period_every_time_spends_no_more_than_it_has() {
    let budgets = Budgets::default();
    let ids = budgets.set(NOW, &key("a"), &[of(100, "1m")]);
    let later = NOW + Duration::from_mins(1);
    let served = (0..5).filter(|_| {
        let hold = budgets.hold(later, &ids, NanoUsd(40));
        hold.map(|hold| budgets.settle(later, NOW, hold, NanoUsd(40))).is_ok()
    });
    assert_eq!(served.count(), 2);
}

#[test]
fn what_is_held_over_the_end_of_a_period_is_held_anew_where_it_is_raised() {
    let budgets = Budgets::default();
    let mut ids = budgets.set(NOW, &Scope::Global, &[of(100, "1d")]);
    ids.extend(budgets.set(NOW, &key("a"), &[of(100, "1h")]));
    let mut hold = budgets.hold(NOW, &ids, NanoUsd(40)).unwrap();
    let later = NOW + Duration::from_hours(1);
    let other = budgets.hold(later, &ids[1..], NanoUsd(55)).unwrap();
    let sums = |of: fn(BudgetReport) -> NanoUsd| {
        ids.iter().map(|id| budgets.report(later, *id).map(of).unwrap().0).collect::<Vec<_>>()
    };
    assert_eq!(sums(|report| report.held), [40, 55]);
    assert_eq!(budgets.raise(later, &mut hold, NanoUsd(50)).unwrap_err().scope, key("a"), "all of it, not 10 more");
    budgets.lower(&mut hold, NanoUsd(20));
    assert_eq!(sums(|report| report.held), [20, 55], "what others hold is not given back");
    assert_eq!(budgets.raise(later, &mut hold, NanoUsd(45)), Ok(()));
    assert_eq!(sums(|report| report.held), [45, 100]);
    let _ = budgets.settle(later, NOW, hold, NanoUsd(45));
    budgets.release(later, other);
    // Who read the clock before the hour ended, and comes after somebody who found it over.
    let late = budgets.hold(NOW, &ids, NanoUsd(10)).unwrap();
    assert_eq!(sums(|report| report.held), [10, 10]);
    let _ = budgets.settle(NOW, NOW, late, NanoUsd(10));
    assert_eq!((sums(|report| report.held), sums(|report| report.spent)), (vec![0, 0], vec![55, 55]));
}

#[test]
fn other_numbers_leave_what_is_spent_and_another_period_is_read_from_the_ledger() {
    let budgets = Budgets::default();
    let ids = budgets.set(NOW, &key("a"), &[of(100, "1h")]);
    let asked = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&asked);
    budgets.read_from(SpendReader::of(move |_, [since, _], _| {
        told.store(since.as_millis(), Ordering::Relaxed);
        Some(NanoUsd(7))
    }));
    assert_eq!(budgets.report(NOW, ids[0]).unwrap().spent, NanoUsd(7), "what was spent before a start");
    let again = budgets.set(NOW, &key("a"), &[of(200, "1h")]);
    assert_eq!((&again, budgets.report(NOW, ids[0]).unwrap().spent), (&ids, NanoUsd(7)));
    let daily = budgets.set(NOW + Duration::from_hours(2), &key("a"), &[of(200, "1d")]);
    assert_eq!(budgets.report(NOW, daily[0]).unwrap().spent, NanoUsd(7));
    assert_eq!(asked.load(Ordering::Relaxed), NOW.as_millis());
    let set = BudgetSpec { counted: Some((NOW + Duration::from_hours(3), NanoUsd(90))), ..of(200, "1d") };
    let same = budgets.set(NOW + Duration::from_hours(3), &key("a"), &[set]);
    assert_eq!((&same, budgets.report(NOW, same[0]).unwrap().spent), (&daily, NanoUsd(90)));
}

#[test]
fn a_changed_budget_holds_what_calls_under_way_hold_and_counts_what_they_come_to_once() {
    let changes = [
        [of(200, "1h"), of(500, "30d")],
        [of(200, "1d"), of(500, "30d")],
        [of(200, "30d"), of(500, "1h")],
        [of(200, ""), of(500, "1d")],
        [BudgetSpec { counted: Some((NOW, NanoUsd(0))), ..of(200, "1h") }, of(500, "30d")],
    ];
    for specs in changes {
        let budgets = Budgets::default();
        let ids = budgets.set(NOW, &key("a"), &[of(100, "1h"), of(500, "30d")]);
        // The ledger has what ended before, and not what is under way.
        budgets.read_from(SpendReader::of(|_, _, _| Some(NanoUsd(30))));
        let hold = budgets.hold(NOW, &ids, NanoUsd(60)).unwrap();
        let after = budgets.set(NOW, &key("a"), &specs);
        let [mut before_ids, mut after_ids] = [ids.clone(), after.clone()];
        before_ids.sort_unstable();
        after_ids.sort_unstable();
        assert_eq!(before_ids, after_ids, "{specs:?}");
        let told = |id: &BudgetId| {
            let report = budgets.report(NOW, *id).unwrap();
            (report.max, report.spent, report.held)
        };
        let all = |spent, held| {
            after.iter().zip(&specs).all(|(id, spec)| told(id) == (spec.max, NanoUsd(spent), NanoUsd(held)))
        };
        assert!(all(30, 60), "{specs:?}: {:?}", after.iter().map(told).collect::<Vec<_>>());
        assert!(
            budgets.short(NOW, &after, NanoUsd(111)).is_some_and(|short| short.may_wait()),
            "what is held is not free"
        );
        let _ = budgets.settle(NOW, NOW, hold, NanoUsd(45));
        assert!(all(75, 0), "{specs:?}: {:?}", after.iter().map(told).collect::<Vec<_>>());
    }
}

#[test]
fn of_a_budget_less_what_is_held_is_held_of_those_that_are_left() {
    let budgets = Budgets::default();
    let ids = budgets.set(NOW, &key("a"), &[of(100, "1h"), of(500, "30d")]);
    let hold = budgets.hold(NOW, &ids, NanoUsd(60)).unwrap();
    let left = budgets.set(NOW, &key("a"), &[of(400, "30d")]);
    assert_eq!((left[0], budgets.report(NOW, ids[0])), (ids[1], None));
    let more = budgets.set(NOW, &key("a"), &[of(50, "1d"), of(400, "30d")]);
    let under_way = |id: &BudgetId| budgets.report(NOW, *id).unwrap().held;
    assert_eq!(more.iter().map(under_way).collect::<Vec<_>>(), [NanoUsd(0), NanoUsd(60)]);
    let _ = budgets.settle(NOW, NOW, hold, NanoUsd(45));
    let spent = |id: &BudgetId| budgets.report(NOW, *id).unwrap().spent;
    assert_eq!(more.iter().map(spent).collect::<Vec<_>>(), [NanoUsd(0), NanoUsd(45)]);
}

#[test]
fn what_could_not_be_read_is_read_later_and_what_was_spent_meanwhile_counts_once() {
    let budgets = Budgets::default();
    let ids = budgets.set(NOW, &key("a"), &[of(100, "1d")]);
    let asked = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&asked);
    budgets.read_from(SpendReader::of(move |_, [_, before], _| {
        assert_eq!(before, NOW, "what arrived before the budget was known");
        (told.fetch_add(1, Ordering::Relaxed) > 0).then_some(NanoUsd(30))
    }));
    let spent = || budgets.report(NOW, ids[0]).unwrap().spent;
    assert_eq!((spent(), asked.load(Ordering::Relaxed)), (NanoUsd(0), 1));
    let later = NOW + Duration::from_secs(1);
    let hold = budgets.hold(later, &ids, NanoUsd(9)).unwrap();
    let _ = budgets.settle(later, later, hold, NanoUsd(9));
    assert!(budgets.read_again());
    assert_eq!(spent(), NanoUsd(39));
    assert_eq!(budgets.set(later, &key("a"), &[of(200, "1d")]), ids);
    assert_eq!((spent(), asked.load(Ordering::Relaxed)), (NanoUsd(39), 2));
}

#[test]
fn a_place_is_used_again_and_who_means_the_budget_before_finds_nothing() {
    let budgets = Budgets::default();
    let gone = budgets.set(NOW, &key("a"), &[of(100, "")]);
    let hold = budgets.hold(NOW, &gone, NanoUsd(60)).unwrap();
    assert_eq!(budgets.set(NOW, &key("a"), &[]), []);
    assert_eq!((budgets.report(NOW, gone[0]), budgets.reports(NOW).len()), (None, 0));
    let next = budgets.set(NOW, &key("b"), &[of(50, "")]);
    assert_eq!(budgets.lock().budgets.len(), 1, "as many places as there were budgets at once");
    let _ = budgets.settle(NOW, NOW, hold, NanoUsd(60));
    let untouched = budgets.report(NOW, next[0]).unwrap();
    assert_eq!((untouched.spent, untouched.held), (NanoUsd(0), NanoUsd(0)));
    assert!(budgets.hold(NOW, &gone, NanoUsd(1000)).is_ok() && budgets.hold(NOW, &next, NanoUsd(51)).is_err());
}

#[test]
fn what_is_held_is_raised_in_all_or_in_none() {
    let budgets = Budgets::default();
    let mut ids = budgets.set(NOW, &Scope::Global, &[of(100, "")]);
    ids.extend(budgets.set(NOW, &key("a"), &[of(50, "")]));
    let mut hold = budgets.hold(NOW, &ids, NanoUsd(40)).unwrap();
    assert_eq!(budgets.raise(NOW, &mut hold, NanoUsd(30)), Ok(()), "it is enough already");
    assert_eq!(budgets.raise(NOW, &mut hold, NanoUsd(51)).unwrap_err().scope, key("a"));
    let sums = || ids.iter().map(|id| budgets.report(NOW, *id).unwrap().held.0).collect::<Vec<_>>();
    assert_eq!(sums(), [40, 40]);
    assert_eq!(budgets.raise(NOW, &mut hold, NanoUsd(50)), Ok(()));
    assert_eq!(sums(), [50, 50]);
    budgets.release(NOW, hold);
    assert_eq!(sums(), [0, 0]);
}

#[test]
fn each_mark_is_told_once_in_a_period() {
    let budgets = Budgets::default();
    let soft = BudgetSpec { soft: Some(NanoUsd(50)), ..of(1000, "1d") };
    let ids = budgets.set(NOW, &key("a"), &[soft]);
    let spend = |now: Moment, amount| {
        let hold = budgets.hold(now, &ids, NanoUsd(0)).unwrap();
        budgets.settle(now, now, hold, NanoUsd(amount)).into_iter().map(|reached| reached.mark).collect::<Vec<_>>()
    };
    assert_eq!(spend(NOW, 49), []);
    assert_eq!(spend(NOW, 1), [Mark::Soft]);
    assert_eq!(spend(NOW, 800), [Mark::Little]);
    assert_eq!(spend(NOW, 1), []);
    let refused = |now: Moment, asked| {
        let short = budgets.short(now, &ids, NanoUsd(asked)).unwrap();
        budgets.refused(now, &short).map(|reached| reached.mark)
    };
    assert_eq!(refused(NOW, 200), Some(Mark::Refuses(NanoUsd(200))));
    assert_eq!(refused(NOW, 300), None);
    assert_eq!(spend(NOW, 149), [Mark::Spent]);
    let next = NOW + Duration::from_hours(24);
    assert_eq!(refused(next, 2000), Some(Mark::Refuses(NanoUsd(2000))));
    assert_eq!(spend(next, 990), [Mark::Soft, Mark::VeryLittle]);
    assert_eq!(spend(next, 10), [Mark::Spent]);
    assert_eq!(refused(next, 1), None);
}

proptest! {
    /// Any number of calls at once, ending in any order, at most at what was held for each: no budget is ever overspent, and what
    /// is held when all have ended is nothing.
    #[test]
    fn no_budget_is_overspent(
        maxima in (0u64..200, 0u64..200),
        calls in proptest::collection::vec((0u64..60, 0u64..=100, 0usize..8, 0u64..4000), 1..60),
    ) {
        let budgets = Budgets::default();
        let mut ids = budgets.set(NOW, &Scope::Global, &[of(maxima.0, "1h")]);
        ids.extend(budgets.set(NOW, &key("a"), &[of(maxima.1, "")]));
        let mut now = NOW;
        let mut under_way = Vec::new();
        let check = |now| for (id, max) in ids.iter().zip([maxima.0, maxima.1]) {
            let report = budgets.report(now, *id).unwrap();
            assert!(report.spent + report.held <= NanoUsd(max), "{report:?}");
        };
        for (amount, share, end, pause) in calls {
            now = now + Duration::from_secs(pause);
            if let Ok(hold) = budgets.hold(now, &ids, NanoUsd(amount)) {
                under_way.push((now, hold, NanoUsd(amount * share / 100)));
            }
            if end < under_way.len() {
                let (arrived, hold, cost) = under_way.remove(end);
                let _ = budgets.settle(now, arrived, hold, cost);
            }
            check(now);
        }
        for (arrived, hold, cost) in under_way {
            let _ = budgets.settle(now, arrived, hold, cost);
        }
        for id in &ids {
            prop_assert_eq!(budgets.report(now, *id).unwrap().held, NanoUsd(0));
        }
    }
}

#[test]
fn what_others_spent_counts_and_without_them_each_takes_its_share_of_what_was_left() {
    let (budgets, now) = (Budgets::default(), Moment::of_date(2026, 11, 26));
    let spec = BudgetSpec { max: Some(NanoUsd(100)), period: Period::parse("30d"), ..BudgetSpec::default() };
    let ids = budgets.set(now, &Scope::Global, &[spec]);
    let spend = |at: Moment, amount: u64| {
        budgets.hold(at, &ids, NanoUsd(amount)).map(|hold| budgets.settle(at, at, hold, NanoUsd(amount)))
    };
    assert!(spend(now, 10).unwrap().is_empty());
    let part = budgets.parts(now, 0..1).remove(0);
    assert_eq!((part.own, part.held, part.before), (NanoUsd(10), NanoUsd(0), None));
    budgets.elsewhere(now, &part, NanoUsd(50), NanoUsd(20));
    let short = budgets.short(now, &ids, NanoUsd(21)).unwrap();
    assert_eq!((short.spent, short.held, short.may_wait()), (NanoUsd(60), NanoUsd(20), true));
    assert!(budgets.short(now, &ids, NanoUsd(20)).is_none());
    // 40 are left for two; told again that nobody is heard, it is the same 40.
    budgets.divide(2, false);
    assert!(spend(now, 15).is_ok());
    budgets.divide(2, false);
    assert!(!spend(now, 6).unwrap_err().may_wait());
    assert!(spend(now, 5).is_ok());
    budgets.are_heard(2);
    budgets.elsewhere(now, &part, NanoUsd(64), NanoUsd(0));
    assert_eq!(budgets.report(now, ids[0]).unwrap().spent, NanoUsd(94));
    assert!(spend(now, 7).is_err());
    // What is told of a period that is over is nothing of the new one.
    let next = part.ends.unwrap();
    budgets.elsewhere(next, &part, NanoUsd(90), NanoUsd(0));
    assert_eq!(budgets.report(next, ids[0]).unwrap().spent, NanoUsd(0));
    budgets.divide(4, false);
    assert!(spend(next, 26).is_err());
    assert!(spend(next, 25).is_ok());
    assert!(!budgets.is_out_of_reach());
    budgets.divide(4, true);
    assert!(budgets.is_out_of_reach());
}

#[test]
fn a_mark_that_another_gateway_came_to_is_told_there_alone() {
    let (budgets, now) = (Budgets::default(), Moment::of_date(2026, 11, 26));
    let spec = BudgetSpec { max: Some(NanoUsd(100)), soft: Some(NanoUsd(50)), period: None, ..BudgetSpec::default() };
    let ids = budgets.set(now, &Scope::Global, &[spec]);
    let part = budgets.parts(now, 0..1).remove(0);
    budgets.elsewhere(now, &part, NanoUsd(86), NanoUsd(0));
    let settle = |cost: u64| {
        let hold = budgets.hold(now, &ids, NanoUsd(cost)).unwrap();
        budgets.settle(now, now, hold, NanoUsd(cost)).into_iter().map(|reached| reached.mark).collect::<Vec<_>>()
    };
    assert_eq!(settle(1), []);
    assert_eq!(settle(9), [Mark::VeryLittle]);
}

#[test]
fn parts_are_told_of_what_changed_and_of_some_others_in_turn() {
    let budgets = Budgets::default();
    let ids: Vec<_> = (0..4).flat_map(|number| budgets.set(NOW, &key(&number.to_string()), &[of(9, "")])).collect();
    let told = |places| budgets.parts(NOW, places).into_iter().map(|part| part.id).collect::<Vec<_>>();
    let mut hold = budgets.hold(NOW, &ids[..1], NanoUsd(1)).unwrap();
    assert_eq!(told(0..0), [], "nobody asks yet");
    budgets.share(Box::new(|| {}));
    budgets.raise(NOW, &mut hold, NanoUsd(2)).unwrap();
    assert_eq!((told(3..103), told(3..103)), (vec![ids[0], ids[3]], vec![ids[3]]));
    budgets.lower(&mut hold, NanoUsd(1));
    assert_eq!((hold.amount(), budgets.report(NOW, ids[0]).unwrap().held), (NanoUsd(1), NanoUsd(1)));
    assert_eq!(told(0..0), ids[..1]);
    budgets.release(NOW, hold);
    budgets.set(NOW, &key("0"), &[]);
    assert_eq!((told(0..0), budgets.places(), budgets.has(ids[0]), budgets.has(ids[1])), (vec![], 4, false, true));
}

#[test]
fn close_to_its_end_is_less_than_a_few_calls_a_twentieth_or_what_others_lately_came_to() {
    let (budgets, now) = (Budgets::default(), NOW);
    let ids = budgets.set(now, &Scope::Global, &[of(1_000, "")]);
    let hold = budgets.hold(now, &ids, NanoUsd(900)).unwrap();
    assert!(!budgets.is_close(&ids, NanoUsd(900)), "there are no others");
    budgets.share(Box::new(|| {}));
    budgets.are_heard(1);
    assert!(!budgets.is_close(&ids, NanoUsd(900)), "there are none yet");
    budgets.are_heard(2);
    assert!(budgets.is_close(&ids, NanoUsd(51)) && !budgets.is_close(&ids, NanoUsd(50)), "two calls");
    budgets.release(now, hold);
    let part = budgets.parts(now, 0..1).remove(0);
    assert!(budgets.elsewhere(now, &part, NanoUsd(100), NanoUsd(251)), "news");
    assert!(budgets.is_close(&ids, NanoUsd(1)), "649 are left, and they came to 351 at once");
    for _ in 0..30 {
        assert!(!budgets.elsewhere(now, &part, NanoUsd(100), NanoUsd(251)), "no news");
    }
    assert!(!budgets.is_close(&ids, NanoUsd(1)), "which is long ago");
    budgets.elsewhere(now, &part, NanoUsd(951), NanoUsd(0));
    for _ in 0..30 {
        budgets.elsewhere(now, &part, NanoUsd(951), NanoUsd(0));
    }
    assert!(budgets.is_close(&ids, NanoUsd(1)), "a twentieth");
    // What others held first stands.
    let hold = budgets.hold(now, &ids, NanoUsd(40)).unwrap();
    assert_eq!(budgets.exceeded(now, &ids, NanoUsd(40)), None);
    budgets.elsewhere(now, &part, NanoUsd(951), NanoUsd(20));
    let short = budgets.exceeded(now, &ids, NanoUsd(40)).unwrap();
    assert_eq!(
        (short.spent, short.held, short.asked, short.may_wait()),
        (NanoUsd(951), NanoUsd(20), NanoUsd(40), true)
    );
    budgets.release(now, hold);
    budgets.divide(2, false);
    assert!(!budgets.is_close(&ids, NanoUsd(40)), "nobody hears of them");
}

//! Calls that end while a budget is added, changed or read count in it once.

use std::sync::Mutex;

use super::*;
use crate::id::RequestId;

/// A call under way: what it held, and what the guard of a request remembers.
struct UnderWay {
    request: RequestId,
    arrived: Moment,
    knew: u64,
    hold: Hold,
    cost: NanoUsd,
}

/// Budgets, what is kept for good, and who ends while that is read.
#[derive(Default)]
struct World {
    budgets: Budgets,
    now: Mutex<u64>,
    rows: Mutex<Vec<(RequestId, Moment, NanoUsd)>>,
    under_way: Mutex<Vec<UnderWay>>,
    /// How many end before the rows are added up, and after, for each time that is done.
    meanwhile: Mutex<Vec<[usize; 2]>>,
}

impl World {
    fn now(&self) -> Moment {
        NOW + Duration::from_millis(*self.now.lock().unwrap())
    }

    fn begin(&self, ids: &[BudgetId], cost: u64) {
        let (now, cost) = (self.now(), NanoUsd(cost));
        let request = RequestId::derive(now, cost.0);
        let knew = self.budgets.in_force();
        let hold = self.budgets.hold(now, ids, cost).unwrap().of(request);
        self.under_way.lock().unwrap().push(UnderWay { request, arrived: now, knew, hold, cost });
    }

    fn end(&self) {
        let Some(UnderWay { request, arrived, knew, hold, cost }) = self.under_way.lock().unwrap().pop() else {
            return;
        };
        let held = if self.budgets.added() == knew { Vec::new() } else { hold.budgets().to_vec() };
        let _ = self.budgets.settle(self.now(), arrived, hold, cost);
        let _ = self.budgets.settle_added(self.now(), (request, arrived), (knew, &held), &[(key("a"), cost)]);
        self.rows.lock().unwrap().push((request, arrived, cost));
    }

    fn sum(&self, span: [Moment; 2], without: &[RequestId]) -> NanoUsd {
        let [before, after] = self.meanwhile.lock().unwrap().pop().unwrap_or_default();
        (0..before).for_each(|_| self.end());
        let rows = self.rows.lock().unwrap();
        let counts = |(request, arrived, _): &&(RequestId, Moment, NanoUsd)| {
            (span[0]..span[1]).contains(arrived) && !without.contains(request)
        };
        let sum = rows.iter().filter(counts).map(|(.., cost)| cost.0).sum();
        drop(rows);
        (0..after).for_each(|_| self.end());
        NanoUsd(sum)
    }
}

proptest! {
    /// Whatever is changed, taken away and added while calls are under way, and whoever ends while the rows are read.
    #[test]
    fn a_call_counts_once(
        steps in proptest::collection::vec((0u8..6, 1u64..100, 0usize..4), 1..50),
        meanwhile in proptest::collection::vec([0usize..3, 0usize..3], 0..12),
    ) {
        let world = Arc::new(World::default());
        *world.meanwhile.lock().unwrap() = meanwhile;
        let read = Arc::clone(&world);
        world.budgets.read_from(SpendReader::of(move |_, span, without| Some(read.sum(span, without))));
        let mut ids = Vec::new();
        for (step, cost, period) in steps {
            *world.now.lock().unwrap() += 10;
            match step {
                0..=2 => world.begin(&ids, cost),
                3 => world.end(),
                4 => ids = world.budgets.set(world.now(), &key("a"), &[of(1_000_000, ["", "1h", "1d", "30d"][period])]),
                _ => ids = world.budgets.set(world.now(), &key("a"), &[]),
            }
        }
        while !world.under_way.lock().unwrap().is_empty() {
            world.end();
        }
        if let Some(id) = ids.first() {
            let told = world.budgets.report(world.now(), *id).unwrap();
            let all = world.rows.lock().unwrap().iter().map(|(.., cost)| cost.0).sum();
            prop_assert_eq!((told.spent, told.held), (NanoUsd(all), NanoUsd(0)));
        }
    }
}

#[test]
fn a_call_counts_in_a_budget_that_was_added_while_it_was_under_way() {
    let budgets = Budgets::default();
    let knew = budgets.in_force();
    let request = RequestId::derive(NOW, 1);
    let later = NOW + Duration::from_secs(5);
    let ids = budgets.set(later, &key("a"), &[of(100, "1h"), of(50, "")]);
    let young = budgets.set(later, &Scope::Global, &[BudgetSpec { counted: Some((later, NanoUsd(3))), ..of(100, "") }]);
    let charged = [(key("a"), NanoUsd(45)), (key("b"), NanoUsd(45)), (Scope::Global, NanoUsd(45))];
    let reached = budgets.settle_added(later, (request, NOW), (knew, &[]), &charged);
    assert_eq!(reached.iter().map(|one| one.mark).collect::<Vec<_>>(), [Mark::Little]);
    let spent = |id: BudgetId| budgets.report(later, id).unwrap().spent.0;
    assert_eq!([spent(ids[0]), spent(ids[1]), spent(young[0])], [45, 45, 3], "it arrived before the last one counts");
    // Whoever held of it, or began when it was there, counted already.
    let _ = budgets.settle_added(later, (request, NOW), (knew, &ids), &charged);
    let _ = budgets.settle_added(later, (request, NOW), (budgets.in_force(), &[]), &charged);
    assert_eq!([spent(ids[0]), spent(ids[1])], [45, 45]);
}

/// It finds what was in force before, and none of those that are being added.
#[test]
fn a_call_that_begins_while_budgets_are_added_counts_in_them() {
    let budgets = Budgets::default();
    let (one, other) = (budgets.change(), budgets.change());
    let id = one.set(NOW, &key("a"), &[of(100, "1h")])[0];
    let at = |seconds| NOW + Duration::from_secs(seconds);
    let end = |arrived: Moment, knew| {
        let request = RequestId::derive(arrived, 1);
        let _ = budgets.settle_added(at(9), (request, arrived), (knew, &[]), &[(key("a"), NanoUsd(7))]);
        budgets.report(at(9), id).unwrap().spent.0
    };
    let knew = budgets.in_force();
    assert_eq!((knew, budgets.added()), (0, 1));
    drop(other);
    assert_eq!(budgets.in_force(), 0, "whoever adds one is not done");
    drop(one);
    assert_eq!(end(at(1), knew), 7);
    assert_eq!(end(at(2), budgets.in_force()), 7, "whoever finds it holds of it");
}

/// What is kept, where calls end at each of these moments.
fn busy(world: &Arc<World>, while_waiting: usize) -> (SpendReader, Arc<AtomicU64>) {
    let (waits, read, short) = (Arc::clone(world), Arc::clone(world), Arc::new(AtomicU64::new(0)));
    let falls_short = Arc::clone(&short);
    let reader = SpendReader {
        catch_up: Box::new(move || {
            (0..while_waiting).for_each(|_| waits.end());
            true
        }),
        sum: Box::new(move |_, span, without| Some(read.sum(span, without))),
        falls_short: Box::new(move || {
            falls_short.fetch_add(1, Ordering::Relaxed);
        }),
    };
    (reader, short)
}

#[test]
fn what_is_read_while_calls_end_all_the_time_is_left_for_later_and_counts_once() {
    let world = Arc::new(World::default());
    let ids = world.budgets.set(NOW, &key("a"), &[of(1_000, "1h")]);
    (1..=20).for_each(|cost| world.begin(&ids, cost));
    let (reader, short) = busy(&world, 0);
    *world.now.lock().unwrap() = 10;
    world.budgets.read_from(reader);
    *world.meanwhile.lock().unwrap() = vec![[1, 0]; 16];
    // Another period: what is under way goes over to it, and what has ended is read.
    let id = world.budgets.set(world.now(), &key("a"), &[of(1_000, "1d")])[0];
    assert_eq!(short.load(Ordering::Relaxed), 1);
    assert!(world.budgets.read_again());
    (0..4).for_each(|_| world.end());
    let report = world.budgets.report(world.now(), id).unwrap();
    assert_eq!((report.spent, report.held), (NanoUsd((1..=20).sum()), NanoUsd(0)));
}

#[test]
fn what_ends_while_the_rest_is_written_costs_no_second_look() {
    let world = Arc::new(World::default());
    let ids: Vec<_> = ["a", "b"].iter().flat_map(|name| world.budgets.set(NOW, &key(name), &[of(99, "")])).collect();
    (1..=3).for_each(|cost| world.begin(&ids[..1], cost));
    *world.now.lock().unwrap() = 10;
    world.budgets.set(world.now(), &key("a"), &[of(99, "1d")]);
    *world.meanwhile.lock().unwrap() = vec![[0, 0]; 9];
    let (reader, short) = busy(&world, 2);
    world.budgets.read_from(reader);
    assert_eq!(short.load(Ordering::Relaxed), 0);
    assert_eq!(world.meanwhile.lock().unwrap().len(), 9 - 2, "one look for each budget");
    world.end();
    assert_eq!(world.budgets.report(world.now(), ids[0]).unwrap().spent, NanoUsd(6));
}

#[test]
fn nothing_is_read_of_what_counts_from_now_on_and_nothing_more_where_it_cannot_be() {
    let budgets = Budgets::default();
    let asked = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&asked);
    budgets.read_from(SpendReader {
        catch_up: Box::new(move || {
            told.fetch_add(1, Ordering::Relaxed);
            false
        }),
        ..SpendReader::of(|_, _, _| panic!("it cannot be read"))
    });
    let change = budgets.change();
    let _one = change.set(NOW, &key("a"), &[BudgetSpec { counted: Some((NOW, NanoUsd(3))), ..of(100, "1d") }]);
    change.read();
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    (0..100).for_each(|number| drop(change.set(NOW, &key(&number.to_string()), &[of(100, "1d")])));
    change.read();
    assert_eq!(asked.load(Ordering::Relaxed), 1, "once for all of them");
}

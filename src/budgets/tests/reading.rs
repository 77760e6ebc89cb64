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
        let knew = self.budgets.added();
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
        world.budgets.read_from(Box::new(move |_, span, without| Some(read.sum(span, without))));
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
    let knew = budgets.added();
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
    let _ = budgets.settle_added(later, (request, NOW), (budgets.added(), &[]), &charged);
    assert_eq!([spent(ids[0]), spent(ids[1])], [45, 45]);
}

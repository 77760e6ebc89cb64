//! Budgets that gateways share, against a real server.

use tokio::sync::oneshot;

use super::*;
use crate::budgets::{BudgetId, BudgetSpec, Period, Short, SpendReader};
use crate::money::NanoUsd;

impl Gateway {
    fn budget(&self, max: u64) -> BudgetId {
        let spec = BudgetSpec { max: Some(NanoUsd(max)), period: Period::parse("30d"), ..BudgetSpec::default() };
        self.budgets.set(self.clock.now(), &Scope::Global, &[spec])[0]
    }

    fn spend(&self, id: BudgetId, amount: u64) -> bool {
        let now = self.clock.now();
        let held = self.budgets.hold(now, &[id], NanoUsd(amount));
        held.map(|hold| self.budgets.settle(now, now, hold, NanoUsd(amount))).is_ok()
    }

    fn spent(&self, id: BudgetId) -> u64 {
        self.budgets.report(self.clock.now(), id).unwrap().spent.0
    }

    /// As a request does it: close to the end it waits until what it holds is told, and gives it back where others held it first.
    async fn spend_last(&self, id: BudgetId, amount: NanoUsd) -> bool {
        let late = self.clock.now() + Duration::from_secs(20);
        loop {
            let now = self.clock.now();
            assert!(now < late, "it is neither served nor refused");
            match self.budgets.hold(now, &[id], amount) {
                Err(short) if !short.may_wait() => return false,
                Err(_held_by_others) => {}
                Ok(hold) => {
                    assert!(self.budgets.is_close(&[id], amount), "less is left than two such calls");
                    if self.verdict(id, amount).await.is_none() {
                        let _ = self.budgets.settle(self.clock.now(), now, hold, amount);
                        return true;
                    }
                    self.budgets.release(self.clock.now(), hold);
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// What is said of it at the answer.
    async fn verdict(&self, id: BudgetId, amount: NanoUsd) -> Option<Short> {
        let (say, verdict) = oneshot::channel();
        let (budgets, clock) = (Arc::clone(&self.budgets), self.clock);
        self.store.when_money_is_told(Box::new(move || drop(say.send(budgets.exceeded(clock.now(), &[id], amount)))));
        verdict.await.unwrap_or_else(|_unheard| self.budgets.exceeded(self.clock.now(), &[id], amount))
    }

    fn has(&self, id: BudgetId, amount: u64) -> bool {
        self.budgets.short(self.clock.now(), &[id], NanoUsd(amount)).is_none()
    }
}

#[tokio::test]
async fn budgets_are_spent_by_all_gateways_together_and_what_the_server_forgot_is_told_again() {
    let Some(mut redis) = Redis::start() else { return };
    let none = BTreeMap::new();
    let (one, two) = (redis.gateway("one", &none, false), redis.gateway("two", &none, false));
    let (a, b) = (one.budget(100), two.budget(100));
    let hold = one.budgets.hold(one.clock.now(), &[a], NanoUsd(60)).unwrap();
    two.until(|two| !two.has(b, 41)).await;
    assert!(two.has(b, 40), "what is held elsewhere is all that counts");
    let now = one.clock.now();
    one.budgets.settle(now, now, hold, NanoUsd(70));
    two.until(|two| two.spent(b) == 70).await;
    assert!(two.spend(b, 20));
    one.until(|one| one.spent(a) == 90).await;
    assert!(!one.spend(a, 11) && !two.spend(b, 11));
    // Without a server each takes half of what is left.
    redis.kill();
    one.until(|one| !one.has(a, 6)).await;
    two.until(|two| !two.has(b, 6)).await;
    assert!(one.spend(a, 5) && two.spend(b, 3) && !one.spend(a, 1));
    // It comes back and knows nothing.
    redis.begin();
    one.until(|one| one.spent(a) == 98).await;
    two.until(|two| two.spent(b) == 98).await;
    // It loses all without losing a connection.
    redis.forgets();
    let four = redis.gateway("four", &none, false);
    let d = four.budget(100);
    four.until(|four| four.spent(d) == 98).await;
    four.store.finish();
    // One that was away has read all of it in the ledger: that counts once.
    let three = redis.gateway("three", &none, false);
    three.budgets.read_from(SpendReader::of(|_, _, _| Some(NanoUsd(98))));
    let c = three.budget(100);
    three.until(|three| three.spent(c) == 98 && three.budgets.parts(three.clock.now(), 0..1)[0].before.is_some()).await;
    assert!(three.spend(c, 1));
    for (gateway, id) in [(&one, a), (&two, b)] {
        gateway.until(|gateway| gateway.spent(id) == 99).await;
    }
    assert_eq!(three.spent(c), 99);
    // What a gateway spent stays when it ends.
    three.store.finish();
    one.until(|one| one.has(a, 1)).await;
    assert_eq!(one.spent(a), 99);
}

#[tokio::test]
async fn what_was_spent_before_any_gateway_told_counts_for_all_and_without_a_server_nothing_is_spent_if_so_configured()
{
    let Some(mut redis) = Redis::start() else { return };
    let none = BTreeMap::new();
    let (one, two) = (redis.gateway("one", &none, true), redis.gateway("two", &none, true));
    let (a, b) = (one.budget(100), two.budget(100));
    one.budgets.read_from(SpendReader::of(|_, _, _| Some(NanoUsd(30))));
    two.until(|two| two.spent(b) == 30).await;
    assert_eq!(one.spent(a), 30);
    two.budgets.read_from(SpendReader::of(|_, _, _| Some(NanoUsd(30))));
    assert!(one.spend(a, 1));
    two.until(|two| two.spent(b) == 31).await;
    redis.kill();
    two.until(|two| two.budgets.is_out_of_reach()).await;
    redis.begin();
    two.until(|two| !two.budgets.is_out_of_reach() && two.spent(b) == 31).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_of_a_budget_is_spent_once_however_many_gateways_reach_for_it() {
    let Some(redis) = Redis::start() else { return };
    let none = BTreeMap::new();
    let gateways: Vec<_> = ["one", "two", "three"].map(|name| Arc::new(redis.gateway(name, &none, false))).into();
    let budgets: Vec<_> = gateways.iter().map(|gateway| gateway.budget(112)).collect();
    for (gateway, id) in gateways.iter().zip(&budgets) {
        gateway.until(|gateway| gateway.budgets.is_close(&[*id], NanoUsd(112))).await;
    }
    let tasks = (0..36).map(|number| {
        let (gateway, id) = (Arc::clone(&gateways[number % 3]), budgets[number % 3]);
        tokio::spawn(async move { gateway.spend_last(id, NanoUsd(56)).await })
    });
    let mut served = 0;
    for task in tasks.collect::<Vec<_>>() {
        served += u64::from(task.await.unwrap());
    }
    assert_eq!(served * 56, 112, "all of it and no more");
    for (gateway, id) in gateways.iter().zip(budgets) {
        gateway.until(|gateway| gateway.spent(id) == 112).await;
    }
}

#[tokio::test]
async fn without_its_server_nobody_waits_for_what_others_hold() {
    let Some(mut redis) = Redis::start() else { return };
    let one = redis.gateway("one", &BTreeMap::new(), false);
    let a = one.budget(100);
    assert!(one.verdict(a, NanoUsd(0)).await.is_none());
    redis.kill();
    one.until(|one| !one.store.is_up()).await;
    assert!(one.verdict(a, NanoUsd(0)).await.is_none());
    let hold = one.budgets.hold(one.clock.now(), &[a], NanoUsd(60)).unwrap();
    assert!(one.verdict(a, NanoUsd(60)).await.is_none());
    assert!(!one.budgets.is_close(&[a], NanoUsd(60)), "there are no others");
    one.budgets.release(one.clock.now(), hold);
}

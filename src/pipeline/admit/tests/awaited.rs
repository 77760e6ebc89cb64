//! Who waits for money, and who needs none.

use super::*;
use crate::health::OpenBreaker;

/// The first of two deployments has a budget of a dollar for 45 s.
fn of_two() -> Arc<Gateway> {
    gateway(
        "model_list:\n\
         - {model_name: g, litellm_params: {model: simulated/a, input_cost_per_token: 0.001,\n   \
         output_cost_per_token: 0.001, max_budget: 1, budget_duration: 45s}}\n\
         - {model_name: g, litellm_params: {model: simulated/b}}",
    )
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_what_others_hold_starts_when_the_budget_begins_anew() {
    // Whether it is tried again: then it waits beside the queue.
    for again in [false, true] {
        let gateway = of_two();
        let ids = gateway.live.read().group("g").unwrap().deployments[0].budgets.clone();
        let others = gateway.budgets.hold(gateway.clock.now(), &ids, NanoUsd(1_000_000_000)).unwrap();
        let mut guard = arrive(&gateway);
        if again {
            assert_eq!(admit(&gateway, &mut guard, SMALL, &[0]).await, Ok(1));
            guard.fail_attempt(&AttemptFault::new(FaultKind::Unavailable, "down"));
        }
        assert_eq!(admit(&gateway, &mut guard, SMALL, &[1]).await, Ok(0));
        // It is the second 1000 at the start.
        assert_eq!(since_start(&gateway).as_secs(), 35, "{again}");
        let held = || gateway.budgets.report(gateway.clock.now(), ids[0]).unwrap().held;
        let own = held();
        gateway.budgets.release(gateway.clock.now(), others);
        assert_eq!((held(), own > NanoUsd(0)), (own, true), "what others held was of the period before");
        drop(guard);
        assert_eq!(held(), NanoUsd(0));
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_money_starts_where_none_is_needed_once_its_breaker_lets_it_through() {
    // In the queue, and beside it.
    for again in [false, true] {
        let gateway = of_two();
        let snapshot = gateway.live.read();
        let group = snapshot.group("g").unwrap();
        let (deployments, now) = (&group.deployments, gateway.clock.now());
        let _others = gateway.budgets.hold(now, &deployments[0].budgets, NanoUsd(1_000_000_000)).unwrap();
        let mut guard = arrive(&gateway);
        if again {
            assert_eq!(admit(&gateway, &mut guard, SMALL, &[0]).await, Ok(1));
            guard.fail_attempt(&AttemptFault::new(FaultKind::Unavailable, "down"));
        }
        deployments[1].health.restore(OpenBreaker { until: now + Duration::from_secs(5), failed_probes: 0 });
        assert_eq!(admit(&gateway, &mut guard, SMALL, &[]).await, Ok(1), "{again}");
        assert_eq!(since_start(&gateway).as_secs(), 5, "{again}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_no_budget_counts_is_served_though_nobody_hears_what_others_spend() {
    let gateway = of_two();
    gateway.budgets.divide(2, true);
    let (mut first, mut second) = (arrive(&gateway), arrive(&gateway));
    assert_eq!(admit(&gateway, &mut first, SMALL, &[]).await, Ok(1));
    let refusal = admit(&gateway, &mut second, SMALL, &[1]).await.unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Unavailable, "{}", refusal.message);
}

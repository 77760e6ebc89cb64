//! What a retry holds beside what its request has cost so far.

use super::*;
use crate::chat::Usage;

/// What was billed counts only when the request has ended: a retry that held no more than its own cost would spend it a second time.
#[tokio::test(start_paused = true)]
async fn a_retry_holds_its_money_beside_what_the_attempts_before_cost() {
    let one = |name: &str| {
        format!(
            "- {{model_name: g, litellm_params: {{model: simulated/{name}, input_cost_per_token: 0.001,\n   \
             output_cost_per_token: 0.001}}}}\n"
        )
    };
    let gateway =
        gateway(&format!("model_list:\n{}{}{}cost_controls: {{max_budget: 1}}", one("a"), one("b"), one("c")));
    let ids = gateway.live.read().payers.global.clone();
    let hold = |amount: u64| gateway.budgets.hold(gateway.clock.now(), &ids, NanoUsd(amount)).unwrap();
    let mut guard = arrive(&gateway);
    assert_eq!(admit(&gateway, &mut guard, SMALL, &[]).await, Ok(0));
    let progress = guard.progress().unwrap();
    progress.sent();
    progress.reported(&Usage { input_tokens: 500, ..Usage::default() });
    guard.fail_attempt(&AttemptFault::new(FaultKind::TimedOut, "it took too long"));
    assert_eq!(guard.pending_cost(), NanoUsd(500_000_000));

    // Others hold what there would be room for if the first attempt had cost nothing.
    let others = hold(490_000_000);
    {
        let mut waiting = pin!(admit(&gateway, &mut guard, SMALL, &[0]));
        assert!(tokio::time::timeout(Duration::from_secs(1), waiting.as_mut()).await.is_err(), "it waits for them");
        gateway.budgets.release(gateway.clock.now(), others);
        gateway.capacity.notify();
        assert_eq!(waiting.await, Ok(1));
    }
    assert!(guard.held_money().unwrap() >= NanoUsd(510_000_000), "{:?}", guard.held_money());

    // Now it is spent: nobody gives back what only this one holds, so that it does not wait for that.
    guard.fail_attempt(&AttemptFault::new(FaultKind::Unavailable, "down"));
    guard.lend_money();
    let others = hold(490_000_000);
    let now = gateway.clock.now();
    let _told = gateway.budgets.settle(now, now, others, NanoUsd(490_000_000));
    let refusal = admit(&gateway, &mut guard, SMALL, &[0, 1]).await.unwrap_err();
    assert_eq!((refusal.kind, gateway.clock.now()), (RefusalKind::BudgetExceeded, now), "{}", refusal.message);
    assert!(refusal.message.contains("has $0.51 left, and this request may cost $0.5"), "{}", refusal.message);
    drop(guard);
    let all = gateway.budgets.report(gateway.clock.now(), ids[0]).unwrap();
    assert_eq!((all.spent, all.held), (NanoUsd(990_000_000), NanoUsd(0)));
}

//! What requests hold that are one for their client.

use futures_util::future::{join, join3};

use super::*;

/// What is asked here may cost 0.19 or a little more at the one, and a tenth of that at the other.
fn of_two(max_budget: &str) -> Arc<Gateway> {
    let one = |name: &str, price: &str| {
        format!(
            "- {{model_name: g, litellm_params: {{model: simulated/{name}, input_cost_per_token: {price},\n   \
             output_cost_per_token: {price}}}}}\n"
        )
    };
    let list = [one("dear", "0.01"), one("cheap", "0.001")].concat();
    gateway(&format!("model_list:\n{list}cost_controls: {{max_budget: {max_budget}}}"))
}

fn asked_together(gateway: &Arc<Gateway>) -> [Box<RequestGuard>; 3] {
    let mut guards = [(); 3].map(|()| arrive(gateway));
    RequestGuard::pay_together(guards.iter_mut().map(|guard| &mut **guard));
    guards
}

async fn hold(gateway: &Arc<Gateway>, guard: &mut RequestGuard) -> Result<(), Refusal> {
    let snapshot = Arc::clone(guard.snapshot());
    let request = request(SMALL);
    let group = context::find(&snapshot, &request.model)?;
    let arrival = arrival(gateway, guard);
    let context = RequestContext::new(gateway, &snapshot, &group, arrival, Box::new(request), None).await?;
    let mut estimate = Estimate::of(&context.request);
    let order: Vec<usize> = (0..context.group.deployments.len()).collect();
    AdmissionControl { context: &context, guard, order: &order, failed: &[], estimate: &mut estimate, elsewhere: false }
        .hold_together()
        .await
}

/// What is held of everybody's budget.
fn held(gateway: &Gateway) -> NanoUsd {
    let ids = gateway.live.read().payers.global.clone();
    gateway.budgets.report(gateway.clock.now(), ids[0]).unwrap().held
}

#[tokio::test(start_paused = true)]
async fn each_has_its_part_of_what_is_held_for_all_or_all_are_refused() {
    // The budget, and what is held for each: for the dear deployment, for the cheap one, or nothing.
    for (max_budget, least, most) in
        [("0.65", 190_000_000, 200_000_000), ("0.4", 19_000_000, 20_000_000), ("0.04", 0, 0)]
    {
        let gateway = of_two(max_budget);
        let mut guards = asked_together(&gateway);
        let [one, two, three] = &mut guards;
        let (one, two, three) = join3(hold(&gateway, one), hold(&gateway, two), hold(&gateway, three)).await;
        for answer in [one, two, three] {
            let refusal = answer.err();
            assert_eq!(refusal.is_some(), most == 0, "{max_budget}: {refusal:?}");
            if let Some(refusal) = refusal {
                assert_eq!(refusal.kind, RefusalKind::BudgetExceeded);
                assert!(refusal.message.contains("this request may cost $0.0"), "what all may: {}", refusal.message);
            }
        }
        let each = guards[0].held_money();
        assert!((least..=most).contains(&each.unwrap_or_default().0), "{max_budget}: {each:?}");
        assert!(guards.iter().all(|guard| guard.held_money() == each));
        assert_eq!(held(&gateway), NanoUsd(3 * each.unwrap_or_default().0));
        drop(guards);
        assert_eq!(held(&gateway), NanoUsd(0));
    }
}

#[tokio::test(start_paused = true)]
async fn they_wait_with_nothing_for_what_others_hold_and_what_is_held_for_one_that_is_gone_is_given_back() {
    let gateway = of_two("0.65");
    let ids = gateway.live.read().payers.global.clone();
    let others = gateway.budgets.hold(gateway.clock.now(), &ids, NanoUsd(600_000_000)).unwrap();
    let mut guards = asked_together(&gateway);
    {
        let [one, two, three] = &mut guards;
        let mut one = pin!(hold(&gateway, one));
        let mut two = pin!(hold(&gateway, two));
        let mut three = Box::pin(hold(&gateway, three));
        let second = Duration::from_secs(1);
        assert!(tokio::time::timeout(second, join(one.as_mut(), two.as_mut())).await.is_err());
        assert_eq!(held(&gateway), NanoUsd(600_000_000), "they wait for the third");
        assert!(tokio::time::timeout(second, join3(one.as_mut(), two.as_mut(), three.as_mut())).await.is_err());
        assert_eq!(held(&gateway), NanoUsd(600_000_000), "there is money for two at the cheap one, and none is held");
        drop(three);
        gateway.budgets.release(gateway.clock.now(), others);
        gateway.capacity.notify();
        assert_eq!(join(one, two).await, (Ok(()), Ok(())));
    }
    let parts: NanoUsd = guards.iter().map(|guard| guard.held_money().unwrap_or_default()).sum();
    assert_eq!((held(&gateway), guards[2].held_money()), (parts, None), "nobody takes the part of the third");
    assert!(parts > NanoUsd(0));
    drop(guards);
    assert_eq!(held(&gateway), NanoUsd(0));
}

#[tokio::test(start_paused = true)]
async fn they_wait_for_what_others_hold_until_the_budget_begins_anew() {
    let gateway = of_two("0.65, budget_duration: 45s");
    let ids = gateway.live.read().payers.global.clone();
    let _others = gateway.budgets.hold(gateway.clock.now(), &ids, NanoUsd(620_000_000)).unwrap();
    let mut guards = asked_together(&gateway);
    let [one, two, three] = &mut guards;
    let all = join3(hold(&gateway, one), hold(&gateway, two), hold(&gateway, three)).await;
    assert_eq!(all, (Ok(()), Ok(()), Ok(())));
    // It is the second 1000 at the start.
    assert_eq!(since_start(&gateway).as_secs(), 35);
}

/// It is admitted with what is held for it, though there is no more.
#[tokio::test(start_paused = true)]
async fn who_waits_for_a_limit_is_called_with_the_money_that_is_held_for_it() {
    let gateway = gateway(
        "model_list: [{model_name: g, litellm_params: {model: simulated/a, rpm: 1, input_cost_per_token: 0.01,\n\
         output_cost_per_token: 0.01}}]\n\
         cost_controls: {max_budget: 0.65}",
    );
    let mut guards = asked_together(&gateway);
    let [one, two, three] = &mut guards;
    let all = join3(hold(&gateway, one), hold(&gateway, two), hold(&gateway, three)).await;
    assert_eq!(all, (Ok(()), Ok(()), Ok(())));
    assert_eq!(admit(&gateway, one, SMALL, &[]).await, Ok(0));
    reaches_provider(one);
    let ids = gateway.live.read().payers.global.clone();
    let left = NanoUsd(650_000_000 - held(&gateway).0);
    let _others = gateway.budgets.hold(gateway.clock.now(), &ids, left).unwrap();
    assert_eq!(admit(&gateway, two, SMALL, &[]).await, Ok(0));
    assert_eq!(since_start(&gateway).as_secs(), 60, "when the limit lets it through");
}

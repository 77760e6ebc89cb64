//! A limit that a reload keeps under another name.

use super::*;
use crate::limits::Places;

#[tokio::test]
async fn what_is_under_way_when_a_limit_gets_another_name_is_not_held_under_the_one_before() {
    let Some(redis) = Redis::start() else { return };
    let kept = |scope: Scope| {
        let places: Places = std::iter::once((DeploymentId::from("a"), scope.clone())).collect();
        let spec = LimitSpec { window: MINUTE, places: Some(Arc::new(places)), ..LimitSpec::default() };
        BTreeMap::from([(scope, spec.with(Dimension::InFlight, 1))])
    };
    let alone = kept(deployment("a"));
    let (one, two) = (redis.gateway("one", &alone, false), redis.gateway("two", &alone, false));
    for gateway in [&one, &two] {
        gateway.until(|gateway| gateway.store.is_up()).await;
    }
    let held = one.take(10).await.expect("one at once");
    assert!(two.take(10).await.is_none(), "and no more than one");
    // The one that holds it keeps its limits elsewhere now; the other does not yet.
    let mut specs = kept(Scope::Quota("acct".into()));
    specs.extend(alone);
    one.store.local().apply(&specs, one.clock.now());
    let late = two.clock.now() + Duration::from_secs(10);
    while two.take(10).await.is_none() {
        assert!(two.clock.now() < late, "it is held under the name before");
    }
    one.store.refund(one.clock.now(), held);
}

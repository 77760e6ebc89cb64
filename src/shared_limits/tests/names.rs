//! What stands in the server of quotas, and gateways of a version before.

use super::*;

fn quota() -> BTreeMap<Scope, LimitSpec> {
    let spec = LimitSpec { window: MINUTE, ..LimitSpec::default() }.with(Dimension::Tokens, 100);
    BTreeMap::from([(Scope::Quota("m-0123abcd".into()), spec)])
}

impl Redis {
    fn plain(&self) -> redis::Connection {
        let client = Client::open(format!("redis://:pw@127.0.0.1:{}/1", self.port)).unwrap();
        client.get_connection().unwrap()
    }

    fn names(&self) -> Vec<String> {
        redis::cmd("KEYS").arg("*").query(&mut self.plain()).unwrap()
    }
}

impl Gateway {
    async fn take_of_quota(&self, tokens: u64) -> bool {
        let scope = self.store.local().id(&Scope::Quota("m-0123abcd".into()));
        let now = self.clock.now();
        let request = ReserveRequest {
            request: RequestId::derive(now, self.next.fetch_add(1, Ordering::Relaxed)),
            attempt: 0,
            shared: &[],
            shared_demand: demand(tokens),
            candidates: &[(scope, demand(tokens))],
            certainty: Certainty::Counted,
        };
        matches!(self.store.reserve(now, request).await, Decision::Granted { .. })
    }
}

#[tokio::test]
async fn no_digest_of_a_credential_stands_in_the_server_and_all_gateways_have_one_quota() {
    let Some(redis) = Redis::start() else { return };
    let (one, two) = (redis.gateway("one", &quota(), false), redis.gateway("two", &quota(), false));
    assert!(one.take_of_quota(60).await && !two.take_of_quota(41).await && two.take_of_quota(40).await);
    let names = redis.names();
    assert!(names.iter().any(|name| name.contains(":quota:")), "{names:?}");
    assert!(names.iter().all(|name| !name.contains("0123abcd")), "{names:?}");
    // It loses all without losing a connection: other bytes are made, and both have those.
    redis.forgets();
    let three = redis.gateway("three", &quota(), false);
    let late = three.clock.now() + Duration::from_secs(10);
    while three.take_of_quota(1).await {
        assert!(three.clock.now() < late, "what the others hold is told again");
    }
}

#[tokio::test]
async fn beside_gateways_of_a_version_before_their_names_are_used() {
    let Some(redis) = Redis::start() else { return };
    let mut plain = redis.plain();
    let (seconds, micros): (u64, u64) = redis::cmd("TIME").query(&mut plain).unwrap();
    let seen = seconds * 1_000_000 + micros;
    redis::cmd("HSET").arg("witgate:{limits}:gateways").arg("before").arg(seen).exec(&mut plain).unwrap();
    let one = redis.gateway("one", &quota(), false);
    assert!(one.take_of_quota(60).await);
    assert!(redis.names().iter().any(|name| name.contains("0123abcd")));
    // Another comes while the one before is still there, and both go on when it has gone.
    let two = redis.gateway("two", &quota(), false);
    redis::cmd("HDEL").arg("witgate:{limits}:gateways").arg("before").exec(&mut plain).unwrap();
    let three = redis.gateway("three", &quota(), false);
    assert!(two.take_of_quota(20).await && three.take_of_quota(20).await && !one.take_of_quota(1).await);
}

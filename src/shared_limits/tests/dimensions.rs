//! What keys, teams, tags and groups may have a limit of beside requests and tokens of a minute: input and output tokens, and those of a day.

use super::*;
use crate::virtual_key::Allowance;

/// Whose limit it is, the limit, what one takes of it, what is then left, what is too much for all, and what another takes.
struct Case {
    scope: Scope,
    of: Allowance,
    takes: Demand,
    left: u64,
    too_much: Option<Demand>,
    fits: Demand,
    length: Duration,
}

const DAY: Duration = Duration::from_hours(24);

fn tokens(input_tokens: u64, output_tokens: u64) -> Demand {
    Demand { input_tokens, output_tokens, ..Demand::default() }
}

fn cases() -> [Case; 4] {
    let none = Allowance::default;
    [
        Case {
            scope: Scope::Key("a".into()),
            of: Allowance { itpm: Some(100), ..none() },
            takes: tokens(60, 900),
            left: 40,
            too_much: Some(tokens(41, 0)),
            fits: tokens(40, 900),
            length: MINUTE,
        },
        Case {
            scope: Scope::Team("a".into()),
            of: Allowance { otpm: Some(100), ..none() },
            takes: tokens(900, 60),
            left: 40,
            too_much: Some(tokens(0, 41)),
            fits: tokens(900, 40),
            length: MINUTE,
        },
        Case {
            scope: Scope::Tag("a".into()),
            of: Allowance { tpd: Some(100), itpm: Some(5_000), ..none() },
            takes: tokens(40, 20),
            left: 40,
            too_much: Some(tokens(1, 40)),
            fits: tokens(20, 20),
            length: DAY,
        },
        Case {
            scope: Scope::Group("a".into()),
            of: Allowance { rpd: Some(2), rpm: Some(50), ..none() },
            takes: tokens(1, 1),
            left: 1,
            // Whatever the second asks for, it is one.
            too_much: None,
            fits: tokens(500, 500),
            length: DAY,
        },
    ]
}

impl Gateway {
    async fn take_of(&self, scope: &Scope, amount: Demand) -> Decision {
        let now = self.clock.now();
        let shared = [self.store.local().id(scope)];
        let request = ReserveRequest {
            request: RequestId::derive(now, self.next.fetch_add(1, Ordering::Relaxed)),
            attempt: 0,
            shared: &shared,
            shared_demand: amount,
            candidates: &[(self.scope("unlimited"), amount)],
            certainty: Certainty::Counted,
        };
        self.store.reserve(now, request).await
    }

    /// Takes it, and has it counted.
    async fn use_of(&self, scope: &Scope, amount: Demand) {
        let Decision::Granted { shared: Some(shared), own, .. } = self.take_of(scope, amount).await else {
            panic!("{scope:?} has room for {amount:?}")
        };
        let now = self.clock.now();
        for one in [shared, own] {
            self.store.response_head(now, &one);
            self.store.settle(now, one, amount);
        }
    }

    /// What is left of a window, in its one limited dimension.
    fn left(&self, scope: &Scope, length: Duration) -> u64 {
        let limits = self.store.local();
        let reports = limits.reports(self.clock.now(), limits.id(scope));
        let report = reports.iter().find(|report| report.window == length).unwrap();
        let left = |dimension| Some(report.limits[dimension]?.saturating_sub(report.used[dimension]));
        Dimension::ALL.into_iter().find_map(left).unwrap()
    }
}

#[tokio::test]
async fn input_output_and_the_tokens_and_requests_of_a_day_are_one_limit_of_all_gateways() {
    let Some(mut redis) = Redis::start() else { return };
    let specs: BTreeMap<Scope, LimitSpec> =
        cases().into_iter().map(|case| (case.scope, case.of.limits().unwrap())).collect();
    let (one, two) = (redis.gateway("one", &specs, false), redis.gateway("two", &specs, false));
    for Case { scope, takes, left, too_much, fits, length, .. } in cases() {
        one.use_of(&scope, takes).await;
        two.until_left_is(&scope, length, left).await;
        if let Some(too_much) = too_much {
            assert!(!matches!(two.take_of(&scope, too_much).await, Decision::Granted { .. }), "{scope:?}");
        }
        two.use_of(&scope, fits).await;
        one.until_left_is(&scope, length, 0).await;
        for gateway in [&one, &two] {
            let Decision::Until(Some(until)) = gateway.take_of(&scope, tokens(1, 1)).await else {
                panic!("{scope:?} is full")
            };
            // Until what was taken first is a window old; slices are a 240th of it.
            let wait = until.since(gateway.clock.now());
            assert!(wait + Duration::from_secs(10) > length && wait <= length + length / 120, "{scope:?}: {wait:?}");
        }
    }
    // A server that has lost all is told of the day as of the minute.
    redis.kill();
    redis.begin();
    let three = redis.gateway("three", &specs, false);
    for Case { scope, length, .. } in cases() {
        three.until_left_is(&scope, length, 0).await;
    }
    // A refund is room for another.
    let (scope, of) = (Scope::Key("b".into()), Allowance { tpd: Some(10), ..Allowance::default() });
    let specs = BTreeMap::from([(scope.clone(), of.limits().unwrap())]);
    let (four, five) = (redis.gateway("four", &specs, false), redis.gateway("five", &specs, false));
    let Decision::Granted { shared: Some(shared), .. } = four.take_of(&scope, tokens(5, 5)).await else {
        panic!("all of it")
    };
    assert!(!matches!(five.take_of(&scope, tokens(1, 0)).await, Decision::Granted { .. }));
    four.store.refund(four.clock.now(), shared);
    five.until_left_is(&scope, DAY, 10).await;
    assert!(matches!(five.take_of(&scope, tokens(10, 0)).await, Decision::Granted { .. }));
}

impl Gateway {
    /// Looks at this scope again and again until so much is left of it.
    async fn until_left_is(&self, scope: &Scope, length: Duration, left: u64) {
        let late = self.clock.now() + Duration::from_secs(10);
        while self.left(scope, length) != left {
            assert!(self.clock.now() < late, "{scope:?} never came to {left}");
            self.store.refresh(&[self.store.local().id(scope)]).await;
            tokio::task::yield_now().await;
        }
    }
}

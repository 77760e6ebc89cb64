use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Notify;

use super::super::context::{self, Arrival};
use super::super::tests::support::{gateway, request};
use super::super::wishes::Wishes;
use super::super::{Access, Gateway, RequestGuard, authenticate};
use super::*;
use crate::fault::{AttemptFault, FaultKind};
use crate::format::OpenAi;
use crate::keys::KeyBook;
use crate::limits::{Dimension, LimitStore, Limits, Reservation, ReservationHandle, Reserving};
use crate::money::NanoUsd;
use crate::virtual_key::{KeptTeam, KeyHash, VirtualKey};

mod awaited;
mod away;
mod retries;
mod rush;
mod together;

const SMALL: &str = r#"{"model": "g", "max_tokens": 10, "messages": [{"role": "user", "content": "hello"}]}"#;

fn arrive(gateway: &Arc<Gateway>) -> Box<RequestGuard> {
    let mut guard = gateway.arrive(&OpenAi);
    let caller = authenticate(guard.snapshot(), Access::Client, None, Moment::default()).unwrap();
    guard.set_caller(Some(caller));
    guard
}

fn arrival(gateway: &Arc<Gateway>, guard: &RequestGuard) -> Box<Arrival> {
    Box::new(Arrival {
        id: None,
        caller: Arc::clone(guard.caller().unwrap()),
        api: "openai",
        seed: guard.seed,
        large: false,
        deadline: gateway.clock.now() + Duration::from_secs(600),
        headers: Vec::new(),
        tags: Vec::new(),
        wishes: Wishes::default(),
    })
}

/// One admission, the deployments in the configuration's order.
async fn admit(
    gateway: &Arc<Gateway>,
    guard: &mut RequestGuard,
    body: &str,
    failed: &[usize],
) -> Result<usize, Refusal> {
    let snapshot = Arc::clone(guard.snapshot());
    let request = request(body);
    let group = context::find(&snapshot, &request.model)?;
    let arrival = arrival(gateway, guard);
    let context = RequestContext::new(gateway, &snapshot, &group, arrival, Box::new(request), None).await?;
    let mut estimate = Estimate::of(&context.request);
    let order: Vec<usize> = (0..context.group.deployments.len()).collect();
    AdmissionControl { context: &context, guard, order: &order, failed, estimate: &mut estimate, elsewhere: false }
        .admit()
        .await
}

/// The provider read it: its attempt counts, from now on.
fn reaches_provider(guard: &mut RequestGuard) {
    guard.progress().unwrap().sent();
    guard.response_head(true);
}

/// Requests and those under way, in the scope of all and at the group's first deployment.
fn counted(gateway: &Gateway) -> [[u64; 2]; 2] {
    let snapshot = gateway.live.read();
    let scopes = [snapshot.callers.anonymous.scopes[0], snapshot.group("g").unwrap().deployments[0].scope];
    scopes.map(|scope| {
        let used = gateway.limits.local().used(gateway.clock.now(), scope);
        [used[Dimension::Requests], used[Dimension::InFlight]]
    })
}

fn since_start(gateway: &Gateway) -> Duration {
    gateway.clock.now().since(Moment::from_nanos(1_000_000_000_000))
}

#[tokio::test(start_paused = true)]
async fn the_first_deployment_with_room_is_taken_and_the_shared_scopes_with_it() {
    let gateway = gateway(
        "model_list:\n\
         - {model_name: g, litellm_params: {model: simulated/a, max_parallel_requests: 1}}\n\
         - {model_name: g, litellm_params: {model: simulated/b}}",
    );
    let (mut first, mut second) = (arrive(&gateway), arrive(&gateway));
    assert_eq!(admit(&gateway, &mut first, SMALL, &[]).await, Ok(0));
    assert_eq!(admit(&gateway, &mut second, SMALL, &[]).await, Ok(1));
    assert_eq!(counted(&gateway), [[2, 2], [1, 1]]);
    // A retry holds the shared scopes already, and passes over what has failed.
    first.fail_attempt(&AttemptFault::new(FaultKind::Unavailable, "down"));
    assert_eq!(admit(&gateway, &mut first, SMALL, &[0]).await, Ok(1));
    assert_eq!(counted(&gateway), [[2, 2], [0, 0]]);
    drop((first, second));
    assert_eq!(counted(&gateway), [[0, 0], [0, 0]], "neither reached a provider");
}

#[tokio::test(start_paused = true)]
async fn a_full_window_is_waited_for_to_the_moment_the_limits_name() {
    let gateway = gateway("model_list: [{model_name: g, litellm_params: {model: simulated/a, rpm: 1}}]");
    let (mut first, mut second) = (arrive(&gateway), arrive(&gateway));
    assert_eq!(admit(&gateway, &mut first, SMALL, &[]).await, Ok(0));
    reaches_provider(&mut first);
    first.complete();
    let scope = gateway.live.read().group("g").unwrap().deployments[0].scope;
    let Wait::At(free) = gateway.limits.local().wait(gateway.clock.now(), scope, Demand::default()) else {
        panic!("the window is full");
    };
    assert_eq!(admit(&gateway, &mut second, SMALL, &[]).await, Ok(0));
    // Timers of the runtime are exact to a millisecond.
    let late = gateway.clock.now().since(free);
    assert!(gateway.clock.now() >= free && late <= Duration::from_millis(1), "{late:?} late");
    assert!(since_start(&gateway) >= Duration::from_secs(60), "{:?}", since_start(&gateway));
    assert_eq!(second.record.waited, since_start(&gateway));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_known_to_be_too_long_is_refused_at_once() {
    let gateway = gateway(
        "model_list: [{model_name: g, litellm_params: {model: simulated/a, rpm: 1}}]\n\
         witgate: {queue: {max_wait_seconds: 20}}",
    );
    let (mut first, mut second) = (arrive(&gateway), arrive(&gateway));
    assert_eq!(admit(&gateway, &mut first, SMALL, &[]).await, Ok(0));
    reaches_provider(&mut first);
    let refusal = admit(&gateway, &mut second, SMALL, &[]).await.unwrap_err();
    assert_eq!((refusal.kind, since_start(&gateway)), (RefusalKind::RateLimited, Duration::ZERO));
    // It need not be back before it may wait for the rest.
    let away = refusal.retry_after.unwrap();
    first.complete();
    assert!((Duration::from_secs(40)..Duration::from_secs(42)).contains(&away), "{refusal:?}");
    gateway.clock.sleep_until(gateway.clock.now() + away).await;
    assert_eq!(admit(&gateway, &mut second, SMALL, &[]).await, Ok(0));
    let start = since_start(&gateway);
    assert!((Duration::from_secs(60)..Duration::from_secs(61)).contains(&start), "{start:?}");
}

/// Another deployment is free, and the policy does not rank it.
#[tokio::test(start_paused = true)]
async fn only_those_that_the_policy_ranks_are_said_to_be_full() {
    let gateway = gateway(
        "model_list:\n\
         - {model_name: g, litellm_params: {model: simulated/a, rpm: 1}}\n\
         - {model_name: g, litellm_params: {model: simulated/b}}\n\
         witgate: {queue: {max_wait_seconds: 20}}",
    );
    let snapshot = gateway.live.read();
    let mut guard = arrive(&gateway);
    guard.record.policy = Some("p@1".into());
    let (request, group) = (request(SMALL), context::find(&snapshot, "g").unwrap());
    let arrival = arrival(&gateway, &guard);
    let context = RequestContext::new(&gateway, &snapshot, &group, arrival, Box::new(request), None).await.unwrap();
    let mut estimate = Estimate::of(&context.request);
    assert_eq!(foreseen(&context, &estimate, &[0], "p@1"), Ok(Some(Duration::ZERO)));
    let mut first = arrive(&gateway);
    assert_eq!(admit(&gateway, &mut first, SMALL, &[]).await, Ok(0));
    reaches_provider(&mut first);
    first.complete();
    let (order, guard) = (&[0][..], &mut *guard);
    let refusal =
        AdmissionControl { context: &context, guard, order, failed: &[], estimate: &mut estimate, elsewhere: false }
            .admit()
            .await
            .unwrap_err();
    let told = "`g`: every deployment that `p@1` ranks is at a limit; the next can start in ";
    assert!(refusal.message.starts_with(told), "{}", refusal.message);
    assert_eq!(foreseen(&context, &estimate, order, "p@1"), Err(NotHere::Refused(refusal.message)));
    assert_eq!(foreseen(&context, &estimate, &[0, 1], "p@1"), Ok(Some(Duration::ZERO)));
    // Not so long before the window ends.
    gateway.clock.sleep_until(gateway.clock.now() + Duration::from_secs(50)).await;
    let soon = foreseen(&context, &estimate, order, "p@1");
    assert!(matches!(soon, Ok(Some(wait)) if wait > Duration::ZERO && wait < Duration::from_secs(15)), "{soon:?}");
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_and_a_retry_stands_behind_nobody() {
    let gateway = gateway(
        "model_list: [{model_name: g, litellm_params: {model: simulated/a}}]\n\
         witgate: {queue: {max_waiting: 1}, global: {max_parallel: 1}}",
    );
    let (mut first, mut second, mut third) = (arrive(&gateway), arrive(&gateway), arrive(&gateway));
    assert_eq!(admit(&gateway, &mut first, SMALL, &[]).await, Ok(0));
    {
        let mut waiting = pin!(admit(&gateway, &mut second, SMALL, &[]));
        assert!(waiting.as_mut().now_or_never().is_none(), "the only place is taken");
        let refusal = admit(&gateway, &mut third, SMALL, &[]).await.unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::RateLimited);
        assert!(refusal.message.contains("the queue of `g` is full (1 requests wait"), "{}", refusal.message);
        first.fail_attempt(&AttemptFault::new(FaultKind::Unavailable, "down"));
        // The one in the queue waits for just what this one holds.
        assert_eq!(admit(&gateway, &mut first, SMALL, &[]).now_or_never(), Some(Ok(0)));
        drop(first);
        assert_eq!(waiting.await, Ok(0));
    }
    assert_eq!(since_start(&gateway), Duration::ZERO, "woken by what ended, not by a timer");
    drop((second, third));
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_is_waited_for_or_told_as_unavailable() {
    let config = |wait: u32| {
        format!(
            "model_list:\n\
             - {{model_name: g, litellm_params: {{model: simulated/a}}}}\n\
             - {{model_name: g, litellm_params: {{model: simulated/b}}}}\n\
             router_settings: {{allowed_fails: 0, cooldown_time: 30}}\n\
             witgate: {{queue: {{max_wait_seconds: {wait}}}}}"
        )
    };
    for (wait, expected) in [(20, Err(RefusalKind::Unavailable)), (40, Ok(0))] {
        let gateway = gateway(&config(wait));
        let start = gateway.clock.now();
        let (mut first, mut second) = (arrive(&gateway), arrive(&gateway));
        let fault = AttemptFault { status: Some(503), ..AttemptFault::new(FaultKind::Unavailable, "down") };
        for index in 0..2 {
            assert_eq!(admit(&gateway, &mut first, SMALL, &[]).await, Ok(index));
            reaches_provider(&mut first);
            first.fail_attempt(&fault);
        }
        let answer = admit(&gateway, &mut second, SMALL, &[]).await.map_err(|refusal| refusal.kind);
        assert_eq!(answer, expected, "with {wait} s");
        let waited = gateway.clock.now().since(start).as_secs();
        assert_eq!(waited, if expected.is_ok() { 30 } else { 0 });
    }
}

/// It may wait for longer than the breaker is open, and does not.
#[tokio::test(start_paused = true)]
async fn who_goes_to_another_group_is_not_told_that_a_short_wait_is_too_long() {
    let gateway = gateway(
        "model_list:\n\
         - {model_name: g, litellm_params: {model: simulated/a}}\n\
         - {model_name: g, litellm_params: {model: simulated/b}}\n\
         - {model_name: h, litellm_params: {model: simulated/c}}\n\
         router_settings: {allowed_fails: 0, cooldown_time: 30, fallbacks: [{g: [h]}]}\n\
         witgate: {queue: {max_wait_seconds: 60}}",
    );
    let mut first = arrive(&gateway);
    let fault = AttemptFault { status: Some(503), ..AttemptFault::new(FaultKind::Unavailable, "down") };
    for index in 0..2 {
        assert_eq!(admit(&gateway, &mut first, SMALL, &[]).await, Ok(index));
        reaches_provider(&mut first);
        first.fail_attempt(&fault);
    }
    let (snapshot, mut guard) = (gateway.live.read(), arrive(&gateway));
    let (request, group) = (request(SMALL), context::find(&snapshot, "g").unwrap());
    let arrival = arrival(&gateway, &guard);
    let context = RequestContext::new(&gateway, &snapshot, &group, arrival, Box::new(request), None).await.unwrap();
    let mut estimate = Estimate::of(&context.request);
    let (order, guard) = (&[0, 1][..], &mut *guard);
    let refusal =
        AdmissionControl { context: &context, guard, order, failed: &[], estimate: &mut estimate, elsewhere: true }
            .admit()
            .await
            .unwrap_err();
    let told = "`g`: every deployment is cooling down after failures; the next can start in 30.0 s";
    assert_eq!((refusal.kind, &*refusal.message), (RefusalKind::Unavailable, told));
    assert_eq!(foreseen(&context, &estimate, order, "p@1"), Err(NotHere::Elsewhere(told.to_owned())));
}

#[tokio::test(start_paused = true)]
async fn what_fits_no_context_window_is_counted_before_it_is_refused() {
    let gateway = gateway(
        "model_list: [{model_name: g, litellm_params: {model: openai/gpt-4o, api_key: sk-x},\n\
         model_info: {max_input_tokens: 100}}]",
    );
    let body = |text: &str| format!(r#"{{"model": "g", "messages": [{{"role": "user", "content": "{text}"}}]}}"#);
    let mut guard = arrive(&gateway);
    // 400 bytes may be more than 100 tokens, and are not.
    assert_eq!(admit(&gateway, &mut guard, &body(&"words ".repeat(66)), &[]).await, Ok(0));
    let mut guard = arrive(&gateway);
    let refusal = admit(&gateway, &mut guard, &body(&"words ".repeat(200)), &[]).await.unwrap_err();
    assert_eq!(refusal.code.as_deref(), Some("context_length_exceeded"));
    assert!(refusal.message.starts_with("the request has 20"), "{}", refusal.message);
}

/// A store elsewhere: it answers when it is told to, and takes back what it granted to somebody who left.
struct Elsewhere {
    here: Arc<dyn LimitStore>,
    answers: Notify,
    /// What happens before it says what others hold.
    others: Box<dyn Fn() + Send + Sync>,
}

impl Elsewhere {
    fn beside(here: &Arc<dyn LimitStore>, others: Box<dyn Fn() + Send + Sync>) -> Arc<Self> {
        Arc::new(Self { here: Arc::clone(here), answers: Notify::new(), others })
    }
}

impl LimitStore for Elsewhere {
    fn reserve<'a>(&'a self, now: Moment, request: ReserveRequest<'a>) -> Reserving<'a> {
        Reserving::Pending(Box::pin(async move {
            self.answers.notified().await;
            self.here.local().reserve(now, &request)
        }))
    }

    fn sent(&self, now: Moment, reservation: ReservationHandle, by: Moment) {
        self.here.sent(now, reservation, by);
    }

    fn response_head(&self, now: Moment, reservation: &Reservation) {
        self.here.response_head(now, reservation);
    }

    fn leave(&self, reservations: &[&Reservation]) {
        self.here.leave(reservations);
    }

    fn settle(&self, now: Moment, reservation: Reservation, actual: Demand) {
        self.here.settle(now, reservation, actual);
    }

    fn refund(&self, now: Moment, reservation: Reservation) {
        self.here.refund(now, reservation);
    }

    fn local(&self) -> &Limits {
        self.here.local()
    }

    fn when_money_is_told(&self, then: Box<dyn FnOnce() + Send>) {
        (self.others)();
        then();
    }
}

/// Whoever is refused a raise holds what it held before, asks anew, and does not keep others waiting.
#[tokio::test(start_paused = true)]
async fn a_retry_that_others_leave_no_money_for_asks_again() {
    let mut gateway = gateway(
        "model_list: [{model_name: g, litellm_params: {model: simulated/a, input_cost_per_token: 0.00001,\n\
         output_cost_per_token: 0.00001}}]\n\
         cost_controls: {max_budget: 1}",
    );
    gateway.budgets.share(Box::new(|| {}));
    gateway.budgets.are_heard(2);
    let now = gateway.clock.now();
    let budgets = Arc::clone(&gateway.budgets);
    let others_hold = move |amount: u64| {
        let part = budgets.parts(now, 0..1).remove(0);
        budgets.elsewhere(now, &part, NanoUsd(0), NanoUsd(amount));
        // Somebody here wants all of it.
        assert!(budgets.short(now, &[part.id], NanoUsd(1_000_000_000)).is_some_and(|short| short.may_wait()));
    };
    let asked = Arc::new(AtomicU64::new(0));
    let (told, hear) = (Arc::clone(&asked), others_hold.clone());
    let others = move || hear([500_000_000, 0][usize::from(told.fetch_add(1, Ordering::Relaxed) > 0)]);
    let store = Elsewhere::beside(&gateway.limits, Box::new(others));
    Arc::get_mut(&mut gateway).unwrap().limits = Arc::clone(&store) as Arc<dyn LimitStore>;
    let mut guard = arrive(&gateway);
    store.answers.notify_one();
    assert_eq!(admit(&gateway, &mut guard, SMALL, &[]).await, Ok(0));
    let before = guard.held_money().unwrap();
    assert_eq!((asked.load(Ordering::Relaxed), before > NanoUsd(0)), (0, true), "far from its end nobody is asked");
    let snapshot = Arc::clone(guard.snapshot());
    let group = context::find(&snapshot, "g").unwrap();
    let (arrival, request) = (arrival(&gateway, &guard), Box::new(request(SMALL)));
    let context = RequestContext::new(&gateway, &snapshot, &group, arrival, request, None).await.unwrap();
    let dear = NanoUsd(600_000_000);
    let notified = gateway.capacity.count();
    let turned_away = Some(gateway.budgets.turned_away());
    let short = money::hold(&context, &mut guard, dear, (now, turned_away)).await.unwrap_err();
    assert_eq!((short.may_wait(), guard.held_money()), (true, Some(before)));
    assert_eq!(gateway.capacity.count(), notified + 1, "who was turned away because of it looks again");
    assert!(money::hold(&context, &mut guard, dear, (now, turned_away)).await.is_err(), "they hold it still");
    assert_eq!((asked.load(Ordering::Relaxed), gateway.capacity.count()), (1, notified + 1));
    others_hold(0);
    assert!(money::hold(&context, &mut guard, dear, (now, turned_away)).await.is_ok());
    assert_eq!((asked.load(Ordering::Relaxed), guard.held_money()), (2, Some(dear)));
}

#[tokio::test(start_paused = true)]
async fn a_store_elsewhere_is_waited_for_and_one_who_leaves_reserves_nothing() {
    let mut gateway = gateway("model_list: [{model_name: g, litellm_params: {model: simulated/a, rpm: 5}}]");
    let store = Elsewhere::beside(&gateway.limits, Box::new(|| {}));
    Arc::get_mut(&mut gateway).unwrap().limits = Arc::clone(&store) as Arc<dyn LimitStore>;
    let mut leaves = arrive(&gateway);
    assert_eq!(admit(&gateway, &mut leaves, SMALL, &[]).now_or_never(), None);
    drop(leaves);
    assert_eq!(counted(&gateway), [[0, 0], [0, 0]]);
    let mut stays = arrive(&gateway);
    store.answers.notify_one();
    assert_eq!(admit(&gateway, &mut stays, SMALL, &[]).await, Ok(0));
    assert_eq!(counted(&gateway), [[1, 1], [1, 1]]);
}

/// Both saw that a probe may go through; the second finds it taken, and holds nothing of what the deployment may cost.
#[tokio::test(start_paused = true)]
async fn who_finds_the_probe_taken_holds_no_money() {
    let mut gateway = gateway(
        "model_list: [{model_name: g, litellm_params: {model: simulated/a, rpm: 5, input_cost_per_token: 0.001,\n\
         output_cost_per_token: 0.001, max_budget: 1, budget_duration: 30d}}]",
    );
    let store = Elsewhere::beside(&gateway.limits, Box::new(|| {}));
    Arc::get_mut(&mut gateway).unwrap().limits = Arc::clone(&store) as Arc<dyn LimitStore>;
    let open = crate::health::OpenBreaker { until: gateway.clock.now(), failed_probes: 0 };
    gateway.live.read().group("g").unwrap().deployments[0].health.restore(open);
    let held = || gateway.budgets.reports(gateway.clock.now()).iter().map(|budget| budget.held.0).sum::<u64>();
    let (mut first, mut second) = (arrive(&gateway), arrive(&gateway));
    {
        let mut one = pin!(admit(&gateway, &mut first, SMALL, &[]));
        let mut two = pin!(admit(&gateway, &mut second, SMALL, &[]));
        assert!(futures_util::poll!(&mut one).is_pending() && futures_util::poll!(&mut two).is_pending());
        store.answers.notify_one();
        assert_eq!(futures_util::poll!(&mut one), Poll::Ready(Ok(0)));
        let of_one = held();
        assert!(of_one > 0);
        store.answers.notify_one();
        assert!(futures_util::poll!(&mut two).is_pending(), "it waits for the probe");
        assert_eq!(held(), of_one);
    }
    drop((first, second));
    assert_eq!(held(), 0);
    assert_eq!(counted(&gateway), [[0, 0], [0, 0]]);
}

/// A limit of no requests is about no request's size: a shorter prompt is as little let through.
#[tokio::test(start_paused = true)]
async fn a_limit_of_no_requests_is_told_as_one_and_not_as_a_request_that_is_too_large() {
    for (limits, told) in [
        ("rpm: 0", "the largest of `g` is 0 requests per window; waiting does not help"),
        ("max_parallel_requests: 0", "the largest of `g` is 0 requests at once; waiting does not help"),
    ] {
        let gateway = gateway(&format!(
            "model_list: [{{model_name: g, litellm_params: {{model: simulated/a, {limits}}}, model_info: {{id: a}}}}]"
        ));
        let mut guard = arrive(&gateway);
        let refusal = admit(&gateway, &mut guard, SMALL, &[]).await.unwrap_err();
        assert_eq!((refusal.kind, refusal.status), (RefusalKind::RateLimited, 429), "{}", refusal.message);
        assert!(refusal.is_for_good() && refusal.retry_after.is_none(), "{refusal:?}");
        assert!(refusal.message.contains(told) && !refusal.message.contains("shorten"), "{}", refusal.message);
    }
}

/// Nobody asked for the output: it is no reason to refuse what fits a key's limit, a margin or what a provider told.
#[tokio::test(start_paused = true)]
async fn output_that_nobody_asked_for_is_no_reason_to_refuse() {
    let asks = |words: usize| {
        format!(r#"{{"model": "g", "messages": [{{"role": "user", "content": "{}"}}]}}"#, "word ".repeat(words))
    };
    for (limits, words) in
        [("witgate: {groups: {g: {tpm_limit: 3000}}}", 20), ("router_settings: {max_tokens_per_minute: 3000}", 2_200)]
    {
        let gateway =
            gateway(&format!("model_list: [{{model_name: g, litellm_params: {{model: simulated/a}}}}]\n{limits}"));
        let mut guard = arrive(&gateway);
        assert_eq!(admit(&gateway, &mut guard, &asks(words), &[]).await, Ok(0), "{limits}");
        drop(guard);
        let mut guard = arrive(&gateway);
        let refusal = admit(&gateway, &mut guard, &asks(4_000), &[]).await.unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::NeverFits, "{limits}: {}", refusal.message);
    }
}

/// Waiting may take ten minutes: a key that is taken away acts on what waits, too.
#[tokio::test(start_paused = true)]
async fn a_key_that_is_taken_away_while_its_request_waits_sends_nothing_more() {
    type Change = fn(&KeyBook, Moment, VirtualKey);
    let changes: [(Change, &str); 4] = [
        (|keys, now, key| keys.put(now, VirtualKey { blocked: true, ..key }), "key_blocked"),
        (|keys, now, key| keys.remove(now, key.hash), "invalid_api_key"),
        (|keys, now, key| keys.put(now, VirtualKey { expires: Some(now), ..key }), "expired_key"),
        (
            |keys, now, _| keys.teams.put(now, KeptTeam { blocked: true, ..KeptTeam::new("lab".to_owned(), now) }),
            "team_blocked",
        ),
    ];
    for (change, code) in changes {
        let gateway = gateway("model_list: [{model_name: g, litellm_params: {model: simulated/a, rpm: 1}}]");
        let keys = Arc::clone(&gateway.live.read().callers.keys);
        let (hash, now) = (KeyHash::of("sk-waits"), gateway.clock.now());
        let key = VirtualKey { team: Some("lab".to_owned()), ..VirtualKey::new(hash, String::new(), now) };
        keys.put(now, key.clone());
        let (mut first, mut second) = (arrive(&gateway), arrive(&gateway));
        second.set_caller(Some(keys.get(hash).unwrap().caller));
        assert_eq!(admit(&gateway, &mut first, SMALL, &[]).await, Ok(0));
        reaches_provider(&mut first);
        first.complete();
        let refusal = {
            let mut waiting = pin!(admit(&gateway, &mut second, SMALL, &[]));
            assert!(tokio::time::timeout(Duration::from_secs(1), waiting.as_mut()).await.is_err(), "it waits");
            change(&keys, gateway.clock.now(), key);
            waiting.await.unwrap_err()
        };
        assert_eq!((refusal.status, refusal.code.as_deref()), (401, Some(code)));
        assert!(second.record.waited > Duration::ZERO);
    }
}

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Mutex;

use tokio::task::LocalSet;

use super::*;
use crate::captured_log::CapturedLog;
use crate::health::Health;
use crate::id::{DeploymentId, GroupName, RequestId};
use crate::limits::{Certainty, Decision, Demand, Dimension, LimitSpec, ReserveRequest, Scope};

const LIMIT: u64 = 30_000;

/// One deployment with a token limit, a queue before it, and who started when.
struct Bench {
    limits: Limits,
    scope: ScopeId,
    health: Arc<Health>,
    queue: Queue,
    capacity: CapacityNotify,
    clock: Clock,
    strict: bool,
    started: RefCell<Vec<(String, u64, f64)>>,
}

impl Bench {
    fn new(strict: bool) -> Rc<Self> {
        let scope = Scope::Deployment(DeploymentId::from("d"));
        let spec = LimitSpec::default().with(Dimension::Tokens, LIMIT);
        let limits = Limits::new(&BTreeMap::from([(scope.clone(), spec)]));
        Rc::new(Self {
            scope: limits.id(&scope),
            limits,
            health: Arc::default(),
            queue: Queue::default(),
            capacity: CapacityNotify::default(),
            clock: Clock::starting_at(Moment::from_millis(1_000_000_000_000)),
            strict,
            started: RefCell::default(),
        })
    }

    fn want(&self, caller: &str, priority: i32, tokens: u64) -> Want {
        let demand = Demand { input_tokens: tokens, ..Demand::default() };
        let candidate = Candidate {
            scope: self.scope,
            demand: Box::new(move || demand),
            health: Arc::clone(&self.health),
            affordable: Box::new(|_| Ok(())),
        };
        let (group, caller) = (GroupName::from("g"), KeyId::from(caller));
        let own = self.own(caller.as_str());
        Want { group, priority, caller, digest: tokens, shared: Vec::new(), own, candidates: vec![candidate] }
    }

    /// The limits of a caller's own: of `limited`, a third of the deployment's.
    fn own(&self, caller: &str) -> Vec<ScopeId> {
        let spec = LimitSpec::default().with(Dimension::Tokens, LIMIT / 3);
        let limited = || self.limits.restrict(&Scope::Key(KeyId::from(caller)), Some(&spec), self.clock.now());
        (caller == "limited").then(limited).into_iter().collect()
    }

    /// Waits, starts and is over at once, as far as its provider is concerned.
    async fn request(&self, caller: &str, priority: i32, tokens: u64) {
        let want = self.want(caller, priority, tokens);
        let place = self.queue.join(1000, want, self.clock.now()).expect("room to wait");
        loop {
            tokio::select! {
                biased;
                _ = place.called() => {}
                () = place.attend(&self.limits, &self.capacity, self.clock, self.strict, None) => {}
            }
            match self.reserve(caller, tokens) {
                Decision::Granted { shared, own, .. } => {
                    let now = self.clock.now();
                    for one in shared.into_iter().chain([own]) {
                        self.limits.response_head(now, &one);
                        self.limits.settle(now, one, Demand { input_tokens: tokens, ..Demand::default() });
                    }
                    let since = now.since(Moment::from_millis(1_000_000_000_000)).as_secs_f64();
                    self.started.borrow_mut().push((caller.to_owned(), tokens, since));
                    return;
                }
                Decision::Until(until) => place.missed(until),
                other => panic!("{other:?}"),
            }
        }
    }

    fn reserve(&self, caller: &str, tokens: u64) -> Decision {
        let demand = Demand { input_tokens: tokens, ..Demand::default() };
        let request = ReserveRequest {
            request: RequestId::derive(Moment::default(), 1),
            attempt: 0,
            shared: &self.own(caller),
            shared_demand: demand,
            candidates: &[(self.scope, demand)],
            certainty: Certainty::Counted,
        };
        self.limits.reserve(self.clock.now(), &request)
    }

    /// Tokens in the order of their starts; of those that start at one instant, the larger first.
    fn order(&self) -> Vec<u64> {
        let mut started = self.started.borrow().clone();
        started.sort_by(|one, other| one.2.total_cmp(&other.2).then(other.1.cmp(&one.1)));
        started.into_iter().map(|(_, tokens, _)| tokens).collect()
    }
}

/// Every request joins in this order, a millisecond apart; then all run to their end.
async fn all(bench: &Rc<Bench>, requests: &[(&str, i32, u64)]) {
    let local = LocalSet::new();
    for (caller, priority, tokens) in requests.iter().copied() {
        let (bench, caller) = (Rc::clone(bench), caller.to_owned());
        local.spawn_local(async move { bench.request(&caller, priority, tokens).await });
    }
    local.await;
    assert_eq!(bench.queue.look(bench.clock.now()), Look { waited_for: false, keeps: false });
    assert_eq!(bench.queue.report(bench.clock.now()), QueueReport::default());
}

#[tokio::test(start_paused = true)]
async fn the_subset_that_fills_the_limit_starts_and_strictly_the_first() {
    let requests = [("a", 0, 20_000), ("a", 0, 15_000), ("a", 0, 9_000), ("a", 0, 8_000), ("a", 0, 1_000)];
    let packed = Bench::new(false);
    all(&packed, &requests).await;
    // 20 + 9 + 1 fill it at once, 15 + 8 follow.
    assert_eq!(packed.order(), [20_000, 9_000, 1_000, 15_000, 8_000]);
    let strict = Bench::new(true);
    all(&strict, &requests).await;
    assert_eq!(strict.order(), requests.map(|(_, _, tokens)| tokens));
}

#[tokio::test(start_paused = true)]
async fn who_starts_does_so_at_the_exact_moment() {
    let bench = Bench::new(false);
    all(&bench, &[("a", 0, 30_000), ("a", 0, 30_000), ("a", 0, 30_000)]).await;
    let times: Vec<f64> = bench.started.borrow().iter().map(|(_, _, at)| *at).collect();
    assert!(times[0].abs() < f64::EPSILON, "{times:?}");
    for (number, at) in times.iter().enumerate() {
        let expected = 60.25 * f64::from(u32::try_from(number).expect("few"));
        assert!((expected..expected + 0.01).contains(at), "{times:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_overtaken_too_often() {
    let bench = Bench::new(false);
    // The first never fits beside two of the others, which would go on filling the limit.
    let mut requests = vec![("a", 0, LIMIT), ("a", 0, 20_001)];
    requests.extend([("a", 0, 10_000); 60]);
    all(&bench, &requests).await;
    let place = bench.order().iter().position(|tokens| *tokens == 20_001).expect("it started");
    // The one before all, and two dozen that passed it.
    assert!((20..=26).contains(&place), "after {place} others");
}

#[tokio::test(start_paused = true)]
async fn a_caller_with_few_is_not_behind_all_of_another() {
    let bench = Bench::new(false);
    let mut requests = vec![("many", 0, 9_999); 64];
    requests.extend([("few", 0, 10_000); 4]);
    all(&bench, &requests).await;
    let started = bench.started.borrow();
    let last = started.iter().rposition(|(caller, ..)| caller == "few").expect("they started");
    assert!(last <= 12, "the last of four was number {last} of {}", started.len());
}

#[tokio::test(start_paused = true)]
async fn who_took_less_within_the_last_minute_starts_first_and_the_rest_is_packed_beside_it() {
    for (took, expected) in [(30_000, ["few", "few", "many"]), (0, ["few", "many", "many"])] {
        let bench = Bench::new(false);
        bench.queue.passed(bench.clock.now(), &KeyId::from("many"), took);
        // Three tens of one caller fill it, as two sevens and a sixteen of both do. The first to come starts at once.
        let mut requests = vec![("many", 0, 10_000); 3];
        requests.extend([("many", 0, 16_000), ("few", 0, 7_000), ("few", 0, 7_000)]);
        all(&bench, &requests).await;
        let mut first: Vec<String> = bench.started.borrow()[..3].iter().map(|(caller, ..)| caller.clone()).collect();
        first.sort();
        assert_eq!(first, expected, "after {took}: {:?}", bench.started.borrow());
    }
}

#[test]
fn who_waits_is_told_when_it_can_start_at_the_earliest() {
    let bench = Bench::new(false);
    let now = bench.clock.now();
    let Decision::Granted { own, .. } = bench.reserve("a", 20_000) else { panic!("it is empty") };
    bench.limits.response_head(now, &own);
    bench.limits.settle(now, own, Demand { input_tokens: 20_000, ..Demand::default() });
    let places: Vec<_> = [10_000, 15_000, 20_000, 30_000]
        .map(|tokens| bench.queue.join(9, bench.want("a", 0, tokens), now).expect("room"))
        .into_iter()
        .collect();
    let starts = places.iter().map(|place| place.starts(&bench.limits, now).map(|at| at.since(now).as_secs()));
    // 10 thousand at once; 40 within a minute, 70 within two, 100 within three: up to the last of them 10, 25, 45 and 75 are asked for.
    assert_eq!(starts.collect::<Vec<_>>(), [None, Some(60), Some(120), Some(180)]);
}

#[tokio::test(start_paused = true)]
async fn a_more_urgent_priority_is_served_first_and_never_packed_with_others() {
    let bench = Bench::new(false);
    all(&bench, &[("a", 5, LIMIT), ("a", 5, 10_000), ("a", 0, 25_000), ("a", 0, 25_000), ("a", 5, 5_000)]).await;
    // 5,000 would have fitted beside the first 25,000 too, while a more urgent one still waited.
    assert_eq!(bench.order(), [LIMIT, 25_000, 25_000, 5_000, 10_000]);
}

#[tokio::test(start_paused = true)]
async fn another_attends_when_one_leaves() {
    let bench = Bench::new(false);
    let Decision::Granted { own, .. } = bench.reserve("a", LIMIT) else { panic!("it is empty") };
    let local = LocalSet::new();
    let leaves = {
        let bench = Rc::clone(&bench);
        local.spawn_local(async move { bench.request("a", 0, 10_000).await })
    };
    let stays = {
        let bench = Rc::clone(&bench);
        local.spawn_local(async move { bench.request("a", 0, 20_000).await })
    };
    local
        .run_until(async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let report = bench.queue.report(bench.clock.now());
            assert_eq!((report.waiting, report.tokens, report.oldest), (2, 30_000, Duration::from_secs(1)));
            assert_eq!(report.next_start, None, "it depends on what is under way");
            leaves.abort();
            tokio::time::sleep(Duration::from_secs(1)).await;
            bench.limits.refund(bench.clock.now(), own);
            bench.capacity.notify();
            stays.await.expect("it starts");
        })
        .await;
    assert_eq!(bench.started.borrow().as_slice(), [("a".to_owned(), 20_000, 2.0)]);
}

#[test]
fn only_so_many_wait() {
    let bench = Bench::new(false);
    let now = bench.clock.now();
    let first = bench.queue.join(2, bench.want("a", 0, 1), now);
    let second = bench.queue.stand(2);
    assert!(first.is_some() && second.is_some());
    assert!(bench.queue.join(2, bench.want("a", 0, 1), now).is_none() && bench.queue.stand(2).is_none());
    drop(second);
    assert!(bench.queue.stand(2).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_caller_at_a_limit_of_its_own_keeps_nobody_waiting_and_starts_at_the_exact_moment() {
    for strict in [false, true] {
        let bench = Bench::new(strict);
        all(&bench, &[("limited", 0, 10_000), ("limited", 0, 10_000), ("a", 0, 9_000), ("a", 0, 9_000)]).await;
        let started = bench.started.borrow();
        let times: Vec<(&str, bool)> = started.iter().map(|(caller, _, at)| (caller.as_str(), *at > 60.0)).collect();
        assert_eq!(times, [("limited", false), ("a", false), ("a", false), ("limited", true)], "{started:?}");
    }
}

#[test]
fn a_caller_with_limits_of_its_own_takes_half_of_the_places_at_most() {
    let bench = Bench::new(false);
    let now = bench.clock.now();
    let join = |caller: &str| bench.queue.join(4, bench.want(caller, 0, 1), now);
    let places = [join("limited"), join("limited"), join("limited"), join("a"), join("a"), join("a")];
    assert_eq!(places.map(|place| place.is_some()), [true, true, false, true, true, false]);
}

/// Whoever was sent away stands before those who came meanwhile, though nobody waited for a while, or it never waited itself.
#[test]
fn who_comes_back_stands_before_those_who_came_meanwhile() {
    let bench = Bench::new(false);
    let now = bench.clock.now();
    let join = |caller: &str, tokens| bench.queue.join(9, bench.want(caller, 0, tokens), now).unwrap();
    let until = now + Duration::from_secs(60);
    let alone = join("a", 100);
    alone.keep(now, until);
    drop(alone);
    bench.queue.keep(&KeyId::from("b"), 200, now, until);
    bench.queue.keep(&KeyId::from("b"), 200, now, until);
    let places = [join("c", 300), join("d", 400), join("b", 200), join("a", 100)];
    let order = |queue: &Queue| {
        queue.lock().waiting.iter().map(|waiter| waiter.want.caller.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(order(&bench.queue), ["a", "b", "c", "d"]);
    drop(places);
}

/// A place is for the request that was sent away: one that is served at once when it comes back needs none, and the next like it has none.
#[test]
fn who_is_served_at_once_gives_up_its_place() {
    let bench = Bench::new(false);
    let now = bench.clock.now();
    let caller = KeyId::from("a");
    bench.queue.keep(&caller, 100, now, now + Duration::from_secs(60));
    let keeps = |at| bench.queue.look(at).keeps;
    assert!(keeps(now));
    bench.queue.give_up(&caller, 100, now);
    assert!(!keeps(now));
    // Nor is anybody looked for whose time is over.
    bench.queue.keep(&caller, 100, now, now + Duration::from_secs(60));
    assert!(keeps(now + Duration::from_secs(59)) && !keeps(now + Duration::from_secs(60)));
}

#[tokio::test(start_paused = true)]
async fn while_anybody_waits_a_line_every_ten_seconds_says_how_many_since_when_and_until_when() {
    let ((log, subscriber), bench) = (CapturedLog::begin(), Bench::new(false));
    let guard = tracing::subscriber::set_default(subscriber);
    all(&bench, &[("a", 0, LIMIT), ("a", 0, LIMIT), ("a", 0, LIMIT)]).await;
    // Nobody waits any more.
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    drop(guard);
    let lines = log.lines();
    assert_eq!(lines.len(), 12, "one starts at once, one after a minute and one after two: {lines:?}");
    for (number, line) in (1_u32..).zip(&lines) {
        let (waiting, starts) = if number <= 6 { (2_u64, 60.25) } else { (1, 120.5) };
        let now = f64::from(number) * 10.0;
        let told = |name: &str| line[name].as_f64().unwrap_or(f64::NAN);
        assert_eq!((&line["message"], &line["groups"]), (&"requests wait for a limit".into(), &r#"{"g"}"#.into()));
        assert_eq!((&line["waiting"], &line["tokens"]), (&waiting.into(), &(waiting * LIMIT).into()), "{line}");
        assert!((told("oldest_s") - now).abs() < 0.1, "{line}");
        assert!((told("next_start_s") - (starts - now)).abs() < 0.1, "{line}");
    }
}

/// A store of which another gateway holds everything until a moment, which nobody tells.
struct HeldElsewhere {
    limits: Limits,
    scope: ScopeId,
    until: Moment,
    clock: Clock,
    looks: Mutex<Vec<Moment>>,
}

impl LimitStore for HeldElsewhere {
    fn reserve<'a>(&'a self, now: Moment, request: ReserveRequest<'a>) -> crate::limits::Reserving<'a> {
        LimitStore::reserve(&self.limits, now, request)
    }

    fn sent(&self, now: Moment, reservation: crate::limits::ReservationHandle, by: Moment) {
        self.limits.sent(now, reservation, by);
    }

    fn response_head(&self, now: Moment, reservation: &crate::limits::Reservation) {
        self.limits.response_head(now, reservation);
    }

    fn leave(&self, reservations: &[&crate::limits::Reservation]) {
        self.limits.leave(reservations);
    }

    fn settle(&self, now: Moment, reservation: crate::limits::Reservation, actual: Demand) {
        self.limits.settle(now, reservation, actual);
    }

    fn refund(&self, now: Moment, reservation: crate::limits::Reservation) {
        self.limits.refund(now, reservation);
    }

    fn local(&self) -> &Limits {
        &self.limits
    }

    fn recheck(&self) -> Option<std::time::Duration> {
        Some(crate::shared_limits::RECHECK)
    }

    fn refresh<'a>(&'a self, scopes: &'a [ScopeId]) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        assert_eq!(scopes, [self.scope], "what is waited for is looked for");
        let now = self.clock.now();
        self.looks.lock().unwrap().push(now);
        let freed = now >= self.until && self.limits.others_use(now, self.scope, 0, &others(0));
        Box::pin(std::future::ready(freed))
    }
}

/// What requests under way elsewhere hold.
fn others(tokens: u64) -> crate::limits::OthersPart {
    let mut open = crate::limits::PerDimension::default();
    open[Dimension::Tokens] = tokens;
    let counted = crate::limits::OthersCounted::Total(crate::limits::PerDimension::default());
    crate::limits::OthersPart { open, counted }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_what_another_gateway_holds_starts_within_a_quarter_of_a_second_after_it_was_given_back() {
    for held_ms in [10, 4_999, 5_000, 33_333] {
        let bench = Bench::new(false);
        let clock = bench.clock;
        let (begin, limits) = (clock.now(), Limits::new(&BTreeMap::new()));
        let scope = limits.restrict(
            &Scope::Deployment(DeploymentId::from("d")),
            Some(&LimitSpec::default().with(Dimension::Tokens, LIMIT)),
            begin,
        );
        assert!(limits.others_use(begin, scope, 0, &others(LIMIT)));
        let until = begin + std::time::Duration::from_millis(held_ms);
        let store = HeldElsewhere { limits, scope, until, clock, looks: Mutex::default() };
        let mut want = bench.want("a", 0, 1);
        want.candidates.iter_mut().for_each(|candidate| candidate.scope = scope);
        let place = bench.queue.join(10, want, begin).expect("room to wait");
        tokio::select! {
            biased;
            _ = place.called() => {}
            () = place.attend(&store, &bench.capacity, clock, false, None) => {}
        }
        let late = clock.now().since(until);
        assert!(clock.now() >= until && late <= std::time::Duration::from_millis(250), "{held_ms}: {late:?}");
        let looks = store.looks.lock().unwrap();
        let apart = looks.windows(2).map(|two| two[1].since(two[0]).as_millis()).max().unwrap_or_default();
        assert!(apart <= 250, "{apart} ms between two looks");
        assert!(looks.len() as u64 <= held_ms / 150 + 2, "{} looks in {held_ms} ms are polling", looks.len());
    }
}

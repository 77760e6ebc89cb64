//! Against a real server; where none is installed they say so and check nothing.

mod dimensions;
mod money;
mod renamed;
mod vectors;

use std::process::{Child, Command as Process, Stdio};
use std::task::Poll;

use super::*;
use crate::id::{DeploymentId, RequestId};
use crate::limits::{Dimension, LimitSpec, Scope, Wait};

/// A server of a test's own.
struct Redis {
    port: u16,
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Redis {
    fn start() -> Option<Self> {
        let installed = Process::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_ok();
        if !installed {
            eprintln!("SKIPPED: no redis-server is installed; limits that gateways share are not tested here");
            return None;
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut redis = Self { port, folder: tempfile::tempdir().unwrap(), child: None };
        redis.begin();
        Some(redis)
    }

    fn begin(&mut self) {
        let port = self.port.to_string();
        let arguments =
            ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--requirepass", "pw"];
        let mut server = Process::new("redis-server");
        let server = server.args(arguments).current_dir(self.folder.path()).stdout(Stdio::null());
        self.child = Some(server.spawn().unwrap());
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            std::thread::yield_now();
        }
    }

    /// Whatever it has is lost, and nobody's connection.
    fn forgets(&self) {
        let client = Client::open(format!("redis://:pw@127.0.0.1:{}/1", self.port)).unwrap();
        redis::cmd("FLUSHALL").exec(&mut client.get_connection().unwrap()).unwrap();
    }

    /// Tells it something that no gateway does.
    fn told(&self, words: &[&str]) {
        let client = Client::open(format!("redis://:pw@127.0.0.1:{}/1", self.port)).unwrap();
        redis::cmd(words[0]).arg(&words[1..]).exec(&mut client.get_connection().unwrap()).unwrap();
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn server(&self) -> Server {
        Server {
            url: None,
            host: Some("127.0.0.1".to_owned()),
            port: Some(self.port),
            username: None,
            password: Some(SecretString::from("pw")),
            database: Some(1),
            tls: false,
        }
    }

    fn gateway(&self, name: &str, specs: &BTreeMap<Scope, LimitSpec>, refuse: bool) -> Gateway {
        let (limits, budgets) = (Arc::new(Limits::new(specs)), Arc::<Budgets>::default());
        let clock = Clock::system();
        let store = SharedLimits::start(limits, &budgets, clock, &self.server(), name.to_owned(), refuse).unwrap();
        Gateway { store, budgets, clock, next: AtomicU64::new(0) }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

struct Gateway {
    store: SharedLimits,
    budgets: Arc<Budgets>,
    clock: Clock,
    next: AtomicU64,
}

impl Gateway {
    fn scope(&self, name: &str) -> ScopeId {
        self.store.local().id(&deployment(name))
    }

    async fn reserve(&self, shared: &[&str], candidates: &[(&str, u64)]) -> Decision {
        let shared: Vec<ScopeId> = shared.iter().map(|name| self.scope(name)).collect();
        let candidates: Vec<_> = candidates.iter().map(|(name, tokens)| (self.scope(name), demand(*tokens))).collect();
        let now = self.clock.now();
        let request = ReserveRequest {
            request: RequestId::derive(now, self.next.fetch_add(1, Ordering::Relaxed)),
            attempt: 0,
            shared: &shared,
            shared_demand: candidates.first().map_or_else(Demand::default, |(_, demand)| *demand),
            candidates: &candidates,
            certainty: Certainty::Counted,
        };
        self.store.reserve(now, request).await
    }

    /// Reserves so much of `a`, or nothing.
    async fn take(&self, tokens: u64) -> Option<Reservation> {
        match self.reserve(&[], &[("a", tokens)]).await {
            Decision::Granted { own, .. } => Some(own),
            _ => None,
        }
    }

    fn used(&self, tokens: &str) -> u64 {
        self.store.local().used(self.clock.now(), self.scope(tokens))[Dimension::Tokens]
    }

    async fn look(&self) {
        self.store.refresh(&[self.scope("a"), self.scope("b")]).await;
    }

    /// Looks again and again until it is so; ten seconds at most.
    async fn until(&self, what: impl Fn(&Self) -> bool) {
        let late = self.clock.now() + Duration::from_secs(10);
        while !what(self) {
            assert!(self.clock.now() < late, "it never came about");
            self.look().await;
            tokio::task::yield_now().await;
        }
    }
}

fn deployment(name: &str) -> Scope {
    Scope::Deployment(DeploymentId::from(name))
}

fn demand(tokens: u64) -> Demand {
    Demand { input_tokens: tokens, ..Demand::default() }
}

fn specs(window: Duration, of: &[(&str, Dimension, u64)]) -> BTreeMap<Scope, LimitSpec> {
    let mut specs: BTreeMap<Scope, LimitSpec> = BTreeMap::new();
    for (name, dimension, limit) in of {
        let spec = specs.remove(&deployment(name)).unwrap_or(LimitSpec { window, ..LimitSpec::default() });
        specs.insert(deployment(name), spec.with(*dimension, *limit));
    }
    specs
}

const MINUTE: Duration = Duration::from_mins(1);

#[tokio::test]
async fn two_gateways_have_one_limit_and_each_knows_what_the_other_took() {
    let Some(redis) = Redis::start() else { return };
    let specs =
        specs(MINUTE, &[("a", Dimension::Tokens, 100), ("b", Dimension::Tokens, 50), ("all", Dimension::Requests, 3)]);
    let (one, two) = (redis.gateway("one", &specs, false), redis.gateway("two", &specs, false));
    let first = one.take(60).await.expect("room for sixty");
    assert!(two.take(41).await.is_none(), "sixty of a hundred are held by the other");
    assert_eq!(two.used("a"), 60, "the refusal told of it");
    // The first candidate is full, the second is not; the shared scope counts both.
    let Decision::Granted { index, shared, own } = two.reserve(&["all"], &[("a", 41), ("b", 50)]).await else {
        panic!("the second candidate has room")
    };
    assert_eq!(index, 1);
    // A refund of the one is room for the other; what it settles with counts for both.
    one.store.refund(one.clock.now(), first);
    two.until(|two| two.used("a") == 0).await;
    let held = two.take(100).await.expect("all of it");
    two.store.response_head(two.clock.now(), &held);
    two.store.settle(two.clock.now(), held, demand(70));
    one.until(|one| one.used("a") == 70).await;
    assert!(one.take(31).await.is_none());
    assert!(matches!(one.store.local().wait(one.clock.now(), one.scope("a"), demand(31)), Wait::At(at) if {
        let wait = at.since(one.clock.now()).as_secs_f64();
        (58.0..61.0).contains(&wait)
    }));
    let last = one.take(30).await.expect("just what is left");
    assert!(matches!(one.reserve(&[], &[("a", 101)]).await, Decision::Never(_)));
    one.store.refund(one.clock.now(), last);
    two.store.settle(two.clock.now(), own, demand(1));
    two.store.settle(two.clock.now(), shared.expect("of all"), demand(1));
    one.until(|one| one.used("b") == 1).await;
}

#[tokio::test]
async fn the_place_of_one_whose_client_left_is_every_gateway_s_while_its_tokens_stay_reserved() {
    let Some(redis) = Redis::start() else { return };
    let specs = specs(MINUTE, &[("a", Dimension::Tokens, 100), ("a", Dimension::InFlight, 1)]);
    let (one, two) = (redis.gateway("one", &specs, false), redis.gateway("two", &specs, false));
    let left = one.take(60).await.expect("its place");
    assert!(two.take(1).await.is_none(), "the other has it");
    let in_flight = |of: &Gateway| of.store.local().used(of.clock.now(), of.scope("a"))[Dimension::InFlight];
    one.store.leave(&[&left]);
    two.until(|two| in_flight(two) == 0).await;
    assert_eq!(two.used("a"), 60);
    assert!(two.take(41).await.is_none());
    let held = two.take(40).await.expect("the place, and all that is left");
    one.store.settle(one.clock.now(), left, demand(50));
    two.until(|two| two.used("a") == 90).await;
    assert_eq!(in_flight(&two), 1, "its own");
    assert!(one.take(1).await.is_none());
    two.store.refund(two.clock.now(), held);
}

#[tokio::test]
async fn a_request_that_nothing_limits_asks_no_server_and_one_that_leaves_holds_nothing() {
    let Some(mut redis) = Redis::start() else { return };
    let specs = specs(MINUTE, &[("a", Dimension::Tokens, 100)]);
    let (one, two) = (redis.gateway("one", &specs, false), redis.gateway("two", &specs, false));
    let now = one.clock.now();
    let candidates = [(one.scope("a"), demand(100))];
    let request = ReserveRequest {
        request: RequestId::derive(now, 7),
        attempt: 0,
        shared: &[],
        shared_demand: demand(100),
        candidates: &candidates,
        certainty: Certainty::Counted,
    };
    // Asked, and gone before the answer is there.
    one.until(|one| one.store.is_up()).await;
    let mut asking = Box::pin(one.store.reserve(now, request));
    match futures_util::poll!(&mut asking) {
        Poll::Pending => drop(asking),
        // The answer may be there already: then it is taken, and given back.
        Poll::Ready(Decision::Granted { own, .. }) => one.store.refund(one.clock.now(), own),
        Poll::Ready(other) => panic!("{other:?}"),
    }
    let late = two.clock.now() + Duration::from_secs(10);
    while two.take(100).await.is_none() {
        assert!(two.clock.now() < late, "what nobody waits for is still held");
    }
    redis.kill();
    let unlimited = one.reserve(&[], &[("unlimited", 1_000_000)]);
    assert!(matches!(
        one.store.reserve(now, ReserveRequest { candidates: &[(one.scope("unlimited"), demand(5))], ..request }),
        Reserving::Ready(Some(Decision::Granted { .. }))
    ));
    assert!(matches!(unlimited.await, Decision::Granted { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn together_they_never_hold_more_than_the_limit() {
    let Some(redis) = Redis::start() else { return };
    let specs = specs(MINUTE, &[("a", Dimension::Tokens, 1_000), ("a", Dimension::InFlight, 40)]);
    let gateways: Vec<_> = ["one", "two", "three"].map(|name| Arc::new(redis.gateway(name, &specs, false))).into();
    let tasks = (0..300_u64).map(|number| {
        let gateway = Arc::clone(&gateways[usize::try_from(number % 3).unwrap()]);
        tokio::spawn(async move { Some((gateway.take(5 + number % 40).await?, 5 + number % 40)) })
    });
    let mut held = 0;
    let mut count = 0;
    for task in tasks.collect::<Vec<_>>() {
        if let Some((_kept, tokens)) = task.await.unwrap() {
            held += tokens;
            count += 1;
        }
    }
    assert!(held <= 1_000 && count <= 40, "{count} hold {held}");
    assert!(held > 900 || count == 40, "and most of it is used: {count} hold {held}");
    gateways[0].until(|one| one.used("a") == held).await;
}

#[tokio::test]
async fn what_is_too_old_is_forgotten_at_the_same_time_by_all() {
    let Some(redis) = Redis::start() else { return };
    let specs = specs(Duration::from_millis(600), &[("a", Dimension::Tokens, 100)]);
    let (one, two) = (redis.gateway("one", &specs, false), redis.gateway("two", &specs, false));
    let held = one.take(100).await.expect("all of it");
    one.store.response_head(one.clock.now(), &held);
    let began = one.clock.now();
    one.store.settle(began, held, demand(100));
    let mut granted = None;
    while granted.is_none() {
        match two.reserve(&[], &[("a", 100)]).await {
            Decision::Granted { own, .. } => granted = Some(own),
            Decision::Until(until) => {
                let again = two.clock.now() + Duration::from_millis(50);
                two.clock.sleep_until(until.unwrap_or(again).min(again)).await;
            }
            other => panic!("{other:?}"),
        }
    }
    let took = two.clock.now().since(began);
    assert!(took >= Duration::from_millis(600), "{took:?}");
    assert!(took < Duration::from_millis(900), "{took:?}");
}

#[tokio::test]
async fn without_its_server_each_takes_its_share_and_tells_its_part_when_it_is_back() {
    let Some(mut redis) = Redis::start() else { return };
    let specs = specs(MINUTE, &[("a", Dimension::Tokens, 100), ("b", Dimension::Tokens, 100)]);
    let (one, two) = (redis.gateway("one", &specs, false), redis.gateway("two", &specs, false));
    let refusing = redis.gateway("three", &specs, true);
    let held = one.take(30).await.expect("thirty");
    one.store.response_head(one.clock.now(), &held);
    one.store.settle(one.clock.now(), held, demand(30));
    two.until(|two| two.used("a") == 30).await;
    one.look().await;
    redis.kill();
    for gateway in [&one, &two, &refusing] {
        // Whoever asks finds out.
        let _first = gateway.reserve(&[], &[("b", 1)]).await;
        gateway.until(|gateway| !gateway.store.is_up()).await;
    }
    assert_eq!(refusing.reserve(&[], &[("a", 1)]).await, Decision::Unreachable);
    // A third of a hundred each, what the others used counting: thirty of ours are used already.
    assert!(one.take(4).await.is_none());
    let alone = one.take(3).await.expect("its share");
    assert!(two.take(34).await.is_some(), "one that is larger than a share may start alone");
    assert!(two.take(1).await.is_none());
    assert_eq!((one.used("a"), two.used("a")), (33, 64));
    // The server is back and has forgotten everything; each tells its own part, and it counts once.
    redis.begin();
    for gateway in [&one, &two, &refusing] {
        gateway.until(|gateway| gateway.store.is_up()).await;
    }
    for gateway in [&one, &two, &refusing] {
        gateway.until(|gateway| gateway.used("a") == 67).await;
    }
    one.store.refund(one.clock.now(), alone);
    refusing.until(|gateway| gateway.used("a") == 64).await;
    assert!(refusing.take(37).await.is_none());
    assert!(refusing.take(36).await.is_some());
}

/// A connection that a server closes when it was idle, and scripts that somebody forgot for it, are no outage: nobody is refused, and no limit is
/// divided.
#[tokio::test]
async fn a_server_that_loses_a_connection_or_its_scripts_decides_on() {
    let Some(redis) = Redis::start() else { return };
    let specs = specs(MINUTE, &[("a", Dimension::Tokens, 100)]);
    let (one, two) = (redis.gateway("one", &specs, true), redis.gateway("two", &specs, true));
    for gateway in [&one, &two] {
        gateway.until(|gateway| gateway.store.is_up()).await;
    }
    let mut held = Vec::new();
    for (words, gateway) in [
        ("SCRIPT FLUSH", &one),
        ("CLIENT KILL TYPE normal", &two),
        ("CLIENT KILL TYPE normal", &one),
        ("SCRIPT FLUSH", &two),
    ] {
        redis.told(&words.split(' ').collect::<Vec<_>>());
        held.push(gateway.take(24).await.expect("it is decided over as before"));
        assert!(gateway.store.is_up());
    }
    for gateway in [&one, &two] {
        assert!(matches!(gateway.reserve(&[], &[("a", 5)]).await, Decision::Until(_)), "ninety-six of a hundred");
        gateway.until(|gateway| gateway.used("a") == 96).await;
        assert!(gateway.store.is_up());
    }
    drop(held);
}

#[tokio::test]
async fn a_gateway_that_starts_again_takes_the_place_of_itself() {
    let Some(redis) = Redis::start() else { return };
    let specs = specs(MINUTE, &[("a", Dimension::Tokens, 100)]);
    let (one, two) = (redis.gateway("one", &specs, false), redis.gateway("two", &specs, false));
    let held = one.take(40).await.expect("forty");
    one.store.sent(one.clock.now(), held.handle(), one.clock.now());
    one.store.settle(one.clock.now(), held, demand(40));
    two.until(|two| two.used("a") == 40).await;
    let saved = serde_json::to_string(&one.store.local().save(one.clock.now())).unwrap();
    drop(one);
    let limits = Arc::new(Limits::new(&specs));
    let clock = Clock::system();
    limits.restore(clock.now(), &serde_json::from_str(&saved).unwrap());
    let server = Server {
        url: Some(SecretString::from(format!("redis://:pw@127.0.0.1:{}/1", redis.port))),
        host: None,
        port: None,
        username: None,
        password: None,
        database: None,
        tls: false,
    };
    let budgets = Arc::<Budgets>::default();
    let store = SharedLimits::start(limits, &budgets, clock, &server, "another".to_owned(), false).unwrap();
    let again = Gateway { store, budgets, clock, next: AtomicU64::new(0) };
    assert_eq!(again.used("a"), 40);
    again.until(|again| again.store.is_up()).await;
    two.look().await;
    assert_eq!(two.used("a"), 40, "not eighty");
    assert!(two.take(61).await.is_none());
    assert!(two.take(60).await.is_some());
}

/// As those of a key are whose database is away at the start.
#[tokio::test]
async fn a_limit_that_comes_after_the_start_takes_the_place_of_its_predecessor_s_too() {
    let Some(redis) = Redis::start() else { return };
    let specs = specs(Duration::from_hours(24), &[("a", Dimension::Tokens, 100)]);
    let (one, two) = (redis.gateway("one", &specs, false), redis.gateway("two", &specs, false));
    let held = one.take(40).await.expect("forty");
    one.store.sent(one.clock.now(), held.handle(), one.clock.now());
    one.store.settle(one.clock.now(), held, demand(40));
    two.until(|two| two.used("a") == 40).await;
    let saved = one.store.local().save(one.clock.now());
    drop(one);
    let limits = Arc::new(Limits::new(&BTreeMap::new()));
    let (clock, budgets) = (Clock::system(), Arc::<Budgets>::default());
    limits.restore(clock.now(), &saved);
    let store = SharedLimits::start(limits, &budgets, clock, &redis.server(), "another".to_owned(), false).unwrap();
    let again = Gateway { store, budgets, clock, next: AtomicU64::new(0) };
    again.until(|again| again.store.is_up()).await;
    two.look().await;
    assert_eq!(two.used("a"), 40, "it is told by nobody else yet");
    again.store.local().restrict(&deployment("a"), specs.get(&deployment("a")), clock.now());
    again.look().await;
    two.look().await;
    assert_eq!((again.used("a"), two.used("a")), (40, 40), "not eighty");
    assert!(two.take(61).await.is_none());
    assert!(two.take(60).await.is_some());
}

#[tokio::test]
async fn a_server_that_is_not_there_at_the_start_is_found_later() {
    let Some(mut redis) = Redis::start() else { return };
    redis.kill();
    let specs = specs(MINUTE, &[("a", Dimension::Tokens, 100)]);
    let one = redis.gateway("one", &specs, false);
    assert!(!one.store.is_up());
    assert!(one.take(60).await.is_some(), "a share among one is all of it");
    redis.begin();
    one.until(|one| one.store.is_up()).await;
    let two = redis.gateway("two", &specs, false);
    assert!(two.take(41).await.is_none());
    assert!(two.take(40).await.is_some());
}

#[test]
fn an_address_of_ipv6_needs_no_brackets() {
    for host in ["::1", "[::1]"] {
        let server = Server {
            url: None,
            host: Some(host.to_owned()),
            port: Some(6380),
            username: None,
            password: None,
            database: None,
            tls: false,
        };
        assert_eq!(server.info().unwrap().addr().to_string(), "::1:6380", "{host}");
    }
}

//! Limits that several gateways share: one Redis or Valkey server decides, in one script over all scopes and windows, by its own time.
//!
//! - *Reserving* asks the server: all shared scopes and the first candidate with room, or nowhere. A request that nothing limits asks
//!   nobody. What is granted stands in this process's own [`Limits`] too, which goes on to say when it counts and what it really used.
//! - *Everything else* is reported as it stands: each gateway tells its own part of each window, slice by slice, and only what changed.
//!   A part that is told twice counts once, so that after an outage each simply tells its own again, whatever the server remembers.
//!   Under a name that a window has no more, since a reload keeps its limit elsewhere or takes it away, it is told once that nothing is held.
//! - *Others' parts* come with every answer, and go into the same `Limits`, for signals, queues and refusals. Whoever waits looks every
//!   `RECHECK` for what others gave back; where nobody waits nothing is asked.
//! - *Out of reach*, the server is replaced by each gateway's share of every limit (divided among as many as were last seen, beside what
//!   the others are known to have used), or requests that a limit concerns are refused. It is tried again until it answers; a gateway
//!   that comes back waits a moment for the others to tell their parts before it takes more than its share.
//!
//! Vectors of questions are kept there too ([`VectorStore`]), which decide nothing: without the server they are made anew.
//!
//! Money is shared as budgets are (`money`): each gateway tells what it spent and holds and hears it of the others.
//!
//! Priority and fairness are each process's own, and so is what replies have taught. Slices of the server's time hold amounts for at most one
//! slice longer (a 240th of the window) than those of one process. A token bucket is shared as a sliding window, which admits less.

mod batch;
mod book;
mod driver;
mod money;
mod script;
#[cfg(test)]
mod tests;
mod vectors;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use redis::{Client, ConnectionInfo, IntoConnectionInfo};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::budgets::Budgets;
use crate::clock::Clock;
use crate::limits::{
    Certainty, Decision, Demand, LimitStore, Limits, News, Reservation, ReservationHandle, ReserveRequest, Reserving,
    ScopeId, Told,
};
use crate::moment::Moment;

pub use vectors::VectorStore;

use batch::{Asked, Command, Granted};
use driver::Driver;
use money::{Money, MoneyLink};

/// How often whoever waits looks for what others gave back.
pub(crate) const RECHECK: Duration = Duration::from_millis(200);
/// How long a start waits for the server's first answer.
const FIRST_ANSWER: Duration = Duration::from_secs(3);
/// How long an end waits until the last part is told.
const LAST_ANSWER: Duration = Duration::from_secs(1);

/// Where the server is.
#[derive(Clone, Debug)]
pub struct Server {
    /// The whole of it as a URL; what else is said is on top.
    pub url: Option<SecretString>,
    /// Its name or address.
    pub host: Option<String>,
    /// Its port.
    pub port: Option<u16>,
    /// The user, where it has any.
    pub username: Option<String>,
    /// The password.
    pub password: Option<SecretString>,
    /// Which of its databases.
    pub database: Option<u32>,
    /// Whether the connection is encrypted.
    pub tls: bool,
}

/// Why the server cannot be asked, in words.
#[derive(Debug)]
struct Fault(String);

impl From<redis::RedisError> for Fault {
    fn from(fault: redis::RedisError) -> Self {
        Self(fault.to_string())
    }
}

/// A store of limits for several gateways.
#[derive(Debug)]
pub struct SharedLimits {
    local: Arc<Limits>,
    clock: Clock,
    link: Arc<Link>,
    commands: mpsc::UnboundedSender<Command>,
    money: Arc<MoneyLink>,
    threads: Mutex<Option<[JoinHandle<()>; 2]>>,
}

/// How things stand with the server.
#[derive(Debug)]
struct Link {
    /// It decides.
    up: AtomicBool,
    /// Nothing is sent without it.
    refuse: bool,
    /// When that changed, nanoseconds: whoever waits looks again.
    changed: AtomicU64,
    /// Something is to be told.
    dirty: Notify,
}

impl Link {
    fn is_up(&self) -> bool {
        self.up.load(Ordering::Acquire)
    }

    fn set(&self, up: bool, now: Moment) {
        self.up.store(up, Ordering::Release);
        self.changed.store(now.as_nanos(), Ordering::Release);
    }

    /// Without the server.
    fn alone(&self, limits: &Limits, now: Moment, request: &ReserveRequest<'_>) -> Decision {
        if self.refuse { Decision::Unreachable } else { limits.reserve(now, request) }
    }
}

impl Server {
    fn info(&self) -> Result<ConnectionInfo, String> {
        let failed =
            |fault: redis::RedisError| format!("the Redis server of the configuration cannot be asked: {fault}");
        let mut info = if let Some(url) = &self.url {
            url.expose_secret().into_connection_info().map_err(failed)?
        } else {
            let scheme = if self.tls { "rediss" } else { "redis" };
            let (host, port) = (self.host.as_deref().unwrap_or("localhost"), self.port.unwrap_or(6379));
            // An address of IPv6 stands in brackets in a URL, and is mostly written without.
            let bare = host.contains(':') && !host.starts_with('[');
            let host = if bare { format!("[{host}]") } else { host.to_owned() };
            format!("{scheme}://{host}:{port}").into_connection_info().map_err(failed)?
        };
        let mut settings = info.redis_settings().clone();
        if let Some(username) = &self.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = &self.password {
            settings = settings.set_password(password.expose_secret());
        }
        if let Some(database) = self.database {
            settings = settings.set_db(i64::from(database));
        }
        info = info.set_redis_settings(settings);
        Ok(info)
    }
}

impl SharedLimits {
    /// Begins to share `local` and `budgets`, as the gateway `name`, on threads of their own. Blocks until the server answers or does
    /// not; with `refuse` nothing that is limited is sent without it.
    ///
    /// # Errors
    /// The server cannot even be asked: its address is none.
    pub fn start(
        local: Arc<Limits>,
        budgets: &Arc<Budgets>,
        clock: Clock,
        server: &Server,
        name: String,
        refuse: bool,
    ) -> Result<Self, String> {
        let client =
            Client::open(server.info()?).map_err(|fault| format!("the Redis server cannot be asked: {fault}"))?;
        let link = Link { up: AtomicBool::new(false), refuse, changed: AtomicU64::new(0), dirty: Notify::new() };
        let link = Arc::new(link);
        let (commands, received) = mpsc::unbounded_channel();
        local.share(&name);
        let (ready, first) = std::sync::mpsc::channel();
        let (money_ready, money_first) = std::sync::mpsc::channel();
        let money = Arc::<MoneyLink>::default();
        let teller = Money {
            budgets: Arc::clone(budgets),
            clock,
            client: client.clone(),
            name: name.clone(),
            refuse,
            link: Arc::clone(&money),
            known: BTreeMap::new(),
            gateways: 1,
            seen: 1,
            turn: 0,
            looked: Moment::default(),
        };
        let changed = Arc::clone(&money);
        budgets.share(Box::new(move || changed.changed.notify_one()));
        let driver = Driver::new(Arc::clone(&local), clock, Arc::clone(&link), received, client, name);
        let failed = |fault| format!("no thread for shared limits: {fault}");
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let threads = [
            thread("shared-limits").spawn(move || driver.run(ready)).map_err(failed)?,
            thread("shared-budgets").spawn(move || teller.run(money_ready)).map_err(failed)?,
        ];
        // Whatever they say, the gateway starts.
        let _first = (first.recv_timeout(FIRST_ANSWER), money_first.recv_timeout(FIRST_ANSWER));
        Ok(Self { local, clock, link, commands, money, threads: Mutex::new(Some(threads)) })
    }

    /// Whether the server decides now.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.link.is_up()
    }

    async fn ask(&self, asked: Asked, answer: oneshot::Receiver<Granted>) -> Decision {
        if let Err(unsent) = self.commands.send(Command::Reserve(Box::new(asked)))
            && let Command::Reserve(asked) = unsent.0
        {
            return self.link.alone(&self.local, self.clock.now(), &asked.request());
        }
        match answer.await {
            Ok(granted) => granted.take(),
            // The thread ended: the process does.
            Err(_gone) => Decision::Unreachable,
        }
    }
}

impl LimitStore for SharedLimits {
    fn reserve<'a>(&'a self, now: Moment, request: ReserveRequest<'a>) -> Reserving<'a> {
        if !self.local.limit_any(&request) {
            return Reserving::Ready(Some(self.local.reserve(now, &request)));
        }
        if !self.link.is_up() {
            return Reserving::Ready(Some(self.link.alone(&self.local, now, &request)));
        }
        if request.certainty == Certainty::UpperBound && !self.local.at_most_half(now, &request) {
            return Reserving::Ready(Some(Decision::CountFirst));
        }
        let (sender, answer) = oneshot::channel();
        Reserving::Pending(Box::pin(self.ask(Asked::new(&request, sender), answer)))
    }

    fn sent(&self, now: Moment, reservation: ReservationHandle, by: Moment) {
        self.local.sent(now, reservation, by);
        self.link.dirty.notify_one();
    }

    fn response_head(&self, now: Moment, reservation: &Reservation) {
        self.local.response_head(now, reservation);
        self.link.dirty.notify_one();
    }

    fn sent_together(&self, now: Moment, reservations: &[ReservationHandle], by: Moment) {
        self.local.sent_together(now, reservations, by);
        self.link.dirty.notify_one();
    }

    fn response_heads(&self, now: Moment, reservations: &[&Reservation]) {
        self.local.response_heads(now, reservations);
        self.link.dirty.notify_one();
    }

    fn leave(&self, reservations: &[&Reservation]) {
        self.local.leave(reservations);
        self.link.dirty.notify_one();
    }

    fn settle(&self, now: Moment, reservation: Reservation, actual: Demand) {
        self.local.settle(now, reservation, actual);
        self.link.dirty.notify_one();
    }

    fn refund(&self, now: Moment, reservation: Reservation) {
        self.local.refund(now, reservation);
        self.link.dirty.notify_one();
    }

    fn local(&self) -> &Limits {
        &self.local
    }

    fn told(&self, now: Moment, scope: ScopeId, told: &[Told], refused: bool, hear: Box<dyn FnOnce(News) + Send>) {
        // What the others used meanwhile must not be taken for a stranger's.
        let command = Command::Told { scope, told: told.to_vec(), refused, hear };
        if !self.link.is_up() {
            command.hear(&self.local, now);
        } else if let Err(unsent) = self.commands.send(command) {
            unsent.0.hear(&self.local, now);
        }
    }

    fn shared_is_up(&self) -> Option<bool> {
        Some(self.is_up())
    }

    fn recheck(&self) -> Option<Duration> {
        Some(RECHECK)
    }

    fn refresh<'a>(&'a self, scopes: &'a [ScopeId]) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        Box::pin(async move {
            let (done, answer) = oneshot::channel();
            let asked =
                self.link.is_up() && self.commands.send(Command::Refresh { scopes: scopes.to_vec(), done }).is_ok();
            let news = asked && answer.await.unwrap_or(true);
            let changed = Moment::from_nanos(self.link.changed.load(Ordering::Acquire));
            news || !asked || self.clock.now().since(changed) < RECHECK * 4 || self.money.is_news(self.clock.now())
        })
    }

    fn when_money_is_told(&self, then: Box<dyn FnOnce() + Send>) {
        self.money.when_told(self.clock, then);
    }

    fn finish(&self) {
        let Some([limits, money]) = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        self.money.stop.store(true, Ordering::Release);
        self.money.changed.notify_one();
        let (done, told) = std::sync::mpsc::channel();
        if self.commands.send(Command::Stop(done)).is_ok() && told.recv_timeout(LAST_ANSWER).is_ok() {
            drop(limits.join());
            // It ends as soon: every answer is waited for a second at most.
            drop(money.join());
        }
    }
}

impl Drop for SharedLimits {
    fn drop(&mut self) {
        self.finish();
    }
}

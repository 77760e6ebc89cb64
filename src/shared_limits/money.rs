//! Budgets that several gateways spend of, told over a connection of their own.
//!
//! Each gateway tells its own part of a budget whenever it changes, and looks at all of them in turn; what the others spent and hold stands
//! in the same `Budgets` that decide. So a request asks nobody, but close to a budget's end, where it waits until what it holds is told and
//! what the others hold is heard. What a server has forgotten, whoever knew it tells again.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::Client;
use redis::aio::MultiplexedConnection;
use tokio::sync::Notify;

use super::driver::{ANSWER, BATCHING_DELAY, OTHERS_COME_BACK, RETRY, connection};
use super::{Fault, RECHECK, script};
use crate::budgets::{BudgetId, BudgetPart, Budgets};
use crate::clock::Clock;
use crate::moment::Moment;
use crate::money::NanoUsd;

/// Budgets of one call.
const BUDGETS: usize = 100;
/// So much longer than its period a budget is kept, for clocks that differ: milliseconds.
const KEPT: u64 = 86_400_000;

/// The thread that tells of budgets.
pub(super) struct Money {
    pub(super) budgets: Arc<Budgets>,
    pub(super) clock: Clock,
    pub(super) client: Client,
    pub(super) name: String,
    pub(super) refuse: bool,
    pub(super) link: Arc<MoneyLink>,
    pub(super) known: BTreeMap<BudgetId, Known>,
    /// How many gateways were last heard of while they were heard, and by the last answer.
    pub(super) gateways: u64,
    pub(super) seen: u64,
    /// Who are looked at next, though nothing of them changed.
    pub(super) turn: usize,
    /// When they were last looked at.
    pub(super) looked: Moment,
}

/// How it is reached.
#[derive(Debug, Default)]
pub(super) struct MoneyLink {
    pub(super) changed: Notify,
    pub(super) stop: AtomicBool,
    /// The server answers.
    up: AtomicBool,
    /// What is done as soon as all that is held now is told, and what the others hold is heard.
    asked: Mutex<Asked>,
    /// When others were last heard to have come to something else, or somebody asked: nanoseconds.
    heard: AtomicU64,
}

type Then = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Asked(Vec<Then>);

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Asked").field(&self.0.len()).finish()
    }
}

impl MoneyLink {
    /// Calls `then` as soon as all that is held now is told, and the others' is heard, and before anything else is; drops it where the server does
    /// not answer.
    pub(super) fn when_told(&self, clock: Clock, then: Then) {
        self.hears(clock.now());
        self.asked().0.push(then);
        // Whoever loses the server says so first, and then lets go of all who wait.
        if self.up.load(Ordering::Acquire) {
            self.changed.notify_one();
        } else {
            self.asked().0.clear();
        }
    }

    /// Whether those who wait for what others hold should look.
    pub(super) fn is_news(&self, now: Moment) -> bool {
        now.since(Moment::from_nanos(self.heard.load(Ordering::Acquire))) < RECHECK * 2
    }

    fn hears(&self, now: Moment) {
        self.heard.store(now.as_nanos(), Ordering::Release);
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lost(&self) {
        self.up.store(false, Ordering::Release);
        self.asked().0.clear();
    }
}

/// What the server is known to have of one budget.
pub(super) struct Known {
    /// In which of its periods.
    name: Arc<str>,
    /// What was spent before this process is in it.
    read: bool,
    /// What was spent, by gateway.
    spent: BTreeMap<String, u64>,
}

impl Money {
    /// Runs until the process ends. `ready` hears once whether the server answers.
    pub(super) fn run(mut self, ready: Sender<()>) {
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(self.attend(ready)),
            Err(fault) => tracing::error!(%fault, "budgets are not shared: no event loop"),
        }
    }

    async fn attend(&mut self, ready: Sender<()>) {
        let (mut pause, mut ready) = (RETRY[0], Some(ready));
        while !self.stops() {
            let fault = match self.connect().await {
                Ok((mut connection, mut script)) => {
                    pause = RETRY[0];
                    match self.serve(&mut connection, &mut script, &mut ready).await {
                        Ok(()) => return self.link.lost(),
                        Err(fault) => fault,
                    }
                }
                Err(fault) => fault,
            };
            self.gateways = self.seen.max(self.gateways);
            self.budgets.divide(self.gateways, self.refuse);
            self.link.lost();
            drop(ready.take());
            tracing::debug!(fault = %fault.0, "budgets are not shared meanwhile");
            let _woken = tokio::time::timeout(pause, self.link.changed.notified()).await;
            tokio::time::sleep(if self.stops() { Duration::ZERO } else { pause }).await;
            pause = (pause * 2).min(RETRY[1]);
        }
    }

    fn stops(&self) -> bool {
        self.link.stop.load(Ordering::Acquire)
    }

    async fn connect(&self) -> Result<(MultiplexedConnection, String), Fault> {
        let mut connection = connection(&self.client).await?;
        let script = redis::cmd("SCRIPT").arg("LOAD").arg(script::MONEY).query_async(&mut connection).await?;
        Ok((connection, script))
    }

    /// Serves until the connection is lost, or the process ends.
    async fn serve(
        &mut self,
        connection: &mut MultiplexedConnection,
        script: &mut String,
        ready: &mut Option<Sender<()>>,
    ) -> Result<(), Fault> {
        self.exchange(connection, script, true).await?;
        let until = self.clock.now() + OTHERS_COME_BACK;
        while self.seen < self.gateways && self.clock.now() < until && !self.stops() {
            // The others have not told their parts yet.
            tokio::time::sleep(RETRY[0]).await;
            self.exchange(connection, script, true).await?;
        }
        if self.seen > 1 {
            // One that was alone has asked nobody: it hears of this one when it next looks, and has told by then what it holds.
            tokio::time::sleep(RECHECK + RETRY[0]).await;
            self.exchange(connection, script, true).await?;
        }
        self.gateways = self.seen;
        self.budgets.are_heard(self.seen);
        self.link.up.store(true, Ordering::Release);
        drop(ready.take());
        loop {
            let woken = tokio::time::timeout(RECHECK, self.link.changed.notified()).await.is_ok();
            // Whoever waits for the others' money does not wait for more to go with it.
            if woken && self.link.asked().0.is_empty() {
                tokio::time::sleep(BATCHING_DELAY).await;
            }
            // Asked first: what is told last is all of it.
            let stops = self.stops();
            let Asked(asked) = std::mem::take(&mut *self.link.asked());
            let (began, gateways) = (self.clock.now(), self.seen);
            if let Err(fault) = self.exchange(connection, script, false).await {
                // One that did not answer in time would not answer now either.
                let again = self.clock.now() < began + ANSWER;
                let again = if again { self.connect_again(gateways).await } else { None };
                (*connection, *script) = again.ok_or(fault)?;
            }
            self.budgets.are_heard(self.seen);
            if !asked.is_empty() {
                self.link.hears(self.clock.now());
            }
            for then in asked {
                then();
            }
            self.gateways = self.seen;
            if stops {
                let gone = redis::cmd("HDEL").arg(script::spenders()).arg(&self.name).clone();
                let _gone: i64 = gone.query_async(connection).await?;
                return Ok(());
            }
        }
    }

    /// A server that closed a connection, or lost its script, is connected to and told everything at once. Not one that knows fewer
    /// gateways than before: it may have forgotten them, and they tell it first.
    async fn connect_again(&mut self, gateways: u64) -> Option<(MultiplexedConnection, String)> {
        let told = async {
            let (mut connection, script) = self.connect().await?;
            self.exchange(&mut connection, &script, true).await?;
            Ok::<_, Fault>((connection, script))
        };
        let connected = tokio::time::timeout(ANSWER, told).await;
        let seen = self.seen;
        self.seen = seen.max(gateways);
        connected.ok()?.ok().filter(|_| seen >= gateways)
    }

    /// Tells what changed, and hears of that and of some others. `begins`: of all, and what is known of others too.
    async fn exchange(
        &mut self,
        connection: &mut MultiplexedConnection,
        script: &str,
        begins: bool,
    ) -> Result<(), Fault> {
        let now = self.clock.now();
        // However often something changes here, what changed elsewhere is looked for no oftener.
        let mut turn = if begins { 0..usize::MAX } else { 0..0 };
        if !begins && now >= self.looked + RECHECK {
            self.looked = now;
            if self.turn >= self.budgets.places() {
                self.turn = 0;
                self.known.retain(|id, _| self.budgets.has(*id));
            }
            turn = self.turn..self.turn + BUDGETS;
            self.turn = turn.end;
        }
        let told = self.budgets.parts(now, turn.clone());
        // Who has nothing to tell is there all the same.
        let alone = (told.is_empty() && !turn.is_empty()).then_some(&[] as &[BudgetPart]);
        for chunk in told.chunks(BUDGETS).chain(alone) {
            let command = self.command(script, chunk, now, begins);
            let answer: Vec<Vec<String>> = command.query_async(connection).await?;
            self.hear(chunk, &answer)?;
        }
        Ok(())
    }

    fn known(&self, part: &BudgetPart) -> Option<&Known> {
        self.known.get(&part.id).filter(|known| known.name == part.name)
    }

    fn command(&self, script: &str, parts: &[BudgetPart], now: Moment, begins: bool) -> redis::Cmd {
        let keys = parts.iter().flat_map(|part| script::budget(&part.name));
        let keys: Vec<String> = std::iter::once(script::spenders()).chain(keys).collect();
        let mut command = script::call(script, &keys);
        command.arg(&self.name).arg(u8::from(begins));
        for part in parts {
            let known = self.known(part);
            let before = part.before.filter(|_| known.is_none_or(|known| !known.read));
            let before = before.map_or_else(|| "-1".to_owned(), |before| before.0.to_string());
            let forget = part.ends.map_or(0, |ends| ends.as_millis().saturating_sub(now.as_millis()) + KEPT);
            let pairs: Vec<_> = known.filter(|_| begins).map(|known| known.spent.iter().collect()).unwrap_or_default();
            command.arg(part.own.0).arg(part.held.0).arg(before).arg(forget).arg(pairs.len());
            for (gateway, spent) in pairs {
                command.arg(gateway).arg(spent);
            }
        }
        command
    }

    fn hear(&mut self, parts: &[BudgetPart], answer: &[Vec<String>]) -> Result<(), Fault> {
        let strange = || Fault("its answer is not one of our scripts'".to_owned());
        let number = |text: &String| text.parse::<u64>().map_err(|_no_number| strange());
        let (gateways, lists) = answer.split_first().ok_or_else(strange)?;
        let gateways = gateways.first().ok_or_else(strange)?;
        if gateways == "forgotten" {
            return Err(Fault("it has forgotten this gateway".to_owned()));
        }
        self.seen = number(gateways)?;
        let now = self.clock.now();
        for (part, list) in parts.iter().zip(lists) {
            let (held, pairs) = list.split_first().ok_or_else(strange)?;
            let mut spent = BTreeMap::new();
            for pair in pairs.chunks_exact(2) {
                spent.insert(pair[0].clone(), number(&pair[1])?);
            }
            let others = spent.iter().filter(|(gateway, _)| **gateway != self.name).map(|(_, spent)| *spent);
            let others = others.fold(0, u64::saturating_add);
            if self.budgets.elsewhere(now, part, NanoUsd(others), NanoUsd(number(held)?)) {
                self.link.hears(now);
            }
            let read = part.before.is_some() || self.known(part).is_some_and(|known| known.read);
            self.known.insert(part.id, Known { name: Arc::clone(&part.name), read, spent });
        }
        Ok(())
    }
}

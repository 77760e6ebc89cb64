//! The thread that speaks to the server: one batch at a time, whatever came meanwhile goes together with the next.
//!
//! A batch first tells what changed here and then asks for reservations, in one pipeline; so what the server has of this gateway is always
//! known, and what is left of its sums is the others'. Whatever fails ends the connection, and the next one tells everything again: at once,
//! so that a connection that a server closes, or scripts that it forgets, are nobody's loss.

mod exchange;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Pipeline, Value};
use tokio::sync::mpsc;

use super::batch::{Asked, Batch, Command, Granted, Place, tell};
use super::book::{Book, Update};
use super::script::{self, Answer, Cut, Keys, amounts, number, packed};
use super::{Fault, Link};
use crate::clock::Clock;
use crate::limits::{Certainty, Decision, Limits};
use crate::moment::Moment;

/// How long what is only told waits, so that more goes with it.
pub(super) const BATCHING_DELAY: Duration = Duration::from_millis(5);
/// How often a gateway is heard of: a fifth of the time after which it counts as gone.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// A server that does not answer for so long is gone.
pub(super) const ANSWER: Duration = Duration::from_secs(1);
pub(super) const CONNECT: Duration = Duration::from_secs(2);
/// Between two tries to reach it, at first and at most.
pub(super) const RETRY: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];
/// How long a gateway that comes back waits for the others: longer than they wait between two tries.
pub(super) const OTHERS_COME_BACK: Duration = Duration::from_millis(2500);
/// Reservations of one batch, and windows of one call.
const BATCH: usize = 256;
const WINDOWS: usize = 100;
/// A request for which there seemed to be room asks again after so long.
const AGAIN: Duration = Duration::from_millis(20);

/// A connection to the server.
pub(super) async fn connection(client: &Client) -> Result<MultiplexedConnection, redis::RedisError> {
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(ANSWER));
    client.get_multiplexed_async_connection_with_config(&config).await
}

pub(super) struct Driver {
    limits: Arc<Limits>,
    clock: Clock,
    link: Arc<Link>,
    commands: mpsc::UnboundedReceiver<Command>,
    client: Client,
    name: String,
    /// Whose part this gateway's own takes the place of, once in each window; its own name where there is nobody.
    predecessor: String,
    /// The windows where it has, by name. One that has a limit later than the others (a key's, whose database was away at the start) has its
    /// predecessor's part until then.
    succeeded: BTreeSet<String>,
    book: Book,
    /// How many gateways were last seen while the server decided, and by its last answer.
    gateways: u64,
    seen: u64,
    heard: Option<Moment>,
    scripts: [String; 2],
    stopped: bool,
    /// Who waits at the start.
    ready: Option<std::sync::mpsc::Sender<()>>,
}

impl Driver {
    pub(super) fn new(
        limits: Arc<Limits>,
        clock: Clock,
        link: Arc<Link>,
        commands: mpsc::UnboundedReceiver<Command>,
        client: Client,
        name: String,
    ) -> Self {
        let predecessor = limits.predecessor().unwrap_or_else(|| name.clone());
        let (book, scripts) = (Book::default(), Default::default());
        Self {
            limits,
            clock,
            link,
            commands,
            client,
            name,
            predecessor,
            succeeded: BTreeSet::new(),
            book,
            gateways: 1,
            seen: 1,
            heard: None,
            scripts,
            stopped: false,
            ready: None,
        }
    }

    /// Runs until the process ends. `ready` hears once whether the server answers.
    pub(super) fn run(mut self, ready: std::sync::mpsc::Sender<()>) {
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => {
                self.ready = Some(ready);
                runtime.block_on(self.attend());
            }
            Err(fault) => tracing::error!(%fault, "limits are not shared: no event loop"),
        }
    }

    async fn attend(&mut self) {
        let (mut pause, mut told) = (RETRY[0], false);
        while !self.stopped {
            let fault = match self.connect().await {
                Ok(mut connection) => {
                    if told {
                        tracing::info!(gateways = self.seen, "the Redis server answers again, and decides over limits");
                    }
                    (pause, told) = (RETRY[0], false);
                    match self.serve(&mut connection).await {
                        Ok(()) => return,
                        Err(fault) => fault,
                    }
                }
                Err(fault) => fault,
            };
            self.lost();
            drop(self.ready.take());
            if !told {
                told = true;
                let instead = if self.link.refuse {
                    "requests that a limit concerns are refused"
                } else {
                    "each gateway takes its share"
                };
                tracing::error!(fault = %fault.0, gateways = self.gateways, "the Redis server that gateways share limits through does not answer: {instead}");
            }
            self.alone_for(pause).await;
            pause = (pause * 2).min(RETRY[1]);
        }
    }

    /// From here on each gateway is on its own.
    fn lost(&mut self) {
        let now = self.clock.now();
        if self.link.is_up() {
            self.gateways = self.seen.max(1);
        }
        self.limits.divide(now, self.gateways);
        self.link.set(false, now);
        self.book.forget();
    }

    /// Answers without the server for so long.
    async fn alone_for(&mut self, length: Duration) {
        let until = self.clock.instant(self.clock.now() + length);
        while let Ok(Some(command)) = tokio::time::timeout_at(until, self.commands.recv()).await {
            self.alone(command);
        }
    }

    fn alone(&mut self, command: Command) {
        let now = self.clock.now();
        match command {
            Command::Reserve(asked) => {
                let decision = self.link.alone(&self.limits, now, &asked.request());
                self.answer(*asked, decision);
            }
            Command::Refresh { done, .. } => tell(true)(done),
            Command::Told { .. } => command.hear(&self.limits, now),
            Command::Stop(done) => {
                self.stopped = true;
                let _gone = done.send(());
            }
        }
    }

    fn answer(&self, asked: Asked, decision: Decision) {
        let (limits, link) = (Arc::clone(&self.limits), Arc::clone(&self.link));
        // Whoever asked may have left: then it is given back.
        drop(asked.answer.send(Granted { decision: Some(decision), limits, link, clock: self.clock }));
    }

    /// Connects and tells everything.
    async fn connect(&mut self) -> Result<MultiplexedConnection, Fault> {
        let mut connection = connection(&self.client).await?;
        let mut first = Pipeline::new();
        for source in [script::RESERVE, script::PUBLISH] {
            first.add_command(redis::cmd("SCRIPT").arg("LOAD").arg(source).clone());
        }
        first.add_command(redis::cmd("TIME"));
        let sent = self.clock.now();
        let (reserve, publish, (seconds, micros)): (String, String, (u64, u64)) =
            first.query_async(&mut connection).await?;
        self.scripts = [reserve, publish];
        self.book.clocks(seconds * 1_000_000 + micros, sent, self.clock.now());
        self.tell_all(&mut connection).await?;
        Ok(connection)
    }

    /// This gateway's whole part takes the place of what the server has of it.
    async fn tell_all(&mut self, connection: &mut MultiplexedConnection) -> Result<(), Fault> {
        self.book.forget();
        self.limits.take_touched();
        let now = self.clock.now();
        let scopes = self.limits.scopes();
        let parts = self.limits.own_parts(now, &scopes, true);
        let batch = Batch::of(self.book.updates(&scopes, parts, now, |_| true));
        let mut pipeline = Pipeline::new();
        self.publish(&batch, &mut pipeline, true);
        let answers = self.send(connection, &pipeline).await?;
        self.heard = Some(now);
        self.published(&batch, &answers);
        Ok(())
    }

    /// Serves until the connection is lost, or the process ends.
    async fn serve(&mut self, connection: &mut MultiplexedConnection) -> Result<(), Fault> {
        let until = self.clock.now() + OTHERS_COME_BACK;
        while self.seen < self.gateways && self.clock.now() < until && !self.stopped {
            // The others have not told their parts yet.
            self.alone_for(RETRY[0]).await;
            self.batch(connection, Vec::new(), true).await?;
        }
        self.gateways = self.seen.max(1);
        self.limits.reunite();
        self.link.set(true, self.clock.now());
        drop(self.ready.take());
        while !self.stopped {
            let heartbeat = self.heard.map_or(self.clock.now(), |heard| heard + HEARTBEAT);
            let link = Arc::clone(&self.link);
            let changed = async {
                link.dirty.notified().await;
                tokio::time::sleep(BATCHING_DELAY).await;
            };
            let mut work = Vec::new();
            tokio::select! {
                biased;
                command = self.commands.recv() => work.extend(command),
                () = changed => {}
                () = self.clock.sleep_until(heartbeat) => {}
            }
            while work.len() < BATCH
                && let Ok(command) = self.commands.try_recv()
            {
                work.push(command);
            }
            let due = self.clock.now() >= heartbeat;
            self.batch(connection, work, due).await?;
        }
        Ok(())
    }

    fn reserve(&self, asked: &Asked, places: &[Place]) -> redis::Cmd {
        let mut keys = vec![script::gateways()];
        for place in places {
            let window = Keys(&place.part.name);
            keys.extend([window.counted(), window.held()]);
        }
        let mut command = script::call(&self.scripts[0], &keys);
        command.arg(&self.name).arg(u8::from(asked.certainty == Certainty::UpperBound)).arg(asked.candidates.len());
        for Place { part, candidate, amount } in places {
            let head = Cut::new(part.length, part.fixed).head();
            let limits = crate::limits::Dimension::ALL.map(|dimension| part.limits[dimension].map_or(-1.0, number));
            let candidate = number(u64::try_from(*candidate).unwrap_or(u64::MAX));
            command.arg(packed(head.into_iter().chain([candidate]).chain(limits).chain(amounts(amount))));
        }
        command
    }

    /// Whether its predecessor's part is still to be taken away from a window.
    fn succeeds(&self, update: &Update) -> bool {
        self.predecessor != self.name && !update.is_last && !self.succeeded.contains(&update.part.name)
    }

    /// Tells the updates of a batch, or only that this gateway is there.
    fn publish(&self, batch: &Batch, pipeline: &mut Pipeline, begins: bool) {
        let alike = batch.updates.chunk_by(|one, next| self.succeeds(one) == self.succeeds(next));
        let chunks = alike.flat_map(|updates| updates.chunks(WINDOWS));
        let chunks = chunks.chain(batch.updates.is_empty().then_some(&[] as &[Update]));
        for chunk in chunks {
            let succeeds = chunk.first().map_or(begins, |update| self.succeeds(update));
            let before = if succeeds { &self.predecessor } else { &self.name };
            let mut keys = vec![script::gateways()];
            for update in chunk {
                let window = update.keys();
                keys.extend([window.counted(), window.held(), window.part(&self.name), window.part(before)]);
            }
            let how = if begins { 1 } else { 2 * u8::from(succeeds) };
            let mut command = script::call(&self.scripts[1], &keys);
            command.arg(&self.name).arg(how).arg(before);
            for update in chunk {
                command.arg(update.packed(begins || succeeds || batch.wanted.contains(&update.part.scope)));
            }
            pipeline.add_command(command);
        }
    }

    async fn send(
        &mut self,
        connection: &mut MultiplexedConnection,
        pipeline: &Pipeline,
    ) -> Result<Vec<Answer>, Fault> {
        let sent = self.clock.now();
        let values = connection.send_packed_commands(pipeline, 0, pipeline.len()).await?;
        let back = self.clock.now();
        // The last command of all is no script.
        let scripts = values.into_iter().filter(|value| !matches!(value, Value::Int(_)));
        let answers = scripts.map(Answer::read).collect::<Result<Vec<_>, _>>()?;
        for answer in &answers {
            if answer.chosen == -2 {
                return Err(Fault("it has forgotten this gateway".to_owned()));
            }
            self.book.clocks(answer.now, sent, back);
            self.seen = answer.gateways;
        }
        Ok(answers)
    }

    /// The server has what it was told; what it says of the others is taken in. Returns whether that was news.
    fn published(&mut self, batch: &Batch, answers: &[Answer]) -> bool {
        for update in &batch.updates {
            self.book.updated(update);
            if self.succeeds(update) {
                self.succeeded.insert(update.part.name.clone());
            }
        }
        let now = self.clock.now();
        let windows = answers.iter().flat_map(|answer| answer.windows.iter().map(move |window| (answer, window)));
        let mut news = false;
        for (update, (answer, window)) in batch.updates.iter().zip(windows) {
            // What others use under a name that was left is no use of the window that had it.
            if !update.is_last {
                news |= self.book.others(&self.limits, now, answer, &update.part, window);
            }
        }
        news
    }

    /// Everybody who asked is answered.
    fn end(&mut self, batch: Batch, answers: &[Answer], news: bool) {
        let Batch { asked, refreshed, told, stop, .. } = batch;
        let now = self.clock.now();
        for ((asked, places), answer) in asked.into_iter().zip(answers) {
            let decision = self.decide(&asked, &places, answer, now);
            self.answer(*asked, decision);
        }
        refreshed.into_iter().for_each(tell(news));
        for command in told {
            command.hear(&self.limits, now);
        }
        if let Some(done) = stop {
            self.stopped = true;
            let _gone = done.send(());
        }
    }

    fn decide(&mut self, asked: &Asked, places: &[Place], answer: &Answer, now: Moment) -> Decision {
        let chosen = usize::try_from(answer.chosen).ok().filter(|chosen| *chosen > 0);
        for (place, window) in places.iter().zip(&answer.windows) {
            self.book.others(&self.limits, now, answer, &place.part, window);
            if chosen.is_some_and(|chosen| place.candidate == 0 || place.candidate == chosen) {
                self.book.granted(&place.part, &place.amount);
            }
        }
        if let Some(chosen) = chosen {
            return self.limits.hold(&asked.request(), chosen - 1);
        }
        if answer.chosen < 0 {
            return Decision::CountFirst;
        }
        match self.limits.refusal(now, &asked.request()) {
            Decision::Until(Some(until)) => Decision::Until(Some(until.max(now + AGAIN))),
            other => other,
        }
    }
}

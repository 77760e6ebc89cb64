//! One exchange with the server: what goes there together, and what becomes of it where the server fails.

use std::collections::BTreeSet;

use redis::Pipeline;
use redis::aio::MultiplexedConnection;

use super::super::Fault;
use super::super::batch::{Asked, Batch, Command, Place, tell};
use super::super::script::{self, Answer};
use super::{ANSWER, Driver};
use crate::limits::ScopeId;

impl Driver {
    /// Tells what changed, asks what is to be asked, and answers. Where the server fails, it is connected to once more at once; if that
    /// fails too, everybody is answered without it.
    pub(super) async fn batch(
        &mut self,
        connection: &mut MultiplexedConnection,
        work: Vec<Command>,
        heartbeat: bool,
    ) -> Result<(), Fault> {
        let mut batch = Batch::of(Vec::new());
        for command in work {
            self.sort(command, &mut batch);
        }
        let (began, gateways) = (self.clock.now(), self.seen);
        let mut answers = self.exchange(connection, &mut batch, heartbeat).await;
        // One that did not answer in time would not answer now either.
        if answers.is_err()
            && self.clock.now() < began + ANSWER
            && let Some(again) = self.connect_again(gateways).await
        {
            *connection = again;
            answers = self.exchange(connection, &mut batch, true).await;
        }
        match answers {
            Ok((told, granted)) => {
                let news = self.published(&batch, &told);
                self.end(batch, &granted, news);
                Ok(())
            }
            Err(fault) => {
                self.lost();
                let Batch { asked, refreshed, told, stop, .. } = batch;
                refreshed.into_iter().for_each(tell(true));
                let asked = asked.into_iter().map(|(asked, _places)| Command::Reserve(asked));
                for command in asked.chain(told).chain(stop.map(Command::Stop)) {
                    self.alone(command);
                }
                Err(fault)
            }
        }
    }

    /// A server that closed a connection, or lost its scripts, decides as before once it is connected to and told everything. Not one that
    /// knows fewer gateways than before: it may have forgotten what the others use, and they tell it first.
    async fn connect_again(&mut self, gateways: u64) -> Option<MultiplexedConnection> {
        let connected = tokio::time::timeout(ANSWER, self.connect()).await;
        let seen = self.seen;
        // Whatever it knows of them, as many share the limits where it is lost.
        self.seen = seen.max(gateways);
        connected.ok()?.ok().filter(|_| seen >= gateways)
    }

    /// Tells what changed and asks what is to be asked: the answers to the one and to the other.
    async fn exchange(
        &mut self,
        connection: &mut MultiplexedConnection,
        batch: &mut Batch,
        heartbeat: bool,
    ) -> Result<(Vec<Answer>, Vec<Answer>), Fault> {
        let now = self.clock.now();
        let mut scopes: BTreeSet<ScopeId> = self.limits.take_touched().into_iter().collect();
        scopes.extend(&batch.wanted);
        let scopes: Vec<ScopeId> = scopes.into_iter().collect();
        let parts = self.limits.own_parts(now, &scopes, true);
        batch.updates = self.book.updates(&scopes, parts, now, |scope| batch.wanted.contains(&scope));
        let mut pipeline = Pipeline::new();
        if heartbeat || !batch.updates.is_empty() {
            self.publish(batch, &mut pipeline, false);
            self.heard = Some(now);
        }
        let published = pipeline.len();
        for (asked, places) in &batch.asked {
            pipeline.add_command(self.reserve(asked, places));
        }
        if batch.stop.is_some() {
            pipeline.add_command(redis::cmd("HDEL").arg(script::gateways()).arg(&self.name).clone());
        }
        let mut told = if pipeline.is_empty() { Vec::new() } else { self.send(connection, &pipeline).await? };
        let granted = told.split_off(published.min(told.len()));
        Ok((told, granted))
    }

    fn sort(&self, command: Command, batch: &mut Batch) {
        match command {
            Command::Reserve(asked) => {
                let places = self.places(&asked);
                batch.asked.push((asked, places));
            }
            Command::Refresh { scopes, done } => {
                batch.wanted.extend(scopes);
                batch.refreshed.push(done);
            }
            Command::Told { scope, .. } => {
                batch.wanted.insert(scope);
                batch.told.push(command);
            }
            Command::Stop(done) => batch.stop = Some(done),
        }
    }

    /// The limited windows that a reservation needs room in.
    fn places(&self, asked: &Asked) -> Vec<Place> {
        let now = self.clock.now();
        let shared: BTreeSet<ScopeId> = asked.shared.iter().copied().collect();
        let shared = shared.into_iter().map(|scope| (scope, 0, asked.shared_demand));
        let candidates = asked.candidates.iter().zip(1..).map(|((scope, demand), number)| (*scope, number, *demand));
        let mut places = Vec::new();
        for (scope, candidate, demand) in shared.chain(candidates) {
            let amount = demand.amounts();
            let parts = self.limits.own_parts(now, &[scope], false);
            places.extend(parts.into_iter().map(|part| Place { part, candidate, amount }));
        }
        places
    }
}

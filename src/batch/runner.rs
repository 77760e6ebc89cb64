//! Carries the lines of a batch out: as many of each model in flight as may be, each read from its file when it is its turn, until all have
//! ended, the time is over or it is told to stop.
//!
//! What has begun and is not sent when it is told to stop is dropped: nothing was paid for it. What was sent is waited for. What waits
//! for limits is asked again for as long as it takes; what a provider failed, so often; what does not pass, ends with its reason.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::line::Line;
use super::outcome;
use super::progress::Progress;
use super::reply;
use crate::fault::{Cause, Refusal, RefusalKind};
use crate::moment::Moment;
use crate::money::NanoUsd;
use crate::pipeline::Gateway;
use crate::snapshot::Caller;
use crate::store::{BatchStore, LineEnd, LinePlace};

/// The first pause before a line is asked again whose refusal says nothing; each later one is twice as long.
const PAUSE: Duration = Duration::from_secs(2);
/// The longest of them. A provider that asks for more is left alone for as long as it asks.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// How often a line is asked again that a provider failed.
const RETRIES: u32 = 3;
/// Places of lines that are read at once.
const PAGE: usize = 64;
/// How often it is noted that it is at work.
const TOUCH: Duration = Duration::from_secs(1);

/// Why it came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// Every line has ended.
    Done,
    /// It was told to stop.
    Stopped,
    /// Its time is over.
    Expired,
    /// A key or an account is refused: no other line would fare better.
    Refused(String),
}

/// Carries out the lines of one batch.
pub struct Runner<'a> {
    /// Where they are asked.
    pub gateway: &'a Arc<Gateway>,
    /// Where they and their ends are kept.
    pub store: &'a BatchStore,
    /// The batch.
    pub batch: &'a str,
    /// The file they stand in.
    pub input: &'a File,
    /// Who asks, now.
    pub caller: &'a (dyn Fn() -> Result<Arc<Caller>, Refusal> + Sync),
    /// Lines of one model in flight at once.
    pub most: usize,
    /// Requests at once, with all who have the same.
    pub permits: &'a Semaphore,
    /// Cancelled where it is to stop.
    pub stop: &'a CancellationToken,
    /// When its time is over.
    pub until: Option<Moment>,
    /// Whether a refused key ends it, and not the line alone.
    pub stop_when_refused: bool,
    /// How far it is.
    pub progress: &'a Progress,
}

/// The lines of one model.
struct Queue {
    model: String,
    next: VecDeque<LinePlace>,
    after: u64,
    drained: bool,
    in_flight: usize,
}

/// How a line ended.
struct Ended {
    queue: usize,
    /// `None`: it was dropped.
    end: Option<LineEnd>,
    cost: NanoUsd,
    refused: Option<String>,
}

impl Runner<'_> {
    /// Carries out every line without an end.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub async fn run(&self) -> Result<Finish, String> {
        let models = self.store.models(self.batch)?;
        let queue = |model| Queue { model, next: VecDeque::new(), after: 0, drained: false, in_flight: 0 };
        let mut queues: Vec<Queue> = models.into_iter().map(queue).collect();
        let halt = self.stop.child_token();
        let mut running = FuturesUnordered::new();
        let mut finish = Finish::Done;
        let mut over = pin!(self.time());
        let mut touch = pin!(tokio::time::sleep(Duration::ZERO));
        loop {
            if finish == Finish::Done {
                for (at, queue) in queues.iter_mut().enumerate() {
                    while queue.in_flight < self.most
                        && let Some(place) = queue.next(self.store, self.batch)?
                    {
                        queue.in_flight += 1;
                        self.progress.begun();
                        running.push(self.line(at, place, &halt));
                    }
                }
            }
            if running.is_empty() {
                return Ok(finish);
            }
            let first = tokio::select! {
                biased;
                () = self.stop.cancelled(), if finish == Finish::Done => {
                    finish = Finish::Stopped;
                    continue;
                }
                () = &mut over, if finish == Finish::Done => {
                    finish = Finish::Expired;
                    halt.cancel();
                    continue;
                }
                ended = running.next() => ended,
                () = &mut touch => {
                    self.store.touch(self.batch, self.gateway.clock.now().as_millis())?;
                    touch.set(tokio::time::sleep(TOUCH));
                    continue;
                }
            };
            // Those that have ended by now are kept together.
            let mut ended: Vec<Ended> = first.into_iter().collect();
            while let Some(Some(another)) = running.next().now_or_never() {
                ended.push(another);
            }
            if let Some(why) = self.keep(&mut queues, ended)?
                && matches!(finish, Finish::Done | Finish::Stopped)
            {
                finish = Finish::Refused(why);
                halt.cancel();
            }
        }
    }

    /// Keeps how lines ended. Says why nothing more can come of the batch, where that is so.
    fn keep(&self, queues: &mut [Queue], ended: Vec<Ended>) -> Result<Option<String>, String> {
        let (mut ends, mut told, mut refused) = (Vec::new(), Vec::new(), None);
        for Ended { queue, end, cost, refused: why } in ended {
            queues[queue].in_flight -= 1;
            told.push((end.as_ref().map(|end| end.answered), cost));
            ends.extend(end);
            refused = refused.or(why);
        }
        if !ends.is_empty() {
            self.store.ended(self.batch, &ends)?;
        }
        for (answered, cost) in told {
            self.progress.ended(answered, cost);
        }
        Ok(refused)
    }

    async fn time(&self) {
        match self.until {
            Some(until) => self.gateway.clock.sleep_until(until).await,
            None => std::future::pending().await,
        }
    }

    /// One line to its end, asked as often as it may be.
    async fn line(&self, queue: usize, at: LinePlace, halt: &CancellationToken) -> Ended {
        let dropped = |refused| Ended { queue, end: None, cost: NanoUsd::default(), refused };
        let failed = |outcome| Ended {
            queue,
            end: Some(LineEnd { place: at.place, answered: false, outcome }),
            cost: NanoUsd::default(),
            refused: None,
        };
        let mut tries = 0;
        let mut pause = PAUSE;
        loop {
            let replied = {
                let permit = tokio::select! {
                    biased;
                    () = halt.cancelled() => return dropped(None),
                    permit = self.permits.acquire() => permit,
                };
                let Ok(_permit) = permit else { return dropped(None) };
                let line = match self.read(&at) {
                    Ok(line) => line,
                    Err(why) => {
                        let number = format!("{}-{}", self.batch, at.place);
                        return failed(outcome::unsent(&at.custom_id, &number, "unreadable_line", &why));
                    }
                };
                let caller = match (self.caller)() {
                    Ok(caller) => caller,
                    Err(refusal) => {
                        let id = self.gateway.new_id().to_string();
                        return failed(outcome::refused(&line, &id, &refusal));
                    }
                };
                // Boxed: it holds a whole request.
                let replied = Box::pin(reply::ask(self.gateway, caller, &line, halt)).await;
                (replied, line)
            };
            let (reply::Replied { request, reply, was_sent }, line) = replied;
            let refusal = match reply {
                None => return dropped(None),
                Some(Ok((body, cost))) => {
                    let Some(outcome) = outcome::answered(&line, &request, &body) else {
                        let refusal = Refusal::new(RefusalKind::Internal, "the reply could not be written as a line");
                        return failed(outcome::refused(&line, &request, &refusal));
                    };
                    let end = Some(LineEnd { place: at.place, answered: true, outcome });
                    return Ended { queue, end, cost, refused: None };
                }
                Some(Err(refusal)) => refusal,
            };
            if self.stop_when_refused && refusal.cause == Some(Cause::Credential) {
                return dropped(Some(refusal.message));
            }
            // To wait for limits and breakers is no failure.
            let waits = matches!(refusal.kind, RefusalKind::RateLimited | RefusalKind::Unavailable);
            tries += u32::from(was_sent || !waits);
            let again = refusal.is_transient() && refusal.cause != Some(Cause::Credential);
            if !again || tries > RETRIES {
                return failed(outcome::refused(&line, &request, &refusal));
            }
            drop(line);
            let wait = refusal.retry_after.unwrap_or(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
            tokio::select! {
                biased;
                () = halt.cancelled() => return dropped(None),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn read(&self, at: &LinePlace) -> Result<Line, String> {
        let length = usize::try_from(at.length).map_err(|fault| fault.to_string())?;
        let mut text = vec![0; length];
        self.input.read_exact_at(&mut text, at.start).map_err(|fault| format!("the input cannot be read: {fault}"))?;
        let line = Line::read(&text, None).map_err(|problem| problem.message)?;
        if line.custom_id == at.custom_id {
            Ok(line)
        } else {
            Err("the input has changed since it was checked".to_owned())
        }
    }
}

impl Queue {
    fn next(&mut self, store: &BatchStore, batch: &str) -> Result<Option<LinePlace>, String> {
        if self.next.is_empty() && !self.drained {
            self.next = store.waiting(batch, &self.model, self.after, PAGE)?.into();
            self.after = self.next.back().map_or(self.after, |last| last.place);
            self.drained = self.next.len() < PAGE;
        }
        Ok(self.next.pop_front())
    }
}

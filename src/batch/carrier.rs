//! The thread that carries batches out, one after another and several at once, each with its share of a small number of requests.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::keeping::{KEPT_FOR, OUTPUT};
use super::order::{Order, Status, seconds};
use super::outcome::{self, each_outcome};
use super::service::Served;
use super::usage::BatchUsage;
use super::{Finish, Progress, Rules, Runner, check};
use crate::id::KeyId;
use crate::moment::Moment;
use crate::pipeline::{Gateway, caller_named};
use crate::store::{KeptBatch, KeptFile};

/// Batches that are carried out at once, in all and of one key.
const AT_ONCE: [usize; 2] = [16, 4];
/// Requests of batches at once, at most; and the share of the places of a queue that they may take.
const MOST_REQUESTS: usize = 64;
const SHARE: usize = 4;
/// Lines of a batch: OpenAI's bound.
const LINES: u64 = 50_000;
/// Problems that are kept of a batch.
const PROBLEMS: usize = 200;
/// How often files are looked through whose time is over.
const SWEEP: Duration = Duration::from_secs(3600);
/// How long a batch is left alone whose state could not be read or written.
const AGAIN: Duration = Duration::from_secs(10);

/// Carries out what there is until it is to stop; once `cut` is cancelled, what was sent is not waited for any more, and recorded as it is.
/// `over` is cancelled when no client is served any more.
pub(super) fn work(gateway: &Arc<Gateway>, served: &Arc<Served>, [stop, cut, over]: [&CancellationToken; 3]) {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(async {
            tokio::select! { biased; () = cut.cancelled() => {}, () = serve(gateway, served, stop, over) => {} }
        }),
        Err(fault) => tracing::error!(%fault, "batches are not carried out: no event loop"),
    }
}

async fn serve(gateway: &Arc<Gateway>, served: &Arc<Served>, stop: &CancellationToken, over: &CancellationToken) {
    let waiting = gateway.live.read().settings.queue.max_waiting;
    let permits = Semaphore::new((waiting / SHARE).clamp(1, MOST_REQUESTS));
    let mut running = FuturesUnordered::new();
    let mut owners: BTreeMap<String, usize> = BTreeMap::new();
    loop {
        let open = served.keeping.store.open_batches().unwrap_or_else(|why| {
            tracing::error!(why, "the batches cannot be read");
            Vec::new()
        });
        for batch in open {
            let of_owner = owners.entry(batch.owner.clone()).or_default();
            if served.running().contains_key(&batch.id) || running.len() >= AT_ONCE[0] || *of_owner >= AT_ONCE[1] {
                continue;
            }
            *of_owner += 1;
            let cancel = stop.child_token();
            served.running().insert(batch.id.clone(), cancel.clone());
            let carrier = Carrier { gateway, served, permits: &permits, stop, cancel };
            running.push(async move {
                if let Err(why) = carrier.carry_out(&batch).await {
                    let seconds = AGAIN.as_secs();
                    tracing::error!(why, batch = batch.id, "a batch was interrupted; it goes on in {seconds} s");
                    tokio::select! { () = stop.cancelled() => {}, () = tokio::time::sleep(AGAIN) => {} }
                }
                batch
            });
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(batch) = running.next() => {
                served.running().remove(&batch.id);
                if let Some(of_owner) = owners.get_mut(&batch.owner) {
                    *of_owner -= 1;
                }
                owners.retain(|_, count| *count > 0);
            }
            () = served.wake.notified() => {}
            () = tokio::time::sleep(SWEEP) => {
                if let Err(why) = served.keeping.sweep(gateway.clock.now()) {
                    tracing::error!(why, "files of batches that have expired could not be removed");
                }
            }
        }
    }
    // What was sent is waited for, as long as a stop may take.
    let grace = gateway.live.read().settings.server.shutdown_grace;
    let drained = async { while running.next().await.is_some() {} };
    // Clients may have a moment longer than this.
    let late = async {
        tokio::time::sleep(grace).await;
        tracing::warn!(
            "lines of batches are under way and the time of the stop is over; those that do not end before the gateway are asked again at the next start"
        );
        over.cancelled().await;
    };
    // Lines go on until then: one that nobody polls may hold what clients wait for, as the one turn to attend for a queue.
    tokio::select! {
        biased;
        () = drained => {}
        // What is cut is the gateway's doing, and recorded so.
        () = late => gateway.cutoff.cancel(),
    }
}

struct Carrier<'a> {
    gateway: &'a Arc<Gateway>,
    served: &'a Arc<Served>,
    permits: &'a Semaphore,
    stop: &'a CancellationToken,
    cancel: CancellationToken,
}

impl Carrier<'_> {
    /// As far as it goes before the gateway stops.
    async fn carry_out(&self, batch: &KeptBatch) -> Result<(), String> {
        let until = Moment::from_millis(self.order(batch)?.expires_at * 1000);
        if self.order(batch)?.status == Status::Validating && self.now() < until {
            self.validate(batch).await?;
        }
        let mut expired = self.now() >= until;
        if self.order(batch)?.status == Status::InProgress && !expired {
            let input = self.served.keeping.read(&batch.input).map_err(|fault| format!("its input: {fault}"))?;
            match self.run(batch, &input, until).await? {
                Finish::Expired => expired = true,
                Finish::Stopped if self.stop.is_cancelled() => return Ok(()),
                Finish::Done | Finish::Stopped | Finish::Refused(_) => {}
            }
        }
        let status = self.order(batch)?.status;
        if self.stop.is_cancelled() || !status.is_open() {
            return Ok(());
        }
        let last = match status {
            Status::Cancelling => Status::Cancelled,
            _ if expired => Status::Expired,
            _ => Status::Completed,
        };
        self.finalize(batch, last).await
    }

    fn now(&self) -> Moment {
        self.gateway.clock.now()
    }

    fn order(&self, batch: &KeptBatch) -> Result<Order, String> {
        let kept = self.served.keeping.store.batch(&batch.id)?;
        Ok(kept.map_or_else(Order::default, |kept| Order::of(&kept.about)))
    }

    fn change(&self, batch: &KeptBatch, change: impl FnOnce(&mut Order)) -> Result<(), String> {
        self.served.keeping.store.change_batch(&batch.id, |about| {
            let mut order = Order::of(about);
            change(&mut order);
            (order.kept(), order.status.is_open(), Vec::new())
        })
    }

    /// Reads every line, on another thread: others are carried out meanwhile.
    async fn validate(&self, batch: &KeptBatch) -> Result<(), String> {
        let (gateway, served, cancel) = (Arc::clone(self.gateway), Arc::clone(self.served), self.cancel.clone());
        let (endpoint, about) = (self.order(batch)?.endpoint, batch.clone());
        let read = move || {
            let store = &served.keeping.store;
            store.forget_lines(&about.id)?;
            let input = served.keeping.read(&about.input).map_err(|fault| format!("its input: {fault}"))?;
            let snapshot = gateway.live.read();
            let caller = caller_named(&snapshot, &KeyId::from(about.owner.as_str()), gateway.clock.now());
            let rules = Rules {
                endpoint: Some(&endpoint),
                most: Some(LINES),
                longest: snapshot.settings.server.max_request_bytes,
                known: &|model| gateway.known_model(caller.as_ref().map_err(Clone::clone)?, model),
                given_up: &|| cancel.is_cancelled(),
            };
            let mut problems = Vec::new();
            check(&input, store, &about.id, &rules, &mut |problem| {
                if problems.len() < PROBLEMS {
                    problems.push(Order::problem(&problem));
                }
            })?;
            Ok::<_, String>(problems)
        };
        let problems = tokio::task::spawn_blocking(read).await.map_err(|fault| fault.to_string())??;
        if self.cancel.is_cancelled() {
            return Ok(());
        }
        let now = self.now();
        let model = self.served.keeping.store.only_model(&batch.id)?;
        if !problems.is_empty() {
            self.served.keeping.store.forget_lines(&batch.id)?;
        }
        self.change(batch, |order| {
            // It may be cancelled by now.
            if order.status == Status::Validating {
                order.becomes(if problems.is_empty() { Status::InProgress } else { Status::Failed }, now);
                order.model = model.filter(|_| problems.is_empty());
                order.problems = problems;
            }
        })
    }

    async fn run(&self, batch: &KeptBatch, input: &File, until: Moment) -> Result<Finish, String> {
        let owner = KeyId::from(batch.owner.as_str());
        let caller = || caller_named(&self.gateway.live.read(), &owner, self.gateway.clock.now());
        let runner = Runner {
            gateway: self.gateway,
            store: &self.served.keeping.store,
            batch: &batch.id,
            input,
            caller: &caller,
            most: MOST_REQUESTS,
            permits: self.permits,
            stop: &self.cancel,
            until: Some(until),
            stop_when_refused: false,
            progress: &Progress::default(),
        };
        runner.run().await
    }

    /// Writes what came of it, on another thread, and closes it.
    async fn finalize(&self, batch: &KeptBatch, last: Status) -> Result<(), String> {
        if last == Status::Completed {
            let now = self.now();
            self.change(batch, |order| order.becomes(Status::Finalizing, now))?;
        }
        let (gateway, served, batch) = (Arc::clone(self.gateway), Arc::clone(self.served), batch.clone());
        let close = move || close(&gateway, &served, &batch, last);
        tokio::task::spawn_blocking(close).await.map_err(|fault| fault.to_string())?
    }
}

fn close(gateway: &Gateway, served: &Served, batch: &KeptBatch, last: Status) -> Result<(), String> {
    let store = &served.keeping.store;
    let (code, why) = match last {
        Status::Cancelled => ("batch_cancelled", "the batch was cancelled before this line was answered"),
        _ => ("batch_expired", "the completion window was over before this line was answered"),
    };
    let unsent = |place: u64, custom_id: &str| outcome::unsent(custom_id, &format!("{}-{place}", batch.id), code, why);
    store.end_all(&batch.id, unsent)?;
    let counts = store.counts(&batch.id)?;
    let kept = store.batch(&batch.id)?.map_or_else(Order::default, |kept| Order::of(&kept.about));
    let now = gateway.clock.now();
    let (mut files, mut usage) = (Vec::new(), BatchUsage::default());
    let mut write = |answered: bool, name: &str| {
        let id = format!("file-{}", gateway.new_id().to_string().replace('-', ""));
        let aside = served.keeping.aside().map_err(|fault| fault.to_string())?;
        each_outcome(store, &batch.id, Some(answered), &mut BufWriter::new(aside.as_file()), |outcome| {
            usage.add(outcome);
        })?;
        let bytes = served.keeping.place(aside, &id).map_err(|fault| fault.to_string())?;
        let lasts = kept.output_expires_after.unwrap_or(KEPT_FOR);
        files.push(KeptFile {
            id: id.clone(),
            owner: batch.owner.clone(),
            name: format!("{}_{name}.jsonl", batch.id),
            purpose: OUTPUT.to_owned(),
            bytes,
            created_ms: now.as_millis(),
            expires_ms: Some((seconds(now) + lasts) * 1000),
        });
        Ok::<_, String>(id)
    };
    let output = (counts.answered > 0).then(|| write(true, "output")).transpose()?;
    let errors = (counts.failed > 0).then(|| write(false, "error")).transpose()?;
    store.change_batch(&batch.id, |about| {
        let mut order = Order::of(about);
        order.becomes(last, now);
        order.counts = Some([counts.total, counts.answered, counts.failed]);
        order.usage = Some(usage);
        (order.output_file, order.error_file) = (output, errors);
        (order.kept(), false, files)
    })?;
    store.forget_lines(&batch.id)
}

//! Makes the vectors of questions for routers that want them, beside the requests that wait.
//!
//! The rule: a call for a vector is a request of this gateway like any other, on an account of its own (`embedding:GROUP`), with that
//! account's money of the day reserved before it is sent. A text that is asked for while its vector is being made is not asked for
//! twice, and is wanted for as long as any of those who asked waits. What nobody waits for any more when its turn comes, at a limit too, is not
//! begun; what was begun is finished and remembered. Whatever fails
//! here is counted, and nothing else fails with it.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::Uri;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;

use crate::background_thread::BackgroundThread;
use crate::batch;
use crate::fault::RefusalKind;
use crate::format::{ClientRequest, operation_at};
use crate::id::GroupName;
use crate::moment::Moment;
use crate::money::NanoUsd;
use crate::pipeline::{Embedded, Gateway, ToEmbed, Told, Vector};
use crate::sentences::Sentences;
use crate::shared_limits::VectorStore;
use crate::snapshot::{Caller, EmbeddingMaker};

/// Vectors that are made at once.
const AT_ONCE: usize = 64;
/// The longest that one is made.
const LONGEST: Duration = Duration::from_secs(30);
/// How long a call may take to be sent, though nobody waits for it that long: it is for whoever asks the same next.
const TO_BE_SENT: Duration = Duration::from_secs(2);
/// The API that vectors are asked for through.
const PATH: &str = "/v1/embeddings";

/// Begins to make what is wanted in this gateway. What is made is kept in `store` too, where there is one.
///
/// # Errors
/// There is no thread for it, or another makes them already, in words.
pub fn start(gateway: &Arc<Gateway>, store: Option<VectorStore>) -> Result<BackgroundThread, String> {
    let texts = gateway.embeddings.open().ok_or("this gateway's vectors are made already")?;
    let gateway = Arc::clone(gateway);
    BackgroundThread::start("embeddings", move |stop| async move { work(&gateway, texts, store.as_ref(), &stop).await })
}

/// What came of one piece of work: of a text; or something was kept.
type Done = Option<([u8; 32], Told)>;
type Work<'w> = Pin<Box<dyn Future<Output = Done> + 'w>>;
type Tell = Box<dyn FnOnce(Told) + Send>;

/// Until when anybody waits for a vector: the last of those who asked for it.
#[derive(Debug)]
struct Wanted(AtomicU64);

impl Wanted {
    const fn new(until: Moment) -> Self {
        Self(AtomicU64::new(until.as_nanos()))
    }

    /// Somebody else waits until then.
    fn extend(&self, until: Moment) {
        self.0.fetch_max(until.as_nanos(), Ordering::AcqRel);
    }

    fn until(&self) -> Moment {
        Moment::from_nanos(self.0.load(Ordering::Acquire))
    }

    /// Waits until nobody does, and until then at least.
    async fn is_over(&self, gateway: &Gateway, least: Moment) {
        loop {
            let until = self.until().max(least);
            if gateway.clock.now() >= until {
                return;
            }
            gateway.clock.sleep_until(until).await;
        }
    }
}

/// Makes what comes until it is to stop.
async fn work(
    gateway: &Arc<Gateway>,
    mut texts: Receiver<ToEmbed>,
    store: Option<&VectorStore>,
    stop: &CancellationToken,
) {
    let mut running: FuturesUnordered<Work<'_>> = FuturesUnordered::new();
    let mut waiting: HashMap<[u8; 32], (Arc<Wanted>, Vec<Tell>)> = HashMap::new();
    if let Some(store) = store.filter(|_| gateway.live.read().groups.values().any(|group| group.embedding.is_some())) {
        running.push(Box::pin(async move {
            store.connect().await;
            None
        }));
    }
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Some(done) = running.next() => {
                let Some((key, told)) = done else { continue };
                if let (Some(store), (Embedded::Made, Some(vector))) = (store, &told) {
                    let bytes = vector.to_bytes();
                    running.push(Box::pin(async move {
                        store.put(&key, bytes).await;
                        None
                    }));
                }
                for tell in waiting.remove(&key).into_iter().flat_map(|(_, waiting)| waiting) {
                    tell(told.clone());
                }
            }
            text = texts.recv(), if running.len() < AT_ONCE => {
                let Some(ToEmbed { group, source, text, key, until, tell }) = text else { return };
                if let Some((wanted, others)) = waiting.get_mut(&key) {
                    wanted.extend(until);
                    others.push(tell);
                } else if let Some(vector) = gateway.embeddings.recall(&key) {
                    // Made between the asker's own look and its question here.
                    tell((Embedded::Remembered, Some(vector)));
                } else if gateway.clock.now() < until {
                    let wanted = Arc::new(Wanted::new(until));
                    waiting.insert(key, (Arc::clone(&wanted), vec![tell]));
                    running.push(Box::pin(async move {
                        let told = one(gateway, store, &group, &source.maker, (text, key, wanted)).await;
                        Some((key, told))
                    }));
                }
            }
        }
    }
}

/// One vector: as it was kept, else made.
async fn one(
    gateway: &Arc<Gateway>,
    store: Option<&VectorStore>,
    group: &GroupName,
    maker: &EmbeddingMaker,
    (text, key, wanted): (String, [u8; 32], Arc<Wanted>),
) -> Told {
    let kept = match store {
        Some(store) => store.get(&key).await,
        None => None,
    };
    let kept = kept.and_then(|bytes| Vector::from_bytes(&bytes));
    let (what, vector) = if let Some(vector) = kept {
        (Embedded::Shared, vector)
    } else {
        let made = match maker {
            EmbeddingMaker::Group { group, account } => asked(gateway, group, account, &text, &wanted).await,
            EmbeddingMaker::Folder(sentences) => thought(gateway, Arc::clone(sentences), text, wanted).await,
        };
        let vector = made.and_then(|numbers| match numbers {
            Some(numbers) => Vector::of(&numbers).map(Some).ok_or_else(|| "the vector has no direction".to_owned()),
            None => Ok(None),
        });
        match vector {
            Ok(Some(vector)) => (Embedded::Made, vector),
            Ok(None) => return (Embedded::Skipped, None),
            Err(why) => {
                // The request for it has a record of its own.
                tracing::debug!(%group, why, "a question has no vector");
                return (Embedded::Failed, None);
            }
        }
    };
    let vector = Arc::new(vector);
    gateway.embeddings.remember(key, Arc::clone(&vector));
    (what, Some(vector))
}

/// What a deployment of `group` says; `None` where it cannot be paid for, and where it still waits for a limit when nobody waits for it.
async fn asked(
    gateway: &Arc<Gateway>,
    group: &GroupName,
    account: &Arc<Caller>,
    text: &str,
    wanted: &Wanted,
) -> Result<Option<Vec<f64>>, String> {
    // No record is written for each question of a day whose money is spent.
    let short = gateway.budgets.short(gateway.clock.now(), &account.budgets, NanoUsd(1));
    if short.is_some_and(|short| !short.may_wait()) {
        return Ok(None);
    }
    let (api, _) = operation_at(PATH).ok_or("no API to ask for vectors through")?;
    let mut guard = gateway.arrive(api);
    guard.set_caller(Some(Arc::clone(account)));
    let body = json!({"model": group.as_str(), "input": text}).to_string();
    let mut request = ClientRequest::post(Uri::from_static(PATH), body);
    request.id = guard.id().to_string();
    let followed = guard.watch();
    let least = gateway.clock.now() + TO_BE_SENT;
    let given_up = async {
        while gateway.clock.now() < wanted.until().max(least) || followed.is_under_way() {
            wanted.is_over(gateway, least).await;
            // What a provider has is finished and remembered: it is paid. One that comes back with nothing would wait again.
            followed.comes_back().await;
        }
    };
    let call = tokio::time::timeout(LONGEST, batch::whole(gateway, guard, request));
    let answer = tokio::select! {
        biased;
        answer = call => answer,
        () = given_up => return Ok(None),
    };
    match answer {
        Ok(Ok((body, _cost))) => read(&body).map(Some),
        Ok(Err(refusal)) if matches!(refusal.kind, RefusalKind::BudgetExceeded | RefusalKind::GroupOverBudget) => {
            Ok(None)
        }
        Ok(Err(refusal)) => Err(refusal.to_string()),
        Err(_late) => Err(format!("no answer within {} s", LONGEST.as_secs())),
    }
}

/// What a model in this process says; `None` where nobody waits for it any more when its turn comes.
async fn thought(
    gateway: &Gateway,
    sentences: Arc<Sentences>,
    text: String,
    wanted: Arc<Wanted>,
) -> Result<Option<Vec<f64>>, String> {
    let clock = gateway.clock;
    let think = move || (clock.now() < wanted.until()).then(|| sentences.vector(&text)).transpose();
    let said = gateway.sentences.run(think).await.unwrap_or_else(|| Err("the model panicked".to_owned()))?;
    Ok(said.map(|numbers| numbers.into_iter().map(f64::from).collect()))
}

/// The one vector of a reply.
fn read(body: &[u8]) -> Result<Vec<f64>, String> {
    #[derive(Deserialize)]
    struct Reply {
        data: [One; 1],
    }
    #[derive(Deserialize)]
    struct One {
        embedding: Vec<f64>,
    }
    let reply: Reply = serde_json::from_slice(body).map_err(|fault| format!("the reply is no vector: {fault}"))?;
    let [one] = reply.data;
    Ok(one.embedding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_is_wanted_until_the_last_who_asked_waits_no_more() {
        let at = Moment::from_millis;
        let wanted = Wanted::new(at(20));
        wanted.extend(at(50));
        wanted.extend(at(30));
        assert_eq!(wanted.until(), at(50));
    }
}

//! A request that stands for several: each is served as a request of its own, with its own limits, retries and record, and the client
//! reads one reply. The budgets of those who pay hold the money for all of them before any is sent, or all are refused.
//!
//! Whole replies are told once all are there, and their headers say what all of them took and cost. Where one is refused, that is the
//! answer to all: no other is sent any more, and those that a provider has are heard out, for they are paid. A stream begins with the
//! first that is answered, whose headers tell for all; the others join it as they come, for they may be waiting for what the first ones
//! hold. One that is refused before is the answer to all at once, and the others are left; one that is refused then is an event after which
//! nothing follows.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::stream::{BoxStream, FuturesUnordered, iter, once, unfold};
use futures_util::{FutureExt, Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::fault::{Refusal, RefusalKind};
use crate::format::{ClientRequest, Joiner, Several};
use crate::money::NanoUsd;
use crate::pipeline::{Followed, ReplyMeta, RequestGuard, Served};

use super::App;

/// What all of it comes to.
pub(super) struct Joined {
    pub(super) body: Body,
    /// Of all whole replies, or of the first stream; one whose first reply is late has none yet.
    pub(super) meta: Option<ReplyMeta>,
    pub(super) streamed: bool,
}

/// What became of one of them.
enum Answer {
    Whole(Bytes, ReplyMeta),
    Streamed(BoxStream<'static, Bytes>, Option<ReplyMeta>),
    Refused(Refusal),
    /// Another was refused before any provider had it, or before its stream had begun.
    GivenUp,
}

/// What is heard of one of them in the stream of all.
enum Heard {
    Piece(Bytes),
    /// What its headers would have told.
    Remark(String),
    Refused(Refusal),
    Ended,
}

type HeardStream = BoxStream<'static, (usize, Heard)>;

/// Serves them at once. `first` is the guard of the request they came in.
///
/// # Errors
/// The first refusal of any, before a stream has begun.
pub(super) async fn serve(
    app: &Arc<App>,
    first: Box<RequestGuard>,
    whole: &ClientRequest,
    several: Several,
) -> Result<Joined, Refusal> {
    let Several { bodies, mut joiner } = several;
    let (api, caller, count) = (first.api(), first.caller().cloned(), bodies.len());
    let mut first = Some(first);
    let arrived = bodies.into_iter().map(|body| {
        let mut guard = first.take().unwrap_or_else(|| app.gateway.arrive(api));
        guard.set_caller(caller.clone());
        (guard, ClientRequest { body, ..whole.clone() })
    });
    // All of them have arrived before any is begun.
    let mut arrived: Vec<_> = arrived.collect();
    RequestGuard::pay_together(arrived.iter_mut().map(|(guard, _)| &mut **guard));
    let refused = CancellationToken::new();
    let asked = arrived.into_iter().enumerate().map(|(place, (guard, request))| {
        // A task of its own: it goes on though the client does not read what there is of the others.
        let answer = answer(Arc::clone(app), guard, request, refused.clone());
        let answer = AbortOnDropHandle::new(tokio::spawn(answer));
        answer.map(move |answer| (place, answer.unwrap_or_else(|_panicked| failed())))
    });
    let mut asked: FuturesUnordered<_> = asked.collect();
    let (mut replies, mut refusal) = (Vec::new(), None);
    while let Some((place, answer)) = asked.next().await {
        match answer {
            Answer::Whole(body, meta) => replies.push((place, body, meta)),
            Answer::Streamed(pieces, meta) if refusal.is_none() => {
                let told = meta.as_ref().and_then(ReplyMeta::dropped_told);
                let begun = once(ready(heard(place, Answer::Streamed(pieces, None), None)));
                let later = asked.map(move |(place, answer)| heard(place, answer, told.as_deref()));
                let all = begun.chain(later).flatten_unordered(None).boxed();
                let body = Body::from_stream(together(all, count, joiner));
                return Ok(Joined { body, meta, streamed: true });
            }
            Answer::Refused(why) => {
                refused.cancel();
                refusal.get_or_insert(why);
            }
            Answer::Streamed(..) | Answer::GivenUp => {}
        }
    }
    if let Some(why) = refusal {
        return Err(beside_answers(why, &replies, count));
    }
    replies.sort_by_key(|(place, ..)| *place);
    let (bodies, metas): (Vec<Bytes>, Vec<ReplyMeta>) = replies.into_iter().map(|(_, body, meta)| (body, meta)).unzip();
    let meta = metas.into_iter().reduce(added);
    Ok(Joined { body: Body::from(joiner.whole(&bodies)), meta, streamed: false })
}

/// Serves one of them; a large reply is read here, for it is told with the others. It is given up once another is `refused`, unless it
/// is to be whole and a provider has it or has answered it.
async fn answer(
    app: Arc<App>,
    mut guard: Box<RequestGuard>,
    request: ClientRequest,
    refused: CancellationToken,
) -> Answer {
    let followed = guard.watch();
    let served = tokio::select! {
        // In this order: what the refused one held is free now, and would be taken by another.
        biased;
        () = not_wanted(&refused, &followed) => return Answer::GivenUp,
        served = app.gateway.serve(guard, Box::new(request)) => served,
    };
    match served {
        Ok(Served::Whole { body, meta }) => Answer::Whole(body, meta),
        Ok(Served::Large { body, meta, .. }) => {
            let body: Vec<Bytes> = body.filter_map(|piece| ready(piece.ok())).collect().await;
            Answer::Whole(body.concat().into(), meta)
        }
        Ok(Served::Streamed { stream, meta }) => Answer::Streamed(unfailing(stream), Some(meta)),
        Ok(Served::Late { stream }) => Answer::Streamed(unfailing(stream), None),
        Err(why) => Answer::Refused(why),
    }
}

async fn not_wanted(refused: &CancellationToken, followed: &Followed) {
    refused.cancelled().await;
    // Of a stream nobody hears the end: it is left at once, as where its client goes away, and nobody waits for its beginning.
    if !followed.is_streamed() {
        followed.comes_back().await;
    }
}

/// It panicked, which is logged where it happened.
#[cold]
fn failed() -> Answer {
    Answer::Refused(Refusal::new(RefusalKind::Internal, "the request could not be served"))
}

/// The refusal of one, which says what was paid for those that had been answered.
fn beside_answers(mut why: Refusal, replies: &[(usize, Bytes, ReplyMeta)], count: usize) -> Refusal {
    if !replies.is_empty() {
        let cost: Option<NanoUsd> = replies.iter().map(|(.., meta)| meta.cost).sum();
        let cost = cost.map_or_else(String::new, |cost| format!(", which cost ${cost},"));
        why.message = format!(
            "{}; answers to {} of the {count} prompts{cost} are not told without the others: send prompts apart to have each",
            why.message,
            replies.len()
        );
    }
    why
}

/// What the headers say of two whole replies: the sum of what was done and paid for them, and the time until both were there. Names are
/// those of the first.
fn added(mut all: ReplyMeta, more: ReplyMeta) -> ReplyMeta {
    for told in all.limits.iter_mut().filter(|_| all.deployment == more.deployment) {
        if let Some(less) = more.limits.iter().find(|less| less.what == told.what && less.left < told.left) {
            *told = *less;
        }
    }
    all.attempts += more.attempts;
    all.tried.retries += more.tried.retries;
    all.tried.fallbacks += more.tried.fallbacks;
    all.waited = all.waited.max(more.waited);
    // Where nobody knows what one of them cost, nobody knows what all of them did.
    all.cost = all.cost.zip(more.cost).map(|(all, more)| all + more);
    all.bill = all.bill.zip(more.bill).map(|(all, more)| all + more);
    let unsaid = more.dropped.into_iter().filter(|name| !all.dropped.contains(name)).collect::<Vec<_>>();
    all.dropped.extend(unsaid);
    (all.took, all.overhead) = (all.took.max(more.took), all.overhead.max(more.overhead));
    all
}

fn unfailing(stream: impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static) -> BoxStream<'static, Bytes> {
    stream.map(|piece| piece.unwrap_or_else(|never| match never {})).boxed()
}

/// One of them in the stream of all. `told` is what the head says of fields that were left out.
fn heard(place: usize, answer: Answer, told: Option<&str>) -> HeardStream {
    let ended = iter([Heard::Ended]);
    let heard = match answer {
        Answer::Streamed(pieces, meta) => {
            let dropped = meta.and_then(|meta| meta.dropped_told()).filter(|dropped| Some(dropped.as_str()) != told);
            let remark = dropped.map(|dropped| Heard::Remark(format!("x-witgate-dropped: {dropped}")));
            iter(remark).chain(pieces.map(Heard::Piece)).chain(ended).boxed()
        }
        Answer::Refused(why) => iter([Heard::Refused(why)]).boxed(),
        // No stage makes a whole reply of a request for a stream.
        Answer::Whole(..) | Answer::GivenUp => ended.boxed(),
    };
    heard.map(move |heard| (place, heard)).boxed()
}

/// What is heard of `open` streams as it comes. After an error nothing follows.
fn together(all: HeardStream, open: usize, joiner: Box<dyn Joiner>) -> impl Stream<Item = Result<Bytes, Infallible>> {
    unfold((Some(all), joiner, open), |(all, mut joiner, mut open)| async move {
        let mut all = all?;
        loop {
            let mut out = BytesMut::new();
            let (place, heard) = all.next().await?;
            let goes_on = match heard {
                Heard::Piece(piece) => joiner.piece(place, &piece, &mut out),
                Heard::Remark(text) => {
                    joiner.remark(&text, &mut out);
                    true
                }
                Heard::Refused(why) => {
                    joiner.error(&why, &mut out);
                    false
                }
                Heard::Ended => {
                    open -= 1;
                    if open == 0 {
                        joiner.end(&mut out);
                    }
                    open > 0
                }
            };
            if !out.is_empty() {
                return Some((Ok(out.freeze()), (goes_on.then_some(all), joiner, open)));
            }
            if !goes_on {
                return None;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fault::Tried;
    use crate::money::Bill;
    use crate::pipeline::LimitLeft;

    fn meta(deployment: &str, cost: Option<u64>, left: u64) -> ReplyMeta {
        let bill = |cost: u64| Bill { input: NanoUsd(cost - 1), output: NanoUsd(1), ..Bill::default() };
        ReplyMeta {
            deployment: deployment.into(),
            policy: "p@1".into(),
            group: "g".into(),
            model: "m".to_owned(),
            attempts: 2,
            tried: Tried { retries: 1, fallbacks: 0 },
            waited: Duration::from_millis(left),
            cost: cost.map(NanoUsd),
            bill: cost.map(bill),
            items: None,
            dropped: vec!["seed".to_owned(), deployment.to_owned()],
            limits: vec![LimitLeft { what: "requests", limit: 9, left, reset: Duration::ZERO }],
            took: Duration::from_secs(left),
            overhead: Duration::ZERO,
        }
    }

    #[test]
    fn headers_say_what_all_replies_took_and_cost() {
        let all = added(added(meta("a", Some(10), 3), meta("a", Some(20), 2)), meta("b", Some(30), 1));
        assert_eq!((all.deployment.as_str(), all.attempts, all.tried.retries), ("a", 6, 3));
        assert_eq!(all.cost, Some(NanoUsd(60)));
        let bill = all.bill.unwrap();
        assert_eq!((bill.input, bill.output, bill.total()), (NanoUsd(57), NanoUsd(3), NanoUsd(60)));
        assert_eq!((all.waited, all.took), (Duration::from_millis(3), Duration::from_secs(3)));
        let left: Vec<u64> = all.limits.iter().map(|told| told.left).collect();
        assert_eq!(left, [2], "another deployment's are not its own");
        assert_eq!(all.dropped, ["seed", "a", "b"]);
        assert_eq!(added(meta("a", Some(10), 3), meta("a", None, 2)).cost, None, "what nobody knows is not nothing");
    }

    #[test]
    fn a_refusal_says_what_was_paid_for_the_others() {
        let refusal = || Refusal::new(RefusalKind::BudgetExceeded, "no money");
        assert_eq!(beside_answers(refusal(), &[], 3).message, "no money");
        let replies = [(0, Bytes::new(), meta("a", Some(11_000_000), 1))];
        let message = beside_answers(refusal(), &replies, 3).message;
        assert!(message.starts_with("no money; answers to 1 of the 3 prompts, which cost $0.011, "), "{message}");
    }
}

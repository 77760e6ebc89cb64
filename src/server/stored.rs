//! Replies that clients go on from or ask for again: kept in this process alone, for whoever's key they were made under, the
//! longest unused left out first, and never more bytes than configured.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Request, StatusCode, Uri};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use serde_json::{Value, json};

use crate::fault::{Refusal, RefusalKind};
use crate::format::{ClientApi, Turn, spoken_at};
use crate::id::KeyId;

use super::{App, access, probe, refusal};

/// About what an entry takes beside its bytes.
const ENTRY: usize = 512;

/// What is kept.
#[derive(Default)]
pub struct StoredReplies(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    entries: HashMap<String, Entry>,
    /// By their last use, the longest unused first.
    order: BTreeMap<u64, String>,
    uses: u64,
    bytes: usize,
}

struct Entry {
    owner: KeyId,
    /// The reply that this one goes on from.
    previous: Option<String>,
    turn: Turn,
    used: u64,
}

impl Entry {
    fn bytes(&self) -> usize {
        ENTRY + self.turn.request.len() + self.turn.reply.len()
    }
}

impl StoredReplies {
    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, id: &str, owner: &KeyId) -> Option<Turn> {
        self.lock().used(id, owner).map(|entry| entry.turn.clone())
    }

    fn remove(&self, id: &str, owner: &KeyId) -> bool {
        let mut kept = self.lock();
        kept.entries.get(id).is_some_and(|entry| entry.owner == *owner) && kept.forget(id)
    }

    /// The exchanges up to the reply `id`, oldest first; `None` where one of them is not kept.
    fn history(&self, id: &str, owner: &KeyId) -> Option<Vec<Turn>> {
        let mut kept = self.lock();
        let (mut turns, mut next) = (Vec::new(), Some(id.to_owned()));
        // A reply cannot come before itself: ids are given, and name what was there.
        while let Some(id) = next.take() {
            let entry = kept.used(&id, owner)?;
            turns.push(entry.turn.clone());
            next.clone_from(&entry.previous);
        }
        turns.reverse();
        Some(turns)
    }

    fn keep(&self, id: String, entry: Entry, most: usize) {
        let mut kept = self.lock();
        kept.forget(&id);
        kept.uses += 1;
        let (used, bytes) = (kept.uses, entry.bytes());
        if bytes > most {
            return;
        }
        kept.bytes += bytes;
        kept.order.insert(used, id.clone());
        kept.entries.insert(id, Entry { used, ..entry });
        while kept.bytes > most {
            let Some((_, oldest)) = kept.order.pop_first() else { return };
            kept.forget(&oldest);
        }
    }
}

impl Kept {
    fn used(&mut self, id: &str, owner: &KeyId) -> Option<&Entry> {
        self.uses += 1;
        let entry = self.entries.get_mut(id).filter(|entry| entry.owner == *owner)?;
        if let Some(id) = self.order.remove(&entry.used) {
            self.order.insert(self.uses, id);
        }
        entry.used = self.uses;
        Some(entry)
    }

    fn forget(&mut self, id: &str) -> bool {
        let Some(entry) = self.entries.remove(id) else { return false };
        self.order.remove(&entry.used);
        self.bytes = self.bytes.saturating_sub(entry.bytes());
        true
    }
}

/// An exchange that is kept when its reply is whole.
pub(super) struct Exchange {
    app: Arc<App>,
    api: &'static dyn ClientApi,
    id: String,
    owner: KeyId,
    previous: Option<String>,
    request: Bytes,
    most: usize,
}

/// What a request has to do with exchanges that are kept.
#[derive(Default)]
pub(super) struct Begun {
    /// Those it goes on from, oldest first.
    pub(super) earlier: Vec<Turn>,
    /// Those whose items it names. One that is not kept is missing.
    pub(super) named: Vec<Turn>,
    /// Itself, where it is to be kept.
    pub(super) exchange: Option<Exchange>,
}

/// The exchanges a request goes on from, and itself, where its API knows of such and it is to be kept.
///
/// # Errors
/// `InvalidRequest` where it goes on from what is not kept.
pub(super) fn begin(
    app: &Arc<App>,
    api: &'static dyn ClientApi,
    owner: &KeyId,
    id: &str,
    body: &Bytes,
    most: usize,
) -> Result<Begun, Refusal> {
    let Some(remembered) = api.remembered(body) else { return Ok(Begun::default()) };
    let earlier = match &remembered.previous {
        None => Vec::new(),
        Some(id) => app.stored.history(id, owner).ok_or_else(|| {
            let message = format!(
                "no response with the id `{}` is kept by this gateway; send the whole conversation in `input`",
                super::shortened(id)
            );
            let mut refusal = Refusal::new(RefusalKind::InvalidRequest, message).at("previous_response_id");
            refusal.code = Some("previous_response_not_found".to_owned());
            refusal
        })?,
    };
    let named = remembered.named.iter().filter_map(|id| app.stored.get(id, owner)).collect();
    let exchange = (remembered.keep && most > 0).then(|| Exchange {
        app: Arc::clone(app),
        api,
        id: api.reply_id(id),
        owner: owner.clone(),
        previous: remembered.previous,
        request: body.clone(),
        most,
    });
    Ok(Begun { earlier, named, exchange })
}

impl Exchange {
    /// The reply is whole.
    pub(super) fn keep(self, reply: Bytes) {
        let Self { app, id, owner, previous, request, most, .. } = self;
        app.stored.keep(id, Entry { owner, previous, turn: Turn { request, reply }, used: 0 }, most);
    }

    /// The same of a reply that is sent in pieces.
    pub(super) fn keep_whole(
        self,
        body: impl Stream<Item = Result<Bytes, Infallible>>,
        length: usize,
    ) -> impl Stream<Item = Result<Bytes, Infallible>> {
        let (mut exchange, mut whole) = (Some(self), BytesMut::new());
        body.inspect(move |piece| {
            if let Ok(piece) = piece {
                whole.extend_from_slice(piece);
            }
            if whole.len() >= length
                && let Some(exchange) = exchange.take()
            {
                exchange.keep(whole.split().freeze());
            }
        })
    }

    /// The same of a stream, whose API says the whole reply at its end.
    pub(super) fn keep_stream(
        self,
        body: impl Stream<Item = Result<Bytes, Infallible>>,
    ) -> impl Stream<Item = Result<Bytes, Infallible>> {
        let mut exchange = Some(self);
        body.inspect(move |piece| {
            let at_end = |exchange: &Exchange| exchange.api.streamed_whole(piece.as_ref().ok()?);
            let whole = exchange.as_ref().and_then(at_end);
            if let Some((exchange, whole)) = whole.and_then(|whole| Some((exchange.take()?, whole))) {
                exchange.keep(whole);
            }
        })
    }
}

/// Whose replies a request may see.
fn owner(app: &App, request: &Request<Body>) -> Result<KeyId, Refusal> {
    let (snapshot, now) = (app.gateway.live.read(), app.gateway.clock.now());
    let caller = access::authorize(&snapshot, request.version(), request.headers(), request.uri(), now)?;
    Ok(caller.map_or_else(|| snapshot.callers.anonymous.key.clone(), |caller| caller.key.clone()))
}

fn not_kept(id: &str) -> Refusal {
    let message = format!("no response with the id `{}` is kept by this gateway", super::shortened(id));
    Refusal { status: 404, ..Refusal::new(RefusalKind::InvalidRequest, message) }
}

fn answer(app: &App, request: &Request<Body>, found: Result<Response, Refusal>) -> Response {
    let api = spoken_at(request.uri().path(), request.headers());
    found.unwrap_or_else(|why| refusal::unrecorded(app, api, &why))
}

/// A reply that is kept.
pub(super) async fn get(State(app): State<Arc<App>>, Path(id): Path<String>, request: Request<Body>) -> Response {
    let found = owner(&app, &request).and_then(|owner| {
        whole(request.uri())?;
        let turn = app.stored.get(&id, &owner).ok_or_else(|| not_kept(&id))?;
        Ok(probe::json_bytes(turn.reply))
    });
    answer(&app, &request, found)
}

/// A kept reply is told as a whole: its events are not kept.
fn whole(uri: &Uri) -> Result<(), Refusal> {
    let mut asked = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    if asked.any(|(name, value)| name == "stream" && value == "true") {
        let message = "`stream`: a kept reply is told as a whole; ask for it without";
        return Err(Refusal::new(RefusalKind::InvalidRequest, message).at("stream"));
    }
    Ok(())
}

/// What was sent for it.
pub(super) async fn input(State(app): State<Arc<App>>, Path(id): Path<String>, request: Request<Body>) -> Response {
    let found = owner(&app, &request).and_then(|owner| {
        let turn = app.stored.get(&id, &owner).ok_or_else(|| not_kept(&id))?;
        let api = spoken_at(request.uri().path(), request.headers());
        let items = api.input_items(&turn).ok_or_else(|| not_kept(&id))?;
        Ok(probe::json_response(StatusCode::OK, &items))
    });
    answer(&app, &request, found)
}

/// Keeps it no longer.
pub(super) async fn delete(State(app): State<Arc<App>>, Path(id): Path<String>, request: Request<Body>) -> Response {
    let found = owner(&app, &request).and_then(|owner| {
        if !app.stored.remove(&id, &owner) {
            return Err(not_kept(&id));
        }
        let gone: Value = json!({"id": id, "object": "response", "deleted": true});
        Ok(probe::json_response(StatusCode::OK, &gone))
    });
    answer(&app, &request, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(owner: &str, previous: Option<&str>, reply: &'static str) -> Entry {
        let turn = Turn { request: Bytes::from_static(b"{}"), reply: Bytes::from_static(reply.as_bytes()) };
        Entry { owner: KeyId::from(owner), previous: previous.map(str::to_owned), turn, used: 0 }
    }

    #[test]
    fn a_conversation_is_its_owner_s_and_the_longest_unused_goes_first() {
        let (stored, mine, other) = (StoredReplies::default(), KeyId::from("me"), KeyId::from("other"));
        let room = 3 * (ENTRY + 3);
        for (id, previous, reply) in [("a", None, "1"), ("b", Some("a"), "2"), ("c", None, "3")] {
            stored.keep(id.to_owned(), entry("me", previous, reply), room);
        }
        let said =
            |id| stored.history(id, &mine).map(|turns| turns.iter().map(|turn| turn.reply[0]).collect::<Vec<_>>());
        assert_eq!(said("b"), Some(vec![b'1', b'2']));
        assert_eq!(stored.history("b", &other).map(|turns| turns.len()), None);
        assert!(!stored.remove("b", &other));
        stored.keep("d".to_owned(), entry("me", Some("b"), "4"), room);
        assert_eq!(said("c"), None, "what was used last stays");
        assert_eq!(said("d"), Some(vec![b'1', b'2', b'4']));
        assert!(stored.remove("a", &mine));
        assert_eq!(said("d"), None, "a conversation with a gap is none");
        stored.keep("e".to_owned(), entry("me", None, "5"), 1);
        assert!(stored.get("e", &mine).is_none(), "one that is larger than all room");
        assert_eq!(stored.lock().bytes, 2 * (ENTRY + 3));
    }
}

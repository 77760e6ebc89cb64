//! `/key/*`: virtual keys, in LiteLLM's paths and shapes. Behind the operator's key; a key's holder may ask about this one.
//!
//! A key is shown once, when it is made. It is written before it is in force, and in force when the answer is sent. A change is read,
//! checked, written and put in force as one piece of work, one after another, which runs to its end whether or not its client waits.

pub(super) mod fields;
mod told;

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Request, StatusCode, Uri};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::percent_decode_str;
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use crate::budgets::BudgetReport;
use crate::fault::{Refusal, RefusalKind};
use crate::format::spoken_at;
use crate::keys::{KeyBook, KnownKey};
use crate::moment::Moment;
use crate::money::NanoUsd;
use crate::pipeline::Gateway;
use crate::store::{KeyStore, Ledger, Unchanged};
use crate::virtual_key::{KeyHash, PREFIX, VirtualKey};

use super::{App, access, probe, refusal, shortened, teams};
use fields::Fields;
pub(super) use told::{aliases, info, list, several};

/// Bytes of a body at most.
const BODY: usize = 1 << 20;
/// The status of a change that what is kept does not admit.
const CONFLICT: u16 = 409;
/// The code of a change that somebody else came before.
const OVERTAKEN: &str = "changed_meanwhile";

/// `POST /key/generate`.
pub(super) async fn generate(State(app): State<Arc<App>>, request: Request<Body>) -> Response {
    answered(&app, request, |app, body| {
        let now = app.gateway.clock.now();
        if !app.gateway.live.read().settings.asks_for_keys() {
            let why = "a key would bind nobody, since clients need none; set `general_settings.master_key` in the configuration";
            return Err(Refusal::new(RefusalKind::InvalidRequest, why));
        }
        let mut fields = Fields::read(body)?.of_new();
        let key = chosen(app, fields.take_text("key")?, "key")?;
        let hash = KeyHash::of(&key);
        let keys = &app.gateway.live.read().callers.keys;
        if keys.get(hash).is_some() {
            return Err(Refusal::new(RefusalKind::InvalidRequest, "this key is there already").at("key"));
        }
        let defaults = &app.gateway.live.read().settings.payers.new_keys;
        let made = fields.over(defaults.key(&key, now), now)?;
        free_alias(app, &made, hash)?;
        free_of_spend(app, hash, None, "key")?;
        let known = keep(app, None, made)?;
        Ok(told_once(app, &known, &key, now))
    })
    .await
}

/// `POST /key/update`: the fields that are given, null takes one away.
pub(super) async fn update(State(app): State<Arc<App>>, request: Request<Body>) -> Response {
    answered(&app, request, |app, body| {
        let now = app.gateway.clock.now();
        let mut fields = Fields::read(body)?;
        let known = if let Some(named) = fields.take_text("key")? {
            find(app, &named)?
        } else {
            let alias = fields.text("key_alias")?.ok_or_else(|| missing("key"))?;
            by_alias(app, &alias)?
        };
        let before = changeable(&known)?;
        let changed = fields.over(before.clone(), now)?;
        free_alias(app, &changed, changed.hash)?;
        let known = keep(app, Some(&before), changed)?;
        let mut shown = shown(app, &known, now);
        shown.insert("key".to_owned(), json!(known.key.hash));
        warn_of_team(app, &known, &mut shown);
        Ok(Value::Object(shown))
    })
    .await
}

/// `POST /key/regenerate`, or `/key/KEY/regenerate`: another key in the place of one that may have become known. What it may do, what it
/// has spent and what people call it stay; its limits of the minute begin anew.
pub(super) async fn regenerate(State(app): State<Arc<App>>, request: Request<Body>) -> Response {
    let of_path = named_in(request.uri(), "/regenerate");
    answered(&app, request, move |app, body| {
        let now = app.gateway.clock.now();
        let mut fields = Fields::read(if body.is_empty() { b"{}" } else { body })?;
        let named = fields.take_text("key")?.or_else(|| of_path.clone()).ok_or_else(|| missing("key"))?;
        let known = find(app, &named)?;
        let (old, secret) = (changeable(&known)?, chosen(app, fields.take_text("new_key")?, "new_key")?);
        let hash = KeyHash::of(&secret);
        let keys = &app.gateway.live.read().callers.keys;
        if keys.get(hash).is_some() {
            return Err(Refusal::new(RefusalKind::InvalidRequest, "this key is there already").at("new_key"));
        }
        // What it has spent is found in the ledger, and what is under way comes to it.
        let same = VirtualKey { hash, tail: VirtualKey::tail_of(&secret), ..old.clone() };
        let made = fields.over(same, now)?;
        free_alias(app, &made, old.hash)?;
        free_of_spend(app, hash, Some(old.hash), "new_key")?;
        changed(app, |keys| keys.replace(&old, &made))?;
        keys.renew(|| app.gateway.clock.now(), old.hash, made);
        app.gateway.capacity.notify();
        let known = keys.get(hash).ok_or_else(not_in_force)?;
        Ok(told_once(app, &known, &secret, now))
    })
    .await
}

/// `POST /key/KEY/reset_spend`: so much is spent with it from now on, which is no more than it was. What is under way counts no more.
pub(super) async fn reset_spend(State(app): State<Arc<App>>, request: Request<Body>) -> Response {
    let named = named_in(request.uri(), "/reset_spend");
    answered(&app, request, move |app, body| {
        let now = app.gateway.clock.now();
        let reset_to = Fields::read(body)?.dollars("reset_to")?.ok_or_else(|| missing("reset_to"))?;
        let known = find(app, named.as_deref().unwrap_or_default())?;
        let before = changeable(&known)?;
        let spent = budget(app, &known, now).map(|budget| budget.spent).unwrap_or_default();
        for (most, what) in [(Some(spent), "what is spent"), (before.allowance.max_budget, "the budget of the key")] {
            if let Some(most) = most.filter(|most| *most < reset_to) {
                let message = format!("`reset_to` must be no more than {what}, which is {}", most.as_usd());
                return Err(Refusal::new(RefusalKind::InvalidRequest, message).at("reset_to"));
            }
        }
        let mut reset = VirtualKey { updated: now, ..before.clone() };
        reset.set_spend(now, reset_to);
        let known = keep(app, Some(&before), reset)?;
        let budget = budget(app, &known, app.gateway.clock.now());
        Ok(json!({
            "key_hash": known.key.hash,
            "spend": budget.as_ref().map_or(reset_to, |budget| budget.spent).as_usd(),
            "previous_spend": spent.as_usd(),
            "max_budget": known.key.allowance.max_budget.map(NanoUsd::as_usd),
            "budget_reset_at": budget.and_then(|budget| budget.resets).map(Moment::iso),
        }))
    })
    .await
}

/// `POST /key/block`.
pub(super) async fn block(State(app): State<Arc<App>>, request: Request<Body>) -> Response {
    set_blocked(&app, request, true).await
}

/// `POST /key/unblock`.
pub(super) async fn unblock(State(app): State<Arc<App>>, request: Request<Body>) -> Response {
    set_blocked(&app, request, false).await
}

async fn set_blocked(app: &Arc<App>, request: Request<Body>, blocked: bool) -> Response {
    answered(app, request, move |app, body| {
        let named = Fields::read(body)?.take_text("key")?.ok_or_else(|| missing("key"))?;
        let now = app.gateway.clock.now();
        let before = changeable(&find(app, &named)?)?;
        let known = keep(app, Some(&before), VirtualKey { blocked, updated: now, ..before.clone() })?;
        Ok(Value::Object(shown(app, &known, now)))
    })
    .await
}

/// `POST /key/delete`: `keys`, or `key_aliases`.
pub(super) async fn delete(State(app): State<Arc<App>>, request: Request<Body>) -> Response {
    answered(&app, request, |app, body| {
        let mut fields = Fields::read(body)?;
        let (named, aliases) = (fields.texts("keys")?, fields.texts("key_aliases")?);
        let known = named.iter().map(|named| find(app, named)).chain(aliases.iter().map(|alias| by_alias(app, alias)));
        // All of them are there, or none is taken away.
        let known: Vec<KnownKey> = known.collect::<Result<_, _>>()?;
        if known.is_empty() {
            return Err(missing("keys"));
        }
        let gone = known.iter().map(changeable).collect::<Result<Vec<_>, Refusal>>()?;
        changed(app, |keys| keys.delete(&gone))?;
        let (keys, now) = (Arc::clone(&app.gateway.live.read().callers.keys), app.gateway.clock.now());
        for key in gone {
            keys.remove(now, key.hash);
        }
        let deleted = if named.is_empty() { aliases } else { named };
        Ok(json!({"deleted_keys": deleted}))
    })
    .await
}

/// Everything that is told of a key but the key.
pub(super) fn shown(app: &App, known: &KnownKey, now: Moment) -> Map<String, Value> {
    let mut told = fields::shown(known, budget(app, known, now).as_ref(), now);
    if !known.configured && app.gateway.live.read().callers.keys.is_unreadable(known.key.hash) {
        told.insert("unreadable".to_owned(), json!(true));
    }
    told
}

/// What a key has spent of what.
pub(super) fn budget(app: &App, known: &KnownKey, now: Moment) -> Option<BudgetReport> {
    known.caller.budgets.first().and_then(|id| app.gateway.budgets.report(now, *id))
}

/// Writes a key in the place of what was read of it, and puts it in force. Blocks.
fn keep(app: &App, before: Option<&VirtualKey>, key: VirtualKey) -> Result<KnownKey, Refusal> {
    let hash = key.hash;
    changed(app, |keys| keys.put(before, &key))?;
    let keys = Arc::clone(&app.gateway.live.read().callers.keys);
    // One that was made just now has spent nothing before.
    let now = if keys.get(hash).is_none() { key.created } else { app.gateway.clock.now() };
    keys.put(now, key);
    // Who waits for its limits or its budget may have more room now.
    app.gateway.capacity.notify();
    keys.get(hash).ok_or_else(not_in_force)
}

fn not_in_force() -> Refusal {
    Refusal::new(RefusalKind::Internal, "the key was written and is not in force")
}

/// A new key, with what it may do: this is the only time it is shown.
fn told_once(app: &App, known: &KnownKey, key: &str, now: Moment) -> Value {
    let mut shown = shown(app, known, now);
    shown.insert("key".to_owned(), json!(key));
    shown.insert("token_id".to_owned(), json!(known.key.hash));
    warn_of_team(app, known, &mut shown);
    Value::Object(shown)
}

/// A key may name a team that is nowhere, as an admin's may in LiteLLM: nothing of a team's bounds it, which whoever made it is to know.
fn warn_of_team(app: &App, known: &KnownKey, shown: &mut Map<String, Value>) {
    let Some(team) = known.key.team.as_deref().filter(|team| teams::find(app, team).is_err()) else { return };
    let warning = format!(
        "there is no team `{team}`, so that no limits, budget or models of a team bind this key; make the team with /team/new or under \
         `witgate.teams` in the configuration, or give the key another `team_id`"
    );
    tracing::warn!(key = %known.key.name(), "{warning}");
    shown.insert("warning".to_owned(), json!(warning));
}

/// The key that somebody wants, or one that is drawn.
fn chosen(app: &App, wanted: Option<String>, field: &str) -> Result<String, Refusal> {
    let Some(key) = wanted else { return drawn() };
    let refused = |why: String| Err(Refusal::new(RefusalKind::InvalidRequest, why).at(field));
    // What else there is no header could bring.
    if !key.starts_with(PREFIX) || key.len() < 16 || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return refused(format!(
            "a `{field}` of one's own begins with `{PREFIX}` and has at least 16 letters, without spaces and of ASCII alone"
        ));
    }
    let (server, hash) = (&app.gateway.live.read().settings.server, KeyHash::of(&key));
    let mut operators = [&server.master_key, &server.admin_key].into_iter().flatten();
    if operators.any(|own| KeyHash::of(own.expose_secret()) == hash) {
        return refused("this is the operator's key, whom no bound of a key would hold; choose another".to_owned());
    }
    Ok(key)
}

/// Does something with what is kept. Blocks.
fn stored<R>(app: &App, act: impl FnOnce(&Ledger) -> Result<R, String>) -> Result<R, Refusal> {
    let Some(ledger) = &app.gateway.ledger else {
        let why =
            "keys are kept in the ledger, and none is kept; set `witgate.ledger` in the configuration and start again";
        return Err(Refusal::new(RefusalKind::InvalidRequest, why));
    };
    act(ledger).map_err(|why| not_kept(&app.gateway, why))
}

/// What is kept could not be read or written. A server that is away comes back, and whoever asks is to come back too; the fault of a file stays.
fn not_kept(gateway: &Gateway, why: String) -> Refusal {
    let on_server = gateway.ledger.as_ref().is_some_and(|ledger| ledger.keys().are_shared());
    if !on_server {
        return Refusal::new(RefusalKind::Internal, why);
    }
    let why = format!("the database that keeps the API keys does not answer, or not as it should: {why}");
    Refusal::new(RefusalKind::Unavailable, why).after(Duration::from_secs(1))
}

/// Changes what is kept, as it was read. Blocks.
pub(super) fn changed(app: &App, act: impl FnOnce(&KeyStore) -> Result<(), Unchanged>) -> Result<(), Refusal> {
    let coded = |kind: RefusalKind, code: &str, why: String| {
        let mut refusal = Refusal::new(kind, why);
        (refusal.status, refusal.code) = (CONFLICT, Some(code.to_owned()));
        refusal
    };
    stored(app, |ledger| Ok(act(ledger.keys())))?.map_err(|why| match why {
        Unchanged::Overtaken => {
            let why = "another gateway changed the same key or team at the same time, so that nothing was done; ask again";
            coded(RefusalKind::Unavailable, OVERTAKEN, why.to_owned())
        }
        Unchanged::AliasTaken(alias) => alias_taken(&alias),
        Unchanged::Unread(name) => {
            let why = format!(
                "what is kept of {name} cannot be read here, so that nothing was changed: where a newer version wrote it, ask a gateway \
                 of that; where it is damaged, mend or delete its row there"
            );
            coded(RefusalKind::InvalidRequest, "unreadable", why)
        }
        Unchanged::Failed(why) => not_kept(&app.gateway, why),
    })
}

/// The key that a path names, up to what is done with it.
fn named_in(uri: &Uri, ending: &str) -> Option<String> {
    let named = uri.path().strip_prefix("/key/")?.strip_suffix(ending)?;
    Some(percent_decode_str(named).decode_utf8_lossy().into_owned())
}

fn find(app: &App, named: &str) -> Result<KnownKey, Refusal> {
    let keys = &app.gateway.live.read().callers.keys;
    KeyHash::named(named).and_then(|hash| keys.get(hash)).ok_or_else(unknown)
}

fn by_alias(app: &App, alias: &str) -> Result<KnownKey, Refusal> {
    let all = app.gateway.live.read().callers.keys.all();
    all.into_iter().find(|known| known.key.alias.as_deref() == Some(alias)).ok_or_else(unknown)
}

fn unknown() -> Refusal {
    let mut refusal = Refusal::new(RefusalKind::UnknownPath, "there is no such key").at("key");
    refusal.code = Some("key_not_found".to_owned());
    refusal
}

pub(super) fn missing(field: &str) -> Refusal {
    Refusal::new(RefusalKind::InvalidRequest, format!("`{field}` is missing")).at(field)
}

/// A key that is kept, to be changed.
fn changeable(known: &KnownKey) -> Result<VirtualKey, Refusal> {
    if known.configured {
        let message = "this key is one of the configuration's; change it there, under `witgate.keys`";
        return Err(Refusal::new(RefusalKind::InvalidRequest, message));
    }
    Ok((*known.key).clone())
}

/// No two keys have the same alias; `own` may have it already.
fn free_alias(app: &App, key: &VirtualKey, own: KeyHash) -> Result<(), Refusal> {
    let Some(alias) = &key.alias else { return Ok(()) };
    match by_alias(app, alias) {
        Ok(other) if other.key.hash != own => Err(alias_taken(alias)),
        _ => Ok(()),
    }
}

fn alias_taken(alias: &str) -> Refusal {
    Refusal::new(RefusalKind::InvalidRequest, format!("another key has the alias `{alias}`")).at("key_alias")
}

/// What was spent with a key counts as the one's that took its place, and must not count as another's beside: who chooses it again gets that one
/// back, which `own` is, or nothing.
fn free_of_spend(app: &App, hash: KeyHash, own: Option<KeyHash>, field: &str) -> Result<(), Refusal> {
    let taken = stored(app, |ledger| ledger.keys().renewed_to(hash))?;
    if taken.is_none() || taken == own.map(|own| own.to_string()) {
        return Ok(());
    }
    let why = "this key was renewed, and what it has spent counts as the one's that took its place; choose another key";
    Err(Refusal::new(RefusalKind::InvalidRequest, why).at(field))
}

/// A key nobody can guess: 256 random bits.
pub(super) fn drawn() -> Result<String, Refusal> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes)
        .map_err(|fault| Refusal::new(RefusalKind::Internal, format!("no random numbers: {fault}")))?;
    Ok(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

pub(super) fn query(uri: &Uri, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    pairs.find(|(found, _)| found == name).map(|(_, value)| value.into_owned()).filter(|value| !value.is_empty())
}

/// Whoever filters by what is not known here would be told of everybody.
///
/// # Errors
/// A query has other names than these that say something.
pub(super) fn known_names(uri: &Uri, names: &[&str]) -> Result<(), Refusal> {
    let says = |value: &str| !value.is_empty() && !value.eq_ignore_ascii_case("false");
    let pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let other = pairs.filter(|(name, value)| says(value) && !names.contains(&&**name));
    let other: Vec<String> = other.map(|(name, _)| shortened(&name).to_owned()).take(10).collect();
    let Some(first) = other.first() else { return Ok(()) };
    let known = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
    let message = format!("`{}` is not asked by {}; what is known there: {known}", uri.path(), other.join(", "));
    Err(Refusal::new(RefusalKind::InvalidRequest, message).at(first.as_str()))
}

/// Reads a body, acts, answers. One acts after another, on another thread, and to the end even if the client goes. Where somebody else has
/// changed the same meanwhile, that is taken up and it acts once more.
pub(super) async fn answered(
    app: &Arc<App>,
    request: Request<Body>,
    act: impl Fn(&App, &[u8]) -> Result<Value, Refusal> + Send + 'static,
) -> Response {
    let (head, body) = request.into_parts();
    let acted = async {
        access::is_json(&app.gateway.live.read(), &head.headers)?;
        let body = to_bytes(body, BODY).await.map_err(|_| {
            Refusal::new(RefusalKind::TooLarge, format!("the body could not be read, or has more than {BODY} bytes"))
        })?;
        let acting = Arc::clone(app);
        let job = move || {
            let keys = Arc::clone(&acting.gateway.live.read().callers.keys);
            let acting = || {
                take_up(&acting.gateway, &keys, false)?;
                match act(&acting, &body) {
                    Err(why) if why.code.as_deref() == Some(OVERTAKEN) => {
                        take_up(&acting.gateway, &keys, true)?;
                        act(&acting, &body)
                    }
                    acted => acted,
                }
            };
            keys.change(acting).unwrap_or_else(|| Err(not_now()))
        };
        let failed =
            || Refusal::new(RefusalKind::Internal, "the change of keys failed; ask for the key to see what it is");
        app.gateway.blocking.run(job).await.unwrap_or_else(|| Err(failed()))
    };
    let acted = acted.await;
    answer(app, &head.uri, &head.headers, acted)
}

/// What another gateway has changed is changed here, too, before anything is written over it. Where nobody else is to change anything, that is
/// looked for once it is known that somebody did.
fn take_up(gateway: &Gateway, keys: &KeyBook, somebody_did: bool) -> Result<(), Refusal> {
    let store = gateway.ledger.as_ref().map(|ledger| ledger.keys());
    let Some(store) = store.filter(|store| somebody_did || store.are_shared()) else { return Ok(()) };
    let taken_up = keys.take_up(store, || gateway.clock.now());
    taken_up.map(drop).map_err(|why| not_kept(gateway, format!("{why}; nothing was changed")))
}

/// Somebody else has been changing keys for too long: the ledger does not answer.
fn not_now() -> Refusal {
    Refusal::new(RefusalKind::Unavailable, "another change of keys is under way and comes to no end; nothing was done")
}

pub(super) fn answer(app: &App, uri: &Uri, headers: &HeaderMap, told: Result<Value, Refusal>) -> Response {
    match told {
        Ok(told) => probe::json_response(StatusCode::OK, &told),
        Err(why) => refusal::unrecorded(app, spoken_at(uri.path(), headers), &why),
    }
}

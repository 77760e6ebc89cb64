//! What requests cost, in LiteLLM's paths and shapes, out of the ledger. Behind the admin key.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::fault::{Refusal, RefusalKind};
use crate::format::spoken_at;
use crate::keys::{KeyBook, KnownKey};
use crate::money::NanoUsd;
use crate::record::Ending;
use crate::snapshot::Snapshot;
use crate::store::{By, KeyStore, Logged, Period, Reader, Spend, Wanted};
use crate::virtual_key::KeyHash;

use super::keys::{self, known_names, query};
use super::{App, probe, refusal};

/// Requests that are told at once.
const MOST: u32 = 1000;

/// `/spend/logs`: the last requests, or one by `request_id`; of a key by `api_key`, of a user's keys by `user_id`, of a period by
/// `start_date` and `end_date`.
pub(super) async fn logs(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    let snapshot = app.gateway.live.read();
    let asked = Asked::of(&uri, &["request_id", "api_key", "user_id", "summarize"]).and_then(|asked| {
        if query(&uri, "summarize").is_some_and(|said| !said.eq_ignore_ascii_case("false")) {
            let why = "`summarize` must be false: requests are told one by one; `/global/spend/keys` and its like add them up";
            return Err(Refusal::new(RefusalKind::InvalidRequest, why).at("summarize"));
        }
        Ok(asked)
    });
    let (id, user) = (query(&uri, "request_id"), query(&uri, "user_id"));
    let key = query(&uri, "api_key").map(|shown| name_in_records(&snapshot, &shown));
    let read = move |reader: Reader, kept: &KeyStore, asked: Asked| {
        let names = Names::of(&snapshot, kept)?;
        let wanted = Wanted { id, keys: names.wanted(key, user.as_deref()) };
        let requests = reader.requests(&wanted, &asked.period, MOST)?;
        Ok(requests.iter().map(|request| logged(request, &names)).collect())
    };
    answer(&app, &uri, &headers, asked, read).await
}

/// `/global/spend`: all of it, and the lowest budget of everybody, where there is one.
pub(super) async fn total(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    let (snapshot, now) = (app.gateway.live.read(), app.gateway.clock.now());
    let budgets = snapshot.payers.global.iter().filter_map(|id| app.gateway.budgets.report(now, *id));
    let lowest = budgets.filter(|budget| budget.max.is_some()).min_by_key(|budget| budget.max);
    let (max, period) = lowest.map_or((None, None), |budget| (budget.max, budget.period));
    let (max, period) = (max.map(NanoUsd::as_usd), period.map(|period| period.to_string()));
    let read = move |reader: Reader, _: &KeyStore, asked: Asked| {
        let lines = reader.spend(By::Day, &asked.period)?;
        let spent: NanoUsd = lines.iter().map(|line| line.cost_nano_usd).sum();
        Ok(json!({"spend": spent.as_usd(), "max_budget": max, "budget_duration": period}))
    };
    answer(&app, &uri, &headers, Asked::of(&uri, &[]), read).await
}

/// `/spend/tags`.
pub(super) async fn tags(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    let line = |line: &Spend| json!({"individual_request_tag": line.name, "log_count": line.requests, "total_spend": line.cost_nano_usd.as_usd()});
    sums(&app, &uri, &headers, By::Tag, line).await
}

/// `/global/spend/keys`.
pub(super) async fn keys(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    let snapshot = app.gateway.live.read();
    let read = move |reader: Reader, kept: &KeyStore, asked: Asked| {
        let names = Names::of(&snapshot, kept)?;
        let line = |line: &Spend| {
            let known = names.known(&line.name);
            let alias = match &known {
                Some(known) => known.key.alias.clone(),
                // It has been deleted, or was never one that has another name.
                None => line.alias.clone().or_else(|| KeyHash::parse(&line.name).is_none().then(|| line.name.clone())),
            };
            let name = known.map_or_else(|| line.name.clone(), |known| known.key.name());
            json!({"api_key": line.name, "key_name": name, "key_alias": alias, "total_spend": line.cost_nano_usd.as_usd()})
        };
        Ok(reader.spend(By::Key, &asked.period)?.iter().take(asked.limit).map(line).collect())
    };
    answer(&app, &uri, &headers, Asked::of(&uri, &["limit"]), read).await
}

/// `/global/spend/models`.
pub(super) async fn models(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    let line = |line: &Spend| json!({"model": line.name, "total_spend": line.cost_nano_usd.as_usd()});
    sums(&app, &uri, &headers, By::Model, line).await
}

/// `/spend/keys`: the keys there are as `/key/info` tells of them, who spent most first.
pub(super) async fn kept_keys(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    let (now, asked) = (app.gateway.clock.now(), limited(&uri, &["limit"]));
    let told = asked.map(|limit| {
        let spent = |known: &KnownKey| Reverse(keys::budget(&app, known, now).map(|budget| budget.spent));
        let mut known = app.gateway.live.read().callers.keys.all();
        known.sort_by_cached_key(spent);
        known.iter().take(limit).map(|known| Value::Object(keys::shown(&app, known, now))).collect()
    });
    keys::answer(&app, &uri, &headers, told)
}

/// `/spend/users`: what the keys of each user spent, or those of one by `user_id`, the dearest first.
pub(super) async fn users(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    let (snapshot, one) = (app.gateway.live.read(), query(&uri, "user_id"));
    let read = move |reader: Reader, kept: &KeyStore, asked: Asked| {
        let names = Names::of(&snapshot, kept)?;
        let mut users: BTreeMap<String, NanoUsd> = BTreeMap::new();
        for line in reader.spend(By::Key, &asked.period)? {
            let user = names.known(&line.name).and_then(|known| known.key.user.clone());
            if let Some(user) = user.filter(|user| one.as_ref().is_none_or(|one| one == user)) {
                *users.entry(user).or_default() += line.cost_nano_usd;
            }
        }
        let mut users: Vec<(String, NanoUsd)> = users.into_iter().collect();
        users.sort_by_key(|(_, spent)| Reverse(*spent));
        let line =
            |(user, spent): &(String, NanoUsd)| json!({"user_id": user, "spend": spent.as_usd(), "max_budget": null});
        Ok(users.iter().take(asked.limit).map(line).collect())
    };
    answer(&app, &uri, &headers, Asked::of(&uri, &["user_id", "limit"]), read).await
}

async fn sums(
    app: &App,
    uri: &Uri,
    headers: &HeaderMap,
    by: By,
    line: impl Fn(&Spend) -> Value + Send + 'static,
) -> Response {
    let read = move |reader: Reader, _: &KeyStore, asked: Asked| {
        Ok(reader.spend(by, &asked.period)?.iter().take(asked.limit).map(&line).collect())
    };
    answer(app, uri, headers, Asked::of(uri, &["limit"]), read).await
}

/// What a path's query says.
struct Asked {
    period: Period,
    /// Lines at most.
    limit: usize,
}

impl Asked {
    /// With a period, and what else is known at this path.
    ///
    /// # Errors
    /// There is something that is not known, or no number where one is wanted.
    fn of(uri: &Uri, more: &[&str]) -> Result<Self, Refusal> {
        let limit = limited(uri, &[more, &["start_date", "end_date"]].concat())?;
        let period = Period { since: query(uri, "start_date"), until: query(uri, "end_date") };
        period.check().map_err(|why| Refusal::new(RefusalKind::InvalidRequest, why))?;
        Ok(Self { period, limit })
    }
}

/// How many lines are wanted at most, where nothing but these is asked.
fn limited(uri: &Uri, names: &[&str]) -> Result<usize, Refusal> {
    known_names(uri, names)?;
    let Some(text) = query(uri, "limit") else { return Ok(usize::MAX) };
    let wrong = || Refusal::new(RefusalKind::InvalidRequest, "`limit` must be a whole number from 1").at("limit");
    text.parse::<usize>().ok().filter(|limit| *limit > 0).ok_or_else(wrong)
}

/// The keys there are, by the names that records have of them: the digests that requests were asked with.
struct Names {
    keys: Arc<KeyBook>,
    /// What took the place of those that were renewed.
    renewed: HashMap<String, String>,
}

impl Names {
    fn of(snapshot: &Snapshot, kept: &KeyStore) -> Result<Self, String> {
        Ok(Self { keys: Arc::clone(&snapshot.callers.keys), renewed: kept.renewals()? })
    }

    /// What the key of this name is called now.
    fn now<'n>(&'n self, name: &'n str) -> &'n str {
        self.renewed.get(name).map_or(name, String::as_str)
    }

    /// The virtual key that has this name or had it, while there is one.
    fn known(&self, name: &str) -> Option<KnownKey> {
        KeyHash::parse(self.now(name)).and_then(|hash| self.keys.get(hash))
    }

    /// The names of a key and of a user's keys, where they are asked for, those from before they were renewed too; `None` is all.
    fn wanted(&self, key: Option<String>, user: Option<&str>) -> Option<Vec<String>> {
        let of_user = user.map(|user| {
            let own = self.keys.all().into_iter().filter(|known| known.key.user.as_deref() == Some(user));
            own.map(|known| known.key.hash.to_string()).collect::<BTreeSet<_>>()
        });
        let wanted: BTreeSet<String> = match key {
            None => of_user?,
            Some(key) => of_user.is_none_or(|own| own.contains(&key)).then_some(key).into_iter().collect(),
        };
        let before = self.renewed.iter().filter(|(_, now)| wanted.contains(*now)).map(|(before, _)| before);
        Some(wanted.iter().chain(before).cloned().collect())
    }
}

/// What records call a key that is named by itself, by its digest, or as they do.
fn name_in_records(snapshot: &Snapshot, shown: &str) -> String {
    let hash = KeyHash::named(shown);
    if let Some(master) = &snapshot.settings.server.master_key {
        let master = KeyHash::of(master.expose_secret());
        // It has a name of its own there, and need not begin as keys do.
        if hash == Some(master) || KeyHash::of(shown) == master {
            return snapshot.callers.master.key.as_str().to_owned();
        }
    }
    hash.map_or_else(|| shown.to_owned(), |hash| hash.to_string())
}

/// Reads the ledger on another thread.
async fn answer(
    app: &App,
    uri: &Uri,
    headers: &HeaderMap,
    asked: Result<Asked, Refusal>,
    read: impl FnOnce(Reader, &KeyStore, Asked) -> Result<Value, String> + Send + 'static,
) -> Response {
    let api = spoken_at(uri.path(), headers);
    let refuse = |kind, why: String| refusal::unrecorded(app, api, &Refusal::new(kind, why));
    let asked = match asked {
        Ok(asked) => asked,
        Err(why) => return refusal::unrecorded(app, api, &why),
    };
    let Some(ledger) = &app.gateway.ledger else {
        let why = "no ledger is kept; set `witgate.ledger` in the configuration and start again";
        return refuse(RefusalKind::UnknownPath, why.to_owned());
    };
    let ledger = Arc::clone(ledger);
    let read = move || ledger.reader().and_then(|reader| read(reader, ledger.keys(), asked));
    let read = app.gateway.blocking.run(read).await;
    match read {
        Some(Ok(answer)) => probe::json_response(StatusCode::OK, &answer),
        // What was asked is read already: it is the ledger that cannot answer.
        Some(Err(why)) => refuse(RefusalKind::Unavailable, why),
        None => refuse(RefusalKind::Internal, "the ledger could not be read".to_owned()),
    }
}

fn logged(request: &Logged, names: &Names) -> Value {
    let user = request.key.as_deref().and_then(|name| names.known(name)).and_then(|known| known.key.user.clone());
    let tokens = request.input_tokens.saturating_add(request.output_tokens);
    // What was refused cost nothing; what tokens cost that have no known price, nobody knows.
    let spend = request.cost_nano_usd.or((tokens == 0).then(NanoUsd::default));
    json!({
        "request_id": request.id,
        "call_type": request.api,
        "api_key": request.key,
        "user": user,
        "team_id": request.team,
        "model": request.model_group,
        "model_group": request.model_group,
        "spend": spend.map(NanoUsd::as_usd),
        "prompt_tokens": request.input_tokens,
        "completion_tokens": request.output_tokens,
        "total_tokens": tokens,
        "request_tags": request.tags,
        "startTime": request.arrived,
        "endTime": request.ended,
        // A stream that broke off had begun with 200.
        "status": if request.status < 400 && request.ending == Ending::Whole.as_str() { "success" } else { "failure" },
        "metadata": {"status": request.status, "ending": request.ending},
    })
}

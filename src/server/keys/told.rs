//! What keys there are and what each may do: one of them, some, a page of all. Nothing is changed.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Request, Uri};
use axum::response::Response;
use serde_json::{Value, json};

use super::fields::Fields;
use super::{App, answer, answered, by_alias, find, known_names, missing, query, shown};
use crate::fault::{Refusal, RefusalKind};
use crate::keys::KnownKey;
use crate::snapshot::Caller;
use crate::virtual_key::KeyHash;

/// Lines of a page at most.
const MOST: usize = 100;

/// Which part of a list is asked for.
struct Page {
    number: usize,
    size: usize,
}

impl Page {
    /// As a query says it, with so many lines where it says nothing. Whoever asks for more than one page has would take the first for all.
    fn of(uri: &Uri, usual: usize) -> Result<Self, Refusal> {
        let number = |name: &str, otherwise: usize, most: usize, wanted: &str| {
            let Some(text) = query(uri, name) else { return Ok(otherwise) };
            let wrong = || Refusal::new(RefusalKind::InvalidRequest, format!("`{name}` must be {wanted}")).at(name);
            text.parse::<usize>().ok().filter(|number| (1..=most).contains(number)).ok_or_else(wrong)
        };
        Ok(Self {
            number: number("page", 1, usize::MAX, "a whole number from 1")?,
            size: number("size", usual, MOST, "a whole number from 1 to 100; ask for `page` after `page`")?,
        })
    }

    fn cut<'l, T>(&self, all: &'l [T]) -> &'l [T] {
        let from = (self.number - 1).saturating_mul(self.size).min(all.len());
        let left = &all[from..];
        &left[..self.size.min(left.len())]
    }
}

/// `GET /key/info?key=…`: of the key that is named, by itself or by its digest; else of the one that asks.
pub(in crate::server) async fn info(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Arc<Caller>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let told = || {
        known_names(&uri, &["key"])?;
        let own = caller.virtual_key.as_ref().map(|key| key.hash);
        let known = match (query(&uri, "key"), own) {
            (Some(named), None) => find(&app, &named)?,
            (Some(named), Some(own)) if KeyHash::named(&named) == Some(own) => find(&app, &named)?,
            (Some(_), Some(_)) => {
                return Err(Refusal::new(RefusalKind::Forbidden, "a key may be told of itself and of no other"));
            }
            (None, Some(own)) => find(&app, &own.to_string())?,
            (None, None) => return Err(missing("key")),
        };
        let mut info = shown(&app, &known, app.gateway.clock.now());
        info.shift_remove("token");
        Ok(json!({"key": query(&uri, "key").unwrap_or_else(|| known.key.hash.to_string()), "info": info}))
    };
    answer(&app, &uri, &headers, told())
}

/// `POST /v2/key/info`: of those that `keys` and `key_aliases` name, in this order. Where there is no such key, nothing is told of it.
pub(in crate::server) async fn several(State(app): State<Arc<App>>, request: Request<Body>) -> Response {
    answered(&app, request, |app, body| {
        let mut fields = Fields::read(body)?;
        let (named, aliases) = (fields.texts("keys")?, fields.texts("key_aliases")?);
        if named.is_empty() && aliases.is_empty() {
            return Err(missing("keys"));
        }
        let (now, mut told) = (app.gateway.clock.now(), BTreeSet::new());
        let found = named.iter().map(|named| find(app, named)).chain(aliases.iter().map(|alias| by_alias(app, alias)));
        let found = found.filter_map(Result::ok).filter(|known| told.insert(known.key.hash));
        let info: Vec<Value> = found.map(|known| Value::Object(shown(app, &known, now))).collect();
        Ok(json!({"key": (!named.is_empty()).then_some(named), "info": info}))
    })
    .await
}

/// What a list of keys may be asked by.
const LISTED_BY: [&str; 7] = ["page", "size", "team_id", "user_id", "key_alias", "key_hash", "return_full_object"];

/// `GET /key/list`: digests, or whole with `return_full_object=true`; by page, team, user, alias.
pub(in crate::server) async fn list(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    let told = || {
        known_names(&uri, &LISTED_BY)?;
        let page = Page::of(&uri, 10)?;
        let wanted = |known: &KnownKey| {
            let key = &known.key;
            let is =
                |name: &str, value: Option<&str>| query(&uri, name).is_none_or(|asked| Some(asked.as_str()) == value);
            let hash = key.hash.to_string();
            is("team_id", key.team.as_deref())
                && is("user_id", key.user.as_deref())
                && is("key_alias", key.alias.as_deref())
                && is("key_hash", Some(&hash))
        };
        let now = app.gateway.clock.now();
        let mut keys = app.gateway.live.read().callers.keys.all();
        keys.retain(wanted);
        // The newest first, as LiteLLM has them.
        keys.sort_by_key(|known| std::cmp::Reverse(known.key.created));
        let whole = query(&uri, "return_full_object").is_some_and(|text| text.eq_ignore_ascii_case("true"));
        let one = |known: &KnownKey| {
            if whole { Value::Object(shown(&app, known, now)) } else { json!(known.key.hash) }
        };
        Ok(json!({
            "keys": page.cut(&keys).iter().map(one).collect::<Vec<_>>(),
            "total_count": keys.len(),
            "current_page": page.number,
            "total_pages": keys.len().div_ceil(page.size),
        }))
    };
    answer(&app, &uri, &headers, told())
}

/// `GET /key/aliases`: what keys are called, in order and by page; those of a team (`team_id`), or that have a text in them (`search`).
pub(in crate::server) async fn aliases(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    let told = || {
        known_names(&uri, &["page", "size", "search", "team_id"])?;
        let page = Page::of(&uri, 50)?;
        let (team, search) = (query(&uri, "team_id"), query(&uri, "search").map(|text| text.to_lowercase()));
        let keys = app.gateway.live.read().callers.keys.all();
        let of_team = keys.iter().filter(|known| team.is_none() || known.key.team == team);
        let has = |alias: &&str| search.as_ref().is_none_or(|part| alias.to_lowercase().contains(part));
        let mut aliases: Vec<&str> = of_team.filter_map(|known| known.key.alias.as_deref()).filter(has).collect();
        aliases.sort_unstable();
        Ok(json!({
            "aliases": page.cut(&aliases),
            "total_count": aliases.len(),
            "current_page": page.number,
            "total_pages": aliases.len().div_ceil(page.size),
            "size": page.size,
        }))
    };
    answer(&app, &uri, &headers, told())
}

//! What every request passes before anything of it is read: it must come from where it may, and show a key.
//!
//! Handlers ask no keys. A web page must not be able to spend those of the providers.
//! A gateway without a key is for this machine only, so it answers only names of this machine (`Host`
//! checked: DNS rebinding). A browser's foreign `Origin` is refused unless it is listed (`witgate.server.cors_origins`).
//! A request that says either twice is refused whole: whoever stands before us may have believed the other one.

use std::sync::Arc;

use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, Uri, Version};
use secrecy::SecretString;

use crate::fault::{Refusal, RefusalKind};
use crate::moment::Moment;
use crate::pipeline::{self, Access};
use crate::snapshot::{Caller, Snapshot};

use super::cors;

/// Paths that need no key, and why. Every other path does, known or not: a route somebody forgets is closed.
pub(super) const PUBLIC: [(&str, &str); 5] = [
    ("/", "clients look whether something answers, and learn nothing else"),
    ("/health/liveliness", "whoever restarts the process asks it, holds no key and learns nothing of requests"),
    ("/health/liveness", "the same, as others spell it"),
    ("/health/readiness", "load balancers ask it, hold no key and learn how many groups there are"),
    ("/metrics", "scrapers ask it; it holds counts and names of groups, and nothing of a prompt, a reply or a key"),
];

/// Where operators ask and act, each with all below it.
const ADMIN: [&str; 6] = ["/admin", "/spend", "/global", "/key", "/v2/key", "/team"];
/// What a key's holder may ask too, about this key.
const OWN_KEY: &str = "/key/info";
/// What a key's holder may say of its own requests, and operators of any.
const OWN_REQUESTS: [&str; 2] = ["/v1/feedback", "/feedback"];

/// Lets a request in, or says why not: it must come from where it may, and show the key of what it asks for. `None` is what
/// anybody may ask.
///
/// # Errors
/// What to tell a request that may not.
pub(super) fn authorize(
    snapshot: &Snapshot,
    version: Version,
    headers: &HeaderMap,
    uri: &Uri,
    now: Moment,
) -> Result<Option<Arc<Caller>>, Refusal> {
    if version == Version::HTTP_11 && !headers.contains_key(HOST) {
        let message = "the header `host` is missing, which HTTP/1.1 asks for";
        return Err(Refusal::new(RefusalKind::InvalidRequest, message));
    }
    let server = &snapshot.settings.server;
    allowed(headers, uri, !snapshot.settings.asks_for_keys(), &server.cors_origins)?;
    let path = uri.path();
    if PUBLIC.iter().any(|(public, _)| *public == path) {
        return Ok(None);
    }
    let admin =
        // It calls every provider, which costs money.
        path == "/health" || ADMIN.iter().any(|area| path.strip_prefix(area).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
    let accesses: &[Access] = match admin {
        _ if path == OWN_KEY => &[Access::OwnKey],
        _ if OWN_REQUESTS.contains(&path) => &[Access::Client, Access::Admin],
        true => &[Access::Admin],
        false => &[Access::Client],
    };
    let known = |key: Option<&SecretString>| {
        let first = pipeline::authenticate(snapshot, accesses[0], key, now);
        let others = || accesses[1..].iter().find_map(|more| pipeline::authenticate(snapshot, *more, key, now).ok());
        first.or_else(|why| others().ok_or(why))
    };
    // Some clients show two at once, one of them another's: any of them that is known lets the request in.
    let mut shown = keys(headers, uri);
    let first = known(shown.next().as_ref());
    first.or_else(|why| shown.find_map(|key| known(Some(&key)).ok()).ok_or(why)).map(Some)
}

/// Whether a request may come from where it comes; `open` is a gateway without a key.
///
/// # Errors
/// What to tell a request that may not.
fn allowed(headers: &HeaderMap, uri: &Uri, open: bool, origins: &[String]) -> Result<(), Refusal> {
    for name in [HOST, ORIGIN] {
        if headers.get_all(&name).iter().nth(1).is_some() {
            let message = format!("the header `{name}` is sent twice; send it once");
            return Err(Refusal::new(RefusalKind::InvalidRequest, message));
        }
    }
    let named = headers.get(HOST).and_then(|host| host.to_str().ok());
    let authority = uri.authority().map(axum::http::uri::Authority::as_str);
    if let (Some(host), Some(authority)) = (named, authority)
        && !host.eq_ignore_ascii_case(authority)
    {
        let message = format!("the header `host` says `{host}` and the request's own address `{authority}`");
        return Err(Refusal::new(RefusalKind::InvalidRequest, message));
    }
    let host = named.or(authority);
    let host_name = host.map(name_of).unwrap_or_default();
    if open && !is_local(host_name) {
        let message = format!(
            "a gateway without a key answers only to names of this machine, not `{host_name}`; set `general_settings.master_key` to serve others"
        );
        return Err(Refusal::new(RefusalKind::Forbidden, message));
    }
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let same = origin.to_str().ok().and_then(|origin| origin.split_once("://")).is_some_and(|(_, of)| Some(of) == host);
    if same || cors::listed(origins, origin) {
        return Ok(());
    }
    let message = "requests from web pages of another origin are refused; call the gateway from a server or a command, or list the origin in \
         `witgate.server.cors_origins`";
    Err(Refusal::new(RefusalKind::Forbidden, message))
}

/// `localhost:4000` → `localhost`, `[::1]:4000` → `[::1]`.
fn name_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => authority,
    }
}

fn is_local(name: &str) -> bool {
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A form or plain text is what a foreign page can send without asking first: where no key is asked for, a body says that it is JSON.
/// Who has shown a key may leave that out, as small clients do; a form is none anywhere.
pub(super) fn is_json(snapshot: &Snapshot, headers: &HeaderMap) -> Result<(), Refusal> {
    const FORMS: [&str; 2] = ["application/x-www-form-urlencoded", "multipart/form-data"];
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    let is_form = || FORMS.iter().any(|form| essence.eq_ignore_ascii_case(form));
    if essence.eq_ignore_ascii_case("application/json") || (snapshot.settings.asks_for_keys() && !is_form()) {
        return Ok(());
    }
    let message = format!("the body must be JSON: send `Content-Type: application/json`, not `{essence}`");
    Err(Refusal::new(RefusalKind::InvalidRequest, message))
}

/// Where clients show keys beside `Authorization`: Anthropic's, Azure's and Google's.
const KEY_HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
];
/// LiteLLM's own.
const OWN_HEADER: HeaderName = HeaderName::from_static("x-litellm-api-key");

/// The keys a client showed: LiteLLM's own header, `Authorization: Bearer`, the vendors' headers, `?key=`.
fn keys<'r>(headers: &'r HeaderMap, uri: &'r Uri) -> impl Iterator<Item = SecretString> + 'r {
    let text = move |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = text(AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
    });
    let own = text(OWN_HEADER).map(|key| key.strip_prefix("Bearer ").unwrap_or(key));
    let vendors = KEY_HEADERS.into_iter().filter_map(text);
    let query = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let asked = query.filter(|(name, _)| name == "key").map(|(_, key)| SecretString::from(key.into_owned()));
    own.into_iter().chain(bearer).chain(vendors).map(SecretString::from).chain(asked)
}

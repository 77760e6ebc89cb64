//! One entry of `model_list`: who is called, where, with which credential, within which limits, at what price.
//!
//! A deployment that cannot be understood is a problem, never left out: a group that lacks a member in silence
//! is worse than a file that is refused. Its id is `model_info.id`, else derived from what identifies it, so
//! that limits and learned state find it again after a reload and a restart.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::models::{self, Model};
use super::problem::closest;
use super::providers::{self, Found, Provider, SIMULATED};
use super::reader::Section;
use super::report::Grade;
use crate::catalog::{Deployment, Origin, SimulatedModel};
use crate::format::{NO_QUIRKS, OpenAi, ProviderFormat, Quirks};
use crate::id::{DeploymentId, GroupName, ProviderName};
use crate::limits::Dimension::{InFlight, InputTokens, OutputTokens, Requests, Tokens};
use crate::limits::LimitSpec;
use crate::money::{Price, Prices};
use crate::upstream::Timeouts;

/// What deployments share where they say nothing themselves.
#[derive(Clone, Debug)]
pub(super) struct Defaults {
    pub(super) timeout: Option<Duration>,
    pub(super) stream_timeout: Option<Duration>,
    pub(super) window: Duration,
    pub(super) margin: f64,
    pub(super) in_flight: Option<u32>,
}

/// A deployment as its file has it.
pub(super) struct Entry {
    pub(super) group: GroupName,
    pub(super) deployment: Deployment,
    /// Whether the id is one the file gives, and not derived.
    pub(super) own_id: bool,
    /// Whether the file gives an order.
    pub(super) ordered: bool,
    /// Blocked ones are read, and left out of their group.
    pub(super) blocked: bool,
}

/// Where a deployment is and how it is spoken to.
struct Route {
    provider: ProviderName,
    format: &'static dyn ProviderFormat,
    quirks: &'static Quirks,
    model: String,
    origin: Origin,
    credential: Option<SecretString>,
    /// What the credential is known by: the variable's name, or a digest. Never the credential.
    credential_name: String,
}

/// Reads one entry. `None` where it cannot be used; the problems say why.
pub(super) fn read(mut entry: Section<'_, '_>, defaults: &Defaults) -> Option<Entry> {
    let name = entry.text("model_name");
    if name.is_none() {
        entry.error_at("model_name", "a deployment needs a `model_name`", "the name clients send as `model`");
    }
    if let Some(name) = name.as_deref().filter(|name| name.contains('*')) {
        let hint = "write one entry per model; wildcards are not there yet";
        entry.error_at("model_name", format!("`{name}` is a wildcard"), hint);
    }
    let mut limits = LimitSpec::default().with(Requests, entry.count("rpm")).with(Tokens, entry.count("tpm"));
    let mut blocked = entry.flag("blocked");
    let mut info = entry.inner("model_info", "model_info");
    let mut params = entry.inner("litellm_params", "litellm_params");
    let route = route(&mut params);
    read_limits(&mut limits, &mut params, &mut info, defaults);
    let base_model = info.text("base_model");
    let known = match (&base_model, &route) {
        (Some(name), _) => models::named(name),
        (None, Some(route)) => models::of_provider(route.provider.as_str(), &route.model),
        (None, None) => None,
    };
    let prices = prices(&mut params, &mut info, known);
    let prices = match &route {
        Some(Route { origin: Origin::Simulated(_), .. }) => prices.or(Some(FREE)),
        _ => prices,
    };
    let (id, order, max_tokens) = (read_id(&mut info), info.small("order"), info.small("max_tokens"));
    let (max_input, max_output) = (info.small("max_input_tokens"), info.small("max_output_tokens"));
    blocked = info.flag("blocked").or(blocked);
    let organization = params.text("organization");
    let api_version = params.text("api_version");
    let headers = headers(&mut params, route.as_ref(), organization.as_deref());
    let order = params.small("order").or(order);
    let (weight, tags) = (params.amount("weight"), params.texts("tags"));
    let timeout = params.seconds("timeout").or(defaults.timeout);
    let stream_timeout = params.seconds("stream_timeout").or(defaults.stream_timeout).or(timeout);
    if params.has("litellm_credential_name") {
        let hint = "put api_key and api_base into the deployment";
        params.error_at("litellm_credential_name", "credentials by name are not there yet", hint);
    }
    params.finish();
    info.finish();
    entry.finish();
    let (group, route) = (name?, route?);
    let own_id = id.is_some();
    let id = id.unwrap_or_else(|| derived_id(&group, &route, api_version.as_deref(), organization.as_deref()));
    // Not before the id: what is known of a model may change, a deployment's id must not.
    let needed = models::api_version(route.provider.as_str(), base_model.as_deref().unwrap_or(&route.model));
    let api_version = api_version.or_else(|| needed.map(str::to_owned));
    let deployment = Deployment {
        id: DeploymentId::from(id),
        provider: route.provider,
        format: route.format,
        quirks: route.quirks,
        model: route.model,
        origin: route.origin,
        credential: route.credential,
        api_version,
        headers,
        limits,
        weight,
        order: order.unwrap_or(0),
        tags,
        prices,
        context_window: max_input.or_else(|| known?.max_input),
        max_output_tokens: max_output.or(max_tokens).or_else(|| known?.max_output),
        timeouts: timeouts_of(timeout),
        stream_timeouts: timeouts_of(stream_timeout),
    };
    let (ordered, blocked) = (order.is_some(), blocked == Some(true));
    Some(Entry { group: GroupName::from(group), deployment, own_id, ordered, blocked })
}

/// What the simulated provider charges unless told otherwise.
const FREE: Prices = Prices { input: Price(0), output: Price(0), cache_read: None, cache_write: None };

fn route(params: &mut Section<'_, '_>) -> Option<Route> {
    let (model, custom) = (params.text("model"), params.text("custom_llm_provider"));
    // A missing variable is told once, by this read.
    let given = params.has("api_base");
    let base = params.text("api_base");
    let simulated = simulated(params);
    let key = params.secret("api_key");
    let Some(model) = model else {
        if !params.has("model") {
            params.error_at("model", "a deployment needs `litellm_params.model`", "for example `openai/gpt-4o`");
        }
        return None;
    };
    match providers::find(&model, custom.as_deref(), base.as_deref()) {
        Found::Simulated(model) => Some(Route {
            provider: ProviderName::from(SIMULATED),
            format: &OpenAi,
            quirks: &NO_QUIRKS,
            model,
            origin: Origin::Simulated(Arc::new(simulated.unwrap_or_default())),
            credential: None,
            credential_name: String::new(),
        }),
        Found::Spoken(row, model) => {
            if simulated.is_some() {
                let hint = "write `model: simulated/NAME` for the simulated provider";
                params.error_at("simulated", format!("`{}` is not simulated", row.name), hint);
            }
            let origin = origin(params, row, base, given)?;
            let (credential, credential_name) = credential(params, row, key, given)?;
            if let Some(note) = &row.note {
                params.downgrade("model", Grade::Approximate, note.as_str());
            }
            let (provider, format) = (ProviderName::from(row.name.as_str()), row.format);
            Some(Route { provider, format, quirks: &row.quirks, model, origin, credential, credential_name })
        }
        Found::NotYet(provider) => {
            let hint = "comment the deployment out, or reach it through an OpenAI-compatible address: \
                        `custom_llm_provider: openai` with `api_base`";
            params.downgrade("model", Grade::NotYet, format!("the provider `{provider}` is not spoken yet"));
            params.error_at("model", format!("the provider `{provider}` is not spoken yet"), hint);
            None
        }
        Found::Unknown => {
            let written = custom.as_deref().or_else(|| model.split_once('/').map(|(provider, _)| provider));
            let hint = match written.and_then(|written| closest(written, providers::names())) {
                Some(name) => {
                    format!("did you mean the provider `{name}`? else write it first, as in `openai/{model}`")
                }
                None => format!("write the provider first: `openai/{model}` for OpenAI and all that imitate it"),
            };
            params.error_at("model", "no known provider in `model`", hint);
            None
        }
    }
}

fn origin(params: &Section<'_, '_>, row: &Provider, base: Option<String>, given: bool) -> Option<Origin> {
    if given && base.is_none() {
        return None;
    }
    let named = |name: &String| Some((params.reader.variable(name)?, format!("the variable `{name}`")));
    let given = base.map(|base| (base, "`api_base`".to_owned()));
    let found = given.or_else(|| row.base_env.iter().find_map(named));
    let Some((base, source)) = found.or_else(|| Some((row.base.clone()?, row.name.clone()))) else {
        let hint = "for example http://localhost:8000/v1";
        params.error_at("api_base", format!("`{}` needs an `api_base`", row.name), hint);
        return None;
    };
    let address = address(&base, row);
    if address.is_none() {
        // The address is not repeated: it may hold a password.
        let hint = "scheme, host, port and path: http://localhost:8000/v1, without user, query and fragment";
        params.error_at("api_base", format!("{source} is not an address that can be called"), hint);
    }
    address.map(|address| Origin::Http(address.into()))
}

/// The base of a provider's paths, without what its format appends itself.
fn address(base: &str, row: &Provider) -> Option<String> {
    let uri: http::Uri = base.trim().parse().ok()?;
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
    if uri.query().is_some() || authority.host().is_empty() || base.contains('#') || !base.is_ascii() {
        return None;
    }
    // A port that is no port would quietly become the scheme's own, where somebody else listens.
    if authority.port_u16().is_none() && authority.as_str() != authority.host() {
        return None;
    }
    let mut path = uri.path().trim_end_matches('/');
    for ending in row.format.path_endings() {
        path = path.strip_suffix(ending).unwrap_or(path);
    }
    let suffix = row.suffix.as_deref().filter(|suffix| !path.ends_with(suffix)).unwrap_or("");
    Some(format!("{scheme}://{authority}{path}{suffix}"))
}

type Credential = (Option<SecretString>, String);

fn credential(
    params: &mut Section<'_, '_>,
    row: &Provider,
    key: Option<(SecretString, Option<&str>)>,
    own_address: bool,
) -> Option<Credential> {
    if let Some((key, variable)) = key {
        let name = match variable {
            Some(name) => name.to_owned(),
            None => short_digest(&[key.expose_secret()]),
        };
        if HeaderValue::from_str(key.expose_secret()).is_err() {
            params.error_at("api_key", "`api_key` holds what no header can carry", "is it cut, or more than the key?");
            return None;
        }
        return Some((Some(key), name));
    }
    if params.has("api_key") {
        // It was given and could not be read; that is told already.
        return None;
    }
    let from_variable =
        |name: &String| Some((Some(SecretString::from(params.reader.variable(name)?.trim())), name.clone()));
    if let Some(found) = row.key_env.iter().find_map(from_variable) {
        if own_address {
            // As in LiteLLM; told, since the key goes to an address of the file's.
            params.downgrade("api_base", Grade::Exact, format!("called with the key of {}", found.1));
        }
        return Some(found);
    }
    if row.needs_key() && !own_address {
        let variable = row.key_env.first().map_or("", String::as_str);
        let hint = format!("set {variable} where witgate runs, or `api_key` here");
        params.error_at("api_key", format!("`{}` answers nobody without a key", row.name), hint);
        return None;
    }
    Some((None, String::new()))
}

fn simulated(params: &mut Section<'_, '_>) -> Option<SimulatedModel> {
    params.get("simulated")?;
    let mut section = params.inner("simulated", "simulated").strict();
    let plain = SimulatedModel::default();
    let model = SimulatedModel {
        seed: section.count("seed").unwrap_or(plain.seed),
        ttft_ms: section.amount("ttft_ms").unwrap_or(plain.ttft_ms),
        ttft_sigma: section.amount("ttft_sigma").unwrap_or(plain.ttft_sigma),
        tokens_per_second: section.amount("tokens_per_second").unwrap_or(plain.tokens_per_second),
        output_tokens: section.small("output_tokens").unwrap_or(plain.output_tokens),
        error_rate: section.share("error_rate").unwrap_or(plain.error_rate),
        rpm: section.count("rpm"),
        tpm: section.count("tpm"),
    };
    section.finish();
    Some(model)
}

/// The entry's own limits, which LiteLLM reads first, are in `limits` already.
fn read_limits(limits: &mut LimitSpec, params: &mut Section<'_, '_>, info: &mut Section<'_, '_>, defaults: &Defaults) {
    // All are read, so that all are checked and reported, whichever wins.
    let (requests, tokens) = ([params.count("rpm"), info.count("rpm")], [params.count("tpm"), info.count("tpm")]);
    let LimitSpec { limits: amounts, .. } = limits;
    amounts[Requests] = amounts[Requests].or(requests[0]).or(requests[1]);
    amounts[Tokens] = amounts[Tokens].or(tokens[0]).or(tokens[1]);
    amounts[InputTokens] = params.count("itpm");
    amounts[OutputTokens] = params.count("otpm");
    let unlimited = amounts[Requests].is_none() && amounts[Tokens].is_none();
    let in_flight = params.small("max_parallel_requests").or(defaults.in_flight.filter(|_| unlimited));
    amounts[InFlight] = in_flight.map(u64::from);
    limits.window = params.seconds("token_usage_window").unwrap_or(defaults.window);
    limits.margin = defaults.margin;
}

/// LiteLLM hands `timeout` to its HTTP client, where it bounds every wait: for the connection, for the first byte,
/// between two pieces. For a streamed request it hands over `stream_timeout`, of any level, before any `timeout`.
fn timeouts_of(wait: Option<Duration>) -> Timeouts {
    let plain = Timeouts::default();
    match wait {
        Some(wait) => Timeouts { connect: plain.connect.min(wait), first_byte: wait, idle: wait },
        None => plain,
    }
}

fn prices(params: &mut Section<'_, '_>, info: &mut Section<'_, '_>, known: Option<&Model>) -> Option<Prices> {
    let mut price = |key: &'static str| {
        let (own, other) = (params.amount(key), info.amount(key));
        let usd = own.or(other)?;
        let price = Price::from_usd_per_token(usd);
        if price.is_none() {
            let hint = "dollars per token: 0.0000025 is $2.50 per million";
            let section: &Section<'_, '_> = if own.is_some() { params } else { info };
            section.error_at(key, format!("`{key}` is over a thousand dollars a token"), hint);
        }
        price
    };
    let (input, output) = (price("input_cost_per_token"), price("output_cost_per_token"));
    let (read, write) = (price("cache_read_input_token_cost"), price("cache_creation_input_token_cost"));
    let public = known.and_then(Model::prices);
    // A cached price of the public table belongs to the public input price, not to one the file sets.
    let cached = public.filter(|_| input.is_none());
    Some(Prices {
        input: input.or_else(|| Some(public?.input))?,
        output: output.or_else(|| Some(public?.output))?,
        cache_read: read.or_else(|| cached?.cache_read),
        cache_write: write.or_else(|| cached?.cache_write),
    })
}

/// Headers that belong to the connection or to the body, which no deployment sets.
const NOT_OURS: [&str; 7] =
    ["connection", "content-length", "content-type", "host", "te", "transfer-encoding", "upgrade"];

fn headers(params: &mut Section<'_, '_>, route: Option<&Route>, organization: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let named = route.and_then(|route| route.format.organization_header());
    let mut add = |params: &Section<'_, '_>, key: &'static str, name: &str, value: &str| {
        let parsed = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value));
        match parsed {
            (Ok(name), Ok(mut value)) if !NOT_OURS.contains(&name.as_str()) => {
                value.set_sensitive(true);
                headers.insert(name, value);
            }
            (named, _) => {
                // A whole line pasted as the name holds the value too.
                let shown = named.map_or_else(|_| "this".to_owned(), |name| format!("`{name}`"));
                let hint = "visible ASCII, and not one of the connection's own";
                params.error_at(key, format!("{shown} is not a header that can be sent"), hint);
            }
        }
    };
    if let (Some(organization), Some(name)) = (organization, named) {
        add(params, "organization", name.as_str(), organization);
    }
    for key in ["headers", "extra_headers"] {
        let Some(node) = params.get(key) else { continue };
        let reader = params.reader;
        for entry in reader.map(node, key) {
            if let Some(value) = reader.text(&entry.node, &entry.key) {
                add(params, key, &entry.key, &value);
            }
        }
    }
    headers
}

fn read_id(info: &mut Section<'_, '_>) -> Option<String> {
    let id = info.text("id")?;
    let fits = !id.is_empty() && id.len() <= 200 && id.bytes().all(|byte| byte.is_ascii_graphic());
    if !fits {
        let hint = "1 to 200 visible ASCII characters: it is sent as a header and shown in metrics";
        info.error_at("id", "`model_info.id` is not an id that can be used", hint);
        return None;
    }
    Some(id)
}

/// The model's name to be read, and a digest of what tells the deployment from others. A key counts by the name
/// of its variable, so that a new key is still the same deployment.
fn derived_id(group: &str, route: &Route, api_version: Option<&str>, organization: Option<&str>) -> String {
    let origin = match &route.origin {
        Origin::Http(base) => base,
        Origin::Simulated(_) => SIMULATED,
    };
    let parts = [
        group,
        route.provider.as_str(),
        &route.model,
        origin,
        &route.credential_name,
        api_version.unwrap_or(""),
        organization.unwrap_or(""),
    ];
    let plain = |letter: char| if letter.is_ascii_alphanumeric() || ".-_".contains(letter) { letter } else { '-' };
    let model: String = route.model.chars().take(80).map(plain).collect();
    format!("{model}-{}", short_digest(&parts))
}

fn short_digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        hash.update(part.len().to_be_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finalize();
    format!("{:08x}", u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]))
}

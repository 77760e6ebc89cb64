//! From an entry of `model_list` to a deployment: who is called, where, with which credential, within which limits, at what
//! price.
//!
//! A deployment that cannot be understood is a problem. One that is understood and cannot be called (no key, a provider that
//! is not spoken) is left out loudly, so that the rest is served; but no group is left empty. Its id is `model_info.id`, else derived from what identifies it, so
//! that limits and learned state find it again after a reload and a restart.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Uri};
use serde_json::{Value, json};

use super::endpoint::{Endpoint, endpoint, short_digest};
use super::{untaken, wildcard};
use crate::catalog::{Deployment, FailureRules, LeftOut, Origin, UnknownPrice};
use crate::chat::{ChatRequest, check_path};
use crate::config::models::{self, Model};
use crate::config::providers::SIMULATED;
use crate::config::report::Grade;
use crate::config::shape::{self, LitellmParams, ModelEntry, ModelInfo, is_price};
use crate::config::yaml::Place;
use crate::format::{ClientRequest, operation_at};
use crate::id::{DeploymentId, GroupName};
use crate::limits::Dimension::{InFlight, InputTokens, OutputTokens, Requests, Tokens};
use crate::limits::{Counting, LimitSpec, Scope};
use crate::money::{Costs, Price, Prices};
use crate::upstream::Timeouts;

/// What deployments share where they say nothing themselves.
#[derive(Clone, Debug)]
pub(super) struct Defaults {
    pub(super) timeout: Option<Duration>,
    pub(super) stream_timeout: Option<Duration>,
    pub(super) window: Duration,
    pub(super) margin: f64,
    pub(super) in_flight: Option<u32>,
    /// Whether what a provider cannot take is left out.
    pub(super) drop_params: bool,
}

/// A deployment, and what its group must know of its entry.
pub(super) struct Member {
    pub(super) at: Place,
    pub(super) group: GroupName,
    pub(super) deployment: Deployment,
    /// The quota it names.
    pub(super) quota: Option<String>,
    /// Whether the id is one the file gives, and not derived.
    pub(super) own_id: bool,
    /// Whether the file gives an order.
    pub(super) ordered: bool,
    /// Blocked ones are read, and left out of their group.
    pub(super) blocked: bool,
    /// What the entry says of tags as a filter, for its whole group.
    pub(super) tag_filtering: Option<bool>,
}

/// The API in whose names default parameters are written.
const DEFAULTS_API: &str = "/v1/chat/completions";

/// Why a price does not act.
const UNPRICED: &str =
    "nothing is known of what the model's tokens cost: write `input_cost_per_token` and `output_cost_per_token`, too";

/// The simulated provider's default price.
const FREE: Prices = Prices::flat(Price(0), Price(0));

/// The entry, or one for each of its organisations.
pub(super) fn by_organization<'r, 'e>(entry: ModelEntry<'r, 'e>) -> Vec<ModelEntry<'r, 'e>> {
    let organizations = &entry.params.organizations;
    if organizations.len() < 2 {
        return vec![entry];
    }
    let of = |organization: &String| {
        let mut one = entry.clone();
        // Given once, it would be several deployments'.
        one.info.id = one.info.id.map(|id| format!("{id}-{organization}"));
        one.params.organizations = vec![organization.clone()];
        one
    };
    organizations.iter().map(of).collect()
}

/// One entry's deployment. `None` where it cannot be used; the problems say why. Where `litellm_params` and `model_info` both
/// say something, the first wins.
pub(super) fn member(entry: ModelEntry<'_, '_>, defaults: &Defaults) -> Option<Member> {
    let endpoint = endpoint(&entry.params, &entry.info);
    let defaults_of_requests = request_defaults(&entry.params);
    let headers = headers(&entry, endpoint.as_ref());
    let limits = limits(&entry, defaults);
    let ModelEntry { at, model_name, blocked, params, info, .. } = entry;
    let (group, endpoint) = (model_name?, endpoint?);
    let model = info.base_model.as_deref().unwrap_or_else(|| endpoint.known_name());
    let known = match &info.base_model {
        Some(name) => models::named(name),
        None => models::of_provider(endpoint.models_of, model),
    };
    let (costs, prices) = priced(&params, &info, &endpoint, known);
    let own_prices = !costs.base.is_nothing();
    let wildcard = wildcard::of(&params, &endpoint, &info, costs);
    let own_id = info.id.is_some();
    let id = info.id.unwrap_or_else(|| {
        let organization = params.organizations.first().map(String::as_str);
        derived_id(&group, &endpoint, params.api_version.as_deref(), organization)
    });
    // Not part of the id: what is known of a model may change, a deployment's id must not.
    let needed = models::api_version(endpoint.models_of, model);
    let api_version = endpoint.api_version.clone().or(params.api_version).or_else(|| needed.map(str::to_owned));
    let makes_vectors = makes_vectors(info.mode.as_deref(), known);
    let defaulted = defaults_of_requests.as_deref().filter(|_| !makes_vectors);
    let as_written = [params.allowed_openai_params, as_written(params.own_fields, &endpoint)].concat();
    untaken::report(&params.places, defaulted, &endpoint, api_version.as_deref(), &as_written);
    let order = params.order.or(info.order);
    let timeout = params.timeout.or(defaults.timeout);
    let id = DeploymentId::from(id);
    let counting = params.counting.map_or(endpoint.counting, |own| own.over(endpoint.counting));
    let deployment = Deployment {
        // Until it is known who shares it.
        scope: Scope::Deployment(id.clone()),
        // What the file says of prices holds, whatever the provider says.
        counting: Counting { tells_cost: counting.tells_cost && !own_prices, ..counting },
        id,
        provider: endpoint.provider,
        format: endpoint.format,
        quirks: endpoint.quirks,
        policy: endpoint.policy,
        wildcard,
        serves: true,
        model: endpoint.model.into(),
        origin: endpoint.origin,
        credential: endpoint.credential,
        identity: endpoint.identity,
        api_version,
        defaults: defaults_of_requests,
        headers,
        query: params.extra_query.map(Into::into),
        limits,
        weight: params.weight,
        order: order.unwrap_or(0),
        tags: params.tags,
        prices,
        makes_vectors,
        // Until the prices of all are known.
        unknown_price: UnknownPrice::Refuse,
        budget: params.budget,
        context_window: info.max_input_tokens.or_else(|| known?.max_input),
        max_output_tokens: info.max_output_tokens.or(info.max_tokens).or_else(|| known?.max_output),
        supports: info.supports.or(known.map(Model::supports).unwrap_or_default()),
        left_out: LeftOut {
            unsupported: params.drop_params.unwrap_or(defaults.drop_params),
            named: Vec::new(),
            always: params.additional_drop_params,
            never: as_written,
        },
        failures: FailureRules {
            retries: params.num_retries,
            cooldown: params.cooldown_time.or(info.cooldown_time),
            allowed_fails: info.allowed_fails,
            allowed_fails_policy: info.allowed_fails_policy,
        },
        timeouts: timeouts_of(timeout),
        stream_timeouts: timeouts_of(params.stream_timeout.or(defaults.stream_timeout).or(timeout)),
    };
    let blocked = info.blocked.or(blocked) == Some(true);
    let tag_filtering = info.enable_tag_filtering;
    let (group, ordered, quota) = (GroupName::from(group), order.is_some(), params.quota);
    Some(Member { at, group, deployment, quota, own_id, ordered, blocked, tag_filtering })
}

/// Of the fields that an entry says in its provider's own words, those that its format writes as they are.
fn as_written(mut own_fields: Vec<String>, endpoint: &Endpoint) -> Vec<String> {
    own_fields.retain(|name| name != shape::SAFETY || endpoint.format.name().contains("gemini"));
    own_fields
}

/// Whether a deployment makes vectors: as its entry says, else as it is known of its model.
fn makes_vectors(mode: Option<&str>, known: Option<&Model>) -> bool {
    mode.map_or(known.is_some_and(Model::makes_vectors), |mode| mode == "embedding")
}

/// The default parameters, read as a client's request with them would be. What is never sent must be named well.
fn request_defaults(params: &LitellmParams<'_, '_>) -> Option<Arc<ChatRequest>> {
    for why in params.additional_drop_params.iter().filter_map(|path| check_path(path).err()) {
        let hint = "for example `seed`, `metadata.user_id` or `tools[*].strict`";
        params.places.error_at("additional_drop_params", why, hint);
    }
    if params.defaults.is_empty() {
        return None;
    }
    let mut body = params.defaults.clone();
    match body.shift_remove("extra_body") {
        None | Some(Value::Null) => {}
        Some(Value::Object(extra)) => body.extend(extra),
        Some(_) => params.places.error_at("extra_body", "`extra_body` must be a mapping", ""),
    }
    body.insert("model".to_owned(), "-".into());
    body.insert("messages".to_owned(), json!([{"role": "user", "content": "-"}]));
    let request = ClientRequest::post(Uri::from_static(DEFAULTS_API), Value::Object(body).to_string());
    let (api, _) = operation_at(DEFAULTS_API)?;
    match api.parse(&request) {
        Ok(request) => Some(Arc::new(request)),
        Err(refusal) => {
            let blamed = refusal.param.as_deref().unwrap_or_default();
            let key = blamed.split(['.', '[']).next().unwrap_or_default();
            params.places.error_at(key, refusal.message, "as a client would write it in a request");
            None
        }
    }
}

/// The entry's own limits are read first, as in LiteLLM, then those of its `litellm_params`, then those of `model_info`.
fn limits(entry: &ModelEntry<'_, '_>, defaults: &Defaults) -> LimitSpec {
    let ModelEntry { params, info, .. } = entry;
    let requests = entry.rpm.or(params.rpm).or(info.rpm);
    let tokens = entry.tpm.or(params.tpm).or(info.tpm);
    let unlimited = requests.is_none() && tokens.is_none();
    let in_flight = params.max_parallel_requests.or(defaults.in_flight.filter(|_| unlimited));
    let window = params.token_usage_window.unwrap_or(defaults.window);
    let others = LimitSpec::daily(params.rpd, params.tpd);
    let model = params.window_model.unwrap_or_default();
    LimitSpec { window, margin: defaults.margin, others, model, ..LimitSpec::default() }
        .with(Requests, requests)
        .with(Tokens, tokens)
        .with(InputTokens, params.itpm)
        .with(OutputTokens, params.otpm)
        .with(InFlight, in_flight.map(u64::from))
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

/// The prices that the entry gives, and what they come to over those that are known of its model. Those of a tier, a search or a cache do not
/// act where nothing is known of the rest.
fn priced<'r, 'e>(
    params: &LitellmParams<'r, 'e>,
    info: &ModelInfo<'r, 'e>,
    endpoint: &Endpoint,
    known: Option<&Model>,
) -> (Costs, Option<Prices>) {
    let costs = params.costs.or(&info.costs);
    let free = matches!(endpoint.origin, Origin::Simulated(_)).then_some(FREE);
    let prices = costs.over(known.and_then(Model::prices).or(free));
    let prices = prices.map(|prices| Prices { others: Some(models::OTHERS), ..prices });
    // A model that fills stars may be known.
    let is_unknown = prices.is_none() && !endpoint.model.contains('*');
    for places in [&params.places, &info.places].into_iter().filter(|_| is_unknown) {
        for entry in places.entries.iter().filter(|entry| is_price(&entry.key)) {
            places.downgrade(&entry.key, Grade::Unsupported, UNPRICED);
        }
    }
    (costs, prices)
}

/// The organisation under the name its provider has for it; the entry's own headers win.
fn headers(entry: &ModelEntry<'_, '_>, endpoint: Option<&Endpoint>) -> HeaderMap {
    let params = &entry.params;
    let named = endpoint.and_then(|endpoint| endpoint.format.organization_header());
    let organization = params.organizations.first().zip(named);
    let mut headers = HeaderMap::new();
    headers.extend(
        organization.and_then(|(organization, name)| {
            shape::header(&params.places, "organization", name.as_str(), organization)
        }),
    );
    headers.extend(endpoint.map(|endpoint| endpoint.headers.clone()).unwrap_or_default());
    headers.extend(params.headers.clone());
    headers
}

/// The model's name to be read, and a digest of what tells the deployment from others. A key counts by the name
/// of its variable, so that a new key is still the same deployment.
fn derived_id(group: &str, endpoint: &Endpoint, api_version: Option<&str>, organization: Option<&str>) -> String {
    let origin = match &endpoint.origin {
        Origin::Http(base) => base,
        Origin::Simulated(_) => SIMULATED,
    };
    let parts = [
        group,
        endpoint.provider.as_str(),
        &endpoint.model,
        origin,
        &endpoint.credential_name,
        api_version.unwrap_or(""),
        organization.unwrap_or(""),
    ];
    let plain = |letter: char| if letter.is_ascii_alphanumeric() || ".-_".contains(letter) { letter } else { '-' };
    let model: String = endpoint.model.replace('*', "any").chars().take(80).map(plain).collect();
    format!("{model}-{}", short_digest(&parts))
}

//! From an entry of `model_list` to a deployment: who is called, where, with which credential, within which limits, at what
//! price.
//!
//! A deployment that cannot be understood is a problem. One that is understood and cannot be called (no key, a provider that
//! is not spoken) is left out loudly, so that the rest is served; but no group is left empty. Its id is `model_info.id`, else derived from what identifies it, so
//! that limits and learned state find it again after a reload and a restart.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Uri};
use serde_json::{Value, json};

use super::endpoint::{Endpoint, endpoint, short_digest};
use super::{untaken, wildcard};
use crate::catalog::{Deployment, FailureRules, LeftOut, Origin, UnknownPrice};
use crate::chat::{ChatRequest, ServiceTier, check_path};
use crate::config::models::{self, Model};
use crate::config::providers::SIMULATED;
use crate::config::shape::{self, Costs, Given, ModelEntry};
use crate::config::yaml::Place;
use crate::format::{ClientRequest, operation_at};
use crate::id::{DeploymentId, GroupName};
use crate::limits::Dimension::{InFlight, InputTokens, OutputTokens, Requests, Tokens};
use crate::limits::{Counting, LimitSpec, Scope};
use crate::money::{Price, Prices, Rates, SearchFee, Steps};
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

/// The simulated provider's default price.
const FREE: Prices = Prices::flat(Price(0), Price(0));

/// One entry's deployment. `None` where it cannot be used; the problems say why. Where `litellm_params` and `model_info` both
/// say something, the first wins.
pub(super) fn member(entry: ModelEntry<'_, '_>, defaults: &Defaults) -> Option<Member> {
    let endpoint = endpoint(&entry.params, &entry.info);
    let defaults_of_requests = request_defaults(&entry.params);
    let headers = headers(&entry, endpoint.as_ref());
    let limits = limits(&entry, defaults);
    let ModelEntry { at, model_name, blocked, params, info, .. } = entry;
    let (group, endpoint) = (model_name?, endpoint?);
    let wildcard = wildcard::of(&params, &endpoint, info.mode.as_deref());
    let model = info.base_model.as_deref().unwrap_or_else(|| endpoint.known_name());
    let known = match &info.base_model {
        Some(name) => models::named(name),
        None => models::of_provider(endpoint.models_of, model),
    };
    let free = matches!(endpoint.origin, Origin::Simulated(_)).then_some(FREE);
    let own_prices = [&params.costs, &info.costs].iter().any(|costs| !costs.base.is_nothing());
    let prices = prices(&params.costs, &info.costs, known).or(free);
    let own_id = info.id.is_some();
    let id = info.id.unwrap_or_else(|| {
        derived_id(&group, &endpoint, params.api_version.as_deref(), params.organization.as_deref())
    });
    // Not part of the id: what is known of a model may change, a deployment's id must not.
    let needed = models::api_version(endpoint.models_of, model);
    let api_version = endpoint.api_version.clone().or(params.api_version).or_else(|| needed.map(str::to_owned));
    let makes_vectors = makes_vectors(info.mode.as_deref(), known);
    let defaulted = defaults_of_requests.as_deref().filter(|_| !makes_vectors);
    untaken::report(&params.places, defaulted, &endpoint, api_version.as_deref());
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
        model: endpoint.model,
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
            never: params.allowed_openai_params,
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

/// Whether a deployment makes vectors: as its entry says, else as it is known of its model.
fn makes_vectors(mode: Option<&str>, known: Option<&Model>) -> bool {
    mode.map_or(known.is_some_and(Model::makes_vectors), |mode| mode == "embedding")
}

/// The default parameters, read as a client's request with them would be. What is never sent must be named well.
fn request_defaults(params: &shape::LitellmParams<'_, '_>) -> Option<Arc<ChatRequest>> {
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

fn prices(params: &Costs, info: &Costs, known: Option<&Model>) -> Option<Prices> {
    let public = known.and_then(Model::prices);
    let own = params.or(info);
    // A price of cached tokens or of recordings in the public table belongs to the public input price, not to one the file sets.
    let cached = public.as_ref().filter(|_| own.base.input.is_none()).map(|public| public.base);
    let listed = public.as_ref().map(|public| public.base);
    // As in LiteLLM a side that nobody knows costs nothing where the other is said: a model that makes vectors has one alone.
    let unsaid = own.base.input.or(own.base.output).map(|_| Price(0));
    let below = Rates {
        input: own.base.input.or(listed.map(|listed| listed.input)).or(unsaid)?,
        output: own.base.output.or(listed.map(|listed| listed.output)).or(unsaid)?,
        ..cached.unwrap_or_else(|| Rates::flat(Price(0), Price(0)))
    };
    let base = own.base.over(&below);
    // Factors hold for any price, and a fee is beside them all.
    let surcharges = public.as_ref().map(|public| public.surcharges).unwrap_or_default();
    let fee = public.as_ref().and_then(|public| public.search);
    let once = fee.is_some_and(|fee| fee.once);
    let search = own.search.map(|each| SearchFee { each, once }).or(fee);
    // Public steps and batch prices belong to public prices: where the file sets one of those, its own hold throughout.
    let public = public.filter(|_| own.base.is_nothing());
    let long = match &public {
        Some(public) => laid_over(&own.above, public),
        None => steps(&own.above, base),
    };
    let tiers = tiers(&own, base, &long, public.as_ref());
    let of_batches = public.and_then(|public| public.batch);
    let batch = if own.batch.is_nothing() && own.batch_above.is_empty() {
        of_batches
    } else {
        // A price of cached tokens or of recordings in other requests says nothing of a batch's.
        let below = Rates::flat(base.input, base.output);
        let batch = own.batch.over(of_batches.as_deref().map_or(&below, |(rates, _)| rates));
        Some((batch, steps(&own.batch_above, batch)).into())
    };
    Some(Prices { base, long, batch, tiers, surcharges, search })
}

/// Prices of service tiers: what the file does not say of one is as it is publicly known, else as for everybody.
fn tiers(
    own: &Costs,
    base: Rates,
    long: &Steps,
    public: Option<&Prices>,
) -> Option<Arc<[(ServiceTier, Rates, Steps)]>> {
    let known = |tier: ServiceTier| {
        let mut all = public?.tiers.as_ref()?.iter();
        all.find(|(one, ..)| *one == tier).map(|(_, rates, steps)| (*rates, steps.clone()))
    };
    let given = ServiceTier::ALL.into_iter().zip(&own.tiers).filter_map(|(tier, (given, above))| {
        let known = known(tier);
        if given.is_nothing() && above.is_empty() {
            return known.map(|(rates, steps)| (tier, rates, steps));
        }
        let (rates, steps) = known.unwrap_or_else(|| (base, long.clone()));
        let prices = Prices { long: steps, ..Prices::flat(base.input, base.output) };
        let prices = Prices { base: given.over(&rates), ..prices };
        let steps = laid_over(above, &prices);
        Some((tier, prices.base, steps))
    });
    let given: Vec<_> = given.collect();
    (!given.is_empty()).then(|| given.into())
}

/// Of each step what the file says, and else what holds below it.
fn steps(given: &BTreeMap<u64, Given>, base: Rates) -> Steps {
    let step = |below: &mut Rates, (above, given): (&u64, &Given)| {
        *below = given.over(below);
        Some((*above, *below))
    };
    Steps::of(given.iter().scan(base, step).collect())
}

/// Public steps, with what the file says of them in its place.
fn laid_over(given: &BTreeMap<u64, Given>, public: &Prices) -> Steps {
    let mut all: BTreeMap<u64, Rates> = public.long.iter().copied().collect();
    for (above, given) in given {
        all.insert(*above, given.over(public.at(above.saturating_add(1))));
    }
    Steps::of(all.into_iter().collect())
}

/// The organisation under the name its provider has for it; the entry's own headers win.
fn headers(entry: &ModelEntry<'_, '_>, endpoint: Option<&Endpoint>) -> HeaderMap {
    let params = &entry.params;
    let named = endpoint.and_then(|endpoint| endpoint.format.organization_header());
    let organization = params.organization.as_deref().zip(named);
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

//! Where a deployment is and how it is spoken to: its provider, format, address and credential.
//!
//! Addresses and credentials come from the entry, else from the variables the provider's row of `data/providers.json` names.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::{azure, bedrock, oauth_client, strategy, vertex};
use crate::catalog::{Identity, Origin, ProviderChoice, SimulatedModel, SimulatedSkill};
use crate::config::models;
use crate::config::problem::closest;
use crate::config::providers::{self, Found, Provider, SIMULATED};
use crate::config::reader::FROM_ENVIRONMENT;
use crate::config::report::Grade;
use crate::config::section::KeyPlaces;
use crate::config::shape::{LitellmParams, ModelInfo, Simulated};
use crate::format::{NO_QUIRKS, OpenAi, ProviderFormat, Quirks};
use crate::id::{PolicyName, ProviderName};
use crate::limits::Counting;

/// Whom a server of one's own imitates where nobody says.
const IMITATED: &str = "openai";

/// Where a deployment is and how it is spoken to.
pub(super) struct Endpoint {
    pub(super) provider: ProviderName,
    /// Whose models it has, in the table of models.
    pub(super) models_of: &'static str,
    pub(super) format: &'static dyn ProviderFormat,
    pub(super) quirks: &'static Quirks,
    /// How its provider counts.
    pub(super) counting: Counting,
    pub(super) policy: Option<ProviderChoice>,
    /// Which of its provider's rows of the table it is of.
    pub(super) row: usize,
    pub(super) model: String,
    /// The model behind the provider's name as it is written.
    pub(super) written: String,
    /// What the table of models knows it by, where it is asked for by another name.
    pub(super) known_as: Option<String>,
    pub(super) origin: Origin,
    /// Whether it is where its region is.
    pub(super) regional: bool,
    /// The region that its requests are for, where it has one.
    pub(super) region: Option<String>,
    pub(super) credential: Option<SecretString>,
    /// What the credential is known by: the variable's name, or a digest. Never the credential.
    pub(super) credential_name: String,
    pub(super) identity: Option<Identity>,
    /// The version of its API, where the address or a variable says it.
    pub(super) api_version: Option<String>,
    /// What authorises its requests beside the credential.
    pub(super) headers: HeaderMap,
}

impl Endpoint {
    /// A model of `row` at `origin`, without a credential.
    pub(super) fn of(row: &'static Provider, model: String, origin: Origin) -> Self {
        let quirks = match &origin {
            Origin::Http(address) => row.quirks_at_address(address, &model),
            Origin::Simulated(_) => row.quirks_of(&model),
        };
        let new = Self::new((&row.name, row.models_of()), row.format, quirks, model, origin);
        Self { counting: row.counting, row: row.place(), ..new }
    }

    /// One that has what all have.
    fn new(
        (provider, models_of): (&str, &'static str),
        format: &'static dyn ProviderFormat,
        quirks: &'static Quirks,
        model: String,
        origin: Origin,
    ) -> Self {
        Self {
            provider: ProviderName::from(provider),
            models_of,
            format,
            quirks,
            counting: Counting::default(),
            policy: None,
            row: 0,
            written: model.clone(),
            model,
            known_as: None,
            origin,
            regional: false,
            region: None,
            credential: None,
            credential_name: String::new(),
            identity: None,
            api_version: None,
            headers: HeaderMap::new(),
        }
    }

    /// What the table of models knows its model by.
    pub(super) fn known_name(&self) -> &str {
        self.known_as.as_deref().unwrap_or(&self.model)
    }

    /// One that answers in this process as `simulated` does, and needs neither key nor address.
    fn in_process(provider: &str, models_of: &'static str, model: String, simulated: SimulatedModel) -> Self {
        Self::new((provider, models_of), &OpenAi, &NO_QUIRKS, model, Origin::Simulated(Arc::new(simulated)))
    }
}

/// Where `params` lead; `info` says what the model is, where its name does not. `None` where that cannot be resolved; the
/// problems say why.
pub(super) fn endpoint(params: &LitellmParams<'_, '_>, info: &ModelInfo<'_, '_>) -> Option<Endpoint> {
    let (places, base) = (&params.places, params.api_base.as_deref());
    if params.is_unusable {
        return None;
    }
    let Some(model) = params.model.as_deref() else {
        // A variable that is not set is reported already.
        if !places.has("model") {
            places.error_at("model", "a deployment needs `litellm_params.model`", "for example `openai/gpt-4o`");
        }
        return None;
    };
    if !model.starts_with(FROM_ENVIRONMENT) && model.contains(FROM_ENVIRONMENT) {
        let hint = "put the provider and the name into the variable: `model: os.environ/NAME`";
        places.error_at("model", "`os.environ/` stands for a variable only where it begins the value", hint);
        return None;
    }
    let mut found = found(params, model);
    if matches!(found, Found::Unknown) && base.is_some() && !model.contains('/') {
        places.downgrade("model", Grade::Approximate, "no provider is named: spoken to as one that imitates OpenAI");
        found = providers::find(model, Some(IMITATED), base);
    }
    if let Some(says) = &params.mock_response {
        return Some(mocked(&found, model, says));
    }
    match found {
        Found::Simulated(model) => {
            let simulated = simulated(params.simulated.as_ref());
            Some(Endpoint::in_process(SIMULATED, SIMULATED, model, simulated))
        }
        Found::Spoken(row, model) => of_provider(params, params.row.unwrap_or(row), &model, info),
        Found::NotYet(provider) => {
            let hint = "comment the deployment out, or reach it through an OpenAI-compatible address: \
                        `custom_llm_provider: openai` with `api_base`";
            places.downgrade("model", Grade::NotYet, format!("the provider `{provider}` is not spoken yet"));
            places.leave_out_at("model", format!("the provider `{provider}` is not spoken yet"), hint);
            None
        }
        Found::Unknown => {
            // A hint must not repeat a key that was pasted into the wrong place.
            let model = if looks_like_a_key(model) { "MODEL" } else { model };
            let custom = params.custom_llm_provider.as_deref();
            let written = custom.or_else(|| model.split_once('/').map(|(provider, _)| provider));
            let hint = match written.and_then(|written| closest(written, providers::names())) {
                Some(name) => {
                    format!("did you mean the provider `{name}`? else write it first, as in `openai/{model}`")
                }
                None => format!(
                    "write the provider first: `openai/{model}` for OpenAI and all that imitate it; a handler of `custom_provider_map` is \
                     written as a policy here (`provider_policy`)"
                ),
            };
            places.leave_out_at("model", "no known provider in `model`", hint);
            None
        }
    }
}

/// Who a deployment of `model` is, by all that its entry says.
pub(super) fn found(params: &LitellmParams<'_, '_>, model: &str) -> Found {
    let by_keys = || providers::by_keys(model, |beginning| params.places.has_any(beginning));
    let custom = params.custom_llm_provider.as_deref().or_else(by_keys);
    providers::find(model, custom, params.api_base.as_deref())
}

/// A model of a provider, asked by whichever of its APIs serves it.
fn of_provider(
    params: &LitellmParams<'_, '_>,
    row: &'static Provider,
    written: &str,
    info: &ModelInfo<'_, '_>,
) -> Option<Endpoint> {
    let (mode, base_model) = (info.mode.as_deref(), info.base_model.as_deref());
    let (model, marked) = row.asked_by(written, mode);
    grade_keys_of_clouds(&params.places, row);
    if params.model_id.is_some() && !row.is_aws() {
        params.places.downgrade("model_id", Grade::Unsupported, "it is of Amazon Bedrock's models alone");
    }
    let found = if row.is_azure() {
        azure::endpoint(params, row, model, base_model)
    } else if row.is_aws() {
        bedrock::endpoint(params, row, model, base_model)
    } else if row.needs_account() {
        vertex::endpoint(params, row, model.to_owned())
    } else {
        spoken(params, row, model.to_owned())
    }?;
    let found = Endpoint { written: written.to_owned(), ..found };
    let known = match base_model {
        Some(base_model) => models::named(base_model),
        None => models::of_provider(row.models_of(), model),
    };
    let by_itself = match &found.origin {
        Origin::Http(address) if mode.is_none() => row.known_newer(known, address),
        _ => None,
    };
    let Some(format) = marked.or(by_itself) else { return Some(found) };
    let api_version = params.responses_api_version.clone().or(found.api_version);
    let quirks = if row.is_azure() {
        // What an older version of its chats refused is nothing to this API: there is none of it that old.
        let (named, like) = row.marked(model);
        row.quirks_of(base_model.or(like).unwrap_or(named))
    } else {
        found.quirks
    };
    Some(Endpoint { format, quirks, api_version, ..found })
}

/// Keys of a cloud's own act where its models are asked, and nowhere else.
fn grade_keys_of_clouds(places: &KeyPlaces<'_, '_>, row: &Provider) {
    for (beginning, is_meant) in [("vertex_", row.needs_account()), ("aws_", row.is_aws())] {
        let keys = places.entries.iter().map(|entry| &entry.key);
        for key in keys.filter(|key| !is_meant && key.starts_with(beginning)) {
            places.downgrade(key, Grade::Unsupported, format!("it says nothing to `{}`", row.name));
        }
    }
    if row.is_azure() {
        places.downgrade("api_version", Grade::Exact, "sent as `api-version` in the address");
    }
}

/// A model of a provider that needs no more than an address and whatever authorises.
fn spoken(params: &LitellmParams<'_, '_>, row: &'static Provider, model: String) -> Option<Endpoint> {
    let places = &params.places;
    if params.simulated.is_some() {
        let hint = "write `model: simulated/NAME` for the simulated provider";
        places.error_at("simulated", format!("`{}` is not simulated", row.name), hint);
    }
    let origin = origin(params, row)?;
    if let Some(note) = &row.note {
        places.downgrade("model", Grade::Approximate, note.as_str());
    }
    let mut endpoint = Endpoint { policy: policy(params, row), ..Endpoint::of(row, model, origin) };
    if row.entra && azure::by_directory(params, row, &mut endpoint)? {
        return Some(endpoint);
    }
    if let Some(client) = oauth_client::find(params, row, &endpoint.origin).ok()? {
        endpoint.credential_name.clone_from(&client.id);
        endpoint.identity = Some(Identity::Client(client));
        return Some(endpoint);
    }
    (endpoint.credential, endpoint.credential_name) = credential(params, row)?;
    Some(keyed(endpoint, row))
}

/// With its key in the header that its provider wants it in, where that is not the format's.
fn keyed(mut endpoint: Endpoint, row: &Provider) -> Endpoint {
    let value = endpoint.credential.as_ref().and_then(|key| HeaderValue::from_str(key.expose_secret()).ok());
    let name = match &endpoint.origin {
        Origin::Http(address) => row.key_header_at(address),
        Origin::Simulated(_) => None,
    };
    if let (Some(name), Some(mut value)) = (name, value) {
        value.set_sensitive(true);
        endpoint.headers.insert(name, value);
        endpoint.credential = None;
    }
    endpoint
}

/// One that answers with the same words, whatever is asked, and calls nobody: it needs neither key nor address.
fn mocked(found: &Found, model: &str, says: &str) -> Endpoint {
    let (provider, models_of, model) = match found {
        Found::Spoken(row, model) => (row.name.as_str(), row.models_of(), model.clone()),
        Found::Simulated(model) => (SIMULATED, SIMULATED, model.clone()),
        Found::NotYet(_) | Found::Unknown => (SIMULATED, SIMULATED, model.to_owned()),
    };
    let said = SimulatedModel { says: Some(says.into()), ..SimulatedModel::default() };
    Endpoint::in_process(provider, models_of, model, said)
}

/// Who writes and reads the bodies, where that is a policy: the entry's, else the provider's own.
fn policy(params: &LitellmParams<'_, '_>, row: &Provider) -> Option<ProviderChoice> {
    let named = params.provider_policy.as_deref().or(row.policy.as_deref());
    if named.is_none() && params.provider_settings.is_some() {
        let hint = "name the policy: `provider_policy`";
        params.places.error_at("provider_settings", "`provider_settings` without a `provider_policy`", hint);
    }
    let (settings, entry) = (params.provider_settings.as_ref(), params.places.told("provider_policy"));
    Some(ProviderChoice {
        policy: PolicyName::from(named?),
        settings: strategy::settings(settings),
        at: strategy::places(entry, settings),
    })
}

/// Providers' keys are long words without a slash, most of them with a known beginning.
fn looks_like_a_key(text: &str) -> bool {
    const BEGINNINGS: [&str; 8] = ["sk-", "sk_", "AIza", "gsk_", "xai-", "pk-", "key-", "Bearer "];
    BEGINNINGS.iter().any(|beginning| text.starts_with(beginning))
        || (text.len() >= 32 && text.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

fn origin(params: &LitellmParams<'_, '_>, row: &Provider) -> Option<Origin> {
    let places = &params.places;
    let key = params.base_key();
    if places.has(key) && params.api_base.is_none() {
        return None;
    }
    let named = |name: &String| Some((places.reader.variable(name)?, format!("the variable `{name}`")));
    let given = params.api_base.clone().map(|base| (base, format!("`{key}`")));
    let found = given.or_else(|| row.base_env.iter().find_map(named));
    let Some((base, source)) = found.or_else(|| Some((row.base.clone()?, row.name.clone()))) else {
        let hint = "for example http://localhost:8000/v1";
        places.leave_out_at(key, format!("`{}` needs an `api_base`", row.name), hint);
        return None;
    };
    let address = address(&base, row);
    if address.is_none() {
        // The address is not repeated: it may hold a password.
        let hint = "scheme, host, port and path: http://localhost:8000/v1, without user, query and fragment";
        places.leave_out_at(key, format!("{source} is not an address that can be called"), hint);
    }
    address.map(|address| Origin::Http(address.into()))
}

/// The origin at `base`, or a problem at `api_base`.
pub(super) fn address_of(places: &KeyPlaces<'_, '_>, base: &str, row: &Provider) -> Option<Origin> {
    let address = address(base, row);
    if address.is_none() {
        let hint = "scheme, host, port and path, without user, query and fragment";
        places.leave_out_at("api_base", "`api_base` is not an address that can be called", hint);
    }
    address.map(|address| Origin::Http(address.into()))
}

/// The base of a provider's paths, without what its format appends itself.
fn address(base: &str, row: &Provider) -> Option<String> {
    let uri: http::Uri = base.trim().parse().ok()?;
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
    let version = |query: &str| row.undated && query.starts_with("api-version=");
    if uri.query().is_some_and(|query| !version(query))
        || authority.host().is_empty()
        || base.contains('#')
        || !base.is_ascii()
    {
        return None;
    }
    // A port that is no port would quietly become the scheme's own, where somebody else listens.
    if authority.port_u16().is_none() && authority.as_str() != authority.host() {
        return None;
    }
    let mut path = uri.path().trim_end_matches('/');
    let own = row.owns(authority.host());
    let endings = row.endings.iter().map(String::as_str).filter(|_| own);
    let newer = row.format.newer().map(ProviderFormat::path_endings).unwrap_or_default();
    for ending in row.format.path_endings().iter().chain(newer).copied().chain(endings) {
        path = path.strip_suffix(ending).unwrap_or(path);
    }
    let suffix = row.suffix.as_deref().filter(|suffix| own && !path.ends_with(suffix)).unwrap_or("");
    Some(format!("{scheme}://{authority}{path}{suffix}"))
}

pub(super) type Credential = (Option<SecretString>, String);

pub(super) fn credential(params: &LitellmParams<'_, '_>, row: &Provider) -> Option<Credential> {
    let (places, own_address) = (&params.places, params.api_base.is_some());
    if let Some((key, variable)) = &params.api_key {
        let name = match variable {
            Some(name) => (*name).to_owned(),
            None => short_digest(&[key.expose_secret()]),
        };
        if HeaderValue::from_str(key.expose_secret()).is_err() {
            places.error_at("api_key", "`api_key` holds what no header can carry", "is it cut, or more than the key?");
            return None;
        }
        return Some((Some(key.clone()), name));
    }
    if places.has("api_key") {
        // It was given and could not be read; that is reported already.
        return None;
    }
    let from_variable =
        |name: &String| Some((Some(SecretString::from(places.reader.variable(name)?.trim())), name.clone()));
    if let Some(found) = row.key_env.iter().find_map(from_variable) {
        if own_address {
            // As in LiteLLM; reported, since the key goes to an address of the file's.
            places.downgrade(params.base_key(), Grade::Exact, format!("called with the key of {}", found.1));
        }
        return Some(found);
    }
    if row.needs_key() && !own_address {
        let variable = row.key_env.first().map_or("", String::as_str);
        let hint = format!("set {variable} where witgate runs, or `api_key` here");
        places.leave_out_at("api_key", format!("`{}` answers nobody without a key", row.name), hint);
        return None;
    }
    Some((None, String::new()))
}

fn simulated(written: Option<&Simulated>) -> SimulatedModel {
    let plain = SimulatedModel::default();
    let Some(written) = written else { return plain };
    SimulatedModel {
        seed: written.seed.unwrap_or(plain.seed),
        ttft_ms: written.ttft_ms.unwrap_or(plain.ttft_ms),
        ttft_sigma: written.ttft_sigma.unwrap_or(plain.ttft_sigma),
        tokens_per_second: written.tokens_per_second.unwrap_or(plain.tokens_per_second),
        output_tokens: written.output_tokens.unwrap_or(plain.output_tokens),
        error_rate: written.error_rate.unwrap_or(plain.error_rate),
        window: written.window.unwrap_or(plain.window),
        window_model: written.window_model.unwrap_or(plain.window_model),
        rpm: written.rpm,
        tpm: written.tpm,
        account: None,
        says: None,
        skill: skill(written),
    }
}

fn skill(written: &Simulated) -> Option<Arc<SimulatedSkill>> {
    let Simulated { quality, quality_known, knows, grades, .. } = written;
    if quality.is_none() && quality_known.is_none() && grades.is_none() {
        return None;
    }
    let quality = quality.unwrap_or(1.0);
    Some(Arc::new(SimulatedSkill {
        quality,
        quality_known: quality_known.unwrap_or(quality),
        knows: knows.iter().map(|word| word.to_lowercase()).collect(),
        grades: grades.unwrap_or(false),
    }))
}

/// Eight hexadecimal digits that tell such parts from others.
pub(super) fn short_digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        hash.update(part.len().to_be_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finalize();
    format!("{:08x}", u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]))
}

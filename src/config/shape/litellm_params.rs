//! `litellm_params` of a deployment.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::SecretString;
use serde_json::{Map, Value};

use super::identity::{AppKeys, RoleKeys};
use super::{CountingKeys, Simulated, allowance};
use crate::budgets::BudgetSpec;
use crate::config::providers::Provider;
use crate::config::report::Grade;
use crate::config::section::{KeyPlaces, Kind, Section};
use crate::config::yaml;
use crate::failover::is_litellms;
use crate::limits::WindowModel;
use crate::money::Costs;

/// Keys of Vertex AI that LiteLLM reads by two names, of which the first wins.
pub(in crate::config) const BASE: [&str; 2] = ["base_url", "api_base"];
pub(in crate::config) const VERTEX_PROJECT: [&str; 2] = ["vertex_project", "vertex_ai_project"];
pub(in crate::config) const VERTEX_LOCATION: [&str; 2] = ["vertex_location", "vertex_ai_location"];
pub(in crate::config) const VERTEX_CREDENTIALS: [&str; 2] = ["vertex_credentials", "vertex_ai_credentials"];

/// What acts of it.
#[derive(Clone)]
pub(in crate::config) struct LitellmParams<'r, 'e> {
    pub(in crate::config) places: KeyPlaces<'r, 'e>,
    pub(in crate::config) model: Option<String>,
    pub(in crate::config) custom_llm_provider: Option<String>,
    /// Whether it names a credential that there is not, or a bound that is not told. It is left out.
    pub(in crate::config) is_unusable: bool,
    /// Whether it is one of several that one entry `*` stands for.
    pub(in crate::config) by_name: bool,
    /// Whose models it has, where it is one of several that an entry with stars stands for.
    pub(in crate::config) row: Option<&'static Provider>,
    pub(in crate::config) api_base: Option<String>,
    /// With the name of the variable it came from.
    pub(in crate::config) api_key: Option<(SecretString, Option<&'r str>)>,
    pub(in crate::config) api_version: Option<String>,
    /// The same where a model is asked through the responses API.
    pub(in crate::config) responses_api_version: Option<String>,
    /// A deployment is one of one organisation: several are as many deployments.
    pub(in crate::config) organizations: Vec<String>,
    pub(in crate::config) vertex_project: Option<String>,
    pub(in crate::config) vertex_location: Option<String>,
    /// A path, or the text of a key file; with the name of the variable it came from. A mapping is such a text.
    pub(in crate::config) vertex_credentials: Option<(SecretString, Option<&'r str>)>,
    pub(in crate::config) azure_ad_token: Option<(SecretString, Option<&'r str>)>,
    pub(in crate::config) aws_access_key_id: Option<(SecretString, Option<&'r str>)>,
    pub(in crate::config) aws_secret_access_key: Option<(SecretString, Option<&'r str>)>,
    pub(in crate::config) aws_session_token: Option<(SecretString, Option<&'r str>)>,
    pub(in crate::config) aws_profile_name: Option<String>,
    pub(in crate::config) aws_region_name: Option<String>,
    pub(in crate::config) aws_bedrock_runtime_endpoint: Option<String>,
    /// What Bedrock is asked for in the model's place: an inference profile's ARN.
    pub(in crate::config) model_id: Option<String>,
    pub(in crate::config) aws_role: RoleKeys<'r>,
    pub(in crate::config) azure_app: AppKeys<'r>,
    /// `headers` and `extra_headers`, of which the second wins.
    pub(in crate::config) headers: HeaderMap,
    /// What is added to addresses, encoded.
    pub(in crate::config) extra_query: Option<String>,
    pub(in crate::config) mock_response: Option<String>,
    pub(in crate::config) allowed_openai_params: Vec<String>,
    /// Default parameters of requests, in OpenAI's names.
    pub(in crate::config) defaults: Map<String, Value>,
    /// Those that are the provider's own: where it is not asked in OpenAI's names, they are sent as they are written.
    pub(in crate::config) own_fields: Vec<String>,
    pub(in crate::config) simulated: Option<Simulated>,
    pub(in crate::config) provider_policy: Option<String>,
    /// JSON text.
    pub(in crate::config) provider_settings: Option<super::PolicySettings>,
    pub(in crate::config) rpm: Option<u64>,
    pub(in crate::config) tpm: Option<u64>,
    pub(in crate::config) itpm: Option<u64>,
    pub(in crate::config) otpm: Option<u64>,
    pub(in crate::config) rpd: Option<u64>,
    pub(in crate::config) tpd: Option<u64>,
    pub(in crate::config) quota: Option<String>,
    pub(in crate::config) counting: Option<CountingKeys>,
    pub(in crate::config) window_model: Option<WindowModel>,
    pub(in crate::config) max_parallel_requests: Option<u32>,
    pub(in crate::config) token_usage_window: Option<Duration>,
    pub(in crate::config) order: Option<u32>,
    pub(in crate::config) weight: Option<f64>,
    pub(in crate::config) tags: Vec<String>,
    pub(in crate::config) drop_params: Option<bool>,
    pub(in crate::config) additional_drop_params: Vec<String>,
    pub(in crate::config) timeout: Option<Duration>,
    pub(in crate::config) stream_timeout: Option<Duration>,
    pub(in crate::config) num_retries: Option<u32>,
    pub(in crate::config) cooldown_time: Option<Duration>,
    pub(in crate::config) costs: Costs,
    /// What the deployment may cost.
    pub(in crate::config) budget: Option<BudgetSpec>,
}

impl<'r, 'e> LitellmParams<'r, 'e> {
    pub(in crate::config) fn read(section: Section<'r, 'e>) -> Self {
        let mut section = section.lenient();
        let credential = section.text("litellm_credential_name");
        let unknown = credential.filter(|name| !section.reader().has_credential(name));
        if let Some(name) = &unknown {
            let message = format!("no credential of `credential_list` is named `{name}`");
            section.places.leave_out_at("litellm_credential_name", message, "");
        }
        let mut defaults = defaults(&mut section);
        let mut own_fields = own_fields(&defaults);
        let read = Self {
            places: section.places.clone(),
            model: section.text_or_leave_out("model"),
            custom_llm_provider: section.text("custom_llm_provider"),
            is_unusable: unknown.is_some(),
            by_name: false,
            row: None,
            api_base: first_of(&mut section, BASE, Section::text_or_leave_out),
            api_key: section.secret_or_leave_out("api_key"),
            api_version: section.text("api_version"),
            responses_api_version: section.text("responses_api_version"),
            organizations: section.text_or_texts("organization"),
            vertex_project: first_of(&mut section, VERTEX_PROJECT, Section::text_or_leave_out),
            vertex_location: first_of(&mut section, VERTEX_LOCATION, Section::text_or_leave_out),
            vertex_credentials: first_of(&mut section, VERTEX_CREDENTIALS, Section::secret_or_map_or_leave_out),
            azure_ad_token: section.secret_or_leave_out("azure_ad_token"),
            aws_access_key_id: section.secret_or_leave_out("aws_access_key_id"),
            aws_secret_access_key: section.secret_or_leave_out("aws_secret_access_key"),
            aws_session_token: section.secret_or_leave_out("aws_session_token"),
            aws_profile_name: section.text_or_leave_out("aws_profile_name"),
            aws_region_name: section.text_or_leave_out("aws_region_name"),
            aws_bedrock_runtime_endpoint: section.text_or_leave_out("aws_bedrock_runtime_endpoint"),
            model_id: section.text_or_leave_out("model_id"),
            aws_role: RoleKeys::read(&mut section),
            azure_app: AppKeys::read(&mut section),
            headers: headers(&mut section),
            extra_query: extra_query(&mut section),
            mock_response: section.text("mock_response"),
            allowed_openai_params: section.texts("allowed_openai_params"),
            own_fields: Vec::new(),
            defaults: Map::new(),
            simulated: Simulated::read(&mut section),
            provider_policy: section.text("provider_policy"),
            provider_settings: super::settings(&mut section, "provider_settings"),
            rpm: section.count("rpm"),
            tpm: section.count("tpm"),
            itpm: section.count("itpm"),
            otpm: section.count("otpm"),
            rpd: section.count("rpd"),
            tpd: section.count("tpd"),
            quota: section.text("quota"),
            counting: CountingKeys::read(&mut section),
            window_model: window_model(&mut section),
            max_parallel_requests: section.small("max_parallel_requests"),
            token_usage_window: section.seconds("token_usage_window"),
            order: section.small("order"),
            weight: section.amount("weight"),
            tags: section.texts("tags"),
            drop_params: drop_params(&mut section),
            additional_drop_params: section.texts("additional_drop_params"),
            timeout: section.seconds("timeout"),
            stream_timeout: section.seconds("stream_timeout"),
            num_retries: section.small("num_retries").or(section.small("max_retries")),
            cooldown_time: section.seconds_or_none("cooldown_time"),
            costs: Costs::read(&mut section),
            budget: budget(&mut section),
        };
        for (key, node) in section.others(is_litellms) {
            defaults.insert(key.to_owned(), section.reader().json(node));
            own_fields.push(key.to_owned());
        }
        let is_bounded = report_unset(&section);
        section.finish();
        Self { defaults, own_fields, is_unusable: read.is_unusable || !is_bounded, ..read }
    }
}

impl LitellmParams<'_, '_> {
    /// Which key says where its provider is.
    pub(in crate::config) fn base_key(&self) -> &'static str {
        let [name, other] = BASE;
        if self.places.has(name) { name } else { other }
    }
}

/// Reports the keys whose values are variables that are not set. Returns whether no bound is among them: without what it may use and cost
/// at most, a deployment is left out; whatever else is missing counts as not said.
fn report_unset(section: &Section<'_, '_>) -> bool {
    const BOUNDS: [&str; 9] =
        ["rpm", "tpm", "itpm", "otpm", "rpd", "tpd", "max_parallel_requests", "max_budget", "budget_duration"];
    let (places, mut is_bounded) = (&section.places, true);
    for key in section.unset() {
        if BOUNDS.contains(key) || key.contains("cost") {
            is_bounded = false;
            for entry in places.entries.iter().filter(|entry| entry.key == *key) {
                if let yaml::Value::Text(variable) = &entry.node.value {
                    places.reader.resolve_or_leave_out(variable, entry.node.at);
                }
            }
        } else {
            places.downgrade(key, Grade::Approximate, "the variable is not set: it says nothing, as in LiteLLM");
        }
    }
    is_bounded
}

/// `drop_params`. A list of names is none, as in LiteLLM, which has another key for that.
fn drop_params(section: &mut Section<'_, '_>) -> Option<bool> {
    let is_list = |entry: &yaml::Entry| matches!(entry.node.value, yaml::Value::List(_));
    if section.places.entries.iter().any(|entry| entry.key == "drop_params" && is_list(entry)) {
        section.get("drop_params", Kind::Flag);
        let note = "a list counts as not said, as in LiteLLM: names are left out by `additional_drop_params`";
        section.places.downgrade("drop_params", Grade::Unsupported, note);
        return None;
    }
    section.flag("drop_params")
}

/// What the first of two names says that is written; what the other says is of no account then.
fn first_of<'r, 'e, T>(
    section: &mut Section<'r, 'e>,
    [name, other]: [&'static str; 2],
    read: impl Fn(&mut Section<'r, 'e>, &'static str) -> Option<T>,
) -> Option<T> {
    let first = read(section, name);
    if section.places.has(name) { first } else { read(section, other) }
}

/// `max_budget` and `budget_duration`.
fn budget(section: &mut Section<'_, '_>) -> Option<BudgetSpec> {
    let (max, period) = (allowance::dollars(section, "max_budget"), allowance::period(section, "budget_duration"));
    max.map(|max| BudgetSpec { max: Some(max), period, ..BudgetSpec::default() })
}

/// `rate_limit_window`: when the provider forgets what it counted.
pub(super) fn window_model(section: &mut Section<'_, '_>) -> Option<WindowModel> {
    let models = [WindowModel::Sliding, WindowModel::Fixed, WindowModel::TokenBucket];
    let hint = "sliding (the default), fixed (from minute to minute of the clock) or token-bucket (refilled steadily)";
    section.word("rate_limit_window", &["sliding", "fixed", "token-bucket"], &models, hint)
}

/// Parameters of a request that an entry may set for all of its requests that say nothing of them.
const DEFAULTS: [&str; 69] = [
    "temperature",
    "top_p",
    "top_k",
    "max_tokens",
    "max_completion_tokens",
    "n",
    "stop",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "user",
    "response_format",
    "reasoning_effort",
    "thinking",
    "parallel_tool_calls",
    "tool_choice",
    "tools",
    "service_tier",
    "logprobs",
    "top_logprobs",
    "verbosity",
    "store",
    "prediction",
    "modalities",
    "audio",
    "web_search_options",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    // Of models that make vectors.
    "dimensions",
    "encoding_format",
    "input_type",
    "truncate",
    // Of servers that people run themselves (vLLM, SGLang, llama.cpp, Text Generation Inference).
    "add_generation_prompt",
    "chat_template_kwargs",
    "continue_final_message",
    "enable_thinking",
    "guided_choice",
    "guided_grammar",
    "guided_json",
    "guided_regex",
    "ignore_eos",
    "include_stop_str_in_output",
    "length_penalty",
    "min_p",
    "min_tokens",
    "repeat_penalty",
    "repetition_penalty",
    "skip_special_tokens",
    "spaces_between_special_tokens",
    "stop_token_ids",
    "structured_outputs",
    "thinking_budget",
    "top_a",
    "typical_p",
    // OpenRouter's, Mistral's, Google's, Bedrock's and Claude's own.
    "include_reasoning",
    "models",
    "plugins",
    "provider",
    "reasoning",
    "route",
    "transforms",
    "prompt_mode",
    "random_seed",
    "safe_prompt",
    SAFETY,
    "guardrailConfig",
    "extra_body",
];

/// Google's own, by the name that LiteLLM has for it.
pub(in crate::config) const SAFETY: &str = "safety_settings";

/// What is written in `extra_body` that has no name of its own above: no other word is known for it. And what is Google's alone.
fn own_fields(defaults: &Map<String, Value>) -> Vec<String> {
    let extra = defaults.get("extra_body").and_then(Value::as_object).into_iter().flat_map(Map::keys);
    let own = extra.filter(|name| !DEFAULTS.contains(&name.as_str()));
    own.map(String::as_str).chain(defaults.contains_key(SAFETY).then_some(SAFETY)).map(str::to_owned).collect()
}

fn defaults(section: &mut Section<'_, '_>) -> Map<String, Value> {
    let given = DEFAULTS.iter().filter_map(|key| Some(((*key).to_owned(), section.get(key, Kind::Any)?)));
    let given: Vec<_> = given.collect();
    given.into_iter().map(|(key, node)| (key, section.reader().json(node))).collect()
}

/// `extra_query`: names and values, as an address has them.
fn extra_query(section: &mut Section<'_, '_>) -> Option<String> {
    let node = section.get("extra_query", Kind::Map)?;
    let reader = section.reader();
    let pairs = reader.map(node, "extra_query").iter().filter_map(|entry| {
        let value = reader.text(&entry.node, &entry.key)?;
        Some(format!("{}={}", encoded(&entry.key), encoded(&value)))
    });
    Some(pairs.collect::<Vec<_>>().join("&")).filter(|query| !query.is_empty())
}

/// Letters, digits and what needs no escape in a query as they are.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Headers that belong to the connection or to the body, which no deployment sets.
const NOT_OURS: [&str; 7] =
    ["connection", "content-length", "content-type", "host", "te", "transfer-encoding", "upgrade"];

fn headers(section: &mut Section<'_, '_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for key in ["headers", "extra_headers"] {
        let Some(node) = section.get(key, Kind::TextByName) else { continue };
        let reader = section.reader();
        for entry in reader.map(node, key) {
            let value = reader.text(&entry.node, &entry.key);
            headers.extend(value.and_then(|value| header(&section.places, key, &entry.key, &value)));
        }
    }
    headers
}

/// A header as it is sent; what cannot be sent is a problem at `key`.
pub(in crate::config) fn header(
    places: &KeyPlaces<'_, '_>,
    key: &str,
    name: &str,
    value: &str,
) -> Option<(HeaderName, HeaderValue)> {
    match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
        (Ok(name), Ok(mut value)) if !NOT_OURS.contains(&name.as_str()) => {
            value.set_sensitive(true);
            Some((name, value))
        }
        (named, _) => {
            // A whole line pasted as the name holds the value too.
            let shown = named.map_or_else(|_| "this".to_owned(), |name| format!("`{name}`"));
            let hint = "visible ASCII, and not one of the connection's own";
            places.error_at(key, format!("{shown} is not a header that can be sent"), hint);
            None
        }
    }
}

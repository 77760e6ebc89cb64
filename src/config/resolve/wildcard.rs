//! Entries whose models have stars: which deployments they come to, and what a model comes to that fills the stars.
//!
//! An entry whose model is a star alone stands for every provider whose key is at hand, as in LiteLLM, which finds the provider in
//! the name a client sends. Where a provider has rows for several kinds of its models, an entry with stars is a deployment of each row that
//! may have one, and the row of the filled name serves it. That name is read as one that is written: its route, its region, its mark.

use std::sync::Arc;

use super::endpoint::{Endpoint, found};
use super::{azure, bedrock, vertex};
use crate::catalog::{Deployment, Origin, Wildcard};
use crate::config::providers::{self, Found, Provider};
use crate::config::shape::{LitellmParams, ModelEntry, ModelInfo};
use crate::config::{KnownModel, known_model, models};
use crate::format::{ProviderFormat, Quirks};
use crate::money::Costs;

/// The entry, or one for each deployment it stands for.
pub(super) fn entries<'r, 'e>(entry: ModelEntry<'r, 'e>) -> Vec<ModelEntry<'r, 'e>> {
    let params = &entry.params;
    let (places, reader) = (&params.places, params.places.reader);
    let alone = params.model.as_deref() == Some("*");
    // Who answers in this process needs no provider.
    let here = params.simulated.is_some() || params.mock_response.is_some();
    if !alone || params.custom_llm_provider.is_some() || places.has(params.base_key()) || here {
        return by_rows(entry);
    }
    if places.has("api_key") {
        let hint = "name the provider it belongs to: `model: openai/*`";
        places.error_at("api_key", "a key beside `model: \"*\"` would be sent to every provider", hint);
        return Vec::new();
    }
    let mut all: Vec<_> = providers::with_key(|name| reader.variable(name).is_some()).collect();
    // Rows of one provider stand together.
    all.dedup();
    if all.is_empty() {
        // Whoever writes it wants what there is; other groups are served.
        let hint = "set the keys of providers where witgate runs, such as OPENAI_API_KEY";
        places.leave_out_at("model", "`*` stands for every provider whose key is set, and none is", hint);
    }
    let of = |provider: &str| {
        let mut one = entry.clone();
        (one.params.model, one.params.by_name) = (Some(format!("{provider}/*")), true);
        // Given once, it would be several deployments'.
        if all.len() > 1 {
            one.info.id = one.info.id.map(|id| format!("{id}-{provider}"));
        }
        one
    };
    all.iter().flat_map(|provider| by_rows(of(provider))).collect()
}

/// The entry for each of its provider's rows that may have its models. The last row, which has what no other has, keeps the id.
fn by_rows<'r, 'e>(entry: ModelEntry<'r, 'e>) -> Vec<ModelEntry<'r, 'e>> {
    let rows = rows(&entry.params);
    let Some((&last, others)) = rows.split_last() else { return vec![entry] };
    let of = |row: &&'static Provider| {
        let mut one = entry.clone();
        one.params.row = Some(*row);
        one.info.id = one.info.id.map(|id| format!("{id}-{}", row.format.name()));
        one
    };
    let mut all: Vec<_> = others.iter().map(of).collect();
    let mut rest = entry;
    rest.params.row = Some(last);
    all.push(rest);
    all
}

/// The rows that may have the models of an entry with stars; none where there is nothing to choose.
fn rows(params: &LitellmParams<'_, '_>) -> Vec<&'static Provider> {
    let starred = params.model.as_deref().filter(|model| model.contains('*'));
    let Some(model) = starred.filter(|_| params.mock_response.is_none() && params.simulated.is_none()) else {
        return Vec::new();
    };
    match found(params, model) {
        Found::Spoken(row, written) => providers::rows_of(&row.name, &written),
        Found::Simulated(_) | Found::NotYet(_) | Found::Unknown => Vec::new(),
    }
}

/// What a deployment stands for whose model has stars. `costs` are the prices that its entry gives.
pub(super) fn of(
    params: &LitellmParams<'_, '_>,
    endpoint: &Endpoint,
    info: &ModelInfo<'_, '_>,
    costs: Costs,
) -> Option<Wildcard> {
    endpoint.model.contains('*').then(|| Wildcard {
        models_of: endpoint.models_of,
        provider: endpoint.provider.to_string(),
        row: endpoint.row,
        written: endpoint.written.clone(),
        by_name: params.by_name,
        newer: info.mode.is_none(),
        newer_version: params.responses_api_version.clone(),
        regional: endpoint.regional,
        region: endpoint.region.clone(),
        // With a base model it is known what they are laid over.
        costs: (info.base_model.is_none() && !costs.is_nothing()).then(|| Arc::new(costs)),
    })
}

/// What a deployment with stars comes to once a model has filled them.
#[derive(Clone, Debug)]
pub struct Filled {
    /// The model as its provider is asked for it.
    pub model: String,
    /// The format it is asked in.
    pub format: &'static dyn ProviderFormat,
    /// What its provider takes otherwise with it.
    pub quirks: &'static Quirks,
    /// The version of the provider's API.
    pub api_version: Option<String>,
    /// What is publicly known of it.
    pub known: KnownModel,
    /// Where it is asked.
    pub origin: Origin,
    /// The region its name says, which its requests are signed for.
    pub region: Option<String>,
}

/// What `deployment`, which is `wildcard`, comes to where `written` has filled its stars, read as a model that an entry names. `None` where it
/// does not serve that.
#[must_use]
pub fn filled(deployment: &Deployment, wildcard: &Wildcard, written: &str) -> Option<Filled> {
    let Origin::Http(address) = &deployment.origin else {
        let known = known_model(wildcard.models_of, written);
        return Some(Filled {
            model: written.to_owned(),
            format: deployment.format,
            quirks: deployment.quirks,
            api_version: deployment.api_version.clone().or_else(|| known.api_version.clone()),
            known,
            origin: deployment.origin.clone(),
            region: None,
        });
    };
    let row = row_of(wildcard, written)?;
    let (model, marked) = row.asked_by(written, None);
    let (model, like) = row.marked(model);
    let (model, region) = if row.is_aws() {
        let named = bedrock::named(model).ok()?;
        if named.region.is_some_and(|region| !is_open(row, wildcard, region)) {
            return None;
        }
        (named.model, named.region)
    } else {
        (model, None)
    };
    if row.is_azure() && !azure::is_name(model) {
        return None;
    }
    let by_itself = || row.known_newer(models::of_provider(row.models_of(), model), address);
    let newer = marked.or_else(|| by_itself().filter(|_| wildcard.newer));
    let format = newer.unwrap_or(deployment.format);
    let is_newer = format.name() != row.format.name();
    let quirks = match (row.is_azure(), is_newer) {
        (false, _) => row.quirks_at_address(address, model),
        (true, false) => row.quirks_at(deployment.api_version.as_deref(), like.unwrap_or(model)),
        // There is none of this API as old as those that take less.
        (true, true) => row.quirks_of(like.unwrap_or(model)),
    };
    let known = known_model(row.models_of(), model);
    let own_version = wildcard.newer_version.clone().filter(|_| is_newer);
    let api_version = own_version.or_else(|| deployment.api_version.clone()).or_else(|| known.api_version.clone());
    let elsewhere = match region {
        Some(region) if wildcard.regional => Some(bedrock::address_in(row, region)),
        None if wildcard.regional => vertex::elsewhere(row, address, model),
        _ => None,
    };
    let origin = elsewhere.map_or_else(|| deployment.origin.clone(), |address| Origin::Http(address.into()));
    let (model, region) = (model.to_owned(), region.map(str::to_owned));
    Some(Filled { model, format, quirks, api_version, known, origin, region })
}

/// Whether a name that a client sends may lead to this region: its provider is there, or the entry says it. At a host that there is not,
/// every call would count against a deployment that serves others.
fn is_open(row: &Provider, wildcard: &Wildcard, region: &str) -> bool {
    row.regions.iter().any(|known| known == region) || wildcard.region.as_deref() == Some(region)
}

/// The models that are known by name of those that a deployment with stars stands for.
pub fn known_models(wildcard: &Wildcard) -> impl Iterator<Item = &'static str> {
    models::names_of(wildcard.models_of).filter(|model| row_of(wildcard, model).is_some())
}

/// The row of a deployment with stars, where it has a model.
fn row_of(wildcard: &Wildcard, model: &str) -> Option<&'static Provider> {
    let row = providers::row_of(&wildcard.provider, model)?;
    (row.place() == wildcard.row && row.unspoken(model).is_none()).then_some(row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Identity;
    use crate::config::{Loaded, parse};

    const CLOUDS: &str = include_str!("../../../tests/fixtures/wildcards/clouds.yaml");
    const ACCOUNT: &str = include_str!("../../../tests/fixtures/google/service-account.json");

    fn env(name: &str) -> Option<String> {
        let value = match name {
            "AWS_ACCESS_KEY_ID" => "AKIDEXAMPLE",
            "AZURE_AI_API_BASE" => "https://x.services.ai.azure.com",
            "AZURE_API_BASE" => "https://x.openai.azure.com",
            "GOOGLE_APPLICATION_CREDENTIALS" => ACCOUNT,
            "VERTEXAI_PROJECT" => "lab",
            _ if name.ends_with("_KEY") => "k",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn loaded(text: &str) -> Loaded {
        let loaded = parse(text, "a.yaml", &env).unwrap_or_else(|problems| panic!("{problems}"));
        assert!(loaded.left_out.is_empty(), "{:?}", loaded.left_out);
        loaded
    }

    /// The deployment of `group` that serves `model`, which no other may, and what it comes to.
    fn served(clouds: &Loaded, group: &str, model: &str) -> Option<(Arc<Deployment>, Filled)> {
        let deployments = clouds.settings.catalog.groups[group].deployments.iter();
        let of = |one: &Arc<Deployment>| Some((Arc::clone(one), filled(one, one.wildcard.as_ref()?, model)?));
        let mut all: Vec<_> = deployments.filter_map(of).collect();
        assert!(all.len() < 2, "{group} {model}");
        all.pop()
    }

    #[test]
    fn a_model_that_fills_a_star_is_read_as_one_that_is_written() {
        let clouds = loaded(CLOUDS);
        let deployments = |group: &str| clouds.settings.catalog.groups[group].deployments.len();
        assert_eq!(["azure/*", "azure_ai/*", "bedrock/*", "vertex_ai/*"].map(deployments), [1, 2, 1, 3]);
        for model in [
            "anthropic/claude-opus-4-5",
            "azure/gpt-5",
            "azure/o_series/mine",
            "azure/responses/gpt-5-codex",
            "azure_ai/DeepSeek-R1",
            "azure_ai/claude-sonnet-4-5",
            "bedrock/amazon.nova-lite-v1:0",
            "bedrock/converse/us-gov-west-1/amazon.nova-lite-v1:0",
            "bedrock/invoke/anthropic.claude-3-haiku-20240307-v1:0",
            "bedrock/llama/arn:aws:bedrock:eu-west-1:123456789012:imported-model/x",
            "bedrock/us-west-1/anthropic.claude-3-haiku-20240307-v1:0",
            "gemini/gemini-2.5-flash",
            "openai/gpt-5",
            "openai/gpt-5-pro",
            "openai/responses/gpt-4.1",
            "vertex_ai/claude-opus-4-6",
            "vertex_ai/deepseek-ai/deepseek-v3.1-maas",
            "vertex_ai/gemini-2.5-pro",
            "vertex_ai/meta/llama-4-maas",
        ] {
            let (provider, name) = model.split_once('/').unwrap();
            let group = format!("{provider}/*");
            let (own, found) = served(&clouds, &group, name).unwrap_or_else(|| panic!("{model}"));
            let text = CLOUDS.replace(&format!("model: \"{group}\""), &format!("model: \"{model}\""));
            let settings = loaded(&text).settings;
            let written = &settings.catalog.groups[group.as_str()].deployments[0];
            assert_eq!((&*found.model, &found.origin), (&*written.model, &written.origin), "{model}");
            assert_eq!(found.format.name(), written.format.name(), "{model}");
            assert_eq!(found.quirks, written.quirks, "{model}");
            assert_eq!((&found.api_version, &found.known.prices), (&written.api_version, &written.prices), "{model}");
            assert_eq!(own.headers, written.headers, "{model}");
            if let Some(Identity::AwsKeys(keys)) = &written.identity {
                assert_eq!(found.region.as_deref().unwrap_or("us-east-1"), keys.region, "{model}");
            }
        }
        for (group, model) in [
            ("vertex_ai/*", "jamba-1.5"),
            ("azure/*", ""),
            ("azure/*", "a/b"),
            ("bedrock/*", "mantle/openai.gpt-oss-120b"),
            ("bedrock/*", "us-west-1/agent/A/B"),
            ("bedrock/*", "us-moon-9/amazon.nova-lite-v1:0"),
            ("bedrock/*", "converse/cn-north-1/amazon.nova-lite-v1:0"),
            ("bedrock/*", "llama/arn:aws:bedrock:us-moon-9:123456789012:imported-model/x"),
        ] {
            assert!(served(&clouds, group, model).is_none(), "{group} {model}");
        }
    }

    #[test]
    fn what_stands_before_a_star_is_read_with_what_fills_it() {
        let group = |model: &str, more: &str| {
            loaded(&format!("model_list: [{{model_name: \"*\", litellm_params: {{model: \"{model}\"{more}}}}}]"))
        };
        let fill = |clouds: &Loaded, part: &str| {
            let one = &clouds.settings.catalog.groups["*"].deployments[0];
            let wildcard = one.wildcard.as_ref().unwrap();
            filled(one, wildcard, &wildcard.fill(&[part], part, |_| None).unwrap()).unwrap()
        };
        let found = fill(&group("azure/responses/*", ", responses_api_version: preview"), "gpt-5-codex");
        assert_eq!((found.format.name(), found.api_version.as_deref()), ("azure_responses", Some("preview")));
        let found = fill(&group("azure/*", ", responses_api_version: preview"), "responses/gpt-5-codex");
        assert_eq!((found.format.name(), found.api_version.as_deref()), ("azure_responses", Some("preview")));
        let found = fill(&group("bedrock/us-west-1/anthropic.*", ""), "claude-v2");
        assert_eq!((found.model.as_str(), found.region.as_deref()), ("anthropic.claude-v2", Some("us-west-1")));
        // An address that is given is no region's.
        let found = fill(&group("bedrock/*", ", api_base: \"https://x.test\""), "us-west-1/m");
        assert_eq!((found.origin, found.region.as_deref()), (Origin::Http("https://x.test".into()), Some("us-west-1")));
        // A region that an entry says is taken at its word.
        let found = fill(&group("bedrock/us-moon-9/*", ""), "m");
        assert_eq!((found.model.as_str(), found.region.as_deref()), ("m", Some("us-moon-9")));
        let found = fill(&group("bedrock/*", ", aws_region_name: us-moon-9"), "us-moon-9/m");
        assert_eq!(found.origin, Origin::Http("https://bedrock-runtime.us-moon-9.amazonaws.com".into()));
        let gpt = group("azure/gpt-*", "");
        assert_eq!(*gpt.settings.catalog.groups["*"].deployments[0].model, *"gpt-*");
    }

    #[test]
    fn prices_of_an_entry_with_stars_are_laid_over_those_of_each_model() {
        let entry = |model: &str, costs: &str| {
            let params = format!("{{model: \"{model}\", {costs}}}");
            let loaded = loaded(&format!("model_list: [{{model_name: \"*\", litellm_params: {params}}}]"));
            Arc::clone(&loaded.settings.catalog.groups["*"].deployments[0])
        };
        let prices = |own: &Deployment, model: &str| {
            let wildcard = own.wildcard.as_ref().unwrap();
            wildcard.prices(own.prices.as_ref(), filled(own, wildcard, model).unwrap().known.prices)
        };
        for (provider, model) in [
            ("anthropic", "claude-opus-5-5"),
            ("gemini", "gemini-2.5-flash"),
            ("openai", "gpt-5"),
            ("openai", "nobody-knows"),
        ] {
            for costs in [
                "",
                "input_cost_per_token: 1e-6",
                "output_cost_per_token: 1e-5, cache_read_input_token_cost: 1e-7",
                "input_cost_per_token: 1e-6, output_cost_per_token: 1e-5, input_cost_per_token_above_200k_tokens: 2e-6",
                "input_cost_per_token_priority: 3e-6, output_cost_per_token_batches: 1e-6",
                "output_cost_per_token_above_200k_tokens: 4e-5",
                "search_context_cost_per_query: {search_context_size_medium: 0.02}",
            ] {
                let (own, written) =
                    (entry(&format!("{provider}/*"), costs), entry(&format!("{provider}/{model}"), costs));
                assert_eq!(prices(&own, model), written.prices, "{provider}/{model} {costs}");
            }
        }
        let based = "input_cost_per_token: 1e-6}, model_info: {base_model: gpt-4o-mini";
        let (own, written) = (entry("openai/*", based), entry("openai/mine", based));
        assert!(own.prices.is_some() && own.prices == written.prices);
        assert_eq!(prices(&own, "gpt-5"), written.prices, "one model is said whose prices all have");
    }

    #[test]
    fn a_star_alone_that_is_answered_here_needs_no_provider_s_key() {
        let text = "model_list: [{model_name: \"*\", litellm_params: {model: \"*\", mock_response: Here.}}]";
        for env in [&env as &dyn Fn(&str) -> Option<String>, &|_: &str| None::<String>] {
            let loaded = parse(text, "a.yaml", env).unwrap_or_else(|problems| panic!("{problems}"));
            let [one] = &loaded.settings.catalog.groups["*"].deployments[..] else { panic!("one deployment") };
            let wildcard = one.wildcard.as_ref().unwrap();
            let model = wildcard.fill(&["mine"], "mine", |_| None).unwrap();
            assert_eq!(filled(one, wildcard, &model).map(|found| found.model).as_deref(), Some("mine"));
        }
    }

    #[test]
    fn models_that_are_known_by_name_are_of_the_row_that_serves_them() {
        let clouds = loaded(CLOUDS);
        let known = clouds.settings.catalog.groups["vertex_ai/*"].deployments.iter();
        let known: Vec<Vec<&str>> = known.map(|one| known_models(one.wildcard.as_ref().unwrap()).collect()).collect();
        assert!(known[0].contains(&"gemini-2.5-pro") && known[1].contains(&"claude-opus-4-6"), "{known:?}");
        assert!(known[0].iter().all(|name| !name.starts_with("gemma")), "{known:?}");
    }
}

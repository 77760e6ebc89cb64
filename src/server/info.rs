//! Which deployments there are, in the shape LiteLLM's clients read. Keys, addresses and headers are the operator's alone.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use serde_json::{Value, json};

use crate::catalog::{Capability, Deployment, Support};
use crate::fault::{Refusal, RefusalKind};
use crate::format::spoken_at;
use crate::money::{Price, Rates, Steps};
use crate::pipeline;
use crate::snapshot::Caller;

use super::{App, probe, refusal, shortened};

/// The name by which one deployment is asked for: clients have its id from the head of a reply.
const MODEL_ID: &str = "litellm_model_id";

/// Every deployment of every group, or that of `?litellm_model_id=ID`.
pub(super) async fn models(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Arc<Caller>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let mut query = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let only = query.find(|(name, _)| name == MODEL_ID).map(|(_, id)| id);
    let data = told(&app, &caller, only.as_deref());
    if let Some(id) = only.filter(|_| data.is_empty()) {
        let message = format!(
            "no deployment has the id `{}`; `{}` without `{MODEL_ID}` lists those that there are",
            shortened(&id),
            uri.path()
        );
        let why = Refusal::new(RefusalKind::InvalidRequest, message).at(MODEL_ID);
        return refusal::unrecorded(&app, spoken_at(uri.path(), &headers), &why);
    }
    probe::json_response(StatusCode::OK, &json!({"data": data}))
}

/// The deployments that the caller may use, or the one with this id.
fn told(app: &App, caller: &Caller, only: Option<&str>) -> Vec<Value> {
    let snapshot = app.gateway.live.read();
    let groups = snapshot.groups.values();
    let groups = groups.filter(|group| pipeline::may_use(&snapshot, caller, group.config.name.as_str()));
    groups
        .flat_map(|group| {
            let all = group.deployments.iter().map(|deployment| &deployment.config);
            let told = all.filter(move |deployment| only.is_none_or(|only| deployment.id.as_str() == only));
            told.map(move |deployment| one(group.config.name.as_str(), deployment))
        })
        .collect()
}

fn one(group: &str, deployment: &Deployment) -> Value {
    let provider = deployment.provider.as_str();
    let mut told = json!({
        "model_name": group,
        "litellm_params": {"model": format!("{provider}/{}", deployment.model)},
        "model_info": {
            "id": deployment.id.as_str(),
            "db_model": false,
            "mode": if deployment.makes_vectors { "embedding" } else { deployment.format.mode() },
            "litellm_provider": provider,
            "max_input_tokens": deployment.context_window,
            "max_output_tokens": deployment.max_output_tokens,
            "input_cost_per_token": null,
            "output_cost_per_token": null,
        },
    });
    if let Some(prices) = &deployment.prices {
        tell_prices(&mut told["model_info"], "", &prices.base, &prices.long);
        if let Some((base, long)) = prices.batch.as_deref() {
            tell_prices(&mut told["model_info"], "_batches", base, long);
        }
        for (tier, base, long) in prices.tiers.iter().flat_map(|tiers| tiers.iter()) {
            tell_prices(&mut told["model_info"], &format!("_{}", tier.as_str()), base, long);
        }
        if let Some(fee) = prices.search {
            let each = fee.each.as_usd();
            told["model_info"]["search_context_cost_per_query"] = json!({
                "search_context_size_low": each, "search_context_size_medium": each, "search_context_size_high": each,
            });
        }
    }
    for capability in Capability::ALL {
        told["model_info"][capability.key()] = match deployment.supports.of(capability) {
            Support::Yes => true.into(),
            Support::No => false.into(),
            Support::Unknown | Support::Unlisted => Value::Null,
        };
    }
    told
}

/// Prices a token, in LiteLLM's names.
fn tell_prices(info: &mut Value, ending: &str, base: &Rates, long: &Steps) {
    let mut tell = |step: &str, rates: &Rates| {
        let Rates { input, output, cache_read, cache_write, cache_write_1h, .. } = *rates;
        for (name, price) in [
            ("input_cost_per_token", Some(input)),
            ("output_cost_per_token", Some(output)),
            ("cache_read_input_token_cost", cache_read),
            ("cache_creation_input_token_cost", cache_write),
            ("cache_creation_input_token_cost_above_1hr", cache_write_1h),
            ("input_cost_per_audio_token", rates.audio_input),
            ("cache_read_input_audio_token_cost", rates.audio_cache_read),
            ("output_cost_per_audio_token", rates.audio_output),
            ("input_cost_per_image_token", rates.image_input),
            ("cache_read_input_image_token_cost", rates.image_cache_read),
            ("output_cost_per_image_token", rates.image_output),
        ] {
            if let Some(price) = price {
                info[format!("{name}{step}{ending}")] = (Price::as_usd_per_million(price) / 1e6).into();
            }
        }
    };
    tell("", base);
    for (above, rates) in long.iter() {
        tell(&format!("_above_{}k_tokens", above / 1000), rates);
    }
}

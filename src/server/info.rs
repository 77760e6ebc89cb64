//! Which deployments there are, in the shape LiteLLM's clients read. Keys, addresses and headers are the operator's alone.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use crate::catalog::{Capability, Deployment, Support};
use crate::money::{Price, Rates, Steps};
use crate::pipeline;
use crate::snapshot::Caller;

use super::{App, probe};

/// Every deployment of every group.
pub(super) async fn models(State(app): State<Arc<App>>, Extension(caller): Extension<Arc<Caller>>) -> Response {
    let snapshot = app.gateway.live.read();
    let groups = snapshot.groups.values();
    let groups = groups.filter(|group| pipeline::may_use(&snapshot, &caller, group.config.name.as_str()));
    let data: Vec<Value> = groups
        .flat_map(|group| {
            group.deployments.iter().map(move |deployment| one(group.config.name.as_str(), &deployment.config))
        })
        .collect();
    probe::json_response(StatusCode::OK, &json!({"data": data}))
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
        let Rates { input, output, cache_read, cache_write, cache_write_1h } = *rates;
        for (name, price) in [
            ("input_cost_per_token", Some(input)),
            ("output_cost_per_token", Some(output)),
            ("cache_read_input_token_cost", cache_read),
            ("cache_creation_input_token_cost", cache_write),
            ("cache_creation_input_token_cost_above_1hr", cache_write_1h),
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

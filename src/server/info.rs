//! Which deployments there are, in the shape LiteLLM's clients read. Keys, addresses and headers are the operator's alone.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use crate::catalog::{Capability, Deployment, Support};
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
    let per_token = |per_million: f64| per_million / 1e6;
    let prices = deployment.prices.as_ref();
    let provider = deployment.provider.as_str();
    let mut told = json!({
        "model_name": group,
        "litellm_params": {"model": format!("{provider}/{}", deployment.model)},
        "model_info": {
            "id": deployment.id.as_str(),
            "db_model": false,
            "mode": if deployment.makes_vectors { "embedding" } else { "chat" },
            "litellm_provider": provider,
            "max_input_tokens": deployment.context_window,
            "max_output_tokens": deployment.max_output_tokens,
            "input_cost_per_token": prices.map(|prices| per_token(prices.base.input.as_usd_per_million())),
            "output_cost_per_token": prices.map(|prices| per_token(prices.base.output.as_usd_per_million())),
        },
    });
    for capability in Capability::ALL {
        told["model_info"][capability.key()] = match deployment.supports.of(capability) {
            Support::Yes => true.into(),
            Support::No => false.into(),
            Support::Unknown | Support::Unlisted => Value::Null,
        };
    }
    told
}

//! `/health`, in LiteLLM's shape: every deployment is asked, now. Behind the admin key, since each question costs a token.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde_json::{Value, json};

use crate::pipeline::ConnectionTest;

use super::{App, probe};

/// Asks them, or those of `?model=GROUP` or `?model_id=ID`, and tells which answered.
pub(super) async fn connections(State(app): State<Arc<App>>, uri: Uri) -> Response {
    let query = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let only = query.filter(|(name, _)| name == "model_id" || name == "model").map(|(_, value)| value).next();
    let tests = app.gateway.test_connections(only.as_deref()).await;
    let (unhealthy, healthy): (Vec<_>, Vec<_>) = tests.iter().partition(|test| test.fault.is_some());
    let answer = json!({
        "healthy_endpoints": healthy.iter().map(|test| endpoint(test)).collect::<Vec<_>>(),
        "unhealthy_endpoints": unhealthy.iter().map(|test| endpoint(test)).collect::<Vec<_>>(),
        "healthy_count": healthy.len(),
        "unhealthy_count": unhealthy.len(),
    });
    probe::json_response(StatusCode::OK, &answer)
}

fn endpoint(test: &ConnectionTest) -> Value {
    let mut told = json!({
        "model": format!("{}/{}", test.provider, test.model),
        "model_id": test.deployment.as_str(),
        "model_group": test.group.as_str(),
        "latency_ms": test.took.as_secs_f64() * 1e3,
    });
    if let Some(address) = &test.address {
        told["api_base"] = (&**address).into();
    }
    if let Some(fault) = &test.fault {
        told["error"] = fault.message.as_str().into();
        told["error_kind"] = fault.kind.as_str().into();
    }
    told
}

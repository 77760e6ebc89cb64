//! The HTTP faces: thin handlers over the pipeline, one way to answer a refusal, one list of exemptions.
//!
//! One layer stands before every route (`access`) and lists what needs no key; a chat passes it inside its handler, under its
//! request guard. Handlers know HTTP and nothing of keys, limits, policies or providers.

mod access;
mod admin;
mod chat;
mod probe;
mod refusal;
mod serve;
mod simulated;
mod workers;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Method;
use axum::response::Response;
use axum::routing::{MethodRouter, get};
use hyper::body::Incoming;
use tower_service::Service;

use crate::format::{Operation, operation_at};
use crate::pipeline::Gateway;
use crate::provider::simulated::Simulated;
use crate::telemetry::Metrics;

pub use serve::{Listening, Server, listen};

/// What handlers share.
pub struct App {
    /// The pipeline.
    pub gateway: Arc<Gateway>,
    /// For `/metrics`.
    pub metrics: Arc<Metrics>,
    /// Set while shutting down: readiness fails, requests under way finish.
    pub draining: AtomicBool,
}

/// What one listener serves.
pub struct Faces {
    /// Chats do not go through the router: they are what there is most of.
    chats: Option<Arc<App>>,
    others: Router,
}

impl Faces {
    /// All surfaces of a gateway.
    #[must_use]
    pub fn of(app: Arc<App>) -> Self {
        Self { others: others(Arc::clone(&app)), chats: Some(app) }
    }

    /// The simulated provider's.
    #[must_use]
    pub fn simulated(simulated: Arc<Simulated>) -> Self {
        Self { chats: None, others: simulated::router(simulated) }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response {
        if let Some(app) = &self.chats
            && request.method() == Method::POST
            && let Some((api, Operation::Chat)) = operation_at(request.uri().path())
        {
            return chat::handle(app, api, request).await;
        }
        match self.others.clone().call(request.map(Body::new)).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// Everything served but chats: path by path. What needs no key is in [`access::PUBLIC`].
fn routes() -> Vec<(&'static str, MethodRouter<Arc<App>>)> {
    vec![
        ("/v1/models", get(probe::models)),
        ("/models", get(probe::models)),
        ("/admin/policies", get(admin::policies)),
        ("/health/liveliness", get(probe::alive)),
        ("/health/liveness", get(probe::alive)),
        ("/health/readiness", get(probe::ready)),
        ("/metrics", get(probe::metrics)),
    ]
}

fn others(app: Arc<App>) -> Router {
    let all = routes().into_iter().fold(Router::new(), |all, (path, route)| all.route(path, route));
    let all = all.fallback(refusal::unknown_path).method_not_allowed_fallback(refusal::unknown_method);
    all.layer(axum::middleware::from_fn_with_state(Arc::clone(&app), access::before)).with_state(app)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, Uri};

    use super::*;

    /// Every route but the exempted ones is closed to who shows no key, and every exemption is a route.
    #[test]
    fn a_route_is_closed_unless_it_is_exempted() {
        let text =
            "model_list: [{model_name: g, litellm_params: {model: simulated/m}}]\ngeneral_settings: {master_key: sk-m}";
        let settings = crate::config::parse(text, "c", &|_| None).unwrap().settings;
        let enters =
            |path: &'static str| access::authorize(&settings, &HeaderMap::new(), &Uri::from_static(path)).is_ok();
        let open: Vec<&str> = routes().into_iter().map(|(path, _)| path).filter(|path| enters(path)).collect();
        assert_eq!(open, access::PUBLIC.map(|(path, _)| path));
        assert!(!enters("/nothing/here") && !enters("/admin") && !enters("/metrics/") && !enters("//metrics"));
    }
}

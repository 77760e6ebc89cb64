//! The HTTP faces: thin handlers over the pipeline, one way to answer a refusal, one list of exemptions.
//!
//! Every surface is guarded the same way (`access`): a chat inside its handler, under its request guard, all others before
//! theirs; what needs no key says so in `others`. Handlers know HTTP and nothing of limits, policies or providers.

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
use axum::routing::{get, post};
use hyper::body::Incoming;
use tower_service::Service;

use crate::chat::DialectName;
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

/// Where chat requests arrive, and in whose dialect. One list: what is served here is recorded, refused or not.
const CHATS: [(&str, DialectName); 3] = [
    ("/v1/chat/completions", DialectName::Openai),
    ("/chat/completions", DialectName::Openai),
    ("/v1/messages", DialectName::Anthropic),
];

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
            && let Some((_, face)) = CHATS.iter().find(|(path, _)| *path == request.uri().path())
        {
            return chat::handle(app, *face, request).await;
        }
        match self.others.clone().call(request.map(Body::new)).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

fn others(app: Arc<App>) -> Router {
    // A chat passes the guard inside its handler, under its request guard: what is refused there is recorded. A `POST` does not
    // come this way; naming it lets all others be told which method is allowed.
    let chats =
        CHATS.into_iter().fold(Router::new(), |chats, (path, _)| chats.route(path, post(refusal::unknown_path)));
    let others = Router::new()
        .route("/v1/models", get(probe::models))
        .route("/models", get(probe::models))
        .route("/admin/policies", get(admin::policies))
        // No key: load balancers and scrapers ask these, and they tell nothing about requests.
        .route("/health/liveliness", get(probe::alive))
        .route("/health/liveness", get(probe::alive))
        .route("/health/readiness", get(probe::ready))
        .route("/metrics", get(probe::metrics))
        .fallback(refusal::unknown_path);
    let all = others.merge(chats).method_not_allowed_fallback(refusal::unknown_method);
    all.layer(axum::middleware::from_fn_with_state(Arc::clone(&app), access::before)).with_state(app)
}

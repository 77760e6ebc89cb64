//! The HTTP faces: thin handlers over the pipeline, one way to answer a refusal, one list of exemptions.
//!
//! Every surface is guarded the same way (`guard`): a chat inside its handler, under its ticket, all others before
//! theirs; what needs no key says so in [`router`]. Handlers know HTTP and nothing of limits, policies or providers.

mod admin;
mod chat;
mod guard;
mod probe;
mod refusal;
mod serve;
mod simulated;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::Router;
use axum::routing::{get, post};

use crate::chat::DialectName;
use crate::pipeline::Gateway;
use crate::telemetry::Metrics;

pub use serve::{Listening, listen, serve};
pub use simulated::router as simulated_router;

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

/// All surfaces.
pub fn router(app: Arc<App>) -> Router {
    let chats = CHATS.into_iter().fold(Router::new(), |chats, (path, face)| {
        chats.route(path, post(move |app, request| chat::handle(app, face, request)))
    });
    let others = Router::new()
        .route("/v1/models", get(probe::models))
        .route("/models", get(probe::models))
        .route("/admin/policies", get(admin::policies))
        // No key: load balancers and scrapers ask these, and they tell nothing about requests.
        .route("/health/liveliness", get(probe::alive))
        .route("/health/liveness", get(probe::alive))
        .route("/health/readiness", get(probe::ready))
        .route("/metrics", get(probe::metrics))
        .fallback(refusal::unknown_path)
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&app), guard::before));
    // A chat passes the guard inside its handler, under its ticket: what is refused there is recorded.
    chats.merge(others).method_not_allowed_fallback(refusal::unknown_method).with_state(app)
}

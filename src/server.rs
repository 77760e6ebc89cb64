//! HTTP: thin handlers over the pipeline, one way to answer a refusal, one list of what needs no key.
//!
//! Every request passes `access` before it reaches a handler: a chat under its request guard, so that what is refused is
//! recorded, and all else before it is routed. Handlers know HTTP and nothing of keys, limits, policies or providers.

mod access;
mod admin;
mod batches;
mod calculate;
mod chat;
mod coding;
mod connection;
mod cors;
mod count;
mod explain;
mod feedback;
mod figures;
mod files;
mod health;
mod info;
mod keys;
mod learning;
mod learning_page;
mod probe;
mod refusal;
mod reply_headers;
mod rollout;
mod serve;
mod several;
mod simulated;
mod spend;
mod stored;
mod teams;
mod workers;

use std::future::Future;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{Extensions, Method, Request, Uri};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use axum::{BoxError, Router};
use bytes::Bytes;
use futures_util::future::Either;
use tower_service::Service;

use crate::batch::Batches;
use crate::format::{Operation, operation_at, spoken_at};
use crate::pipeline::Gateway;
use crate::provider::simulated::Simulated;
use crate::snapshot::Caller;
use crate::telemetry::Metrics;

pub use serve::{Listening, Server, Stopping, listen};
pub use stored::StoredReplies;

/// What handlers share.
pub struct App {
    /// The pipeline.
    pub gateway: Arc<Gateway>,
    /// For `/metrics`.
    pub metrics: Arc<Metrics>,
    /// Replies that clients may go on from.
    pub stored: StoredReplies,
    /// Files and batches of clients.
    pub batches: Arc<Batches>,
    /// Set while shutting down: readiness fails, requests under way finish.
    pub draining: AtomicBool,
}

/// What one listener serves.
pub struct HttpService {
    /// The gateway, where it is one that is served. Its chats do not go through the router: they are most of the traffic.
    gateway: Option<Arc<App>>,
    router: Router,
    /// How long connections may still bring requests, once a stop has begun.
    last_call: OnceLock<Duration>,
}

impl HttpService {
    /// Everything a gateway serves.
    #[must_use]
    pub fn gateway(app: Arc<App>) -> Self {
        Self { router: router(Arc::clone(&app)), gateway: Some(app), last_call: OnceLock::new() }
    }

    /// The simulated provider.
    #[must_use]
    pub fn simulated(simulated: Arc<Simulated>) -> Self {
        Self { gateway: None, router: simulated::router(simulated), last_call: OnceLock::new() }
    }

    /// Answers a request. A chat has arrived when this returns, polled or not.
    fn answer<B: RequestBody>(
        self: &Arc<Self>,
        mut request: Request<B>,
    ) -> impl Future<Output = Response> + Send + use<B> {
        if let Some(uri) = without_last_slash(request.uri()) {
            *request.uri_mut() = uri;
        }
        let page = self.gateway.as_ref().and_then(|app| cors::page(&app.gateway.live, request.headers()));
        if let Some(app) = &self.gateway
            && request.method() == Method::POST
            && let Some((api, Operation::Chat | Operation::Embeddings)) = operation_at(request.uri().path())
        {
            let answer = chat::handle(app, api, request);
            return Either::Left(async move { cors::shown_to(page.as_ref(), answer.await) });
        }
        let service = Arc::clone(self);
        // Boxed, or every chat would be as large on its way to the connection.
        Either::Right(Box::pin(async move {
            match page {
                Some(page) if cors::is_preflight(request.method(), request.headers()) => {
                    cors::preflight(&page, request.headers())
                }
                page => cors::shown_to(page.as_ref(), service.route(request).await),
            }
        }))
    }

    /// Answers what is no chat.
    async fn route<B: RequestBody>(&self, mut request: Request<B>) -> Response {
        if let Some(app) = &self.gateway {
            let (uri, headers, now) = (request.uri(), request.headers(), app.gateway.clock.now());
            match access::authorize(&app.gateway.live.read(), request.version(), headers, uri, now) {
                Ok(caller) => request.extensions_mut().extend(caller.map(told).unwrap_or_default()),
                Err(why) => return refusal::unrecorded(app, spoken_at(uri.path(), headers), &why),
            }
        }
        if let Some(app) = &self.gateway
            && request.method() == Method::POST
            && let Some((api, Operation::Count)) = operation_at(request.uri().path())
        {
            return count::answer(app, api, request.map(Body::new)).await;
        }
        match self.router.clone().call(request.map(Body::new)).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// An address whose path ends in a slash, as scrapers and people write it, without: before anybody asks who may see it.
fn without_last_slash(uri: &Uri) -> Option<Uri> {
    let path = uri.path().strip_suffix('/').filter(|path| !path.is_empty())?;
    let path_and_query = uri.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path_and_query.parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// Who asks, for handlers.
fn told(caller: Arc<Caller>) -> Extensions {
    let mut told = Extensions::new();
    told.insert(caller);
    told
}

/// A request's body as it arrives.
trait RequestBody: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static {}
impl<B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static> RequestBody for B {}

/// A name that a client chose, as far as a message repeats it.
fn shortened(name: &str) -> &str {
    &name[..name.floor_char_boundary(100)]
}

/// Everything served but chats: path by path. What needs no key is in [`access::PUBLIC`].
fn routes() -> Vec<(&'static str, MethodRouter<Arc<App>>)> {
    [client_routes(), operator_routes()].concat()
}

/// What clients ask beside their chats.
fn client_routes() -> Vec<(&'static str, MethodRouter<Arc<App>>)> {
    vec![
        ("/v1/models", get(probe::models)),
        ("/models", get(probe::models)),
        ("/openai/models", get(probe::models)),
        ("/openai/v1/models", get(probe::models)),
        ("/v1/models/{*name}", get(probe::model)),
        ("/models/{*name}", get(probe::model)),
        ("/anthropic/v1/models", get(probe::models)),
        ("/anthropic/v1/models/{*name}", get(probe::model)),
        ("/v1beta/models", get(probe::models)),
        ("/v1beta/models/{*name}", get(probe::model)),
        ("/v1/model/info", get(info::models)),
        ("/model/info", get(info::models)),
        (count::COUNTER, post(count::counter)),
        ("/v1/responses/compact", post(refusal::no_compaction)),
        ("/responses/compact", post(refusal::no_compaction)),
        ("/openai/responses/compact", post(refusal::no_compaction)),
        ("/openai/v1/responses/compact", post(refusal::no_compaction)),
        ("/v1/responses/{id}", get(stored::get).delete(stored::delete)),
        ("/responses/{id}", get(stored::get).delete(stored::delete)),
        ("/v1/responses/{id}/input_items", get(stored::input)),
        ("/responses/{id}/input_items", get(stored::input)),
        ("/openai/responses/{id}", get(stored::get).delete(stored::delete)),
        ("/openai/v1/responses/{id}", get(stored::get).delete(stored::delete)),
        ("/openai/responses/{id}/input_items", get(stored::input)),
        ("/openai/v1/responses/{id}/input_items", get(stored::input)),
        ("/v1/files", get(files::list).post(files::upload)),
        ("/files", get(files::list).post(files::upload)),
        ("/v1/files/{id}", get(files::get).delete(files::delete)),
        ("/files/{id}", get(files::get).delete(files::delete)),
        ("/v1/files/{id}/content", get(files::content)),
        ("/files/{id}/content", get(files::content)),
        ("/v1/batches", get(batches::list).post(batches::create)),
        ("/batches", get(batches::list).post(batches::create)),
        ("/v1/batches/{id}", get(batches::get)),
        ("/batches/{id}", get(batches::get)),
        ("/v1/batches/{id}/cancel", post(batches::cancel)),
        ("/batches/{id}/cancel", post(batches::cancel)),
        ("/", get(probe::root)),
        ("/v1/feedback", post(feedback::give)),
        ("/feedback", post(feedback::give)),
    ]
}

/// What whoever runs the gateway asks: decisions, policies, keys, teams, spend, health.
fn operator_routes() -> Vec<(&'static str, MethodRouter<Arc<App>>)> {
    vec![
        ("/route/explain", post(explain::explain)),
        ("/admin/policies", get(admin::policies)),
        ("/admin/decisions/{id}", get(admin::decision)),
        ("/admin/learning", get(learning::figures)),
        ("/admin/learning/page", get(learning::page)),
        ("/admin/policies/history", get(rollout::history)),
        ("/admin/policies/{group}/{action}", post(rollout::act)),
        ("/key/generate", post(keys::generate)),
        ("/key/update", post(keys::update)),
        ("/key/delete", post(keys::delete)),
        ("/key/regenerate", post(keys::regenerate)),
        ("/key/{key}/regenerate", post(keys::regenerate)),
        ("/key/{key}/reset_spend", post(keys::reset_spend)),
        ("/key/block", post(keys::block)),
        ("/key/unblock", post(keys::unblock)),
        ("/key/info", get(keys::info)),
        ("/v2/key/info", post(keys::several)),
        ("/key/list", get(keys::list)),
        ("/key/aliases", get(keys::aliases)),
        ("/team/new", post(teams::new)),
        ("/team/update", post(teams::update)),
        ("/team/delete", post(teams::delete)),
        ("/team/block", post(teams::block)),
        ("/team/unblock", post(teams::unblock)),
        ("/team/info", get(teams::info)),
        ("/team/list", get(teams::list)),
        ("/spend/calculate", post(calculate::calculate)),
        ("/spend/logs", get(spend::logs)),
        ("/spend/tags", get(spend::tags)),
        ("/spend/keys", get(spend::kept_keys)),
        ("/spend/users", get(spend::users)),
        ("/global/spend", get(spend::total)),
        ("/global/spend/keys", get(spend::keys)),
        ("/global/spend/models", get(spend::models)),
        ("/health", get(health::connections).post(health::connections)),
        ("/health/liveliness", get(probe::alive)),
        ("/health/liveness", get(probe::alive)),
        ("/health/readiness", get(probe::ready)),
        ("/metrics", get(probe::metrics)),
    ]
}

fn router(app: Arc<App>) -> Router {
    let all = routes().into_iter().fold(Router::new(), |all, (path, route)| all.route(path, route));
    all.fallback(refusal::unknown_path).method_not_allowed_fallback(refusal::unknown_method).with_state(app)
}

#[cfg(test)]
mod tests;

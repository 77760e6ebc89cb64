use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, Version};

use super::*;
use crate::clock::Clock;
use crate::http::HttpUpstream;
use crate::pipeline::BlockingPool;
use crate::policy::EngineOptions;
use crate::reload::{ConfigSource, PolicySource, Sources};
use crate::start::{self, Assembled, Options};
use crate::telemetry::DroppedLines;

/// A gateway of one group that asks for the key `sk-m`.
fn service() -> Arc<HttpService> {
    let text = "model_list: [{model_name: g, litellm_params: {model: simulated/m}}]\n\
                general_settings: {master_key: sk-m}";
    let options = Options {
        sources: Sources {
            config: ConfigSource::Text(text.into()),
            policies: PolicySource::Memory(Arc::default()),
            ..Sources::default()
        },
        engine: EngineOptions::default(),
        environment: Arc::new(|_| None),
        clock: Clock::system(),
        seed: 1,
        dropped_lines: DroppedLines::default(),
    };
    let pool = BlockingPool::on_threads(NonZeroUsize::MIN);
    let Assembled { gateway, metrics, .. } = start::assemble(options, Arc::new(HttpUpstream::new()), pool).unwrap();
    let batches = Arc::new(Batches::new(Arc::clone(&gateway), None));
    Arc::new(HttpService::gateway(Arc::new(App {
        gateway,
        metrics,
        batches,
        stored: StoredReplies::default(),
        draining: AtomicBool::new(false),
    })))
}

async fn status(service: &Arc<HttpService>, method: Method, path: &str, key: Option<&str>) -> StatusCode {
    let mut request = Request::builder().method(method).uri(path);
    request = request.header("host", "localhost").header("content-type", "application/json");
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    service.answer(request.body(Body::from("{}")).unwrap()).await.status()
}

#[tokio::test]
async fn http_1_1_without_a_host_is_refused_and_older_ones_need_none() {
    let service = service();
    for (version, expected) in [(Version::HTTP_11, StatusCode::BAD_REQUEST), (Version::HTTP_10, StatusCode::OK)] {
        let request = Request::builder().version(version).uri("/health/liveness").body(Body::empty()).unwrap();
        assert_eq!(service.answer(request).await.status(), expected, "{version:?}");
    }
}

#[tokio::test]
async fn a_chat_whose_client_leaves_before_it_is_looked_at_is_recorded_too() {
    let service = service();
    let request = Request::builder().method(Method::POST).uri("/v1/chat/completions").body(Body::from("{}")).unwrap();
    drop(service.answer(request));
    let metrics = service.gateway.as_ref().unwrap().metrics.render(Vec::new()).unwrap();
    let line = "witgate_requests_total{group=\"\",api=\"openai\",ending=\"cancelled\",status=\"499\"} 1";
    assert!(metrics.lines().any(|found| found == line), "{metrics}");
}

#[tokio::test]
async fn an_address_with_a_slash_behind_it_is_the_one_without() {
    let service = service();
    for (path, key) in [("/metrics/", None), ("/health/liveliness/", None), ("/v1/models/?limit=1", Some("sk-m"))] {
        assert_eq!(status(&service, Method::GET, path, key).await, StatusCode::OK, "{path}");
    }
    assert_eq!(status(&service, Method::GET, "/v1/models/", None).await, StatusCode::UNAUTHORIZED);
}

/// Through the service itself, as a connection would ask it: every path there is, and some there are not.
#[tokio::test]
async fn without_a_key_nothing_is_open_but_what_is_listed() {
    let service = service();
    let chats = [
        "/v1/chat/completions",
        "/chat/completions",
        "/openai/deployments/g/chat/completions",
        "/v1/completions",
        "/v1/messages",
        "/v1/embeddings",
        "/v1/responses",
        "/v1/responses/input_tokens",
        "/v1/messages/count_tokens",
        "/v1beta/models/g:generateContent",
        "/v1beta/models/g:countTokens",
        "/v1beta1/projects/p/locations/l/publishers/google/models/g:generateContent",
    ];
    let unknown = ["/nothing/here", "/admin", "/admin/nothing", "/metrics//", "//metrics", "/v1/chat"];
    let served = routes().into_iter().map(|(path, _)| path);
    for path in served.clone().chain(chats).chain(unknown) {
        let public = access::PUBLIC.iter().any(|(public, _)| *public == path);
        for method in [Method::GET, Method::POST, Method::DELETE] {
            let asked = (method.clone(), path);
            let shown = status(&service, method.clone(), path, None).await;
            assert_eq!(shown != StatusCode::UNAUTHORIZED, public, "{asked:?}: {shown}");
            let wrong = status(&service, method.clone(), path, Some("sk-x")).await;
            assert_eq!(wrong != StatusCode::UNAUTHORIZED, public, "{asked:?}: {wrong}");
            let known = status(&service, method, path, Some("sk-m")).await;
            assert_ne!(known, StatusCode::UNAUTHORIZED, "{asked:?}");
        }
    }
    for path in chats {
        assert!(operation_at(path).is_some(), "{path}");
    }
    for (path, _) in access::PUBLIC {
        assert!(served.clone().any(|route| route == path), "{path} is listed and not served");
    }
}

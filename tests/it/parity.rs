//! One scenario, one pipeline, two worlds: over sockets in real time and in process on the paused clock. What is
//! decided must be the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use witgate::catalog::SimulatedModel;
use witgate::clock::Clock;
use witgate::config::yaml;
use witgate::fault::{AttemptFault, FaultKind};
use witgate::format::{Anthropic, ClientApi, OpenAi};
use witgate::provider::simulated::Simulated;
use witgate::upstream::{Upstream, UpstreamRequest, UpstreamResponse};

use crate::support::fixture;
use crate::support::gateway::Gateway;
use crate::support::virtual_time::{BEGIN, ask, assemble_over};

#[derive(Deserialize)]
struct Scenario {
    config: String,
    dies_after: BTreeMap<String, u32>,
    requests: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    words: usize,
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    api: Option<String>,
    #[serde(default)]
    max_tokens: Option<u32>,
    #[serde(default)]
    repeat: Option<u32>,
}

impl Step {
    fn api(&self) -> &'static dyn ClientApi {
        if self.api.as_deref() == Some("anthropic") { &Anthropic } else { &OpenAi }
    }

    fn body(&self) -> Value {
        let text = "word ".repeat(self.words);
        json!({"model": "g", "stream": self.stream, "max_tokens": self.max_tokens.unwrap_or(20),
            "messages": [{"role": "user", "content": text}]})
    }
}

/// Deployments that answer as the simulated provider does until their time has come.
struct Mortals {
    alive: Simulated,
    dead: Simulated,
    left: BTreeMap<String, AtomicU32>,
}

impl Mortals {
    fn new(clock: Clock, dies_after: &BTreeMap<String, u32>) -> Self {
        let with = |error_rate| {
            let model = Arc::new(SimulatedModel { error_rate, output_tokens: 5, ..SimulatedModel::default() });
            Simulated::new(clock, ["a", "b", "c"].map(|id| (id.into(), Arc::clone(&model))).into())
        };
        let left = dies_after.iter().map(|(id, calls)| (id.clone(), AtomicU32::new(*calls))).collect();
        Self { alive: with(0.0), dead: with(1.0), left }
    }

    /// `path` is `/ID/v1/…`.
    async fn answer(&self, path: &str, body: Bytes) -> Option<UpstreamResponse> {
        let id = path.split('/').nth(1)?;
        let rest = &path[1 + id.len()..];
        let dead = self.left.get(id).is_some_and(|left| {
            left.try_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1)).is_err()
        });
        if dead { self.dead.respond(rest, body).await } else { self.alive.respond(rest, body).await }
    }
}

/// The deployments in process.
struct InProcess(Mortals);

impl Upstream for InProcess {
    fn send(&self, call: UpstreamRequest) -> BoxFuture<'_, Result<UpstreamResponse, AttemptFault>> {
        async move {
            let path = call.url.strip_prefix("http://virtual").unwrap_or_default();
            let answer = self.0.answer(path, call.body.clone()).await;
            answer.ok_or_else(|| AttemptFault::new(FaultKind::Misconfigured, "nothing there"))
        }
        .boxed()
    }
}

/// The deployments on a port.
async fn on_a_port(mortals: Mortals) -> String {
    async fn handle(State(mortals): State<Arc<Mortals>>, request: Request) -> Response {
        let path = request.uri().path().to_owned();
        let body = to_bytes(request.into_body(), usize::MAX).await.expect("a body");
        let Some(answer) = mortals.answer(&path, body).await else {
            return axum::http::StatusCode::NOT_FOUND.into_response();
        };
        let mut response = Response::new(Body::from_stream(answer.body));
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        response
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let origin = format!("http://{}", listener.local_addr().expect("an address"));
    let router = axum::Router::new().fallback(handle).with_state(Arc::new(mortals));
    tokio::spawn(async move { axum::serve(listener, router).await });
    origin
}

fn scenario() -> Scenario {
    let file = fixture("pipeline/three-deployments.yaml");
    let text = std::fs::read_to_string(&file).expect("the scenario");
    yaml::read(&text, "three-deployments.yaml").unwrap_or_else(|problems| panic!("{problems}"))
}

/// Who served each request after how many attempts, or why nobody did.
fn live(scenario: &Scenario) -> Vec<String> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let origin = on_a_port(Mortals::new(Clock::system(), &scenario.dies_after)).await;
        let gateway = Gateway::start(&scenario.config.replace("ORIGIN", &origin)).await;
        let mut decisions = Vec::new();
        for step in &scenario.requests {
            for _ in 0..step.repeat.unwrap_or(1) {
                let path = if step.api().name() == "openai" { "/v1/chat/completions" } else { "/v1/messages" };
                let answer = gateway.post(path, &step.body()).await;
                decisions.push(match answer.status {
                    200 => format!("{} {}", answer.header("x-witgate-deployment"), answer.header("x-witgate-attempts")),
                    _ => answer.header("x-witgate-refusal").to_owned(),
                });
            }
        }
        decisions
    })
}

fn virtually(scenario: &Scenario) -> Vec<String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let mortals = Mortals::new(Clock::starting_at(BEGIN), &scenario.dies_after);
        let gateway = assemble_over(&scenario.config.replace("ORIGIN", "http://virtual"), Arc::new(InProcess(mortals)));
        let mut decisions = Vec::new();
        for step in &scenario.requests {
            for _ in 0..step.repeat.unwrap_or(1) {
                decisions.push(match ask(&gateway, step.api(), &step.body()).await {
                    Ok((about, _)) => format!("{} {}", about.deployment, about.attempts),
                    Err(refusal) => refusal.kind.as_str().to_owned(),
                });
            }
        }
        decisions
    })
}

#[test]
fn live_and_virtual_decide_alike() {
    let scenario = scenario();
    let decided = virtually(&scenario);
    assert_eq!(decided, live(&scenario));
    assert_eq!(decided, virtually(&scenario), "and the same again");
    let all = decided.join(", ");
    assert!(all.contains("a 1") && all.contains("b 1") && all.contains("c 1"), "every deployment served: {all}");
    assert!(all.contains(" 2"), "somebody took over from the dead one: {all}");
    assert!(all.ends_with("never-fits"), "the last can never fit: {all}");
}

//! The providers of a plan: each takes as long and says as much as is expected of it, and counts input by its model's own encoding.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream;
use http::{HeaderMap, StatusCode, Uri};

use crate::catalog::Deployment;
use crate::chat::{Choice, FinishReason, Part, Reply, Rest, Usage};
use crate::fault::{AttemptFault, FaultKind};
use crate::format::{self, ClientRequest};
use crate::provider::simulated::OUTPUT_TOLD;
use crate::tokens;
use crate::upstream::{Upstream, UpstreamRequest, UpstreamResponse};

/// How the addresses of planned providers begin.
const ORIGIN: &str = "http://planned.invalid/";

/// What is expected of one model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expectation {
    /// Output tokens for a text.
    pub output_tokens: u32,
    /// Until the first token.
    pub first_token: Duration,
    /// Output tokens a second after it.
    pub tokens_per_second: f64,
    /// Whether replies that were kept say so, rather than the file or nobody.
    pub learned: bool,
}

/// What is expected of models.
#[derive(Debug)]
pub struct Expectations {
    /// What is expected of a model of which nothing is known.
    pub otherwise: Expectation,
    /// By the model as its provider names it.
    pub models: BTreeMap<String, Expectation>,
    /// By place.
    places: Mutex<Vec<Expectation>>,
}

impl Expectations {
    /// Of models, and of those that are not among them.
    #[must_use]
    pub fn new(models: BTreeMap<String, Expectation>, otherwise: Expectation) -> Self {
        Self { otherwise, models, places: Mutex::default() }
    }

    /// What is expected of a model.
    #[must_use]
    pub fn of(&self, model: &str) -> Expectation {
        self.models.get(model).copied().unwrap_or(self.otherwise)
    }

    /// A place by which a planned deployment's provider is known.
    pub(super) fn place(&self, deployment: &Deployment) -> usize {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.push(self.of(&deployment.model));
        places.len() - 1
    }

    fn at(&self, place: usize) -> Option<Expectation> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).get(place).copied()
    }
}

/// Where the provider at a place is.
pub(super) fn origin(place: usize) -> String {
    format!("{ORIGIN}{place}")
}

/// The planned providers.
pub(super) struct PlannedUpstream(pub(super) Arc<Expectations>);

impl Upstream for PlannedUpstream {
    fn send(&self, call: UpstreamRequest) -> BoxFuture<'_, Result<UpstreamResponse, AttemptFault>> {
        let place = call.url.strip_prefix(ORIGIN).and_then(|rest| rest.split('/').next()?.parse().ok());
        let expected = place.and_then(|place| self.0.at(place));
        Box::pin(async move {
            let Some(expected) = expected else {
                let message = "a plan calls no provider on the network";
                return Err(AttemptFault::new(FaultKind::Misconfigured, message).before_sending());
            };
            call.sent.tell();
            let (_, api) = format::own();
            let request = api.parse(&ClientRequest::post(Uri::default(), call.body)).map_err(|refusal| {
                AttemptFault::new(FaultKind::Rejected, format!("the plan cannot read a request: {}", refusal.message))
            })?;
            let wanted = request.rest.get(OUTPUT_TOLD).and_then(serde_json::Value::as_u64);
            let wanted = wanted.unwrap_or_else(|| expected.output_tokens.into());
            let output_tokens = request.max_tokens.map_or(wanted, |most| wanted.min(most.into()));
            let input_tokens = tokens::count(&request, &request.model).tokens;
            #[expect(clippy::cast_precision_loss, reason = "tokens of one reply")]
            let writing = Duration::try_from_secs_f64(output_tokens as f64 / expected.tokens_per_second);
            tokio::time::sleep(expected.first_token + writing.unwrap_or_default()).await;
            let reply = Reply {
                id: "planned".to_owned(),
                model: request.model.clone(),
                created: None,
                choices: vec![Choice {
                    index: 0,
                    parts: vec![Part::text("planned")],
                    finish: Some(FinishReason::Stop),
                    rest: Rest::new(),
                    message_rest: Rest::new(),
                    logprobs: Vec::new(),
                }],
                usage: Some(Usage { input_tokens, output_tokens, ..Usage::default() }),
                dialect: request.dialect,
                rest: Rest::new(),
            };
            let body: Bytes = api.reply(&reply);
            let body = Box::pin(stream::once(async move { Ok(body) }));
            Ok(UpstreamResponse { status: StatusCode::OK, headers: HeaderMap::new(), body })
        })
    }
}

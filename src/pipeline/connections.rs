//! Whether every deployment answers: one tiny request to each, of one output token, reserved and settled like any other.
//!
//! No router is asked and no breaker told: it says what is so, and steers nothing. What a provider says is scrubbed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use http::Uri;
use secrecy::SecretString;

use crate::catalog::Origin;
use crate::chat::ChatRequest;
use crate::config;
use crate::fault::{AttemptFault, FaultKind};
use crate::format::{ClientRequest, Target, operation_at};
use crate::id::{DeploymentId, GroupName};
use crate::limits::{Certainty, Decision, ReserveRequest};
use crate::snapshot::DeploymentRuntime;

use super::scrub::scrubbed;
use super::{Estimate, Gateway, call};

/// As a client would ask it: for a reply, or for vectors.
const REPLY: (&str, &str) =
    ("/v1/chat/completions", r#"{"model": "-", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}"#);
const VECTORS: (&str, &str) = ("/v1/embeddings", r#"{"model": "-", "input": "hi"}"#);
/// How long an answer may take.
const LONGEST: Duration = Duration::from_secs(30);
/// Asked at once.
const AT_ONCE: usize = 8;

/// What became of asking one deployment.
#[derive(Clone, Debug)]
pub struct ConnectionTest {
    /// Which.
    pub deployment: DeploymentId,
    /// A group it serves.
    pub group: GroupName,
    /// Its provider, as the configuration spells it.
    pub provider: String,
    /// The model that was asked, as the provider names it.
    pub model: String,
    /// Where it is; `None` where that is this process.
    pub address: Option<Arc<str>>,
    /// How long the answer took.
    pub took: Duration,
    /// Why there was none; `None` where it answered.
    pub fault: Option<AttemptFault>,
}

impl Gateway {
    /// Asks every deployment, or those of the group or with the id `only`, in the order of the configuration.
    pub async fn test_connections(&self, only: Option<&str>) -> Vec<ConnectionTest> {
        let snapshot = self.live.read();
        let mut seen = BTreeSet::new();
        let mut wanted = Vec::new();
        for group in snapshot.groups.values() {
            for deployment in &group.deployments {
                let id = &deployment.config.id;
                let named = only.is_none_or(|only| only == group.config.name.as_str() || only == id.as_str());
                if named && seen.insert(id.clone()) {
                    wanted.push((group.config.name.clone(), deployment.any_model()));
                }
            }
        }
        let tests = wanted.into_iter().map(|(group, deployment)| self.test_connection(group, deployment));
        futures_util::stream::iter(tests).buffered(AT_ONCE).collect().await
    }

    async fn test_connection(&self, group: GroupName, deployment: Arc<DeploymentRuntime>) -> ConnectionTest {
        let began = self.clock.now();
        let mut sent = Vec::new();
        let asked = tokio::time::timeout(LONGEST, self.ask(&deployment, &mut sent)).await;
        let fault = asked.unwrap_or_else(|_elapsed| {
            let message = format!("no answer within {} s", LONGEST.as_secs());
            Err(AttemptFault::new(FaultKind::TimedOut, message))
        });
        let config = &deployment.config;
        ConnectionTest {
            group,
            deployment: config.id.clone(),
            provider: config.provider.to_string(),
            model: config.model.to_string(),
            address: match &config.origin {
                Origin::Http(base) => Some(Arc::clone(base)),
                Origin::Simulated(_) => None,
            },
            took: self.clock.now().since(began),
            fault: fault.err().map(|fault| scrubbed(fault, config, &sent)),
        }
    }

    /// Reserves, asks, and settles with what was reserved.
    async fn ask(&self, deployment: &Arc<DeploymentRuntime>, sent: &mut Vec<SecretString>) -> Result<(), AttemptFault> {
        let request = request(if deployment.config.makes_vectors { VECTORS } else { REPLY })?;
        let estimate = Estimate::of(&request);
        let demand = estimate.demand(deployment);
        let snapshot = self.live.read();
        let now = self.clock.now();
        let wanted = ReserveRequest {
            request: self.new_id(),
            attempt: 0,
            shared: &snapshot.callers.admin.scopes,
            shared_demand: demand,
            candidates: &[(deployment.scope, demand)],
            certainty: Certainty::Counted,
        };
        let Decision::Granted { shared, own, .. } = self.limits.reserve(now, wanted).await else {
            return Err(AttemptFault::new(FaultKind::RateLimited, "its limits are used up now: nothing was sent"));
        };
        let answer = self.answered(&request, deployment, sent).await;
        let now = self.clock.now();
        let was_sent = answer.as_ref().err().is_none_or(AttemptFault::was_sent);
        for reservation in shared.into_iter().chain([own]) {
            if was_sent {
                self.limits.settle(now, reservation, demand);
            } else {
                self.limits.refund(now, reservation);
            }
        }
        self.capacity.notify();
        answer
    }

    /// What authorised the request is put into `sent`.
    async fn answered(
        &self,
        request: &ChatRequest,
        runtime: &Arc<DeploymentRuntime>,
        sent: &mut Vec<SecretString>,
    ) -> Result<(), AttemptFault> {
        let config = &runtime.config;
        let target =
            Target { api_version: config.api_version.as_deref(), ..Target::plain(&config.model, config.quirks, 1) };
        let encoded = match request.vectors {
            Some(_) => runtime.format.encode_vectors(request, &target),
            None => runtime.format.encode(request, &target),
        };
        let encoded = encoded.map_err(AttemptFault::before_sending)?;
        let mut outgoing = call::outgoing(runtime, encoded, false);
        runtime.authorization.apply(&mut outgoing, self.clock.now()).await.map_err(AttemptFault::before_sending)?;
        *sent = outgoing.secrets();
        let answer = runtime.transport.send(outgoing).await?;
        let (status, headers) = (answer.status, answer.headers.clone());
        let body = call::collect(&headers, answer.body, call::MAX_ERROR, |_| Ok(())).await?;
        if status.is_success() {
            match request.vectors {
                Some(_) => runtime.format.decode_vectors(&body).map(drop),
                None => runtime.format.decode(&body).map(drop),
            }
        } else {
            Err(runtime.format.decode_error(status.as_u16(), &headers, &body))
        }
    }
}

fn request((path, body): (&'static str, &'static str)) -> Result<ChatRequest, AttemptFault> {
    let unread = || AttemptFault::new(FaultKind::Gateway, "the request could not be made");
    let (api, _) = operation_at(path).ok_or_else(unread)?;
    api.parse(&ClientRequest::post(Uri::from_static(path), body)).map_err(|_| unread())
}

impl DeploymentRuntime {
    /// Itself, or, where it stands for many models, as the first that is known.
    fn any_model(self: &Arc<Self>) -> Arc<Self> {
        let Some(wildcard) = &self.config.wildcard else { return Arc::clone(self) };
        let stars = self.config.model.matches('*').count();
        let known = config::known_models(wildcard).find_map(|model| {
            let fits = crate::catalog::Pattern::parse(&self.config.model)?;
            fits.parts(model).filter(|parts| parts.len() == stars).map(|_| model)
        });
        known.and_then(|model| self.with_model(wildcard, model)).unwrap_or_else(|| Arc::clone(self))
    }
}

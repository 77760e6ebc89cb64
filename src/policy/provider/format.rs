//! A component as one of the formats a provider is spoken to in.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::SecretString;

use super::stream::{ComponentStream, chunk};
use super::{ProviderPolicy, wit};
use crate::chat::{ChatRequest, Choice, Delta, Dialect, FinishReason, PartsOfDeltas, Reply, Rest};
use crate::fault::{AttemptFault, FaultKind};
use crate::format::{self, Encoded, ProviderFormat, StreamDecoder, Target};
use crate::id::RequestId;
use crate::moment::Moment;
use crate::policy::host::{CallContext, Lent, PolicyFault};

/// The dialect of what components read: nothing in it but what is canonical.
pub(super) const DIALECT: Dialect = Dialect::named("policy");

/// Bytes of a path.
const PATH_BYTES: usize = 2048;

/// The format of one deployment.
#[derive(Clone)]
pub struct ComponentFormat {
    policy: Arc<ProviderPolicy>,
    /// Whose way of carrying a key it shares.
    base: &'static dyn ProviderFormat,
    /// For which request its calls are, and when.
    call: CallContext,
}

impl ComponentFormat {
    /// `policy` writes and reads bodies; requests are authorised as `base` authorises them.
    #[must_use]
    pub fn new(policy: Arc<ProviderPolicy>, base: &'static dyn ProviderFormat) -> Self {
        Self { policy, base, call: CallContext::new(Moment::default(), None) }
    }

    /// The same for the calls of one request at this time.
    #[must_use]
    pub fn serving(&self, request: Option<RequestId>, now: Moment) -> Self {
        Self { call: CallContext::new(now, request), ..self.clone() }
    }

    /// The policy that speaks.
    #[must_use]
    pub const fn policy(&self) -> &Arc<ProviderPolicy> {
        &self.policy
    }

    /// What a fault of the component's is to the attempt.
    fn failed(&self, kind: FaultKind, fault: &PolicyFault) -> AttemptFault {
        AttemptFault::new(kind, format!("the provider policy `{}` {fault}", self.policy.component().name()))
    }

    fn lend(&self, kind: FaultKind, call: CallContext) -> Result<Lent<super::Providing>, AttemptFault> {
        Lent::of(&self.policy, call).map_err(|fault| self.failed(kind, &fault))
    }

    fn checked(&self, encoded: wit::Encoded) -> Result<Encoded, AttemptFault> {
        let broken = |why: String| {
            let fault = self.policy.failed_for(PolicyFault::Contract(why), self.call.request());
            self.failed(FaultKind::Misconfigured, &fault)
        };
        let wit::Encoded { path, headers, body, dropped } = encoded;
        let plain = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#' && byte != b'\\');
        if !path.starts_with('/') || path.starts_with("//") || !plain || path.contains("..") || path.len() > PATH_BYTES
        {
            return Err(broken("a path that is none below the deployment's address".to_owned()));
        }
        let mut allowed = HeaderMap::new();
        for wit::Header { name, value } in headers {
            let known = HeaderName::from_bytes(name.as_bytes()).ok().filter(|name| is_allowed(name.as_str()));
            match known.zip(HeaderValue::from_str(&value).ok()) {
                Some((name, value)) => drop(allowed.insert(name, value)),
                None => return Err(broken(format!("the header `{}`, which it may not set", name.escape_debug()))),
            }
        }
        Ok(Encoded { path, headers: allowed, body: Bytes::from(body), dropped, lost: Vec::new() })
    }
}

/// Neither where a request goes, nor who sends it, nor how it is framed.
fn is_allowed(name: &str) -> bool {
    name == "accept" || ["-version", "-beta", "-features", "-client-name"].iter().any(|end| name.ends_with(end))
}

/// A fault as the component tells it.
pub(super) fn told(kind: FaultKind, fault: wit::Fault) -> AttemptFault {
    let wit::Fault { message, code, param } = fault;
    AttemptFault { code, param, ..AttemptFault::new(kind, message) }
}

impl ProviderFormat for ComponentFormat {
    fn name(&self) -> &'static str {
        DIALECT.as_str()
    }

    fn path_endings(&self) -> &'static [&'static str] {
        self.base.path_endings()
    }

    fn organization_header(&self) -> Option<HeaderName> {
        self.base.organization_header()
    }

    fn encode(&self, request: &ChatRequest, target: &Target<'_>) -> Result<Encoded, AttemptFault> {
        let Encoded { body, dropped, lost, .. } = format::in_common_words(request, target)?;
        let about = wit::Target {
            model: target.model,
            api_version: target.api_version,
            max_output_tokens: target.default_max_tokens,
        };
        let mut lent = self.lend(FaultKind::Misconfigured, self.call)?;
        let answer = lent.call(self.call.now(), |instance, budget| instance.encode(budget, &body, about));
        let answer = answer.map_err(|fault| self.failed(FaultKind::Misconfigured, &fault))?;
        let mut encoded = match answer {
            Ok(answer) => self.checked(answer)?,
            Err(fault) => {
                lent.hand_back();
                self.policy.refused();
                return Err(told(FaultKind::Rejected, fault));
            }
        };
        // The use is good when the reply is read too.
        lent.hand_back();
        encoded.dropped.extend(dropped);
        encoded.lost = lost;
        Ok(encoded)
    }

    fn decode(&self, body: &[u8]) -> Result<Reply, AttemptFault> {
        let mut lent = self.lend(FaultKind::BrokenStream, self.call.going_on())?;
        let answer = lent.call(self.call.now(), |instance, budget| instance.decode(budget, body));
        let answer = answer.map_err(|fault| self.failed(FaultKind::BrokenStream, &fault))?;
        lent.give_back();
        Ok(reply(answer.map_err(|fault| told(FaultKind::BrokenStream, fault))?))
    }

    fn decode_error(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> AttemptFault {
        let words = self.lend(FaultKind::Unavailable, self.call.going_on()).and_then(|mut lent| {
            let answer = lent.call(self.call.now(), |instance, budget| instance.decode_error(budget, status, body));
            let answer = answer.map_err(|fault| self.failed(FaultKind::Unavailable, &fault))?;
            // That the provider refuses shows nothing of how its replies are read.
            lent.hand_back();
            Ok(told(FaultKind::Unavailable, answer))
        });
        format::refusal_of(status, headers, words.unwrap_or_else(|fault| fault))
    }

    fn stream(&self) -> Box<dyn StreamDecoder> {
        Box::new(ComponentStream::begin(&self.policy, self.call.going_on()))
    }

    fn is_slow(&self) -> bool {
        self.policy.is_slow()
    }

    fn credential_header(&self, key: &SecretString, api_version: Option<&str>) -> Option<(HeaderName, HeaderValue)> {
        self.base.credential_header(key, api_version)
    }
}

/// A whole reply of its events.
fn reply(events: Vec<wit::Event>) -> Reply {
    let mut reply = Reply {
        id: String::new(),
        model: String::new(),
        created: None,
        choices: Vec::new(),
        usage: None,
        dialect: DIALECT,
        rest: Rest::new(),
    };
    let (mut parts, mut finish, mut logprobs) = (PartsOfDeltas::default(), None, Vec::new());
    for delta in events.into_iter().filter_map(chunk).map(|chunk| chunk.delta) {
        match delta {
            Delta::Start { id, model, .. } => (reply.id, reply.model) = (id, model),
            Delta::Usage(usage) => reply.usage = Some(*usage),
            Delta::Finish(reason) => finish = Some(reason),
            Delta::Logprobs(more) => logprobs.extend(more),
            other => parts.add(other),
        }
    }
    let (parts, finish) = (parts.into_parts(), finish.or(Some(FinishReason::Stop)));
    reply.choices.push(Choice { index: 0, parts, finish, logprobs, rest: Rest::new(), message_rest: Rest::new() });
    reply
}

//! The pipeline's only door to providers: one call out, one answer back, its body in pieces.
//!
//! Real HTTP and the in-process simulated provider both stand behind [`Upstream`], so nothing above
//! knows which it speaks to. Dropping the future or the body ends the call at once.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::future::BoxFuture;
use http::{HeaderMap, StatusCode};
use secrecy::SecretString;

use crate::fault::AttemptFault;

/// One call to a provider: always a POST of JSON.
#[derive(Clone, Debug)]
pub struct UpstreamRequest {
    /// Scheme, host and path.
    pub url: String,
    /// Headers, the credential among them (marked sensitive).
    pub headers: HeaderMap,
    /// The JSON body.
    pub body: Bytes,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// Who wants to know when it was sent.
    pub sent: Sent,
}

impl UpstreamRequest {
    /// What authorises it, as it stands in its headers, with and without the word before it: to be taken out of what is answered.
    #[must_use]
    pub fn secrets(&self) -> Vec<SecretString> {
        let values = self.headers.values().filter(|value| value.is_sensitive()).filter_map(|value| value.to_str().ok());
        values
            .flat_map(|value| [Some(value), value.rsplit_once(' ').map(|(_, last)| last)])
            .flatten()
            .map(Into::into)
            .collect()
    }
}

/// Told when the last byte of a request was handed to its connection; again where the request is sent again.
#[derive(Clone, Default)]
pub struct Sent(Option<Arc<dyn Fn() + Send + Sync>>);

impl Sent {
    /// Calls `act`.
    pub fn new(act: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(act)))
    }

    /// It was sent.
    pub fn tell(&self) {
        if let Some(act) = &self.0 {
            act();
        }
    }
}

impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Sent" } else { "-" })
    }
}

/// How long a call may take. The total time of a request is the pipeline's to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the connection stands.
    pub connect: Duration,
    /// Until the response's head has come, from the start of the call.
    pub first_byte: Duration,
    /// Between two pieces of the body.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), first_byte: Duration::from_secs(600), idle: Duration::from_secs(120) }
    }
}

/// The pieces of a body; a fault is the last item.
pub type Body = Pin<Box<dyn Stream<Item = Result<Bytes, AttemptFault>> + Send>>;

/// The head of an answer, its body still to come.
pub struct UpstreamResponse {
    /// The provider's status.
    pub status: StatusCode,
    /// The provider's headers.
    pub headers: HeaderMap,
    /// The body, with the idle timeout kept inside.
    pub body: Body,
}

/// Where calls go.
pub trait Upstream: Send + Sync {
    /// Sends a call and waits for the head of the answer.
    ///
    /// # Errors
    /// `Unavailable` where no connection could be had or it broke, `TimedOut` where a timeout ran out.
    /// The message names the host and the cause, never a header.
    fn send(&self, call: UpstreamRequest) -> BoxFuture<'_, Result<UpstreamResponse, AttemptFault>>;
}

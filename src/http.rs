//! Calls to providers over real HTTP.
//!
//! One call is one request: nothing is retried, redirected or sent through a proxy here, because an attempt
//! is reserved and recorded by the layers above, and a credential must reach the deployment's origin and no
//! other place. (`HTTP_PROXY` and its kin are not read.) A fault names host and cause, never a header, a
//! path or a query.

use std::collections::BTreeMap;
use std::error::Error;
use std::pin::Pin;
use std::sync::{PoisonError, RwLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, Stream};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use reqwest::{Client, Request, Url};
use tokio::time::{Instant, Sleep};

use crate::fault::{AttemptFault, FaultKind};
use crate::upstream::{Answer, Body, Call, Upstream};

pub use ask::get_json;
pub use scrub::scrub;

mod ask;
mod scrub;
#[cfg(test)]
mod tests;

/// Connections that nobody uses are closed after this long, before the load balancers in front of the large
/// providers (60 s and more) do it under a request.
const POOL_IDLE: Duration = Duration::from_secs(55);

/// The providers on the network. One for the process: connections live in it and survive reloads.
///
/// Plain and encrypted origins have clients of their own, each built at its first call: a gateway that speaks
/// only to local servers never reads the system's certificates and runs where there are none.
#[derive(Debug, Default)]
pub struct HttpUpstream {
    clients: RwLock<BTreeMap<Kind, Client>>,
}

/// What sets two clients apart. The connect timeout belongs to a client, not to a request; configurations
/// hold a handful of different ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    encrypted: bool,
    connect: Duration,
}

impl HttpUpstream {
    /// No connection is made and no certificate read before the first call.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Clones are cheap and share their pool.
    fn client(&self, kind: Kind) -> Result<Client, reqwest::Error> {
        if let Some(client) = self.clients.read().unwrap_or_else(PoisonError::into_inner).get(&kind) {
            return Ok(client.clone());
        }
        let mut clients = self.clients.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&kind) {
            return Ok(client.clone());
        }
        let client = build(kind)?;
        clients.insert(kind, client.clone());
        Ok(client)
    }

    async fn call(&self, call: Call) -> Result<Answer, AttemptFault> {
        let Call { url, headers, body, timeouts } = call;
        let url = Url::parse(&url).map_err(|cause| {
            let message = format!("the deployment's `api_base` is not a URL: {cause}");
            AttemptFault::new(FaultKind::Misconfigured, message).before_sending()
        })?;
        let host = host_of(&url);
        let kind = Kind { encrypted: url.scheme() == "https", connect: timeouts.connect };
        let client = self.client(kind).map_err(|cause| {
            let cause = root(&cause);
            AttemptFault::new(FaultKind::Unavailable, format!("{host}: cannot set up TLS: {cause}")).before_sending()
        })?;
        let mut request = Request::new(Method::POST, url);
        *request.headers_mut() = headers;
        request.headers_mut().entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        *request.body_mut() = Some(body.into());
        let mut response = match tokio::time::timeout(timeouts.first_byte, client.execute(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(cause)) => return Err(no_answer(&host, &cause, timeouts.connect)),
            Err(_) => {
                let message = format!("{host}: no answer within {:?}", timeouts.first_byte);
                return Err(AttemptFault::new(FaultKind::TimedOut, message));
            }
        };
        let status = response.status();
        let headers = std::mem::take(response.headers_mut());
        let pieces = Box::pin(response.bytes_stream());
        let body: Body = Box::pin(Pieces { inner: pieces, host, idle: timeouts.idle, timer: None, waiting: false });
        Ok(Answer { status, headers, body })
    }
}

impl Upstream for HttpUpstream {
    fn send(&self, call: Call) -> BoxFuture<'_, Result<Answer, AttemptFault>> {
        self.call(call).boxed()
    }
}

fn build(kind: Kind) -> Result<Client, reqwest::Error> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Only one can be first; whoever is second finds the same one installed.
        drop(rustls::crypto::ring::default_provider().install_default());
    }
    let mut builder = Client::builder()
        .connect_timeout(kind.connect)
        .no_proxy()
        .pool_idle_timeout(POOL_IDLE)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        .tcp_nodelay(true)
        .user_agent(concat!("witgate/", env!("CARGO_PKG_VERSION")));
    if !kind.encrypted {
        // Trusting nobody is right where nothing is encrypted, and leaves the certificate store unread.
        builder = builder.tls_certs_only([]);
    }
    builder.build()
}

/// Host and port, as far as a message may tell.
fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or("(no host)");
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The innermost cause: the outer ones say that something failed, this one says what.
fn root(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

fn no_answer(host: &str, error: &reqwest::Error, connect: Duration) -> AttemptFault {
    if error.is_timeout() {
        let message = format!("{host}: no connection within {connect:?}");
        return AttemptFault::new(FaultKind::TimedOut, message).before_sending();
    }
    let what = if error.is_connect() { "cannot connect" } else { "the connection broke before the answer" };
    let fault = AttemptFault::new(FaultKind::Unavailable, format!("{host}: {what}: {}", root(error)));
    if error.is_connect() { fault.before_sending() } else { fault }
}

/// A reply's body. The idle time counts while somebody waits for a piece, so that a slow reader of ours is
/// not the provider's fault; a piece that is already there costs no timer.
struct Pieces<S> {
    inner: Pin<Box<S>>,
    host: String,
    idle: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl<S: Stream<Item = reqwest::Result<Bytes>>> Stream for Pieces<S> {
    type Item = Result<Bytes, AttemptFault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Poll::Ready(piece) = this.inner.as_mut().poll_next(cx) {
            this.waiting = false;
            return Poll::Ready(piece.map(|piece| {
                piece.map_err(|cause| {
                    let message = format!("{}: the reply broke off: {}", this.host, root(&cause));
                    AttemptFault::new(FaultKind::BrokenStream, message)
                })
            }));
        }
        let idle = this.idle;
        let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
        if !this.waiting {
            this.waiting = true;
            if let Some(deadline) = Instant::now().checked_add(idle) {
                timer.as_mut().reset(deadline);
            }
        }
        ready!(timer.as_mut().poll(cx));
        this.waiting = false;
        let message = format!("{}: nothing of the reply came for {idle:?}", this.host);
        Poll::Ready(Some(Err(AttemptFault::new(FaultKind::TimedOut, message))))
    }
}

//! Calls to providers over real HTTP.
//!
//! One call is one request: nothing that was sent is retried and nothing is redirected here, because an attempt is reserved and
//! recorded by the layers above, and a credential must reach the deployment's origin and no other place: a proxy carries what
//! is encrypted, and plain requests go through none. A fault names host and cause, never a header, a
//! path or a query.

use std::collections::HashMap;
use std::error::Error;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, Stream};
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, Request, Uri};
use hyper::body::Body as _;
use rustls::ClientConfig;
use tokio::time::{Instant, Sleep};

use crate::fault::{AttemptFault, FaultKind};
use crate::upstream::{Body, Upstream, UpstreamRequest, UpstreamResponse};

pub use ask::{get_json, post_json, tell};
pub use aws_role::AwsRoleKeys;
pub use aws_signature::AwsSignature;
pub use azure_token::AzureToken;
pub use client_token::ClientToken;
pub use google_token::GoogleToken;
pub use scrub::scrub;

use connect::{Client, ClientKey, ConnectTimedOut, ReplyBody};
use http1_pool::SendError;
use outgoing::Outgoing;
use proxy::Proxies;

mod ask;
mod aws_role;
mod aws_signature;
mod azure_token;
mod client_token;
mod connect;
mod google_token;
mod http1_pool;
mod kept;
mod outgoing;
mod proxy;
mod scrub;
#[cfg(test)]
mod tests;

const USER_AGENT_VALUE: HeaderValue = HeaderValue::from_static(concat!("witgate/", env!("CARGO_PKG_VERSION")));

/// The providers on the network. One for the process: connections live in it and survive reloads.
///
/// Plain and encrypted origins have clients of their own, each built at its first call: a gateway that speaks
/// only to local servers never reads the system's certificates and runs where there are none. Each thread has its own,
/// because a connection belongs to the event loop that opened it, and another one would have to wake that first.
#[derive(Debug, Default)]
pub struct HttpUpstream {
    clients: RwLock<HashMap<ClientKey, ThreadClient>>,
    tls: OnceLock<ClientConfig>,
    proxies: Proxies,
}

/// A client, and whether the thread that uses it is still there.
#[derive(Debug)]
struct ThreadClient {
    thread: Weak<()>,
    client: Arc<Client>,
}

thread_local! {
    /// Gone when the thread has ended.
    static ALIVE: Arc<()> = Arc::new(());
}

impl HttpUpstream {
    /// No connection is made and no certificate read before the first call.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with encrypted origins reached through the proxy that `HTTPS_PROXY` and `NO_PROXY` of `environment` say.
    #[must_use]
    pub fn through(environment: &dyn Fn(&str) -> Option<String>) -> Self {
        if let Some(unread) = Proxies::unread(environment) {
            tracing::warn!("{unread}");
        }
        Self { proxies: Proxies::of(environment), ..Self::default() }
    }

    fn client(&self, key: ClientKey) -> Result<Arc<Client>, rustls::Error> {
        if let Some(client) = self.clients.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(Arc::clone(&client.client));
        }
        let mut clients = self.clients.write().unwrap_or_else(PoisonError::into_inner);
        let client = if key.encrypted {
            Client::encrypted(self.tls()?, self.proxies.clone(), key.connect)
        } else {
            Client::plain(key.connect)
        };
        let client = Arc::new(client);
        // Nobody can use the connections of a thread that has ended.
        clients.retain(|_, one| one.thread.strong_count() > 0);
        clients.insert(key, ThreadClient { thread: ALIVE.with(Arc::downgrade), client: Arc::clone(&client) });
        Ok(client)
    }

    /// Certificates are read once.
    fn tls(&self) -> Result<ClientConfig, rustls::Error> {
        if let Some(tls) = self.tls.get() {
            return Ok(tls.clone());
        }
        let tls = connect::tls()?;
        Ok(self.tls.get_or_init(|| tls).clone())
    }

    async fn call(&self, call: UpstreamRequest) -> Result<UpstreamResponse, AttemptFault> {
        let UpstreamRequest { url, headers, body, timeouts, sent } = call;
        let url = origin_checked(url)?;
        let thread = std::thread::current().id();
        let key = ClientKey { encrypted: url.scheme_str() == Some("https"), connect: timeouts.connect, thread };
        let client = self.client(key).map_err(|cause| {
            let (host, cause) = (host_of(&url), root(&cause));
            AttemptFault::new(FaultKind::Unavailable, format!("{host}: cannot set up TLS: {cause}")).before_sending()
        })?;
        // Sharing its text with the request, it costs nothing unless a fault has to name the host.
        let host = url.clone();
        let mut request = Request::new(Outgoing::new(body, sent));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = url;
        *request.headers_mut() = headers;
        request.headers_mut().entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        request.headers_mut().entry(USER_AGENT).or_insert(USER_AGENT_VALUE);
        let response = match tokio::time::timeout(timeouts.first_byte, client.send(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(cause)) => return Err(no_answer(&host, &cause, timeouts.connect)),
            Err(_) => {
                let message = format!("{}: no answer within {:?}", host_of(&host), timeouts.first_byte);
                return Err(AttemptFault::new(FaultKind::TimedOut, message));
            }
        };
        let (head, pieces) = response.into_parts();
        let body: Body = Box::pin(Pieces { inner: pieces, host, idle: timeouts.idle, timer: None, waiting: false });
        Ok(UpstreamResponse { status: head.status, headers: head.headers, body })
    }
}

impl Upstream for HttpUpstream {
    fn send(&self, call: UpstreamRequest) -> BoxFuture<'_, Result<UpstreamResponse, AttemptFault>> {
        self.call(call).boxed()
    }
}

/// The address of a call, with a scheme and a host.
fn origin_checked(url: String) -> Result<Uri, AttemptFault> {
    let wrong = |cause: &str| {
        let message = format!("the deployment's `api_base` is not a URL: {cause}");
        AttemptFault::new(FaultKind::Misconfigured, message).before_sending()
    };
    let url = Uri::try_from(url).map_err(|cause| wrong(&cause.to_string()))?;
    if url.scheme().is_none() || url.host().is_none() {
        return Err(wrong("it has no scheme or no host"));
    }
    Ok(url)
}

/// Host and port, as far as a message may tell.
fn host_of(url: &Uri) -> String {
    let host = url.host().unwrap_or("(no host)");
    url.port_u16().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The innermost cause: the outer ones say that something failed, this one says what.
fn root(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

fn no_answer(url: &Uri, error: &SendError, connect: Duration) -> AttemptFault {
    let host = host_of(url);
    if is_connect_timeout(error) {
        let message = format!("{host}: no connection within {connect:?}");
        return AttemptFault::new(FaultKind::TimedOut, message).before_sending();
    }
    let told = |what| AttemptFault::new(FaultKind::Unavailable, format!("{host}: {what}: {}", root(error)));
    match error {
        SendError::Connect(_) => told("cannot connect").before_sending(),
        SendError::Closed(_) => told("the provider closed the connection").on_closed_connection(),
        // Nothing was spent on it either.
        SendError::Unprocessed(_) => {
            told("the provider took no more requests of this connection").before_sending().on_closed_connection()
        }
        SendError::Broken(_) => told("the connection broke before the answer"),
    }
}

fn is_connect_timeout(error: &(dyn Error + 'static)) -> bool {
    error.is::<ConnectTimedOut>() || error.source().is_some_and(is_connect_timeout)
}

/// A reply's body. The idle time counts while somebody waits for a piece, so that a slow reader of ours is
/// not the provider's fault; a piece that is already there costs no timer.
struct Pieces {
    inner: ReplyBody,
    host: Uri,
    idle: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl Stream for Pieces {
    type Item = Result<Bytes, AttemptFault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        while let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) {
            this.waiting = false;
            let piece = match frame {
                // Trailers say nothing that anybody reads.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) => Some(Ok(piece)),
                    Err(_trailers) => continue,
                },
                Some(Err(cause)) => {
                    let message = format!("{}: the reply broke off: {}", host_of(&this.host), root(&cause));
                    Some(Err(AttemptFault::new(FaultKind::BrokenStream, message)))
                }
                None => None,
            };
            return Poll::Ready(piece);
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
        let message = format!("{}: nothing of the reply came for {idle:?}", host_of(&this.host));
        Poll::Ready(Some(Err(AttemptFault::new(FaultKind::TimedOut, message))))
    }
}

//! Clients: a pool of connections each. Every thread has one for plain and one for encrypted origins.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::ThreadId;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Request, Response, Uri};
use hyper::body::{Body, Frame, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls_platform_verifier::BuilderVerifierExt;
use tower_service::Service;

use super::http1_pool::{Http1Body, Http1Pool, SendError};
use super::outgoing::Outgoing;
use super::proxy::{Proxies, Route};

/// Connections that nobody uses are closed after this long, before the load balancers in front of the large
/// providers (60 s and more) do it under a request.
pub(super) const POOL_IDLE: Duration = Duration::from_secs(55);

/// How long a silent connection goes unprobed.
const PROBE: Duration = Duration::from_secs(15);

/// What sets two clients apart. The connect timeout belongs to a connection, not to a request; configurations
/// hold a handful of different ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ClientKey {
    pub(super) encrypted: bool,
    /// For name, TCP and TLS together.
    pub(super) connect: Duration,
    /// Whose event loop its connections belong to.
    pub(super) thread: ThreadId,
}

type Pooled = legacy::Client<ConnectTimeout<HttpsConnector<Route>>, Outgoing>;

/// A client. Plain ones never read the system's certificates.
#[derive(Debug)]
pub(super) enum Client {
    Plain(Arc<Http1Pool>),
    Encrypted(Box<Pooled>),
}

impl Client {
    /// For origins without encryption.
    pub(super) fn plain(connect: Duration) -> Self {
        Self::Plain(Http1Pool::new(ConnectTimeout { connector: tcp(), limit: connect }))
    }

    /// For origins with it.
    pub(super) fn encrypted(tls: ClientConfig, proxies: Proxies, connect: Duration) -> Self {
        let mut tcp = tcp();
        tcp.enforce_http(false);
        let tls = HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_all_versions();
        Self::Encrypted(Box::new(pooled(tls.wrap_connector(Route { tcp, proxies }), connect)))
    }

    /// Sends one request and waits for the head of the answer.
    pub(super) async fn send(&self, request: Request<Outgoing>) -> Result<Response<ReplyBody>, SendError> {
        match self {
            Self::Plain(connections) => Ok(connections.send(request).await?.map(ReplyBody::Plain)),
            Self::Encrypted(client) => Ok(client.request(request).await?.map(ReplyBody::Encrypted)),
        }
    }
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    // A peer that vanished is noticed while a long reply is awaited, and not by the next request only.
    tcp.set_keepalive(Some(PROBE));
    tcp.set_keepalive_interval(Some(PROBE));
    tcp.set_keepalive_retries(Some(3));
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(2 * PROBE));
    tcp
}

/// What encrypts, trusting whom the system trusts.
///
/// # Errors
/// The system's certificates cannot be used.
pub(super) fn tls() -> Result<ClientConfig, rustls::Error> {
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()?;
    Ok(tls.with_no_client_auth())
}

/// The body of an answer, from either kind of connection.
#[derive(Debug)]
pub(super) enum ReplyBody {
    Plain(Http1Body),
    Encrypted(Incoming),
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Plain(body) => Pin::new(body).poll_frame(context),
            Self::Encrypted(body) => Pin::new(body).poll_frame(context),
        }
    }
}

fn pooled(connector: HttpsConnector<Route>, limit: Duration) -> Pooled {
    legacy::Client::builder(TokioExecutor::new())
        .pool_idle_timeout(POOL_IDLE)
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .http2_keep_alive_interval(2 * PROBE)
        .build(ConnectTimeout { connector, limit })
}

/// Connects within a limit. (The connector's own would not bound the TLS handshake.)
#[derive(Clone, Debug)]
pub(super) struct ConnectTimeout<C> {
    pub(super) connector: C,
    pub(super) limit: Duration,
}

/// No connection within the limit.
#[derive(Debug, thiserror::Error)]
#[error("no connection within the limit")]
pub(super) struct ConnectTimedOut;

impl<C> Service<Uri> for ConnectTimeout<C>
where
    C: Service<Uri, Error: Into<Box<dyn Error + Send + Sync>>, Future: Send + 'static, Response: Send + 'static>,
{
    type Response = C::Response;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.connector.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, origin: Uri) -> Self::Future {
        let (connecting, limit) = (self.connector.call(origin), self.limit);
        async move { tokio::time::timeout(limit, connecting).await.map_err(|_elapsed| ConnectTimedOut)?.map_err(Into::into) }
            .boxed()
    }
}

//! Clients: a pool of connections each, one for plain and one for encrypted origins.

use std::error::Error;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls_platform_verifier::BuilderVerifierExt;
use tower_service::Service;

/// Connections that nobody uses are closed after this long, before the load balancers in front of the large
/// providers (60 s and more) do it under a request.
const POOL_IDLE: Duration = Duration::from_secs(55);

/// How long a silent connection goes unprobed.
const PROBE: Duration = Duration::from_secs(15);

/// What sets two clients apart. The connect timeout belongs to a connection, not to a request; configurations
/// hold a handful of different ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClientKey {
    pub(super) encrypted: bool,
    /// For name, TCP and TLS together.
    pub(super) connect: Duration,
}

type Pooled<C> = legacy::Client<ConnectTimeout<C>, Full<Bytes>>;

/// A client. Plain ones never read the system's certificates.
#[derive(Debug)]
pub(super) enum Client {
    Plain(Pooled<HttpConnector>),
    Encrypted(Pooled<HttpsConnector<HttpConnector>>),
}

impl Client {
    /// # Errors
    /// The system's certificates cannot be used.
    pub(super) fn build(key: ClientKey) -> Result<Self, rustls::Error> {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        // A peer that vanished is noticed while a long reply is awaited, and not by the next request only.
        tcp.set_keepalive(Some(PROBE));
        tcp.set_keepalive_interval(Some(PROBE));
        tcp.set_keepalive_retries(Some(3));
        #[cfg(target_os = "linux")]
        tcp.set_tcp_user_timeout(Some(2 * PROBE));
        if !key.encrypted {
            return Ok(Self::Plain(pooled(tcp, key.connect)));
        }
        tcp.enforce_http(false);
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_platform_verifier()?
            .with_no_client_auth();
        let tls = HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_all_versions();
        Ok(Self::Encrypted(pooled(tls.wrap_connector(tcp), key.connect)))
    }

    /// Sends one request and waits for the head of the answer.
    pub(super) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, legacy::Error> {
        match self {
            Self::Plain(client) => client.request(request).await,
            Self::Encrypted(client) => client.request(request).await,
        }
    }
}

fn pooled<C>(connector: C, limit: Duration) -> Pooled<C>
where
    ConnectTimeout<C>: legacy::connect::Connect + Clone,
{
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
    connector: C,
    limit: Duration,
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

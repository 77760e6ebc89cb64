//! The way to encrypted origins: straight, or through the proxy that the environment names.
//!
//! `HTTPS_PROXY` and `NO_PROXY` are read as curl reads them. The proxy is asked for a tunnel and sees nothing of what goes through
//! it: no key, no prompt. Plain origins are never sent through one, since it would see both; `HTTP_PROXY` is not read.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

type Cause = Box<dyn Error + Send + Sync>;

/// Which origins are reached through which proxy; none by default.
#[derive(Clone, Default)]
pub(super) struct Proxies(Option<Arc<Matcher>>);

impl std::fmt::Debug for Proxies {
    /// An address may hold a password.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(if self.0.is_some() { "Proxies(some)" } else { "Proxies(none)" })
    }
}

impl Proxies {
    /// As the variables of `environment` say.
    pub(super) fn of(environment: &dyn Fn(&str) -> Option<String>) -> Self {
        let variable = |name: &str| environment(name).or_else(|| environment(&name.to_lowercase()));
        let Some(proxy) = variable("HTTPS_PROXY").or_else(|| variable("ALL_PROXY")).filter(|value| !value.is_empty())
        else {
            return Self::default();
        };
        let matcher = Matcher::builder().https(proxy).no(variable("NO_PROXY").unwrap_or_default()).build();
        Self(Some(Arc::new(matcher)))
    }

    fn of_origin(&self, origin: &Uri) -> Option<Intercept> {
        self.0.as_ref()?.intercept(origin)
    }
}

/// Connects to an origin, by a tunnel where there is a proxy for it.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) tcp: HttpConnector,
    pub(super) proxies: Proxies,
}

impl Service<Uri> for Route {
    type Response = TokioIo<TcpStream>;
    type Error = Cause;
    type Future = BoxFuture<'static, Result<Self::Response, Cause>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Cause>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, origin: Uri) -> Self::Future {
        let Some(proxy) = self.proxies.of_origin(&origin) else {
            return connected(self.tcp.call(origin));
        };
        if proxy.uri().scheme_str() != Some("http") {
            let why = "HTTPS_PROXY names a proxy that is not spoken to in plain HTTP; write it as http://HOST:PORT";
            return async move { Err(why.into()) }.boxed();
        }
        let mut tunnel = Tunnel::new(proxy.uri().clone(), self.tcp.clone());
        if let Some(credential) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(credential.clone());
        }
        connected(tunnel.call(origin))
    }
}

fn connected<E: Into<Cause>>(
    connecting: impl Future<Output = Result<TokioIo<TcpStream>, E>> + Send + 'static,
) -> Pin<Box<dyn Future<Output = Result<TokioIo<TcpStream>, Cause>> + Send>> {
    async move { connecting.await.map_err(Into::into) }.boxed()
}

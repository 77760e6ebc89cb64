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

/// What stands for an address that cannot be read: one of a kind that is not spoken to.
const UNREADABLE: &str = "socks5://unreadable";

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
        let given = |name: &str| environment(name).filter(|value| !value.is_empty());
        let variable = |name: &str| given(&name.to_lowercase()).or_else(|| given(name));
        let Some(proxy) = variable("HTTPS_PROXY").or_else(|| variable("ALL_PROXY")) else { return Self::default() };
        // One that cannot be read is no reason to go straight: it is told like one that is not spoken to.
        let somewhere = Uri::from_static("https://provider.invalid");
        let read = Matcher::builder().https(proxy.clone()).build().intercept(&somewhere).is_some();
        let proxy = if read { proxy } else { UNREADABLE.to_owned() };
        Self(Some(Arc::new(Matcher::builder().https(proxy).no(variable("NO_PROXY").unwrap_or_default()).build())))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(variables: &[(&str, &str)], origin: &'static str) -> Option<String> {
        let environment =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let found = Proxies::of(&environment).of_origin(&Uri::from_static(origin));
        found.map(|proxy| proxy.uri().to_string())
    }

    #[test]
    fn variables_are_read_as_curl_reads_them_and_what_cannot_be_read_is_not_passed_over() {
        let one = "https://one.example";
        let through = |variables: &[(&str, &str)]| proxy(variables, one);
        assert_eq!(through(&[]), None);
        assert_eq!(
            through(&[("HTTPS_PROXY", "http://a:1"), ("https_proxy", "http://b:2")]).as_deref(),
            Some("http://b:2/")
        );
        assert_eq!(through(&[("https_proxy", ""), ("ALL_PROXY", "http://c:3")]).as_deref(), Some("http://c:3/"));
        assert_eq!(through(&[("HTTPS_PROXY", "http://a:1"), ("NO_PROXY", "one.example")]), None);
        let unreadable = through(&[("HTTPS_PROXY", "http://user:pass word@a:1")]);
        assert!(unreadable.is_some_and(|uri| uri.starts_with("socks5:")), "it is told, and nothing goes straight");
    }
}

//! The way to encrypted origins: straight, or through the proxy that the environment names.
//!
//! `HTTPS_PROXY` and `NO_PROXY` are read as curl reads them. The proxy is asked for a tunnel and sees nothing of what goes through
//! it: no key, no prompt. Plain origins are never sent through one, since it would see both: where `HTTP_PROXY` is set, it is told that it is
//! not read. An entry of `NO_PROXY` may name a port (`host:8443`).

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
pub(super) struct Proxies(Option<Arc<Rules>>);

struct Rules {
    proxy: Matcher,
    /// What is reached straight at one port alone, as `NO_PROXY` may say.
    straight: Vec<(Matcher, u16)>,
}

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
        let listed = variable("NO_PROXY").unwrap_or_default();
        let with_port = |entry: &str| {
            let (host, port) = entry.trim().rsplit_once(':')?;
            // An address of IPv6 has colons of its own, and brackets where a port follows.
            let bare = !host.contains(':') || host.starts_with('[');
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let matcher = Matcher::builder().https(proxy.clone()).no(host.to_owned()).build();
            Some((matcher, port.parse().ok()?)).filter(|_| bare)
        };
        let straight = listed.split(',').filter_map(with_port).collect();
        Self(Some(Arc::new(Rules { proxy: Matcher::builder().https(proxy).no(listed).build(), straight })))
    }

    /// What a variable asks for that is not done, in words for the log.
    pub(super) fn unread(environment: &dyn Fn(&str) -> Option<String>) -> Option<&'static str> {
        let given = |name: &str| environment(name).is_some_and(|value| !value.is_empty());
        (given("http_proxy") || given("HTTP_PROXY")).then_some(
            "HTTP_PROXY is set and not read: providers at http:// are reached straight, since a proxy would see keys and prompts; \
             HTTPS_PROXY is for those at https://",
        )
    }

    fn of_origin(&self, origin: &Uri) -> Option<Intercept> {
        let rules = self.0.as_ref()?;
        let port = origin.port_u16().unwrap_or(443);
        let straight = rules.straight.iter().any(|(matcher, at)| *at == port && matcher.intercept(origin).is_none());
        if straight { None } else { rules.proxy.intercept(origin) }
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
        for (listed, straight) in [
            ("one.example:443", true),
            ("a.test, .example:443", true),
            ("one.example:8443", false),
            ("one.example:0443x", false),
            ("*", true),
        ] {
            let found = through(&[("HTTPS_PROXY", "http://a:1"), ("NO_PROXY", listed)]);
            assert_eq!(found.is_none(), straight, "{listed}");
        }
        let local = |listed| proxy(&[("HTTPS_PROXY", "http://a:1"), ("NO_PROXY", listed)], "https://[::1]:8443");
        assert!(local("[::1]:8443").is_none() && local("[::1]:9").is_some() && local("::1").is_none());
        assert!(proxy(&[("HTTPS_PROXY", "http://a:1"), ("NO_PROXY", "10.0.0.0/8")], "https://10.1.2.3:8443").is_none());
        let unreadable = through(&[("HTTPS_PROXY", "http://user:pass word@a:1")]);
        assert!(unreadable.is_some_and(|uri| uri.starts_with("socks5:")), "it is told, and nothing goes straight");
    }

    #[test]
    fn a_variable_that_is_not_read_is_told() {
        for (name, told) in [("HTTP_PROXY", true), ("http_proxy", true), ("HTTPS_PROXY", false)] {
            let environment = |asked: &str| (asked == name).then(|| "http://a:1".to_owned());
            assert_eq!(Proxies::unread(&environment).is_some(), told, "{name}");
        }
        assert!(Proxies::unread(&|_| Some(String::new())).is_none());
    }
}

//! The encrypted connection to Postgres: the server proves who it is, by whom the system trusts or by a certificate that is named.
//!
//! `sslmode=require` is held to what `verify-full` means: an encrypted line to nobody knows whom keeps nothing from anybody in between.
//! Without a mode the line is plain, as it is with `disable`.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use postgres::Config;
use postgres::config::SslMode;
use postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsConnector;

/// Reads a URL, and how its connections are encrypted; `None` is not at all.
///
/// # Errors
/// It cannot be read, in words without the URL, which has a password; or its certificates cannot.
pub(super) fn read(url: &str) -> Result<(Config, Option<Encryption>), String> {
    let wrong = || {
        "`database_url` cannot be read\nhint: write postgres://USER:PASSWORD@HOST:5432/DATABASE, with ?sslmode=require for an encrypted \
         connection"
            .to_owned()
    };
    // Behind the password, which may have the same letters.
    let behind = url.find('@').map_or(0, |at| at + 1);
    let query = url[behind..].find('?').map(|at| behind + at);
    let (base, query) = query.map_or((url, ""), |at| (&url[..at], &url[at + 1..]));
    let (mut kept, mut mode, mut authority) = (Vec::new(), None, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match (name, value) {
            ("sslmode", "require" | "verify-ca" | "verify-full") => mode = Some(SslMode::Require),
            ("sslmode", "disable" | "prefer" | "allow") => mode = Some(SslMode::Disable),
            ("sslrootcert", path) => {
                let path = percent_encoding::percent_decode_str(path).decode_utf8().map_err(|_| wrong())?;
                authority = Some(PathBuf::from(path.into_owned()));
            }
            _ => kept.push(pair),
        }
    }
    let joined = if kept.is_empty() { base.to_owned() } else { format!("{base}?{}", kept.join("&")) };
    let mut config: Config = joined.parse().map_err(|_| wrong())?;
    let mode = mode.unwrap_or(SslMode::Disable);
    config.ssl_mode(mode);
    let encryption = (mode == SslMode::Require).then(|| Encryption::new(authority.as_deref())).transpose()?;
    Ok((config, encryption))
}

/// Makes connections encrypted.
#[derive(Clone)]
pub(super) struct Encryption(TlsConnector);

impl Encryption {
    fn new(authority: Option<&Path>) -> Result<Self, String> {
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|fault| fault.to_string())?;
        let builder = match authority {
            None => builder.with_platform_verifier().map_err(|fault| format!("the system's certificates: {fault}"))?,
            Some(path) => builder.with_root_certificates(roots(path)?),
        };
        Ok(Self(TlsConnector::from(Arc::new(builder.with_no_client_auth()))))
    }
}

fn roots(path: &Path) -> Result<RootCertStore, String> {
    let failed = |why: String| format!("`sslrootcert` of `database_url`, {}: {why}", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|fault| failed(fault.to_string()))? {
        let certificate = certificate.map_err(|fault| failed(fault.to_string()))?;
        roots.add(certificate).map_err(|fault| failed(fault.to_string()))?;
    }
    if roots.is_empty() { Err(failed("there is no certificate in it".to_owned())) } else { Ok(roots) }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> MakeTlsConnect<S> for Encryption {
    type Stream = Encrypted<S>;
    type TlsConnect = Handshake;
    type Error = io::Error;

    fn make_tls_connect(&mut self, domain: &str) -> io::Result<Handshake> {
        let name = ServerName::try_from(domain.to_owned()).map_err(io::Error::other)?;
        Ok(Handshake { connector: self.0.clone(), name })
    }
}

/// A connection that is about to be encrypted.
pub(super) struct Handshake {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for Handshake {
    type Stream = Encrypted<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move { self.connector.connect(self.name, stream).await.map(Encrypted) })
    }
}

/// An encrypted connection.
pub(super) struct Encrypted<S>(tokio_rustls::client::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Encrypted<S> {
    /// The password is not bound to this connection: the server's certificate was verified.
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Encrypted<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Encrypted<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_whether_the_line_is_encrypted() {
        let encrypted = |query: &str| read(&format!("postgres://u:secret@db/x{query}")).map(|(_, tls)| tls.is_some());
        for query in ["", "?sslmode=disable", "?sslmode=prefer&connect_timeout=5"] {
            assert_eq!(encrypted(query), Ok(false), "{query}");
        }
        for query in ["?sslmode=nonsense", "?sslmode=require&sslrootcert=/no/such"] {
            let why = encrypted(query).unwrap_err();
            assert!(why.contains("database_url") && !why.contains("secret"), "{query}: {why}");
        }
    }
}

//! Providers behind TLS, as nearly all are: the command itself, which trusts an authority of the test's own in the place
//! of the system's. (Elsewhere than on Linux the system does not ask the environment whom to trust.)

use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use crate::chat::{OPENAI_STREAM, openai_reply};

/// Who vouches for certificates.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate");
        let lines: Vec<u8> = STANDARD.encode(certificate.der()).into_bytes();
        let lines: Vec<&str> = lines.chunks(64).map(|line| std::str::from_utf8(line).expect("base64")).collect();
        let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"));
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// What a server needs that is called `name` and offers these protocols.
    fn server(&self, name: &str, protocols: &[&str]) -> ServerConfig {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a server");
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        config
    }
}

/// What a provider behind TLS was asked.
struct Seen {
    version: Version,
    key: String,
    /// The connection it came through, counted from 0.
    connection: usize,
}

/// Serves a provider on a port of this machine; tells of every request.
async fn provider(config: ServerConfig) -> (u16, mpsc::UnboundedReceiver<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (tell, seen) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        for connection in 0.. {
            let Ok((socket, _)) = listener.accept().await else { return };
            tokio::spawn(answer(acceptor.clone(), socket, connection, tell.clone()));
        }
    });
    (port, seen)
}

async fn answer(acceptor: TlsAcceptor, socket: TcpStream, connection: usize, tell: mpsc::UnboundedSender<Seen>) {
    // Who does not trust it goes away.
    let Ok(socket) = acceptor.accept(socket).await else { return };
    let service = service_fn(|request: Request<Incoming>| {
        let key = request.headers().get("authorization").and_then(|key| key.to_str().ok()).unwrap_or_default();
        let seen = Seen { version: request.version(), key: key.to_owned(), connection };
        drop(tell.send(seen));
        async {
            let body = request.into_body().collect().await.expect("a body").to_bytes();
            let asked: Value = serde_json::from_slice(&body).expect("JSON");
            let streamed = asked["stream"] == true;
            let reply = if streamed { OPENAI_STREAM.to_owned() } else { openai_reply("Hello").to_string() };
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(reply))))
        }
    });
    // A client that goes away ends its connection; that is no fault of the test's.
    drop(auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await);
}

/// The command, serving until dropped.
struct Served {
    child: Child,
    url: String,
    _folder: TempDir,
}

impl Served {
    /// Serves a group `g` over a provider at this port, trusting whom `authority` vouches for and nobody else.
    fn start(port: u16, authority: &Authority) -> Self {
        Self::start_with(port, authority, &[])
    }

    /// The same with these variables in its environment.
    fn start_with(port: u16, authority: &Authority, variables: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().expect("a folder");
        let write = |name: &str, text: &str| {
            let file = folder.path().join(name);
            std::fs::write(&file, text).expect("written");
            file
        };
        let trusted = write("trusted.pem", &authority.pem);
        let config = write(
            "config.yaml",
            &format!(
                "model_list:
  - {{model_name: g, litellm_params: {{model: openai/m, api_base: \"https://localhost:{port}/v1\", api_key: sk-very-secret}}}}
router_settings: {{num_retries: 0}}
"
            ),
        );
        let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
        let mut child = Command::new(env!("CARGO_BIN_EXE_witgate"))
            .args(["serve", "--port", "0", "--workers", "1", "--log", "error"])
            .arg("--config")
            .arg(config)
            .arg("--policies")
            .arg(policies)
            .arg("--cache")
            .arg(folder.path().join("cache"))
            .env("SSL_CERT_FILE", trusted)
            .env_remove("SSL_CERT_DIR")
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the command");
        let told = BufReader::new(child.stdout.take().expect("its output")).lines().next();
        let line = told.expect("it says where it listens").expect("text");
        let url = line.split(" listening on ").nth(1).expect("an address").to_owned();
        Self { child, url, _folder: folder }
    }

    async fn ask(&self, stream: bool) -> (u16, String) {
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client");
        let body = json!({"model": "g", "stream": stream, "messages": [{"role": "user", "content": "Hi"}]});
        let asked = client.post(format!("{}/v1/chat/completions", self.url)).header("content-type", "application/json");
        let answer = asked.body(body.to_string()).send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test]
async fn a_provider_behind_tls_is_spoken_to_in_the_best_protocol_both_know() {
    let authority = Authority::new();
    for (protocols, version) in [
        (&["h2", "http/1.1"][..], Version::HTTP_2),
        (&["http/1.1"][..], Version::HTTP_11),
        // One that negotiates nothing.
        (&[][..], Version::HTTP_11),
    ] {
        let (port, mut seen) = provider(authority.server("localhost", protocols)).await;
        let gateway = Served::start(port, &authority);
        for stream in [false, true] {
            let (status, text) = gateway.ask(stream).await;
            assert_eq!(status, 200, "{protocols:?}: {text}");
            assert!(text.contains(if stream { "\"content\":\"Hel\"" } else { "Hello" }), "{text}");
            let seen = seen.recv().await.expect("a request");
            assert_eq!(seen.version, version, "{protocols:?}");
            assert_eq!(seen.key, "Bearer sk-very-secret");
            // An HTTP/1.1 connection is idle again a moment after its reply was whole, which may be too late for the next.
            assert!(seen.connection == 0 || version == Version::HTTP_11, "another connection was opened");
        }
    }
}

/// A provider that speaks HTTP/2 and answers the first request of its first connection with `frames` (of that request's stream, and a
/// connection that then goes on or not) in the place of a reply; other connections are served.
async fn taking_back(config: ServerConfig, frames: fn(u32) -> Vec<u8>) -> (u16, mpsc::UnboundedReceiver<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (tell, seen) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.expect("a connection");
        let mut first = acceptor.accept(socket).await.expect("TLS");
        tokio::spawn(async move {
            const PREFACE: usize = 24;
            // Settings of ours, and that theirs are known.
            first.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0]).await.expect("written");
            first.read_exact(&mut [0; PREFACE]).await.expect("a preface");
            loop {
                let mut head = [0; 9];
                if first.read_exact(&mut head).await.is_err() {
                    return;
                }
                let [a, b, c, kind, _flags, stream @ ..] = head;
                let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
                first.read_exact(&mut payload).await.expect("a frame");
                // The head of a request.
                if kind == 1 {
                    first.write_all(&frames(u32::from_be_bytes(stream))).await.expect("written");
                }
            }
        });
        for connection in 1.. {
            let Ok((socket, _)) = listener.accept().await else { return };
            tokio::spawn(answer(acceptor.clone(), socket, connection, tell.clone()));
        }
    });
    (port, seen)
}

/// `GOAWAY` that names no stream as looked at.
fn going_away(_stream: u32) -> Vec<u8> {
    vec![0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

/// `RST_STREAM` with `REFUSED_STREAM`, then `GOAWAY` after that stream, so that the next request needs another connection.
fn refusing(stream: u32) -> Vec<u8> {
    let stream = stream.to_be_bytes();
    let reset = [&[0, 0, 4, 3, 0], &stream[..], &[0, 0, 0, 7]].concat();
    let away = [&[0, 0, 8, 7, 0, 0, 0, 0, 0], &stream[..], &[0, 0, 0, 0]].concat();
    [reset, away].concat()
}

/// What a provider provably did not look at is asked once more, and no client hears of it.
#[tokio::test]
async fn a_request_that_a_connection_took_back_is_sent_through_another() {
    let authority = Authority::new();
    for (what, frames) in [("GOAWAY", going_away as fn(u32) -> Vec<u8>), ("REFUSED_STREAM", refusing)] {
        let (port, mut seen) = taking_back(authority.server("localhost", &["h2"]), frames).await;
        // It has no retries.
        let gateway = Served::start(port, &authority);
        let (status, text) = gateway.ask(false).await;
        assert_eq!(status, 200, "{what}: {text}");
        assert_eq!(seen.recv().await.expect("a request").connection, 1, "{what}");
        assert!(seen.try_recv().is_err(), "{what}: once");
    }
}

/// What it may have looked at is not.
#[tokio::test]
async fn a_request_that_may_have_been_looked_at_is_not_sent_again() {
    /// `RST_STREAM` with `INTERNAL_ERROR`.
    fn failing(stream: u32) -> Vec<u8> {
        [&[0, 0, 4, 3, 0], &stream.to_be_bytes()[..], &[0, 0, 0, 2]].concat()
    }
    let authority = Authority::new();
    let (port, mut seen) = taking_back(authority.server("localhost", &["h2"]), failing).await;
    let gateway = Served::start(port, &authority);
    let (status, text) = gateway.ask(false).await;
    assert!(status == 502 && seen.try_recv().is_err(), "{status} {text}");
}

/// A proxy that opens tunnels; what it was asked, as it came.
async fn proxy() -> (String, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (asked, seen) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let asked = asked.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.expect("a head"));
                }
                let head = String::from_utf8(head).expect("text");
                let target = head.split(' ').nth(1).expect("a target").to_owned();
                drop(asked.send(head));
                let mut server = TcpStream::connect(target).await.expect("the provider");
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("written");
                drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
            });
        }
    });
    (address.to_string(), seen)
}

#[tokio::test]
async fn a_proxy_of_the_environment_carries_what_is_encrypted_and_reads_none_of_it() {
    let authority = Authority::new();
    let (port, mut seen) = provider(authority.server("localhost", &["h2"])).await;
    let (address, mut asked) = proxy().await;
    let named = format!("http://us%65r:pass@{address}");
    let gateway = Served::start_with(port, &authority, &[("HTTPS_PROXY", &named)]);
    let (status, text) = gateway.ask(false).await;
    assert_eq!(status, 200, "{text}");
    assert_eq!(seen.recv().await.expect("a request").key, "Bearer sk-very-secret");
    let head = asked.recv().await.expect("a tunnel");
    assert!(head.starts_with(&format!("CONNECT localhost:{port} HTTP/1.1\r\n")), "{head}");
    assert!(head.to_lowercase().contains("proxy-authorization: basic dxnlcjpwyxnz"), "{head}");
    assert!(!head.contains("sk-"), "{head}");

    // What `NO_PROXY` names is reached straight.
    let gateway =
        Served::start_with(port, &authority, &[("HTTPS_PROXY", &named), ("NO_PROXY", "localhost,.example.com")]);
    assert_eq!(gateway.ask(false).await.0, 200);
    assert!(asked.try_recv().is_err(), "no tunnel was asked for");

    // A proxy that is spoken to otherwise is told, without its password.
    let gateway = Served::start_with(port, &authority, &[("HTTPS_PROXY", "socks5://u:hidden@127.0.0.1:1")]);
    let (status, text) = gateway.ask(false).await;
    assert!(status == 502 && text.contains("HTTPS_PROXY") && !text.contains("hidden"), "{status} {text}");
}

#[tokio::test]
async fn a_provider_nobody_vouches_for_is_never_sent_a_key() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    for (server, what) in [
        (theirs.server("localhost", &["h2"]), "an authority that is not trusted"),
        (ours.server("elsewhere.test", &["h2"]), "another server's certificate"),
    ] {
        let (port, mut seen) = provider(server).await;
        let gateway = Served::start(port, &ours);
        let (status, text) = gateway.ask(false).await;
        assert_eq!(status, 502, "{what}: {text}");
        assert!(text.contains("certificate") && text.contains(&format!("localhost:{port}")), "{what}: {text}");
        assert!(!text.contains("sk-very-secret"), "{text}");
        assert!(seen.try_recv().is_err(), "{what}: it was asked");
    }
}

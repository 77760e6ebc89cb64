//! A whole gateway on a free port, with a configuration and a policies folder of its own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use reqwest::header::HeaderMap;
use reqwest::{Client, Response};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use witgate::background_thread::BackgroundThread;
use witgate::batch::Batches;
use witgate::clock::Clock;
use witgate::server::{self, App, HttpService, Server};
use witgate::start::{self, GRACE, Running};

use super::{files, options};

/// A gateway that serves until it is dropped.
pub(crate) struct Gateway {
    pub(crate) url: String,
    pub(crate) app: Arc<App>,
    pub(crate) client: Client,
    folder: TempDir,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
    _running: (witgate::reload::Reloader, BackgroundThread, BackgroundThread),
}

/// A reply that has been read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|fault| panic!("{fault}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The data of every server-sent event.
    pub(crate) fn events(&self) -> Vec<String> {
        self.text.lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned).collect()
    }
}

impl Gateway {
    /// Serves `config`; the policies folder begins empty.
    pub(crate) async fn start(config: &str) -> Self {
        Self::start_with(config, &[]).await
    }

    /// Serves `config` with these files in the policies folder.
    pub(crate) async fn start_with(config: &str, policies: &[(&str, &Path)]) -> Self {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("config.yaml");
        std::fs::create_dir(folder.path().join("policies")).expect("the policies folder");
        std::fs::write(&file, config).expect("the configuration");
        for (name, from) in policies {
            std::fs::copy(from, folder.path().join("policies").join(name)).expect("a policy");
        }
        let options = options(files(&file, &folder.path().join("policies")), Clock::system());
        let Running { gateway, metrics, reloader, judges, embedder } =
            start::start(options).unwrap_or_else(|problems| panic!("{}", problems.join("\n")));
        let batches = Arc::new(Batches::new(Arc::clone(&gateway), Some(folder.path().join("batches"))));
        let app = Arc::new(App {
            gateway,
            metrics,
            batches,
            stored: server::StoredReplies::default(),
            draining: AtomicBool::new(false),
        });
        let listening = server::listen(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)).await.expect("a port");
        let url = format!("http://{}", listening.address);
        let (stop, stopped) = oneshot::channel();
        let stopped = async move {
            let _dropped = stopped.await;
        };
        let service = HttpService::gateway(Arc::clone(&app));
        // Two, so that what requests share is shared between threads.
        let server = Server::start(listening, service, NonZeroUsize::MIN.saturating_add(1)).expect("threads");
        let serving = tokio::spawn(server.serve(stopped, std::future::pending(), || server::Stopping::within(GRACE)));
        // Tests are many clients: each connection is its own, so that none waits for another's.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = Client::builder().no_proxy().tls_certs_only([]).build().expect("a client");
        Self { url, app, client, folder, stop: Some(stop), serving, _running: (reloader, judges, embedder) }
    }

    pub(crate) async fn open(&self, path: &str, body: &Value) -> Response {
        self.client
            .post(format!("{}{path}", self.url))
            .header("content-type", "application/json")
            .body(body.to_string())
            .send()
            .await
            .expect("an answer")
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        read(self.open(path, body).await).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        read(self.client.get(format!("{}{path}", self.url)).send().await.expect("an answer")).await
    }

    /// The configuration file, to be overwritten.
    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("config.yaml")
    }

    /// Replaces a file as careful programs do: beside it, then renamed over it.
    pub(crate) fn replace(&self, name: &str, bytes: &[u8]) {
        let target = self.folder.path().join(name);
        let aside = target.with_extension("new");
        std::fs::write(&aside, bytes).expect("a new file");
        std::fs::rename(aside, target).expect("renamed");
    }

    pub(crate) fn generation(&self) -> u64 {
        self.app.gateway.live.read().generation
    }

    /// The value of a metric's line that begins with `line`.
    pub(crate) fn metric(&self, line: &str) -> Option<f64> {
        let text = self.app.metrics.render(Vec::new()).expect("metrics");
        let found = text.lines().find(|written| written.starts_with(line))?;
        found.rsplit(' ').next()?.parse().ok()
    }

    /// Stops taking connections and waits until what is under way has ended.
    pub(crate) async fn drain(mut self) {
        drop(self.stop.take());
        (&mut self.serving).await.expect("no panic");
    }

    /// Tells it to stop, without waiting.
    pub(crate) fn begin_to_stop(&mut self) {
        drop(self.stop.take());
    }
}

/// Reads a reply to its end.
pub(crate) async fn read(response: Response) -> Reply {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.expect("a body");
    Reply { status, headers, text }
}

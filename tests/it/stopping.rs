//! The command under signals: what a stop takes, what it lets end, and what a second one ends.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::chat::{OPENAI_STREAM, openai_reply};
use crate::support::upstream::{ScriptedUpstream, Step};

/// The command, killed when it is dropped.
struct Served {
    child: Child,
    url: String,
    _folder: TempDir,
}

impl Served {
    fn start(config: &str) -> Self {
        Self::start_at("error", config).0
    }

    /// The same with what it logs from this level on.
    fn start_at(level: &str, config: &str) -> (Self, ChildStderr) {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("config.yaml");
        std::fs::write(&file, config).expect("written");
        let mut child = Command::new(env!("CARGO_BIN_EXE_witgate"))
            .args(["serve", "--port", "0", "--workers", "1", "--log", level])
            .arg("--config")
            .arg(file)
            .arg("--policies")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("policies"))
            .arg("--cache")
            .arg(folder.path().join("cache"))
            .env("XDG_STATE_HOME", folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command");
        let log = child.stderr.take().expect("its log");
        let told = BufReader::new(child.stdout.take().expect("its output")).lines().next();
        let line = told.expect("it says where it listens").expect("text");
        let url = line.split(" listening on ").nth(1).expect("an address").to_owned();
        (Self { child, url, _folder: folder }, log)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    async fn ask(&self, stream: bool) -> reqwest::Response {
        let body: Value = json!({"model": "g", "stream": stream, "messages": [{"role": "user", "content": "Hi"}]});
        let asked = client().post(format!("{}/v1/chat/completions", self.url));
        asked.header("content-type", "application/json").body(body.to_string()).send().await.expect("an answer")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// One with no connection yet.
fn client() -> reqwest::Client {
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client")
}

/// While a load balancer has not noticed, what it sends is served; nothing under way is cut off, until a second signal says so.
#[tokio::test]
async fn a_stop_takes_requests_until_its_delay_is_over_and_a_second_signal_ends_all_at_once() {
    for (first, second) in [(Signal::TERM, Signal::TERM), (Signal::INT, Signal::TERM)] {
        let begun = OPENAI_STREAM.find("\"lo\"").expect("content");
        let steps = [Step::events(OPENAI_STREAM).hang_after(begun), Step::json(200, &openai_reply("Hello"))];
        let upstream = ScriptedUpstream::start(steps).await;
        let mut gateway = Served::start(&format!(
            "model_list: [{{model_name: g, litellm_params: {{model: openai/m, api_base: \"{}/v1\", api_key: sk-up}}}}]
witgate: {{server: {{shutdown_delay_seconds: 3600, shutdown_grace_seconds: 3600}}}}
",
            upstream.origin()
        ));
        let mut stream = gateway.ask(true).await;
        assert!(stream.chunk().await.expect("content").is_some());
        gateway.signal(first);
        let ready = format!("{}/health/readiness", gateway.url);
        while client().get(&ready).send().await.expect("an answer").status() == 200 {
            tokio::task::yield_now().await;
        }
        let late = gateway.ask(false).await;
        assert_eq!((late.status().as_u16(), late.headers()["connection"].as_bytes()), (200, &b"close"[..]));
        gateway.signal(second);
        let mut rest = Vec::new();
        while let Ok(Some(piece)) = stream.chunk().await {
            rest.extend(piece);
        }
        let rest = String::from_utf8(rest).expect("text");
        assert!(rest.contains("\"error\""), "the stream ends with an error event: {rest}");
        let ended = tokio::task::spawn_blocking(move || gateway.child.wait().expect("it ended")).await.expect("waited");
        assert!(ended.success(), "{ended}");
    }
}

/// Whoever stops it sees what is waited for, and until when.
#[tokio::test]
async fn the_first_signal_says_how_many_run_and_wait_and_for_how_long_they_may() {
    let begun = OPENAI_STREAM.find("\"lo\"").expect("content");
    let upstream = ScriptedUpstream::start([Step::events(OPENAI_STREAM).hang_after(begun)]).await;
    let (mut gateway, log) = Served::start_at(
        "info",
        &format!(
            "model_list: [{{model_name: g, litellm_params: {{model: openai/m, api_base: \"{}/v1\", api_key: sk-up, rpm: 1}}}}]
witgate: {{server: {{shutdown_delay_seconds: 0, shutdown_grace_seconds: 3600}}}}
",
            upstream.origin()
        ),
    );
    let mut stream = gateway.ask(true).await;
    assert!(stream.chunk().await.expect("content").is_some());
    let (url, body) = (gateway.url.clone(), json!({"model": "g", "messages": [{"role": "user", "content": "Hi"}]}));
    let waiting = tokio::spawn(async move {
        let asked = client().post(format!("{url}/v1/chat/completions")).header("content-type", "application/json");
        drop(asked.body(body.to_string()).send().await);
    });
    let metrics = format!("{}/metrics", gateway.url);
    let waits =
        |text: &str| text.lines().any(|line| line.starts_with("witgate_queue_waiting{") && line.contains("} 1"));
    while !waits(&client().get(&metrics).send().await.expect("metrics").text().await.expect("text")) {
        tokio::task::yield_now().await;
    }
    gateway.signal(Signal::TERM);
    let told = tokio::task::spawn_blocking(move || {
        let mut lines = BufReader::new(log).lines().map_while(Result::ok);
        let told = lines.find(|line| line.contains("stopping: "));
        (told, lines)
    });
    let (told, rest) = told.await.expect("the log");
    let told = told.expect("it says that it stops");
    let expected = "stopping: 1 requests run and 1 wait; they may finish for 3600 s, a second signal ends them at once";
    assert!(told.contains(expected), "{told}");
    gateway.signal(Signal::TERM);
    let ended = tokio::task::spawn_blocking(move || {
        let cut = rest.into_iter().any(|line| line.contains("a second signal came"));
        (cut, gateway.child.wait().expect("it ended"))
    });
    let (cut, status) = ended.await.expect("waited");
    assert!(cut && status.success(), "{status}");
    drop((stream, waiting.await));
}

/// Who still waits then is told so, and when to come back.
#[tokio::test]
async fn a_stop_that_waits_no_longer_refuses_what_has_no_reply_yet() {
    let begun = OPENAI_STREAM.find("\"lo\"").expect("content");
    let upstream = ScriptedUpstream::start([Step::events(OPENAI_STREAM).hang_after(begun)]).await;
    let mut gateway = Served::start(&format!(
        "model_list: [{{model_name: g, litellm_params: {{model: openai/m, api_base: \"{}/v1\", api_key: sk-up, rpm: 1}}}}]
witgate: {{server: {{shutdown_delay_seconds: 0, shutdown_grace_seconds: 3600}}}}
",
        upstream.origin()
    ));
    let mut stream = gateway.ask(true).await;
    assert!(stream.chunk().await.expect("content").is_some());
    let waiting = [false, true].map(|stream| {
        let body = json!({"model": "g", "stream": stream, "messages": [{"role": "user", "content": "Hi"}]});
        let asked = client().post(format!("{}/v1/chat/completions", gateway.url));
        tokio::spawn(asked.header("content-type", "application/json").body(body.to_string()).send())
    });
    let metrics = format!("{}/metrics", gateway.url);
    let wait = |text: &str| text.lines().any(|line| line.starts_with("witgate_queue_waiting{") && line.contains("} 2"));
    while !wait(&client().get(&metrics).send().await.expect("metrics").text().await.expect("text")) {
        tokio::task::yield_now().await;
    }
    gateway.signal(Signal::TERM);
    gateway.signal(Signal::INT);
    for waiting in waiting {
        let told = waiting.await.expect("asked").expect("an answer");
        assert_eq!((told.status().as_u16(), told.headers()["retry-after"].as_bytes()), (503, &b"1"[..]));
        let text = told.text().await.expect("text");
        assert!(text.contains("\"error\"") && text.contains("the gateway is stopping"), "{text}");
    }
    let ended = tokio::task::spawn_blocking(move || gateway.child.wait().expect("it ended")).await.expect("waited");
    assert!(ended.success(), "{ended}");
}

//! The log of a running gateway: whoever reads it slowly holds up nobody, and a clean stop writes all of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::support::fixture;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A gateway in a process of its own, ended with the test, and one connection to it.
struct Running {
    child: Child,
    log: ChildStderr,
    address: String,
    socket: TcpStream,
    seen: Vec<u8>,
    _folder: TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Running {
    fn start() -> Self {
        Self::start_with("model_list: [{model_name: g, litellm_params: {model: simulated/m}}]\n", &[])
    }

    /// The hostile policy is at hand; `more` are words for the command line.
    fn start_with(list: &str, more: &[&str]) -> Self {
        let folder = TempDir::new().expect("a folder");
        let config = folder.path().join("config.yaml");
        std::fs::write(&config, list).expect("written");
        let policies = folder.path().join("policies");
        std::fs::create_dir(&policies).expect("a folder");
        std::fs::copy(fixture("policies/hostile.wasm"), policies.join("hostile.wasm")).expect("a policy");
        let mut child = Command::new(env!("CARGO_BIN_EXE_witgate"))
            .args(["serve", "--port", "0", "--config"])
            .arg(&config)
            .arg("--cache")
            .arg(folder.path().join("cache"))
            .arg("--policies")
            .arg(&policies)
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let log = child.stderr.take().expect("its log");
        let mut greeting = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("its output"));
        out.read_line(&mut greeting).expect("a line");
        let address = greeting.trim().rsplit("http://").next().expect("an address").to_owned();
        // The rest of the greeting, so that nothing breaks for want of a reader.
        std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        let socket = TcpStream::connect(&address).expect("it listens");
        socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        Self { child, log, address, socket, seen: Vec::new(), _folder: folder }
    }

    /// Asks for a model that is not there, so many times, each after the answer to the last.
    fn ask(&mut self, times: usize) {
        let body = r#"{"model": "nobody", "messages": [{"role": "user", "content": "Hi"}]}"#;
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        for count in 1..=times {
            self.socket.write_all(request.as_bytes()).expect("sent");
            self.seen.clear();
            while !self.seen.ends_with(b"}}") {
                let mut piece = [0; 4096];
                let length = self.socket.read(&mut piece).unwrap_or_else(|fault| panic!("request {count}: {fault}"));
                assert!(length > 0, "request {count}: the connection ended");
                self.seen.extend_from_slice(&piece[..length]);
            }
            assert!(self.seen.starts_with(b"HTTP/1.1 404"), "request {count}");
        }
    }

    fn stop(&mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("told");
        self.child.wait().expect("an end")
    }
}

#[test]
fn a_log_that_nobody_reads_holds_up_no_request_and_no_stop() {
    let mut running = Running::start();
    // Lines of a few hundred bytes each: several times what a pipe holds.
    running.ask(600);
    assert!(running.stop().success());
    let mut log = String::new();
    running.log.read_to_string(&mut log).expect("lines");
    let lines = log.matches("unknown-model").count();
    assert!((20..600).contains(&lines), "the pipe was full: {lines} lines");
}

#[test]
fn a_clean_stop_writes_the_last_line() {
    let mut running = Running::start();
    running.ask(20);
    assert!(running.stop().success());
    let mut log = String::new();
    running.log.read_to_string(&mut log).expect("lines");
    assert_eq!(log.matches("unknown-model").count(), 20, "{log}");
    assert!(log.contains("stopping"), "{log}");
}

/// What a policy logs, how it fails and what it refuses without being granted that: each line says in which request.
#[test]
fn lines_about_policies_name_the_request_and_the_group() {
    let router = |deed: &str| format!("routers: {{g: {{policy: hostile, settings: {{do: {deed}}}}}}}");
    let builder = r#"prompt_builders: {g: {policy: template, settings: {system: "{{who}}"}}}"#.to_owned();
    for (policies, words) in [
        (router("log-long"), "\u{e4}\u{e4}\u{e4}"),
        (router("route-trap"), "policy fault"),
        (router("reject"), "the policy refused a request"),
        (builder, "the prompt builder refused a request"),
    ] {
        let config = format!(
            "model_list: [{{model_name: g, litellm_params: {{model: simulated/m, simulated: {{ttft_ms: 0, output_tokens: 3}}}}}}]\n\
             witgate: {{{policies}}}\n"
        );
        let mut running = Running::start_with(&config, &["--log-format", "json"]);
        let body = r#"{"model": "g", "priority": 666, "messages": [{"role": "user", "content": "Hi"}]}"#;
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            running.address,
            body.len()
        );
        running.socket.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        running.socket.read_to_string(&mut answer).expect("an answer");
        let id = answer.lines().find_map(|line| line.strip_prefix("x-request-id: ")).expect("its id");
        assert!(running.stop().success());
        let mut log = String::new();
        running.log.read_to_string(&mut log).expect("lines");
        let line = log.lines().find(|line| line.contains(words)).unwrap_or_else(|| panic!("{policies}: {log}"));
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!((&line["id"], &line["group"]), (&id.into(), &"g".into()), "{policies}: {line}");
    }
}

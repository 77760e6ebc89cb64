//! The log of a running gateway: whoever reads it slowly holds up nobody, and a clean stop writes all of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::Duration;

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
        let folder = TempDir::new().expect("a folder");
        let config = folder.path().join("config.yaml");
        let list = "model_list: [{model_name: g, litellm_params: {model: simulated/m}}]\n";
        std::fs::write(&config, list).expect("written");
        let mut child = Command::new(env!("CARGO_BIN_EXE_witgate"))
            .args(["serve", "--port", "0", "--config"])
            .arg(&config)
            .arg("--cache")
            .arg(folder.path().join("cache"))
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

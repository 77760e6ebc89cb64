//! The built gateway as a process of its own, looked at from outside: replies, metrics, memory, descriptors.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// A running gateway; dropping it ends it.
pub(super) struct Gateway {
    child: Child,
    folder: TempDir,
    pub(super) address: SocketAddr,
    _stdout: BufReader<ChildStdout>,
}

/// A reply: its status, and its body as far as it came.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: String,
}

impl Gateway {
    /// Starts the binary beside this one with a configuration whose models are the provider's behaviours.
    pub(super) fn start(provider: SocketAddr, models: &[&str], more: &str) -> Result<Self, String> {
        Self::start_with_descriptors(provider, models, more, None)
    }

    /// The same with so many descriptors.
    pub(super) fn start_with_descriptors(
        provider: SocketAddr,
        models: &[&str],
        more: &str,
        descriptors: Option<u32>,
    ) -> Result<Self, String> {
        let binary = std::env::current_exe().map_err(|problem| problem.to_string())?.with_file_name("witgate");
        let folder = tempfile::tempdir().map_err(|problem| format!("no folder to work in: {problem}"))?;
        let config = configuration(provider, models, more);
        fs::write(folder.path().join("config.yaml"), config).map_err(|problem| problem.to_string())?;
        fs::create_dir(folder.path().join("policies")).map_err(|problem| problem.to_string())?;
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let hostile = (root.join("tests/fixtures/policies/hostile.wasm"), folder.path().join("policies/hostile.wasm"));
        fs::copy(&hostile.0, &hostile.1).map_err(|problem| format!("{}: {problem}", hostile.0.display()))?;
        let mut command = match descriptors {
            None => Command::new(&binary),
            Some(most) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit -n {most}; exec \"$0\" \"$@\"")]).arg(&binary);
                shell
            }
        };
        let mut child = command
            .args(["serve", "--port", "0", "--seed", "1", "--log", "error", "--config"])
            .arg(folder.path().join("config.yaml"))
            .arg("--policies")
            .arg(folder.path().join("policies"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|problem| format!("{}: {problem}\nhint: cargo build", binary.display()))?;
        let mut stdout = BufReader::new(child.stdout.take().ok_or("the gateway has no standard output")?);
        let mut line = String::new();
        loop {
            line.clear();
            if stdout.read_line(&mut line).map_err(|problem| problem.to_string())? == 0 {
                return Err("the gateway did not start".to_owned());
            }
            if let Some((_, address)) = line.split_once("listening on http://") {
                let address = address.trim().parse().map_err(|problem| format!("{line}: {problem}"))?;
                return Ok(Self { child, folder, address, _stdout: stdout });
            }
        }
    }

    /// Ends it at once, and with it whatever still waits for it.
    pub(super) fn kill(&self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        let _ended_already = pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
    }

    pub(super) fn config(&self) -> PathBuf {
        self.folder.path().join("config.yaml")
    }

    pub(super) fn policies(&self) -> PathBuf {
        self.folder.path().join("policies")
    }

    /// A figure of its own status, in MiB: `VmRSS`, `VmHWM`.
    pub(super) fn memory(&self, what: &str) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
        line.and_then(|line| line.trim().split(' ').next()?.parse::<f64>().ok()).map_or(f64::NAN, |kib| kib / 1024.0)
    }

    /// From here on the peak is measured anew.
    pub(super) fn forget_peak(&self) {
        let _kept_where_not_allowed = fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5");
    }

    /// Open descriptors.
    pub(super) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).map_or(0, Iterator::count)
    }

    /// The sum of all series of a metric that have this text among their labels.
    pub(super) fn metric(&self, name: &str, label: &str) -> f64 {
        let text = self.get("/metrics").map(|reply| reply.body).unwrap_or_default();
        let ours = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
        ours.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    pub(super) fn get(&self, path: &str) -> Result<Reply, String> {
        exchange(
            self.address,
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").as_bytes(),
        )
    }

    /// A chat of one word with the model.
    pub(super) fn chat(&self, model: &str, stream: bool) -> Result<Reply, String> {
        let body = format!(
            r#"{{"model":"{model}","stream":{stream},"max_tokens":5,"messages":[{{"role":"user","content":"hi"}}]}}"#
        );
        self.post(body.as_bytes())
    }

    pub(super) fn post(&self, body: &[u8]) -> Result<Reply, String> {
        exchange(self.address, &post_bytes(body))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A whole request with this body.
pub(super) fn post_bytes(body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

fn exchange(address: SocketAddr, request: &[u8]) -> Result<Reply, String> {
    let failed = |problem: std::io::Error| problem.to_string();
    let mut socket = TcpStream::connect(address).map_err(failed)?;
    socket.set_read_timeout(Some(Duration::from_secs(120))).map_err(failed)?;
    // A refused one may be answered before all of it is written.
    let _written = socket.write_all(request);
    let mut reply = Vec::new();
    let _ended = socket.read_to_end(&mut reply);
    let text = String::from_utf8_lossy(&reply);
    let (head, body) = text.split_once("\r\n\r\n").ok_or("no reply")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or("no status")?;
    Ok(Reply { status, body: body.to_owned() })
}

pub(super) fn configuration(provider: SocketAddr, models: &[&str], more: &str) -> String {
    let entry = |model: &&str| {
        format!(
            "  - {{model_name: {model}, litellm_params: {{model: openai/{model}, api_base: \"http://{provider}/v1\", api_key: sk-x}}}}\n"
        )
    };
    let list: String = models.iter().map(entry).collect();
    format!("model_list:\n{list}{more}")
}

//! The gateway under test: the built binary, a configuration of three groups with ten deployments each, all at the
//! upstream, and a router deciding under limits that never bind.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::client::{Client, request};
use super::load;
use super::watch::{Processes, now};

/// Deployments of a group.
const DEPLOYMENTS: usize = 10;
/// Groups, which are also the upstream's two paces.
const GROUPS: [&str; 2] = ["fast", "paced"];
/// A group like the first, with a prompt builder and a response parser beside its router.
pub(crate) const DRESSED: &str = "dressed";

/// A running gateway; dropping it ends it.
pub(crate) struct Gateway {
    child: Child,
    address: SocketAddr,
    /// From starting the process to the first reply.
    pub(crate) to_first_reply: Duration,
    _stdout: BufReader<ChildStdout>,
}

/// Where gateways are started, again and again.
pub(crate) struct Place {
    binary: PathBuf,
    folder: TempDir,
}

impl Place {
    /// Writes a configuration for a built binary; `dressed` adds the group of that name, which older ones do not know how to have.
    pub(crate) fn new(binary: PathBuf, upstream: SocketAddr, dressed: bool) -> Result<Self, String> {
        let failed = |problem: std::io::Error| format!("the gateway could not be set up: {problem}");
        let folder = tempfile::tempdir().map_err(failed)?;
        fs::create_dir(folder.path().join("policies")).map_err(failed)?;
        fs::write(folder.path().join("config.yaml"), configuration(upstream, dressed)).map_err(failed)?;
        Ok(Self { binary, folder })
    }

    /// The same with a ledger, which has a row of each request and attempt.
    pub(crate) fn with_ledger(self) -> Result<Self, String> {
        let path = self.folder.path().join("config.yaml");
        let failed = |problem: std::io::Error| format!("{}: {problem}", path.display());
        let mut text = fs::read_to_string(&path).map_err(failed)?;
        // It ends in our own section.
        let _ = writeln!(text, "  ledger: {{}}\n  state_dir: {}", self.folder.path().join("state").display());
        fs::write(&path, text).map_err(failed)?;
        Ok(self)
    }

    /// Starts a gateway and asks it once. Compiled policies are looked for, and kept, in the folder `cache`.
    pub(crate) async fn start(&self, cache: &str) -> Result<Gateway, String> {
        let folder = self.folder.path();
        let log = folder.join("gateway.log");
        let stderr = fs::File::create(&log).map_err(|problem| format!("{}: {problem}", log.display()))?;
        let start = now();
        let mut child = Command::new(&self.binary)
            .args(["serve", "--port", "0", "--seed", "1", "--log", "warn"])
            .arg("--config")
            .arg(folder.join("config.yaml"))
            .arg("--policies")
            .arg(folder.join("policies"))
            .arg("--cache")
            .arg(folder.join(cache))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .map_err(|problem| format!("{} could not be run: {problem}", self.binary.display()))?;
        let Some(stdout) = child.stdout.take() else { return Err("the gateway has no standard output".to_owned()) };
        let mut stdout = BufReader::new(stdout);
        let Some(address) = listening(&mut stdout) else {
            let _ = child.kill();
            let _ = child.wait();
            let log = fs::read_to_string(&log).unwrap_or_default();
            return Err(format!("the gateway did not start:\n{log}"));
        };
        let mut gateway = Gateway { child, address, to_first_reply: Duration::ZERO, _stdout: stdout };
        Client::connect(address).await?.ask(&request("/v1/chat/completions", "fast", false)).await?;
        gateway.to_first_reply = start.elapsed();
        Ok(gateway)
    }
}

impl Gateway {
    /// As a path of the benchmark.
    pub(crate) fn path(&self) -> load::Path {
        load::Path { name: "witgate", address: self.address, processes: Processes::family(self.child.id()) }
    }

    /// Ends it as an operator does, and waits until it has ended.
    pub(crate) fn end(mut self) -> Result<(), String> {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).ok_or("the gateway has no process id")?;
        kill_process(id, Signal::TERM).map_err(|problem| format!("the gateway could not be ended: {problem}"))?;
        let status = self.child.wait().map_err(|problem| problem.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("the gateway ended with {status}")) }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address in the line that tells it; `None` if the output ends before.
fn listening(stdout: &mut BufReader<ChildStdout>) -> Option<SocketAddr> {
    let mut line = String::new();
    while stdout.read_line(&mut line).ok()? > 0 {
        if let Some((_, address)) = line.split_once("listening on http://") {
            return address.trim().parse().ok();
        }
        line.clear();
    }
    None
}

fn configuration(upstream: SocketAddr, dressed: bool) -> String {
    let third = dressed.then_some(DRESSED);
    let mut text = "model_list:\n".to_owned();
    for (group, model) in GROUPS.map(|group| (group, group)).into_iter().chain(third.map(|group| (group, GROUPS[0]))) {
        for index in 0..DEPLOYMENTS {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "  - model_name: {group}
    litellm_params: {{ model: openai/{model}, api_base: \"http://{upstream}/v1\", api_key: sk-bench, tpm: 4000000000, rpm: 100000000 }}
    model_info: {{ id: {group}-{index} }}"
            );
        }
    }
    text.push_str("witgate:\n  routers:\n");
    for group in GROUPS.into_iter().chain(third) {
        let _ = writeln!(text, "    {group}: {{ policy: tpm-aware }}");
    }
    if dressed {
        let _ = write!(
            text,
            "  prompt_builders:\n    {DRESSED}: {{ policy: redact }}\n  response_parsers:\n    {DRESSED}: {{ policy: restore }}\n"
        );
    }
    text
}

//! The running gateway that every component is put under.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use witgate::policy::Digest;

use super::{Tools, Tutorial};
use crate::bench::watch::now;
use crate::say;

/// Compiling an interpreter at the lowest priority takes a minute.
const PATIENCE: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_millis(100);

/// A running gateway; dropping it ends it.
pub(super) struct Live {
    child: Child,
    folder: TempDir,
    address: SocketAddr,
    name: String,
}

/// What the gateway prints and logs.
const LOG: &str = "gateway.log";

impl Live {
    /// Starts a gateway as a tutorial does, whose group is decided by a policy `name` that is a shipped one for now.
    pub(super) fn start(root: &Path, tools: &Tools, name: &str, tutorial: &Tutorial) -> Result<Self, String> {
        let failed = |problem: std::io::Error| problem.to_string();
        let folder = tempfile::tempdir().map_err(failed)?;
        let policies = folder.path().join("policies");
        fs::create_dir(&policies).map_err(failed)?;
        fs::copy(root.join("policies/least-busy.wasm"), policies.join(name).with_extension("wasm")).map_err(failed)?;
        Self::serve(tools, folder, name, &tutorial.config, &tutorial.serve)
    }

    /// The same with a configuration and components of one's own, by name.
    pub(super) fn with(tools: &Tools, config: &str, components: &[(String, PathBuf)]) -> Result<Self, String> {
        let failed = |problem: std::io::Error| problem.to_string();
        let folder = tempfile::tempdir().map_err(failed)?;
        let policies = folder.path().join("policies");
        fs::create_dir(&policies).map_err(failed)?;
        for (name, component) in components {
            fs::copy(component, policies.join(name).with_extension("wasm"))
                .map_err(|problem| format!("{}: {problem}", component.display()))?;
        }
        Self::serve(tools, folder, "", config, "witgate serve --config config.yaml --policies policies")
    }

    fn serve(tools: &Tools, folder: TempDir, name: &str, config: &str, serve: &str) -> Result<Self, String> {
        let failed = |problem: std::io::Error| problem.to_string();
        fs::write(folder.path().join("config.yaml"), config).map_err(failed)?;
        let mut command = Command::new("sh");
        tools.equip(&mut command);
        let log = fs::File::create(folder.path().join(LOG)).map_err(failed)?;
        let child = command
            .current_dir(&folder)
            .args(["-c", &format!("exec {serve} --port 0 --log warn")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log)
            .spawn()
            .map_err(|problem| format!("witgate: {problem}; build it with `cargo build --workspace`"))?;
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        // From here on it is ended whatever happens.
        let mut live = Self { child, folder, address: unknown, name: name.to_owned() };
        let printed =
            live.logged(|log| log.split_once("listening on http://").is_some_and(|(_, rest)| rest.contains('\n')))?;
        let address = printed.split("listening on http://").nth(1).and_then(|rest| rest.split_whitespace().next());
        let address = address.ok_or("the gateway has no address")?;
        live.address = address.parse().map_err(|problem| format!("{address}: {problem}"))?;
        Ok(live)
    }

    /// Waits until what it printed and logged is as `wanted`.
    fn logged(&mut self, wanted: impl Fn(&str) -> bool) -> Result<String, String> {
        let start = now();
        loop {
            let log = fs::read_to_string(self.folder.path().join(LOG)).map_err(|problem| problem.to_string())?;
            if wanted(&log) {
                return Ok(log);
            }
            let ended = self.child.try_wait().is_ok_and(|ended| ended.is_some());
            if ended || start.elapsed() > PATIENCE {
                return Err(format!("the gateway does not say what it should: {log}"));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Asks with a priority on which the policy raises: the request is served, and the policy's words are in the log, with the request.
    pub(super) fn raised(&mut self, priority: i32, words: &str) -> Result<(), String> {
        let before = fs::metadata(self.folder.path().join(LOG)).map_err(|problem| problem.to_string())?.len();
        let before = usize::try_from(before).map_err(|problem| problem.to_string())?;
        let head = self.chat(priority)?;
        if !head.starts_with("HTTP/1.1 200") {
            return Err(format!("a request failed because its policy raised: {head}"));
        }
        let name = self.name.clone();
        let told = |log: &str| {
            let new = log.get(before..).unwrap_or_default();
            new.lines().any(|line| line.contains(words) && line.contains(&name))
        };
        self.logged(told).map(drop)
    }

    /// The folder it watches.
    pub(super) fn policies(&self) -> PathBuf {
        self.folder.path().join("policies")
    }

    /// Asks until this component has decided a request. No request may fail meanwhile.
    pub(super) fn decided_by(&self, component: &Path) -> Result<(), String> {
        let start = now();
        loop {
            // Read each time: under watch there may be a newer one meanwhile.
            let bytes = fs::read(component).map_err(|problem| format!("{}: {problem}", component.display()))?;
            let wanted = format!("x-witgate-policy: {}@{}", self.name, Digest::of(&bytes).short());
            let head = self.chat(0)?;
            if !head.starts_with("HTTP/1.1 200") {
                return Err(format!("a request failed while the policy was swapped: {head}"));
            }
            if head.contains(&wanted) {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                return Err(format!("not `{wanted}` after {} s: {head}", PATIENCE.as_secs()));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Asks as the tutorial does. It must say which deployment is the cheaper one, and who chose it.
    pub(super) fn asked_as_shown(&self, tools: &Tools, tutorial: &Tutorial) -> Result<(), String> {
        let ask = tutorial.ask.replace("127.0.0.1:4000", &self.address.to_string());
        let output = match tools.shell(self.folder.path(), "command -v curl").output() {
            Ok(found) if found.status.success() => tools.shell(self.folder.path(), &ask).output(),
            _ => {
                say("no curl here: the tutorials' own question is not asked");
                return Ok(());
            }
        };
        let output = output.map_err(|problem| format!("{ask}: {problem}"))?;
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let wanted = [format!("x-witgate-policy: {}@", self.name), "x-witgate-deployment: cheap".to_owned()];
        match wanted.iter().find(|wanted| !told.contains(*wanted)) {
            Some(missing) => Err(format!("`{ask}` gives no `{missing}`: {told}")),
            None => Ok(()),
        }
    }

    /// The head of the reply to a word.
    fn chat(&self, priority: i32) -> Result<String, String> {
        let body = format!(
            r#"{{"model":"chat","max_tokens":1,"priority":{priority},"messages":[{{"role":"user","content":"hi"}}]}}"#
        );
        Ok(self.ask(&body)?.split("\r\n\r\n").next().unwrap_or_default().to_owned())
    }

    /// The whole reply to a request, as it came.
    pub(super) fn ask(&self, body: &str) -> Result<String, String> {
        let failed = |problem: std::io::Error| problem.to_string();
        let length = body.len();
        let mut socket = TcpStream::connect(self.address).map_err(failed)?;
        socket.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        write!(
            socket,
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
        .map_err(failed)?;
        let mut reply = String::new();
        socket.read_to_string(&mut reply).map_err(failed)?;
        Ok(reply)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

//! The running gateway that every component is put under.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
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
    _stdout: BufReader<ChildStdout>,
}

impl Live {
    /// Starts a gateway as a tutorial does, whose group is decided by a policy `name` that is a shipped one for now.
    pub(super) fn start(root: &Path, tools: &Tools, name: &str, tutorial: &Tutorial) -> Result<Self, String> {
        let failed = |problem: std::io::Error| problem.to_string();
        let folder = tempfile::tempdir().map_err(failed)?;
        let policies = folder.path().join("policies");
        fs::create_dir(&policies).map_err(failed)?;
        fs::copy(root.join("policies/least-busy.wasm"), policies.join(name).with_extension("wasm")).map_err(failed)?;
        fs::write(folder.path().join("config.yaml"), &tutorial.config).map_err(failed)?;
        let mut command = Command::new("sh");
        tools.equip(&mut command);
        let mut child = command
            .current_dir(&folder)
            .args(["-c", &format!("exec {} --port 0 --log error", tutorial.serve)])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|problem| format!("witgate: {problem}; build it with `cargo build --workspace`"))?;
        let mut stdout = BufReader::new(child.stdout.take().ok_or("the gateway has no standard output")?);
        let mut line = String::new();
        let address = loop {
            line.clear();
            if stdout.read_line(&mut line).map_err(failed)? == 0 {
                return Err("the gateway did not start".to_owned());
            }
            if let Some((_, address)) = line.split_once("listening on http://") {
                break address.trim().parse().map_err(|problem| format!("{line}: {problem}"))?;
            }
        };
        Ok(Self { child, folder, address, name: name.to_owned(), _stdout: stdout })
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
            let head = self.chat()?;
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
    fn chat(&self) -> Result<String, String> {
        let failed = |problem: std::io::Error| problem.to_string();
        let body = r#"{"model":"chat","max_tokens":1,"messages":[{"role":"user","content":"hi"}]}"#;
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
        Ok(reply.split("\r\n\r\n").next().unwrap_or_default().to_owned())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

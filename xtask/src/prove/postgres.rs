//! A Postgres server of its own, in a folder that goes with it.

use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use witgate::store::Place;

use crate::bench::watch::now;

/// Whom the server runs as where this is root's: it refuses to be root.
const NOBODY: u32 = 65_534;
/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Postgres {
    child: Option<Child>,
    programs: PathBuf,
    port: u16,
    folder: TempDir,
}

impl Postgres {
    /// Starts one; `None` where none is installed.
    pub(super) fn start() -> Result<Option<Self>, String> {
        let Some(programs) = programs() else { return Ok(None) };
        let words = |problem: std::io::Error| problem.to_string();
        let listener = TcpListener::bind("127.0.0.1:0").map_err(words)?;
        let port = listener.local_addr().map_err(words)?.port();
        drop(listener);
        let folder = tempfile::Builder::new().prefix("witgate-postgres-").tempdir().map_err(words)?;
        if rustix::process::geteuid().is_root() {
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).map_err(words)?;
        }
        let mut server = Self { child: None, programs, port, folder };
        let made = server.command("initdb").args(["-A", "trust", "-U", "witgate", "-E", "UTF8", "--no-sync"]).status();
        if !made.map_err(words)?.success() {
            return Err("initdb failed".to_owned());
        }
        server.begin()?;
        Ok(Some(server))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(self.folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.env("LC_ALL", "C").arg("-D").arg(self.folder.path().join("data"));
        if rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// Starts it, again with what it had, and waits until it answers.
    pub(super) fn begin(&mut self) -> Result<(), String> {
        let settings = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off"];
        let child = self.command("postgres").args(["-p", &self.port.to_string()]).args(settings).spawn();
        self.child = Some(child.map_err(|problem| problem.to_string())?);
        let (place, began) = (Place::Server(self.url().into()), now());
        while let Err(why) = place.read() {
            if began.elapsed() > PATIENCE {
                return Err(why);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Ends it; what it has stays for another beginning.
    pub(super) fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // It ends those it has started, and its clients' connections.
        let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
        }
        let _gone = child.wait();
    }

    pub(super) fn url(&self) -> String {
        format!("postgres://witgate@127.0.0.1:{}/postgres", self.port)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Where the server's programs are: Debian keeps them out of the path.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let debian = debian.filter_map(|version| Some(version.ok()?.path().join("bin")));
    let all: Vec<PathBuf> = debian.chain(std::env::split_paths(&path)).collect();
    let has = |folder: &Path| ["initdb", "postgres"].iter().all(|program| folder.join(program).exists());
    all.into_iter().find(|folder| has(folder))
}

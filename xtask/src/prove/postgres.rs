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
    child: Child,
    port: u16,
    _folder: TempDir,
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
        let root = rustix::process::geteuid().is_root();
        if root {
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).map_err(words)?;
        }
        let data = folder.path().join("data");
        let command = |program: &str| {
            let mut command = Command::new(programs.join(program));
            command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command.env("LC_ALL", "C").arg("-D").arg(&data);
            if root {
                command.uid(NOBODY).gid(NOBODY);
            }
            command
        };
        let made = command("initdb").args(["-A", "trust", "-U", "witgate", "-E", "UTF8", "--no-sync"]).status();
        if !made.map_err(words)?.success() {
            return Err("initdb failed".to_owned());
        }
        let port_text = port.to_string();
        let settings = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off"];
        let child = command("postgres").args(["-p", &port_text]).args(settings).spawn().map_err(words)?;
        let server = Self { child, port, _folder: folder };
        let (place, began) = (Place::Server(server.url().into()), now());
        while let Err(why) = place.read() {
            if began.elapsed() > PATIENCE {
                return Err(why);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Some(server))
    }

    pub(super) fn url(&self) -> String {
        format!("postgres://witgate@127.0.0.1:{}/postgres", self.port)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // It ends those it has started, and its clients' connections.
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
        }
        let _gone = self.child.wait();
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

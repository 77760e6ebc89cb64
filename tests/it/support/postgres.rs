//! A Postgres server of a test's own.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use witgate::store::Place;

/// Whom the server runs as where the tests are root's: it refuses to be root.
const NOBODY: u32 = 65_534;

pub(crate) struct Postgres {
    programs: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

impl Postgres {
    /// One that answers; `None` where none is installed.
    pub(crate) async fn start() -> Option<Self> {
        let programs = programs()?;
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::Builder::new().prefix("witgate-postgres-").tempdir().unwrap();
        if rustix::process::geteuid().is_root() {
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let mut server = Self { programs, folder, port, child: None };
        let mut made = server.command("initdb");
        let made = made.args(["-A", "trust", "-U", "witgate", "-E", "UTF8", "--no-sync"]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        server.begin().await;
        Some(server)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(self.folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.env("LC_ALL", "C").arg("-D").arg(self.folder.path().join("data"));
        if rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// Starts it, on the data that are there.
    pub(crate) async fn begin(&mut self) {
        let mut server = self.command("postgres");
        server.args(["-p", &self.port.to_string(), "-c", "fsync=off", "-c", "listen_addresses=127.0.0.1"]);
        server.args(["-c", "unix_socket_directories="]).stderr(Stdio::null());
        self.child = Some(server.spawn().unwrap());
        let place = Place::Server(self.url().into());
        super::until("the server answers", || place.read().is_ok()).await;
    }

    /// Ends it at once, whoever is connected.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let stopped = self.command("pg_ctl").args(["stop", "-m", "immediate"]).output().unwrap();
            assert!(stopped.status.success(), "{}", String::from_utf8_lossy(&stopped.stderr));
            child.wait().unwrap();
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://witgate@127.0.0.1:{}/postgres", self.port)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Where the server's programs are: Debian keeps them out of the path.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let debian = debian.filter_map(|version| Some(version.ok()?.path().join("bin")));
    let all: Vec<PathBuf> = debian.chain(std::env::split_paths(&path)).collect();
    let has = |folder: &Path| ["initdb", "postgres", "pg_ctl"].iter().all(|program| folder.join(program).exists());
    all.into_iter().find(|folder| has(folder))
}

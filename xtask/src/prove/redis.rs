//! A Redis server of its own, in a folder that its owner keeps.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::bench::watch::now;

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Redis {
    folder: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl Redis {
    /// Whether there is a server to start.
    pub(super) fn is_installed() -> bool {
        Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_ok()
    }

    /// Starts one.
    pub(super) fn start(folder: &Path) -> Result<Self, String> {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = free.map_err(|problem| problem.to_string())?.port();
        let mut redis = Self { folder: folder.to_owned(), port, child: None };
        redis.begin()?;
        Ok(redis)
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// Starts it again, at the same port and with nothing of what it knew.
    pub(super) fn begin(&mut self) -> Result<(), String> {
        let mut command = Command::new("redis-server");
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        let child = command.current_dir(&self.folder).stdout(Stdio::null()).spawn();
        self.child = Some(child.map_err(|problem| format!("redis-server: {problem}"))?);
        let began = now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if began.elapsed() > PATIENCE {
                return Err("redis-server does not answer".to_owned());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ended = child.kill();
            let _waited = child.wait();
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

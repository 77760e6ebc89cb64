//! The yardstick: nginx as a plain proxy to the same upstream, two workers, connections kept on both sides.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::client::{Client, request};
use super::load;
use super::watch::{Processes, now};

/// How long it may take to listen.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running nginx; dropping it ends it.
pub(crate) struct Nginx {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Nginx {
    /// Writes a configuration into a folder of its own and starts nginx with it.
    pub(crate) async fn start(upstream: SocketAddr) -> Result<Self, String> {
        let failed = |problem: std::io::Error| format!("nginx could not be set up: {problem}");
        let folder = tempfile::tempdir().map_err(failed)?;
        // It cannot choose a port and tell: one that was free a moment ago has to do.
        let address = TcpListener::bind(("127.0.0.1", 0)).and_then(|free| free.local_addr()).map_err(failed)?;
        let path = folder.path().join("nginx.conf");
        fs::write(&path, configuration(folder.path(), address, upstream)).map_err(failed)?;
        let child = Command::new("nginx")
            .arg("-p")
            .arg(folder.path())
            .arg("-c")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|problem| format!("nginx could not be run: {problem}\nhint: apt-get install nginx-light"))?;
        let mut nginx = Self { child, address, _folder: folder };
        nginx.answers().await?;
        Ok(nginx)
    }

    /// As a path of the benchmark.
    pub(crate) fn path(&self) -> load::Path {
        load::Path { name: "nginx", address: self.address, processes: Processes::family(self.child.id()) }
    }

    async fn answers(&mut self) -> Result<(), String> {
        let start = now();
        let asked = request("/v1/chat/completions", "fast", false);
        loop {
            let answer = match Client::connect(self.address).await {
                Ok(mut client) => client.ask(&asked).await.map(|_| ()),
                Err(problem) => Err(problem),
            };
            match answer {
                Ok(()) => return Ok(()),
                Err(problem) if start.elapsed() > PATIENCE => return Err(format!("nginx does not answer: {problem}")),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master must end its workers itself; killed, it would leave them behind.
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let _already_gone = pid.map(|pid| kill_process(pid, Signal::TERM));
        let _ = self.child.wait();
    }
}

fn configuration(folder: &Path, address: SocketAddr, upstream: SocketAddr) -> String {
    let folder = folder.display();
    format!(
        "daemon off;
worker_processes 2;
pid {folder}/pid;
error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 100000000;
  tcp_nodelay on;
  upstream provider {{ server {upstream}; keepalive 128; keepalive_requests 100000000; }}
  server {{
    listen {address};
    location / {{
      proxy_pass http://provider;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_buffering off;
    }}
  }}
}}
"
    )
}

//! nginx with one worker: the API behind the proxies that are compared, and one of those proxies.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use tempfile::TempDir;

use crate::process::{Process, free_address};

/// What it serves of each connection to it before it closes it: more than a measurement sends.
const REQUESTS: u32 = 1_000_000_000;

/// It stops when this is dropped.
#[derive(Debug)]
pub(crate) struct Nginx {
    pub(crate) process: Process,
    address: SocketAddr,
    _folder: TempDir,
}

impl Nginx {
    /// Answers each request with 1 KiB of JSON.
    pub(crate) fn api() -> anyhow::Result<Self> {
        let body = format!(r#"{{"data":"{}"}}"#, "x".repeat(1_000));
        Self::start(&format!("location / {{ default_type application/json; return 200 '{body}'; }}"), "")
    }

    /// Sends `/site/rest` on to `/rest` of the API, with a token, over connections that are kept.
    pub(crate) fn proxy(api: SocketAddr, site: &str, token: &str) -> anyhow::Result<Self> {
        let location = format!(
            "location /{site}/ {{
                proxy_pass http://api/;
                proxy_http_version 1.1;
                proxy_set_header Connection '';
                proxy_set_header Authorization 'Bearer {token}';
            }}"
        );
        // As many connections as the gateway keeps.
        let upstream = format!("upstream api {{ server {api}; keepalive 256; keepalive_requests {REQUESTS}; }}");
        Self::start(&location, &upstream)
    }

    fn start(location: &str, upstream: &str) -> anyhow::Result<Self> {
        let (address, folder) = (free_address()?, tempfile::tempdir()?);
        let path = folder.path().display();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary = temporary.map(|kind| format!("{kind}_temp_path {path}/{kind};\n")).concat();
        let config = format!(
            "daemon off;
            worker_processes 1;
            pid {path}/pid;
            error_log stderr crit;
            events {{ worker_connections 8192; }}
            http {{
                access_log off;
                keepalive_requests {REQUESTS};
                {temporary}
                {upstream}
                server {{ listen {address}; {location} }}
            }}"
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, config)?;
        // `-e`: else it opens the log that it was built with.
        let mut command = Command::new(program());
        command.args(["-e", "stderr", "-c"]).arg(&file).arg("-p").arg(folder.path());
        let mut process = Process::start_with_log(&mut command)?;
        process.until("nginx to accept connections", || Ok(TcpStream::connect(address).is_ok().then_some(())))?;
        Ok(Self { process, address, _folder: folder })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Debian installs it where only the administrator's shell looks.
fn program() -> &'static str {
    let debian = "/usr/sbin/nginx";
    if fs::exists(debian).unwrap_or(false) { debian } else { "nginx" }
}

//! Certificates of an authority of one's own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::redis_server::Port;

/// The kind of all keys.
const KEY: &str = "ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";

/// An authority and one certificate of it, for servers and clients on the loopback.
pub(crate) struct Papers(TempDir);

impl Papers {
    pub(crate) fn issue() -> Self {
        let papers = Self(TempDir::new().unwrap());
        papers.openssl(&format!("req -x509 -newkey {KEY} -keyout ca.key -out ca.crt -days 2 -subj /CN=ca"));
        papers.sign("it", "IP:127.0.0.1", 2);
        papers
    }

    /// One more certificate, for this host; one that ends before it begins counts as expired.
    pub(crate) fn sign(&self, name: &str, host: &str, days: i32) {
        self.sign_with(name, Some(&format!("subjectAltName={host}\nbasicConstraints=CA:FALSE\n")), days);
    }

    /// `nameless` has a name in CN alone; `old` is of X.509 version 1, which has no extensions.
    pub(crate) fn sign_without_names(&self) {
        self.sign_with("nameless", Some("basicConstraints=CA:FALSE\n"), 2);
        self.sign_with("old", None, 2);
    }

    fn sign_with(&self, name: &str, extensions: Option<&str>, days: i32) {
        std::fs::write(self.file("extensions"), extensions.unwrap_or_default()).unwrap();
        self.openssl(&format!("req -newkey {KEY} -keyout {name}.key -out {name}.csr -subj /CN={name}"));
        let authority = "-CA ca.crt -CAkey ca.key -CAcreateserial";
        let extensions = extensions.map_or("", |_| " -extfile extensions");
        self.openssl(&format!("x509 -req {authority} -in {name}.csr -out {name}.crt -days {days}{extensions}"));
    }

    fn openssl(&self, arguments: &str) {
        let mut openssl = Command::new("openssl");
        let output = openssl.args(arguments.split(' ')).current_dir(self.0.path()).output();
        let output = output.unwrap_or_else(|error| panic!("openssl cannot be started: install it: {error}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The configuration of a server with the certificate `it`.
    pub(crate) fn lines(&self, port: &Port, clients: &str) -> Vec<String> {
        self.lines_of("it", port, clients)
    }

    /// The configuration of a server with this certificate.
    pub(crate) fn lines_of(&self, name: &str, port: &Port, clients: &str) -> Vec<String> {
        let at = |name: &str| Path::display(&self.file(name)).to_string();
        vec![
            format!("tls-port {}", port.number()),
            format!("tls-ca-cert-file {}", at("ca.crt")),
            format!("tls-cert-file {}", at(&format!("{name}.crt"))),
            format!("tls-key-file {}", at(&format!("{name}.key"))),
            format!("tls-auth-clients {clients}"),
        ]
    }
}

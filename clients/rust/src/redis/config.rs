//! The settings of a connection.

use std::path::PathBuf;

use secrecy::SecretString;

/// How Redis is reached.
#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// `redis://`, `rediss://` or `unix://`, user, password and database included. With Sentinel or Cluster the
    /// user, password and database of the data nodes are taken from it, and its address is not used.
    pub url: SecretString,
    /// The password, where the URL has none.
    pub password: Option<SecretString>,
    /// For `rediss://`.
    pub tls: TlsConfig,
    /// How the server is found.
    pub topology: Topology,
}

/// Certificates for `rediss://`.
#[derive(Debug, Clone, Default)]
pub struct TlsConfig {
    /// The authorities to trust in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// The client's certificate.
    pub cert_file: Option<PathBuf>,
    /// The client's key.
    pub key_file: Option<PathBuf>,
}

/// How the server is found.
#[derive(Debug, Clone)]
pub enum Topology {
    /// At the URL.
    Single,
    /// The Sentinels know where the master is.
    Sentinel {
        /// The Sentinels' URLs.
        nodes: Vec<SecretString>,
        /// The name under which they watch the master.
        master: String,
    },
    /// A Cluster: the keys of a site must share a slot.
    Cluster {
        /// Some nodes to start from, as URLs.
        nodes: Vec<SecretString>,
    },
}

//! The settings of a connection.

use std::path::PathBuf;

use redis::ConnectionAddr;
use secrecy::SecretString;

use super::url::RedisUrl;

#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// With Sentinel or Cluster the user, password and database of the data nodes are taken from it, and its address is
    /// not used.
    pub url: RedisUrl,
    /// The password, where the URL has none.
    pub password: Option<SecretString>,
    pub tls: TlsConfig,
    pub topology: Topology,
}

impl RedisConfig {
    /// The servers that are tried, as messages name them: without user and password.
    #[must_use]
    pub fn servers(&self) -> String {
        let (kind, nodes) = match &self.topology {
            Topology::Single => ("Redis", std::slice::from_ref(&self.url)),
            Topology::Sentinel { nodes, .. } => ("Sentinel", &nodes[..]),
            Topology::Cluster { nodes } => ("Redis Cluster", &nodes[..]),
        };
        let nodes: Vec<String> = nodes.iter().map(|node| shown(node.0.addr())).collect();
        format!("{kind} at {}", nodes.join(", "))
    }
}

/// An address for messages.
pub(super) fn shown(address: &ConnectionAddr) -> String {
    match address {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } if host.contains(':') => {
            format!("[{host}]:{port}")
        }
        address => address.to_string(),
    }
}

/// Certificates for `rediss://`.
#[derive(Debug, Clone, Default)]
pub struct TlsConfig {
    /// The authorities to trust in place of the system's.
    pub ca_file: Option<PathBuf>,
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
}

#[derive(Debug, Clone)]
pub enum Topology {
    Single,
    /// The Sentinels name the master.
    Sentinel {
        nodes: Vec<RedisUrl>,
        /// The name under which they watch the master.
        master: String,
    },
    /// A Cluster: the keys of a site must share a slot.
    Cluster {
        /// Some nodes to start from, as URLs.
        nodes: Vec<RedisUrl>,
    },
}

//! How Redis is reached.

use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::reader::{Read, Reader};
use super::value;

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

impl RedisConfig {
    pub(super) fn read(reader: &mut Reader) -> Read<Self> {
        let url = reader.required("redis.url", value::redis_address);
        let password = reader.optional("redis.password", value::secret);
        let tls = TlsConfig::read(reader);
        let topology = Topology::read(reader);
        let (url, mut password, tls, topology) = (url?, password?, tls?, topology?);
        let parsed = Url::parse(url.expose_secret()).ok();
        if password.is_some() && parsed.as_ref().is_some_and(has_password) {
            reader.warn("redis.password (REDIS_PASSWORD) is not used: redis.url has a password".to_owned());
            password = None;
        }
        let nodes: Vec<&SecretString> = match &topology {
            Topology::Single => vec![&url],
            Topology::Sentinel { nodes, .. } | Topology::Cluster { nodes } => {
                std::iter::once(&url).chain(nodes).collect()
            }
        };
        if tls.is_set() && !nodes.iter().any(|node| node.expose_secret().starts_with("rediss:")) {
            reader.warn("the certificates of redis are not used: no address begins with rediss://".to_owned());
        }
        let database = parsed.as_ref().map_or("", |url| url.path().trim_matches('/'));
        if matches!(topology, Topology::Cluster { .. }) && !matches!(database, "" | "0") {
            return Err(reader.conflict(format!("redis.url: a Cluster has database 0 alone, not {database}")));
        }
        Ok(Self { url, password, tls, topology })
    }
}

/// A socket's URL has its password among the parameters.
fn has_password(url: &Url) -> bool {
    url.password().is_some() || (url.scheme() == "unix" && url.query_pairs().any(|(name, _)| name == "pass"))
}

impl TlsConfig {
    fn read(reader: &mut Reader) -> Read<Self> {
        let ca_file = reader.optional("redis.tls_ca_file", value::present_file);
        let cert_file = reader.optional("redis.tls_cert_file", value::present_file);
        let key_file = reader.optional("redis.tls_key_file", value::present_file);
        let tls = Self { ca_file: ca_file?, cert_file: cert_file?, key_file: key_file? };
        if tls.cert_file.is_some() != tls.key_file.is_some() {
            let both = "redis.tls_cert_file (REDIS_TLS_CERT_FILE) and redis.tls_key_file (REDIS_TLS_KEY_FILE)";
            return Err(reader.conflict(format!("{both} need each other: only one is set")));
        }
        Ok(tls)
    }

    const fn is_set(&self) -> bool {
        self.ca_file.is_some() || self.cert_file.is_some()
    }
}

impl Topology {
    fn read(reader: &mut Reader) -> Read<Self> {
        let sentinels = reader.list("redis.sentinel.nodes", value::redis_address);
        let master = reader.optional("redis.sentinel.master", value::text);
        let cluster = reader.list("redis.cluster.nodes", value::redis_address);
        match (sentinels?, master?, cluster?) {
            (sentinels, None, nodes) if sentinels.is_empty() && nodes.is_empty() => Ok(Self::Single),
            (sentinels, None, nodes) if sentinels.is_empty() => Ok(Self::Cluster { nodes }),
            (nodes, Some(master), cluster) if !nodes.is_empty() && cluster.is_empty() => {
                Ok(Self::Sentinel { nodes, master })
            }
            (_, _, cluster) if !cluster.is_empty() => {
                Err(reader.conflict("redis.sentinel and redis.cluster are both set: keep one of them".to_owned()))
            }
            (_, None, _) => Err(reader.missing("redis.sentinel.master", "the name under which they watch the master")),
            (..) => Err(reader.missing("redis.sentinel.nodes", "expected a list such as [\"redis://sentinel:26379\"]")),
        }
    }
}

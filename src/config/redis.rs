//! The connection to Redis.

use secrecy::SecretString;
use serde::Deserialize;
use token_sidecar_client::redis::{RedisConfig, RedisUrl, TlsConfig, Topology};

use super::reader::Section;
use super::redaction::{Secret, SecretAddress};
use super::value::{PresentFile, RedisAddress};

/// `[redis]`
#[derive(Deserialize)]
pub(super) struct RedisSection {
    url: SecretAddress<RedisAddress>,
    password: Secret<Option<SecretString>>,
    tls_ca_file: Option<PresentFile>,
    tls_cert_file: Option<PresentFile>,
    tls_key_file: Option<PresentFile>,
    sentinel: SentinelSection,
    cluster: ClusterSection,
}

#[derive(Deserialize)]
struct SentinelSection {
    nodes: SecretAddress<Vec<RedisAddress>>,
    master: Option<String>,
}

#[derive(Deserialize)]
struct ClusterSection {
    nodes: SecretAddress<Vec<RedisAddress>>,
}

impl RedisSection {
    pub(super) fn build(self, process: &mut Section) -> RedisConfig {
        let url = self.url.0.0;
        let mut password = self.password.0;
        if password.is_some() && url.has_password() {
            process.warn("redis.password (REDIS_PASSWORD) is not used: redis.url has a password".to_owned());
            password = None;
        }
        let file = |file: Option<PresentFile>| file.map(|file| file.0);
        let tls = TlsConfig {
            ca_file: file(self.tls_ca_file),
            cert_file: file(self.tls_cert_file),
            key_file: file(self.tls_key_file),
        };
        if tls.cert_file.is_some() != tls.key_file.is_some() {
            let both = "redis.tls_cert_file (REDIS_TLS_CERT_FILE) and redis.tls_key_file (REDIS_TLS_KEY_FILE)";
            process.conflict(
                &["redis.tls_cert_file", "redis.tls_key_file"],
                format!("{both} need each other: only one is set"),
            );
        }
        let topology = topology(self.sentinel, self.cluster, process);
        let nodes: &[RedisUrl] = match &topology {
            Topology::Single => &[],
            Topology::Sentinel { nodes, .. } | Topology::Cluster { nodes } => nodes,
        };
        let has_certificates = tls.ca_file.is_some() || tls.cert_file.is_some();
        if has_certificates && !url.is_tls() && !nodes.iter().any(RedisUrl::is_tls) {
            process.warn("the certificates of redis are not used: no address begins with rediss://".to_owned());
        }
        if matches!(topology, Topology::Cluster { .. }) && url.database() != 0 {
            process.conflict(
                &["redis.url", "redis.cluster"],
                format!("redis.url: a Cluster has database 0 alone, not {}", url.database()),
            );
        }
        RedisConfig { url, password, tls, topology }
    }
}

fn topology(sentinel: SentinelSection, cluster: ClusterSection, process: &mut Section) -> Topology {
    let urls = |nodes: SecretAddress<Vec<RedisAddress>>| nodes.0.into_iter().map(|node| node.0).collect();
    let (sentinels, nodes): (Vec<_>, Vec<_>) = (urls(sentinel.nodes), urls(cluster.nodes));
    match (sentinel.master, sentinels.is_empty(), nodes.is_empty()) {
        (None, true, true) => {}
        (None, true, false) => return Topology::Cluster { nodes },
        (Some(master), false, true) => return Topology::Sentinel { nodes: sentinels, master },
        (_, _, false) => process.conflict(
            &["redis.sentinel", "redis.cluster"],
            "redis.sentinel and redis.cluster are both set: keep one of them".to_owned(),
        ),
        (None, false, true) => {
            process.missing("redis.sentinel.master", "the name under which they watch the master");
        }
        (Some(_), true, true) => {
            process.missing("redis.sentinel.nodes", "expected a list such as [\"redis://sentinel:26379\"]");
        }
    }
    Topology::Single
}

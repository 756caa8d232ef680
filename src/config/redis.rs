//! How Redis is reached.

use secrecy::{ExposeSecret, SecretString};
use token_sidecar_client::redis::{RedisConfig, TlsConfig, Topology};
use url::Url;

use super::reader::{Read, Reader};
use super::value;

pub(super) fn read(reader: &mut Reader) -> Read<RedisConfig> {
    let url = reader.required("redis.url", value::redis_address);
    let password = reader.optional("redis.password", value::secret);
    let tls = read_tls(reader);
    let topology = read_topology(reader);
    let (url, mut password, tls, topology) = (url?, password?, tls?, topology?);
    let parsed = Url::parse(url.expose_secret()).ok();
    if password.is_some() && parsed.as_ref().is_some_and(has_password) {
        reader.warn("redis.password (REDIS_PASSWORD) is not used: redis.url has a password".to_owned());
        password = None;
    }
    let nodes: Vec<&SecretString> = match &topology {
        Topology::Single => vec![&url],
        Topology::Sentinel { nodes, .. } | Topology::Cluster { nodes } => std::iter::once(&url).chain(nodes).collect(),
    };
    if is_set(&tls) && !nodes.iter().any(|node| node.expose_secret().starts_with("rediss:")) {
        reader.warn("the certificates of redis are not used: no address begins with rediss://".to_owned());
    }
    let database = parsed.as_ref().map_or("", |url| url.path().trim_matches('/'));
    if matches!(topology, Topology::Cluster { .. }) && !matches!(database, "" | "0") {
        return Err(reader.conflict(format!("redis.url: a Cluster has database 0 alone, not {database}")));
    }
    Ok(RedisConfig { url, password, tls, topology })
}

/// A socket's URL has its password among the parameters.
fn has_password(url: &Url) -> bool {
    url.password().is_some() || (url.scheme() == "unix" && url.query_pairs().any(|(name, _)| name == "pass"))
}

fn read_tls(reader: &mut Reader) -> Read<TlsConfig> {
    let ca_file = reader.optional("redis.tls_ca_file", value::present_file);
    let cert_file = reader.optional("redis.tls_cert_file", value::present_file);
    let key_file = reader.optional("redis.tls_key_file", value::present_file);
    let tls = TlsConfig { ca_file: ca_file?, cert_file: cert_file?, key_file: key_file? };
    if tls.cert_file.is_some() != tls.key_file.is_some() {
        let both = "redis.tls_cert_file (REDIS_TLS_CERT_FILE) and redis.tls_key_file (REDIS_TLS_KEY_FILE)";
        return Err(reader.conflict(format!("{both} need each other: only one is set")));
    }
    Ok(tls)
}

const fn is_set(tls: &TlsConfig) -> bool {
    tls.ca_file.is_some() || tls.cert_file.is_some()
}

fn read_topology(reader: &mut Reader) -> Read<Topology> {
    let sentinels = reader.list("redis.sentinel.nodes", value::redis_address);
    let master = reader.optional("redis.sentinel.master", value::text);
    let cluster = reader.list("redis.cluster.nodes", value::redis_address);
    match (sentinels?, master?, cluster?) {
        (sentinels, None, nodes) if sentinels.is_empty() && nodes.is_empty() => Ok(Topology::Single),
        (sentinels, None, nodes) if sentinels.is_empty() => Ok(Topology::Cluster { nodes }),
        (nodes, Some(master), cluster) if !nodes.is_empty() && cluster.is_empty() => {
            Ok(Topology::Sentinel { nodes, master })
        }
        (_, _, cluster) if !cluster.is_empty() => {
            Err(reader.conflict("redis.sentinel and redis.cluster are both set: keep one of them".to_owned()))
        }
        (_, None, _) => Err(reader.missing("redis.sentinel.master", "the name under which they watch the master")),
        (..) => Err(reader.missing("redis.sentinel.nodes", "expected a list such as [\"redis://sentinel:26379\"]")),
    }
}

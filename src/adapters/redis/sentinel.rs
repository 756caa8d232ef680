//! The way to the master by way of its Sentinels.

use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{ConnectionAddr, ConnectionInfo, RedisConnectionInfo, RedisResult, TlsCertificates, TlsMode};

/// The Sentinels, and how the master that they name is spoken to.
#[derive(Clone)]
pub(super) struct Sentinels {
    /// They all have the same credentials.
    pub(super) nodes: Vec<ConnectionInfo>,
    /// The name under which they watch the master.
    pub(super) master: String,
    /// User, password, database and encryption of the data nodes; its address is not used.
    pub(super) data: ConnectionInfo,
    pub(super) certificates: Option<TlsCertificates>,
}

impl Sentinels {
    /// A client that asks them.
    pub(super) fn client(&self) -> RedisResult<SentinelClient> {
        let addresses = self.nodes.iter().map(|node| node.addr().clone());
        let data = self.data.redis_settings();
        let mut builder = SentinelClientBuilder::new(addresses, &self.master, SentinelServerType::Master)?
            .set_client_to_redis_db(data.db());
        let first = self.nodes.first().map(ConnectionInfo::redis_settings);
        if let Some(user) = first.and_then(RedisConnectionInfo::username) {
            builder = builder.set_client_to_sentinel_username(user);
        }
        if let Some(password) = first.and_then(RedisConnectionInfo::password) {
            builder = builder.set_client_to_sentinel_password(password);
        }
        if let Some(user) = data.username() {
            builder = builder.set_client_to_redis_username(user);
        }
        if let Some(password) = data.password() {
            builder = builder.set_client_to_redis_password(password);
        }
        if matches!(self.data.addr(), ConnectionAddr::TcpTls { .. }) {
            builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
        }
        if let Some(certificates) = &self.certificates {
            builder = builder.set_client_to_redis_certificates(certificates.clone());
        }
        builder.build()
    }
}

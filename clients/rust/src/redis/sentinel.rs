//! Finding the master through its Sentinels.

use redis::aio::MultiplexedConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, ProtocolVersion, PushInfo, PushKind,
    RedisConnectionInfo, RedisResult, TlsCertificates, TlsMode, Value,
};

/// The Sentinels, and how to connect to the master that they name.
#[derive(Clone)]
pub(super) struct Sentinels {
    /// All with the same credentials.
    pub(super) nodes: Vec<ConnectionInfo>,
    /// The name under which they watch the master.
    pub(super) master: String,
    /// User, password, database and encryption of the data nodes; its address is not used.
    pub(super) data: ConnectionInfo,
    pub(super) certificates: Option<TlsCertificates>,
}

impl Sentinels {
    /// Subscribes to failovers at the first Sentinel that answers, and calls `moved` when the master has changed.
    /// After an ordered failover the old master stays a master for ten seconds; only the Sentinels name the new one.
    pub(super) async fn failovers(
        &self,
        settings: AsyncConnectionConfig,
        moved: impl Fn() + Send + Sync + 'static,
    ) -> RedisResult<MultiplexedConnection> {
        let master = self.master.clone();
        let receive = move |push: PushInfo| -> Result<(), std::convert::Infallible> {
            if let (PushKind::Message, [_, Value::BulkString(payload)]) = (push.kind, &push.data[..])
                && payload.split(|byte| *byte == b' ').next() == Some(master.as_bytes())
            {
                moved();
            }
            Ok(())
        };
        let settings = settings.set_push_sender(receive);
        let mut last = None;
        for node in &self.nodes {
            let spoken = node.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
            let client = Client::open(node.clone().set_redis_settings(spoken))?;
            match client.get_multiplexed_async_connection_with_config(&settings).await {
                Ok(mut connection) => {
                    connection.subscribe("+switch-master").await?;
                    return Ok(connection);
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| (ErrorKind::InvalidClientConfig, "no Sentinel is configured").into()))
    }

    /// A client that gets the master from the Sentinels.
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

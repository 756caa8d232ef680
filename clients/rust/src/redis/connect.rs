//! Connections to Redis: one server, the master that Sentinels name, or a Cluster.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionInfo, ErrorKind, ProtocolVersion, PushInfo,
    RedisConnectionInfo, RedisError, RedisResult, TlsCertificates,
};
use secrecy::ExposeSecret;

use super::commands::Commands;
use super::config::{RedisConfig, Topology, shown};
use super::dial::Dial;
use super::error::{LinkError, classify, classify_setup};
use super::file::read_file;
use super::sentinel::Sentinels;
use super::url::RedisUrl;
use crate::renewed::Renewed;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a command may take.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(3);

/// The largest file of certificates.
const LARGEST_PEM: u64 = 4 << 20;

/// Opens connections with the configured settings.
#[derive(Debug, Clone)]
pub struct Connector {
    kind: Arc<Renewed<Kind>>,
    /// The servers, as messages name them.
    servers: Arc<str>,
    /// The master that the Sentinels named last.
    master: Arc<Mutex<Option<String>>>,
    /// The node of a Cluster that is tried first.
    turn: Arc<AtomicUsize>,
}

#[derive(Clone)]
enum Kind {
    Single(Box<Client>),
    Sentinel(Box<Sentinels>),
    Cluster { client: Box<ClusterClient>, nodes: Vec<Client> },
    Dialled(Dial),
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Single(_) => "single",
            Self::Sentinel(_) => "sentinel",
            Self::Cluster { .. } => "cluster",
            Self::Dialled(_) => "dialled",
        })
    }
}

/// Why no connection came about.
struct Failed {
    /// The server, where it is one of several.
    at: Option<String>,
    error: RedisError,
}

impl From<RedisError> for Failed {
    fn from(error: RedisError) -> Self {
        Self { at: None, error }
    }
}

impl Connector {
    /// Checks the URLs and reads the certificates, which are read again for each connection; connects to nothing.
    pub fn new(config: &RedisConfig) -> Result<Self, LinkError> {
        let tls = &config.tls;
        if tls.ca_file.is_none() && tls.cert_file.is_none() && tls.key_file.is_none() {
            return Ok(Self::of(Renewed::fixed(Kind::of(config)?), config.servers()));
        }
        let again = config.clone();
        Self::renewed(config, move || Ok(again.clone()))
    }

    /// The same, but `read` reads the settings again for each connection. Its error names the file and holds no secret.
    pub fn renewed(
        config: &RedisConfig,
        read: impl Fn() -> Result<RedisConfig, String> + Send + Sync + 'static,
    ) -> Result<Self, LinkError> {
        let read = move || Kind::of(&read()?).map_err(|error| error.to_string());
        Ok(Self::of(Renewed::new(Kind::of(config)?, read), config.servers()))
    }

    fn of(kind: Renewed<Kind>, servers: String) -> Self {
        Self { kind: Arc::new(kind), servers: servers.into(), master: Arc::default(), turn: Arc::default() }
    }

    /// A connector to one server, over streams that `dial` opens.
    pub fn over(dial: Dial) -> Self {
        Self::of(Renewed::fixed(Kind::Dialled(dial)), "Redis".to_owned())
    }

    /// A connection for commands.
    pub async fn commands(&self) -> Result<Commands, LinkError> {
        let (settings, kind) = (config(), self.kind.read_again().await);
        let connecting = async {
            let connected = match &*kind {
                Kind::Cluster { client, .. } => {
                    client.get_async_connection().await.map(Commands::Cluster).map_err(Failed::from)
                }
                _ => self.node(&kind, &settings, ProtocolVersion::RESP2).await.map(Commands::Single),
            };
            match connected {
                // The library hides the error of a node of a Cluster, and any answer to AUTH; not the one to HELLO.
                Err(failed) if self.is_cluster() || failed.error.kind() == ErrorKind::AuthenticationFailed => {
                    Err(self.node(&kind, &settings, ProtocolVersion::RESP3).await.err().unwrap_or(failed))
                }
                connected => connected,
            }
        };
        self.within(CONNECT_TIMEOUT * 2, connecting).await
    }

    /// A connection for a subscription: each push is handed to `receive` as it is read. On a Cluster any node will do,
    /// since messages go to all of them.
    pub async fn subscription(
        &self,
        receive: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<MultiplexedConnection, LinkError> {
        let receive = move |push| -> Result<(), std::convert::Infallible> {
            receive(push);
            Ok(())
        };
        let (settings, kind) = (config().set_push_sender(receive), self.kind.read_again().await);
        self.within(CONNECT_TIMEOUT * 2, self.node(&kind, &settings, ProtocolVersion::RESP3)).await
    }

    /// Behind Sentinel, calls `moved` when the master has changed, for as long as the returned connection is kept.
    /// Where no Sentinel can be reached, a lost connection shows the failover later.
    pub async fn failovers(&self, moved: impl Fn() + Send + Sync + 'static) -> Option<MultiplexedConnection> {
        if !matches!(*self.kind.last(), Kind::Sentinel(_)) {
            return None;
        }
        let kind = self.kind.read_again().await;
        let Kind::Sentinel(sentinels) = &*kind else { return None };
        let subscribing = self.within(CONNECT_TIMEOUT, async { Ok(sentinels.failovers(config(), moved).await?) });
        subscribing.await.inspect_err(|error| tracing::debug!(%error, "no Sentinel reports failovers")).ok()
    }

    /// Whether the keys are spread over a Cluster.
    pub fn is_cluster(&self) -> bool {
        matches!(*self.kind.last(), Kind::Cluster { .. })
    }

    async fn within<T>(
        &self,
        span: Duration,
        connecting: impl Future<Output = Result<T, Failed>>,
    ) -> Result<T, LinkError> {
        match tokio::time::timeout(span, connecting).await {
            Ok(connected) => {
                connected.map_err(|Failed { at, error }| classify_setup(at.as_deref().unwrap_or(&self.servers), &error))
            }
            Err(_) => Err(LinkError::Away(format!("{}: no connection within {} s", self.servers, span.as_secs()))),
        }
    }

    /// Sorts an error of a connection that this connector has opened. Its text names the server.
    pub fn error(&self, error: &RedisError) -> LinkError {
        classify(&self.server(), error)
    }

    /// An absence of the server, in words.
    pub fn away(&self, what: &str) -> LinkError {
        LinkError::Away(format!("{}: {what}", self.server()))
    }

    /// The server of the connections, as messages name it.
    fn server(&self) -> String {
        let master = self.master.lock().unwrap_or_else(PoisonError::into_inner);
        master.clone().unwrap_or_else(|| self.servers.to_string())
    }

    async fn node(
        &self,
        kind: &Kind,
        settings: &AsyncConnectionConfig,
        protocol: ProtocolVersion,
    ) -> Result<MultiplexedConnection, Failed> {
        let named = |info: RedisConnectionInfo| {
            info.set_protocol(protocol).set_lib_name("token-sidecar", env!("CARGO_PKG_VERSION"))
        };
        let prepared = |client: &Client| {
            let info = client.get_connection_info().clone();
            let settings = named(info.redis_settings().clone());
            Client::open(info.set_redis_settings(settings))
        };
        match kind {
            Kind::Single(client) => {
                Ok(prepared(client)?.get_multiplexed_async_connection_with_config(settings).await?)
            }
            Kind::Sentinel(sentinels) => {
                let client = sentinels.client()?.async_get_client().await?;
                let at = format!("Redis at {}", shown(client.get_connection_info().addr()));
                *self.master.lock().unwrap_or_else(PoisonError::into_inner) = Some(at.clone());
                let connecting = prepared(&client)?;
                let connected = connecting.get_multiplexed_async_connection_with_config(settings).await;
                connected.map_err(|error| Failed { at: Some(at), error })
            }
            Kind::Cluster { nodes, .. } => {
                // Each time starting from another node: one that has left the Cluster still answers, but receives nothing.
                let turn = self.turn.fetch_add(1, Ordering::Relaxed) % nodes.len().max(1);
                let mut last = None;
                for client in nodes.iter().cycle().skip(turn).take(nodes.len()) {
                    match prepared(client)?.get_multiplexed_async_connection_with_config(settings).await {
                        Ok(connection) => return Ok(connection),
                        Err(error) => last = Some((client, error)),
                    }
                }
                let Some((client, error)) = last else {
                    return Err(RedisError::from((ErrorKind::InvalidClientConfig, "no node is configured")).into());
                };
                let others =
                    if nodes.len() > 1 { format!(" (the last of {} nodes)", nodes.len()) } else { String::new() };
                let at = format!("Redis at {}{others}", shown(client.get_connection_info().addr()));
                Err(Failed { at: Some(at), error })
            }
            Kind::Dialled(dial) => Ok(dial.connect(&named(RedisConnectionInfo::default()), settings.clone()).await?),
        }
    }
}

impl Kind {
    /// Reads the certificates and checks the URLs.
    fn of(config: &RedisConfig) -> Result<Self, LinkError> {
        let certificates = certificates(config)?;
        let mut base = config.url.0.clone();
        if let (false, Some(password)) = (config.url.has_password(), &config.password) {
            let settings = base.redis_settings().clone().set_password(password.expose_secret());
            base = base.set_redis_settings(settings);
        }
        let client = |info: ConnectionInfo| match (&certificates, info.addr()) {
            (Some(certificates), redis::ConnectionAddr::TcpTls { .. }) => {
                Client::build_with_tls(info, certificates.clone())
            }
            _ => Client::open(info),
        };
        Ok(match &config.topology {
            Topology::Single => Self::Single(Box::new(client(base).map_err(|e| config_error("redis.url", &e))?)),
            Topology::Sentinel { nodes, master } => {
                let setting = "redis.sentinel.nodes";
                let with_certificates =
                    |node: &RedisUrl| client(node.0.clone()).map(|c| c.get_connection_info().clone());
                let nodes: RedisResult<Vec<_>> = nodes.iter().map(with_certificates).collect();
                let nodes = nodes.map_err(|e| config_error(setting, &e))?;
                if nodes.windows(2).any(|pair| !share_credentials(&pair[0], &pair[1])) {
                    let message = format!("{setting}: all of them must have the same user and password");
                    return Err(LinkError::Config(message));
                }
                let sentinels = Sentinels { nodes, master: master.clone(), data: base, certificates };
                sentinels.client().map_err(|e| config_error(setting, &e))?;
                Self::Sentinel(Box::new(sentinels))
            }
            Topology::Cluster { nodes } => {
                let with_settings = |node: &RedisUrl| node.0.clone().set_redis_settings(base.redis_settings().clone());
                let infos: Vec<ConnectionInfo> = nodes.iter().map(with_settings).collect();
                let mut builder = ClusterClientBuilder::new(infos.clone())
                    .retries(2)
                    .connection_timeout(CONNECT_TIMEOUT)
                    .response_timeout(RESPONSE_TIMEOUT);
                if let Some(certificates) = &certificates {
                    builder = builder.certs(certificates.clone());
                }
                let error = |e| config_error("redis.cluster.nodes", &e);
                let nodes = infos.into_iter().map(client).collect::<RedisResult<_>>().map_err(error)?;
                Self::Cluster { client: Box::new(builder.build().map_err(error)?), nodes }
            }
        })
    }
}

fn config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT))
}

fn certificates(config: &RedisConfig) -> Result<Option<TlsCertificates>, LinkError> {
    let read = |path: &Option<std::path::PathBuf>, setting: &str| -> Result<Option<Vec<u8>>, LinkError> {
        let Some(path) = path else { return Ok(None) };
        let error = |e| LinkError::Config(format!("{setting} = {}: {e}", path.display()));
        read_file(path, LARGEST_PEM).map(Some).map_err(error)
    };
    let root_cert = read(&config.tls.ca_file, "redis.tls_ca_file")?;
    let cert = read(&config.tls.cert_file, "redis.tls_cert_file")?;
    let key = read(&config.tls.key_file, "redis.tls_key_file")?;
    let client_tls = match (cert, key) {
        (Some(client_cert), Some(client_key)) => Some(ClientTlsConfig { client_cert, client_key }),
        (None, None) => None,
        _ => return Err(LinkError::Config("redis.tls_cert_file and redis.tls_key_file belong together".to_owned())),
    };
    Ok((root_cert.is_some() || client_tls.is_some()).then_some(TlsCertificates { client_tls, root_cert }))
}

fn share_credentials(one: &ConnectionInfo, other: &ConnectionInfo) -> bool {
    let (one, other) = (one.redis_settings(), other.redis_settings());
    one.username() == other.username() && one.password() == other.password()
}

fn config_error(setting: &str, error: &redis::RedisError) -> LinkError {
    // The URL may hold a password: only the error's category is shown.
    LinkError::Config(format!("{setting}: {}", error.category()))
}

//! Puts the process together: the only place that names concrete adapters.

pub mod checkup;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::adapters::chance::Delays;
use crate::adapters::clock::SystemClock;
use crate::adapters::env_file::EnvFile;
use crate::adapters::http_client::ClientError;
use crate::adapters::probe::HttpProbe;
use crate::adapters::redis::client::Client;
use crate::adapters::redis::subscription::Subscription;
use crate::adapters::redis::{Connector, Link, LinkError, RedisStore, history};
use crate::adapters::source::{AnySource, Solvers};
use crate::config::{Config, KeyNames, SiteConfig};
use crate::domain::inbox::Arrival;
use crate::domain::site::SiteId;
use crate::domain::token::Token;
use crate::flow::driver::{Driver, Once, Stop};
use crate::flow::mailbox::Mailbox;
use crate::flow::ports::Clock as _;
use crate::flow::site::{Site, World};
use crate::server::{Board, Entries, History, Limits, Server, SiteObserver, serve};

/// How long a task may take to end once everything has been given up.
const LAST_MOMENT: Duration = Duration::from_secs(2);

/// The real outside.
#[derive(Debug)]
pub struct Outside;

impl World for Outside {
    type Store = RedisStore<SystemClock>;
    type Source = AnySource;
    type Probe = HttpProbe;
    type Sink = EnvFile;
    type Clock = SystemClock;
    type Chance = Delays;
    type Observer = SiteObserver;
}

/// Why the process cannot do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A setting cannot be used.
    #[error("{0}")]
    Config(String),
    /// Redis refuses us for good, or is out of reach for a command that does not wait.
    #[error("Redis: {0}")]
    Redis(LinkError),
    /// The address to listen on cannot be had.
    #[error(
        "failed to listen on {address}: {error}; change it with SIDECAR_LISTEN, or switch it off with SIDECAR_LISTEN=off"
    )]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
}

impl From<ClientError> for AppError {
    fn from(error: ClientError) -> Self {
        Self::Config(error.to_string())
    }
}

impl From<LinkError> for AppError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Config(message) => Self::Config(message),
            error => Self::Redis(error),
        }
    }
}

/// What all sites of the process share.
struct Process {
    clock: SystemClock,
    link: Arc<Link<SystemClock>>,
    solvers: Solvers,
    board: Board,
    instance: String,
    mailboxes: Vec<(SiteId, Arc<Mailbox>)>,
}

impl Process {
    fn new(config: &Config) -> Result<Self, AppError> {
        let clock = SystemClock::start();
        let connector = Connector::new(&config.redis)?;
        Ok(Self {
            clock,
            link: Arc::new(Link::new(connector, clock)),
            solvers: Solvers::default(),
            board: Board::new(Arc::new(move || clock.now())),
            instance: instance(),
            mailboxes: Vec::new(),
        })
    }

    fn site(&mut self, config: &SiteConfig) -> Result<Site<Outside>, AppError> {
        let sources = config.sources.iter().map(|s| AnySource::new(s, &config.cookie, &self.solvers));
        let bootstrap = config.bootstrap.as_ref().map(|secret| {
            use secrecy::ExposeSecret as _;
            Token::parse(secret.expose_secret()).map_err(|error| {
                AppError::Config(format!("the bootstrap token of {} cannot be used: {error}", config.id))
            })
        });
        let mailbox = Arc::new(Mailbox::default());
        self.mailboxes.push((config.id.clone(), Arc::clone(&mailbox)));
        Ok(Site {
            id: config.id.clone(),
            policy: config.policy.clone(),
            cookie: config.cookie.clone(),
            page: config.page.clone(),
            bootstrap: bootstrap.transpose()?,
            mailbox,
            store: RedisStore::new(
                Arc::clone(&self.link),
                config.id.clone(),
                config.keys.clone(),
                config.policy.lock_ttl,
                self.instance.clone(),
            ),
            sources: sources.collect::<Result<_, _>>()?,
            probe: HttpProbe::new(&config.probe)?,
            sinks: config.env_file.iter().map(|path| EnvFile::new(path.clone(), config.env_key.clone())).collect(),
            clock: self.clock,
            chance: Delays::new(config.backoff_initial, config.backoff_max),
            observer: self.board.add(&config.id, config.policy.schedule.clone()),
        })
    }
}

/// Runs the sidecar until `shutdown` is cancelled.
///
/// # Errors
/// [`AppError`]: settings that cannot be used, Redis that refuses us from the start, an address that is taken.
pub async fn run(config: &Config, shutdown: CancellationToken) -> Result<(), AppError> {
    let listener = match config.server.listen {
        Some(address) => Some(TcpListener::bind(address).await.map_err(|error| AppError::Listen { address, error })?),
        None => None,
    };
    let mut process = Process::new(config)?;
    let sites = config.sites.iter().map(|site| process.site(site)).collect::<Result<Vec<_>, _>>()?;
    let Process { clock, link, solvers, board, instance, mailboxes } = process;
    let board = Arc::new(board);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"), %instance, sites = sites.len(),
        listen = listener.as_ref().and_then(|l| l.local_addr().ok()).map(tracing::field::display),
        "token-sidecar starts",
    );

    let (last, tasks) = (CancellationToken::new(), TaskTracker::new());
    if let Some(listener) = listener {
        let server = Server {
            board: Arc::clone(&board),
            history: Arc::new(Past::new(&link, config)),
            refresh: Arc::new(refresher(&mailboxes)),
            admin_token: config.server.admin_token.clone(),
            instance: instance.clone(),
            limits: Limits::STANDARD,
        };
        tasks.spawn(serve(listener, server, last.clone()));
    }
    let ready = CancellationToken::new();
    let delays = Delays::new(Duration::from_secs(1), Duration::from_secs(1));
    let subscription = Subscription::new(link, clock, delays, board, instance, mailboxes);
    let mut hearing = std::pin::pin!(subscription.run(ready.clone(), last.clone()));
    let stop = Stop { graceful: shutdown.clone(), now: CancellationToken::new() };
    // The question of start-up is asked only once messages are heard: none falls in between.
    tokio::select! {
        ended = &mut hearing => return Ok(ended?),
        () = shutdown.cancelled() => return Ok(()),
        () = ready.cancelled() => {}
    }
    let drivers = TaskTracker::new();
    for site in sites {
        drivers.spawn(Driver::run(site, stop.clone()));
    }
    drivers.close();
    let ending = async {
        shutdown.cancelled().await;
        if tokio::time::timeout(config.shutdown_grace, drivers.wait()).await.is_err() {
            tracing::warn!(grace.s = config.shutdown_grace.as_secs(), "a refresh is given up: its lock is freed");
            stop.now.cancel();
            let _ends_with_the_process = tokio::time::timeout(LAST_MOMENT, drivers.wait()).await;
        }
        let _left_behind = tokio::time::timeout(LAST_MOMENT, solvers.sweep()).await;
    };
    tokio::select! {
        ended = hearing => ended?,
        () = ending => {}
    }
    last.cancel();
    tasks.close();
    let _ends_with_the_process = tokio::time::timeout(LAST_MOMENT, tasks.wait()).await;
    tracing::info!("token-sidecar ends");
    Ok(())
}

/// One refresh here and now, under the same lock as all others. `shutdown` gives it up and frees the lock.
///
/// # Errors
/// [`AppError::Redis`] where Redis is out of reach or refuses us.
pub async fn refresh(
    config: &Config,
    site: &SiteConfig,
    patience: Duration,
    shutdown: CancellationToken,
) -> Result<Once, AppError> {
    let mut process = Process::new(config)?;
    let site = process.site(site)?;
    let Process { clock, link, solvers, board, instance, mailboxes } = process;
    let (ready, last) = (CancellationToken::new(), CancellationToken::new());
    let delays = Delays::new(Duration::from_secs(1), Duration::from_secs(1));
    let subscription = Subscription::new(link, clock, delays, Arc::new(board), instance, mailboxes);
    let mut hearing = std::pin::pin!(subscription.run(ready.clone(), last.clone()));
    tokio::select! {
        ended = &mut hearing => ended?,
        () = ready.cancelled() => {}
        () = tokio::time::sleep(patience) => {
            return Err(LinkError::Away(format!("out of reach for {} s", patience.as_secs())).into());
        }
    }
    tokio::select! {
        ended = hearing => { ended?; Ok(Once::Stopped) }
        once = Driver::once(site, Stop { graceful: shutdown.clone(), now: shutdown }) => {
            let _left_behind = tokio::time::timeout(LAST_MOMENT, solvers.sweep()).await;
            Ok(once)
        }
    }
}

/// A parser's side of a site.
///
/// # Errors
/// [`AppError::Config`] where a setting of Redis cannot be used.
pub fn client(config: &Config, site: &SiteConfig) -> Result<Client, AppError> {
    Ok(Client::new(Connector::new(&config.redis)?, site.id.clone(), site.keys.clone()))
}

/// Sends a manual trigger to a site of this process.
fn refresher(mailboxes: &[(SiteId, Arc<Mailbox>)]) -> impl Fn(&SiteId) -> bool + Send + Sync + use<> {
    let mailboxes: BTreeMap<SiteId, Arc<Mailbox>> = mailboxes.iter().cloned().collect();
    move |site| {
        let mailbox = mailboxes.get(site);
        if let Some(mailbox) = mailbox {
            mailbox.post(Arrival::Manual);
        }
        mailbox.is_some()
    }
}

/// The history of all sites, for the server.
struct Past {
    link: Arc<Link<SystemClock>>,
    keys: BTreeMap<SiteId, KeyNames>,
}

impl Past {
    fn new(link: &Arc<Link<SystemClock>>, config: &Config) -> Self {
        let keys = config.sites.iter().map(|site| (site.id.clone(), site.keys.clone()));
        Self { link: Arc::clone(link), keys: keys.collect() }
    }
}

impl History for Past {
    fn recent<'a>(&'a self, site: &'a SiteId, limit: usize) -> Entries<'a> {
        Box::pin(async move {
            let keys = self.keys.get(site).ok_or_else(|| format!("unknown site {site}"))?;
            history::latest(&self.link, keys, limit).await.map_err(|error| error.to_string())
        })
    }
}

/// Names this process in the history and in canaries: the host and something random.
fn instance() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String =
        host.trim().chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).take(40).collect();
    format!("{}-{:08x}", if host.is_empty() { "sidecar" } else { &host }, fastrand::u32(..))
}

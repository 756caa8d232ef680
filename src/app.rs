//! Puts the sidecar together: its ports and the adapters behind them.

mod admission;
mod observers;
mod own_thread;
mod process;
mod service_manager;

use std::collections::BTreeMap;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{OptionFuture, join};
use secrecy::SecretString;
use token_sidecar_client::redis::{Connector, LinkError};
use token_sidecar_client::renewed::Renewed;
use token_sidecar_client::wire::SiteId;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::own_thread::OwnThread;
use self::process::{LAST_MOMENT, Process};
use crate::clock::SystemClock;
use crate::config::{Again, Config, ConfigErrors, GatewayAddress, NoticeConfig, SiteConfig};
use crate::domain::inbox::Inbox;
use crate::gateway::{self, Access, GatewayListener};
use crate::http::ClientError;
use crate::outputs::notices::Notifier;
use crate::refresh::driver::{Driver, Stop};
use crate::refresh::manual::ManualOutcome;
use crate::server::{HttpServer, Limits, serve};
use crate::status::{StatusRegistry, SubscriptionState};

#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("{0}")]
    Config(String),
    /// Redis refuses, or is unreachable for a command that does not wait.
    #[error("{0}")]
    Redis(LinkError),
    #[error(
        "failed to listen on {address}: {error}; change it with SIDECAR_LISTEN, or switch it off with SIDECAR_LISTEN=off"
    )]
    Listen { address: std::net::SocketAddr, error: std::io::Error },
    #[error(
        "the gateway failed to listen on {address}: {error}; change it with SIDECAR_GATEWAY, or switch it off with SIDECAR_GATEWAY=off"
    )]
    Gateway { address: GatewayAddress, error: std::io::Error },
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

/// Runs the sidecar until `shutdown` is cancelled. Fails on settings that cannot be used, a Redis that refuses from the
/// start, and an address that is taken. `anew` asks for new connections to Redis.
pub async fn run(config: Config, shutdown: CancellationToken, anew: Arc<Notify>) -> Result<(), AppError> {
    let connector = connector(&config)?;
    let listener = match config.server.listen {
        Some(address) => Some(TcpListener::bind(address).await.map_err(|error| AppError::Listen { address, error })?),
        None => None,
    };
    let (mut gateway, mut listening, wait) = (None, None, config.gateway.wait);
    if let Some(address) = config.gateway.listen.clone() {
        let bound = bound_on_its_thread(address.clone(), config.gateway.socket_mode).await;
        let key = config.gateway.key.clone().map(|key| renewed(key, config.rotation.gateway_key));
        gateway = Some((config.gateway, Access::of(&address, key)));
        listening = Some(bound.map_err(|error| AppError::Gateway { address, error })?);
    }
    let notifiers = notifiers(config.notices)?;
    let (process, sites) = Process::new(connector, config.sites, gateway)?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"), instance = %process.instance, sites = sites.len(),
        listen = listener.as_ref().and_then(|l| l.local_addr().ok()).map(tracing::field::display),
        gateway = listening.as_ref().map(|(_, listener)| tracing::field::display(listener.address())),
        "token-sidecar starts",
    );

    let (last, tasks) = (CancellationToken::new(), TaskTracker::new());
    tasks.spawn(last.clone().run_until_cancelled_owned(service_manager::feed_the_watchdog()));
    if !notifiers.is_empty() {
        let notices = process.notices(notifiers);
        tasks.spawn(last.clone().run_until_cancelled_owned(notices));
    }
    // A refresh that is abandoned answers the requests that wait for it.
    let grace = config.shutdown_grace + LAST_MOMENT;
    let (gateway_thread, gateway_listener) = listening.unzip();
    let served = gateway_thread.as_ref().zip(gateway_listener).zip(process.gateway.clone());
    let served = served.map(|((thread, listener), gateway)| {
        thread.spawn(gateway::serve(listener, gateway, wait, shutdown.clone(), grace))
    });
    if let Some(listener) = listener {
        let refreshing = Arc::clone(&process);
        let server = HttpServer {
            status: Arc::clone(&process.status),
            store: Arc::clone(&process) as _,
            refresh: Arc::new(move |site, note| refreshing.refresh(site, note)),
            admin_token: config.server.admin_token.map(|token| renewed(token, config.rotation.admin_token)),
            instance: process.instance.to_string(),
            limits: Limits::of_the_process(),
            stopping: shutdown.clone(),
        };
        tasks.spawn(serve(listener, server, last.clone()));
    }
    let (ready, unsubscribe) = (CancellationToken::new(), CancellationToken::new());
    let mut subscribed = pin!(process.subscription(anew).run(ready.clone(), unsubscribe.clone()));
    let stop = Stop { graceful: shutdown.clone(), now: CancellationToken::new() };
    // The start-up triggers are sent only once the subscription is active, so that no message is lost in between.
    let admission = async {
        ready.cancelled().await;
        service_manager::ready();
        admission::admitted(&process.link, sites.into_iter()).await
    };
    let admitted = tokio::select! {
        ended = &mut subscribed => return Ok(ended?),
        // Redis counts this process from the first moment of the subscription: what has arrived is answered below.
        () = shutdown.cancelled() => Vec::new(),
        admitted = admission => admitted?,
    };
    let mut drivers = JoinSet::new();
    let serving = async {
        for (site, reading) in admitted {
            // The start-up reads are sent one after another, however many sites there are.
            process.link.turn().await;
            let (id, stop) = (site.id.clone(), stop.clone());
            drivers.spawn(async move { (id, Driver::run(site, reading, stop).await) });
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = &mut subscribed => ended?,
        () = shutdown.cancelled() => {}
        () = serving => {}
    }
    service_manager::stopping();
    let mut unanswered = BTreeMap::new();
    let ending = async {
        if timeout(config.shutdown_grace, collect(&mut drivers, &mut unanswered)).await.is_err() {
            tracing::warn!(
                grace.s = config.shutdown_grace.as_secs(),
                "abandoning the refresh that is under way; its lock is freed"
            );
            stop.now.cancel();
            let _ends_with_the_process = timeout(LAST_MOMENT, collect(&mut drivers, &mut unanswered)).await;
        }
    };
    tokio::select! {
        ended = &mut subscribed => ended?,
        // A refresh that ends now may be what a request of the gateway waits for.
        _ = join(ending, OptionFuture::from(served)) => {}
    }
    // Other replicas must not count on this process any more: of replicas that end together, the last one then finds no
    // other subscriber.
    unsubscribe.cancel();
    answer_once(subscribed, &process, unanswered).await;
    process.leave().await;
    last.cancel();
    tasks.close();
    let _ends_with_the_process = timeout(LAST_MOMENT, tasks.wait()).await;
    tracing::info!("token-sidecar ends");
    Ok(())
}

/// One refresh in this process, under the same lock as all others. `shutdown` abandons it and frees the lock. Fails
/// where Redis is unreachable for `patience` or refuses.
pub async fn refresh(
    config: &Config,
    site: &SiteConfig,
    patience: Duration,
    shutdown: CancellationToken,
) -> Result<ManualOutcome, AppError> {
    let (process, sites) = Process::new(connector(config)?, vec![site.clone()], None)?;
    let (ready, unsubscribe) = (CancellationToken::new(), CancellationToken::new());
    let mut subscribed = pin!(process.subscription(Arc::default()).run(ready.clone(), unsubscribe.clone()));
    let admission = async {
        ready.cancelled().await;
        admission::admitted(&process.link, sites.into_iter()).await
    };
    let refreshing = async {
        let admitted = timeout(patience, admission).await.map_err(|_| out_of_reach(&process, patience))??;
        let (mut outcome, mut unanswered) = (ManualOutcome::Stopped, BTreeMap::new());
        for (site, reading) in admitted {
            let (id, stop) = (site.id.clone(), Stop { graceful: shutdown.clone(), now: shutdown.clone() });
            let (ended, inbox) = Driver::refresh_once(site, reading, stop).await;
            outcome = ended;
            unanswered.insert(id, inbox);
        }
        Ok::<_, AppError>((outcome, unanswered))
    };
    let (outcome, unanswered) = tokio::select! {
        ended = &mut subscribed => { ended?; (ManualOutcome::Stopped, BTreeMap::new()) }
        () = lost_for(&process.status, patience) => return Err(out_of_reach(&process, patience)),
        refreshed = refreshing => refreshed?,
    };
    unsubscribe.cancel();
    answer_once(subscribed, &process, unanswered).await;
    process.leave().await;
    Ok(outcome)
}

/// The notices, ready to be sent.
pub fn notifiers(notices: Vec<NoticeConfig>) -> Result<Vec<Notifier>, AppError> {
    Ok(notices.into_iter().map(Notifier::new).collect::<Result<_, _>>()?)
}

/// The listener of the gateway, and the thread that it is served on: what its requests take must not delay the refreshes
/// that they wait for.
async fn bound_on_its_thread(address: GatewayAddress, mode: u32) -> io::Result<(OwnThread, GatewayListener)> {
    let thread = OwnThread::start("gateway")?;
    let listener = thread.spawn(async move { GatewayListener::bind(&address, mode).await }).await;
    Ok((thread, listener.map_err(io::Error::other)??))
}

/// A connector that reads the files of its settings again for each connection.
pub fn connector(config: &Config) -> Result<Connector, LinkError> {
    match config.rotation.redis.clone() {
        Some(again) => Connector::renewed(&config.redis, move || again().map_err(on_one_line)),
        None => Connector::new(&config.redis),
    }
}

/// A secret that can be read from its file again, where it has one.
fn renewed(secret: SecretString, again: Option<Again<SecretString>>) -> Renewed<SecretString> {
    match again {
        Some(again) => Renewed::new(secret, move || again().map_err(on_one_line)),
        None => Renewed::fixed(secret),
    }
}

fn on_one_line(errors: ConfigErrors) -> String {
    errors.to_string().replace('\n', "; ")
}

/// Waits for the drivers to end, and keeps what each has left unanswered.
async fn collect(drivers: &mut JoinSet<(SiteId, Inbox)>, unanswered: &mut BTreeMap<SiteId, Inbox>) {
    while let Some(ended) = drivers.join_next().await {
        unanswered.extend(ended);
    }
}

/// Answers what the drivers have left, once the process has unsubscribed.
async fn answer_once<T>(unsubscribed: impl Future<Output = T>, process: &Process, unanswered: BTreeMap<SiteId, Inbox>) {
    let answering = async {
        let _stopped = unsubscribed.await;
        process.answer(unanswered).await;
    };
    if timeout(LAST_MOMENT, answering).await.is_err() {
        tracing::warn!("Redis does not answer: the shutdown could not be announced to waiting parsers");
    }
}

fn out_of_reach(process: &Process, patience: Duration) -> AppError {
    process.link.connector().away(&format!("out of reach for {} s", patience.as_secs())).into()
}

/// Returns once the subscription has been lost for this long.
async fn lost_for(status: &StatusRegistry, patience: Duration) {
    const PACE: Duration = Duration::from_millis(250);
    loop {
        match status.subscription().state {
            SubscriptionState::Down { since, .. } if status.now().saturating_sub(since) >= patience => return,
            _ => tokio::time::sleep(PACE).await,
        }
    }
}

/// The wall clock, for times that people read.
pub fn wall_clock() -> jiff::Timestamp {
    SystemClock::wall()
}

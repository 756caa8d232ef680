//! Assembles the process: the only place that names concrete adapters.

mod admission;
mod farewell;
mod history;
mod process;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use token_sidecar_client::redis::LinkError;
use token_sidecar_client::wire::SiteId;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::history::RedisHistory;
use self::process::{Contacts, Output, Process};
use crate::clock::SystemClock;
use crate::config::{Config, SiteConfig};
use crate::domain::inbox::Inbox;
use crate::domain::pending::Arrival;
use crate::http::ClientError;
use crate::jitter::Delays;
use crate::redis::subscription::Subscription;
use crate::refresh::driver::{Driver, Once, Stop};
use crate::refresh::mailbox::Mailbox;
use crate::refresh::ports::StoreError;
use crate::server::{HttpServer, Limits, serve};
use crate::status::{StatusRegistry, SubscriptionState};

/// How long each last step of a shutdown may take.
const LAST_MOMENT: Duration = Duration::from_secs(2);

/// The pause before a failed output is tried again, doubled each time.
const OUTPUT_RETRY_FIRST: Duration = Duration::from_secs(1);
const OUTPUT_RETRY_LONGEST: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("{0}")]
    Config(String),
    /// Redis refuses, or is unreachable for a command that does not wait.
    #[error("Redis: {0}")]
    Redis(LinkError),
    #[error(
        "failed to listen on {address}: {error}; change it with SIDECAR_LISTEN, or switch it off with SIDECAR_LISTEN=off"
    )]
    Listen { address: std::net::SocketAddr, error: std::io::Error },
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

impl From<StoreError> for AppError {
    fn from(error: StoreError) -> Self {
        LinkError::from(error).into()
    }
}

/// Runs the sidecar until `shutdown` is cancelled. Fails on settings that cannot be used, a Redis that refuses from the
/// start, and an address that is taken.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), AppError> {
    let listener = match config.server.listen {
        Some(address) => Some(TcpListener::bind(address).await.map_err(|error| AppError::Listen { address, error })?),
        None => None,
    };
    let mut process = Process::new(&config.redis)?;
    let sites = config.sites.into_iter().map(|site| process.site(site)).collect::<Result<Vec<_>, _>>()?;
    let Process { clock, link, solvers, status, instance, contacts, outputs } = process;
    let (status, contacts) = (Arc::new(status), Arc::new(contacts));
    let outputs = started(outputs, &status);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"), %instance, sites = sites.len(),
        listen = listener.as_ref().and_then(|l| l.local_addr().ok()).map(tracing::field::display),
        "token-sidecar starts",
    );

    let (last, tasks) = (CancellationToken::new(), TaskTracker::new());
    if let Some(listener) = listener {
        let server = HttpServer {
            status: Arc::clone(&status),
            history: Arc::new(RedisHistory::new(Arc::clone(&link), Arc::clone(&contacts))),
            refresh: Arc::new(refresher(Arc::clone(&contacts))),
            admin_token: config.server.admin_token,
            instance: instance.to_string(),
            limits: Limits::STANDARD,
        };
        tasks.spawn(serve(listener, server, last.clone()));
    }
    let ready = CancellationToken::new();
    let delays = Delays::new(Duration::from_secs(1), Duration::from_secs(1));
    let subscription =
        Subscription::new(Arc::clone(&link), clock, delays, status, instance.to_string(), mailboxes(&contacts));
    let unsubscribe = CancellationToken::new();
    let mut subscribed = std::pin::pin!(subscription.run(ready.clone(), unsubscribe.clone()));
    let stop = Stop { graceful: shutdown.clone(), now: CancellationToken::new() };
    // The start-up triggers are sent only once the subscription is active, so that no message is lost in between.
    tokio::select! {
        ended = &mut subscribed => return Ok(ended?),
        () = shutdown.cancelled() => return Ok(()),
        () = ready.cancelled() => {}
    }
    let admitted = tokio::select! {
        ended = &mut subscribed => return Ok(ended?),
        // Reports that have arrived meanwhile are still answered below.
        () = shutdown.cancelled() => Vec::new(),
        admitted = admission::admitted(&link, sites.into_iter()) => admitted?,
    };
    let mut drivers = JoinSet::new();
    let serving = async {
        for (site, reading) in admitted {
            // The start-up reads are sent one after another, however many sites there are.
            link.turn().await;
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
    let mut unanswered = BTreeMap::new();
    let ending = async {
        if tokio::time::timeout(config.shutdown_grace, collect(&mut drivers, &mut unanswered)).await.is_err() {
            tracing::warn!(
                grace.s = config.shutdown_grace.as_secs(),
                "abandoning the refresh that is under way; its lock is freed"
            );
            stop.now.cancel();
            let _ends_with_the_process =
                tokio::time::timeout(LAST_MOMENT, collect(&mut drivers, &mut unanswered)).await;
        }
    };
    tokio::select! {
        ended = &mut subscribed => ended?,
        () = ending => {}
    }
    let answering = async {
        // Other replicas must not count on this process any more: of replicas that end together, the last one then
        // finds no other subscriber.
        unsubscribe.cancel();
        let _stopped = subscribed.await;
        for (site, contact) in &*contacts {
            let inbox = unanswered.remove(site).unwrap_or_default();
            if let Err(error) = farewell::answer(&link, site, contact, inbox).await {
                tracing::warn!(%site, %error, "failed to announce the shutdown to waiting parsers");
            }
        }
    };
    if tokio::time::timeout(LAST_MOMENT, answering).await.is_err() {
        tracing::warn!("Redis does not answer: the shutdown could not be announced to waiting parsers");
    }
    let leaving = async { tokio::join!(outputs.wait(), solvers.destroy_abandoned_sessions()) };
    let _left_behind = tokio::time::timeout(LAST_MOMENT, leaving).await;
    last.cancel();
    tasks.close();
    let _ends_with_the_process = tokio::time::timeout(LAST_MOMENT, tasks.wait()).await;
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
) -> Result<Once, AppError> {
    let mut process = Process::new(&config.redis)?;
    let site = process.site(site.clone())?;
    let Process { clock, link, solvers, status, instance, contacts, outputs } = process;
    let (ready, last) = (CancellationToken::new(), CancellationToken::new());
    let delays = Delays::new(Duration::from_secs(1), Duration::from_secs(1));
    let status = Arc::new(status);
    let observer = Arc::clone(&status);
    let subscription =
        Subscription::new(Arc::clone(&link), clock, delays, observer, instance.to_string(), mailboxes(&contacts));
    let mut subscribed = std::pin::pin!(subscription.run(ready.clone(), last.clone()));
    let admission = async {
        ready.cancelled().await;
        admission::knock(&link).await?;
        admission::look(site).await
    };
    let outputs = started(outputs, &status);
    let (site, seen) = tokio::select! {
        ended = &mut subscribed => { ended?; return Ok(Once::Stopped) }
        admitted = admission => admitted?,
        () = tokio::time::sleep(patience) => {
            return Err(out_of_reach(patience));
        }
    };
    tokio::select! {
        ended = subscribed => { ended?; Ok(Once::Stopped) }
        () = lost_for(&status, patience) => Err(out_of_reach(patience)),
        once = Driver::once(site, seen, Stop { graceful: shutdown.clone(), now: shutdown }) => {
            let leaving = async { tokio::join!(outputs.wait(), solvers.destroy_abandoned_sessions()) };
            let _left_behind = tokio::time::timeout(LAST_MOMENT, leaving).await;
            Ok(once)
        }
    }
}

/// Waits for the drivers to end, and keeps what each has left unanswered.
async fn collect(drivers: &mut JoinSet<(SiteId, Inbox)>, unanswered: &mut BTreeMap<SiteId, Inbox>) {
    while let Some(ended) = drivers.join_next().await {
        unanswered.extend(ended);
    }
}

fn out_of_reach(patience: Duration) -> AppError {
    LinkError::Away(format!("out of reach for {} s", patience.as_secs())).into()
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

/// Starts the outputs. Each ends after the driver of its site.
fn started(outputs: Vec<Output>, status: &Arc<StatusRegistry>) -> TaskTracker {
    let tasks = TaskTracker::new();
    for (file, stored) in outputs {
        let status = Arc::clone(status);
        let is_connected = move || matches!(status.subscription().state, SubscriptionState::Up { .. });
        tasks.spawn(file.run(stored, Delays::new(OUTPUT_RETRY_FIRST, OUTPUT_RETRY_LONGEST), is_connected));
    }
    tasks.close();
    tasks
}

/// The wall clock, for times that people read.
pub fn wall_clock() -> jiff::Timestamp {
    SystemClock::wall()
}

fn mailboxes(contacts: &Contacts) -> Vec<(SiteId, Arc<Mailbox>)> {
    contacts.iter().map(|(site, contact)| (site.clone(), Arc::clone(&contact.mailbox))).collect()
}

/// Sends a manual trigger to a site of this process.
fn refresher(contacts: Arc<Contacts>) -> impl Fn(&SiteId) -> bool + Send + Sync {
    move |site| {
        let contact = contacts.get(site);
        if let Some(contact) = contact {
            contact.mailbox.post(Arrival::Manual);
        }
        contact.is_some()
    }
}

//! What all sites of a process share, and how a site is assembled.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all};
use token_sidecar_client::redis::{Connector, Link, LinkError};
use token_sidecar_client::wire::{Channels, Event, SiteId};
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::AppError;
use super::observers::Observers;
use crate::clock::SystemClock;
use crate::config::{GatewayConfig, SiteConfig};
use crate::domain::announcement;
use crate::domain::inbox::Inbox;
use crate::domain::notice::News;
use crate::domain::pending::{Arrival, Note};
use crate::domain::stored::StoredToken;
use crate::gateway::{self, Access, Gateway, Judge, SiteParts};
use crate::jitter::Delays;
use crate::outputs::notices::{self, Notifier};
use crate::outputs::token_file::{Step, TokenFileWriter};
use crate::redis::subscription::Subscription;
use crate::redis::{RedisStore, history};
use crate::refresh::mailbox::Mailbox;
use crate::refresh::ports::{Clock as _, Probe as _, Store as _, StoreError};
use crate::refresh::site::{Ports, SiteContext};
use crate::server::StoreReader;
use crate::sources::{AnySource, SharedSources};
use crate::status::{HistoryEntry, OutputObserver, SiteObserver, StatusRegistry};
use crate::verify::HttpProbe;

/// How long each last step of a shutdown may take.
pub(super) const LAST_MOMENT: Duration = Duration::from_secs(2);
/// From the first to the longest pause before a failed output is tried again.
const OUTPUT_RETRIES: Delays = Delays::new(Duration::from_secs(1), Duration::from_secs(60));
/// From the first to the longest pause before a notice is sent again.
const NOTICE_RETRIES: Delays = Delays::new(Duration::from_secs(1), Duration::from_secs(300));
/// How often tokens are looked for that end without a renewal.
const EXPIRING_INTERVAL: Duration = Duration::from_secs(10);
/// How often a full queue of news is looked at.
const ROOM_INTERVAL: Duration = Duration::from_millis(100);
/// The pauses and intervals of the subscription, which are the same for all delays.
const SUBSCRIPTION_JITTER: Delays = OUTPUT_RETRIES;

/// The ports of a running sidecar.
#[derive(Debug)]
pub(super) struct ProductionPorts;

impl Ports for ProductionPorts {
    type Store = RedisStore;
    type Source = AnySource;
    type Probe = HttpProbe;
    type Clock = SystemClock;
    type Jitter = Delays;
    type Observer = SiteObserver;
}

pub(super) type Site = Box<SiteContext<ProductionPorts>>;

pub(super) struct Process {
    pub(super) link: Arc<Link>,
    pub(super) status: Arc<StatusRegistry>,
    pub(super) instance: Arc<str>,
    pub(super) gateway: Option<Arc<Gateway>>,
    clock: SystemClock,
    shared: SharedSources,
    contacts: BTreeMap<SiteId, Contact>,
    outputs: TaskTracker,
    news: broadcast::Sender<Arc<News>>,
}

/// An output of a site that is not started yet.
struct Output {
    file: TokenFileWriter,
    stored: watch::Receiver<Option<Arc<StoredToken>>>,
    observer: OutputObserver,
}

/// What other parts of the process use of a running site.
struct Contact {
    mailbox: Arc<Mailbox>,
    store: RedisStore,
}

impl Process {
    /// Assembles the sites, and the gateway where it is on, and starts the outputs. Consumes the settings, to free their
    /// memory.
    pub(super) fn new(
        connector: Connector,
        sites: Vec<SiteConfig>,
        gateway: Option<(GatewayConfig, Access)>,
    ) -> Result<(Arc<Self>, Vec<Site>), AppError> {
        let clock = SystemClock::start();
        let link = Arc::new(Link::new(connector));
        let instance: Arc<str> = instance().into();
        let (shared, mut status) = (SharedSources::default(), StatusRegistry::new(Arc::new(move || clock.now())));
        let (mut contacts, mut outputs, mut assembled) = (BTreeMap::new(), Vec::new(), Vec::with_capacity(sites.len()));
        let mut served = Vec::new();
        for config in sites {
            let SiteConfig { id, page, product, keys, policy, sources, probe, api, .. } = config;
            let SiteConfig { gateway_headers, bootstrap, files, .. } = config;
            let sources = sources.iter().map(|source| AnySource::new(source, &product, &shared));
            let sources = sources.collect::<Result<Vec<_>, _>>()?;
            let mailbox = Arc::new(Mailbox::default());
            let store = RedisStore::new(Arc::clone(&link), id.clone(), keys, policy.lock_ttl, Arc::clone(&instance));
            contacts.insert(id.clone(), Contact { mailbox: Arc::clone(&mailbox), store: store.clone() });
            let stored = watch::Sender::new(None);
            let observer = status.add(&id, policy.schedule.clone());
            outputs.extend(files.iter().map(|file| Output {
                observer: observer.output(file.name_among(&files), file.hook.is_some()),
                file: TokenFileWriter::new(id.clone(), file.clone()),
                stored: stored.subscribe(),
            }));
            if let (Some(_), Some(api), Some(observer)) = (&gateway, api, status.gateway(&id)) {
                served.push(gateway::Site::new(SiteParts {
                    id: id.clone(),
                    api,
                    headers: gateway_headers,
                    proxy: probe.proxy.clone(),
                    stored: stored.subscribe(),
                    mailbox: Arc::clone(&mailbox),
                    observer,
                    judge: judge(HttpProbe::new(probe.clone())?),
                })?);
            }
            assembled.push(Box::new(SiteContext {
                observer,
                jitter: Delays::new(config.backoff_initial, policy.backoff_max),
                id,
                policy,
                product,
                page,
                bootstrap: bootstrap.map(Box::new),
                mailbox,
                store,
                sources,
                probe: HttpProbe::new(probe)?,
                stored,
                clock,
            }));
        }
        status.start_at(SystemClock::wall());
        let solvers = Arc::clone(&shared.solvers);
        status.read_solvers(Box::new(move || solvers.states()));
        let status = Arc::new(status);
        let outputs = started(outputs, &status);
        let gateway =
            gateway.map(|(config, access)| Arc::new(Gateway::new(config, access, served, Arc::clone(&status))));
        let news = broadcast::Sender::new(notices::QUEUE);
        Ok((Arc::new(Self { link, status, instance, gateway, clock, shared, contacts, outputs, news }), assembled))
    }

    /// `anew` asks it for new connections.
    pub(super) fn subscription(&self, anew: Arc<Notify>) -> Subscription<SystemClock, Delays, Observers> {
        let contacts = self.contacts.iter().map(|(site, contact)| (site.clone(), Arc::clone(&contact.mailbox)));
        let (status, news) = (Arc::clone(&self.status), self.news.clone());
        let observers = Observers { status, gateway: self.gateway.clone(), news };
        let (link, observers, instance) = (Arc::clone(&self.link), Arc::new(observers), self.instance.to_string());
        Subscription::new(link, self.clock, SUBSCRIPTION_JITTER, observers, instance, contacts.collect(), anew)
    }

    /// Sends notices until it is dropped, and looks for tokens that end without a renewal.
    pub(super) fn notices(&self, notifiers: Vec<Notifier>) -> impl Future<Output = ()> + Send + 'static {
        let stores = self.contacts.iter().map(|(site, contact)| (site.to_string(), contact.store.clone()));
        let stores: Arc<BTreeMap<String, RedisStore>> = Arc::new(stores.collect());
        let running = notifiers.into_iter().map(|notifier| {
            notifier.run(self.news.subscribe(), Arc::clone(&stores), NOTICE_RETRIES, SystemClock::wall)
        });
        let (running, status, news) =
            (join_all(running.collect::<Vec<_>>()), Arc::clone(&self.status), self.news.clone());
        let looking = async move {
            loop {
                tokio::time::sleep(EXPIRING_INTERVAL).await;
                for expiring in status.expiring() {
                    // There may be thousands.
                    while news.len() >= notices::QUEUE / 2 {
                        tokio::time::sleep(ROOM_INTERVAL).await;
                    }
                    let _ = news.send(Arc::new(expiring));
                }
            }
        };
        async move {
            tokio::join!(running, looking);
        }
    }

    /// Sends a manual trigger to a site of this process, with who asked and why.
    pub(super) fn refresh(&self, site: &SiteId, note: Note) {
        if let Some(contact) = self.contacts.get(site) {
            contact.mailbox.post(Arrival::Manual(note));
        }
    }

    /// Announces `failed` for sites with unanswered reports, unless another replica is subscribed: that one has received
    /// them too. Must be called after this process has unsubscribed.
    pub(super) async fn answer(&self, mut unanswered: BTreeMap<SiteId, Inbox>) {
        let is_asked = |(site, contact): &(&SiteId, &Contact)| {
            let mut inbox = unanswered.remove(*site).unwrap_or_default();
            inbox.take_in(contact.mailbox.take());
            inbox.is_asked()
        };
        let asked: Vec<_> = self.contacts.iter().filter(is_asked).collect();
        if asked.is_empty() {
            return;
        }
        let sites = || asked.iter().map(|(site, _)| *site);
        let counts = match self.subscribers(sites()).await {
            // The connection may have broken since its last use.
            Err(LinkError::Away(_)) => self.subscribers(sites()).await,
            counts => counts,
        };
        let counts = match counts {
            Ok(counts) => counts,
            Err(error) => return tracing::warn!(%error, "failed to announce the shutdown to waiting parsers"),
        };
        let alone = asked.into_iter().zip(counts).filter(|(_, count)| *count == 0);
        let answering = alone.map(|((site, contact), _)| async move {
            if let Err(error) = self.answer_site(site, contact).await {
                tracing::warn!(%site, %error, "failed to announce the shutdown to waiting parsers");
            }
        });
        // The link bounds how many commands run at once.
        join_all(answering).await;
    }

    /// How many sidecars are subscribed to the reports of each site.
    async fn subscribers(&self, sites: impl Iterator<Item = &SiteId>) -> Result<Vec<usize>, LinkError> {
        let channels: Vec<String> = sites.map(|site| Channels::of(site).invalid).collect();
        let counts = self.link.subscribers(&channels).await?;
        Ok(channels.iter().map(|channel| counts.get(channel).copied().unwrap_or_default()).collect())
    }

    async fn answer_site(&self, site: &SiteId, contact: &Contact) -> Result<(), StoreError> {
        let snapshot = contact.store.look().await?;
        tracing::info!(%site, "reports are unanswered at shutdown: announcing a failure");
        let failed = announcement::stopped(site, &snapshot);
        contact.store.publish(&Event::Failed(failed)).await
    }

    /// Gives what goes on beside the drivers a moment to end.
    pub(super) async fn leave(&self) {
        let leaving = async { tokio::join!(self.outputs.wait(), self.shared.close()) };
        let _left_behind = timeout(LAST_MOMENT, leaving).await;
    }
}

impl StoreReader for Process {
    fn latest<'a>(&'a self, site: &'a SiteId, limit: usize) -> BoxFuture<'a, Result<Vec<HistoryEntry>, String>> {
        async move {
            let contact = self.contacts.get(site).ok_or_else(|| format!("unknown site {site}"))?;
            history::latest(&self.link, contact.store.keys(), limit).await.map_err(|error| error.to_string())
        }
        .boxed()
    }

    fn listening<'a>(&'a self, sites: &'a [SiteId]) -> BoxFuture<'a, Result<Vec<usize>, String>> {
        async move { self.subscribers(sites.iter()).await.map_err(|error| error.to_string()) }.boxed()
    }
}

/// Starts the outputs. Each ends after the driver of its site.
fn started(outputs: Vec<Output>, status: &Arc<StatusRegistry>) -> TaskTracker {
    let tasks = TaskTracker::new();
    for Output { file, stored, observer } in outputs {
        let status = Arc::clone(status);
        let report = move |step, done| match step {
            Step::Write => observer.report(done),
            Step::Hook => observer.report_hook(done),
        };
        tasks.spawn(file.run(stored, OUTPUT_RETRIES, move || status.is_connected(), report));
    }
    tasks.close();
    tasks
}

/// Asks a probe of the gateway's own: that of the site belongs to its driver.
fn judge(probe: HttpProbe) -> Judge {
    let probe = Arc::new(probe);
    Arc::new(move |stored: Arc<StoredToken>| {
        let probe = Arc::clone(&probe);
        async move { probe.verify(&stored.token, &stored.cookies, stored.user_agent.as_deref()).await }.boxed()
    })
}

/// The name of this process in the history and in canaries: the host and a random id.
fn instance() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String =
        host.trim().chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).take(40).collect();
    format!("{}-{:08x}", if host.is_empty() { "sidecar" } else { &host }, fastrand::u32(..))
}

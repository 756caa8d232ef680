//! What all sites of a process share, and how a site is put together.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::AppError;
use crate::clock::SystemClock;
use crate::config::SiteConfig;
use crate::domain::stored::StoredToken;
use crate::jitter::Delays;
use crate::outputs::env_file::EnvFile;
use crate::redis::RedisStore;
use crate::refresh::mailbox::Mailbox;
use crate::refresh::ports::Clock as _;
use crate::refresh::site::{Ports, SiteContext};
use crate::sources::{AnySource, Solvers};
use crate::status::{SiteObserver, StatusRegistry};
use crate::verify::HttpProbe;
use secrecy::ExposeSecret as _;
use token_sidecar_client::redis::{Connector, Link, RedisConfig};
use token_sidecar_client::wire::{SiteId, Token};
use tokio::sync::watch;

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

/// What all sites of the process share.
pub(super) struct Process {
    pub(super) clock: SystemClock,
    pub(super) link: Arc<Link>,
    pub(super) solvers: Solvers,
    pub(super) status: StatusRegistry,
    pub(super) instance: Arc<str>,
    pub(super) contacts: Contacts,
    pub(super) outputs: Vec<Output>,
}

/// A further place for a site's token, and where that is received from.
pub(super) type Output = (EnvFile, watch::Receiver<Option<StoredToken>>);

/// How others reach the sites that are driven.
pub(super) type Contacts = BTreeMap<SiteId, Contact>;

/// How others reach a site that is driven.
pub(super) struct Contact {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) store: RedisStore,
}

impl Process {
    pub(super) fn new(redis: &RedisConfig) -> Result<Self, AppError> {
        let clock = SystemClock::start();
        let connector = Connector::new(redis)?;
        Ok(Self {
            clock,
            link: Arc::new(Link::new(connector)),
            solvers: Solvers::default(),
            status: StatusRegistry::new(Arc::new(move || clock.now())),
            instance: instance().into(),
            contacts: Contacts::new(),
            outputs: Vec::new(),
        })
    }

    /// Puts a site together, out of its settings alone: they are gone then.
    pub(super) fn site(&mut self, config: SiteConfig) -> Result<Box<SiteContext<ProductionPorts>>, AppError> {
        let SiteConfig { id, page, cookie, keys, policy, sources, probe, bootstrap, env_file, env_key, .. } = config;
        let sources = sources.iter().map(|source| AnySource::new(source, &cookie, &self.solvers));
        let mut sources = sources.collect::<Result<Vec<_>, _>>()?;
        sources.shrink_to_fit();
        let bootstrap = bootstrap.map(|secret| {
            Token::parse(secret.expose_secret())
                .map(Box::new)
                .map_err(|error| AppError::Config(format!("the bootstrap token of {id} cannot be used: {error}")))
        });
        let mailbox = Arc::new(Mailbox::default());
        let (link, instance) = (Arc::clone(&self.link), Arc::clone(&self.instance));
        let store = RedisStore::new(link, id.clone(), keys, policy.lock_ttl, instance);
        let contact = Contact { mailbox: Arc::clone(&mailbox), store: store.clone() };
        self.contacts.insert(id.clone(), contact);
        let stored = watch::Sender::new(None);
        self.outputs.extend(env_file.map(|path| (EnvFile::new(path, env_key), stored.subscribe())));
        Ok(Box::new(SiteContext {
            observer: self.status.add(&id, policy.schedule.clone()),
            id,
            policy,
            cookie,
            page,
            bootstrap: bootstrap.transpose()?,
            mailbox,
            store,
            sources,
            probe: HttpProbe::new(&probe)?,
            stored,
            clock: self.clock,
            jitter: Delays::new(config.backoff_initial, config.backoff_max),
        }))
    }
}

/// Names this process in the history and in canaries: the host and something random.
fn instance() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String =
        host.trim().chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).take(40).collect();
    format!("{}-{:08x}", if host.is_empty() { "sidecar" } else { &host }, fastrand::u32(..))
}

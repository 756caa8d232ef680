//! What all sites of a process share, and how a site is assembled.

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

pub(super) struct Process {
    pub(super) clock: SystemClock,
    pub(super) link: Arc<Link>,
    pub(super) solvers: Solvers,
    pub(super) status: StatusRegistry,
    pub(super) instance: Arc<str>,
    pub(super) contacts: Contacts,
    pub(super) outputs: Vec<Output>,
}

/// An output and where it receives the stored token from.
pub(super) type Output = (EnvFile, watch::Receiver<Option<StoredToken>>);

pub(super) type Contacts = BTreeMap<SiteId, Contact>;

/// What other parts of the process use of a running site.
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

    /// Assembles a site and consumes its settings, to free their memory.
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

/// The name of this process in the history and in canaries: the host and a random id.
fn instance() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String =
        host.trim().chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).take(40).collect();
    format!("{}-{:08x}", if host.is_empty() { "sidecar" } else { &host }, fastrand::u32(..))
}

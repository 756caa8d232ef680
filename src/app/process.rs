//! What all sites of a process share, and how a site is put together.

use std::sync::Arc;

use secrecy::ExposeSecret as _;

use super::AppError;
use crate::adapters::chance::Delays;
use crate::adapters::clock::SystemClock;
use crate::adapters::env_file::EnvFile;
use crate::adapters::probe::HttpProbe;
use crate::adapters::redis::{Connector, Link, RedisStore};
use crate::adapters::source::{AnySource, Solvers};
use crate::config::{Config, SiteConfig};
use crate::domain::site::SiteId;
use crate::domain::token::Token;
use crate::flow::mailbox::Mailbox;
use crate::flow::ports::Clock as _;
use crate::flow::site::{Site, World};
use crate::server::{Board, SiteObserver};

/// The real outside.
#[derive(Debug)]
pub(super) struct Outside;

impl World for Outside {
    type Store = RedisStore<SystemClock>;
    type Source = AnySource;
    type Probe = HttpProbe;
    type Sink = EnvFile;
    type Clock = SystemClock;
    type Chance = Delays;
    type Observer = SiteObserver;
}

/// What all sites of the process share.
pub(super) struct Process {
    pub(super) clock: SystemClock,
    pub(super) link: Arc<Link<SystemClock>>,
    pub(super) solvers: Solvers,
    pub(super) board: Board,
    pub(super) instance: String,
    pub(super) mailboxes: Vec<(SiteId, Arc<Mailbox>)>,
}

impl Process {
    pub(super) fn new(config: &Config) -> Result<Self, AppError> {
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

    pub(super) fn site(&mut self, config: &SiteConfig) -> Result<Site<Outside>, AppError> {
        let sources = config.sources.iter().map(|s| AnySource::new(s, &config.cookie, &self.solvers));
        let bootstrap = config.bootstrap.as_ref().map(|secret| {
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

/// Names this process in the history and in canaries: the host and something random.
fn instance() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String =
        host.trim().chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).take(40).collect();
    format!("{}-{:08x}", if host.is_empty() { "sidecar" } else { &host }, fastrand::u32(..))
}

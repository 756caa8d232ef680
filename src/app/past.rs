//! The history of all sites, for the server.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::adapters::clock::SystemClock;
use crate::adapters::redis::{Link, history};
use crate::config::{Config, KeyNames};
use crate::domain::site::SiteId;
use crate::server::{Entries, History};

/// Reads the history of any site.
pub(super) struct Past {
    link: Arc<Link<SystemClock>>,
    keys: BTreeMap<SiteId, KeyNames>,
}

impl Past {
    pub(super) fn new(link: &Arc<Link<SystemClock>>, config: &Config) -> Self {
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

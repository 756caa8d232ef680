//! The history of all sites, for the server.

use std::sync::Arc;

use token_sidecar_client::wire::SiteId;

use super::process::Contacts;
use crate::clock::SystemClock;
use crate::redis::{Link, history};
use crate::server::{Entries, History};

/// Reads the history of any site.
pub(super) struct Past {
    link: Arc<Link<SystemClock>>,
    contacts: Arc<Contacts>,
}

impl Past {
    pub(super) const fn new(link: Arc<Link<SystemClock>>, contacts: Arc<Contacts>) -> Self {
        Self { link, contacts }
    }
}

impl History for Past {
    fn recent<'a>(&'a self, site: &'a SiteId, limit: usize) -> Entries<'a> {
        Box::pin(async move {
            let contact = self.contacts.get(site).ok_or_else(|| format!("unknown site {site}"))?;
            history::latest(&self.link, contact.store.keys(), limit).await.map_err(|error| error.to_string())
        })
    }
}

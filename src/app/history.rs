//! Reads the history of all sites from Redis, for the server.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use token_sidecar_client::redis::Link;
use token_sidecar_client::wire::SiteId;

use super::process::Contacts;
use crate::redis::history;
use crate::server::HistoryReader;
use crate::status::HistoryEntry;

pub(super) struct RedisHistory {
    link: Arc<Link>,
    contacts: Arc<Contacts>,
}

impl RedisHistory {
    pub(super) const fn new(link: Arc<Link>, contacts: Arc<Contacts>) -> Self {
        Self { link, contacts }
    }
}

impl HistoryReader for RedisHistory {
    fn latest<'a>(&'a self, site: &'a SiteId, limit: usize) -> BoxFuture<'a, Result<Vec<HistoryEntry>, String>> {
        async move {
            let contact = self.contacts.get(site).ok_or_else(|| format!("unknown site {site}"))?;
            history::latest(&self.link, contact.store.keys(), limit).await.map_err(|error| error.to_string())
        }
        .boxed()
    }
}

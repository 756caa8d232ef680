//! `history`: the attempts of a site, the newest first.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use token_sidecar_client::redis::{Connector, Link};
use token_sidecar_client::wire::whole_second_down;

use super::args::{History as Flags, Since};
use super::patience::reach;
use super::status::{attempt, reader};
use super::{Exit, Stopped, screen};
use crate::config::{Config, SiteConfig};
use crate::domain::lifetime::earlier;
use crate::redis::history;
use crate::status::HistoryEntry;

/// How many are shown where neither a number nor a time is given.
const ENTRIES: usize = 20;

/// What `history --json` prints: the same as `/api/history`.
#[derive(Serialize)]
struct Entries<'a> {
    site: &'a str,
    entries: Vec<HistoryEntry>,
}

pub(super) async fn run(config: &Config, site: &SiteConfig, flags: &Flags) -> Result<Exit, Stopped> {
    let link = Arc::new(Link::new(Connector::new(&config.redis)?));
    // Times in the history are Redis' own, and so is the time that they are compared with.
    let store = reader(&link, site);
    let now: Timestamp = reach(&config.redis, || store.snapshot()).await?.at;
    let since = flags.since.map(|since| match since {
        Since::Ago(span) => earlier(now, span),
        Since::At(at) => at,
    });
    let limit = flags.limit.map_or(if since.is_some() { history::MAX_ENTRIES } else { ENTRIES }, usize::from);
    let read = if since.is_some() { history::MAX_ENTRIES } else { limit };
    let mut entries = reach(&config.redis, async || history::latest(&link, &site.keys, read).await).await?;
    entries.retain(|entry| since.is_none_or(|since| entry.at >= since));
    entries.truncate(limit);
    if flags.json {
        let json = serde_json::to_string_pretty(&Entries { site: site.id.as_str(), entries });
        screen::line(json.map_err(std::io::Error::from)?)?;
        return Ok(Exit::Done);
    }
    if entries.is_empty() {
        screen::error_line("no attempts");
    }
    for entry in &entries {
        let text = format!("{}  {}", whole_second_down(entry.at), attempt(entry, whole_second_down(now)));
        screen::fitting_line(&text)?;
    }
    Ok(Exit::Done)
}

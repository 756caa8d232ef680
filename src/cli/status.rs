//! `status`: the state, for people and for scripts.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::args::Status as Flags;
use super::patience::reach;
use super::screen::plain;
use super::{Exit, Stopped, screen};
use crate::client::Client;
use crate::config::{Config, SiteConfig};
use crate::domain::duration;
use crate::domain::lifetime::between;
use crate::status::model::{SiteStatus, TokenState};
use crate::status::view::{HistoryEntry, SiteReport};

/// How many attempts are shown.
const ATTEMPTS: usize = 5;

/// A site as `status --json` shows it.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    site: SiteReport,
    history: Vec<HistoryEntry>,
}

/// What `status --json` prints.
#[derive(Serialize)]
struct Reports {
    sites: Vec<Report>,
}

pub(super) async fn run(config: &Config, sites: &[&SiteConfig], flags: &Flags) -> Result<Exit, Stopped> {
    let mut reports = Vec::new();
    for site in sites {
        let client = Client::configured(config, site)?;
        let snapshot = reach(async || client.look().await).await?;
        let mut status = SiteStatus::default();
        status.look(&snapshot, Duration::ZERO);
        let report = SiteReport::of(&site.id, &status, &site.policy.schedule, Duration::ZERO);
        let history = reach(async || client.history(ATTEMPTS).await).await?;
        reports.push(Report { site: report, history });
    }
    let fresh = reports.iter().all(|r| r.site.state == TokenState::Fresh);
    if flags.json {
        let json = serde_json::to_string_pretty(&Reports { sites: reports });
        screen::line(json.map_err(std::io::Error::from)?)?;
    } else {
        for report in &reports {
            for line in readable(report) {
                screen::line(line)?;
            }
        }
    }
    Ok(if fresh { Exit::Done } else { Exit::Unhealthy })
}

fn readable(report: &Report) -> Vec<String> {
    let site = &report.site;
    let now = site.read_at.unwrap_or_default();
    let mut lines = vec![match site.state {
        TokenState::Fresh => format!("{}  {}", site.site, screen::good("fresh")),
        TokenState::Expired => format!("{}  {}", site.site, screen::bad("expired")),
        TokenState::Missing => format!("{}  {}", site.site, screen::bad("no token")),
        TokenState::Unknown => format!("{}  {}", site.site, screen::bad("not known")),
    }];
    let mut row = |name: &str, text: String| lines.push(format!("  {}  {text}", screen::faint(&format!("{name:<10}"))));
    if let Some(token) = &site.token {
        row("token", format!("{}  version {}", token.fingerprint, token.version));
        let by = token.trigger.map_or_else(
            || "somebody else".to_owned(),
            |t| format!("{} through {}", t, plain(token.source.as_deref().unwrap_or("?"))),
        );
        row("stored", token.refreshed_at.map_or_else(|| by.clone(), |at| format!("{} ago by {by}", span(at, now))));
        if let Some(end) = token.expires_at {
            row("expires", ahead(end, now));
        }
        if let Some(end) = token.key_ends_at {
            row("key ends", ahead(end, now));
        }
    }
    if let Some(at) = site.refresh_at {
        row("renewal", ahead(at, now));
    }
    row("next tick", site.next_tick.map_or_else(|| "off".to_owned(), |at| ahead(at, now)));
    if let Some(refresh) = &site.refresh {
        row("refresh", format!("under way{}", refresh.stage.as_ref().map(|s| format!(": {s}")).unwrap_or_default()));
    }
    if let Some(failing) = &site.failing {
        let last = format!("{} last: {}", plain(&failing.stage), plain(&failing.error));
        row("failing", format!("{} in a row, {last}", failing.attempts));
        row("next try", ahead(failing.retry_at, now));
    }
    for (n, entry) in report.history.iter().enumerate() {
        row(if n == 0 { "attempts" } else { "" }, attempt(entry, now));
    }
    lines
}

fn attempt(entry: &HistoryEntry, now: Timestamp) -> String {
    let outcome = plain(&entry.outcome);
    let outcome = if outcome == "refreshed" { screen::good(&outcome) } else { screen::bad(&outcome) };
    let mut text = format!("{} ago  {outcome}", span(entry.at, now));
    for part in [&entry.trigger, &entry.source].into_iter().flatten() {
        text.push_str(&format!("  {}", plain(part)));
    }
    if let Some(reporter) = &entry.reporter {
        text.push_str(&format!("  for {}", plain(reporter)));
    }
    if let Some(ms) = entry.solve_ms {
        text.push_str(&format!("  solve {ms} ms"));
    }
    if let Some(error) = &entry.error {
        text.push_str(&format!("  {}: {}", plain(entry.stage.as_deref().unwrap_or("?")), plain(error)));
    }
    text
}

fn ahead(at: Timestamp, now: Timestamp) -> String {
    if at <= now { format!("{at}  now") } else { format!("{at}  in {}", span(now, at)) }
}

/// The time between, in its two largest units.
fn span(from: Timestamp, to: Timestamp) -> String {
    let seconds = between(from, to).as_secs();
    let unit = match seconds {
        0..3_600 => 1,
        3_600..86_400 => 60,
        _ => 3_600,
    };
    duration::text(Duration::from_secs(seconds / unit * unit))
}

//! `status`: the state, for people and for scripts.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use jiff::Timestamp;
use serde::Serialize;
use token_sidecar_client::Updates;
use token_sidecar_client::redis::{Connector, Link, LinkError};
use token_sidecar_client::wire::{Channels, whole_second_down, whole_second_up};

use super::args::Status as Flags;
use super::patience::reach;
use super::screen::plain;
use super::{Exit, Stopped, local, screen};
use crate::config::{Config, SiteConfig};
use crate::domain::breaker::{BreakerState, SolverStatus};
use crate::domain::duration;
use crate::domain::lifetime::between;
use crate::domain::snapshot::Failing;
use crate::redis::{RedisStore, history};
use crate::status::{HistoryEntry, OutputStatus, SiteRecord, SiteStatus, TokenState, TokenStatus};

const ATTEMPTS: usize = 5;

/// A site as `status --json` shows it.
#[derive(Serialize)]
struct SiteWithHistory {
    #[serde(flatten)]
    site: SiteStatus,
    history: Vec<HistoryEntry>,
    /// How many sidecars listen; `None` where Redis does not let this user count them.
    #[serde(skip_serializing_if = "Option::is_none")]
    sidecars: Option<usize>,
    /// As the sidecar on this machine says it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    outputs: Vec<OutputStatus>,
}

/// What `status --json` prints.
#[derive(Serialize)]
struct Sites {
    /// As the sidecar on this machine says it, where a site has several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    solvers: Vec<SolverStatus>,
    sites: Vec<SiteWithHistory>,
}

/// More sites have a line each.
const MOST_IN_FULL: usize = 5;

/// How often `--watch` looks where no event comes.
const PACE: Duration = Duration::from_secs(5);

pub(super) async fn run(config: &Config, sites: &[&SiteConfig], flags: &Flags) -> Result<Exit, Stopped> {
    let link = Arc::new(Link::new(Connector::new(&config.redis)?));
    let first = reach(&config.redis, async || look(config, &link, sites).await).await?;
    if flags.watch {
        return watch(config, &link, sites, first).await;
    }
    let is_fresh = first.sites.iter().all(|s| s.site.state == TokenState::Fresh);
    if flags.output.json {
        let json = serde_json::to_string_pretty(&first);
        screen::line(json.map_err(std::io::Error::from)?)?;
    } else {
        for line in first.readable() {
            screen::fitting_line(&line)?;
        }
    }
    Ok(if is_fresh { Exit::Done } else { Exit::Unhealthy })
}

/// Shows the state at each event and every few seconds, until the process is ended.
async fn watch(config: &Config, link: &Arc<Link>, sites: &[&SiteConfig], first: Sites) -> Result<Exit, Stopped> {
    let mut updates = Updates::of(link.connector().clone(), sites.iter().map(|site| &site.id));
    let mut place = screen::Place::new();
    let (mut lines, mut shown) = (first.readable(), Some(first.gist()));
    place.show(&lines)?;
    loop {
        tokio::select! {
            _ = updates.next() => {}
            () = tokio::time::sleep(PACE) => {}
        }
        let (gist, error) = match look(config, link, sites).await {
            Ok(sites) => {
                lines = sites.readable();
                (Some(sites.gist()), None)
            }
            Err(error) => (None, Some(format!("not current: {}", plain(&error.to_string())))),
        };
        if place.is_redrawn() || gist != shown {
            let shown: Vec<String> = lines.iter().cloned().chain(error).collect();
            place.show(&shown)?;
        }
        shown = gist;
    }
}

async fn look(config: &Config, link: &Arc<Link>, sites: &[&SiteConfig]) -> Result<Sites, LinkError> {
    let channels: Vec<String> = sites.iter().map(|site| Channels::of(&site.id).invalid).collect();
    // The link bounds how many commands run at once.
    let reading = try_join_all(sites.iter().map(|site| read(link, site)));
    let (mut here, counts, read) = tokio::join!(local::status(config, sites), link.subscribers(&channels), reading);
    let counts = counts.unwrap_or_default();
    let shown = read?.into_iter().zip(sites.iter().zip(&channels)).map(|((status, history), (site, channel))| {
        let (sidecars, outputs) = (counts.get(channel).copied(), here.outputs(&site.id));
        SiteWithHistory { site: status, history, sidecars, outputs }
    });
    let sites = shown.collect();
    Ok(Sites { solvers: here.solvers, sites })
}

/// What Redis has of a site.
async fn read(link: &Arc<Link>, site: &SiteConfig) -> Result<(SiteStatus, Vec<HistoryEntry>), LinkError> {
    let snapshot = reader(link, site).snapshot().await?;
    let mut record = SiteRecord::default();
    record.look(&snapshot, Duration::ZERO);
    let mut status = record.status(&site.id, &site.policy.schedule, Duration::ZERO);
    let history = history::latest(link, &site.keys, ATTEMPTS).await?;
    status.last_attempt_at = status.last_attempt_at.max(history.first().map(|entry| entry.at));
    Ok((status, history))
}

impl Sites {
    fn readable(&self) -> Vec<String> {
        let mut lines: Vec<String> = match self.sites.len() {
            0..=MOST_IN_FULL => self.sites.iter().flat_map(readable).collect(),
            _ => table(&self.sites),
        };
        for SolverStatus { address, state, left_alone_s } in &self.solvers {
            let left = left_alone_s.map(|left| format!(", left alone for {left} s")).unwrap_or_default();
            let state =
                if *state == BreakerState::Closed { screen::good("asked") } else { screen::bad(state.into_str()) };
            lines.push(format!("solver {}  {state}{left}", plain(address)));
        }
        lines
    }

    /// What makes a new block worth showing: all but the times that pass.
    fn gist(&self) -> Vec<Gist> {
        let of = |SiteWithHistory { site, history, sidecars, outputs }: &SiteWithHistory| Gist {
            state: site.state,
            token: site.token.clone(),
            is_refreshing: site.refresh.is_some(),
            failing: site.failing.clone(),
            last: history.first().cloned(),
            sidecars: *sidecars,
            outputs: outputs.clone(),
        };
        self.sites.iter().map(of).collect()
    }
}

#[derive(PartialEq)]
struct Gist {
    state: TokenState,
    token: Option<TokenStatus>,
    is_refreshing: bool,
    failing: Option<Failing>,
    last: Option<HistoryEntry>,
    sidecars: Option<usize>,
    outputs: Vec<OutputStatus>,
}

pub(super) fn reader(link: &Arc<Link>, site: &SiteConfig) -> RedisStore {
    RedisStore::new(Arc::clone(link), site.id.clone(), site.keys.clone(), site.policy.lock_ttl, "")
}

/// A state in words.
const fn word(state: TokenState) -> &'static str {
    match state {
        TokenState::Fresh => "fresh",
        TokenState::Expired => "expired",
        TokenState::Refused => "refused",
        TokenState::Missing => "no token",
        TokenState::Unknown => "not known",
    }
}

fn coloured(state: TokenState, text: &str) -> console::StyledObject<&str> {
    if state == TokenState::Fresh { screen::good(text) } else { screen::bad(text) }
}

/// A line for each site, those that fail first.
fn table(sites: &[SiteWithHistory]) -> Vec<String> {
    let mut sites: Vec<_> = sites.iter().collect();
    sites.sort_by_key(|shown| shown.site.state == TokenState::Fresh);
    let rows: Vec<_> = sites.iter().map(|shown| cells(shown)).collect();
    let line = |(shown, [site, word, rest @ ..]): (&&SiteWithHistory, [String; 5])| {
        format!("{site}  {}  {}", coloured(shown.site.state, &word), rest.join("  ")).trim_end().to_owned()
    };
    sites.iter().zip(screen::aligned(&rows)).map(line).collect()
}

fn cells(SiteWithHistory { site, sidecars, .. }: &SiteWithHistory) -> [String; 5] {
    let now = whole_second_down(site.read_at.unwrap_or_default());
    let time_to = |what: &str, at: Option<Timestamp>| {
        let at = at.map(whole_second_down).filter(|at| *at > now);
        at.map_or_else(String::new, |at| format!("{what} in {}", span(now, at)))
    };
    let failing =
        site.failing.as_ref().map(|failing| format!("{} failed: {}", failing.attempts, plain(&failing.error)));
    let is_alone = *sidecars == Some(0);
    let listening = is_alone.then(|| "no sidecar listens".to_owned());
    [
        site.site.clone(),
        word(site.state).to_owned(),
        time_to("ends", site.token.as_ref().and_then(TokenStatus::ends_at)),
        time_to("renewal", site.refresh_at.filter(|_| !is_alone)),
        [listening, failing].into_iter().flatten().collect::<Vec<_>>().join("; "),
    ]
}

fn readable(SiteWithHistory { site, history, sidecars, outputs }: &SiteWithHistory) -> Vec<String> {
    let now = whole_second_down(site.read_at.unwrap_or_default());
    let mut lines = vec![format!("{}  {}", site.site, coloured(site.state, word(site.state)))];
    let mut row = |name: &str, text: String| lines.push(format!("  {}  {text}", screen::faint(&format!("{name:<10}"))));
    if let Some(token) = &site.token {
        row(token.product.into_str(), format!("{}  version {}", token.fingerprint, token.version));
        let by = token.trigger.map_or_else(
            || "another program".to_owned(),
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
    if *sidecars == Some(0) {
        // Nothing is renewed by itself.
        row("sidecars", screen::bad("none listens: reports are lost; start one: token-sidecar run").to_string());
    } else {
        if let Some(at) = site.refresh_at {
            let late = if site.expiring { format!("  {}", screen::bad("none has succeeded")) } else { String::new() };
            row("renewal", format!("{}{late}", ahead(at, now)));
        }
        row("next tick", site.next_tick.map_or_else(|| "off".to_owned(), |at| ahead(at, now)));
        if let Some(count) = sidecars {
            row("sidecars", format!("{count} listening"));
        }
    }
    if let Some(refresh) = &site.refresh {
        row(
            "refresh",
            format!("under way{}", refresh.stage.map(|step| format!(": {}", step.into_str())).unwrap_or_default()),
        );
    }
    if let Some(failing) = &site.failing {
        let last = format!("{} last: {}", failing.stage, plain(&failing.error));
        row("failing", format!("{} in a row, {last}", failing.attempts));
        row("next try", ahead(whole_second_up(failing.retry_at), now));
    }
    for (n, output) in outputs.iter().enumerate() {
        row(if n == 0 { "files" } else { "" }, file(output));
    }
    for (n, entry) in history.iter().enumerate() {
        row(if n == 0 { "attempts" } else { "" }, attempt(entry, now));
    }
    lines
}

/// One line on a file.
fn file(output: &OutputStatus) -> String {
    let state = |is: Option<bool>, good: &'static str, bad: &'static str| match is {
        Some(true) => screen::good(good),
        Some(false) => screen::bad(bad),
        None => screen::faint("not yet"),
    };
    let mut text = format!("{}  {}", plain(&output.file), state(output.current, "current", "stale"));
    if let Some(hook) = &output.hook {
        text.push_str(&format!("  after a write: {}", state(hook.succeeded, "succeeded", "failed")));
    }
    for error in [&output.error, &output.hook.as_ref().and_then(|hook| hook.error.clone())].into_iter().flatten() {
        text.push_str(&format!("  {}", plain(error)));
    }
    text
}

/// One line on an attempt.
pub(super) fn attempt(entry: &HistoryEntry, now: Timestamp) -> String {
    let outcome = plain(&entry.outcome);
    let outcome = if outcome == "refreshed" { screen::good(&outcome) } else { screen::bad(&outcome) };
    let mut text = format!("{} ago  {outcome}", span(entry.at, now));
    for part in [&entry.trigger, &entry.source].into_iter().flatten() {
        text.push_str(&format!("  {}", plain(part)));
    }
    if let Some(reporter) = &entry.reporter {
        text.push_str(&format!("  for {}", plain(reporter)));
    }
    if let Some(reason) = &entry.reason {
        text.push_str(&format!("  ({})", plain(reason)));
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
    let at = whole_second_down(at);
    if at <= now { format!("{at}  now") } else { format!("{at}  in {}", span(now, at)) }
}

/// The time between the two, in its two largest units.
pub(super) fn span(from: Timestamp, to: Timestamp) -> String {
    let seconds = between(whole_second_down(from), to).as_secs();
    let unit = match seconds {
        0..3_600 => 1,
        3_600..86_400 => 60,
        _ => 3_600,
    };
    duration::text(Duration::from_secs(seconds / unit * unit))
}

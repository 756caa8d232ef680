//! `inspect`: what a page has that may be its site's token, and the site's settings.

use std::convert::Infallible;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use token_sidecar_client::wire::{Cookies, SiteId};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::args::Inspect as Flags;
use super::status::span;
use super::{Exit, Stopped, config_init, screen, under_signals};
use crate::clock::SystemClock;
use crate::config::{Config, Flag, Proposal, SiteConfig, is_built_in, web_address};
use crate::domain::inspection::{Item, Kind, Looks, items, jar};
use crate::domain::verdict::Verdict;
use crate::inspect::{Inspector, Verdicts};
use crate::shutdown::Signals;

/// How many lines are shown at most, and how much of a name.
const MOST_LINES: usize = 60;
const MOST_OF_A_NAME: usize = 60;
const TICK: Duration = Duration::from_secs(1);

/// What was found and what the API says of it.
struct Report {
    items: Vec<Item>,
    jar: Cookies,
    verdicts: Option<Verdicts>,
    now: Timestamp,
}

/// What holds the site's token.
enum Choice<'a> {
    Token(&'a Item),
    Jar,
}

/// The setting that `--source` stands for. A plain request needs none: it is the inspected page's own.
pub(super) fn source(flags: &Flags) -> Option<Flag> {
    let value = flags.source.clone().filter(|source| source != "http")?;
    Some(Flag { name: "--source".to_owned(), path: "sites.*.sources".to_owned(), value })
}

pub(super) async fn run(config: &Config, site: &SiteConfig, flags: &Flags) -> Result<Exit, Stopped> {
    let page = address("URL", &flags.page)?;
    let api = flags.api.as_deref().map(|api| address("--api", api)).transpose()?;
    let id = id(config, flags, &page)?;
    if let Some(file) = &flags.write {
        // Before the page is opened, which may take a minute.
        config_init::check(file)?;
    }
    let is_plain = flags.source.as_deref() == Some("http");
    let inspector = Inspector::new(site, is_plain, &page, api.as_ref())?;
    let look = async |shutdown: CancellationToken| {
        let done = shutdown.run_until_cancelled(look(&inspector, &page, api.as_ref())).await;
        inspector.close().await;
        done.unwrap_or_else(|| Err(Stopped::because(Exit::TryAgain, "stopped before all was looked at")))
    };
    let report = under_signals(Signals::install()?, look).await;
    if inspector.source() != "browser" {
        screen::error_line("storage and headers are seen by the source `browser` alone: --source browser");
    }
    let report = report?;
    let choice = report.choice();
    if let (Ok(choice), Some(file)) = (&choice, &flags.write) {
        let (is_by_proxy, wait, source) = (inspector.is_by_proxy(), inspector.wait, inspector.source());
        let (page, api, token) = (&page, api.as_ref(), choice.token());
        // Before the report, whose reader may have gone.
        config_init::write(file, &Proposal { id: &id, page, api, source, wait, is_by_proxy, token }.toml())?;
    }
    report.print(&inspector, flags)?;
    let what = match choice.map_err(|(exit, why)| Stopped::because(exit, why))? {
        Choice::Token(item) => format!("{} {}", kind(item), name(item)),
        Choice::Jar => "the cookies without a token".to_owned(),
    };
    match &flags.write {
        None => screen::error_line(&format!("most likely the token: {what}; --write FILE writes a site with it")),
        Some(file) => {
            let file = file.display();
            screen::error_line(&format!("{what}: {file} has the site {id}; does it work?"));
            screen::error_line(&format!("  token-sidecar --config {file} doctor --site {id}"));
        }
    }
    Ok(Exit::Done)
}

impl<'a> Choice<'a> {
    const fn token(&self) -> Option<&'a Item> {
        match self {
            Self::Token(item) => Some(item),
            Self::Jar => None,
        }
    }
}

async fn look(inspector: &Inspector, page: &Url, api: Option<&Url>) -> Result<Report, Stopped> {
    let mut progress = screen::Progress::start(&format!("{} opens the page", inspector.source()));
    let content = tokio::select! {
        content = inspector.visit() => content.map_err(|error| Stopped::new(Exit::TryAgain, error))?,
        never = tick(&progress) => match never {},
    };
    let now = SystemClock::wall();
    let (items, jar) = (items(&content, page, api, now), jar(&content, page, now));
    let user_agent = content.solution.user_agent.as_deref();
    let verdicts = inspector.ask(&items, &jar, user_agent, |stage| progress.stage(stage)).await;
    Ok(Report { items, jar, verdicts, now })
}

async fn tick(progress: &screen::Progress) -> Infallible {
    loop {
        tokio::time::sleep(TICK).await;
        progress.tick();
    }
}

/// An address, which is not repeated where it is wrong: it may have a password in it.
fn address(what: &str, text: &str) -> Result<Url, Stopped> {
    web_address(text).map_err(|reason| Stopped::because(Exit::Usage, format!("{what}: {reason}")))
}

/// The id of the written site, which must be a new one.
fn id(config: &Config, flags: &Flags, page: &Url) -> Result<SiteId, Stopped> {
    let named = flags.name.clone().unwrap_or_else(|| id_of(page.host_str().unwrap_or_default()));
    let id = SiteId::parse(&named).ok_or_else(|| {
        let reason = "a site's name is 1 to 64 lower-case letters, digits, _ and -";
        Stopped::because(Exit::Usage, format!("--name {}: {reason}", screen::escaped(&named, MOST_OF_A_NAME)))
    })?;
    if flags.write.is_some() && (is_built_in(&id) || config.sites.iter().any(|site| site.id == id)) {
        let reason = format!("there is a site {id} already: choose another name with --name");
        return Err(Stopped::because(Exit::Usage, reason));
    }
    Ok(id)
}

/// `shop_example` for `www.shop.example`.
fn id_of(host: &str) -> String {
    let host = host.strip_prefix("www.").unwrap_or(host);
    let id: String =
        host.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).take(64).collect();
    let id = id.trim_matches(['_', '-']);
    if id.is_empty() { "site".to_owned() } else { id.to_owned() }
}

impl Report {
    fn verdict(&self, item: &Item) -> Option<&Verdict> {
        self.verdicts.as_ref()?.of_tokens.get(&item.token.as_ref()?.fingerprint())
    }

    /// The likeliest that the API accepts, or, where it was not asked, the likeliest. Otherwise why there is none.
    fn choice(&self) -> Result<Choice<'_>, (Exit, String)> {
        let none = |why: &str| (Exit::Unhealthy, why.to_owned());
        let Some(verdicts) = &self.verdicts else {
            let likely = self.items.iter().find(|item| item.is_likely());
            let why = none("nothing looks like a token; --api URL tries what may be one");
            return likely.map(Choice::Token).ok_or(why);
        };
        match &verdicts.of_made_up {
            Some(Verdict::Accepted) => {
                return Err(none("the API accepts a made-up token too: --api must name what answers 401 to it"));
            }
            Some(Verdict::Unclear(why)) => {
                let why = format!("nothing was tried: of a made-up token the API says: {}", screen::plain(why));
                return Err((Exit::TryAgain, why + "; --api must name what answers 401 to it"));
            }
            _ => {}
        }
        let accepted = |verdict: Option<&Verdict>| verdict == Some(&Verdict::Accepted);
        if let Some(item) = self.items.iter().find(|item| accepted(self.verdict(item))) {
            return Ok(Choice::Token(item));
        }
        let jar = accepted(verdicts.of_jar.as_ref()).then_some(Choice::Jar);
        jar.ok_or_else(|| none("the API accepts none of them"))
    }

    fn print(&self, inspector: &Inspector, flags: &Flags) -> Result<(), Stopped> {
        if flags.output.json {
            screen::line(format!("{:#}", self.json(inspector.source())))?;
            return Ok(());
        }
        let verdict = if self.verdicts.is_some() { "the API" } else { "" };
        let mut rows = vec![["kind", "name", "bytes", "ends", "looks like", verdict].map(str::to_owned)];
        rows.extend(self.items.iter().take(MOST_LINES).map(|item| self.row(item)));
        if let Some(verdict) = self.verdicts.as_ref().and_then(|verdicts| verdicts.of_jar.as_ref()) {
            let count = format!("all {}", self.jar.iter().count());
            let bytes = self.jar.to_json().len().to_string();
            rows.push(["cookies".to_owned(), count, bytes, String::new(), String::new(), text_of(verdict)]);
        }
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
        let widths: Vec<usize> = (0..6).map(width).collect();
        for (number, row) in rows.iter().enumerate() {
            let cell = |(text, width): (&String, &usize)| format!("{text:width$}");
            let line = row.iter().zip(&widths).map(cell).collect::<Vec<_>>().join("  ");
            let line = line.trim_end();
            match number {
                0 => screen::line(screen::faint(line))?,
                _ => screen::line(line)?,
            }
        }
        if let Some(more @ 1..) = self.items.len().checked_sub(MOST_LINES) {
            screen::line(format!("… {more} more, less likely"))?;
        }
        Ok(())
    }

    fn row(&self, item: &Item) -> [String; 6] {
        let ends = match (item.kind, item.ends_at) {
            (_, Some(end)) => format!("in {}", span(self.now, end)),
            (Kind::Cookie, None) => "session".to_owned(),
            _ => String::new(),
        };
        let verdict = match (self.verdict(item), &self.verdicts) {
            (Some(verdict), _) => text_of(verdict),
            (None, Some(_)) => "not tried".to_owned(),
            (None, None) => String::new(),
        };
        [kind(item).to_owned(), name(item), item.length.to_string(), ends, self.looks(item), verdict]
    }

    fn looks(&self, item: &Item) -> String {
        let now = self.now;
        let mut text = match &item.looks {
            Looks::Opaque => "opaque".to_owned(),
            Looks::Json => "JSON".to_owned(),
            Looks::Text => "text".to_owned(),
            Looks::Jwt { issuer, issued_at, expires_at } => {
                let issuer = issuer.as_ref().map(|issuer| format!(" of {}", screen::escaped(issuer, MOST_OF_A_NAME)));
                let issued = issued_at.map(|at| format!(", issued {} ago", span(at, now)));
                let expires = expires_at.map(|at| match at <= now {
                    true => format!(", expired {} ago", span(at, now)),
                    false => format!(", expires in {}", span(now, at)),
                });
                ["JWT".to_owned()].into_iter().chain([issuer, issued, expires].into_iter().flatten()).collect()
            }
        };
        if item.is_sent && item.to.is_none() {
            text.push_str(", sent by the page");
        }
        text
    }

    fn json(&self, source: &str) -> Value {
        let item = |item: &Item| {
            let looks = match &item.looks {
                Looks::Jwt { issuer, issued_at, expires_at } => {
                    json!({"kind": "jwt", "issuer": issuer, "issued_at": issued_at, "expires_at": expires_at})
                }
                Looks::Opaque => json!({"kind": "opaque"}),
                Looks::Json => json!({"kind": "json"}),
                Looks::Text => json!({"kind": "text"}),
            };
            json!({
                "kind": kind(item), "name": item.name, "pointer": item.pointer,
                "to": item.to.as_ref().and_then(Url::host_str), "bytes": item.length, "ends_at": item.ends_at,
                "looks_like": looks, "sent": item.is_sent, "likely": item.is_likely(),
                "verdict": self.verdict(item).map(verdict_json),
            })
        };
        let jar = self.verdicts.as_ref().and_then(|verdicts| verdicts.of_jar.as_ref()).map(verdict_json);
        json!({
            "source": source,
            "items": self.items.iter().map(item).collect::<Vec<_>>(),
            "cookies": {"count": self.jar.iter().count(), "verdict": jar},
        })
    }
}

fn kind(item: &Item) -> &'static str {
    item.kind.into()
}

/// The name as the settings have it, and where a header goes.
fn name(item: &Item) -> String {
    let pointer = item.pointer.as_deref().map(|pointer| format!("#{pointer}")).unwrap_or_default();
    let name = screen::escaped(&format!("{}{pointer}", item.name), MOST_OF_A_NAME);
    let host = item.to.as_ref().and_then(Url::host_str).map(|host| format!(" to {}", screen::escaped(host, 40)));
    name + &host.unwrap_or_default()
}

fn text_of(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accepted => "accepts it".to_owned(),
        Verdict::Refused(why) | Verdict::Blocked(why) | Verdict::Unclear(why) => screen::plain(why),
    }
}

fn verdict_json(verdict: &Verdict) -> Value {
    let state: &str = verdict.into();
    match verdict {
        Verdict::Accepted => json!({"state": state}),
        Verdict::Refused(why) | Verdict::Blocked(why) | Verdict::Unclear(why) => json!({"state": state, "why": why}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_named_after_its_host() {
        for (host, id) in [
            ("www.shop.example", "shop_example"),
            ("chitai-gorod.ru", "chitai-gorod_ru"),
            ("127.0.0.1", "127_0_0_1"),
            ("[::1]", "1"),
            ("[::]", "site"),
            (&"a".repeat(100), &"a".repeat(64)),
        ] {
            assert_eq!(id_of(host), id);
            assert!(SiteId::parse(&id_of(host)).is_some(), "{host}");
        }
    }

    #[test]
    fn names_from_outside_are_escaped_and_cut() {
        assert_eq!(screen::escaped("a\u{202e}b\u{1b}[2J\n", 60), "a\\u{202e}b\\u{1b}[2J\\u{a}");
        assert_eq!(screen::escaped("abcdef", 4), "abc…");
        assert_eq!(screen::escaped("abcd", 4), "abcd");
    }
}

//! `inspect`: what a page has that may be its site's token, and the site's settings.

use std::convert::Infallible;
use std::time::Duration;

use token_sidecar_client::wire::SiteId;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::args::Inspect as Flags;
use super::inspect_report::{MOST_OF_A_NAME, Report};
use super::{Exit, Stopped, config_init, screen, under_signals};
use crate::clock::SystemClock;
use crate::config::{Config, Flag, Proposal, SiteConfig, is_built_in, web_address};
use crate::domain::inspection::{items, jar};
use crate::inspect::Inspector;
use crate::shutdown::Signals;

const TICK: Duration = Duration::from_secs(1);

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
    report.print(inspector.source(), flags.output.json)?;
    let what = choice?.name();
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

//! The work of `inspect`: opens a page by a source of a site, and tries what looks like a token with the API.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::HeaderMap;
use token_sidecar_client::wire::{Cookies, Fingerprint, Token};
use tokio::time::{sleep, timeout};
use url::Url;

use crate::app::AppError;
use crate::config::{BrowserPlace, HttpConfig, ProbeConfig, SiteConfig, SourceConfig, Template, TokenPlace};
use crate::domain::inspection::{Item, PageContent, tokens};
use crate::domain::product::{ProductRule, Wanted};
use crate::domain::verdict::Verdict;
use crate::refresh::ports::{Probe as _, Source as _, SourceError};
use crate::sources::{AnySource, SharedSources};
use crate::verify::HttpProbe;

/// How many tokens are tried, and the pause between two requests.
const MOST_TRIED: usize = 10;
const PAUSE: Duration = Duration::from_secs(1);
/// How long the browsers and sessions of a visit may take to close.
const LAST_MOMENT: Duration = Duration::from_secs(2);

pub struct Inspector {
    shared: SharedSources,
    source: AnySource,
    probe: Option<HttpProbe>,
    /// How long the source waits for what comes late.
    pub wait: Option<Duration>,
}

/// What the API says.
#[derive(Debug, Default)]
pub struct Verdicts {
    /// Of a made-up token. If that is accepted, no other verdict means anything.
    pub of_made_up: Option<Verdict>,
    pub of_tokens: BTreeMap<Fingerprint, Verdict>,
    /// Of the cookies without a token.
    pub of_jar: Option<Verdict>,
}

impl Inspector {
    /// An inspector that works as the first source of this site would, or by a plain request. What is the site's own (its
    /// session, its headers) is not sent to the page.
    pub fn new(site: &SiteConfig, is_plain: bool, page: &Url, api: Option<&Url>) -> Result<Self, AppError> {
        let shared = SharedSources::default();
        let proxy = site.probe.proxy.clone();
        let (config, wait) = match site.sources.first() {
            Some(SourceConfig::Flaresolverr(solver)) if !is_plain => {
                let mut solver = solver.clone();
                (solver.page, solver.wanted, solver.session) = (page.to_string(), anything(), None);
                let wait = solver.wait;
                (SourceConfig::Flaresolverr(solver), wait)
            }
            Some(SourceConfig::Browser(browser)) if !is_plain => {
                let mut browser = browser.clone();
                (browser.page, browser.api, browser.wanted) = (page.clone(), api.cloned(), anything());
                browser.token = BrowserPlace::Cookie;
                let wait = browser.wait;
                (SourceConfig::Browser(browser), Some(wait))
            }
            _ => (SourceConfig::Http(plain(site, page)), None),
        };
        let source = AnySource::new(&config, &ProductRule::Cookies(vec![]), &shared)?;
        let timeout = site.probe.timeout;
        let probe = api.map(|api| {
            HttpProbe::new(ProbeConfig { url: Some(api.clone()), headers: HeaderMap::new(), timeout, proxy })
        });
        Ok(Self { shared, source, probe: probe.transpose()?, wait })
    }

    /// The name of the source.
    pub fn source(&self) -> &str {
        self.source.name()
    }

    /// Whether it opens the page through a proxy of the settings.
    pub fn is_by_proxy(&self) -> bool {
        self.source.proxy().is_some()
    }

    /// Opens the page.
    pub async fn visit(&self) -> Result<PageContent, SourceError> {
        self.source.survey().await
    }

    /// Asks the API, if it is known: about a made-up token, the cookies alone, and the likeliest tokens one after the other.
    /// What says nothing of the first is asked no more. `tell` is called before each request.
    pub async fn ask(
        &self,
        items: &[Item],
        jar: &Cookies,
        user_agent: Option<&str>,
        mut tell: impl FnMut(&str),
    ) -> Option<Verdicts> {
        let probe = self.probe.as_ref()?;
        let mut verdicts = Verdicts::default();
        if let Ok(made_up) = Token::parse("inspect") {
            tell("asking the API about a made-up token");
            verdicts.of_made_up = Some(probe.verify(&made_up, &Cookies::default(), user_agent).await);
        }
        if matches!(verdicts.of_made_up, Some(Verdict::Accepted | Verdict::Unclear(_))) {
            return Some(verdicts);
        }
        if let Ok(cookies) = Token::of_cookies(&jar.to_json()) {
            tell("asking the API about the cookies alone");
            sleep(PAUSE).await;
            verdicts.of_jar = Some(probe.verify(&cookies, jar, user_agent).await);
        }
        // Beside cookies that the API accepts by themselves every token would do.
        let none = Cookies::default();
        let jar = if verdicts.of_jar == Some(Verdict::Accepted) { &none } else { jar };
        let tokens = tokens(items, MOST_TRIED);
        for (number, token) in tokens.iter().enumerate() {
            tell(&format!("asking the API about token {} of {}", number + 1, tokens.len()));
            sleep(PAUSE).await;
            verdicts.of_tokens.insert(token.fingerprint(), probe.verify(token, jar, user_agent).await);
        }
        Some(verdicts)
    }

    /// Closes what the visit has left open.
    pub async fn close(&self) {
        let _left_behind = timeout(LAST_MOMENT, self.shared.close()).await;
    }
}

/// Any cookies: the page is not left early.
const fn anything() -> Wanted {
    Wanted::All(Vec::new())
}

fn plain(site: &SiteConfig, page: &Url) -> HttpConfig {
    let timeout = site.sources.iter().find_map(|source| match source {
        SourceConfig::Http(http) => Some(http.timeout),
        SourceConfig::Flaresolverr(_) | SourceConfig::Browser(_) => None,
    });
    HttpConfig {
        url: Template::text(page.as_str()),
        page: page.clone(),
        method: Method::GET,
        headers: HeaderMap::default(),
        body: None,
        token: TokenPlace::Cookie,
        timeout: timeout.unwrap_or(site.probe.timeout),
        proxy: site.probe.proxy.clone(),
    }
}

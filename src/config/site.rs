//! One site: where its token comes from, how it is verified, where it is stored.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap};
use serde::Deserialize;
use serde::de::IgnoredAny;
use token_sidecar_client::wire::{KeyNames, SiteId, Token};
use url::Url;

use super::reader::Section;
use super::redaction::{Address, Secrecy, Secret, SecretAddress};
use super::source::{FlaresolverrSection, Headers, HttpSection, SourceConfig, fill, headers};
use super::template::Placeholders;
use super::value::{BaseAddress, BearerToken, DAY, HOUR, Name, RedisKey, SECOND, ScheduleText, Span, Text};
use super::value::{VariableName, WebAddress};
use crate::domain::extract::{Charset, CookieRule};
use crate::domain::schedule::{Schedule, ScheduleError};
use crate::domain::site::{Policy, Verify};

#[derive(Clone)]
pub struct SiteConfig {
    pub id: SiteId,
    /// The page whose cookies hold the token.
    pub page: String,
    pub cookie: CookieRule,
    pub keys: KeyNames,
    pub policy: Policy,
    /// At least one, in the order in which they are tried.
    pub sources: Vec<SourceConfig>,
    pub probe: ProbeConfig,
    pub backoff_initial: Duration,
    pub bootstrap: Option<Token>,
    /// A `.env` that is kept current.
    pub env_file: Option<PathBuf>,
    /// The line of the `.env` that holds the bare token.
    pub env_key: String,
}

/// The verification request: a `GET` with `Authorization: Bearer …`.
#[derive(Clone)]
pub struct ProbeConfig {
    /// With its query; `None` if nothing is verified and the API is unknown.
    pub url: Option<Url>,
    pub headers: HeaderMap,
    pub timeout: Duration,
}

/// `[sites.S]`
#[derive(Deserialize)]
pub(super) struct SiteSection {
    /// Read before all else.
    #[serde(rename = "enabled")]
    _enabled: IgnoredAny,
    page_url: Address<Option<WebAddress>>,
    api_url: Address<Option<BaseAddress>>,
    user_id: Option<Text>,
    city_id: Option<Text>,
    bootstrap_token: Secret<Option<BearerToken>>,
    cookie: Option<Name>,
    cookie_fallbacks: Vec<Name>,
    cookie_prefix: String,
    token_charset: Charset,
    token_key: RedisKey,
    cookies_key: RedisKey,
    sources: Vec<SourceKind>,
    schedule: ScheduleText,
    schedule_jitter: Span<0, DAY>,
    debounce: Span<0, DAY>,
    lock_ttl: Span<SECOND, HOUR>,
    token_ttl: Span<SECOND, { 365 * DAY }>,
    backoff_initial: Span<1, DAY>,
    backoff_max: Span<1, DAY>,
    verify: Verify,
    env_file: Option<PathBuf>,
    env_key: VariableName,
    flaresolverr: FlaresolverrSection,
    http: HttpSection,
    probe: ProbeSection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SourceKind {
    Flaresolverr,
    Http,
}

#[derive(Deserialize)]
struct ProbeSection {
    url: SecretAddress<String>,
    headers: Headers,
    timeout: Span<SECOND, HOUR>,
}

impl SiteSection {
    pub(super) fn build(
        self,
        site: &mut Section,
        id: &SiteId,
        schedule: &mut dyn FnMut(&str) -> Result<Schedule, ScheduleError>,
    ) -> Option<SiteConfig> {
        let placeholders = Placeholders {
            site: id.to_string(),
            api: self.api_url.0.map(|api| api.0),
            city_id: self.city_id.map(|city| city.0),
            user_id: self.user_id.map(|user| user.0),
        };
        let schedule = schedule(&self.schedule.0).map_err(|error| error.to_string());
        let schedule = site.check("schedule", Secrecy::Open, schedule);
        let (backoff_initial, backoff_max) = (self.backoff_initial.0, self.backoff_max.0);
        if backoff_initial > backoff_max {
            let both = "backoff_initial (SIDECAR_BACKOFF_INITIAL) is longer than backoff_max (SIDECAR_BACKOFF_MAX)";
            site.conflict(&["backoff_initial", "backoff_max"], format!("sites.{id}: {both}"));
        }
        let keys = KeyNames { token: self.token_key.0, cookies: self.cookies_key.0 };
        if !keys.has_companions() {
            let reason = "its braces must hold a hash tag, as in {shop}:token, or there must be none";
            site.conflict(&["token_key"], format!("sites.{id}.token_key = {:?}: {reason}", keys.token));
        }
        let probe = self.probe.build(site, id, &placeholders, self.verify);
        if self.cookie.is_none() {
            site.missing("cookie", "expected a name without blanks and separators");
        }

        let kinds = self.sources;
        if kinds.is_empty() {
            site.missing("sources", "expected flaresolverr, http or both");
        }
        if let Some(twice) = kinds.iter().enumerate().find_map(|(n, kind)| kinds[..n].contains(kind).then_some(kind)) {
            let name = format!("{twice:?}").to_lowercase();
            site.conflict(&["sources"], format!("sites.{id}.sources (SIDECAR_SOURCES) names {name} twice"));
        }
        let http = self.http.build(site, &placeholders);
        if http.is_none() && kinds.contains(&SourceKind::Http) {
            site.missing("http.url", "the sources name http, which needs an address such as https://shop.test/auth");
        }
        let page: Option<String> = match (self.page_url.0, &http) {
            (Some(page), _) => Some(page.0.into()),
            (None, Some(http)) if kinds == [SourceKind::Http] => Some(http.url.clone().into()),
            (None, _) => {
                site.missing("page_url", "expected the page to open, such as https://shop.test/");
                None
            }
        };

        let (page, name) = (page?, self.cookie?.0);
        let cookie = CookieRule {
            name,
            fallbacks: self.cookie_fallbacks.into_iter().map(|name| name.0).collect(),
            prefix: self.cookie_prefix,
            charset: self.token_charset,
        };
        let wanted = std::iter::once(&cookie.name).chain(&cookie.fallbacks).cloned().collect();
        let flaresolverr = self.flaresolverr.build(site, id, page.clone(), wanted);
        let sources = kinds.iter().map(|kind| match kind {
            SourceKind::Flaresolverr => Some(SourceConfig::Flaresolverr(flaresolverr.clone())),
            SourceKind::Http => http.clone().map(SourceConfig::Http),
        });
        Some(SiteConfig {
            sources: sources.collect::<Option<_>>()?,
            id: id.clone(),
            page,
            cookie,
            keys,
            policy: Policy {
                debounce: self.debounce.0,
                lock_ttl: self.lock_ttl.0,
                backoff_max,
                token_ttl: self.token_ttl.0,
                verify: self.verify,
                schedule: schedule?.spread(id.as_str(), self.schedule_jitter.0),
            },
            probe: probe?,
            backoff_initial,
            bootstrap: self.bootstrap_token.0.map(|token| token.0),
            env_file: self.env_file,
            env_key: self.env_key.0,
        })
    }
}

impl ProbeSection {
    fn build(
        self,
        site: &mut Section,
        id: &SiteId,
        placeholders: &Placeholders,
        verify: Verify,
    ) -> Option<ProbeConfig> {
        let headers = headers(self.headers, "probe.headers", site, placeholders);
        if headers.contains_key(AUTHORIZATION) {
            let text = format!("sites.{id}.probe.headers: authorization carries the token that is proved");
            site.conflict(&[], text);
        }
        let url = match placeholders.address(&self.url.0) {
            // Without verification the API may be unknown.
            Err(_) if verify == Verify::Off && placeholders.api.is_none() => Ok(None),
            filled => filled.map(Some),
        };
        let url = fill(site, "probe.url", Secrecy::SecretAddress, url)?;
        Some(ProbeConfig { url, headers, timeout: self.timeout.0 })
    }
}

#[cfg(test)]
#[expect(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::super::FlaresolverrConfig;
    use super::super::fixture::Given;
    use super::*;

    fn site(toml: &str) -> SiteConfig {
        let given = Given::nothing().toml(&format!("sites.chitai_gorod.enabled = false\n[sites.shop]\n{toml}"));
        let [site] = given.loaded().config.sites.try_into().unwrap_or_else(|_| panic!("one site"));
        site
    }

    #[test]
    fn a_site_of_ones_own_needs_little() {
        let site =
            site("page_url = \"https://shop.test/\"\napi_url = \"https://shop.test/api/me/\"\ncookie = \"auth\"");
        assert_eq!((site.keys.token.as_str(), site.keys.cookies.as_str()), ("shop_token", "shop_cookies"));
        assert_eq!(site.env_key, "SHOP_BEARER_TOKEN");
        assert_eq!(site.probe.url.map(String::from).as_deref(), Some("https://shop.test/api/me"));
        assert_eq!((site.cookie.prefix.as_str(), site.cookie.fallbacks.len()), ("", 0));
        assert!(matches!(site.sources[..], [SourceConfig::Flaresolverr(_)]));
    }

    #[test]
    fn a_site_without_a_browser_needs_no_page_and_one_without_verification_no_api() {
        let site = site(
            "cookie = \"auth\"\nsources = \"http\"\nverify = \"off\"\nhttp.url = \"https://shop.test/{site}\"\n\
             http.token = \"header:X-Token\"",
        );
        let [SourceConfig::Http(http)] = site.sources.as_slice() else { panic!("one source") };
        assert_eq!((http.method.as_str(), http.url.as_str()), ("GET", "https://shop.test/shop"));
        assert_eq!(http.token, super::super::TokenPlace::Header("x-token".parse().unwrap()));
        assert_eq!((site.page.as_str(), site.probe.url), ("https://shop.test/shop", None));
    }

    #[test]
    fn a_body_is_posted_as_json_unless_configured_otherwise() {
        let http = |more: &str| {
            let site = site(&format!(
                "cookie = \"a\"\nsources = [\"http\"]\nverify = \"off\"\nhttp.url = \"https://x.test\"\nhttp.body = \"{{}}\"\n{more}"
            ));
            let Some(SourceConfig::Http(http)) = site.sources.into_iter().next() else { panic!("a plain request") };
            (http.method.to_string(), http.headers["content-type"].to_str().unwrap().to_owned())
        };
        assert_eq!(http(""), ("POST".to_owned(), "application/json".to_owned()));
        let more = "http.method = \"PUT\"\nhttp.headers = { Content-Type = \"text/plain\" }";
        assert_eq!(http(more), ("PUT".to_owned(), "text/plain".to_owned()));
    }

    #[test]
    fn a_sites_own_flaresolverr_beats_that_of_all_sites_and_a_proxy_is_taken_as_a_whole() {
        let given = Given::nothing()
            .variable("FLARESOLVERR_URL", "http://shared:8191/v1")
            .variable("FLARESOLVERR_MAX_TIMEOUT", "90s")
            .toml(
                r#"
                [flaresolverr]
                disable_media = true
                proxy = { url = "http://proxy:3128", username = "u", password = "p" }
                [sites.chitai_gorod]
                flaresolverr = { url = "http://own:8191", wait = "5s", proxy = { url = "socks5://other:1080" } }
                [sites.shop]
                page_url = "https://shop.test/"
                api_url = "https://shop.test/api"
                cookie = "auth"
                "#,
            );
        let solvers: Vec<FlaresolverrConfig> = given
            .loaded()
            .config
            .sites
            .into_iter()
            .flat_map(|s| s.sources)
            .map(|source| match source {
                SourceConfig::Flaresolverr(solver) => solver,
                SourceConfig::Http(_) => panic!("a browser"),
            })
            .collect();
        let [own, shared] = solvers.as_slice() else { panic!("two") };
        let url = |solver: &FlaresolverrConfig| secrecy::ExposeSecret::expose_secret(&solver.url).to_owned();
        assert_eq!((url(own).as_str(), url(shared).as_str()), ("http://own:8191/v1", "http://shared:8191/v1"));
        assert_eq!((own.wait, shared.wait), (Some(Duration::from_secs(5)), None));
        assert!(own.max_timeout == shared.max_timeout && own.disable_media && shared.disable_media);
        let proxy =
            |solver: &FlaresolverrConfig| solver.proxy.clone().map(|p| (p.url, p.username, p.password.is_some()));
        assert_eq!(proxy(own), Some(("socks5://other:1080".to_owned(), None, false)));
        assert_eq!(proxy(shared), Some(("http://proxy:3128".to_owned(), Some("u".to_owned()), true)));
        assert_eq!(given.setting("sites.shop.flaresolverr.url").1, "environment FLARESOLVERR_URL");
    }
}

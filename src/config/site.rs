//! One site: where its token comes from, how it is proved, where it is kept.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use token_sidecar_client::wire::{KeyNames, SiteId};

use super::reader::{Read, Reader};
use super::redaction;
use super::source::{FlaresolverrConfig, HttpConfig, SourceConfig, read_headers};
use super::template::Places;
use super::value;
use crate::domain::extract::CookieRule;
use crate::domain::schedule::Schedule;
use crate::domain::site::{Policy, Verify};

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// One site. Its `Debug` hides what may be secret.
#[derive(Clone)]
pub struct SiteConfig {
    /// Its id.
    pub id: SiteId,
    /// The page whose cookies hold the token.
    pub page: String,
    /// Which cookie that is.
    pub cookie: CookieRule,
    /// The names of its keys.
    pub keys: KeyNames,
    /// Debounce, lock, TTL, verification mode, schedule.
    pub policy: Policy,
    /// Where tokens come from, in the order in which they are tried; at least one.
    pub sources: Vec<SourceConfig>,
    /// How a token is proved.
    pub probe: ProbeConfig,
    /// The first delay after a failure.
    pub backoff_initial: Duration,
    /// The longest.
    pub backoff_max: Duration,
    /// A token to adopt where Redis has none.
    pub bootstrap: Option<SecretString>,
    /// A `.env` that is kept current.
    pub env_file: Option<PathBuf>,
    /// The line of the `.env` that holds the bare token.
    pub env_key: String,
}

impl std::fmt::Debug for SiteConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("SiteConfig");
        shown.field("id", &self.id).field("sources", &self.sources).field("probe", &self.probe);
        shown.finish_non_exhaustive()
    }
}

/// How a token is proved: a `GET` with `Authorization: Bearer …`. Its `Debug` hides what may be secret.
#[derive(Clone)]
pub struct ProbeConfig {
    /// The whole URL, query included; empty where nothing is verified and the API is unknown.
    pub url: String,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// How long one answer may take.
    pub timeout: Duration,
}

impl std::fmt::Debug for ProbeConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let headers: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        let url = redaction::address(&self.url);
        f.debug_struct("ProbeConfig").field("url", &url).field("headers", &headers).finish_non_exhaustive()
    }
}

/// A source by its word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Flaresolverr,
    Http,
}

impl SiteConfig {
    /// Reads a site; cron counts in `zone`.
    pub(super) fn read(reader: &mut Reader, id: &SiteId, zone: &str) -> Read<Self> {
        let site = id.as_str();
        let at = |key: &str| format!("sites.{site}.{key}");
        let page = reader.optional(&at("page_url"), value::address);
        let places = read_places(reader, site);
        let bootstrap = reader.optional(&at("bootstrap_token"), value::token);
        let cookie = read_cookie(reader, site);
        let keys = read_keys(reader, site);
        let kinds =
            reader.list(&at("sources"), value::choice(&[("flaresolverr", Kind::Flaresolverr), ("http", Kind::Http)]));
        let policy = read_policy(reader, site, zone);
        let backoff = read_backoff(reader, site);
        let env_file = reader.optional(&at("env_file"), value::file);
        let env_key = reader.required(&at("env_key"), value::variable);
        let (page, places, cookie, kinds) = (page?, places?, cookie?, kinds?);

        let http = HttpConfig::read(reader, site, &places);
        let verify = policy.as_ref().map_or(Verify::Strict, |policy| policy.verify);
        let probe = ProbeConfig::read(reader, site, &places, verify);
        let http = http?;
        let page = match (page, &http) {
            (Some(page), _) => page,
            (None, Some(http)) if kinds == [Kind::Http] => http.url.clone(),
            (None, _) => {
                return Err(reader.missing(&at("page_url"), "expected the page to open, such as https://shop.test/"));
            }
        };
        let sources = read_sources(reader, site, &kinds, &page, &cookie, http);
        let (backoff_initial, backoff_max) = backoff?;
        Ok(Self {
            id: id.clone(),
            page,
            cookie,
            keys: keys?,
            policy: policy?,
            sources: sources?,
            probe: probe?,
            backoff_initial,
            backoff_max,
            bootstrap: bootstrap?,
            env_file: env_file?,
            env_key: env_key?,
        })
    }
}

fn read_places(reader: &mut Reader, site: &str) -> Read<Places> {
    let api = reader.optional(&format!("sites.{site}.api_url"), value::base_address);
    let user_id = reader.optional(&format!("sites.{site}.user_id"), value::header);
    let city_id = reader.optional(&format!("sites.{site}.city_id"), value::header);
    Ok(Places { site: site.to_owned(), api: api?, city_id: city_id?, user_id: user_id? })
}

fn read_cookie(reader: &mut Reader, site: &str) -> Read<CookieRule> {
    let name = reader.required(&format!("sites.{site}.cookie"), value::name);
    let fallbacks = reader.list(&format!("sites.{site}.cookie_fallbacks"), value::name);
    let prefix = reader.optional(&format!("sites.{site}.cookie_prefix"), value::verbatim);
    Ok(CookieRule { name: name?, fallbacks: fallbacks?, prefix: prefix?.unwrap_or_default() })
}

fn read_policy(reader: &mut Reader, site: &str, zone: &str) -> Read<Policy> {
    let at = |key: &str| format!("sites.{site}.{key}");
    let debounce = reader.required(&at("debounce"), value::span(Duration::ZERO..=DAY));
    let lock_ttl = reader.required(&at("lock_ttl"), value::span(SECOND..=HOUR));
    let token_ttl = reader.required(&at("token_ttl"), value::span(SECOND..=YEAR));
    let verify = reader.required(
        &at("verify"),
        value::choice(&[("strict", Verify::Strict), ("tolerant", Verify::Tolerant), ("off", Verify::Off)]),
    );
    let schedule = reader.required(&at("schedule"), |text| Schedule::parse(text, zone).map_err(|e| e.to_string()));
    let jitter = reader.required(&at("schedule_jitter"), value::span(Duration::ZERO..=DAY));
    Ok(Policy {
        debounce: debounce?,
        lock_ttl: lock_ttl?,
        token_ttl: token_ttl?,
        verify: verify?,
        schedule: schedule?.spread(site, jitter?),
    })
}

fn read_backoff(reader: &mut Reader, site: &str) -> Read<(Duration, Duration)> {
    let initial = reader.required(&format!("sites.{site}.backoff_initial"), value::span(MILLISECOND..=DAY));
    let max = reader.required(&format!("sites.{site}.backoff_max"), value::span(MILLISECOND..=DAY));
    let (initial, max) = (initial?, max?);
    if initial > max {
        let both = "backoff_initial (SIDECAR_BACKOFF_INITIAL) is longer than backoff_max (SIDECAR_BACKOFF_MAX)";
        return Err(reader.conflict(format!("sites.{site}: {both}")));
    }
    Ok((initial, max))
}

fn read_sources(
    reader: &mut Reader,
    site: &str,
    kinds: &[Kind],
    page: &str,
    cookie: &CookieRule,
    http: Option<HttpConfig>,
) -> Read<Vec<SourceConfig>> {
    let path = format!("sites.{site}.sources");
    if kinds.is_empty() {
        return Err(reader.missing(&path, "expected flaresolverr, http or both"));
    }
    let wanted = std::iter::once(&cookie.name).chain(&cookie.fallbacks).cloned().collect();
    let flaresolverr = FlaresolverrConfig::read(reader, site, page.to_owned(), wanted)?;
    let mut sources: Vec<SourceConfig> = Vec::with_capacity(kinds.len());
    for kind in kinds {
        let source = match kind {
            Kind::Flaresolverr => SourceConfig::Flaresolverr(flaresolverr.clone()),
            Kind::Http => match &http {
                Some(http) => SourceConfig::Http(http.clone()),
                None => {
                    let reason = "the sources name http, which needs an address such as https://shop.test/auth";
                    return Err(reader.missing(&format!("sites.{site}.http.url"), reason));
                }
            },
        };
        if sources.iter().any(|other| other.name() == source.name()) {
            return Err(reader.conflict(format!("{path} (SIDECAR_SOURCES) names {} twice", source.name())));
        }
        sources.push(source);
    }
    Ok(sources)
}

fn read_keys(reader: &mut Reader, site: &str) -> Read<KeyNames> {
    let path = format!("sites.{site}.token_key");
    let token = reader.required(&path, value::redis_key);
    let cookies = reader.required(&format!("sites.{site}.cookies_key"), value::redis_key);
    let keys = KeyNames { token: token?, cookies: cookies? };
    if !keys.has_companions() {
        let reason = "its braces must hold a hash tag, as in {shop}:token, or there must be none";
        return Err(reader.conflict(format!("{path} = {:?}: {reason}", keys.token)));
    }
    Ok(keys)
}

impl ProbeConfig {
    fn read(reader: &mut Reader, site: &str, places: &Places, verify: Verify) -> Read<Self> {
        let table = format!("sites.{site}.probe");
        let url = reader.required(&format!("{table}.url"), |text| match places.address(text) {
            // Where nothing is verified, the API may be unknown: nobody is asked then.
            Err(_) if verify == Verify::Off && places.api.is_none() => Ok(String::new()),
            filled => value::address(&filled?),
        });
        let headers = read_headers(reader, &format!("{table}.headers"), places);
        let timeout = reader.required(&format!("{table}.timeout"), value::span(SECOND..=HOUR));
        let (url, headers, timeout) = (url?, headers?, timeout?);
        if headers.iter().any(|(name, _)| name == "authorization") {
            return Err(reader.conflict(format!("{table}.headers: authorization carries the token that is proved")));
        }
        Ok(Self { url, headers, timeout })
    }
}

#[cfg(test)]
#[expect(clippy::panic, reason = "a test fails by panicking")]
mod tests {
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
        assert_eq!(site.probe.url, "https://shop.test/api/me");
        assert_eq!((site.cookie.prefix.as_str(), site.cookie.fallbacks.len()), ("", 0));
        assert_eq!(site.sources.iter().map(SourceConfig::name).collect::<Vec<_>>(), ["flaresolverr"]);
    }

    #[test]
    fn a_site_without_a_browser_needs_no_page_and_one_without_verification_no_api() {
        let site = site(
            "cookie = \"auth\"\nsources = \"http\"\nverify = \"off\"\nhttp.url = \"https://shop.test/{site}\"\n\
             http.token = \"header:X-Token\"",
        );
        let [SourceConfig::Http(http)] = site.sources.as_slice() else { panic!("one source") };
        assert_eq!((http.method.as_str(), http.url.as_str()), ("GET", "https://shop.test/shop"));
        assert_eq!(http.token, super::super::TokenPlace::Header("X-Token".to_owned()));
        assert_eq!((site.page.as_str(), site.probe.url.as_str()), ("https://shop.test/shop", ""));
    }

    #[test]
    fn a_body_is_posted_as_json_unless_said_otherwise() {
        let http = |more: &str| {
            let site = site(&format!(
                "cookie = \"a\"\nsources = [\"http\"]\nverify = \"off\"\nhttp.url = \"https://x.test\"\nhttp.body = \"{{}}\"\n{more}"
            ));
            let Some(SourceConfig::Http(http)) = site.sources.into_iter().next() else { panic!("a plain request") };
            (http.method, http.headers)
        };
        let header = |value: &str| vec![("content-type".to_owned(), value.to_owned())];
        assert_eq!(http(""), ("POST".to_owned(), header("application/json")));
        let more = "http.method = \"PUT\"\nhttp.headers = { Content-Type = \"text/plain\" }";
        assert_eq!(http(more), ("PUT".to_owned(), header("text/plain")));
    }

    #[test]
    fn a_sites_own_flaresolverr_beats_that_of_all_sites_and_a_proxy_is_taken_as_a_whole() {
        let given = Given::nothing()
            .variable("FLARESOLVERR_URL", "http://everybody:8191/v1")
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
        assert_eq!((url(own).as_str(), url(shared).as_str()), ("http://own:8191/v1", "http://everybody:8191/v1"));
        assert_eq!((own.wait, shared.wait), (Some(Duration::from_secs(5)), None));
        assert!(own.max_timeout == shared.max_timeout && own.disable_media && shared.disable_media);
        let proxy =
            |solver: &FlaresolverrConfig| solver.proxy.clone().map(|p| (p.url, p.username, p.password.is_some()));
        assert_eq!(proxy(own), Some(("socks5://other:1080".to_owned(), None, false)));
        assert_eq!(proxy(shared), Some(("http://proxy:3128".to_owned(), Some("u".to_owned()), true)));
        assert_eq!(given.setting("sites.shop.flaresolverr.url").1, "environment FLARESOLVERR_URL");
    }
}

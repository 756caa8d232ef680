//! One site: where its token comes from, how it is verified, where it is stored.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, USER_AGENT};
use serde::Deserialize;
use serde::de::IgnoredAny;
use token_sidecar_client::wire::{KeyNames, Product, SiteId, Token};
use url::Url;

use super::browser::{BrowserSection, BrowserTask};
use super::files::FileSection;
use super::gateway;
use super::reader::Section;
use super::redaction::{Address, Secrecy, Secret, SecretAddress};
use super::source::{
    FlaresolverrSection, Headers, HttpConfig, HttpSection, ProxyConfig, SiteProxySection, SourceConfig, TokenPlace,
    fill, headers,
};
use super::template::{Placeholders, Template};
use super::value::{BaseAddress, BearerToken, DAY, HOUR, Name, RedisKey, SECOND, ScheduleText, Span, Text};
use super::value::{UserAgentText, VariableName, WebAddress};
use crate::domain::extract::{Charset, CookieRule};
use crate::domain::product::ProductRule;
use crate::domain::schedule::{Schedule, ScheduleError};
use crate::domain::site::{Policy, Verify};
use crate::domain::token_file::{Access, Content, TokenFile};

#[derive(Clone)]
pub struct SiteConfig {
    pub id: SiteId,
    /// The page whose cookies hold the token.
    pub page: String,
    /// What is taken from an answer.
    pub product: ProductRule,
    pub keys: KeyNames,
    pub policy: Policy,
    /// At least one, in the order in which they are tried.
    pub sources: Vec<SourceConfig>,
    pub probe: ProbeConfig,
    /// Where the gateway sends requests.
    pub api: Option<Url>,
    /// What the gateway adds to them.
    pub gateway_headers: HeaderMap,
    pub backoff_initial: Duration,
    pub bootstrap: Option<Token>,
    /// What is kept current beside Redis.
    pub files: Vec<TokenFile>,
}

/// The verification request: a `GET` with `Authorization: Bearer …`.
#[derive(Clone)]
pub struct ProbeConfig {
    /// With its query; `None` if nothing is verified and the API is unknown.
    pub url: Option<Url>,
    pub headers: HeaderMap,
    pub timeout: Duration,
    pub proxy: Option<ProxyConfig>,
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
    user_agent: Option<UserAgentText>,
    bootstrap_token: Secret<Option<BearerToken>>,
    product: Product,
    cookies: Vec<Name>,
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
    files: Vec<FileSection>,
    flaresolverr: FlaresolverrSection,
    browser: BrowserSection,
    http: HttpSection,
    probe: ProbeSection,
    proxy: SiteProxySection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SourceKind {
    Flaresolverr,
    Http,
    Browser,
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
        gateway_headers: &Headers,
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
        let files = self.files.into_iter().enumerate();
        let files: Vec<_> = files.filter_map(|(number, file)| file.build(site, number, self.product)).collect();
        let keys = match self.product {
            Product::Token => KeyNames { token: self.token_key.0, cookies: self.cookies_key.0 },
            Product::Cookies => KeyNames::of_cookies(self.cookies_key.0),
        };
        if !keys.has_companions() {
            let key = match self.product {
                Product::Token => "token_key",
                Product::Cookies => "cookies_key",
            };
            let reason = "its braces must hold a hash tag, as in {shop}:token, or there must be none";
            site.conflict(&[key], format!("sites.{id}.{key} = {:?}: {reason}", keys.token));
        }
        let proxy = self.proxy.build(site);
        let gateway_headers = gateway::site_headers(gateway_headers, site, &placeholders);
        let mut probe = self.probe.build(site, id, self.product, &placeholders, self.verify, proxy.clone());
        if self.product == Product::Token && self.cookie.is_none() {
            site.missing("cookie", "expected a name without blanks and separators");
        }
        if self.product == Product::Token && !self.cookies.is_empty() {
            let reason = "they are those that must be there where product = \"cookies\", and this site's is the token";
            site.conflict(&["product", "cookies"], format!("sites.{id}.cookies: {reason}"));
        }
        if self.product == Product::Cookies && self.bootstrap_token.0.is_some() {
            let reason = "the cookies are the product, and there is no token";
            site.conflict(&["product", "bootstrap_token"], format!("sites.{id}.bootstrap_token: {reason}"));
        }

        let kinds = self.sources;
        if kinds.is_empty() {
            site.missing("sources", "expected one or more of flaresolverr, http and browser");
        }
        if let Some(twice) = kinds.iter().enumerate().find_map(|(n, kind)| kinds[..n].contains(kind).then_some(kind)) {
            let name = format!("{twice:?}").to_lowercase();
            site.conflict(&["sources"], format!("sites.{id}.sources (SIDECAR_SOURCES) names {name} twice"));
        }
        let mut http = self.http.build(site, &placeholders, proxy.clone());
        if http.is_none() && kinds.contains(&SourceKind::Http) {
            site.missing("http.url", "the sources name http, which needs an address such as https://shop.test/auth");
        }
        let is_elsewhere = |http: &HttpConfig| kinds.contains(&SourceKind::Http) && http.token != TokenPlace::Cookie;
        if self.product == Product::Cookies && http.as_ref().is_some_and(is_elsewhere) {
            let reason = "the cookies are the product: set it to \"cookie\"";
            site.conflict(&["http.token"], format!("sites.{id}.http.token: {reason}"));
        }
        if let Some(UserAgentText(name)) = self.user_agent {
            if let Some(http) = &mut http {
                let text = name.to_str().unwrap_or_default();
                http.headers.entry(USER_AGENT).or_insert_with(|| Template::text(text));
            }
            if let Some(probe) = &mut probe {
                probe.headers.entry(USER_AGENT).or_insert(name);
            }
        }
        let page: Option<String> = match (self.page_url.0, &http) {
            (Some(page), _) => Some(page.0.into()),
            (None, Some(http)) if kinds == [SourceKind::Http] => Some(http.page.clone().into()),
            (None, _) => {
                site.missing("page_url", "expected the page to open, such as https://shop.test/");
                None
            }
        };

        let names = |names: Vec<Name>| names.into_iter().map(|name| name.0).collect();
        let product = match self.product {
            Product::Token => ProductRule::Token(CookieRule {
                name: self.cookie?.0,
                fallbacks: names(self.cookie_fallbacks),
                prefix: self.cookie_prefix,
                charset: self.token_charset,
            }),
            Product::Cookies => ProductRule::Cookies(names(self.cookies)),
        };
        let (page, wanted) = (page?, product.wanted());
        let browser = kinds.contains(&SourceKind::Browser).then(|| {
            // Every address that came this far is one.
            let page = Url::parse(&page).ok()?;
            let api = probe.as_ref().and_then(|probe| probe.url.clone());
            let task = BrowserTask { page, api, wanted: wanted.clone(), proxy: proxy.clone() };
            Some(self.browser.build(site, id, task))
        });
        let browser = browser.flatten();
        let flaresolverr = self.flaresolverr.build(site, id, page.clone(), wanted, proxy);
        let sources = kinds.iter().map(|kind| match kind {
            SourceKind::Flaresolverr => Some(SourceConfig::Flaresolverr(flaresolverr.clone())),
            SourceKind::Http => http.clone().map(SourceConfig::Http),
            SourceKind::Browser => browser.clone().map(SourceConfig::Browser),
        });
        let line = Content::EnvLine(self.env_key.0);
        // A `.env` holds tokens alone.
        let env_file = self.env_file.filter(|_| self.product == Product::Token);
        let env_file = env_file.map(|path| TokenFile { path, content: line, access: Access::default(), hook: None });
        Some(SiteConfig {
            sources: sources.collect::<Option<_>>()?,
            id: id.clone(),
            page,
            product,
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
            // Every address that came this far is one.
            api: placeholders.api.and_then(|api| Url::parse(&api).ok()),
            gateway_headers,
            backoff_initial,
            bootstrap: self.bootstrap_token.0.map(|token| token.0),
            files: env_file.into_iter().chain(files).collect(),
        })
    }
}

impl ProbeSection {
    fn build(
        self,
        site: &mut Section,
        id: &SiteId,
        product: Product,
        placeholders: &Placeholders,
        verify: Verify,
        proxy: Option<ProxyConfig>,
    ) -> Option<ProbeConfig> {
        let headers = headers(self.headers, "probe.headers", site, placeholders);
        if product == Product::Token && headers.contains_key(AUTHORIZATION) {
            let text = format!("sites.{id}.probe.headers: authorization carries the token that is proved");
            site.conflict(&[], text);
        }
        let url = match placeholders.address(&self.url.0) {
            // Without verification the API may be unknown.
            Err(_) if verify == Verify::Off && placeholders.api.is_none() => Ok(None),
            filled => filled.map(Some),
        };
        let url = fill(site, "probe.url", Secrecy::SecretAddress, url)?;
        Some(ProbeConfig { url, headers, timeout: self.timeout.0, proxy })
    }
}

#[cfg(test)]
#[expect(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::super::fixture::Given;
    use super::super::{BrowserConfig, BrowserPlace, BrowserProgram};
    use super::super::{FlaresolverrConfig, SolverKind};
    use super::*;

    fn site(toml: &str) -> SiteConfig {
        let given = Given::nothing().toml(&format!("sites.chitai_gorod.enabled = false\n[sites.shop]\n{toml}"));
        let [site] = given.loaded().config.sites.try_into().unwrap_or_else(|_| panic!("one site"));
        site
    }

    /// With the names of its placeholders.
    fn text(template: &Template) -> String {
        template.sample(ToString::to_string)
    }

    #[test]
    fn a_site_of_ones_own_needs_little() {
        let site =
            site("page_url = \"https://shop.test/\"\napi_url = \"https://shop.test/api/me/\"\ncookie = \"auth\"");
        assert_eq!((site.keys.token.as_str(), site.keys.cookies.as_str()), ("shop_token", "shop_cookies"));
        assert_eq!(site.files, []);
        assert_eq!(site.probe.url.map(String::from).as_deref(), Some("https://shop.test/api/me"));
        let ProductRule::Token(cookie) = &site.product else { panic!("a token") };
        assert_eq!((cookie.prefix.as_str(), cookie.fallbacks.len()), ("", 0));
        assert!(matches!(site.sources[..], [SourceConfig::Flaresolverr(_)]));
    }

    #[test]
    fn a_site_whose_product_is_the_cookies_needs_no_cookie_and_has_one_key() {
        let needed = "page_url = \"https://shop.test/\"\napi_url = \"https://shop.test/api\"\nproduct = \"cookies\"\n";
        let shop = site(&format!("{needed}cookies = [\"a\", \"b\"]\nenv_file = \"/data/.env\""));
        assert_eq!((shop.keys.token.as_str(), shop.keys.cookies.as_str()), ("shop_cookies", "shop_cookies"));
        assert_eq!(shop.product, ProductRule::Cookies(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(shop.files, []);
        let [SourceConfig::Flaresolverr(solver)] = shop.sources.as_slice() else { panic!("one source") };
        assert_eq!(solver.wanted.to_string(), "cookie `a` and `b`");
        for (toml, error) in [
            (format!("{needed}cookies_key = \"{{}}shop\""), "sites.shop.cookies_key = \"{}shop\": its braces"),
            (
                format!("{needed}cookies_key = \"chitai_gorod_token\""),
                "sites.shop.cookies_key = \"chitai_gorod_token\": ",
            ),
            (format!("{needed}cookie_key = \"a\""), "unknown key sites.shop.cookie_key"),
            (needed.replace("cookies", "jar"), "expected token or cookies"),
            (
                "cookies = [\"a\"]\ncookie = \"a\"\npage_url = \"https://x.test\"".to_owned(),
                "sites.shop.cookies: they are",
            ),
        ] {
            let refused = Given::nothing().toml(&format!("[sites.shop]\n{toml}")).refused();
            assert!(refused.contains(error), "{refused}");
        }
    }

    #[test]
    fn wildberries_is_built_in_and_off() {
        assert_eq!(Given::nothing().loaded().config.sites.len(), 1);
        let sites = Given::nothing().toml("[sites.wildberries]\nenabled = true").loaded().config.sites;
        let shop = sites.iter().find(|site| site.id.as_str() == "wildberries").unwrap();
        assert_eq!((shop.keys.token.as_str(), shop.policy.token_ttl.as_secs()), ("wildberries_cookies", 43_200));
        assert_eq!(shop.product, ProductRule::Cookies(vec!["x_wbaas_token".to_owned()]));
        assert!(shop.probe.url.as_ref().unwrap().as_str().starts_with("https://www.wildberries.ru/__internal/"));
    }

    #[test]
    fn a_site_without_a_browser_needs_no_page_and_one_without_verification_no_api() {
        let site = site(
            "cookie = \"auth\"\nsources = \"http\"\nverify = \"off\"\nhttp.url = \"https://shop.test/{site}\"\n\
             http.token = \"header:X-Token\"",
        );
        let [SourceConfig::Http(http)] = site.sources.as_slice() else { panic!("one source") };
        assert_eq!((http.method.as_str(), http.page.as_str()), ("GET", "https://shop.test/shop"));
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
            (http.method.to_string(), text(&http.headers["content-type"]))
        };
        assert_eq!(http(""), ("POST".to_owned(), "application/json".to_owned()));
        let more = "http.method = \"PUT\"\nhttp.headers = { Content-Type = \"text/plain\" }";
        assert_eq!(http(more), ("PUT".to_owned(), "text/plain".to_owned()));
    }

    #[test]
    fn a_solvers_own_proxy_is_warned_about_where_the_probe_leaves_elsewhere() {
        let warned = |toml: &str| Given::nothing().toml(&format!("[sites.chitai_gorod]\n{toml}")).loaded().warnings;
        let own = "flaresolverr.proxy.url = \"socks5://proxy:1080\"";
        let warning = "sites.chitai_gorod: the token is fetched through flaresolverr.proxy and used by the probe without it: \
                       set proxy.url, the way out for all that is done for the site";
        assert_eq!(warned(own), [warning]);
        assert_eq!(warned(&format!("{own}\nproxy.url = \"http://other:3128\"")), [warning]);
        assert!(warned(&format!("{own}\nproxy.url = \"socks5h://u:p@PROXY\"")).is_empty());
        assert!(warned("proxy.url = \"http://proxy:3128\"").is_empty());
    }

    #[test]
    fn what_is_stored_stays_within_its_place_in_the_plain_request() {
        let site_with = |http: &str| {
            let toml = "page_url = \"https://x.test\"\ncookie = \"a\"\nsources = [\"http\"]\nverify = \"off\"\n";
            Given::nothing().toml(&format!("sites.chitai_gorod.enabled = false\n[sites.shop]\n{toml}{http}"))
        };
        let url = "http.url = \"https://x.test/\"\n";
        for http in [
            "http.url = \"https://x.test/{token}?a={cookie:b}\"",
            &format!("{url}http.headers = {{ Cookie = \"{{cookies}}\", X-Old = \"Bearer {{token}}\" }}"),
            &format!("{url}http.body = '{{\"a\": {{\"b\": \"{{cookie:refresh-token}}\"}}}}'"),
            &format!("{url}http.body = 'a={{token}}'\nhttp.headers.content-type = 'application/x-www-form-urlencoded'"),
            &format!("{url}http.body = '{{token'\nhttp.headers.content-type = 'text/plain'"),
        ] {
            assert_eq!(site_with(http).loaded().config.sites.len(), 1, "{http}");
        }
        for (http, error) in [
            ("http.url = \"https://{token}/\"", "in the path and the query alone"),
            (
                &format!("{url}http.headers.x = \"{{refresh}}\""),
                "unknown placeholder {refresh}: known are {api}, {api_parent}, {city_id}, {user_id}, {site}, {token}, \
                 {cookie:NAME}, {cookies}",
            ),
            (
                &format!("{url}http.body = '{{\"a\": {{token}}}}'"),
                "(hidden): expected JSON with its placeholders within",
            ),
            (
                &format!("{url}http.body = '{{token}}'\nhttp.headers.content-type = 'text/plain'"),
                "(hidden): what is stored can stand in JSON and in a form alone",
            ),
            (&format!("{url}probe.headers.x = \"{{token}}\""), "unknown placeholder {token}"),
        ] {
            let refused = site_with(http).refused();
            assert!(refused.contains(error), "{refused}");
        }
    }

    #[test]
    fn the_user_agent_of_a_site_is_that_of_its_own_requests_unless_a_header_says_otherwise() {
        let agents = |more: &str| {
            let toml = "cookie = \"a\"\nsources = [\"http\"]\nverify = \"off\"\nhttp.url = \"https://x.test\"\n";
            let site = site(&format!("{toml}user_agent = \"Shop/1\"\n{more}"));
            let [SourceConfig::Http(http)] = site.sources.as_slice() else { panic!("one source") };
            [text(&http.headers["user-agent"]), site.probe.headers["user-agent"].to_str().unwrap().to_owned()]
        };
        assert_eq!(agents(""), ["Shop/1", "Shop/1"]);
        assert_eq!(agents("http.headers = { User-Agent = \"Other/2\" }"), ["Other/2", "Shop/1"]);
    }

    #[test]
    fn a_site_may_have_several_solvers() {
        let urls = |given: Given| {
            let sources = given.loaded().config.sites.remove(0).sources;
            let SourceConfig::Flaresolverr(solver) = &sources[0] else { panic!("it is the default") };
            let urls = solver.urls.iter().map(|url| secrecy::ExposeSecret::expose_secret(url).to_owned());
            (urls.collect::<Vec<_>>(), solver.kind)
        };
        let both = vec!["http://a:1/v1".to_owned(), "http://b:2/v1".to_owned()];
        for text in ["http://a:1 http://b:2", " http://a:1/v1,http://b:2, http://a:1\n"] {
            assert_eq!(urls(Given::nothing().variable("FLARESOLVERR_URL", text)), (both.clone(), None), "{text}");
        }
        let toml = "flaresolverr = { url = [\"http://a:1\", \"http://b:2\"], kind = \"byparr\" }";
        assert_eq!(urls(Given::nothing().toml(toml)), (both, Some(SolverKind::Byparr)));
        for (toml, error) in [
            ("flaresolverr.url = []", "sites.chitai_gorod.flaresolverr.url is not set: expected one or more addresses"),
            (
                "flaresolverr.url = [\"http://a:1\", \"http://u:hunter2@b:x\"]",
                "sidecar.toml: flaresolverr.url = \"http://u:***@b:x\": expected an address",
            ),
            (
                "flaresolverr.url = \"http://u:hun,ter2@b:1\"",
                "sidecar.toml: flaresolverr.url = (hidden): expected an address",
            ),
            ("flaresolverr.kind = \"x\"", "sidecar.toml: flaresolverr.kind = \"x\": expected flaresolverr or byparr"),
        ] {
            let refused = Given::nothing().toml(toml).refused();
            assert!(refused.starts_with(error), "{refused}");
        }
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
                SourceConfig::Http(_) | SourceConfig::Browser(_) => panic!("a FlareSolverr"),
            })
            .collect();
        let [own, shared] = solvers.as_slice() else { panic!("two") };
        let url = |solver: &FlaresolverrConfig| secrecy::ExposeSecret::expose_secret(&solver.urls[0]).to_owned();
        assert_eq!((url(own).as_str(), url(shared).as_str()), ("http://own:8191/v1", "http://shared:8191/v1"));
        assert_eq!((own.wait, shared.wait), (Some(Duration::from_secs(5)), None));
        assert!(own.max_timeout == shared.max_timeout && own.disable_media && shared.disable_media);
        let proxy =
            |solver: &FlaresolverrConfig| solver.proxy.clone().map(|p| (p.url, p.username, p.password.is_some()));
        assert_eq!(proxy(own), Some(("socks5://other:1080".to_owned(), None, false)));
        assert_eq!(proxy(shared), Some(("http://proxy:3128".to_owned(), Some("u".to_owned()), true)));
        assert_eq!(given.setting("sites.shop.flaresolverr.url").1, "environment FLARESOLVERR_URL");
    }

    fn browsers(given: &Given) -> Vec<BrowserConfig> {
        let sources = given.loaded().config.sites.into_iter().flat_map(|site| site.sources);
        sources
            .filter_map(|source| if let SourceConfig::Browser(browser) = source { Some(browser) } else { None })
            .collect()
    }

    #[test]
    fn a_site_inherits_the_browser_of_all_and_may_change_it() {
        let given = Given::nothing()
            .variable("SIDECAR_SOURCES", "http, browser")
            .variable("BROWSER_PATH", "/opt/chrome")
            .variable("BROWSER_SANDBOX", "false")
            .variable("BROWSER_KEEP", "1m")
            .toml("[browser]\nargs = [\"--lang=ru\"]\n[sites.chitai_gorod]\nbrowser = { token = \"local:auth\", wait = \"3s\" }");
        let [browser] = browsers(&given).try_into().unwrap_or_else(|_| panic!("one browser"));
        let BrowserProgram::Launch(launch) = &browser.program else { panic!("its own") };
        assert_eq!((launch.path.as_deref(), launch.sandbox), (Some("/opt/chrome".as_ref()), false));
        assert_eq!(launch.args, ["--lang=ru"]);
        let item = super::super::StorageItem { key: "auth".to_owned(), pointer: None };
        assert_eq!(browser.token, BrowserPlace::Local(item));
        let times = [browser.wait, browser.max_timeout, browser.keep].map(|span| span.as_secs());
        assert_eq!((times, browser.concurrency), ([3, 60, 60], 1));
        assert_eq!(browser.page.as_str(), "https://www.chitai-gorod.ru/");
        assert!(browser.api.is_some_and(|api| api.as_str().starts_with("https://web-agr.")));
    }

    #[test]
    fn the_address_of_a_browser_may_hold_a_secret() {
        let given = Given::nothing()
            .variable("SIDECAR_SOURCES", "browser")
            .file_variable("BROWSER_URL_FILE", "wss://user:hunter2@browser.test/?token=hunter2\n");
        assert_eq!(given.setting("browser.url").0, "wss://user:***@browser.test/?token=***");
        assert!(matches!(browsers(&given)[0].program, BrowserProgram::Connect(_)));
        let given = given.variable("BROWSER_PATH", "/opt/chrome");
        assert!(given.refused().contains("browser.url (BROWSER_URL) and browser.path (BROWSER_PATH) are both set"));
    }

    #[test]
    fn a_sites_proxy_is_the_way_out_of_all_its_sources() {
        let given = Given::nothing()
            .variable("SIDECAR_SOURCES", "http, browser, flaresolverr")
            .variable("CHITAI_GOROD_PROXY_URL", "socks5h://proxy:1080");
        let site = &given.loaded().config.sites[0];
        let url = |proxy: &Option<ProxyConfig>| proxy.as_ref().map(|proxy| proxy.url.clone()).unwrap();
        let [SourceConfig::Http(http), SourceConfig::Browser(browser), SourceConfig::Flaresolverr(solver)] =
            site.sources.as_slice()
        else {
            panic!("three sources")
        };
        assert_eq!([&http.proxy, &site.probe.proxy].map(url), ["socks5h://proxy:1080"; 2]);
        assert_eq!([&browser.proxy, &solver.proxy].map(url), ["socks5://proxy:1080"; 2]);

        let given = given.variable("CHITAI_GOROD_PROXY_URL", "http://user:hunter2@proxy:3128/");
        let site = &given.loaded().config.sites[0];
        let proxy = site.probe.proxy.as_ref().unwrap();
        assert_eq!((proxy.url.as_str(), proxy.username.as_deref()), ("http://proxy:3128", Some("user")));
        let password = |proxy: &ProxyConfig| {
            proxy.password.as_ref().map(|password| secrecy::ExposeSecret::expose_secret(password).to_owned())
        };
        assert_eq!(password(proxy).as_deref(), Some("hunter2"));
        assert_eq!(given.setting("sites.chitai_gorod.proxy.url").0, "http://user:***@proxy:3128/");
        let given = given
            .variable("CHITAI_GOROD_PROXY_URL", "http://user@proxy:3128")
            .toml("[sites.chitai_gorod.proxy]\npassword = \"hunter3\"");
        let proxy = given.loaded().config.sites[0].probe.proxy.clone().unwrap();
        assert_eq!((proxy.username.as_deref(), password(&proxy).as_deref()), (Some("user"), Some("hunter3")));
        let other = "[sites.chitai_gorod.proxy]\nurl = \"http://other\"\nusername = \"other\"\npassword = \"hunter4\"";
        let given = given.toml(other);
        let proxy = given.loaded().config.sites[0].probe.proxy.clone().unwrap();
        assert_eq!((proxy.username.as_deref(), password(&proxy)), (Some("user"), None), "the login of another proxy");
        let twice = "[sites.chitai_gorod.proxy]\nusername = \"other\"";
        let given = given.toml(twice);
        assert!(given.refused().contains("proxy.url: it names a user already"));
        let given = given.toml("").variable("CHITAI_GOROD_PROXY_URL", "socks5://user:hunter2@proxy:1080");
        assert!(given.refused().contains("Chromium has no login for SOCKS proxies"));
    }

    /// A clone of another's project must not start that one's programs.
    #[test]
    fn no_program_is_named_by_a_dotenv() {
        let given = Given::nothing().dotenv("BROWSER_PATH=./evil");
        assert_eq!(
            given.refused(),
            ".env: BROWSER_PATH names a program to start, which is never taken from a .env: set it in the environment"
        );
        let file = "[[sites.chitai_gorod.files]]\npath = \"a\"\nenv_key = \"A\"\n";
        for toml in [
            "browser.path = \"./evil\"",
            "[sites.chitai_gorod]\nbrowser.args = [\"--renderer-cmd-prefix=./evil\"]",
            &format!("{file}command = [\"./evil\"]"),
            &format!("{file}signal = \"TERM\"\npid_file = \"pid\""),
        ] {
            let given = Given::nothing();
            let file = given.write("evil.toml", toml);
            let given = given.dotenv(&format!("SIDECAR_CONFIG={}", file.display()));
            assert!(given.refused().contains("which is never taken by way of a .env"), "{}", given.refused());
            let given = given.variable("SIDECAR_CONFIG", &file.display().to_string());
            assert_eq!(given.loaded().config.sites.len(), 1);
        }
    }
}

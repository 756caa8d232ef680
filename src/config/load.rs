//! Loads the effective settings.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
use token_sidecar_client::redis::RedisConfig;
use token_sidecar_client::wire::SiteId;
use tracing_subscriber::filter::Targets;

use super::browser::BrowserSection;
use super::checks;
use super::environment::Inputs;
use super::error::ConfigErrors;
use super::gateway::{GatewayConfig, GatewaySection};
use super::layers::Layers;
use super::listing::{InFiles, Setting};
use super::notices::{NoticeConfig, NoticeSection, TelegramSection};
use super::reader::{Read, Reader};
use super::redis::RedisSection;
use super::rotation::Rotation;
use super::server::{LogFormat, LogSection, ServerConfig, ServerSection};
use super::site::{SiteConfig, SiteSection};
use super::source::{FlaresolverrSection, Headers};
use super::value::{SECOND, Span, Zone};
use crate::domain::schedule::Schedule;

/// All settings, checked.
#[derive(Clone)]
pub struct Config {
    pub redis: RedisConfig,
    pub rotation: Rotation,
    pub server: ServerConfig,
    pub gateway: GatewayConfig,
    pub log_format: LogFormat,
    pub log_filter: Targets,
    /// How long a running refresh may continue after SIGTERM.
    pub shutdown_grace: Duration,
    /// At least one.
    pub sites: Vec<SiteConfig>,
    pub notices: Vec<NoticeConfig>,
}

/// The effective settings.
#[derive(Clone)]
pub struct Loaded {
    pub config: Config,
    /// By which a later change of a file is seen.
    pub in_files: InFiles,
    /// Probable mistakes; no secrets.
    pub warnings: Vec<String>,
}

/// The effective settings, to be shown.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Each with its origin, secrets redacted.
    pub settings: Vec<Setting>,
    /// Probable mistakes; no secrets.
    pub warnings: Vec<String>,
}

/// Merges all layers and checks the result. Opens no connection, and reads only the files that are
/// named.
pub fn load(inputs: &Inputs) -> Result<Loaded, ConfigErrors> {
    let (config, Read { in_files, warnings, .. }) = with(inputs, false)?;
    Ok(Loaded { config, in_files, warnings })
}

/// The same, but lists each setting: with thousands of sites the list is far larger than what [`load`] returns.
pub fn list(inputs: &Inputs) -> Result<Listed, ConfigErrors> {
    with(inputs, true).map(|(_, Read { settings, warnings, .. })| Listed { settings, warnings })
}

#[derive(Deserialize)]
struct ProcessSection {
    redis: RedisSection,
    server: ServerSection,
    gateway: GatewaySection,
    log: LogSection,
    time_zone: Zone,
    shutdown_grace: Span<0, { 600 * SECOND }>,
    flaresolverr: FlaresolverrSection,
    notices: Vec<NoticeSection>,
    telegram: TelegramSection,
    /// Read for its errors; each site has its own.
    #[serde(rename = "browser")]
    _browser: BrowserSection,
    /// Each site is read by itself.
    #[serde(rename = "sites")]
    _sites: BTreeMap<String, IgnoredAny>,
}

fn with(inputs: &Inputs, lists: bool) -> Result<(Config, Read), ConfigErrors> {
    let layers = Layers::of(inputs).map_err(|error| ConfigErrors(vec![error]))?;
    let rotation = Rotation::of(&layers);
    let mut reader = Reader::new(layers, lists);
    let config = read(&mut reader, rotation);
    let read = reader.finish();
    match config {
        Some(config) if read.errors.is_empty() => Ok((config, read)),
        _ => Err(ConfigErrors(read.errors)),
    }
}

fn read(reader: &mut Reader, rotation: Rotation) -> Option<Config> {
    let mut process = reader.section(None);
    let section: ProcessSection = process.read("")?;
    let ProcessSection { redis, server, mut gateway, log, time_zone, shutdown_grace, flaresolverr, .. } = section;
    let redis = redis.build(&mut process);
    // It must be right even where each site has its own.
    flaresolverr.proxy.build(&mut process);
    let headers = std::mem::take(&mut gateway.headers);
    let gateway = gateway.build(&mut process);
    let sites = read_sites(reader, &time_zone.0, &headers);
    let notices = read_notices(reader, section.notices, section.telegram, &sites);
    if reader.is_right_so_far() {
        checks::check(reader, &redis.topology, &sites);
    }
    Some(Config {
        redis,
        rotation,
        server: server.into(),
        gateway,
        log_format: log.format,
        log_filter: log.filter.0,
        shutdown_grace: shutdown_grace.0,
        sites,
        notices,
    })
}

fn read_notices(
    reader: &mut Reader,
    sections: Vec<NoticeSection>,
    telegram: TelegramSection,
    sites: &[SiteConfig],
) -> Vec<NoticeConfig> {
    let known: Vec<SiteId> = sites.iter().map(|site| site.id.clone()).collect();
    let mut process = reader.section(None);
    let telegram = telegram.build(&mut process);
    let sections = sections.into_iter().enumerate();
    let notices = sections.filter_map(|(number, section)| section.build(&mut process, number, &known));
    notices.chain(telegram).collect()
}

fn read_sites(reader: &mut Reader, zone: &str, gateway_headers: &Headers) -> Vec<SiteConfig> {
    // Sites with equal schedules share one: there may be thousands of sites.
    let mut parsed: BTreeMap<String, Schedule> = BTreeMap::new();
    let mut schedule = |text: &str| match parsed.get(text) {
        Some(schedule) => Ok(schedule.clone()),
        None => Schedule::parse(text, zone).inspect(|schedule| _ = parsed.insert(text.to_owned(), schedule.clone())),
    };
    let mut sites: Vec<SiteConfig> = Vec::new();
    for id in reader.sites() {
        let mut section = reader.section(Some(&id));
        if section.read("enabled") != Some(true) {
            continue;
        }
        let site: Option<SiteSection> = section.read("");
        sites.extend(site.and_then(|site| site.build(&mut section, &id, gateway_headers, &mut schedule)));
    }
    if sites.is_empty() && reader.is_right_so_far() {
        reader.conflict("no site is enabled".to_owned());
    }
    sites
}

#[cfg(test)]
#[expect(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use secrecy::ExposeSecret;
    use url::Url;

    use super::super::fixture::Given;
    use super::super::{SourceConfig, Template, TokenPlace, variables};
    use super::*;
    use crate::domain::product::ProductRule;
    use crate::domain::site::Verify;

    /// The contract's table of settings: variable, path, default, and a value of another kind.
    const CONTRACT: &[(&str, &str, &str, &str)] = &[
        ("REDIS_URL", "redis.url", "redis://127.0.0.1:6379/0", "rediss://redis:6380/1"),
        ("REDIS_PASSWORD", "redis.password", "", "hunter2"),
        ("FLARESOLVERR_URL", "flaresolverr.url", "http://127.0.0.1:8191/v1", "http://solver:8191/v1"),
        ("FLARESOLVERR_MAX_TIMEOUT", "flaresolverr.max_timeout", "60s", "90s"),
        ("CHITAI_GOROD_SITE_URL", "sites.chitai_gorod.page_url", "https://www.chitai-gorod.ru/", "http://127.0.0.1:1/"),
        (
            "CHITAI_GOROD_API_URL",
            "sites.chitai_gorod.api_url",
            "https://web-agr.chitai-gorod.ru/web/api/v2",
            "http://127.0.0.1:1/api/v2/",
        ),
        ("CHITAI_GOROD_BEARER_TOKEN", "sites.chitai_gorod.bootstrap_token", "", "Bearer abc"),
        ("CHITAI_GOROD_USER_ID", "sites.chitai_gorod.user_id", "", "7"),
        ("CHITAI_GOROD_CITY_ID", "sites.chitai_gorod.city_id", "39", "213"),
        ("SIDECAR_SCHEDULE", "sites.chitai_gorod.schedule", "0 */3 * * *", "every 3h"),
        ("SIDECAR_SOURCES", "sites.chitai_gorod.sources", "flaresolverr", "http, flaresolverr"),
        ("SIDECAR_DEBOUNCE", "sites.chitai_gorod.debounce", "10s", "1s"),
        ("SIDECAR_LOCK_TTL", "sites.chitai_gorod.lock_ttl", "15s", "1m"),
        ("SIDECAR_TOKEN_TTL", "sites.chitai_gorod.token_ttl", "24h", "12h"),
        ("SIDECAR_BACKOFF_INITIAL", "sites.chitai_gorod.backoff_initial", "5s", "1s"),
        ("SIDECAR_BACKOFF_MAX", "sites.chitai_gorod.backoff_max", "10m", "1h"),
        ("SIDECAR_VERIFY", "sites.chitai_gorod.verify", "strict", "tolerant"),
        ("SIDECAR_ENV_FILE", "sites.chitai_gorod.env_file", "", "/data/.env"),
        ("SIDECAR_LISTEN", "server.listen", "127.0.0.1:9188", "off"),
        ("SIDECAR_ADMIN_TOKEN", "server.admin_token", "", "hunter2"),
        ("SIDECAR_GATEWAY", "gateway.listen", "off", "unix:/run/gateway.sock"),
        ("SIDECAR_GATEWAY_KEY", "gateway.key", "", "hunter2"),
        ("SIDECAR_SHUTDOWN_GRACE", "shutdown_grace", "8s", "20s"),
        ("SIDECAR_LOG_FORMAT", "log.format", "text", "json"),
        ("RUST_LOG", "log.filter", "info", "warn,token_sidecar=debug"),
        ("TZ", "time_zone", "UTC", "Europe/Moscow"),
    ];

    #[test]
    fn every_variable_of_the_contract_has_its_default_and_sets_its_key() {
        for (variable, path, default, other) in CONTRACT {
            assert_eq!(Given::nothing().setting(path).0, *default, "{variable}");
            let given = Given::nothing().variable(variable, other);
            let (value, origin) = given.setting(path);
            assert_eq!(origin, format!("environment {variable}"));
            assert!(value == *other || value == "(hidden)", "{variable}: {value}");
            assert_eq!(variables::of(path).as_deref(), Some(*variable));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_value_of_a_variable_makes_it_panic(which in 0..CONTRACT.len(), value in "\\PC{0,24}|[0-9*/, -]{1,12}") {
            let environment = std::iter::once((CONTRACT[which].0.to_owned(), value)).collect();
            load(&Inputs { environment, ..Inputs::default() }).ok();
        }
    }

    #[test]
    fn every_secret_of_the_contract_may_come_from_a_file() {
        for (variable, path, content) in [
            ("REDIS_URL_FILE", "redis.url", "redis://:hunter2@redis/0"),
            ("REDIS_PASSWORD_FILE", "redis.password", "hunter2"),
            ("FLARESOLVERR_URL_FILE", "flaresolverr.url", "http://u:hunter2@solver/v1"),
            ("CHITAI_GOROD_BEARER_TOKEN_FILE", "sites.chitai_gorod.bootstrap_token", "hunter2"),
            ("SIDECAR_ADMIN_TOKEN_FILE", "server.admin_token", "hunter2"),
            ("SIDECAR_GATEWAY_KEY_FILE", "gateway.key", "hunter2"),
        ] {
            let (value, origin) = Given::nothing().file_variable(variable, &format!("{content}\n")).setting(path);
            assert_eq!(origin, format!("environment {variable}"));
            assert!(!value.is_empty() && !value.contains("hunter2"), "{value}");
        }
    }

    #[test]
    fn nothing_at_all_is_the_built_in_site() {
        let config = Given::nothing().loaded().config;
        assert_eq!((config.redis.url.database(), config.redis.url.has_password()), (0, false));
        assert_eq!(config.server.listen.map(|a| a.to_string()).as_deref(), Some("127.0.0.1:9188"));
        assert_eq!((config.log_format, config.log_filter.to_string().as_str()), (LogFormat::Text, "info"));
        assert_eq!(config.shutdown_grace, Duration::from_secs(8));
        let [site] = config.sites.as_slice() else { panic!("one site") };
        assert_eq!(site.id.as_str(), "chitai_gorod");
        assert_eq!(
            (site.keys.token.as_str(), site.keys.cookies.as_str()),
            ("chitai_gorod_token", "chitai_gorod_cookies")
        );
        let ProductRule::Token(cookie) = &site.product else { panic!("a token") };
        assert_eq!((cookie.name.as_str(), cookie.prefix.as_str()), ("access-token", "Bearer "));
        assert_eq!((site.policy.verify, site.policy.schedule.to_string().as_str()), (Verify::Strict, "0 */3 * * *"));
        assert_eq!(site.files, []);
        assert_eq!(
            site.probe.url.as_ref().map(Url::as_str),
            Some(
                "https://web-agr.chitai-gorod.ru/web/api/v2/search/product?phrase=python&customerCityId=39&products[page]=1&products[per-page]=1"
            )
        );
        let headers: Vec<String> =
            site.probe.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        assert_eq!(headers, ["initial-feature: index", "platform: desktop", "shop-brand: chitaiGorod"]);
        let [SourceConfig::Flaresolverr(solver)] = site.sources.as_slice() else { panic!("one browser") };
        assert_eq!(solver.urls[0].expose_secret(), "http://127.0.0.1:8191/v1");
        assert_eq!(solver.page, "https://www.chitai-gorod.ru/");
        assert_eq!(solver.wanted.to_string(), "cookie `access-token` or `bearer_token`");
        assert_eq!((solver.max_timeout, solver.wait), (Duration::from_secs(60), None));
        assert!(solver.session.is_none() && solver.proxy.is_none() && !solver.disable_media);
    }

    #[test]
    fn the_built_in_site_has_the_anonymous_way_ready() {
        let config = Given::nothing()
            .variable("SIDECAR_SOURCES", "http,flaresolverr")
            .variable("CHITAI_GOROD_API_URL", "http://127.0.0.1:9000/web/api/v2/")
            .variable("CHITAI_GOROD_USER_ID", "7")
            .loaded()
            .config;
        let site = &config.sites[0];
        let [SourceConfig::Http(http), SourceConfig::Flaresolverr(_)] = site.sources.as_slice() else {
            panic!("two sources in their order")
        };
        assert_eq!(
            (http.method.as_str(), http.page.as_str()),
            ("POST", "http://127.0.0.1:9000/web/api/v1/auth/anonymous")
        );
        let text = |template: &Template| template.sample(ToString::to_string);
        assert_eq!((http.headers.len(), text(&http.headers["content-type"])), (1, "application/json".to_owned()));
        assert_eq!(http.body.as_ref().map(|body| text(&body.text)).as_deref(), Some("{}"));
        assert_eq!(http.token, TokenPlace::Json("/token/accessToken".to_owned()));
        let url = site.probe.url.as_ref().unwrap();
        assert!(url.as_str().starts_with("http://127.0.0.1:9000/web/api/v2/search/product?"));
        assert_eq!(site.probe.headers["user-id"], "7");
    }

    #[test]
    fn cron_counts_in_the_variables_zone_or_else_in_the_systems() {
        let next = |given: Given| {
            let now = "2026-11-22T00:00:00Z".parse().unwrap_or_default();
            let next = given.variable("SIDECAR_SCHEDULE", "0 12 * * *").loaded().config.sites[0]
                .policy
                .schedule
                .next_after(now);
            next.map(|at| at.to_string()).unwrap_or_default()
        };
        assert_eq!(next(Given::nothing()), "2026-11-22T12:00:00Z");
        assert_eq!(next(Given::nothing().zone("Asia/Tokyo")), "2026-11-22T03:00:00Z");
        assert_eq!(next(Given::nothing().zone("Asia/Tokyo").variable("TZ", ":Europe/Moscow")), "2026-11-22T09:00:00Z");
    }

    #[test]
    fn no_secret_is_to_be_seen_in_what_was_loaded() {
        let given = Given::nothing()
            .variable("REDIS_URL", "redis://user:hunter2@redis:6379/0")
            .variable("REDIS_PASSWORD", "hunter2")
            .variable("FLARESOLVERR_URL", "http://user:hunter2@solver/v1")
            .variable("SIDECAR_ADMIN_TOKEN", "hunter2")
            .variable("CHITAI_GOROD_BEARER_TOKEN", "hunter2")
            .toml(
                r#"
                redis.sentinel = { nodes = ["redis://:hunter2@s1:26379"], master = "main" }
                flaresolverr.proxy = { url = "http://proxy:3128", username = "user", password = "hunter2" }
                [sites.chitai_gorod]
                page_url = "https://shop.test/?key=hunter2"
                sources = ["flaresolverr", "http"]
                http.url = "https://shop.test/?api_key=hunter2"
                http.body = "hunter2"
                http.headers.authorization = "Basic hunter2"
                probe.url = "https://shop.test/?token=hunter2"
                probe.headers.x-api-key = "hunter2"
                "#,
            );
        let loaded = given.loaded();
        let shown = format!("{:?}", given.listed());
        assert!(!shown.contains("hunter2"), "{shown}");
        assert_eq!(given.setting("redis.url").0, "redis://user:***@redis:6379/0");
        let warnings = loaded.warnings.join("\n");
        assert!(warnings.starts_with("redis.password (REDIS_PASSWORD) is not used: redis.url has a password"));
        assert!(!warnings.contains("hunter2"), "{warnings}");
    }
}

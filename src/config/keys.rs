//! All keys, in the order in which they are shown: the schema, the reference and the source of every hint.

use super::key::Key;
use super::redaction::Secrecy::{Address, Header, Secret, SecretAddress};

/// All keys.
pub const KEYS: &[Key] = &[
    Key::new("redis.url", "`redis://`, `rediss://` or `unix://`, with user, password and database")
        .env("REDIS_URL")
        .or("redis://127.0.0.1:6379/0")
        .is(SecretAddress),
    Key::new("redis.password", "the password, where the URL has none").env("REDIS_PASSWORD").is(Secret),
    Key::new("redis.tls_ca_file", "for `rediss://`: the authorities to trust in place of the system's")
        .env("REDIS_TLS_CA_FILE"),
    Key::new("redis.tls_cert_file", "for `rediss://`: the client's certificate").env("REDIS_TLS_CERT_FILE"),
    Key::new("redis.tls_key_file", "for `rediss://`: the client's key").env("REDIS_TLS_KEY_FILE"),
    Key::new(
        "redis.sentinel.nodes",
        "the Sentinels' URLs; user, password and database of the master come from `redis.url`",
    )
    .list()
    .is(SecretAddress),
    Key::new("redis.sentinel.master", "the name under which the Sentinels watch the master"),
    Key::new("redis.cluster.nodes", "some nodes of a Cluster, as URLs; user and password come from `redis.url`")
        .list()
        .is(SecretAddress),
    Key::new("server.listen", "where health, metrics and the status page are served; `off`")
        .env("SIDECAR_LISTEN")
        .or("127.0.0.1:9188"),
    Key::new("server.admin_token", "the bearer token for anything that acts over HTTP; without one, nothing does")
        .env("SIDECAR_ADMIN_TOKEN")
        .is(Secret),
    Key::new("log.format", "`text` or `json`").env("SIDECAR_LOG_FORMAT").or("text"),
    Key::new("log.filter", "what is logged: a level, and targets with theirs (`warn,token_sidecar=debug`)")
        .env("RUST_LOG")
        .or("info"),
    Key::new("time_zone", "the IANA zone in which cron counts; without one the system's").env("TZ").or("UTC"),
    Key::new("shutdown_grace", "how long a refresh under way may go on after SIGTERM")
        .env("SIDECAR_SHUTDOWN_GRACE")
        .or("8s"),
    Key::new("flaresolverr.url", "FlareSolverr's API; without a path `/v1` is meant")
        .env("FLARESOLVERR_URL")
        .or("http://127.0.0.1:8191/v1")
        .is(SecretAddress),
    Key::new("flaresolverr.max_timeout", "how long one solve may take (`maxTimeout`)")
        .env("FLARESOLVERR_MAX_TIMEOUT")
        .or("60s"),
    Key::new("flaresolverr.concurrency", "how many solves one FlareSolverr may have at once, over all sites").or("2"),
    Key::new("flaresolverr.disable_media", "leave out images, style sheets and fonts (`disableMedia`)")
        .switch()
        .or("false"),
    Key::new("flaresolverr.proxy.url", "a proxy for the browser: `http://`, `https://`, `socks4://`, `socks5://`")
        .is(Address),
    Key::new("flaresolverr.proxy.username", "its user"),
    Key::new("flaresolverr.proxy.password", "its password").is(Secret),
    Key::new("sites.*.enabled", "`false` leaves the site out, the built-in one too").switch().or("true"),
    Key::new("sites.*.page_url", "the page that is opened; not needed where `http` is the only source")
        .env("{SITE}_SITE_URL")
        .is(Address),
    Key::new("sites.*.api_url", "the API's address, `{api}` in what follows").env("{SITE}_API_URL").is(Address),
    Key::new("sites.*.user_id", "`{user_id}` in what follows").env("{SITE}_USER_ID"),
    Key::new("sites.*.city_id", "`{city_id}` in what follows").env("{SITE}_CITY_ID"),
    Key::new("sites.*.bootstrap_token", "adopted if Redis has none and it verifies; with or without `Bearer `")
        .env("{SITE}_BEARER_TOKEN")
        .is(Secret),
    Key::new("sites.*.cookie", "the cookie that holds the token"),
    Key::new("sites.*.cookie_fallbacks", "further names to look under, in this order").list(),
    Key::new("sites.*.cookie_prefix", "what stands before the bare token in the decoded cookie"),
    Key::new("sites.*.token_key", "the Redis key of the bare token").or("{site}_token"),
    Key::new("sites.*.cookies_key", "the Redis key of the cookies; on a Cluster it must share the token's slot")
        .or("{site}_cookies"),
    Key::new("sites.*.sources", "`flaresolverr`, `http`: the next one is tried when one is blocked or down")
        .env("SIDECAR_SOURCES")
        .list()
        .or("flaresolverr"),
    Key::new("sites.*.schedule", "when to renew by the clock: cron in `TZ`, `every 3h`, `off`")
        .env("SIDECAR_SCHEDULE")
        .or("0 */3 * * *"),
    Key::new("sites.*.schedule_jitter", "each site's ticks come later by a share of this that follows from its name")
        .or("0s"),
    Key::new("sites.*.debounce", "a report within this time of a refresh is answered by it")
        .env("SIDECAR_DEBOUNCE")
        .or("10s"),
    Key::new("sites.*.lock_ttl", "how long the lock lasts unless renewed, which happens every third of it")
        .env("SIDECAR_LOCK_TTL")
        .or("15s"),
    Key::new("sites.*.token_ttl", "the longest TTL of the keys").env("SIDECAR_TOKEN_TTL").or("24h"),
    Key::new("sites.*.backoff_initial", "the first delay after a failure").env("SIDECAR_BACKOFF_INITIAL").or("5s"),
    Key::new("sites.*.backoff_max", "the longest delay after a failure").env("SIDECAR_BACKOFF_MAX").or("10m"),
    Key::new("sites.*.verify", "`strict` stores what the API accepts; `tolerant` also what it says nothing of; `off`")
        .env("SIDECAR_VERIFY")
        .or("strict"),
    Key::new("sites.*.env_file", "a `.env` with a line for the token that is kept current").env("SIDECAR_ENV_FILE"),
    Key::new("sites.*.env_key", "the name of that line").or("{SITE}_BEARER_TOKEN"),
    Key::new("sites.*.flaresolverr.url", "this site's own FlareSolverr").like("flaresolverr.url").is(SecretAddress),
    Key::new("sites.*.flaresolverr.max_timeout", "how long one solve may take").like("flaresolverr.max_timeout"),
    Key::new("sites.*.flaresolverr.concurrency", "the same for all sites that share a FlareSolverr")
        .like("flaresolverr.concurrency"),
    Key::new("sites.*.flaresolverr.disable_media", "leave out images, style sheets and fonts")
        .switch()
        .like("flaresolverr.disable_media"),
    Key::new("sites.*.flaresolverr.wait", "how long to wait for a cookie that the page's script sets late").or("0s"),
    Key::new("sites.*.flaresolverr.session", "a session to use; none is best unless the site needs one"),
    Key::new("sites.*.flaresolverr.proxy.url", "this site's own proxy, in place of all of `flaresolverr.proxy`")
        .is(Address),
    Key::new("sites.*.flaresolverr.proxy.username", "its user"),
    Key::new("sites.*.flaresolverr.proxy.password", "its password").is(Secret),
    Key::new("sites.*.http.url", "the address of the plain request; placeholders count").is(SecretAddress),
    Key::new("sites.*.http.method", "`GET`, `POST`, `PUT` or `PATCH`; without one `POST` where there is a body"),
    Key::new("sites.*.http.headers.*", "a header; placeholders count, an empty one is not sent").is(Header),
    Key::new("sites.*.http.body", "the body, as it is; JSON unless a `content-type` header says otherwise").is(Secret),
    Key::new("sites.*.http.token", "where the token is: `json:/pointer/to/it`, `cookie` or `header:NAME`").or("cookie"),
    Key::new("sites.*.http.timeout", "how long the answer may take").or("15s"),
    Key::new("sites.*.probe.url", "the `GET` that proves a token; placeholders count").or("{api}").is(SecretAddress),
    Key::new("sites.*.probe.headers.*", "a header; placeholders count, an empty one is not sent").is(Header),
    Key::new("sites.*.probe.timeout", "how long one answer may take").or("10s"),
];

#[cfg(test)]
#[expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fmt::Write;

    use super::super::fixture::Given;
    use super::super::key::{Fallback, env_prefix};
    use super::super::layers::PRESET;
    use super::*;

    const SITE: &str = "chitai_gorod";

    /// The built-in site's file; with `examples`, what is commented out counts too.
    fn preset_text(examples: bool) -> String {
        let example = |line: &'static str| {
            let line = line.strip_prefix("# ")?;
            line.split_once(" = ").is_some_and(|(name, _)| !name.contains(' ')).then_some(line)
        };
        let lines = PRESET.lines().map(|line| example(line).filter(|_| examples).unwrap_or(line));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// The same as leaves.
    fn preset(examples: bool) -> BTreeMap<String, toml::Value> {
        let mut leaves = BTreeMap::new();
        let table = preset_text(examples).parse().expect("the preset is TOML");
        collect("", &toml::Value::Table(table), &mut leaves);
        leaves
    }

    fn collect(path: &str, value: &toml::Value, leaves: &mut BTreeMap<String, toml::Value>) {
        match value {
            toml::Value::Table(table) => {
                for (name, value) in table {
                    collect(&super::super::layers::join(path, name), value, leaves);
                }
            }
            value => {
                leaves.insert(path.to_owned(), value.clone());
            }
        }
    }

    fn plain(value: &toml::Value) -> String {
        match value {
            toml::Value::String(text) => text.clone(),
            toml::Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
            other => other.to_string(),
        }
    }

    /// What counts for the built-in site where nobody sets the key.
    fn default_of(key: &Key) -> Option<String> {
        match key.fallback {
            Fallback::Text(text) => Some(text.replace("{site}", SITE).replace("{SITE}", &env_prefix(SITE))),
            Fallback::As(path) => Key::of(path).and_then(default_of),
            Fallback::None => None,
        }
    }

    fn reference() -> String {
        let mut text = String::new();
        let preset = preset(false);
        for (title, is_of_a_site) in [("The process", false), ("A site", true)] {
            writeln!(text, "\n### {title}\n\n| TOML | environment | default | |\n| --- | --- | --- | --- |")
                .expect("a string takes all");
            for key in KEYS.iter().filter(|key| key.is_of_a_site() == is_of_a_site) {
                let file = if key.has_file() { ", `…_FILE`" } else { "" };
                let env = key.env.map_or("–".to_owned(), |env| format!("`{env}`{file}"));
                let path = key.path.strip_prefix("sites.*.").unwrap_or(key.path);
                let path = format!("`{path}`{}", if key.has_file() { ", `…_file`" } else { "" });
                let default = match (preset.get(&key.path_of(SITE)), key.fallback) {
                    (Some(value), _) => format!("`{}` (built-in site)", plain(value)),
                    (None, Fallback::Text(default)) => format!("`{default}`"),
                    (None, Fallback::As(other)) => format!("as `{other}`"),
                    (None, Fallback::None) => "–".to_owned(),
                };
                let default = default.replace('|', "\\|");
                writeln!(text, "| {path} | {env} | {default} | {} |", key.meaning).expect("a string takes all");
            }
        }
        text
    }

    #[test]
    fn the_page_for_people_has_every_key() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
        let page = std::fs::read_to_string(file).expect("docs/configuration.md");
        let (_, rest) = page.split_once("<!-- keys -->\n").expect("a mark where the tables begin");
        let (written, _) = rest.split_once("\n<!-- /keys -->").expect("a mark where they end");
        let right = reference();
        assert!(written == right, "docs/configuration.md is stale; between its marks should stand:\n{right}");
    }

    #[test]
    fn the_built_in_site_shows_every_key_of_a_site_with_its_default() {
        let (shown, set) = (preset(true), preset(false));
        for key in KEYS.iter().filter(|key| key.is_of_a_site() && !key.path.ends_with(".*")) {
            let path = key.path_of(SITE);
            let value = shown.get(&path).unwrap_or_else(|| panic!("{path} is not shown"));
            if let (Some(default), false) = (default_of(key), set.contains_key(&path)) {
                assert_eq!(plain(value), default, "{path}");
            }
        }
        for path in shown.keys() {
            assert!(Key::of(path).is_some(), "{path}");
        }
    }

    #[test]
    fn the_examples_of_the_built_in_site_are_right() {
        assert_eq!(Given::nothing().toml(&preset_text(true)).loaded().config.sites.len(), 1);
    }

    #[test]
    fn every_key_is_read() {
        let listed = Given::nothing().listed();
        for key in
            KEYS.iter().filter(|key| !key.path.ends_with(".*") && !key.path.starts_with("sites.*.flaresolverr.proxy"))
        {
            let path = key.path_of(SITE);
            assert!(listed.iter().any(|setting| setting.path == path), "{path} is never read");
        }
        let paths: BTreeSet<&String> = listed.iter().map(|setting| &setting.path).collect();
        assert_eq!(paths.len(), listed.len(), "each is listed once");
    }
}

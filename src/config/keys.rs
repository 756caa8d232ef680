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
    Key::new("log.filter", "what is logged, in the syntax of `RUST_LOG`").env("RUST_LOG").or("info"),
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

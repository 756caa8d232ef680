//! The environment variables and the settings that they set.

use std::collections::{BTreeMap, BTreeSet};

use token_sidecar_client::wire::SiteId;

/// The variable that names the TOML file.
pub(super) const CONFIG: &str = "SIDECAR_CONFIG";

/// The prefix of variables that belong to the sidecar alone.
pub(super) const OWN: &str = "SIDECAR_";

/// Each variable and the path of its setting. `{SITE}` stands for a site's id in upper case; `*` in the path of any other
/// variable means every site.
pub const VARIABLES: &[(&str, &str)] = &[
    ("REDIS_URL", "redis.url"),
    ("REDIS_URL_FILE", "redis.url_file"),
    ("REDIS_PASSWORD", "redis.password"),
    ("REDIS_PASSWORD_FILE", "redis.password_file"),
    ("REDIS_TLS_CA_FILE", "redis.tls_ca_file"),
    ("REDIS_TLS_CERT_FILE", "redis.tls_cert_file"),
    ("REDIS_TLS_KEY_FILE", "redis.tls_key_file"),
    ("SIDECAR_LISTEN", "server.listen"),
    ("SIDECAR_ADMIN_TOKEN", "server.admin_token"),
    ("SIDECAR_ADMIN_TOKEN_FILE", "server.admin_token_file"),
    ("SIDECAR_GATEWAY", "gateway.listen"),
    ("SIDECAR_GATEWAY_KEY", "gateway.key"),
    ("SIDECAR_GATEWAY_KEY_FILE", "gateway.key_file"),
    ("SIDECAR_LOG_FORMAT", "log.format"),
    ("RUST_LOG", "log.filter"),
    ("TZ", "time_zone"),
    ("SIDECAR_SHUTDOWN_GRACE", "shutdown_grace"),
    ("FLARESOLVERR_URL", "flaresolverr.url"),
    ("FLARESOLVERR_URL_FILE", "flaresolverr.url_file"),
    ("FLARESOLVERR_MAX_TIMEOUT", "flaresolverr.max_timeout"),
    ("BROWSER_PATH", "browser.path"),
    ("BROWSER_URL", "browser.url"),
    ("BROWSER_URL_FILE", "browser.url_file"),
    ("BROWSER_MAX_TIMEOUT", "browser.max_timeout"),
    ("BROWSER_CONCURRENCY", "browser.concurrency"),
    ("BROWSER_KEEP", "browser.keep"),
    ("BROWSER_SANDBOX", "browser.sandbox"),
    ("TELEGRAM_NOTIFICATION_BOT_TOKEN", "telegram.bot_token"),
    ("TELEGRAM_NOTIFICATION_BOT_TOKEN_FILE", "telegram.bot_token_file"),
    ("TELEGRAM_NOTIFICATION_CHAT_ID", "telegram.chat_id"),
    ("{SITE}_SITE_URL", "sites.*.page_url"),
    ("{SITE}_API_URL", "sites.*.api_url"),
    ("{SITE}_USER_ID", "sites.*.user_id"),
    ("{SITE}_CITY_ID", "sites.*.city_id"),
    ("{SITE}_BEARER_TOKEN", "sites.*.bootstrap_token"),
    ("{SITE}_BEARER_TOKEN_FILE", "sites.*.bootstrap_token_file"),
    ("{SITE}_PROXY_URL", "sites.*.proxy.url"),
    ("{SITE}_PROXY_URL_FILE", "sites.*.proxy.url_file"),
    ("SIDECAR_SOURCES", "sites.*.sources"),
    ("SIDECAR_SCHEDULE", "sites.*.schedule"),
    ("SIDECAR_DEBOUNCE", "sites.*.debounce"),
    ("SIDECAR_LOCK_TTL", "sites.*.lock_ttl"),
    ("SIDECAR_TOKEN_TTL", "sites.*.token_ttl"),
    ("SIDECAR_BACKOFF_INITIAL", "sites.*.backoff_initial"),
    ("SIDECAR_BACKOFF_MAX", "sites.*.backoff_max"),
    ("SIDECAR_VERIFY", "sites.*.verify"),
    ("SIDECAR_ENV_FILE", "sites.*.env_file"),
];

/// The variables of the configured sites.
pub(super) struct Variables {
    /// The sites by their prefixes.
    sites: BTreeMap<String, SiteId>,
}

impl Variables {
    pub(super) fn of(sites: &BTreeSet<SiteId>) -> Self {
        Self { sites: sites.iter().map(|site| (prefix(site.as_str()), site.clone())).collect() }
    }

    /// The path that a variable sets.
    pub(super) fn path(&self, name: &str) -> Option<String> {
        VARIABLES.iter().find_map(|(known, path)| match known.strip_prefix("{SITE}") {
            None => (*known == name).then(|| (*path).to_owned()),
            Some(suffix) => Some(path.replacen('*', self.sites.get(name.strip_suffix(suffix)?)?.as_str(), 1)),
        })
    }
}

/// The variables that are not those of one site.
pub(super) fn names() -> impl Iterator<Item = String> {
    VARIABLES.iter().map(|(name, _)| *name).chain([CONFIG]).filter(|name| !name.starts_with('{')).map(str::to_owned)
}

/// The prefix of a site's variables and of its `.env` line: `shop-2` has `SHOP_2`.
pub(super) fn prefix(site: &str) -> String {
    let name = site.to_uppercase().replace('-', "_");
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

/// The variable of the setting at `path`.
pub(super) fn of(path: &str) -> Option<String> {
    let site_and_key = path.strip_prefix("sites.").and_then(|rest| rest.split_once('.'));
    let (site, pattern) = match site_and_key {
        Some((site, key)) => (site, format!("sites.*.{key}")),
        None => ("", path.to_owned()),
    };
    let (name, _) = VARIABLES.iter().find(|(_, path)| *path == pattern)?;
    Some(name.replace("{SITE}", &prefix(site)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_its_variable() {
        for (path, variable) in [
            ("redis.url", Some("REDIS_URL")),
            ("sites.shop-2.api_url", Some("SHOP_2_API_URL")),
            ("sites.shop-2.debounce", Some("SIDECAR_DEBOUNCE")),
            ("sites.*.debounce", Some("SIDECAR_DEBOUNCE")),
            ("sites.shop-2.cookie", None),
            ("redis", None),
        ] {
            assert_eq!(of(path).as_deref(), variable, "{path}");
        }
    }

    #[test]
    fn a_sites_variables_begin_with_its_id_in_upper_case() {
        for (site, head) in [("chitai_gorod", "CHITAI_GOROD"), ("shop-2", "SHOP_2"), ("2shop", "_2SHOP")] {
            assert_eq!(prefix(site), head);
        }
    }
}

//! Errors in the settings. No message contains a secret.

use std::fmt;

/// All errors in the settings, one a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for ConfigErrors {}

/// One error. A place is `environment`, `flag` or the name of a file; values are redacted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("{place}: {name} = {value}: {reason}")]
    Wrong { place: String, name: String, value: String, reason: String },
    #[error("{place}: unknown key {key}: {hint}")]
    Unknown { place: String, key: String, hint: String },
    #[error("{key} is not set: {reason}")]
    Missing { key: String, reason: String },
    #[error("{place}: {one} and {other} are both set: keep one of them")]
    Twice { place: String, one: String, other: String },
    /// A file, or a line of it, that cannot be read.
    #[error("{file}: {reason}")]
    File { file: String, reason: String },
    /// Settings that conflict.
    #[error("{0}")]
    Conflict(String),
}

/// Suggests a known name for one that may be misspelled.
pub(super) fn nearest(name: &str, known: impl Iterator<Item = String>) -> Option<String> {
    let farthest = 1 + name.len() / 4;
    let distances = known.map(|other| (strsim::damerau_levenshtein(name, &other), other));
    let (_, nearest) = distances.min().filter(|(distance, _)| *distance <= farthest)?;
    Some(format!("did you mean {nearest}?"))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Given;

    #[test]
    fn a_wrong_value_is_named_with_its_place_and_what_would_be_right() {
        for (variable, value, error) in [
            ("SIDECAR_VERIFY", "maybe", r#"environment: SIDECAR_VERIFY = "maybe": expected strict, tolerant or off"#),
            (
                "SIDECAR_DEBOUNCE",
                "soon",
                r#"environment: SIDECAR_DEBOUNCE = "soon": expected a time such as 10s, 5m or 24h"#,
            ),
            ("SIDECAR_LOCK_TTL", "0s", r#"environment: SIDECAR_LOCK_TTL = "0s": expected a time from 1s to 1h"#),
            ("SIDECAR_LOCK_TTL", "10ms", r#"environment: SIDECAR_LOCK_TTL = "10ms": expected a time from 1s to 1h"#),
            (
                "FLARESOLVERR_MAX_TIMEOUT",
                "60000",
                r#"environment: FLARESOLVERR_MAX_TIMEOUT = "60000": expected a time from 1s to 10m (a number without a unit counts seconds: this is 16h40m)"#,
            ),
            (
                "SIDECAR_SOURCES",
                "http,curl",
                r#"environment: SIDECAR_SOURCES = "curl": expected flaresolverr, http or browser"#,
            ),
            ("SIDECAR_SOURCES", "http,http", "sites.chitai_gorod.sources (SIDECAR_SOURCES) names http twice"),
            (
                "SIDECAR_LISTEN",
                "9188",
                r#"environment: SIDECAR_LISTEN = "9188": expected an address with a port such as 127.0.0.1:9188 or [::]:9188, or off"#,
            ),
            ("SIDECAR_LOG_FORMAT", "xml", r#"environment: SIDECAR_LOG_FORMAT = "xml": expected text or json"#),
            (
                "SIDECAR_SCHEDULE",
                "every 0s",
                r#"environment: SIDECAR_SCHEDULE = "every 0s": after `every` a time of at least 1s is expected, such as `every 3h`: 0s is shorter"#,
            ),
            (
                "SIDECAR_BACKOFF_INITIAL",
                "1h",
                "sites.chitai_gorod: backoff_initial (SIDECAR_BACKOFF_INITIAL) is longer than backoff_max (SIDECAR_BACKOFF_MAX)",
            ),
            (
                "CHITAI_GOROD_SITE_URL",
                "www.shop.test",
                r#"environment: CHITAI_GOROD_SITE_URL = "www.shop.test": expected an address such as https://shop.test/"#,
            ),
            (
                "RUST_LOG",
                "info=loud=very",
                r#"environment: RUST_LOG = "info=loud=very": expected a filter such as info or warn,token_sidecar=debug"#,
            ),
            (
                "REDIS_TLS_CA_FILE",
                "/nowhere/ca.pem",
                r#"environment: REDIS_TLS_CA_FILE = "/nowhere/ca.pem": there is no such file"#,
            ),
            (
                "REDIS_PASSWORD_FILE",
                "/nowhere/password",
                r#"environment: REDIS_PASSWORD_FILE = "/nowhere/password": the file cannot be read: No such file or directory (os error 2)"#,
            ),
            (
                "REDIS_URL",
                "hunter2",
                "environment: REDIS_URL = (hidden): expected redis://host:6379/0, rediss://host:6379/0 or unix:///path; \
                 what is special in user and password must be percent-encoded",
            ),
            (
                "FLARESOLVERR_URL",
                "ftp://user:hunter2@solver",
                "environment: FLARESOLVERR_URL = (hidden): expected an address such as http://flaresolverr:8191/v1",
            ),
            (
                "CHITAI_GOROD_BEARER_TOKEN",
                "hunter 2",
                "environment: CHITAI_GOROD_BEARER_TOKEN = (hidden): the value has a character that a bearer token cannot have",
            ),
        ] {
            assert_eq!(Given::nothing().variable(variable, value).refused(), error);
        }
    }

    #[test]
    fn a_wrong_schedule_is_an_error_with_what_would_be_right() {
        let error = Given::nothing().variable("SIDECAR_SCHEDULE", "61 * * * *").refused();
        let head = r#"environment: SIDECAR_SCHEDULE = "61 * * * *": expected a crontab expression such as `0 */3 * * *`, `every 3h` or `off`: "#;
        assert!(error.starts_with(head) && error.lines().count() == 1, "{error}");
    }

    #[test]
    fn a_wrong_file_is_an_error_with_key_and_value() {
        for (toml, error) in [
            (
                "[sites.chitai_gorod]\ndebounce = \"10 parsecs\"",
                r#"sidecar.toml: sites.chitai_gorod.debounce = "10 parsecs": expected a time such as 10s, 5m or 24h"#,
            ),
            (
                "[sites.chitai_gorod]\ndebounce = true",
                "sidecar.toml: sites.chitai_gorod.debounce = true: expected a time such as 10s, 5m or 24h",
            ),
            (
                "[sites.chitai_gorod]\nlock_ttl = 0",
                "sidecar.toml: sites.chitai_gorod.lock_ttl = 0: expected a time from 1s to 1h (a number without a unit counts seconds: this is 0s)",
            ),
            (
                "[sites.chitai_gorod]\ndebonce = \"10s\"",
                "sidecar.toml: unknown key sites.chitai_gorod.debonce: did you mean debounce?",
            ),
            ("[redis]\npasword = \"hunter2\"", "sidecar.toml: unknown key redis.pasword: did you mean password?"),
            ("[site.x]\npage_url = \"x\"", "sidecar.toml: unknown key site: did you mean sites?"),
            (
                "\"redis.url\" = \"x\"",
                "sidecar.toml: unknown key redis.url: known here are browser, flaresolverr, gateway, log, notices, redis, server, shutdown_grace, sites, telegram, time_zone",
            ),
            ("[log]\ncolour = true", "sidecar.toml: unknown key log.colour: known here are filter, format"),
            ("redis = \"hunter2\"", "sidecar.toml: redis = (hidden): expected a table"),
            (
                "[sites.Shop]\ncookie = \"x\"",
                "sidecar.toml: unknown key sites.Shop: a site's id is 1 to 64 lower-case letters, digits, _ and -",
            ),
            (
                "[sites.chitai_gorod]\nenabled = \"no\"",
                r#"sidecar.toml: sites.chitai_gorod.enabled = "no": expected true or false"#,
            ),
            ("[sites.chitai_gorod]\nenabled = false", "no site is enabled"),
            (
                "[sites.chitai_gorod]\ncookie = [\"a\"]",
                "sidecar.toml: sites.chitai_gorod.cookie = [\"a\"]: expected a name without blanks and separators",
            ),
            (
                "[sites.chitai_gorod]\nsources = []",
                "sites.chitai_gorod.sources (SIDECAR_SOURCES) is not set: expected one or more of flaresolverr, http and browser",
            ),
            (
                "[sites.chitai_gorod]\ncookie = \"\"",
                "sites.chitai_gorod.cookie is not set: expected a name without blanks and separators",
            ),
            ("[redis]\npassword = [\"hunter2\"]", "sidecar.toml: redis.password = (hidden): expected a text in quotes"),
            ("[redis]\npassword_file = 5", "sidecar.toml: redis.password_file = (hidden): expected a file's name"),
            (
                "[redis]\npassword = \"hunter2\"\npassword_file = \"x\"",
                "sidecar.toml: redis.password and redis.password_file are both set: keep one of them",
            ),
            (
                "[redis.sentinel]\nnodes = [\"redis://s1\"]",
                "redis.sentinel.master is not set: the name under which they watch the master",
            ),
            (
                "[redis.sentinel]\nmaster = \"m\"",
                "redis.sentinel.nodes is not set: expected a list such as [\"redis://sentinel:26379\"]",
            ),
            (
                "[sites.chitai_gorod.http]\ntoken = \"/token\"",
                r#"sidecar.toml: sites.chitai_gorod.http.token = "/token": expected json:/pointer/to/it, cookie or header:NAME"#,
            ),
            (
                "[sites.chitai_gorod.probe]\nurl = \"{apj}/x\"",
                "sidecar.toml: sites.chitai_gorod.probe.url = \"{apj}/x\": unknown placeholder {apj}: known are {api}, {api_parent}, {city_id}, {user_id}, {site}",
            ),
            (
                "[sites.chitai_gorod.probe.headers]\n\"x y\" = \"z\"",
                r#"sidecar.toml: sites.chitai_gorod.probe.headers.x y = "z": expected a name without blanks and separators to the left of ="#,
            ),
            (
                "[sites.chitai_gorod.probe.headers]\nAuthorization = \"hunter2\"",
                "sites.chitai_gorod.probe.headers: authorization carries the token that is proved",
            ),
            (
                "[flaresolverr.proxy]\nusername = \"user\"",
                "flaresolverr.proxy.url is not set: user and password are of no use without it",
            ),
            (
                "[flaresolverr.proxy]\nurl = \"http://user:hunter2@proxy:3128\"",
                r#"sidecar.toml: flaresolverr.proxy.url = "http://user:***@proxy:3128": a browser ignores the credentials in it: set `username` and `password` beside it"#,
            ),
            (
                "[flaresolverr]\nconcurrency = 0",
                "sidecar.toml: flaresolverr.concurrency = 0: expected a number from 1 to 64",
            ),
        ] {
            assert_eq!(Given::nothing().toml(toml).refused(), error);
        }
    }

    #[test]
    fn a_file_that_is_no_toml_is_an_error_with_its_line_and_without_its_text() {
        for toml in [
            "[redis]\npassword = hunter2",
            "[redis]\npassword = \"hunter2",
            "[redis]\nhunter2",
            "[redis]\npassword = 'a' hunter2",
            "[redis]\npassword = 12hunter2",
            "[redis]\npassword = \"\\qhunter2\"",
            "[redis]\npassword = 'x'\u{1}hunter2",
            "[redis]\npassword hunter2 = 1",
            "[redis]\npassword.hunter2",
            "[redis]\npassword = 2024-99-99hunter2",
            "[redis]\npassword = +hunter2",
            "[redis]\npassword = 0xhunter2",
            "[redis]\npassword = truehunter2",
            "[redis]\npassword = @hunter2",
        ] {
            let error = Given::nothing().toml(toml).refused();
            assert!(error.starts_with("sidecar.toml, line 2: ") && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_dotenv_that_hides_our_variables_is_an_error_with_its_line_and_without_its_text() {
        for (dotenv, error) in [
            (
                "A=b\nSIDECAR_SCHEDULE=0 */3 * * *",
                ".env, line 2: not of the form NAME=value; a value with blanks needs quotes",
            ),
            ("REDIS_PASSWORD=hunter 2", ".env, line 1: not of the form NAME=value; a value with blanks needs quotes"),
            ("A='b\nc'\nB=don't\nREDIS_PASSWORD=hunter2", ".env, line 3: a quote is opened and never closed"),
            ("SIDECAR_VERIFY=maybe", r#".env: SIDECAR_VERIFY = "maybe": expected strict, tolerant or off"#),
        ] {
            assert_eq!(Given::nothing().dotenv(dotenv).refused(), error);
        }
    }

    #[test]
    fn a_secret_in_two_ways_or_from_an_empty_file_is_refused() {
        let given = Given::nothing().variable("REDIS_PASSWORD", "hunter2").file_variable("REDIS_PASSWORD_FILE", "x");
        assert_eq!(
            given.refused(),
            "environment: REDIS_PASSWORD and REDIS_PASSWORD_FILE are both set: keep one of them"
        );
        let given = Given::nothing().file_variable("REDIS_PASSWORD_FILE", "\n");
        assert_eq!(given.refused(), "environment: REDIS_PASSWORD_FILE = \"REDIS_PASSWORD_FILE\": the file is empty");
        let given = Given::nothing().file_variable("CHITAI_GOROD_BEARER_TOKEN_FILE", "hunter 2\n");
        assert!(
            given
                .refused()
                .starts_with("environment: CHITAI_GOROD_BEARER_TOKEN_FILE = \"CHITAI_GOROD_BEARER_TOKEN_FILE\": ")
        );
        assert!(!given.refused().contains("hunter"));
    }

    #[test]
    fn all_errors_are_reported_at_once() {
        let error = Given::nothing()
            .toml("shutdown_grace = \"long\"\n[sites.chitai_gorod]\nveryfy = \"off\"\n[sites.two]\nlock_ttl = \"0s\"")
            .variable("SIDECAR_LISTEN", "here")
            .flag("--debounce", "sites.*.debounce", "soon")
            .refused();
        for part in [
            "sidecar.toml: unknown key sites.chitai_gorod.veryfy: did you mean verify?",
            "sidecar.toml: shutdown_grace = \"long\"",
            "environment: SIDECAR_LISTEN = \"here\"",
            "flag: --debounce = \"soon\"",
            "sidecar.toml: sites.two.lock_ttl = \"0s\"",
            "sites.two.cookie is not set",
        ] {
            assert!(error.contains(part), "{part} in:\n{error}");
        }
        assert_eq!(error.matches("--debounce").count(), 1, "{error}");
    }

    #[test]
    fn a_flag_for_an_unknown_site_or_key_is_refused_with_the_nearest() {
        let refused = |path| Given::nothing().flag("--set", path, "1s").refused();
        for (path, hint) in [
            ("sites.shop.debounce", "the sites are chitai_gorod, wildberries"),
            ("sites.chitai_gorad.debounce", "did you mean chitai_gorod?"),
            ("sites.chitai_gorod.debounse", "did you mean debounce?"),
            ("sites.*.debounse", "did you mean debounce?"),
            ("chitai_gorod.debounce", "did you mean sites.chitai_gorod.debounce?"),
        ] {
            assert_eq!(refused(path), format!("flag --set: unknown key {path}: {hint}"));
        }
    }
}

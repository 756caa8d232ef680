//! The gateway: requests of any HTTP client that are sent on with the current token.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderMap, HeaderName, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use secrecy::SecretString;
use serde::Deserialize;

use super::reader::Section;
use super::redaction::Secret;
use super::source::{Headers, LONGEST};
use super::template::Placeholders;
use super::value::{self, AdminToken, GatewayListen, MaxWaiting, Parsed, SECOND, SizeText, SocketMode, Span};

/// The largest body that may be kept for a second sending.
const LARGEST_KEPT: usize = 16 << 20;

#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// `None` turns the gateway off.
    pub listen: Option<GatewayAddress>,
    /// What a client must send; without it the address decides who may use the gateway.
    pub key: Option<SecretString>,
    /// How long a request waits for a token.
    pub wait: Duration,
    /// The largest body that is sent again after a 401, in bytes.
    pub replay_limit: usize,
    /// Whether `POST` and `PATCH` are sent again after a 401.
    pub replay_unsafe: bool,
    /// How many requests may wait for a token at once.
    pub max_waiting: usize,
    pub user_agent: UserAgent,
    /// Whether the client's own cookies are sent beside those of the token.
    pub merge_cookies: bool,
    /// Whether the API's `Set-Cookie` reaches the client.
    pub pass_set_cookie: bool,
    /// The permissions of a Unix socket.
    pub socket_mode: u32,
}

impl GatewayConfig {
    /// The header in which a client may send the key.
    pub const KEY: HeaderName = HeaderName::from_static("x-gateway-key");
    /// Headers that concern one connection alone (RFC 9110, section 7.6.1).
    pub const OF_A_CONNECTION: [HeaderName; 9] = [
        CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
    ];
    /// The other headers of a request that the gateway or its HTTP client decides: neither a client nor a setting does.
    pub const OF_THE_GATEWAY: [HeaderName; 5] = [AUTHORIZATION, CONTENT_LENGTH, EXPECT, HOST, Self::KEY];
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GatewayAddress {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for GatewayAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Whose user agent the API receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserAgent {
    /// That of the browser that fetched the token, where it is known.
    Bundle,
    Client,
}

/// `[gateway]`
#[derive(Deserialize)]
pub(super) struct GatewaySection {
    listen: GatewayListen,
    key: Secret<Option<AdminToken>>,
    wait: Span<SECOND, LONGEST>,
    replay_limit: SizeText,
    replay_unsafe: bool,
    max_waiting: MaxWaiting,
    user_agent: UserAgent,
    merge_cookies: bool,
    pass_set_cookie: bool,
    socket_mode: SocketMode,
    /// Filled in for each site.
    pub(super) headers: Headers,
}

impl GatewaySection {
    pub(super) fn build(self, process: &mut Section) -> GatewayConfig {
        let (listen, key) = (self.listen.0, self.key.0.map(|key| key.0));
        if let Some(GatewayAddress::Tcp(address)) = &listen
            && key.is_none()
            && !address.ip().is_loopback()
        {
            let reason = "who reaches this address uses the token: set gateway.key (SIDECAR_GATEWAY_KEY), or listen on \
                          127.0.0.1, [::1] or unix:/path";
            process.conflict(
                &["gateway.listen", "gateway.key"],
                format!("gateway.listen (SIDECAR_GATEWAY) = \"{address}\": {reason}"),
            );
        }
        GatewayConfig {
            listen,
            key,
            wait: self.wait.0,
            replay_limit: self.replay_limit.0,
            replay_unsafe: self.replay_unsafe,
            max_waiting: self.max_waiting.0,
            user_agent: self.user_agent,
            merge_cookies: self.merge_cookies,
            pass_set_cookie: self.pass_set_cookie,
            socket_mode: self.socket_mode.0,
        }
    }
}

/// The headers that requests for a site get; those that come out empty are left out. An error is noted.
pub(super) fn site_headers(templates: &Headers, site: &mut Section, placeholders: &Placeholders) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, template) in templates {
        let Some(template) = template else { continue };
        match header(name, template, placeholders) {
            Ok((_, value)) if value.is_empty() => {}
            Ok((name, value)) => _ = headers.insert(name, value),
            Err(reason) => site.conflict(&["api_url"], format!("gateway.headers.{name}: {reason}")),
        }
    }
    headers
}

fn header(
    name: &str,
    template: &str,
    placeholders: &Placeholders,
) -> Parsed<(HeaderName, reqwest::header::HeaderValue)> {
    let name = value::header_name(name).map_err(|reason| format!("{reason} to the left of ="))?;
    if name == USER_AGENT {
        return Err("gateway.user_agent decides which one is sent".to_owned());
    }
    let mut reserved = GatewayConfig::OF_A_CONNECTION.into_iter().chain(GatewayConfig::OF_THE_GATEWAY);
    if name == COOKIE || reserved.any(|reserved| reserved == name) {
        return Err("the gateway sets it itself".to_owned());
    }
    Ok((name, value::header(&placeholders.header(template)?)?))
}

pub(super) fn listen(text: &str) -> Parsed<Option<GatewayAddress>> {
    let text = text.trim();
    if text == "off" {
        return Ok(None);
    }
    let address = match text.strip_prefix("unix:") {
        Some(path) => Some(PathBuf::from(path)).filter(|path| path.is_absolute()).map(GatewayAddress::Unix),
        None => text.parse().ok().map(GatewayAddress::Tcp),
    };
    let address = address.map(Some);
    address.ok_or_else(|| "expected an address with a port such as 127.0.0.1:9189, unix:/path, or off".to_owned())
}

pub(super) fn size(text: &str) -> Parsed<usize> {
    let text = text.trim();
    let (number, unit) = [("KiB", 1 << 10), ("MiB", 1 << 20)]
        .into_iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)))
        .unwrap_or((text, 1));
    let bytes = number.trim().parse::<usize>().ok().and_then(|number| number.checked_mul(unit));
    let bytes = bytes.filter(|bytes| *bytes <= LARGEST_KEPT);
    bytes.ok_or_else(|| "expected a size of at most 16MiB such as 64KiB, or a number of bytes".to_owned())
}

pub(super) fn max_waiting(text: &str) -> Parsed<usize> {
    let number = text.trim().parse().ok().filter(|number| (1..=100_000).contains(number));
    number.ok_or_else(|| "expected a number from 1 to 100000".to_owned())
}

pub(super) fn socket_mode(text: &str) -> Parsed<u32> {
    let digits = text.trim().strip_prefix('0').filter(|digits| digits.len() == 3);
    let mode = digits.and_then(|digits| u32::from_str_radix(digits, 8).ok());
    mode.ok_or_else(|| "expected permissions as chmod takes them, such as \"0660\"".to_owned())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::super::fixture::Given;
    use super::*;

    #[test]
    fn the_gateway_is_off_and_has_its_defaults() {
        let gateway = Given::nothing().loaded().config.gateway;
        assert_eq!((gateway.listen, gateway.key.is_none()), (None, true));
        assert_eq!((gateway.wait, gateway.replay_limit), (Duration::from_secs(60), 64 << 10));
        assert_eq!((gateway.max_waiting, gateway.socket_mode), (1024, 0o660));
        assert_eq!((gateway.user_agent, gateway.replay_unsafe), (UserAgent::Bundle, true));
        assert!(!gateway.merge_cookies && !gateway.pass_set_cookie);
    }

    #[test]
    fn an_address_that_others_reach_needs_a_key() {
        for open in ["0.0.0.0:9189", "192.0.2.1:9189", "[::]:9189"] {
            let given = Given::nothing().variable("SIDECAR_GATEWAY", open);
            let begin =
                format!("gateway.listen (SIDECAR_GATEWAY) = \"{open}\": who reaches this address uses the token");
            assert!(given.refused().starts_with(&begin), "{}", given.refused());
            assert!(given.variable("SIDECAR_GATEWAY_KEY", "hunter2").loaded().config.gateway.key.is_some());
        }
        for closed in ["127.0.0.1:9189", "127.9.9.9:1", "[::1]:9189", "unix:/run/gateway.sock"] {
            let gateway = Given::nothing().variable("SIDECAR_GATEWAY", closed).loaded().config.gateway;
            assert!(gateway.listen.is_some(), "{closed}");
        }
    }

    #[test]
    fn values_are_read_as_they_are_written() {
        for (text, bytes) in [("0", 0), ("1000", 1000), ("64KiB", 65_536), ("16 MiB", 16 << 20)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "64kb", "17MiB", "-1", "99999999999999999999KiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        assert_eq!(socket_mode("0600"), Ok(0o600));
        // 432 is what TOML makes of 0o660.
        for wrong in ["", "660", "432", "0999", "01777", "rw-rw----"] {
            assert!(socket_mode(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "on", "localhost:9189", "unix:relative", "unix:", "127.0.0.1"] {
            assert!(listen(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn headers_are_filled_in_for_each_site() {
        let headers = "[gateway.headers]\nplatform = \"desktop\"\nx-city = \"{city_id}\"\nuser-id = \"{user_id}\"";
        let sites = Given::nothing().toml(headers).loaded().config.sites;
        let headers = &sites.first().unwrap().gateway_headers;
        assert_eq!(
            (headers.len(), &headers["platform"], &headers["x-city"]),
            (2, &"desktop".parse().unwrap(), &"39".parse().unwrap())
        );
        for (header, reason) in [
            ("x = \"{nothing}\"", "gateway.headers.x: unknown placeholder {nothing}"),
            ("Authorization = \"x\"", "gateway.headers.authorization: the gateway sets it itself"),
            ("host = \"x\"", "gateway.headers.host: the gateway sets it itself"),
            ("cookie = \"x\"", "gateway.headers.cookie: the gateway sets it itself"),
            ("proxy-authorization = \"x\"", "gateway.headers.proxy-authorization: the gateway sets it itself"),
            ("expect = \"x\"", "gateway.headers.expect: the gateway sets it itself"),
            ("keep-alive = \"x\"", "gateway.headers.keep-alive: the gateway sets it itself"),
            ("x-gateway-key = \"x\"", "gateway.headers.x-gateway-key: the gateway sets it itself"),
            ("User-Agent = \"x\"", "gateway.headers.user-agent: gateway.user_agent decides which one is sent"),
        ] {
            let refused = Given::nothing().toml(&format!("[gateway.headers]\n{header}")).refused();
            assert!(refused.starts_with(reason), "{refused}");
        }
    }
}

//! Who may use the gateway: who has the key, or who reaches an address that only this machine reaches.

use std::net::IpAddr;

use axum::http::header::{HOST, HeaderMap, HeaderName, ORIGIN, PROXY_AUTHORIZATION};
use axum::http::uri::Authority;
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;
use token_sidecar_client::renewed::Renewed;

use super::problem::Problem;
use crate::config::{GatewayAddress, GatewayConfig};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What a request is checked for.
pub enum Access {
    Key(Renewed<SecretString>),
    /// A web page that is open on this machine reaches a loopback address too.
    Loopback,
    /// The permissions of the socket say who may connect; no web page can.
    Socket,
}

impl Access {
    pub fn of(address: &GatewayAddress, key: Option<Renewed<SecretString>>) -> Self {
        match (key, address) {
            (Some(key), _) => Self::Key(key),
            (None, GatewayAddress::Unix(_)) => Self::Socket,
            (None, GatewayAddress::Tcp(_)) => Self::Loopback,
        }
    }

    /// Reads the key again from its file. It counts for all connections from then on.
    pub(super) async fn read_again(&self) {
        if let Self::Key(key) = self {
            key.read_again().await;
        }
    }

    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        match self {
            Self::Key(key) if has_key(headers, &key.last()) => Ok(()),
            Self::Key(_) => Err(Problem::without_key()),
            Self::Loopback => refuse_web_pages(headers),
            Self::Socket => Ok(()),
        }
    }
}

fn has_key(headers: &HeaderMap, key: &SecretString) -> bool {
    let bearer = headers.get(PROXY_AUTHORIZATION).and_then(|value| {
        let (scheme, token) = value.as_bytes().split_at_checked("Bearer ".len())?;
        scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
    });
    let given = bearer.into_iter().chain(headers.get(GatewayConfig::KEY).map(|value| value.as_bytes()));
    let key = key.expose_secret().as_bytes();
    given.fold(false, |is_right, given| is_right | bool::from(given.ct_eq(key)))
}

/// A name that an attacker has pointed at this machine is not a loopback name, whatever it resolves to (DNS rebinding).
fn refuse_web_pages(headers: &HeaderMap) -> Result<(), Problem> {
    let mut hosts = headers.get_all(HOST).iter();
    // HTTP/1.0 has no `Host`; every browser sends one.
    let is_loopback = hosts.next().is_none_or(|host| host.to_str().is_ok_and(is_loopback));
    if !is_loopback || hosts.next().is_some() {
        return Err(Problem::forbidden(
            "without gateway.key the Host of a request must be localhost or a loopback address",
        ));
    }
    // `none`: the address was typed in.
    let is_of_a_page = headers.get(SEC_FETCH_SITE).is_some_and(|site| site != "none");
    if headers.contains_key(ORIGIN) || is_of_a_page {
        return Err(Problem::forbidden("a web page may not use the token"));
    }
    Ok(())
}

fn is_loopback(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    // A `Host` names no user.
    if host.contains('@') {
        return false;
    }
    let name = authority.host();
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    match bare.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => name.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use axum::http::StatusCode;

    use super::*;

    fn refused(access: &Access, headers: &[(&str, &str)]) -> Option<StatusCode> {
        let headers = headers.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()));
        access.check(&headers.collect()).err().map(|problem| problem.status())
    }

    #[test]
    fn without_a_key_only_a_loopback_host_is_served() {
        for host in ["localhost", "LOCALHOST:9189", "127.0.0.1:9189", "127.1.2.3", "[::1]:9189"] {
            assert_eq!(refused(&Access::Loopback, &[("host", host)]), None, "{host}");
        }
        assert_eq!(refused(&Access::Loopback, &[]), None, "HTTP/1.0");
        for host in [
            "evil.test",
            "evil.test:9189",
            "localhost.evil.test",
            "evil@localhost",
            "localhost@evil.test",
            "192.0.2.1",
            "127.0.0.1.evil.test",
            "",
            "a b",
        ] {
            assert_eq!(refused(&Access::Loopback, &[("host", host)]), Some(StatusCode::FORBIDDEN), "{host}");
            assert_eq!(refused(&Access::Socket, &[("host", host)]), None, "{host}");
        }
    }

    #[test]
    fn without_a_key_no_web_page_is_served() {
        let host = ("host", "localhost");
        for header in [
            ("origin", "http://localhost"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-origin"),
        ] {
            assert_eq!(refused(&Access::Loopback, &[host, header]), Some(StatusCode::FORBIDDEN), "{header:?}");
        }
        assert_eq!(refused(&Access::Loopback, &[host, ("sec-fetch-site", "none")]), None);
    }

    #[test]
    fn a_key_is_taken_in_either_header_and_then_no_host_is_checked() {
        let access = Access::Key(Renewed::fixed("hunter2".into()));
        for header in [
            ("proxy-authorization", "Bearer hunter2"),
            ("proxy-authorization", "bearer hunter2"),
            ("x-gateway-key", "hunter2"),
        ] {
            assert_eq!(refused(&access, &[("host", "sidecar:9189"), header]), None, "{header:?}");
            for other in [("proxy-authorization", "Bearer of another proxy"), ("x-gateway-key", "hunter")] {
                let both = [other, header];
                assert!(other.0 == header.0 || refused(&access, &both).is_none(), "{both:?}");
            }
        }
        for header in [
            ("authorization", "Bearer hunter2"),
            ("proxy-authorization", "Basic hunter2"),
            ("proxy-authorization", "hunter2"),
            ("proxy-authorization", ""),
            ("x-gateway-key", "hunter"),
            ("x-gateway-key", ""),
        ] {
            assert_eq!(refused(&access, &[header]), Some(StatusCode::PROXY_AUTHENTICATION_REQUIRED), "{header:?}");
        }
    }
}

//! What a `REDIS_URL` means: the same to the sidecar and to every client (contract/README.md).

use std::collections::BTreeMap;
use std::str::FromStr;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisConnectionInfo, parse_redis_url};

/// The address of a server, with user, password and database.
#[derive(Debug, Clone)]
pub struct RedisUrl(pub(super) ConnectionInfo);

/// The part of a URL that is refused, and what to write instead. Contains nothing that may be part of a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error(
        "expected redis://host:6379/0, rediss://host:6379/0 or unix:///path; what is special in user and password must \
         be percent-encoded"
    )]
    Form,
    #[error("expected a number for the database: /1 after the host, or ?db=1 after the path of a socket")]
    Database,
    #[error("unix:// is followed by a path, as in unix:///path; user and password stand after it: ?user=…&pass=…")]
    Socket,
    #[error("what follows a # is not obeyed: write %23 where it is part of a password")]
    Fragment,
    #[error("{0} is not obeyed: {1}")]
    Parameter(String, &'static str),
}

impl FromStr for RedisUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let text = text.trim();
        if text.strip_prefix("unix://").is_some_and(|path| !path.starts_with('/')) {
            return Err(UrlError::Socket);
        }
        let url = parse_redis_url(text).ok_or(UrlError::Form)?;
        if url.fragment().is_some() {
            return Err(UrlError::Fragment);
        }
        let is_socket = match url.scheme() {
            "redis" | "rediss" => false,
            "unix" => true,
            _ => return Err(UrlError::Form),
        };
        let mut settings = BTreeMap::new();
        for (name, value) in url.query_pairs() {
            let refused = |instead| Err(UrlError::Parameter(shown(&name), instead));
            let setting = match &*name {
                "db" if !is_socket => return refused("write /1 after the host"),
                "db" => "db",
                "user" | "username" | "pass" | "password" if !is_socket => {
                    return refused("write user:password@ before the host");
                }
                "user" | "username" => "user",
                "pass" | "password" => "password",
                name if name.starts_with("ssl") => {
                    return refused("set REDIS_TLS_CA_FILE, REDIS_TLS_CERT_FILE and REDIS_TLS_KEY_FILE");
                }
                _ => return refused("leave it out"),
            };
            if settings.insert(setting, value).is_some() {
                return refused("write it once");
            }
        }
        let path = url.path().trim_matches('/');
        if !is_socket {
            if !path.is_empty() {
                number(path)?;
            }
            return text.into_connection_info().map(Self).map_err(|_| UrlError::Form);
        }
        let info = settings.iter().try_fold(RedisConnectionInfo::default(), |info, (name, value)| {
            Ok(match *name {
                "db" => info.set_db(number(value)?),
                "user" => info.set_username(value),
                _ => info.set_password(value),
            })
        })?;
        let socket = format!("unix://{}", url.path()).into_connection_info().map_err(|_| UrlError::Socket)?;
        Ok(Self(socket.set_redis_settings(info)))
    }
}

impl RedisUrl {
    #[must_use]
    pub fn has_password(&self) -> bool {
        self.0.redis_settings().password().is_some()
    }

    #[must_use]
    pub fn database(&self) -> i64 {
        self.0.redis_settings().db()
    }

    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self.0.addr(), ConnectionAddr::TcpTls { .. })
    }
}

fn number(text: &str) -> Result<i64, UrlError> {
    let digits = Some(text).filter(|text| (1..=9).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).ok_or(UrlError::Database)
}

/// What looks like a parameter may be part of a password.
fn shown(name: &str) -> String {
    let is_name = name.len() <= 32 && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    if is_name { format!("?{name}=") } else { "a parameter".to_owned() }
}

#[cfg(test)]
#[expect(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_url_means_what_it_means_to_every_client() {
        let cases: Vec<Value> = serde_json::from_str(include_str!("../../../redis_urls.json")).unwrap();
        for case in cases {
            let text = case["url"].as_str().unwrap();
            match (text.parse::<RedisUrl>(), &case["refused"]) {
                (Ok(url), Value::Null) => assert_eq!(reaches(&url), case["reaches"], "{text}"),
                (Err(error), Value::String(part)) => {
                    let message = error.to_string();
                    assert!(message.contains(part) && !message.contains("secret"), "{text}: {message}");
                }
                (parsed, _) => panic!("{text}: {parsed:?}"),
            }
        }
    }

    fn reaches(url: &RedisUrl) -> Value {
        let mut reached = match url.0.addr() {
            ConnectionAddr::Unix(path) => json!({"path": path}),
            ConnectionAddr::TcpTls { host, port, .. } => json!({"host": host, "port": port, "tls": true}),
            ConnectionAddr::Tcp(host, port) => json!({"host": host, "port": port}),
            _ => Value::Null,
        };
        reached["database"] = url.database().into();
        for (name, value) in
            [("user", url.0.redis_settings().username()), ("password", url.0.redis_settings().password())]
        {
            if let Some(value) = value {
                reached[name] = value.into();
            }
        }
        reached
    }
}

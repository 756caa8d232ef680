//! Cookies, in headers and as FlareSolverr reports them, and a browser's cookie jar.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::clock;

#[derive(Clone, Debug)]
pub(crate) struct Cookie {
    pub(crate) name: String,
    pub(crate) value: String,
    /// None: only the page's host.
    pub(crate) domain: Option<String>,
    pub(crate) path: &'static str,
    pub(crate) http_only: bool,
    /// Seconds since the epoch; none: until the browser ends.
    pub(crate) expires_at: Option<i64>,
}

impl Cookie {
    /// A cookie of the page's host, for all paths, until the browser ends.
    pub(crate) fn new(name: &str, value: impl Into<String>) -> Self {
        Self { name: name.to_owned(), value: value.into(), domain: None, path: "/", http_only: false, expires_at: None }
    }

    /// The value of `Set-Cookie` or of an assignment to `document.cookie`.
    pub(crate) fn header(&self) -> String {
        let mut header = format!("{}={}; Path={}", self.name, self.value, self.path);
        if let Some(domain) = &self.domain {
            header += &format!("; Domain={domain}");
        }
        if let Some(expires_at) = self.expires_at.and_then(|at| Timestamp::from_second(at).ok()) {
            header += &expires_at.strftime("; Expires=%a, %d %b %Y %H:%M:%S GMT").to_string();
        }
        if self.http_only {
            header += "; HttpOnly";
        }
        header
    }

    /// As FlareSolverr 3.5 reports it for a page of `host`.
    fn report(&self, host: &str) -> Value {
        let mut report = json!({
            "domain": self.domain.as_deref().unwrap_or(host),
            "httpOnly": self.http_only,
            "name": self.name,
            "path": self.path,
            "sameSite": "Lax",
            "secure": false,
            "value": self.value,
        });
        if let Some(expires_at) = self.expires_at {
            report["expiry"] = expires_at.into();
        }
        report
    }
}

/// The cookies of one browser.
#[derive(Clone, Default)]
pub(crate) struct Jar(Vec<StoredCookie>);

#[derive(Clone)]
struct StoredCookie {
    host: String,
    cookie: Cookie,
    /// When a script sets it.
    set_at: Instant,
}

impl StoredCookie {
    fn key(&self) -> (&str, &str, Option<&str>, &str) {
        (&self.host, &self.cookie.name, self.cookie.domain.as_deref(), self.cookie.path)
    }
}

impl Jar {
    /// Adds a cookie that a page of `host` sets at `set_at`.
    pub(crate) fn add(&mut self, host: &str, cookie: Cookie, set_at: Instant) {
        self.0.push(StoredCookie { host: host.to_owned(), cookie, set_at });
    }

    /// The browser leaves its page: cookies that a script has not set yet are never set.
    pub(crate) fn navigate(&mut self) {
        self.0 = self.at(clock::instant()).cloned().collect();
    }

    pub(crate) fn has(&self, host: &str, name: &str) -> bool {
        self.0.iter().any(|stored| stored.host == host && stored.cookie.name == name)
    }

    /// The cookies that the browser would send to this page at this time, as FlareSolverr reports them.
    pub(crate) fn report(&self, host: &str, path: &str, time: Instant) -> Vec<Value> {
        self.at(time)
            .filter(|stored| stored.host == host && path.starts_with(stored.cookie.path))
            .map(|stored| stored.cookie.report(host))
            .collect()
    }

    /// The cookies set until this time, with their latest values.
    fn at(&self, time: Instant) -> impl Iterator<Item = &StoredCookie> {
        let latest: BTreeMap<_, _> =
            self.0.iter().filter(|stored| stored.set_at <= time).map(|stored| (stored.key(), stored)).collect();
        latest.into_values()
    }
}

/// The value of the cookie `name` in a request's `Cookie` header.
pub(crate) fn sent<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    header.split(';').find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

//! A cookie as a header, as a script and as FlareSolverr reports it; a browser's jar of them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::clock;

#[derive(Clone, Debug)]
pub(crate) struct Cookie {
    pub(crate) name: String,
    pub(crate) value: String,
    /// None: the page's host alone.
    pub(crate) domain: Option<String>,
    pub(crate) path: &'static str,
    pub(crate) http_only: bool,
    /// Seconds since the epoch; none: the browser's session.
    pub(crate) expires_at: Option<i64>,
}

impl Cookie {
    /// A cookie of the page's host, for all paths and until the browser ends.
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

    /// The cookie as FlareSolverr 3.5 reports it of a page of `host`.
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
pub(crate) struct Jar(Vec<Kept>);

#[derive(Clone)]
struct Kept {
    host: String,
    cookie: Cookie,
    /// When the script that sets it runs.
    from: Instant,
}

impl Kept {
    fn key(&self) -> (&str, &str, Option<&str>, &str) {
        (&self.host, &self.cookie.name, self.cookie.domain.as_deref(), self.cookie.path)
    }
}

impl Jar {
    /// Keeps a cookie that a page of `host` sets at `from`.
    pub(crate) fn put(&mut self, host: &str, cookie: Cookie, from: Instant) {
        self.0.push(Kept { host: host.to_owned(), cookie, from });
    }

    /// The browser leaves its page: what a script has not set by now is never set.
    pub(crate) fn navigate(&mut self) {
        self.0 = self.at(clock::instant()).cloned().collect();
    }

    pub(crate) fn has(&self, host: &str, name: &str) -> bool {
        self.0.iter().any(|kept| kept.host == host && kept.cookie.name == name)
    }

    /// What FlareSolverr reports: the cookies that the browser would send to this page at this time.
    pub(crate) fn report(&self, host: &str, path: &str, time: Instant) -> Vec<Value> {
        self.at(time)
            .filter(|kept| kept.host == host && path.starts_with(kept.cookie.path))
            .map(|kept| kept.cookie.report(host))
            .collect()
    }

    /// What is set by this time, each cookie as it was set last.
    fn at(&self, time: Instant) -> impl Iterator<Item = &Kept> {
        let latest: BTreeMap<_, _> =
            self.0.iter().filter(|kept| kept.from <= time).map(|kept| (kept.key(), kept)).collect();
        latest.into_values()
    }
}

/// The value of the cookie `name` in a request's `Cookie` header.
pub(crate) fn sent<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    header.split(';').find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

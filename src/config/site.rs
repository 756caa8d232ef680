//! One site: where its token comes from, how it is proved, where it is kept.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use super::source::SourceConfig;
use crate::domain::extract::CookieRule;
use crate::domain::site::{Policy, SiteId};

/// One site.
#[derive(Debug, Clone)]
pub struct SiteConfig {
    /// Its id.
    pub id: SiteId,
    /// The page whose cookies hold the token.
    pub page: String,
    /// Which cookie that is.
    pub cookie: CookieRule,
    /// The names of its keys.
    pub keys: KeyNames,
    /// Debounce, lock, TTL, verification mode, schedule.
    pub policy: Policy,
    /// Where tokens come from, in the order in which they are tried; at least one.
    pub sources: Vec<SourceConfig>,
    /// How a token is proved.
    pub probe: ProbeConfig,
    /// The first delay after a failure.
    pub backoff_initial: Duration,
    /// The longest.
    pub backoff_max: Duration,
    /// A token to adopt where Redis has none.
    pub bootstrap: Option<SecretString>,
    /// A `.env` that is kept current.
    pub env_file: Option<PathBuf>,
    /// The line of the `.env` that holds the bare token.
    pub env_key: String,
}

/// The names of a site's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyNames {
    /// The bare token.
    pub token: String,
    /// The cookies as a JSON object.
    pub cookies: String,
}

impl KeyNames {
    /// A companion of the token's key, in its hash slot.
    #[must_use]
    pub fn companion(&self, name: &str) -> String {
        if self.token.contains('{') { format!("{}:{name}", self.token) } else { format!("{{{}}}:{name}", self.token) }
    }
}

/// How a token is proved: a `GET` with `Authorization: Bearer …`.
#[derive(Debug, Clone)]
pub struct ProbeConfig {
    /// The whole URL, query included.
    pub url: String,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// How long one answer may take.
    pub timeout: Duration,
}

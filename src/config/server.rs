//! The HTTP server and the logs.

use std::net::SocketAddr;

use secrecy::SecretString;
use serde::Deserialize;

use super::redaction::Secret;
use super::value::{AdminToken, Listen, LogFilter};

#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where to listen; `None` for not at all.
    pub listen: Option<SocketAddr>,
    /// The bearer token for anything that acts; without one, nothing that acts exists.
    pub admin_token: Option<SecretString>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// `[server]`
#[derive(Deserialize)]
pub(super) struct ServerSection {
    listen: Listen,
    admin_token: Secret<Option<AdminToken>>,
}

/// `[log]`
#[derive(Deserialize)]
pub(super) struct LogSection {
    pub(super) format: LogFormat,
    pub(super) filter: LogFilter,
}

impl From<ServerSection> for ServerConfig {
    fn from(section: ServerSection) -> Self {
        Self { listen: section.listen.0, admin_token: section.admin_token.0.map(|token| token.0) }
    }
}

//! The HTTP server and the logs.

use std::net::SocketAddr;

use secrecy::SecretString;
use serde::Deserialize;

use super::redaction::Secret;
use super::value::{AdminToken, Listen, LogFilter};

#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// `None` turns the server off.
    pub listen: Option<SocketAddr>,
    /// Bearer token for the routes that act; without it they do not exist.
    pub admin_token: Option<SecretString>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    /// One JSON object per line.
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

//! The HTTP server and the logs.

use std::net::SocketAddr;

use secrecy::SecretString;

/// The HTTP server.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where to listen; `None` for not at all.
    pub listen: Option<SocketAddr>,
    /// The bearer token for anything that acts; without one, nothing that acts exists.
    pub admin_token: Option<SecretString>,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

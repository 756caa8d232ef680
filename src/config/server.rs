//! The HTTP server and the logs.

use std::net::SocketAddr;

use secrecy::SecretString;
use tracing_subscriber::filter::Targets;

use super::reader::{Read, Reader};
use super::value;

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

impl ServerConfig {
    pub(super) fn read(reader: &mut Reader) -> Read<Self> {
        let listen = reader.required("server.listen", value::listen);
        let admin_token = reader.optional("server.admin_token", value::admin_token);
        Ok(Self { listen: listen?, admin_token: admin_token? })
    }
}

impl LogFormat {
    pub(super) fn read(reader: &mut Reader) -> Read<Self> {
        reader.required("log.format", value::choice(&[("text", Self::Text), ("json", Self::Json)]))
    }
}

/// Reads which logs are written.
pub(super) fn read_filter(reader: &mut Reader) -> Read<Targets> {
    reader.required("log.filter", value::log_filter)
}

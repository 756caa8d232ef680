//! The HTTP server and the logs.

use std::net::SocketAddr;

use secrecy::SecretString;

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

/// Reads which logs are written, in the syntax of `RUST_LOG`.
pub(super) fn read_filter(reader: &mut Reader) -> Read<String> {
    reader.required("log.filter", |text| match tracing_subscriber::EnvFilter::builder().parse(text) {
        Ok(_) if !text.trim().is_empty() => Ok(text.to_owned()),
        _ => Err("expected a filter such as info or warn,token_sidecar=debug".to_owned()),
    })
}

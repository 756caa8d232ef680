//! Connections to Redis: one server, the master that Sentinels name, or a Cluster.

#![expect(missing_docs, reason = "for the sidecar, which needs more than a parser")]

mod commands;
mod config;
mod connect;
mod dial;
mod error;
mod events;
mod file;
mod link;
mod sentinel;
mod url;

pub use commands::Commands;
pub use config::{RedisConfig, TlsConfig, Topology};
pub use connect::Connector;
pub use dial::{Dial, Stream};
pub use error::LinkError;
pub use events::Events;
pub use file::read_file;
pub use link::Link;
pub use url::{RedisUrl, UrlError};

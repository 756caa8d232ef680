//! The effective settings: built-in site < TOML file < `.env` < environment < flags.
//!
//! [`keys::KEYS`] is the list of all keys. `layers` finds the strongest value of each, `reader` turns it into
//! its type, and each section's file says what it is made of. `environment` alone reads the outside.

mod checks;
mod environment;
mod error;
#[cfg(test)]
#[expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
mod fixture;
mod hint;
pub mod key;
pub mod keys;
mod layers;
mod load;
mod reader;
mod redaction;
mod redis;
pub mod server;
mod setting;
pub mod site;
pub mod source;
mod template;
mod value;

use std::time::Duration;

use token_sidecar_client::redis::RedisConfig;
use tracing_subscriber::filter::Targets;

pub use environment::{Flag, Inputs};
pub use error::{ConfigError, ConfigErrors};
pub use load::{Listed, Loaded, list, load};
pub use redaction::Secrecy;
pub use server::{LogFormat, ServerConfig};
pub use setting::{Origin, Setting};
pub use site::{ProbeConfig, SiteConfig};
pub use source::{FlaresolverrConfig, HttpConfig, SourceConfig, TokenPlace};

/// Everything that can be set, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// How Redis is reached.
    pub redis: RedisConfig,
    /// The HTTP server.
    pub server: ServerConfig,
    /// How logs are written.
    pub log_format: LogFormat,
    /// Which logs are written.
    pub log_filter: Targets,
    /// How long a refresh under way may go on after SIGTERM.
    pub shutdown_grace: Duration,
    /// The sites, at least one.
    pub sites: Vec<SiteConfig>,
}

//! The effective settings: built-in site < TOML file < environment and `.env` < flags.

pub mod redis;
pub mod server;
pub mod site;
pub mod source;

use std::time::Duration;

pub use redis::RedisConfig;
pub use server::{LogFormat, ServerConfig};
pub use site::{KeyNames, ProbeConfig, SiteConfig};
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
    /// How long a refresh under way may go on after SIGTERM.
    pub shutdown_grace: Duration,
    /// The sites, at least one.
    pub sites: Vec<SiteConfig>,
}

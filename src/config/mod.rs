//! The effective settings: defaults < built-in site < TOML file < `.env` < environment < flags.
//!
//! Each section is a struct that `serde` reads from the merged [`tree`]; its own file converts it into what the rest of
//! the program uses. Only `environment` reads anything outside the process.

#![expect(missing_docs, reason = "docs/configuration.md says of every setting what it means; most names say it too")]

pub mod browser;
mod checks;
mod environment;
mod error;
mod files;
#[cfg(test)]
#[expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
mod fixture;
pub mod gateway;
pub mod initial;
mod layers;
mod listing;
mod load;
mod meanings;
mod notices;
mod proposal;
mod reader;
mod redaction;
mod redis;
mod rotation;
pub mod server;
pub mod site;
pub mod source;
mod template;
mod tree;
mod value;
mod variables;

pub use browser::{BrowserConfig, BrowserLaunch, BrowserPlace, BrowserProgram, StorageItem};
pub use environment::{Flag, Inputs};
pub use error::{ConfigError, ConfigErrors};
pub use gateway::{GatewayAddress, GatewayConfig, UserAgent};
pub use layers::{Layer, Origin, is_built_in};
pub use listing::{InFiles, Setting};
pub use load::{Config, Listed, Loaded, list, load};
pub use meanings::MEANINGS;
pub use notices::{NoticeConfig, SigningKey};
pub use proposal::Proposal;
pub use redaction::Secrecy;
pub use rotation::{Again, Rotation};
pub use server::{LogFormat, ServerConfig};
pub use site::{ProbeConfig, SiteConfig};
pub use source::{FlaresolverrConfig, HttpBody, HttpConfig, ProxyConfig, SolverKind, SourceConfig, TokenPlace};
pub use template::{Stored, Template, percent_encoded};
pub use value::address as web_address;
pub use variables::VARIABLES;

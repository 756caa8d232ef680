//! A parser's side of a token-sidecar: read the token, report that the API refuses it, wait for the next one.
//!
//! ```no_run
//! use std::time::Duration;
//! use token_sidecar_client::{Client, ClientError};
//!
//! # async fn example(refused_by_the_api: bool) -> Result<(), ClientError> {
//! const TIMEOUT: Duration = Duration::from_secs(60);
//! let client = Client::new("redis://127.0.0.1:6379/0", "chitai_gorod")?;
//! let mut token = client.get(TIMEOUT).await?;
//! // Call the API with it; on a 401:
//! if refused_by_the_api {
//!     token = client.wait_newer(&token, TIMEOUT).await?;
//! }
//! # Ok(()) }
//! ```
//!
//! A client connects when it is first used, and reconnects when its connection breaks. A wait survives that: it
//! subscribes again, reads the key and repeats its report, within the same timeout. Clones share their connection and
//! their waits: a hundred tasks whose token was refused send one report.
//!
//! [`wire`] holds what stands in Redis, [`redis`] the connections; the sidecar itself is built on both.

#![warn(missing_docs)]

pub mod cause;
mod client;
mod error;
pub mod excerpt;
pub mod redis;
pub mod renewed;
mod site;
pub mod tls;
mod updates;
mod wait;
pub mod wire;

pub use client::Client;
pub use error::ClientError;
pub use updates::{Update, Updates};
pub use wait::PendingReport;

/// The pause before another try while Redis is away, or while a sidecar that restarts is not subscribed yet.
const RETRY_PAUSE: std::time::Duration = std::time::Duration::from_millis(250);

/// The examples of the README are compiled as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

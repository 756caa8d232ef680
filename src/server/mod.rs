//! The HTTP server: health, metrics, the status page and its API.
//!
//! It reads the [`StatusRegistry`](crate::status::StatusRegistry) and posts manual triggers, nothing else.

mod api;
mod context;
mod events;
mod health;
mod history;
mod listener;
mod metrics;
mod page;
mod problem;
mod routes;
mod shared_page;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
pub(crate) mod trial;

pub use context::{HttpServer, Limits, StoreReader};
pub use listener::serve;

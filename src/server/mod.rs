//! The HTTP server: health, metrics, the status page and its API.
//!
//! It reads a [`Board`] that the process writes, and sends triggers; it never touches the flow.

mod api;
mod events;
mod health;
mod listener;
mod metrics;
mod page;
mod problem;
mod state;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
pub(crate) mod trial;

pub use listener::serve;
pub use state::{Entries, History, Limits, Server};

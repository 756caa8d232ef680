//! The sources and the probe against servers that answer as real ones do, and against broken ones.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod api;
mod child;
mod hostile;
mod late_cookies;
mod plain_request;
mod proxy;
mod recorded;
mod several;
mod solver;
mod stub;
#[path = "../support/mod.rs"]
mod support;
mod tls;

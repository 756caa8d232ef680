//! What several test crates share.

#![allow(clippy::allow_attributes, dead_code, reason = "each test crate uses its own part of this module")]

pub(crate) mod cluster;
pub(crate) mod contract;
pub(crate) mod listener;
pub(crate) mod measured;
pub(crate) mod papers;
pub(crate) mod preload;
pub(crate) mod proxy;
pub(crate) mod receiver;
pub(crate) mod redis_server;
pub(crate) mod sentinel;
pub(crate) mod tls_front;

/// Says why a test could not be run here.
#[expect(clippy::print_stderr, reason = "a test that is skipped prints why")]
pub(crate) fn skipped(reason: &str) {
    eprintln!("skipped: {reason}");
}

//! Keeps a shop's API token fresh in Redis: one refresh at a time, however many ask.

#![expect(
    missing_docs,
    reason = "internal to the binary, the tests and the fuzz targets: most names need no more words"
)]

pub mod app;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod doctor;
pub mod domain;
pub mod http;
pub mod jitter;
pub mod log;
pub mod outputs;
pub mod redis;
pub mod refresh;
pub mod server;
pub mod shutdown;
pub mod sources;
pub mod status;
pub mod verify;

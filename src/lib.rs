//! The library of the binary `token-sidecar`. Its only other users are the tests, the fuzz targets and the benchmark:
//! nothing in it is a public interface, and it is not published. Parsers use `token-sidecar-client`.

#![expect(
    missing_docs,
    reason = "internal to the binary, the tests and the fuzz targets: most names need no more words"
)]

pub mod app;
pub mod child;
pub mod cli;
pub mod clock;
pub mod config;
pub mod doctor;
pub mod domain;
pub mod gateway;
pub mod http;
pub mod inspect;
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

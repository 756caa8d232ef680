//! The Redis adapter against a real `redis-server`.

mod cluster;
mod ears;
mod errors;
mod fixture;
mod garbage;
mod link;
mod outcome;
mod refusal;
mod sentinel;
mod store;
mod subscription;
#[path = "../support/mod.rs"]
mod support;
mod tls;

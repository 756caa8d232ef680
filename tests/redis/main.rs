//! The Redis adapter against a real `redis-server`.

mod cluster;
mod errors;
mod fixture;
mod garbage;
mod link;
mod outcome;
mod refusal;
mod running;
mod sentinel;
mod store;
mod subscription;
#[path = "../support/mod.rs"]
mod support;
mod tls;

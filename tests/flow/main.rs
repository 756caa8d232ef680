//! The flow of a site in an in-memory world: paused time, injected faults, one replica or ten.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bench;
mod keys;
mod outside;
mod store;
mod world;

// The simulation's model of Redis.
#[path = "../simulation/database.rs"]
mod database;
#[expect(dead_code, reason = "the simulation uses more of it")]
#[path = "../simulation/engine.rs"]
mod engine;
#[path = "../simulation/lua.rs"]
mod lua;
#[expect(dead_code, reason = "the simulation uses more of it")]
#[path = "../simulation/mutation.rs"]
mod mutation;
#[expect(dead_code, reason = "the simulation uses more of it")]
#[path = "../simulation/reply.rs"]
mod reply;

mod backoff;
mod clocks;
mod found;
mod once;
mod proof;
mod questions;
mod refusals;
mod replicas;
mod schedule;
mod stopping;
mod storage;
mod triggers;

//! The flow of a site in an in-memory world: paused time, injected faults, one replica or ten.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bench;
mod keys;
mod outside;
mod store;
mod world;

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

//! Keeps a shop's API token fresh in Redis: one refresh at a time, however many ask.

pub mod adapters;
pub mod app;
pub mod cli;
pub mod client;
pub mod config;
pub mod domain;
pub mod flow;
pub mod runtime;
pub mod server;

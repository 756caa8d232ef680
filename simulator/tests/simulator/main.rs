//! The simulator over HTTP, and as a program.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod browser_pages;
mod control;
mod http;
mod pages;
mod program;
mod recorded;
mod solves;
mod upstream;

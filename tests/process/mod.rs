//! The program as users run it: real processes, a real Redis, the simulator in place of solver and shop.

#![allow(clippy::allow_attributes, dead_code, reason = "each test crate uses its own part of this module")]

pub(crate) mod events;
pub(crate) mod http;
pub(crate) mod keys;
pub(crate) mod patience;
pub(crate) mod sidecar;
pub(crate) mod world;

pub(crate) use events::Events;
#[allow(unused_imports, reason = "each test crate uses its own part of this module")]
pub(crate) use patience::{DEADLINE, eventually, eventually_within};
#[allow(unused_imports, reason = "each test crate uses its own part of this module")]
pub(crate) use sidecar::{Ran, Running};
pub(crate) use world::World;

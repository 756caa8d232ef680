//! What the sidecar knows and decides, without touching anything: no runtime, no network, no clock, no
//! environment and no randomness. All of them come in as arguments.

pub mod announcement;
pub mod decide;
pub mod duration;
pub mod extract;
pub mod inbox;
pub mod lifetime;
pub mod pending;
pub mod schedule;
pub mod site;
pub mod site_state;
pub mod snapshot;
pub mod stored;
pub mod verdict;

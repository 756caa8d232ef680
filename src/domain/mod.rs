//! What the sidecar knows and decides: pure code without a runtime, network, clock, environment or randomness. Their
//! values come in as arguments.

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

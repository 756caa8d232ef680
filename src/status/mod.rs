//! The state of each site of this process: one model for the page, the API, the metrics and the commands.
//!
//! It holds no secret: a token is represented by its fingerprint.

mod gateway;
mod hourly;
mod metrics;
mod output;
mod process;
mod registry;
mod site;
mod subscription;

pub use gateway::{GatewayObserver, GatewayOutcome};
pub(crate) use hourly::HOURS;
pub(crate) use metrics::{Format, metrics};
pub use output::{HookStatus, OutputObserver, OutputStatus};
#[cfg(test)]
pub(crate) use registry::EVENT_BUFFER;
pub use registry::{MonotonicClock, SiteObserver, SolverReader, StatusRegistry};
pub use site::{HistoryEntry, RefreshStatus, SiteRecord, SiteStatus, TokenState, TokenStatus};
pub use subscription::{Canary, SubscriptionObserver, SubscriptionState, SubscriptionStatus};

//! What is known of the sites of this process, for the page, the API, the metrics and the commands.

pub mod counters;
pub mod model;
pub mod registry;
pub mod view;

pub use registry::{Board, Monotonic, SiteObserver};

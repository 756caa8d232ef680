//! The order of the steps: from what is pending to an outcome. Speaks to the outside through ports alone.

mod attempt;
pub mod beat;
pub mod driver;
mod lease;
pub mod mailbox;
pub mod ports;
mod refresh;
pub mod report;
pub mod site;
pub mod status;
mod store_time;

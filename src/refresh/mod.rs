//! The one task of a site: from what is pending to an outcome. Speaks to the outside through ports alone.

mod attempt;
pub mod beat;
mod commit;
pub mod driver;
mod lease;
pub mod mailbox;
pub mod observation;
pub mod ports;
pub mod site;
mod store_time;

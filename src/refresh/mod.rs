//! The one task of a site: from what is pending to an outcome. Speaks to the outside through ports alone.

mod answers;
mod attempt;
mod commit;
pub mod driver;
mod lease;
pub mod mailbox;
pub mod observation;
pub mod ports;
mod refusal;
pub mod site;
mod verification;

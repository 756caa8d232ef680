//! The task of a site, from pending triggers to an outcome. It does input and output only through ports.

mod answers;
mod attempt;
mod commit;
pub mod driver;
mod lease;
pub mod mailbox;
pub mod manual;
pub mod observation;
pub mod ports;
mod refusal;
pub mod site;
mod verification;

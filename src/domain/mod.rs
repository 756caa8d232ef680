//! The state of a site and the decisions on it: pure functions. Times and random values are arguments.

pub mod announcement;
pub mod breaker;
pub mod decide;
pub mod duration;
pub mod extract;
pub mod file_template;
pub mod inbox;
pub mod inspection;
pub mod lifetime;
pub mod notice;
pub mod pending;
pub mod product;
pub mod round;
pub mod schedule;
pub mod site;
pub mod site_state;
pub mod snapshot;
pub mod stored;
pub mod template;
pub mod token_file;
pub mod verdict;

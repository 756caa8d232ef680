//! The order of the steps: from what is pending to an outcome. Speaks to the outside through ports alone.

pub mod ports;
pub mod report;
pub mod status;

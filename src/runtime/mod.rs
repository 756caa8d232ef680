//! What every command needs of the process around it.

pub mod shutdown;
pub mod telemetry;

//! The solvers of this process.

use serde::{Deserialize, Serialize};

use crate::domain::breaker::BreakerState;

/// A solver, and whether it is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SolverStatus {
    /// Host and port.
    pub address: String,
    pub state: BreakerState,
    /// For how many seconds more the others are asked before it.
    pub left_alone_s: Option<u64>,
}

/// Reads the solvers as they are now.
pub type SolverReader = Box<dyn Fn() -> Vec<SolverStatus> + Send + Sync>;

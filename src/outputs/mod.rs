//! Outputs: places beside Redis that hold the current token.

pub mod env_file;
mod file;

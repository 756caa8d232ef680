//! Outputs: places beside Redis that hold the current token.

mod file;
pub mod token_file;

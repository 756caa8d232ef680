//! Outputs: places beside Redis that hold the current token.

mod file;
mod hook;
pub mod notices;
pub mod token_file;
mod webhook;

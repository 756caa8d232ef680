//! Files that are kept at the current token.

pub mod env_file;
mod file;

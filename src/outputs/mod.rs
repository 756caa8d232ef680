//! Outputs: places beside Redis that hold the current token.

mod file;
mod hook;
pub mod notices;
pub mod token_file;
mod webhook;

/// What a program or an address has said, behind the sentence on it.
fn said(what: &str) -> String {
    if what.is_empty() { String::new() } else { format!(": {what}") }
}

//! The outside: one file a thing. Adapters never call each other; what several of them send and show lies in
//! `http_client` and `excerpt`.

pub mod env_file;
mod excerpt;
pub mod http_client;
pub mod probe;
pub mod source;

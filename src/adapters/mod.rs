//! Where the outside is: one file a thing. Adapters never call each other.

pub mod chance;
pub mod clock;
pub mod env_file;
pub mod excerpt;
pub mod http_client;
pub mod probe;
pub mod redis;
pub mod source;

//! What a sidecar and its parsers share: the messages and keys, and the connection to Redis.

pub mod excerpt;
pub mod redis;
pub mod wire;

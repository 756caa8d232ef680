//! Where the outside is: one file a thing. Adapters never call each other.

pub mod chance;
pub mod clock;
pub mod redis;

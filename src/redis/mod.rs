//! Redis: the keys of the sites and the subscription to their channels.

mod ear;
pub mod history;
pub mod lua;
mod state;
pub mod store;
pub mod subscription;

pub use store::RedisStore;

//! Redis: the keys of the sites and the subscription to their channels.

pub mod history;
mod push_handler;
pub mod scripts;
mod state;
pub mod store;
pub mod subscription;

pub use store::RedisStore;

//! Redis: the keys of the sites and the subscription to their channels.

mod ear;
pub mod history;
pub mod link;
pub mod lua;
mod state;
pub mod store;
pub mod subscription;

pub use link::Link;
pub use store::RedisStore;

//! Redis: the keys of the sites and the subscription to their channels.

pub mod channels;
pub mod commands;
pub mod connect;
pub mod dial;
mod ear;
pub mod error;
pub mod events;
pub mod history;
pub mod link;
pub mod lua;
mod sentinel;
mod state;
pub mod store;
pub mod subscription;

pub use channels::Channels;
pub use connect::Connector;
pub use error::LinkError;
pub use link::Link;
pub use store::RedisStore;

//! Redis: the keys of the sites and the subscription to their channels.

pub mod client;
pub mod connect;
pub mod error;
pub mod history;
pub mod link;
pub mod store;
pub mod subscription;

pub use connect::Connector;
pub use error::LinkError;
pub use link::Link;
pub use store::{Channels, RedisStore};

//! The gateway: `/S/rest?query` is sent to the site's `api_url` + `/rest?query` with the current token. After a 401 it is
//! reported and the request sent once more with the next token, which the client does not see.
//!
//! ```text
//! listener ─► access ─► address ─► forward ─► the API
//!                                   │  ▲
//!                                   ▼  │ a newer token, or why there is none
//!                                  waiting ◄── the stored token, failures
//! ```
//!
//! It reads what the site's driver publishes and posts reports to the site's mailbox, as any parser could over Redis.

mod access;
pub mod address;
mod body;
mod forward;
mod headers;
mod listener;
mod problem;
mod refused;
mod site;
#[cfg(test)]
mod trial;
mod waiting;

pub use access::Access;
pub use forward::Gateway;
pub use listener::{GatewayListener, serve};
pub use refused::Judge;
pub use site::{Site, SiteParts};

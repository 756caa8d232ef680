//! What stands in Redis: the names of keys and channels, the messages, and what the keys hold.

#![expect(missing_docs, reason = "most fields are the contract's, which documents them")]

mod channels;
mod claims;
mod cookies;
mod event;
mod keys;
mod product;
mod report;
mod site;
mod token;
mod trigger;

pub use channels::{Channels, Topic};
pub use claims::Claims;
pub use cookies::Cookies;
pub use event::{Event, Failed, FailedCause, Stage, Updated, UpdatedCause};
pub use event::{rounded_down, rounded_up, whole_second_down, whole_second_up};
pub use keys::KeyNames;
pub use product::Product;
pub use report::{MAX_PAYLOAD_BYTES, Payload, Report, tidy};
pub use site::SiteId;
pub use token::{Fingerprint, MAX_COOKIES_BYTES, MAX_TOKEN_BYTES, Token, TokenError};
pub use trigger::Trigger;

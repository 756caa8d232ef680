//! The names that the contract gives to channels and keys.

pub(crate) const SITE: &str = "chitai_gorod";

pub(crate) const INVALID: &str = "chitai_gorod:token:invalid";
pub(crate) const UPDATED: &str = "chitai_gorod:token:updated";
pub(crate) const FAILED: &str = "chitai_gorod:token:failed";
pub(crate) const ALL_UPDATED: &str = "token:updated";
pub(crate) const ALL_FAILED: &str = "token:failed";

pub(crate) const TOKEN: &str = "chitai_gorod_token";
pub(crate) const COOKIES: &str = "chitai_gorod_cookies";
pub(crate) const META: &str = "{chitai_gorod_token}:meta";
pub(crate) const LOCK: &str = "{chitai_gorod_token}:lock";
pub(crate) const HISTORY: &str = "{chitai_gorod_token}:history";

//! The id of a site.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The id of a site: the first part of its channels, and a label of its metrics. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SiteId(Arc<str>);

impl SiteId {
    /// Accepts 1 to 64 lower-case letters, digits, `_` and `-`, beginning with a letter or digit.
    pub fn parse(name: &str) -> Option<Self> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
        let first = name.bytes().next()?;
        (name.len() <= 64 && first.is_ascii_alphanumeric() && name.bytes().all(allowed)).then(|| Self(name.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for SiteId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SiteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

//! What is kept of the settings while they are read: a list to be shown, and digests by which a later change is seen.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::layers::Origin;
use super::redaction::Secrecy;

/// An effective setting, to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The dotted path in the TOML file.
    pub path: String,
    /// As written, secrets redacted; `None` if not set.
    pub value: Option<String>,
    pub origin: Origin,
    pub secrecy: Secrecy,
}

/// A digest of each effective setting that is in a file, by its path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InFiles(BTreeMap<String, u64>);

impl InFiles {
    pub(super) fn note(&mut self, path: String, value: &[&str]) {
        let mut digest = DefaultHasher::new();
        value.hash(&mut digest);
        self.0.insert(path, digest.finish());
    }

    /// The paths of the settings that differ.
    #[must_use]
    pub fn changed(&self, now: &Self) -> Vec<String> {
        let differ = |one: &Self, other: &Self| {
            let differ = one.0.iter().filter(|(path, digest)| other.0.get(*path) != Some(*digest));
            differ.map(|(path, _)| path.clone()).collect::<Vec<_>>()
        };
        let mut paths = [differ(self, now), differ(now, self)].concat();
        paths.sort();
        paths.dedup();
        paths
    }
}

#[derive(Default)]
pub(super) struct Notes {
    /// `None` where nothing is to be shown.
    pub(super) list: Option<RefCell<Vec<Setting>>>,
    pub(super) in_files: RefCell<InFiles>,
}

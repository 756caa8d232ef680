//! Reads the sections of the settings and collects all errors.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use token_sidecar_client::wire::SiteId;
use toml::{Table, Value};

use super::error::ConfigError;
use super::layers::{Layers, is_same};
use super::redaction::Secrecy;
use super::tree::{Error, Place, Scope, Setting};

pub(super) struct Reader {
    layers: Layers,
    /// The paths with errors.
    refused: BTreeSet<(Option<SiteId>, String)>,
    list: Option<RefCell<Vec<Setting>>>,
}

/// A point in the reading, to return to.
pub(super) struct Mark {
    errors: usize,
    settings: usize,
}

/// The settings of the process or of one site.
pub(super) struct Section<'r> {
    reader: &'r mut Reader,
    site: Option<&'r SiteId>,
    merged: Table,
}

impl Reader {
    pub(super) const fn new(layers: Layers) -> Self {
        Self { layers, refused: BTreeSet::new(), list: None }
    }

    /// A reader that also lists the effective settings.
    pub(super) fn listing(layers: Layers) -> Self {
        Self { list: Some(RefCell::default()), ..Self::new(layers) }
    }

    pub(super) fn sites(&self) -> Vec<SiteId> {
        self.layers.sites.iter().cloned().collect()
    }

    pub(super) fn section<'r>(&'r mut self, site: Option<&'r SiteId>) -> Section<'r> {
        Section { merged: self.layers.merged(site), reader: self, site }
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { errors: self.layers.errors.len(), settings: self.list.as_ref().map_or(0, |list| list.borrow().len()) }
    }

    /// Takes back what was noted and listed since then, except unknown names and the first setting.
    pub(super) fn leave_out(&mut self, since: Mark) {
        let errors = self.layers.errors.split_off(since.errors);
        self.layers.errors.extend(errors.into_iter().filter(|error| matches!(error, ConfigError::Unknown { .. })));
        if let Some(list) = &mut self.list {
            list.get_mut().truncate(since.settings + 1);
        }
    }

    pub(super) const fn is_right_so_far(&self) -> bool {
        self.layers.errors.is_empty()
    }

    pub(super) fn conflict(&mut self, text: String) {
        self.note(ConfigError::Conflict(text));
    }

    /// The effective settings, the warnings and the errors.
    pub(super) fn finish(self) -> (Vec<Setting>, Vec<String>, Vec<ConfigError>) {
        let settings = self.list.map(RefCell::into_inner).unwrap_or_default();
        (settings, self.layers.warnings, self.layers.errors)
    }

    fn note(&mut self, error: ConfigError) {
        // Many sites may inherit the same error: it is reported once.
        if !self.layers.errors.contains(&error) {
            self.layers.errors.push(error);
        }
    }
}

impl Section<'_> {
    /// Reads the whole section. An error is noted and replaced by the default, so that the rest is checked too.
    pub(super) fn read<T: DeserializeOwned>(&mut self) -> Option<T> {
        loop {
            match T::deserialize(self.place("")) {
                Ok(section) => return Some(section),
                Err(error) if self.is_hopeless(&error) => return None,
                Err(error) => self.refuse(error),
            }
        }
    }

    /// The value parsed at a path; an error is noted.
    pub(super) fn check<T>(&mut self, path: &str, secrecy: Secrecy, parsed: Result<T, String>) -> Option<T> {
        let noted = parsed.map_err(|reason| {
            let error = self.place(path).with(secrecy).refuse(reason);
            self.refuse(error);
        });
        noted.ok()
    }

    /// Notes a missing setting, unless it is set and wrong.
    pub(super) fn missing(&mut self, path: &str, reason: &str) {
        if !self.is_refused(path) {
            let error = self.place(path).missing(reason.to_owned());
            self.refuse(error);
        }
    }

    /// Notes a conflict, unless one of the settings is wrong by itself.
    pub(super) fn conflict(&mut self, between: &[&str], text: String) {
        if !between.iter().any(|path| self.is_refused(path)) {
            self.reader.conflict(text);
        }
    }

    pub(super) fn warn(&mut self, text: String) {
        self.reader.layers.warnings.push(text);
    }

    /// Whether there was an error at or below a path, here or in the settings that a site inherits.
    pub(super) fn is_refused(&self, path: &str) -> bool {
        self.reader.refused.iter().any(|(site, refused)| {
            let is_there = refused.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
            is_there && (site.is_none() || site.as_ref() == self.site)
        })
    }

    fn place(&self, path: &str) -> Place<'_> {
        let Reader { layers, list, .. } = &*self.reader;
        Place::at(Scope { layers, merged: &self.merged, site: self.site, list: list.as_ref() }, path)
    }

    /// Notes an error and puts the default in place of the value.
    fn refuse(&mut self, error: Error) {
        match error {
            Error::At { path, error } => {
                reset(&mut self.merged, Some(&self.reader.layers.defaults(self.site)), "", &path);
                self.reader.note(error);
                self.reader.refused.insert((self.site.cloned(), path));
            }
            Error::Reason(reason) => self.reader.conflict(reason),
        }
    }

    /// Whether the default is wrong too.
    fn is_hopeless(&self, error: &Error) -> bool {
        match error {
            Error::At { path, .. } => self.reader.refused.contains(&(self.site.cloned(), path.clone())),
            Error::Reason(_) => true,
        }
    }
}

/// Puts the default in place of the value at a path below the table of this name.
fn reset(table: &mut Table, defaults: Option<&Table>, name: &str, path: &str) {
    if let Some((name, below)) = path.split_once('.')
        && !table.contains_key(path)
        && let Some(table) = table.get_mut(name).and_then(Value::as_table_mut)
    {
        return reset(table, defaults.and_then(|defaults| defaults.get(name)?.as_table()), name, below);
    }
    table.retain(|written, _| !is_same(name, written, path));
    table.extend(defaults.and_then(|defaults| Some((path.to_owned(), defaults.get(path)?.clone()))));
}

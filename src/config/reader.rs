//! Reads the sections of the settings and collects all errors.

use serde::de::DeserializeOwned;
use token_sidecar_client::wire::SiteId;

use super::error::ConfigError;
use super::layers::Layers;
use super::listing::{InFiles, Notes, Setting};
use super::redaction::Secrecy;
use super::tree::{Error, Place, Scope};

pub(super) struct Reader {
    layers: Layers,
    /// The paths with errors.
    refused: Vec<(Option<SiteId>, String)>,
    notes: Notes,
}

/// What was read.
pub(super) struct Read {
    /// The effective settings, if they were to be listed.
    pub(super) settings: Vec<Setting>,
    pub(super) in_files: InFiles,
    pub(super) warnings: Vec<String>,
    pub(super) errors: Vec<ConfigError>,
}

/// The settings of the process or of one site.
pub(super) struct Section<'r> {
    reader: &'r mut Reader,
    site: Option<&'r SiteId>,
}

impl Reader {
    /// `lists` says whether the effective settings are listed too.
    pub(super) fn new(layers: Layers, lists: bool) -> Self {
        let notes = Notes { list: lists.then(Default::default), ..Notes::default() };
        Self { layers, refused: Vec::new(), notes }
    }

    pub(super) fn sites(&self) -> Vec<SiteId> {
        self.layers.sites.iter().cloned().collect()
    }

    pub(super) const fn section<'r>(&'r mut self, site: Option<&'r SiteId>) -> Section<'r> {
        Section { reader: self, site }
    }

    pub(super) const fn is_right_so_far(&self) -> bool {
        self.layers.errors.is_empty()
    }

    pub(super) fn conflict(&mut self, text: String) {
        self.note(ConfigError::Conflict(text));
    }

    pub(super) fn finish(self) -> Read {
        Read {
            settings: self.notes.list.map(|list| list.into_inner()).unwrap_or_default(),
            in_files: self.notes.in_files.into_inner(),
            warnings: self.layers.warnings,
            errors: self.layers.errors,
        }
    }

    fn note(&mut self, error: ConfigError) {
        // Many sites may inherit the same error: it is reported once.
        if !self.layers.errors.contains(&error) {
            self.layers.errors.push(error);
        }
    }
}

impl Section<'_> {
    /// Reads the whole section, `""`, or what is at a path. An error is noted, and the default takes the place of the
    /// value, so that the rest is checked too.
    pub(super) fn read<T: DeserializeOwned>(&mut self, path: &str) -> Option<T> {
        loop {
            match T::deserialize(self.place(path)) {
                Ok(section) => return Some(section),
                Err(error) => self.refuse(error)?,
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

    /// The path as it is listed.
    pub(super) fn full_path(&self, path: &str) -> String {
        self.place(path).full_path()
    }

    fn place(&self, path: &str) -> Place<'_> {
        let Reader { layers, refused, notes } = &*self.reader;
        Scope { layers, site: self.site, refused, notes: Some(notes) }.at(path)
    }

    /// Notes an error, and that the default counts from now on. `None` if the default is wrong too.
    fn refuse(&mut self, error: Error) -> Option<()> {
        let (path, error) = match error {
            Error::At { path, error } => (path, error),
            Error::Reason(reason) => {
                self.reader.conflict(reason);
                return None;
            }
        };
        let refused = (self.site.cloned(), path);
        if self.reader.refused.contains(&refused) {
            return None;
        }
        self.reader.note(error);
        self.reader.refused.push(refused);
        Some(())
    }
}

//! Inputs for tests, independent of the process.

use std::path::PathBuf;

use super::{Inputs, Loaded, Setting, list, load};

/// A folder with a `sidecar.toml`, a `.env` and other files, and the variables of a process.
pub(super) struct Given {
    folder: tempfile::TempDir,
    inputs: Inputs,
}

impl Given {
    pub(super) fn nothing() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder"), inputs: Inputs::default() }
    }

    pub(super) fn variable(mut self, name: &str, value: &str) -> Self {
        self.inputs.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(super) fn toml(mut self, text: &str) -> Self {
        self.inputs.config_file = Some(self.write("sidecar.toml", text));
        self
    }

    pub(super) fn dotenv(self, text: &str) -> Self {
        let file = self.write(".env", text);
        self.dotenv_at(file)
    }

    pub(super) fn dotenv_at(mut self, file: PathBuf) -> Self {
        self.inputs.dotenv = Some(file);
        self
    }

    pub(super) fn flag(mut self, name: &str, path: &str, value: &str) -> Self {
        let (name, path, value) = (name.to_owned(), path.to_owned(), value.to_owned());
        self.inputs.flags.push(super::Flag { name, path, value });
        self
    }

    pub(super) fn zone(mut self, zone: &str) -> Self {
        self.inputs.zone = Some(zone.to_owned());
        self
    }

    /// A variable that names a file with this content.
    pub(super) fn file_variable(self, name: &str, content: &str) -> Self {
        let file = self.write(name, content);
        self.variable(name, &file.display().to_string())
    }

    pub(super) fn write(&self, name: &str, content: &str) -> PathBuf {
        self.write_bytes(name, content.as_bytes())
    }

    pub(super) fn write_bytes(&self, name: &str, content: &[u8]) -> PathBuf {
        let file = self.folder.path().join(name);
        std::fs::write(&file, content).expect("a file in a temporary folder");
        file
    }

    pub(super) fn loaded(&self) -> Loaded {
        load(&self.inputs).unwrap_or_else(|errors| panic!("refused: {errors}"))
    }

    pub(super) fn listed(&self) -> Vec<Setting> {
        list(&self.inputs).unwrap_or_else(|errors| panic!("refused: {errors}")).settings
    }

    /// The errors, without the name of the temporary folder.
    pub(super) fn refused(&self) -> String {
        let errors = load(&self.inputs).err().unwrap_or_else(|| panic!("not refused"));
        self.anonymous(&errors.to_string())
    }

    pub(super) fn anonymous(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.folder.path().display()), "")
    }

    /// The effective value and its origin.
    pub(super) fn setting(&self, path: &str) -> (String, String) {
        let listed = self.listed();
        let setting = listed.iter().find(|s| s.path == path).unwrap_or_else(|| panic!("no {path}"));
        (setting.value.clone().unwrap_or_default(), self.anonymous(&setting.origin.to_string()))
    }
}

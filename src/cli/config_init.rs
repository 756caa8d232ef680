//! `config init`: a file with every setting at its default, to begin with.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::args::Init;
use super::{Exit, Stopped, screen};
use crate::config;

pub(super) fn run(flags: &Init) -> Result<Exit, Stopped> {
    let text = if flags.env { config::initial::dotenv() } else { config::initial::toml() };
    let text = text.map_err(|errors| Stopped::new(Exit::Config, errors))?;
    match &flags.write {
        Some(file) => write(file, &text)?,
        None => screen::whole(&text)?,
    }
    Ok(Exit::Done)
}

/// Creates the file, readable for its owner alone: it may come to hold secrets.
pub(super) fn write(file: &Path, text: &str) -> Result<(), Stopped> {
    let mut created =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => exists(file),
            _ => not_written(file, &error.to_string()),
        })?;
    created.write_all(text.as_bytes()).map_err(|error| {
        let _half_of_it_stays = fs::remove_file(file);
        not_written(file, &error.to_string())
    })
}

/// Whether the file can be created; the error says why not.
pub(super) fn check(file: &Path) -> Result<(), Stopped> {
    if file.symlink_metadata().is_ok() {
        return Err(exists(file));
    }
    match file.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        Some(folder) => Err(not_written(file, &format!("there is no folder {}", folder.display()))),
        None => Ok(()),
    }
}

fn exists(file: &Path) -> Stopped {
    not_written(file, "it exists already; name another file, or remove this one first")
}

fn not_written(file: &Path, reason: &str) -> Stopped {
    Stopped::because(Exit::Usage, format!("{} is not written: {reason}", file.display()))
}

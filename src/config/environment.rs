//! Reads variables, the `.env`, files and the system's time zone. Nothing else in the project reads the environment.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::value;

/// The `.env` that is looked for in the working folder.
const DOTENV: &str = ".env";

/// Where the settings come from.
#[derive(Clone, Default)]
pub struct Inputs {
    pub environment: BTreeMap<String, String>,
    /// Need not exist.
    pub dotenv: Option<PathBuf>,
    /// From `--config`; `None` means the TOML file of `SIDECAR_CONFIG`.
    pub config_file: Option<PathBuf>,
    pub flags: Vec<Flag>,
    /// The system's time zone, if its IANA name is known.
    pub zone: Option<String>,
}

/// A setting on the command line.
#[derive(Clone)]
pub struct Flag {
    /// `--redis-url`
    pub name: String,
    /// The path of the setting; `sites.*.debounce` means every site.
    pub path: String,
    pub value: String,
}

impl Inputs {
    #[must_use]
    pub fn of_the_process(config_file: Option<PathBuf>, flags: Vec<Flag>) -> Self {
        let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
        Self {
            environment: std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect(),
            dotenv: Some(PathBuf::from(DOTENV)),
            config_file,
            flags,
            zone: system_zone(Path::new("/etc/localtime")),
        }
    }
}

/// The zone that a link into the tz database names.
fn system_zone(link: &Path) -> Option<String> {
    value::zone(fs::read_link(link).ok()?.to_str()?).ok()
}

impl fmt::Debug for Inputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inputs")
            .field("dotenv", &self.dotenv)
            .field("config_file", &self.config_file)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flag({})", self.name)
    }
}

/// What could be read of a `.env`.
#[derive(Default)]
pub(super) struct Dotenv {
    pub(super) variables: BTreeMap<String, String>,
    pub(super) broken: Vec<BrokenLine>,
}

/// A line of a `.env` that cannot be parsed.
pub(super) struct BrokenLine {
    pub(super) number: usize,
    /// The variable that the line seems to set.
    pub(super) name: String,
    /// Whether an unclosed quote makes the line swallow the rest of the file.
    pub(super) is_open: bool,
}

/// Reads a `.env` without changing the environment of the process.
pub(super) fn dotenv(file: &Path) -> Result<Dotenv, ConfigError> {
    let mut text = match fs::read_to_string(file) {
        Ok(text) => text.trim_start_matches('\u{feff}').to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Dotenv::default()),
        Err(error) => return Err(unreadable(file, &error)),
    };
    // dotenvy takes a blank at the end of the file for an open quote.
    text.push('\n');
    let variables = dotenvy::from_read_iter(text.as_bytes()).filter_map(Result::ok).collect();
    Ok(Dotenv { variables, broken: broken_lines(&text) })
}

/// An error of dotenvy quotes the line, perhaps with a secret, and has no line number, so each line is parsed alone.
fn broken_lines(text: &str) -> Vec<BrokenLine> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut broken = Vec::new();
    let mut start = 0;
    while start < lines.len() {
        let mut end = start + 1;
        let is_open = loop {
            let tried = lines[start..end].concat();
            match dotenvy::from_read_iter(tried.as_bytes()).next() {
                // An error that quotes the whole line means an open quote, which the next line may close.
                Some(Err(dotenvy::Error::LineParse(back, at))) if back == tried && at == tried.len() => {
                    if end == lines.len() {
                        break Some(true);
                    }
                    end += 1;
                }
                Some(Err(_)) => break Some(false),
                Some(Ok(_)) | None => break None,
            }
        };
        if let Some(is_open) = is_open {
            let name = lines[start].split('=').next().unwrap_or_default().trim();
            let name = name.strip_prefix("export ").unwrap_or(name).trim().to_owned();
            broken.push(BrokenLine { number: start + 1, name, is_open });
        }
        start = end;
    }
    broken
}

/// Reads the TOML file. An error names the line but does not show it.
pub(super) fn toml(file: &Path) -> Result<toml::Table, ConfigError> {
    let text = fs::read_to_string(file).map_err(|error| unreadable(file, &error))?;
    text.parse::<toml::Table>().map_err(|error| {
        let line = error
            .span()
            .map(|span| text.as_bytes()[..span.start.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1);
        let file = line.map_or_else(|| name(file), |line| format!("{}, line {line}", name(file)));
        ConfigError::File { file, reason: error.message().to_owned() }
    })
}

/// Reads a secret's file, without the newline at its end.
pub(super) fn secret(file: &Path) -> Result<String, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("the file cannot be read: {error}"))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() { Err("the file is empty".to_owned()) } else { Ok(secret.to_owned()) }
}

fn unreadable(file: &Path, error: &io::Error) -> ConfigError {
    ConfigError::File { file: name(file), reason: format!("cannot be read: {error}") }
}

fn name(file: &Path) -> String {
    file.display().to_string()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_zone_of_the_system_is_what_its_link_names_where_that_is_a_zone() {
        let folder = tempfile::tempdir().unwrap();
        for (number, (target, zone)) in [
            ("/usr/share/zoneinfo/Etc/UTC", Some("Etc/UTC")),
            ("../usr/share/zoneinfo/Europe/Moscow", Some("Europe/Moscow")),
            ("/usr/share/zoneinfo/Mars/Olympus", None),
            ("/etc/somewhere", None),
        ]
        .into_iter()
        .enumerate()
        {
            let link = folder.path().join(number.to_string());
            symlink(target, &link).unwrap();
            assert_eq!(system_zone(&link).as_deref(), zone, "{target}");
        }
        assert_eq!(system_zone(folder.path()), None, "no link");
    }
}

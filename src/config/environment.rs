//! Reads variables, the `.env`, files and the system's time zone. Nothing else in the project reads the environment.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use token_sidecar_client::redis::read_file;

use super::error::ConfigError;
use super::value::Parsed;
use crate::domain::schedule::time_zone;

/// The `.env` that is looked for in the working folder.
const DOTENV: &str = ".env";

/// A file that is larger was named by mistake.
const LARGEST: u64 = 64 << 20;
const LARGEST_SECRET: u64 = 64 << 10;

/// Where the settings come from.
#[derive(Clone, Default)]
pub struct Inputs {
    pub environment: BTreeMap<String, String>,
    /// Need not exist.
    pub dotenv: Option<PathBuf>,
    /// From `--config`; `None` means the TOML file of `SIDECAR_CONFIG`.
    pub config_file: Option<PathBuf>,
    pub flags: Vec<Flag>,
    /// The system's time zone, if its name is known.
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
    pub fn of_the_process(config_file: Option<PathBuf>, flags: Vec<Flag>) -> Self {
        let text = |value: OsString| value.to_string_lossy().into_owned();
        Self {
            environment: std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect(),
            dotenv: Some(PathBuf::from(DOTENV)),
            config_file,
            flags,
            zone: zone("/etc/localtime").ok(),
        }
    }
}

/// The time zone that a setting or the system names: by its IANA name, as a POSIX string such as `MSK-3`, or by a file of
/// the tz database or a link to one.
pub(super) fn zone(text: &str) -> Parsed<String> {
    let name = text.trim().trim_start_matches(':');
    let link = Some(name).filter(|name| name.starts_with('/')).and_then(|name| fs::read_link(name).ok());
    let name = link.as_deref().and_then(Path::to_str).unwrap_or(name);
    let name = name.rsplit_once("/zoneinfo/").map_or(name, |(_, name)| name);
    let name = name.strip_prefix("posix/").or_else(|| name.strip_prefix("right/")).unwrap_or(name);
    match time_zone(name) {
        Some(_) => Ok(name.to_owned()),
        None => Err("expected a time zone such as UTC, Europe/Moscow or MSK-3".to_owned()),
    }
}

/// What could be read of a `.env`.
#[derive(Default)]
pub(super) struct Dotenv {
    pub(super) variables: BTreeMap<String, String>,
    pub(super) broken: Vec<BrokenLine>,
    /// The first line with bytes that are not UTF-8; they are read as `�`.
    pub(super) encoding: Option<usize>,
}

/// A line of a `.env` that cannot be parsed.
pub(super) struct BrokenLine {
    pub(super) number: usize,
    /// The variable that the line seems to set.
    pub(super) name: String,
    /// Whether an unclosed quote makes the line swallow the rest of the file.
    pub(super) is_open: bool,
}

/// A reader that returns one line at a time, and counts them.
struct Lines<'a> {
    rest: &'a [u8],
    count: &'a Cell<usize>,
}

impl Read for Lines<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let end = self.rest.iter().position(|byte| *byte == b'\n').map_or(self.rest.len(), |at| at + 1);
        let (line, rest) = self.rest.split_at(end.min(buffer.len()));
        self.count.set(self.count.get() + usize::from(line.ends_with(b"\n")));
        buffer[..line.len()].copy_from_slice(line);
        self.rest = rest;
        Ok(line.len())
    }
}

/// Reads a `.env` without changing the environment of the process.
pub(super) fn dotenv(file: &Path) -> Result<Dotenv, ConfigError> {
    let bytes = match read_file(file, LARGEST) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Dotenv::default()),
        Err(error) => return Err(unreadable(file, &error)),
    };
    let is_newline = |byte: &&u8| **byte == b'\n';
    let encoding =
        std::str::from_utf8(&bytes).err().map(|e| 1 + bytes[..e.valid_up_to()].iter().filter(is_newline).count());
    let mut text = String::from_utf8_lossy(&bytes).trim_start_matches('\u{feff}').to_owned();
    // dotenvy takes a blank at the end of the file for an open quote.
    text.push('\n');
    let mut dotenv = Dotenv { encoding, ..Dotenv::default() };
    let count = Cell::new(0);
    for parsed in dotenvy::from_read_iter(Lines { rest: text.as_bytes(), count: &count }) {
        match parsed {
            Ok((name, value)) => _ = dotenv.variables.insert(name, value),
            // What the error quotes ends with the line that was read last, and with its newline if a quote is open.
            Err(dotenvy::Error::LineParse(quoted, _)) => {
                let number = count.get() + 1 - quoted.lines().count().clamp(1, count.get());
                let name =
                    text.lines().nth(number - 1).and_then(|line| line.split('=').next()).unwrap_or_default().trim();
                let name = name.strip_prefix("export ").unwrap_or(name).trim().to_owned();
                dotenv.broken.push(BrokenLine { number, name, is_open: quoted.ends_with('\n') });
            }
            Err(_) => {}
        }
    }
    Ok(dotenv)
}

/// Reads the TOML file. An error names the line but does not show it.
pub(super) fn toml(file: &Path) -> Result<toml::Table, ConfigError> {
    let text = read_text(file, LARGEST).map_err(|error| unreadable(file, &error))?;
    let table = text.parse::<toml::Table>().map_err(|error| {
        let line = error
            .span()
            .map(|span| text.as_bytes()[..span.start.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1);
        let file = line.map_or_else(|| name(file), |line| format!("{}, line {line}", name(file)));
        ConfigError::File { file, reason: error.message().to_owned() }
    })?;
    Ok(numbered(table))
}

/// Makes each list of tables a table whose names are their numbers.
fn numbered(table: toml::Table) -> toml::Table {
    let item = |value| match value {
        toml::Value::Table(table) => toml::Value::Table(numbered(table)),
        toml::Value::Array(items) if items.iter().any(toml::Value::is_table) => {
            let items = items.into_iter().enumerate().map(|(number, value)| (number.to_string(), value));
            toml::Value::Table(numbered(items.collect()))
        }
        value => value,
    };
    table.into_iter().map(|(name, value)| (name, item(value))).collect()
}

/// A variable as this process has it, whatever a `.env` says.
pub(super) fn of_this_process(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// Reads the file of a template.
pub(super) fn template(file: &Path) -> Parsed<String> {
    read_text(file, LARGEST).map_err(|error| format!("the file cannot be read: {error}"))
}

/// The number of a user, who may be named as in /etc/passwd.
pub(super) fn user(text: &str) -> Parsed<u32> {
    number_of(text, Path::new("/etc/passwd"), "user")
}

/// The number of a group, which may be named as in /etc/group.
pub(super) fn group(text: &str) -> Parsed<u32> {
    number_of(text, Path::new("/etc/group"), "group")
}

/// Both files have the name in the first field of a line, and the number in the third.
fn number_of(text: &str, file: &Path, kind: &str) -> Parsed<u32> {
    let name = text.trim();
    let number = name.parse().ok().or_else(|| {
        let lines = read_text(file, LARGEST).unwrap_or_default();
        let of_line = |line: &str| {
            let mut fields = line.split(':');
            (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?
        };
        lines.lines().find_map(of_line)
    });
    number.ok_or_else(|| format!("expected a number, or the name of a {kind} in {}", file.display()))
}

/// Reads a secret's file, without the newline at its end.
pub(super) fn secret(file: &Path) -> Parsed<String> {
    let text = read_text(file, LARGEST_SECRET).map_err(|error| format!("the file cannot be read: {error}"))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() { Err("the file is empty".to_owned()) } else { Ok(secret.to_owned()) }
}

/// Reads a file without the byte order mark that some editors write.
fn read_text(file: &Path, most: u64) -> io::Result<String> {
    let text = String::from_utf8(read_file(file, most)?).map_err(|_| io::Error::other("it is not UTF-8"))?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
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
    fn a_zone_is_understood_as_systems_set_it() {
        let folder = tempfile::tempdir().unwrap();
        let link = |name: &str, target: &str| {
            let link = folder.path().join(name);
            symlink(target, &link).unwrap();
            link.display().to_string()
        };
        let (utc, moscow) = (link("utc", "/usr/share/zoneinfo/Etc/UTC"), link("moscow", "../zoneinfo/Europe/Moscow"));
        let (mars, elsewhere) = (link("mars", "/usr/share/zoneinfo/Mars/Olympus"), link("elsewhere", "/etc/somewhere"));
        let folder = folder.path().display().to_string();
        for (text, name) in [
            ("UTC", Some("UTC")),
            (":Europe/Moscow", Some("Europe/Moscow")),
            ("posix/Europe/Moscow", Some("Europe/Moscow")),
            ("/usr/share/zoneinfo/Europe/Moscow", Some("Europe/Moscow")),
            (&utc, Some("Etc/UTC")),
            (&format!(":{moscow}"), Some("Europe/Moscow")),
            ("UTC0", Some("UTC0")),
            ("MSK-3", Some("MSK-3")),
            ("<+03>-3", Some("<+03>-3")),
            ("CET-1CEST,M3.5.0,M10.5.0/3", Some("CET-1CEST,M3.5.0,M10.5.0/3")),
            ("Mars/Olympus", None),
            (&mars, None),
            (&elsewhere, None),
            (&folder, None),
        ] {
            assert_eq!(zone(text).ok().as_deref(), name, "{text}");
        }
    }

    #[test]
    fn a_long_dotenv_with_an_open_quote_is_read_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(".env");
        // If each line were parsed together with all before it, this would take a quarter of an hour.
        fs::write(&file, format!("A=1\nB='open\n{}", "X=1\n".repeat(200_000))).unwrap();
        let dotenv = dotenv(&file).unwrap_or_default();
        assert_eq!(dotenv.broken.iter().map(|line| (line.number, line.is_open)).collect::<Vec<_>>(), [(2, true)]);
        assert_eq!(dotenv.variables["A"], "1");
    }
}

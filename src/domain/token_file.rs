//! A file that holds the stored token, and what is done once it has been written.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::file_template::FileTemplate;

/// A file of a site that is kept current.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFile {
    pub path: PathBuf,
    pub content: Content,
    pub access: Access,
    /// What is done each time that it has been written.
    pub hook: Option<Hook>,
}

impl TokenFile {
    /// What tells it from the other files of its site: the path, and the variable where it is one of several lines.
    pub fn name_among(&self, all: &[Self]) -> String {
        let path = self.path.display();
        match &self.content {
            Content::EnvLine(key) if all.iter().filter(|other| other.path == self.path).count() > 1 => {
                format!("{path} {key}")
            }
            _ => path.to_string(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The line of a `.env` that sets this variable to the bare token. The other lines are another's.
    EnvLine(String),
    /// The whole file.
    Template(FileTemplate),
}

/// Who may read a file. What is `None` stays as it is; a new file is readable by its owner only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Access {
    /// The permission bits.
    pub mode: Option<u32>,
    pub owner: Option<u32>,
    pub group: Option<u32>,
}

/// What tells the reader of a file that it has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hook {
    Command(HookCommand),
    /// A signal to the process whose number is in a file. Without that file no process runs that would need one.
    Signal {
        signal: HookSignal,
        pid_file: PathBuf,
    },
}

/// A program, which is started without a shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookCommand {
    pub program: String,
    pub arguments: Vec<String>,
    /// All of its environment but `PATH`.
    pub environment: Vec<Variable>,
    /// After this it is killed.
    pub timeout: Duration,
}

/// A variable of the environment. Its `Debug` shows the name alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Variable {
    pub name: String,
    pub value: OsString,
}

impl fmt::Debug for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The signals by which programs are told to read their files again, or to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HookSignal {
    Hup,
    Int,
    Quit,
    Term,
    Usr1,
    Usr2,
    Winch,
}

//! One effective setting and where it comes from, for people.

use std::fmt;
use std::path::PathBuf;

/// One effective setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its dotted path in the TOML file.
    pub path: String,
    /// Its environment variable.
    pub env: Option<String>,
    /// The value, secrets redacted; `None` where it is not set.
    pub value: Option<String>,
    /// Where the value comes from.
    pub origin: Origin,
}

/// Where a value comes from, the weakest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody has set it.
    Default,
    /// The system says so: its time zone.
    System,
    /// The built-in site.
    BuiltIn,
    /// The TOML file.
    File(PathBuf),
    /// A variable of the `.env`.
    DotEnv {
        /// The `.env`.
        file: PathBuf,
        /// The variable.
        variable: String,
    },
    /// A variable of the environment.
    Environment(String),
    /// A flag of the command line.
    Flag(String),
}

impl Origin {
    /// The place alone, for the head of an error.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Default => "default".to_owned(),
            Self::System => "system".to_owned(),
            Self::BuiltIn => "built-in site".to_owned(),
            Self::File(file) | Self::DotEnv { file, .. } => file.display().to_string(),
            Self::Environment(_) => "environment".to_owned(),
            Self::Flag(_) => "flag".to_owned(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place())?;
        match self {
            Self::DotEnv { variable: name, .. } | Self::Environment(name) | Self::Flag(name) => write!(f, " {name}"),
            _ => Ok(()),
        }
    }
}

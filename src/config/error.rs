//! What is wrong with the settings. No text here ever has a secret in it.

use std::fmt;

/// Everything that is wrong with the settings, one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, error) in self.0.iter().enumerate() {
            let end = if n == 0 { "" } else { "\n" };
            write!(f, "{end}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// One thing that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A value that cannot be.
    #[error("{place}: {name} = {value}: {reason}")]
    Wrong {
        /// `environment`, `flag`, or the file's name.
        place: String,
        /// The key or the variable, as it is written there.
        name: String,
        /// The value, as far as it may be shown.
        value: String,
        /// What would be right.
        reason: String,
    },
    /// A key that does not exist.
    #[error("{place}: unknown key {key}: {hint}")]
    Unknown {
        /// The file's name.
        place: String,
        /// The dotted path.
        key: String,
        /// The nearest known key, or all that are known there.
        hint: String,
    },
    /// A key that must be set and is not.
    #[error("{key} is not set: {reason}")]
    Missing {
        /// The dotted path, and the variable if there is one.
        key: String,
        /// What it is for.
        reason: String,
    },
    /// A secret that is given in two ways at once.
    #[error("{place}: {one} and {other} are both set: keep one of them")]
    Twice {
        /// `environment`, or the file's name.
        place: String,
        /// The one.
        one: String,
        /// The other.
        other: String,
    },
    /// A file that cannot be read or is not what it should be.
    #[error("{file}: {reason}")]
    File {
        /// The file's name, and the line if one is to blame.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Values that do not go together.
    #[error("{0}")]
    Conflict(String),
}

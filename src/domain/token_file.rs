//! A file that holds the stored token.

use std::path::PathBuf;

use super::file_template::FileTemplate;

/// A file of a site that is kept current.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFile {
    pub path: PathBuf,
    pub content: Content,
    pub access: Access,
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

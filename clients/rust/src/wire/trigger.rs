//! Why a refresh was started.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a refresh was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    /// A message on `S:token:invalid`.
    Invalid,
    /// The command `refresh` or the status page; always forced.
    Manual,
    /// A tick of the schedule.
    Schedule,
    /// The token or its key ends soon.
    Expiry,
    /// The process has just started.
    Startup,
    /// The subscription was interrupted: messages may have been missed.
    Reconnect,
    /// The key is gone.
    Vanished,
    /// A token was found and adopted.
    Bootstrap,
}

impl Trigger {
    /// Every trigger, for tables and metrics.
    pub const ALL: [Self; 8] = [
        Self::Invalid,
        Self::Manual,
        Self::Schedule,
        Self::Expiry,
        Self::Startup,
        Self::Reconnect,
        Self::Vanished,
        Self::Bootstrap,
    ];

    /// Its name in messages, keys, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Manual => "manual",
            Self::Schedule => "schedule",
            Self::Expiry => "expiry",
            Self::Startup => "startup",
            Self::Reconnect => "reconnect",
            Self::Vanished => "vanished",
            Self::Bootstrap => "bootstrap",
        }
    }

    /// Reads the name back.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.as_str() == word)
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

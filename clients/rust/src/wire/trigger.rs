//! Why a refresh was started.

use serde::{Deserialize, Serialize};

/// Why a refresh was started: its label in messages, keys, logs and metrics is its name in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[derive(strum::Display, strum::EnumString, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "lowercase", const_into_str)]
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
    /// The key no longer exists.
    Vanished,
    /// A token was found and adopted.
    Bootstrap,
}

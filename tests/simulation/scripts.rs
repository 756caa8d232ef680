//! The scripts that ship, by the names of their files.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::reply::{Command, Reply};

macro_rules! scripts {
    ($($name:literal),*) => {
        [$(($name, concat!(
            include_str!("../../src/adapters/redis/lua/state.lua"),
            include_str!(concat!("../../src/adapters/redis/lua/", $name, ".lua")),
        ))),*]
    };
}

/// Each script as it is loaded.
pub(crate) const ALL: [(&str, &str); 7] =
    scripts!("look", "claim", "renew", "commit", "fail", "announce", "vacate");

static NAMES: LazyLock<BTreeMap<String, &str>> =
    LazyLock::new(|| ALL.into_iter().map(|(name, text)| (sha1_smol::Sha1::from(text).digest().to_string(), name)).collect());

/// The script that a command runs.
pub(crate) fn name(command: &Command) -> Option<&'static str> {
    match &command[..] {
        [verb, sha, ..] if verb == b"EVALSHA" => NAMES.get(std::str::from_utf8(sha).ok()?).copied(),
        _ => None,
    }
}

/// A command and what came of it, in a line of the story.
pub(crate) fn line(process: usize, command: &Command, reply: &Reply) -> String {
    let who = if process == usize::MAX { "somebody".to_owned() } else { format!("sidecar {process}") };
    let what = name(command).map_or_else(
        || command.iter().map(|w| String::from_utf8_lossy(w)).collect::<Vec<_>>().join(" ").chars().take(100).collect(),
        str::to_owned,
    );
    let word = match reply {
        Reply::Nil => "nothing".to_owned(),
        Reply::Status(text) | Reply::Error(text) => text.clone(),
        Reply::Integer(number) => number.to_string(),
        Reply::Bulk(text) => String::from_utf8_lossy(text).into_owned(),
        Reply::Array(items) => match items.first() {
            Some(Reply::Bulk(word)) => String::from_utf8_lossy(word).into_owned(),
            Some(Reply::Integer(number)) => number.to_string(),
            _ => "…".to_owned(),
        },
        Reply::Push(_) => "…".to_owned(),
    };
    format!("{who}: {what} → {word}")
}

//! The scripts that ship, by the names of their files.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use token_sidecar::redis::lua;

use crate::reply::{Command, Reply};
use crate::world::SOMEBODY;

/// Each script as it is loaded.
pub(crate) const ALL: [(&str, &str); 7] = [
    ("look", lua::LOOK),
    ("claim", lua::CLAIM),
    ("renew", lua::RENEW),
    ("commit", lua::COMMIT),
    ("fail", lua::FAIL),
    ("announce", lua::ANNOUNCE),
    ("vacate", lua::VACATE),
];

/// Where the claim stands in `commit` and `fail`: after the verb, the digest, the number of keys, five keys, the lock's TTL.
pub(crate) const CLAIM: usize = 9;

static NAMES: LazyLock<BTreeMap<String, &str>> = LazyLock::new(|| {
    ALL.into_iter().map(|(name, text)| (sha1_smol::Sha1::from(text).digest().to_string(), name)).collect()
});

/// The script that a command runs.
pub(crate) fn name(command: &Command) -> Option<&'static str> {
    match &command[..] {
        [verb, sha, ..] if verb == b"EVALSHA" => NAMES.get(std::str::from_utf8(sha).ok()?).copied(),
        _ => None,
    }
}

/// A command and what came of it, in a line of the story.
pub(crate) fn line(process: usize, command: &Command, reply: &Reply) -> String {
    let who = if process == SOMEBODY { "somebody".to_owned() } else { format!("sidecar {process}") };
    let words = || command.iter().map(|w| String::from_utf8_lossy(w)).collect::<Vec<_>>().join(" ");
    let what = match name(command) {
        Some(script) => script.to_owned(),
        None if command[0] == b"SCRIPT" => "SCRIPT LOAD".to_owned(),
        None => words(),
    };
    format!("{who}: {what} → {}", shown(reply))
}

/// A reply in words, with all that is in it.
fn shown(reply: &Reply) -> String {
    match reply {
        Reply::Nil => "–".to_owned(),
        Reply::Status(text) | Reply::Error(text) => text.clone(),
        Reply::Integer(number) => number.to_string(),
        Reply::Bulk(text) => String::from_utf8_lossy(text).into_owned(),
        Reply::Array(items) | Reply::Push(items) => {
            format!("({})", items.iter().map(shown).collect::<Vec<_>>().join(" "))
        }
    }
}

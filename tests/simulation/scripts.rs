//! The scripts that ship, by the names of their files.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use token_sidecar::redis::scripts;

use crate::reply::{Command, Reply};
use crate::world::OTHER_CLIENT;

/// Each script as Redis has it.
pub(crate) const ALL: [(&str, &str); 8] = [
    ("look", scripts::LOOK),
    ("claim", scripts::CLAIM),
    ("renew", scripts::RENEW),
    ("commit", scripts::COMMIT),
    ("fail", scripts::FAIL),
    ("announce", scripts::ANNOUNCE),
    ("vacate", scripts::VACATE),
    ("heartbeat", scripts::HEARTBEAT),
];

static NAMES: LazyLock<BTreeMap<String, &str>> = LazyLock::new(|| {
    ALL.into_iter().map(|(name, text)| (sha1_smol::Sha1::from(text).digest().to_string(), name)).collect()
});

/// The script that a command runs.
pub(crate) fn name(command: &Command) -> Option<&'static str> {
    match &command[..] {
        [verb, sha, ..] if verb == b"EVALSHA" => NAMES.get(std::str::from_utf8(sha).ok()?).copied(),
        [verb, script, ..] if verb == b"EVAL" => {
            NAMES.get(&sha1_smol::Sha1::from(script).digest().to_string()).copied()
        }
        _ => None,
    }
}

/// The claim that a script is run for.
pub(crate) fn claim(command: &Command) -> Option<String> {
    let arguments: serde_json::Value = serde_json::from_slice(command.last()?).ok()?;
    Some(arguments["claim"].as_str()?.to_owned())
}

/// A command and what came of it, in a line of the story.
pub(crate) fn line(process: usize, command: &Command, reply: &Reply) -> String {
    let who = if process == OTHER_CLIENT { "a client".to_owned() } else { format!("sidecar {process}") };
    let words = || command.iter().map(|w| text(w)).collect::<Vec<_>>().join(" ");
    let what = match name(command) {
        Some(script) => script.to_owned(),
        None => words(),
    };
    format!("{who}: {what} → {}", shown(reply))
}

/// A word of a command or a payload, without the random part of a canary, which no seed decides.
pub(crate) fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    match text.split_once(':') {
        Some((instance, _)) if instance.starts_with("sidecar-") => format!("{instance}:…"),
        _ => text.into_owned(),
    }
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

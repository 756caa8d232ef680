//! Reads the history of a site: the stream beside its keys.

use std::collections::HashMap;

use jiff::Timestamp;
use token_sidecar_client::redis::{Link, LinkError};
use token_sidecar_client::wire::KeyNames;

use super::scripts;
use crate::status::HistoryEntry;

/// The most entries that are read at once.
pub const MAX_ENTRIES: usize = 1000;

type Fields = HashMap<Vec<u8>, Vec<u8>>;

/// The latest attempts, newest first.
pub async fn latest(link: &Link, keys: &KeyNames, limit: usize) -> Result<Vec<HistoryEntry>, LinkError> {
    let mut command = redis::cmd("EVAL");
    command.arg(scripts::HISTORY).arg(1).arg(keys.companion("history")).arg(limit.clamp(1, MAX_ENTRIES));
    let entries: Vec<(String, Fields)> = link.command(&command).await?;
    Ok(entries.iter().map(|(id, fields)| read(id, fields)).collect())
}

fn read(id: &str, fields: &Fields) -> HistoryEntry {
    let field = |name: &str| Some(String::from_utf8_lossy(fields.get(name.as_bytes())?).into_owned());
    let number = |name: &str| field(name).and_then(|value| value.parse().ok());
    let at = id.split('-').next().and_then(|ms| ms.parse().ok()).and_then(|ms| Timestamp::from_millisecond(ms).ok());
    HistoryEntry {
        at: at.unwrap_or_default(),
        outcome: field("outcome").unwrap_or_default(),
        trigger: field("trigger"),
        source: field("source"),
        stage: field("stage"),
        error: field("error"),
        version: number("version"),
        solve_ms: number("solve_ms"),
        extract_ms: number("extract_ms"),
        verify_ms: number("verify_ms"),
        reason: field("reason"),
        reporter: field("reporter"),
        instance: field("instance"),
    }
}

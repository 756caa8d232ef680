//! Reads the history of a site: the stream beside its keys.

use jiff::Timestamp;
use token_sidecar_client::redis::{Link, LinkError};
use token_sidecar_client::wire::KeyNames;

use crate::status::HistoryEntry;

/// The most entries that one reading brings.
pub const MAX_ENTRIES: usize = 1000;

/// Its id and its fields.
type Entry = (String, Vec<Vec<u8>>);

/// The latest attempts, newest first.
///
/// # Errors
/// [`LinkError`] where Redis is away or refuses.
pub async fn latest(link: &Link, keys: &KeyNames, limit: usize) -> Result<Vec<HistoryEntry>, LinkError> {
    let command = redis::cmd("XREVRANGE")
        .arg(keys.companion("history"))
        .arg("+")
        .arg("-")
        .arg("COUNT")
        .arg(limit.clamp(1, MAX_ENTRIES))
        .clone();
    let entries: Vec<Entry> = link.command(&command).await?;
    Ok(entries.iter().map(read).collect())
}

fn read((id, fields): &Entry) -> HistoryEntry {
    let field = |name: &str| {
        let pair = fields.chunks_exact(2).find(|pair| pair[0] == name.as_bytes())?;
        Some(String::from_utf8_lossy(&pair[1]).into_owned())
    };
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

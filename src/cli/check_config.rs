//! `check-config`: every setting and where it comes from.

use super::{Exit, Stopped, screen};
use crate::config::Listed;

pub(super) fn print(listed: &Listed) -> Result<Exit, Stopped> {
    let rows: Vec<(String, String)> = listed
        .settings
        .iter()
        .map(|s| (format!("{} = {}", s.path, s.value.as_deref().unwrap_or("-")), s.origin.to_string()))
        .collect();
    let width = rows.iter().map(|(text, _)| text.chars().count()).filter(|w| *w <= 80).max().unwrap_or(0);
    for (text, origin) in rows {
        let origin = format!("# {origin}");
        screen::line(format!("{text:width$}  {}", screen::faint(&origin)))?;
    }
    for warning in &listed.warnings {
        screen::error_line(warning);
    }
    Ok(Exit::Done)
}

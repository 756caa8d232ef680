//! `check-config`: every setting and where it comes from.

use serde_json::json;

use super::args::Output;
use super::{Exit, Stopped, screen};
use crate::config::Listed;

pub(super) fn print(listed: &Listed, output: &Output) -> Result<Exit, Stopped> {
    if output.json {
        let settings = listed
            .settings
            .iter()
            .map(|setting| json!({"path": setting.path, "value": setting.value, "origin": setting.origin.to_string()}));
        let shown = json!({"settings": settings.collect::<Vec<_>>(), "warnings": listed.warnings});
        screen::line(format!("{shown:#}"))?;
        return Ok(Exit::Done);
    }
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

//! `check-config`: every setting and where it comes from, or what the files of a site would hold.

use serde_json::json;

use super::args::Output;
use super::{Exit, Stopped, screen};
use crate::config::{Listed, SiteConfig};
use crate::domain::token_file::Content;

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
        .map(|s| {
            (format!("{} = {}", s.path, s.value.as_deref().unwrap_or("-").replace('\n', "\\n")), s.origin.to_string())
        })
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

/// Prints each file of a site as it would be written, with `hidden` in place of what is secret.
pub(super) fn render(site: &SiteConfig) -> Result<Exit, Stopped> {
    if site.files.is_empty() {
        screen::error_line(&format!("the site {} keeps no file: [[sites.{}.files]] names one", site.id, site.id));
    }
    for file in &site.files {
        let mode = file.access.mode.map(|mode| format!(", mode {mode:04o}")).unwrap_or_default();
        let (of, content) = match &file.content {
            Content::EnvLine(key) => (", one line", format!("{key}=hidden\n")),
            // It was rendered when it was parsed.
            Content::Template(template) => {
                ("", template.sample(site.id.as_str()).map_err(|e| Stopped::new(Exit::Config, e))?)
            }
        };
        screen::line(screen::faint(&format!("# {}{of}{mode}", file.path.display())))?;
        screen::line(content.strip_suffix('\n').unwrap_or(&content))?;
    }
    Ok(Exit::Done)
}

//! `watch`: events as they come.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use super::patience::reach;
use super::screen::plain;
use super::{Exit, Stopped, screen};
use crate::app;
use crate::config::{Config, SiteConfig};
use crate::domain::event::{Event, UpdatedCause};

/// The rest between two tries while Redis is away.
const PACE: Duration = Duration::from_millis(500);

pub(super) async fn run(config: &Config, sites: &[&SiteConfig]) -> Result<Exit, Stopped> {
    let mut events = reach(async || app::events(config, sites).await).await?;
    loop {
        match events.next().await {
            Ok(event) if io::stdout().is_terminal() => screen::line(readable(&event))?,
            Ok(event) => screen::line(event.to_json())?,
            Err(error) => {
                screen::complain(&format!("{error}; listening again, what was said meanwhile is not known"));
                events = loop {
                    match app::events(config, sites).await {
                        Ok(events) => break events,
                        Err(_) => tokio::time::sleep(PACE).await,
                    }
                };
            }
        }
    }
}

fn readable(event: &Event) -> String {
    let now = app::wall_clock().to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S").to_string();
    match event {
        Event::Updated(updated) => {
            let word = match updated.cause {
                UpdatedCause::Refreshed => screen::good("updated "),
                UpdatedCause::Repeated => screen::faint("repeated"),
            };
            format!(
                "{} {word} {} {} by {} ({}), version {}",
                screen::faint(&now),
                plain(&updated.site),
                plain(&updated.fingerprint),
                plain(&updated.source),
                updated.trigger,
                updated.version
            )
        }
        Event::Failed(failed) => format!(
            "{} {} {} at {}, attempt {}: {}; next try {}",
            screen::faint(&now),
            screen::bad("failed  "),
            plain(&failed.site),
            plain(&failed.stage),
            failed.attempt,
            plain(&failed.error),
            failed.retry_at
        ),
    }
}

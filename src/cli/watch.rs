//! `watch`: events as they come.

use std::io::{self, IsTerminal as _};

use token_sidecar_client::wire::{Event, UpdatedCause};
use tokio_stream::StreamExt as _;

use super::patience::reach;
use super::screen::plain;
use super::{Exit, Stopped, screen};
use crate::app;
use crate::client::{Update, Updates};
use crate::config::{Config, SiteConfig};

pub(super) async fn run(config: &Config, sites: &[&SiteConfig]) -> Result<Exit, Stopped> {
    let mut updates = Updates::of(config, sites)?;
    reach(async || match updates.next().await {
        Some(Update::Lost(error)) => Err(error.into()),
        _ => Ok(()),
    })
    .await?;
    let mut is_listening = true;
    while let Some(update) = updates.next().await {
        match update {
            Update::Event(event) if io::stdout().is_terminal() => screen::line(readable(&event))?,
            Update::Event(event) => screen::line(event.to_json())?,
            Update::Listening => is_listening = true,
            // Said once, not at every try.
            Update::Lost(error) if std::mem::replace(&mut is_listening, false) => {
                screen::complain(&format!("{error}; listening again, what was said meanwhile is not known"));
            }
            Update::Lost(_) => {}
        }
    }
    Ok(Exit::Done)
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
            failed.stage,
            failed.attempt,
            plain(&failed.error),
            failed.retry_at
        ),
    }
}

//! `watch`: events as they come.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use super::patience::reach;
use super::screen::plain;
use super::{Exit, Stopped, screen};
use crate::adapters::clock::SystemClock;
use crate::adapters::redis::client::Events;
use crate::adapters::redis::{Channels, Connector};
use crate::app::AppError;
use crate::config::{Config, SiteConfig};
use crate::domain::event::{Event, UpdatedCause};

/// The rest between two tries while Redis is away.
const PACE: Duration = Duration::from_millis(500);

pub(super) async fn run(config: &Config, sites: &[&SiteConfig]) -> Result<Exit, Stopped> {
    let connector = Connector::new(&config.redis).map_err(AppError::from)?;
    let channels: Vec<String> = sites
        .iter()
        .flat_map(|site| {
            let channels = Channels::of(&site.id);
            [channels.updated, channels.failed]
        })
        .collect();
    let mut events = reach(async || Events::on(&connector, &channels).await).await?;
    loop {
        match events.next().await {
            Ok(event) if io::stdout().is_terminal() => screen::line(readable(&event))?,
            Ok(event) => screen::line(event.to_json())?,
            Err(error) => {
                screen::complain(&format!("{error}; listening again, what was said meanwhile is not known"));
                events = loop {
                    match Events::on(&connector, &channels).await {
                        Ok(events) => break events,
                        Err(_) => tokio::time::sleep(PACE).await,
                    }
                };
            }
        }
    }
}

fn readable(event: &Event) -> String {
    let now = SystemClock::wall().to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S").to_string();
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

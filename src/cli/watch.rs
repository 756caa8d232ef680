//! `watch`: prints events as they arrive.

use std::io::{self, IsTerminal as _};

use token_sidecar_client::wire::{Event, UpdatedCause};
use token_sidecar_client::{Update, Updates};

use super::args::Output;
use super::patience::reach;
use super::screen::plain;
use super::{Exit, Stopped, screen};
use crate::app;
use crate::config::{Config, SiteConfig};

pub(super) async fn run(config: &Config, sites: &[&SiteConfig], output: &Output) -> Result<Exit, Stopped> {
    let for_people = !output.json && io::stdout().is_terminal();
    let mut updates = Updates::of(app::connector(config)?, sites.iter().map(|site| &site.id));
    reach(&config.redis, async || match updates.next().await {
        Update::Lost(error) => Err(error),
        _ => Ok(()),
    })
    .await?;
    let mut is_subscribed = true;
    loop {
        match updates.next().await {
            Update::Event(event) if for_people => screen::line(readable(&event))?,
            Update::Event(event) => screen::line(event.to_json())?,
            Update::Subscribed => is_subscribed = true,
            // Shown once, not at every attempt.
            Update::Lost(error) if std::mem::replace(&mut is_subscribed, false) => {
                screen::error_line(&format!("{error}; subscribing again, events in between are missed"));
            }
            Update::Lost(_) => {}
        }
    }
}

fn readable(event: &Event) -> String {
    let now = app::wall_clock().to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S").to_string();
    match event {
        Event::Updated(updated) => {
            let label = match updated.cause {
                UpdatedCause::Refreshed => screen::good("updated "),
                UpdatedCause::Repeated => screen::faint("repeated"),
            };
            format!(
                "{} {label} {} {} by {} ({}), version {}",
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

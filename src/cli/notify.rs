//! `notify --test`: one notice to each address.

use futures_util::future::join_all;

use super::{Exit, Stopped, screen};
use crate::app;
use crate::clock::SystemClock;
use crate::config::{Config, SiteConfig};

/// A notice that is sent for all sites names `site`.
pub(super) async fn run(config: &Config, site: &SiteConfig) -> Result<Exit, Stopped> {
    if config.notices.is_empty() {
        let reason = "no notice is set: [[notices]] in the TOML file, or TELEGRAM_NOTIFICATION_BOT_TOKEN and …_CHAT_ID";
        return Err(Stopped::because(Exit::Usage, reason));
    }
    let (notifiers, mut exit) = (app::notifiers(config.notices.clone())?, Exit::Done);
    let tests = notifiers.iter().map(|notifier| notifier.test(&site.id, SystemClock::wall()));
    for (notifier, sent) in notifiers.iter().zip(join_all(tests).await) {
        match sent {
            Ok(()) => screen::line(format!("{}: {}", notifier.name(), screen::good("sent")))?,
            Err(error) => {
                screen::line(format!("{}: {}", notifier.name(), screen::bad(&screen::plain(&error.to_string()))))?;
                exit = Exit::TryAgain;
            }
        }
    }
    Ok(exit)
}

//! The channels of a site.

use super::event::Event;
use super::site::SiteId;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    Invalid,
    /// Announcements of outcomes.
    Event,
    /// Messages between sidecars, and each sidecar's probe of its own subscription.
    Canary,
}

/// The channels that the contract names.
#[derive(Debug, Clone)]
pub struct Channels {
    /// Where parsers report that the token does not work.
    pub invalid: String,
    /// Where a new token is announced.
    pub updated: String,
    /// Where a failure is announced.
    pub failed: String,
    /// For the sidecars alone.
    pub canary: String,
}

impl Channels {
    pub const ALL_UPDATED: &'static str = "token:updated";
    pub const ALL_FAILED: &'static str = "token:failed";

    pub fn of(site: &SiteId) -> Self {
        Self {
            invalid: format!("{site}:token:invalid"),
            updated: format!("{site}:token:updated"),
            failed: format!("{site}:token:failed"),
            canary: format!("{site}:token:canary"),
        }
    }

    pub fn all(self) -> [String; 4] {
        [self.invalid, self.updated, self.failed, self.canary]
    }

    /// The site and the topic of a channel; `None` for other channels.
    pub fn read(channel: &str) -> Option<(&str, Topic)> {
        // A site's id has no colon.
        let (site, name) = channel.split_once(':')?;
        let topic = match name.strip_prefix("token")?.strip_prefix(':')? {
            "invalid" => Topic::Invalid,
            "updated" | "failed" => Topic::Event,
            "canary" => Topic::Canary,
            _ => return None,
        };
        Some((site, topic))
    }

    /// The two on which an event is published.
    pub fn for_event(&self, event: &Event) -> (&'static str, &str) {
        match event {
            Event::Updated(_) => (Self::ALL_UPDATED, &self.updated),
            Event::Failed(_) => (Self::ALL_FAILED, &self.failed),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn what_is_listened_to_is_read_back_and_nothing_else() {
        let channels = Channels::of(&SiteId::parse("shop-2").unwrap()).all();
        let topics = channels.each_ref().map(|channel| Channels::read(channel));
        assert_eq!(topics, [Topic::Invalid, Topic::Event, Topic::Event, Topic::Canary].map(|t| Some(("shop-2", t))));
        for other in [Channels::ALL_UPDATED, &format!("{}:", channels[0]), "shop-2:tokens", "shop-2", ""] {
            assert_eq!(Channels::read(other), None, "{other}");
        }
    }
}

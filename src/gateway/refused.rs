//! Routes that were refused although the token was new: they need a login, which no new token has.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::Method;
use token_sidecar_client::wire::SiteId;

/// How long a 401 of such a route is no report by itself.
const REMEMBERED: Duration = Duration::from_secs(5 * 60);
/// How many routes are remembered; one more replaces the oldest.
const MOST: usize = 1024;

/// The routes by their hashes, the oldest first.
#[derive(Default)]
pub(super) struct RefusedRoutes {
    hasher: RandomState,
    recent: Mutex<VecDeque<(u64, Duration)>>,
}

impl RefusedRoutes {
    /// `now` by the monotonic clock.
    pub(super) fn contains(&self, site: &SiteId, method: &Method, path: &str, now: Duration) -> bool {
        let route = self.hasher.hash_one((site, method, path));
        self.recent(now).iter().any(|(known, _)| *known == route)
    }

    pub(super) fn insert(&self, site: &SiteId, method: &Method, path: &str, now: Duration) {
        let route = self.hasher.hash_one((site, method, path));
        let mut recent = self.recent(now);
        recent.retain(|(known, _)| *known != route);
        if recent.len() == MOST {
            recent.pop_front();
        }
        recent.push_back((route, now));
    }

    fn recent(&self, now: Duration) -> MutexGuard<'_, VecDeque<(u64, Duration)>> {
        // A panic cannot leave the value half-changed.
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        while recent.front().is_some_and(|(_, at)| now.saturating_sub(*at) >= REMEMBERED) {
            recent.pop_front();
        }
        recent
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_remembered_for_five_minutes_and_so_are_a_thousand() {
        let (shop, routes) = (SiteId::parse("shop").unwrap(), RefusedRoutes::default());
        let knows =
            |method: Method, path: &str, second| routes.contains(&shop, &method, path, Duration::from_secs(second));
        routes.insert(&shop, &Method::GET, "/me", Duration::ZERO);
        assert!(knows(Method::GET, "/me", 299));
        assert!(!knows(Method::POST, "/me", 1) && !knows(Method::GET, "/me/", 1));
        assert!(!routes.contains(&SiteId::parse("other").unwrap(), &Method::GET, "/me", Duration::ZERO));
        assert!(!knows(Method::GET, "/me", 300));
        for n in 0..=MOST {
            routes.insert(&shop, &Method::GET, &n.to_string(), Duration::from_secs(300));
        }
        assert!(!knows(Method::GET, "0", 300) && knows(Method::GET, "1", 300));
        assert_eq!(routes.recent.lock().unwrap().len(), MOST);
    }
}

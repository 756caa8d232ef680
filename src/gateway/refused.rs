//! What a 401 is about: the token, or a route that asks for more than a token, such as a login.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::Method;
use futures_util::future::BoxFuture;
use token_sidecar_client::wire::Fingerprint;
use tokio::time::timeout;

use crate::domain::stored::StoredToken;
use crate::domain::verdict::Verdict;

/// How long a 401 of such a route is no report by itself.
const REMEMBERED: Duration = Duration::from_secs(5 * 60);
/// How many routes of a site are remembered; one more replaces the oldest.
const MOST: usize = 256;

/// Asks the probe of the site about a token.
pub type Judge = Arc<dyn Fn(Arc<StoredToken>) -> BoxFuture<'static, Verdict> + Send + Sync>;

/// Decides for one site. Until a route has refused a new token, each 401 is about the token. From then on, and for a
/// request that cannot be sent again, the probe is asked.
pub(super) struct Refusals {
    judge: Judge,
    /// Held while the probe is asked, so that requests that wait share the verdict.
    last: tokio::sync::Mutex<Option<Judged>>,
    hasher: RandomState,
    /// The routes that have refused a new token, by their hashes, the oldest first.
    routes: Mutex<VecDeque<(u64, Duration)>>,
}

struct Judged {
    token: Fingerprint,
    began: Duration,
    verdict: Verdict,
}

/// A request that was answered with 401. Times are by the monotonic clock.
pub(super) struct Refused<'a> {
    pub(super) method: &'a Method,
    pub(super) path: &'a str,
    pub(super) token: &'a Arc<StoredToken>,
    pub(super) sent: Duration,
    /// Whether it can be sent again, which would show whether the route refuses a new token too.
    pub(super) may_be_repeated: bool,
}

impl Refusals {
    pub(super) fn new(judge: Judge) -> Self {
        Self { judge, last: Default::default(), hasher: RandomState::new(), routes: Mutex::default() }
    }

    /// Whether the token is to be reported. The probe has at most `patience`; without an answer it says nothing.
    ///
    /// Where only other routes are remembered, the token is at fault unless the probe accepts it: the routes of a site
    /// may have ids in them, as in `/orders/1`.
    pub(super) async fn is_about_the_token(
        &self,
        refused: &Refused<'_>,
        now: impl Fn() -> Duration,
        patience: Duration,
    ) -> bool {
        let (is_known, is_any_known) = self.known(refused, now());
        if !is_any_known && refused.may_be_repeated {
            return true;
        }
        match timeout(patience, self.verdict(refused, &now)).await {
            Ok(Verdict::Accepted) => {
                self.remember(refused.method, refused.path, now());
                false
            }
            Ok(Verdict::Refused(_)) => true,
            Ok(Verdict::Blocked(_) | Verdict::Unclear(_)) | Err(_) => !is_known,
        }
    }

    /// The route refuses a token that is good.
    pub(super) fn remember(&self, method: &Method, path: &str, now: Duration) {
        let route = self.hasher.hash_one((method, path));
        let mut routes = self.routes(now);
        routes.retain(|(known, _)| *known != route);
        if routes.len() == MOST {
            routes.pop_front();
        }
        routes.push_back((route, now));
    }

    /// What the probe says of the token. An earlier verdict counts if its probe began after the request was sent.
    async fn verdict(&self, refused: &Refused<'_>, now: impl Fn() -> Duration) -> Verdict {
        let token = refused.token.token.fingerprint();
        let mut last = self.last.lock().await;
        if let Some(judged) = last.as_ref().filter(|judged| judged.token == token && judged.began >= refused.sent) {
            return judged.verdict.clone();
        }
        let began = now();
        let verdict = (self.judge)(Arc::clone(refused.token)).await;
        *last = Some(Judged { token, began, verdict: verdict.clone() });
        verdict
    }

    /// Whether this route is remembered, and whether any is.
    fn known(&self, refused: &Refused<'_>, now: Duration) -> (bool, bool) {
        let route = self.hasher.hash_one((refused.method, refused.path));
        let routes = self.routes(now);
        (routes.iter().any(|(known, _)| *known == route), !routes.is_empty())
    }

    fn routes(&self, now: Duration) -> MutexGuard<'_, VecDeque<(u64, Duration)>> {
        // A panic cannot leave the value half-changed.
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        while routes.front().is_some_and(|(_, at)| now.saturating_sub(*at) >= REMEMBERED) {
            routes.pop_front();
        }
        routes
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use futures_util::FutureExt as _;
    use futures_util::future::join_all;
    use token_sidecar_client::wire::{Cookies, Token};
    use tokio::time::Instant;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The probe's verdict, and how often it was asked.
    struct Given {
        verdict: Arc<Mutex<Verdict>>,
        asked: Arc<AtomicUsize>,
        refusals: Refusals,
        token: Arc<StoredToken>,
        start: Instant,
    }

    impl Given {
        /// With a probe that takes a second.
        #[expect(clippy::disallowed_methods, reason = "a clock that the runtime pauses")]
        fn new() -> Self {
            let (verdict, asked) = (Arc::new(Mutex::new(Verdict::Accepted)), Arc::new(AtomicUsize::new(0)));
            let (says, counts) = (Arc::clone(&verdict), Arc::clone(&asked));
            let judge: Judge = Arc::new(move |_| {
                counts.fetch_add(1, SeqCst);
                let verdict = says.lock().unwrap().clone();
                tokio::time::sleep(SECOND).map(|()| verdict).boxed()
            });
            let (token, cookies) = (Token::parse("token").unwrap(), Cookies::default());
            let token = Arc::new(StoredToken { token, cookies, version: 1, user_agent: None, ends_at: None });
            Self { verdict, asked, refusals: Refusals::new(judge), token, start: Instant::now() }
        }

        fn says(&self, verdict: Verdict) -> &Self {
            *self.verdict.lock().unwrap() = verdict;
            self
        }

        fn now(&self) -> Duration {
            self.start.elapsed()
        }

        fn refused<'a>(&'a self, path: &'a str) -> Refused<'a> {
            Refused { method: &Method::GET, path, token: &self.token, sent: self.now(), may_be_repeated: true }
        }

        fn remember(&self, path: &str) {
            self.refusals.remember(&Method::GET, path, self.now());
        }

        async fn is_about_the_token(&self, path: &str) -> bool {
            self.refusals.is_about_the_token(&self.refused(path), || self.now(), 10 * SECOND).await
        }

        fn asked(&self) -> usize {
            self.asked.swap(0, SeqCst)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_probe_decides_once_a_route_has_refused_a_new_token() {
        let given = Given::new();
        assert!(given.is_about_the_token("/orders/1").await);
        assert_eq!(given.asked(), 0);
        given.remember("/orders/1");
        let unclear = || Verdict::Unclear("503".into());
        for (verdict, listed, other) in [
            (Verdict::Refused("401".into()), true, true),
            (unclear(), false, true),
            (Verdict::Blocked("403".into()), false, true),
            (Verdict::Accepted, false, false),
        ] {
            given.says(verdict.clone());
            let answers = (given.is_about_the_token("/orders/1").await, given.is_about_the_token("/orders/2").await);
            assert_eq!((answers, given.asked()), ((listed, other), 2), "{verdict:?}");
        }
        // That it was accepted makes the other one known too, and each for five minutes more.
        given.says(unclear());
        assert!(!given.is_about_the_token("/orders/2").await);
        let post = Refused { method: &Method::POST, ..given.refused("/orders/2") };
        assert!(given.refusals.is_about_the_token(&post, || given.now(), SECOND * 10).await);
        tokio::time::advance(REMEMBERED).await;
        given.asked();
        assert!(given.is_about_the_token("/orders/2").await);
        assert_eq!(given.asked(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_share_a_verdict_whose_probe_began_after_they_were_sent() {
        let given = Given::new();
        given.remember("/login");
        assert!(!join_all((0..100).map(|_| given.is_about_the_token("/me"))).await.contains(&true));
        assert_eq!(given.asked(), 1);
        // This one was sent before the token was revoked, with the verdict on its way.
        let early = given.refused("/me");
        given.says(Verdict::Refused("401".into()));
        tokio::time::advance(SECOND).await;
        assert!(given.is_about_the_token("/me").await);
        assert!(given.refusals.is_about_the_token(&early, || given.now(), SECOND).await);
        assert_eq!(given.asked(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_cannot_be_sent_again_is_judged_by_the_probe() {
        let given = Given::new();
        for (verdict, is_about_the_token) in
            [(Verdict::Refused("401".into()), true), (Verdict::Unclear("503".into()), true), (Verdict::Accepted, false)]
        {
            given.says(verdict);
            let refused = Refused { may_be_repeated: false, ..given.refused("/upload") };
            let judged = given.refusals.is_about_the_token(&refused, || given.now(), 10 * SECOND).await;
            assert_eq!((judged, given.asked()), (is_about_the_token, 1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_without_an_answer_says_nothing() {
        let given = Given::new();
        given.remember("/login");
        let refusals = &given.refusals;
        for (path, is_about_the_token) in [("/login", false), ("/me", true)] {
            let refused = given.refused(path);
            assert_eq!(refusals.is_about_the_token(&refused, || given.now(), SECOND / 2).await, is_about_the_token);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_routes_are_remembered() {
        let given = Given::new();
        for n in 0..=MOST {
            given.remember(&n.to_string());
        }
        given.says(Verdict::Unclear("503".into()));
        assert!(given.is_about_the_token("0").await);
        assert!(!given.is_about_the_token("1").await);
        assert_eq!(given.refusals.routes.lock().unwrap().len(), MOST);
    }
}

//! The token of a site, and the wait for the next one, which all requests share: it leads to one report.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use jiff::Timestamp;
use token_sidecar_client::wire::{Failed, Fingerprint, Report};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::domain::pending::Arrival;
use crate::domain::stored::StoredToken;
use crate::refresh::mailbox::Mailbox;

/// Says in logs and in the history who reports.
const SOURCE: &str = "gateway";

/// Why there is no token to send.
#[derive(Debug, Clone)]
pub(super) enum NoToken {
    /// An attempt has failed since the report, or a back-off is in force.
    Failed(Arc<Failed>),
    TimeOver,
    /// The driver of the site has ended.
    Stopped,
}

pub(super) struct Tokens {
    stored: watch::Receiver<Option<StoredToken>>,
    mailbox: Arc<Mailbox>,
    /// Ends with the last request that waits.
    wait: Mutex<Weak<Wait>>,
}

/// A report and what it leads to.
struct Wait {
    refused: Fingerprint,
    failed: watch::Sender<Option<Arc<Failed>>>,
}

impl Tokens {
    pub(super) fn new(stored: watch::Receiver<Option<StoredToken>>, mailbox: Arc<Mailbox>) -> Self {
        Self { stored, mailbox, wait: Mutex::default() }
    }

    /// The stored token, unless it is the one that was refused or has ended. `now` by the store's clock.
    pub(super) fn usable(&self, refused: Option<Fingerprint>, now: Option<Timestamp>) -> Option<StoredToken> {
        self.stored.borrow().as_ref().filter(|stored| is_usable(stored, refused, now)).cloned()
    }

    /// Waits for a token other than the refused one, at most for `patience`. The first of several requests that wait
    /// for the same reports.
    pub(super) async fn next(
        &self,
        refused: Option<Fingerprint>,
        now: impl Fn() -> Option<Timestamp>,
        patience: Duration,
    ) -> Result<StoredToken, NoToken> {
        let mut stored = self.stored.clone();
        let wait = self.report(refused);
        let mut failed = wait.failed.subscribe();
        let waiting = async {
            loop {
                let latest = stored.borrow_and_update().as_ref().filter(|s| is_usable(s, refused, now())).cloned();
                if let Some(latest) = latest {
                    return Ok(latest);
                }
                tokio::select! {
                    changed = stored.changed() => changed.map_err(|_| NoToken::Stopped)?,
                    failed = failed.wait_for(Option::is_some) => {
                        let failed = failed.ok().and_then(|failed| failed.clone());
                        return Err(failed.map_or(NoToken::Stopped, NoToken::Failed));
                    }
                }
            }
        };
        timeout(patience, waiting).await.unwrap_or(Err(NoToken::TimeOver))
    }

    /// Reports the refused token, unless a request waits already for what the same report leads to.
    ///
    /// Without a refused token, a token that has ended or none at all is reported: where Redis holds another one, which
    /// this process has not read yet, such a report leads to no solve.
    pub(super) fn report_refused(&self, refused: Fingerprint) {
        drop(self.report(Some(refused)));
    }

    fn report(&self, refused: Option<Fingerprint>) -> Arc<Wait> {
        let known = || self.stored.borrow().as_ref().map(|stored| stored.token.fingerprint());
        let refused = refused.or_else(known).unwrap_or_else(|| Fingerprint::of(""));
        let mut open = self.open();
        let is_same = |wait: &Arc<Wait>| wait.refused == refused && wait.failed.borrow().is_none();
        if let Some(wait) = open.upgrade().filter(is_same) {
            return wait;
        }
        let wait = Arc::new(Wait { refused, failed: watch::Sender::new(None) });
        *open = Arc::downgrade(&wait);
        drop(open);
        let report = Report { fingerprint: Some(refused), source: Some(SOURCE.to_owned()), ..Report::default() };
        self.mailbox.post(Arrival::Message(report));
        wait
    }

    /// A failure was announced, which answers all that wait.
    pub(super) fn failed(&self, failed: &Failed) {
        if let Some(wait) = self.open().upgrade() {
            wait.failed.send_replace(Some(Arc::new(failed.clone())));
        }
    }

    fn open(&self) -> MutexGuard<'_, Weak<Wait>> {
        // A panic cannot leave the value half-changed.
        self.wait.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_usable(stored: &StoredToken, refused: Option<Fingerprint>, now: Option<Timestamp>) -> bool {
    let has_ended = stored.ends_at.zip(now).is_some_and(|(end, now)| end <= now);
    !has_ended && refused != Some(stored.token.fingerprint())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use futures_util::future::join_all;
    use token_sidecar_client::wire::{Cookies, FailedCause, Stage, Token, Trigger};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    struct Given {
        tokens: Tokens,
        stored: watch::Sender<Option<StoredToken>>,
        mailbox: Arc<Mailbox>,
    }

    fn given(token: Option<StoredToken>) -> Given {
        let (stored, mailbox) = (watch::Sender::new(token), Arc::new(Mailbox::default()));
        Given { tokens: Tokens::new(stored.subscribe(), Arc::clone(&mailbox)), stored, mailbox }
    }

    fn token(text: &str) -> StoredToken {
        let (token, cookies) = (Token::parse(text).unwrap(), Cookies::default());
        StoredToken { token, cookies, version: 1, user_agent: None, ends_at: None }
    }

    fn failed(error: &str) -> Failed {
        Failed {
            site: "shop".into(),
            cause: FailedCause::Attempt,
            stage: Stage::Solve,
            error: error.into(),
            attempt: 1,
            retry_at: Timestamp::MAX,
            valid_until: None,
            trigger: Trigger::Invalid,
        }
    }

    impl Given {
        async fn next(&self, refused: Option<&str>) -> Result<String, NoToken> {
            let refused = refused.map(Fingerprint::of);
            self.tokens.next(refused, || None, PATIENCE).await.map(|stored| stored.token.expose().to_owned())
        }

        /// How many reports were made since the last call, and on which tokens.
        fn reports(&self) -> (u64, Vec<Fingerprint>) {
            let mut inbox = crate::domain::inbox::Inbox::default();
            inbox.take_in(self.mailbox.take());
            (inbox.pending.uncounted, inbox.pending.reported.iter().collect())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_wait_for_one_token_share_one_report() {
        let given = given(Some(token("old")));
        let waiting = join_all((0..200).map(|_| given.next(Some("old"))));
        let refresh = async {
            tokio::task::yield_now().await;
            assert_eq!(given.reports(), (1, vec![Fingerprint::of("old")]));
            given.stored.send_replace(Some(token("new")));
        };
        let (answers, ()) = tokio::join!(waiting, refresh);
        assert!(answers.into_iter().all(|answer| answer.unwrap() == "new"));
        // A late one finds it at once.
        assert!(given.tokens.usable(Some(Fingerprint::of("old")), None).is_some());
        assert_eq!(given.reports().0, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_answers_all_that_wait_and_the_next_one_reports_again() {
        let given = given(Some(token("old")));
        for error in ["first", "second"] {
            let failing = async {
                tokio::task::yield_now().await;
                assert_eq!(given.reports().0, 1);
                given.tokens.failed(&failed(error));
            };
            let (one, two, ()) = tokio::join!(given.next(Some("old")), given.next(Some("old")), failing);
            for answer in [one, two] {
                let Err(NoToken::Failed(failed)) = answer else { panic!("{answer:?}") };
                assert_eq!(failed.error, error);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_has_an_end_and_the_next_one_reports_again() {
        let given = given(None);
        for _ in 0..2 {
            assert!(matches!(given.next(None).await, Err(NoToken::TimeOver)));
            // The report names no token that there is, so it leads to no solve where Redis holds one.
            assert_eq!(given.reports(), (1, vec![Fingerprint::of("")]));
        }
        drop(given.stored);
        let tokens = &given.tokens;
        assert!(matches!(tokens.next(None, || None, PATIENCE).await, Err(NoToken::Stopped)));
    }

    #[test]
    fn a_token_that_has_ended_is_not_used() {
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        let given = given(Some(StoredToken { ends_at: at(100), ..token("old") }));
        let is_usable = |now| given.tokens.usable(None, now).is_some();
        assert!(is_usable(None) && is_usable(at(99)) && !is_usable(at(100)));
    }
}

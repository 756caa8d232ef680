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
    stored: watch::Receiver<Option<Arc<StoredToken>>>,
    mailbox: Arc<Mailbox>,
    /// The last failure that was announced. It answers all that wait.
    failed: watch::Sender<Option<Arc<Failed>>>,
    /// The report that requests wait for: it ends with the last of them.
    open: Mutex<Weak<Fingerprint>>,
}

impl Tokens {
    pub(super) fn new(stored: watch::Receiver<Option<Arc<StoredToken>>>, mailbox: Arc<Mailbox>) -> Self {
        Self { stored, mailbox, failed: watch::Sender::new(None), open: Mutex::default() }
    }

    /// The stored token, unless it is the one that was refused or has ended. `now` by the store's clock.
    pub(super) fn usable(&self, refused: Option<Fingerprint>, now: Option<Timestamp>) -> Option<Arc<StoredToken>> {
        self.stored.borrow().as_ref().filter(|stored| is_usable(stored, refused, now)).cloned()
    }

    /// Waits for a token other than the refused one, at most for `patience`. The first of several requests that wait
    /// for the same reports.
    ///
    /// Without a refused token, a token that has ended or none at all is reported: where Redis holds another one, which
    /// this process has not read yet, such a report leads to no solve.
    pub(super) async fn next(
        &self,
        refused: Option<Fingerprint>,
        now: impl Fn() -> Option<Timestamp>,
        patience: Duration,
    ) -> Result<Arc<StoredToken>, NoToken> {
        let (mut stored, mut failed) = (self.stored.clone(), self.failed.subscribe());
        let _open = self.open(refused.unwrap_or_else(|| self.missing()));
        let waiting = async {
            loop {
                let latest = stored.borrow_and_update().as_ref().filter(|s| is_usable(s, refused, now())).cloned();
                if let Some(latest) = latest {
                    return Ok(latest);
                }
                tokio::select! {
                    changed = stored.changed() => changed.map_err(|_| NoToken::Stopped)?,
                    changed = failed.changed() => {
                        let failed = changed.ok().and_then(|()| failed.borrow_and_update().clone());
                        return Err(failed.map_or(NoToken::Stopped, NoToken::Failed));
                    }
                }
            }
        };
        timeout(patience, waiting).await.unwrap_or(Err(NoToken::TimeOver))
    }

    /// Reports the stored token, which was refused, without a wait.
    pub(super) fn report(&self, refused: Fingerprint) {
        let report = Report { fingerprint: Some(refused), source: Some(SOURCE.to_owned()), ..Report::default() };
        self.mailbox.post(Arrival::Message(report));
    }

    /// A failure was announced.
    pub(super) fn failed(&self, failed: &Failed) {
        *self.lock() = Weak::new();
        self.failed.send_replace(Some(Arc::new(failed.clone())));
    }

    /// Makes a report, unless a request waits for what the same one leads to.
    fn open(&self, refused: Fingerprint) -> Arc<Fingerprint> {
        let mut open = self.lock();
        if let Some(same) = open.upgrade().filter(|open| **open == refused) {
            return same;
        }
        let opened = Arc::new(refused);
        *open = Arc::downgrade(&opened);
        drop(open);
        self.report(refused);
        opened
    }

    /// What is reported where no token was refused: the one that has ended, or a fingerprint that no token has.
    fn missing(&self) -> Fingerprint {
        self.stored.borrow().as_ref().map_or_else(of_no_token, |stored| stored.token.fingerprint())
    }

    fn lock(&self) -> MutexGuard<'_, Weak<Fingerprint>> {
        // A panic cannot leave the value half-changed.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The fingerprint of an empty token, which there is not.
fn of_no_token() -> Fingerprint {
    Fingerprint::of("")
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
        stored: watch::Sender<Option<Arc<StoredToken>>>,
        mailbox: Arc<Mailbox>,
    }

    fn given(token: Option<Arc<StoredToken>>) -> Given {
        let (stored, mailbox) = (watch::Sender::new(token), Arc::new(Mailbox::default()));
        Given { tokens: Tokens::new(stored.subscribe(), Arc::clone(&mailbox)), stored, mailbox }
    }

    fn token(text: &str) -> Arc<StoredToken> {
        let (token, cookies) = (Token::parse(text).unwrap(), Cookies::default());
        Arc::new(StoredToken { token, cookies, version: 1, user_agent: None, ends_at: None })
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
    async fn a_failure_answers_all_whatever_token_they_wait_to_be_replaced() {
        let given = given(None);
        let failing = async {
            tokio::task::yield_now().await;
            given.tokens.report(Fingerprint::of("third"));
            assert_eq!(given.reports().0, 3);
            given.tokens.failed(&failed("down"));
        };
        let (one, other, ()) = tokio::join!(given.next(Some("first")), given.next(Some("second")), failing);
        assert!(matches!((one, other), (Err(NoToken::Failed(_)), Err(NoToken::Failed(_)))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_has_an_end_and_the_next_one_reports_again() {
        let given = given(None);
        for _ in 0..2 {
            assert!(matches!(given.next(None).await, Err(NoToken::TimeOver)));
            // The report names no token that there is, so it leads to no solve where Redis holds one.
            assert_eq!(given.reports(), (1, vec![of_no_token()]));
        }
        drop(given.stored);
        let tokens = &given.tokens;
        assert!(matches!(tokens.next(None, || None, PATIENCE).await, Err(NoToken::Stopped)));
    }

    #[test]
    fn a_token_that_has_ended_is_not_used() {
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        let given = given(Some(Arc::new(StoredToken { ends_at: at(100), ..(*token("old")).clone() })));
        let is_usable = |now| given.tokens.usable(None, now).is_some();
        assert!(is_usable(None) && is_usable(at(99)) && !is_usable(at(100)));
    }
}

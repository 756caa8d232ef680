//! The state that the solver, the shop, the API and the control paths share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::faults::{CookieKind, Faults, RequestKind};
use crate::sessions::Sessions;
use crate::settings::Settings;
use crate::statistics::Statistics;
use crate::token::{Minted, TokenSource};

/// How many requests FlareSolverr works on at a time.
const WORKERS: usize = 4;

pub(crate) struct SharedState {
    pub(crate) settings: Settings,
    pub(crate) statistics: watch::Sender<Statistics>,
    /// FlareSolverr's threads. Every request to it takes one, `/health` too.
    pub(crate) workers: Semaphore,
    /// Ends connections and solves when the simulator stops.
    pub(crate) stop: CancellationToken,
    /// Changes when faults are set or cleared, which releases requests that hang.
    release: watch::Sender<()>,
    resettable: Mutex<Resettable>,
}

/// What a reset forgets, but for the source of tokens.
pub(crate) struct Resettable {
    pub(crate) tokens: TokenSource,
    pub(crate) sessions: Sessions,
    /// User agents of browsers by the `__ddg1_` cookie that they got.
    pub(crate) visitors: HashMap<String, String>,
    faults: Faults,
    /// `exp` of the tokens that the API accepts, by fingerprint.
    live: HashMap<String, i64>,
    last: Option<Minted>,
}

impl Resettable {
    fn new(tokens: TokenSource) -> Self {
        Self {
            tokens,
            sessions: Sessions::default(),
            visitors: HashMap::new(),
            faults: Faults::default(),
            live: HashMap::new(),
            last: None,
        }
    }
}

impl SharedState {
    pub(crate) fn new(settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            resettable: Mutex::new(Resettable::new(TokenSource::new(settings.seed))),
            settings,
            statistics: watch::Sender::default(),
            workers: Semaphore::new(WORKERS),
            stop: CancellationToken::new(),
            release: watch::Sender::default(),
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Resettable> {
        self.resettable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a solve to its end even if its client disconnects, as FlareSolverr does.
    pub(crate) async fn run_to_end<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let work = self.stop.clone().run_until_cancelled_owned(work);
        #[expect(clippy::disallowed_methods, reason = "the task ends with the simulator")]
        let task = tokio::spawn(work);
        match task.await {
            Ok(Some(result)) => result,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// Forgets tokens, sessions, faults and counters. Solves that are running are not counted any more.
    pub(crate) fn reset(&self) {
        let mut state = self.lock();
        let old = std::mem::replace(&mut *state, Resettable::new(TokenSource::new(None)));
        state.tokens = old.tokens;
        self.statistics.send_modify(|all| *all = Statistics { epoch: all.epoch + 1, ..Statistics::default() });
        drop(state);
        self.release.send_replace(());
    }

    pub(crate) fn faults(&self) -> Faults {
        self.lock().faults.clone()
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        tracing::info!(faults = %serde_json::to_string(&faults).unwrap_or_default(), "faults set");
        self.lock().faults = faults;
        self.release.send_replace(());
    }

    /// The faults that hit the next request of this kind, and what ends its hanging.
    pub(crate) fn take_faults(&self, kind: RequestKind) -> (Faults, Hang) {
        let release = self.release.subscribe();
        (self.lock().faults.take(kind), Hang(release))
    }

    /// Creates a live token with the life of the settings.
    pub(crate) fn mint(&self) -> Minted {
        self.mint_for(self.settings.token_life)
    }

    /// Creates a live token.
    pub(crate) fn mint_for(&self, life: Duration) -> Minted {
        self.mint_kind(CookieKind::Normal, life)
    }

    /// Creates the token for a cookie of this kind; live where the kind is live.
    pub(crate) fn mint_kind(&self, kind: CookieKind, life: Duration) -> Minted {
        let (now, mut state) = (clock::now(), self.lock());
        if kind == CookieKind::Repeated
            && let Some(last) = &state.last
        {
            return last.clone();
        }
        let minted = match kind {
            CookieKind::Expired => state.tokens.jwt(issue_time_of_expired(now, life), life),
            CookieKind::Opaque => state.tokens.opaque(40, now, life),
            CookieKind::Oversized => state.tokens.opaque(9 * 1024, now, life),
            _ => state.tokens.jwt(now, life),
        };
        if !matches!(kind, CookieKind::Expired | CookieKind::Dead) {
            state.live.insert(minted.fingerprint.clone(), minted.expires_at);
            state.last = Some(minted.clone());
        }
        self.statistics.send_modify(|all| all.minted += 1);
        minted
    }

    pub(crate) fn accepts(&self, fingerprint: &str) -> bool {
        let now = clock::now().as_second();
        self.lock().live.get(fingerprint).is_some_and(|expires_at| now < *expires_at)
    }

    /// Revokes one token, or all; returns how many were live.
    pub(crate) fn revoke(&self, fingerprint: Option<&str>) -> usize {
        let mut state = self.lock();
        match fingerprint {
            Some(one) => usize::from(state.live.remove(&one.to_ascii_lowercase()).is_some()),
            None => std::mem::take(&mut state.live).len(),
        }
    }
}

/// Ends when faults are set or cleared.
pub(crate) struct Hang(watch::Receiver<()>);

impl Hang {
    pub(crate) async fn until_released(mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

/// When a token of this life was issued if it expired an hour ago.
fn issue_time_of_expired(now: Timestamp, life: Duration) -> Timestamp {
    let age = Duration::from_secs(3600).saturating_add(life);
    now.checked_sub(age).unwrap_or(Timestamp::UNIX_EPOCH)
}

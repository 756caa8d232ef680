//! The state that solver, shop, API and control share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::faults::{CookieKind, Faults, Role};
use crate::settings::Settings;
use crate::solver::Sessions;
use crate::statistics::Statistics;
use crate::token::{Mint, Minted};

/// How many requests FlareSolverr works on at a time.
const WORKERS: usize = 4;

pub(crate) struct World {
    pub(crate) settings: Settings,
    pub(crate) statistics: watch::Sender<Statistics>,
    /// FlareSolverr's threads: whatever it is asked takes one, `/health` too.
    pub(crate) workers: Semaphore,
    /// Ends connections and solves when the simulator goes.
    pub(crate) stop: CancellationToken,
    /// Changes when faults are set or cleared: what hangs goes on.
    release: watch::Sender<()>,
    state: Mutex<State>,
}

pub(crate) struct State {
    pub(crate) mint: Mint,
    pub(crate) sessions: Sessions,
    /// `__ddg1_` cookies and the user agents of the browsers that got them.
    pub(crate) visitors: HashMap<String, String>,
    faults: Faults,
    /// `exp` of the tokens that the API accepts, by fingerprint.
    live: HashMap<String, i64>,
    last: Option<Minted>,
}

impl State {
    fn new(mint: Mint) -> Self {
        Self {
            mint,
            sessions: Sessions::default(),
            visitors: HashMap::new(),
            faults: Faults::default(),
            live: HashMap::new(),
            last: None,
        }
    }
}

impl World {
    pub(crate) fn new(settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State::new(Mint::new(settings.seed))),
            settings,
            statistics: watch::Sender::default(),
            workers: Semaphore::new(WORKERS),
            stop: CancellationToken::new(),
            release: watch::Sender::default(),
        })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a solve to its end, also where nobody waits for it any more.
    pub(crate) async fn finish<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let work = self.stop.clone().run_until_cancelled_owned(work);
        #[expect(clippy::disallowed_methods, reason = "the task ends with the world")]
        let task = tokio::spawn(work);
        match task.await {
            Ok(Some(result)) => result,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// Forgets tokens, sessions, faults and counters; what is still running does not count any more.
    pub(crate) fn reset(&self) {
        let mut state = self.state();
        let old = std::mem::replace(&mut *state, State::new(Mint::new(None)));
        state.mint = old.mint;
        self.statistics.send_modify(|all| *all = Statistics { epoch: all.epoch + 1, ..Statistics::default() });
        drop(state);
        self.release.send_replace(());
    }

    pub(crate) fn faults(&self) -> Faults {
        self.state().faults.clone()
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        tracing::info!(faults = %serde_json::to_string(&faults).unwrap_or_default(), "faults set");
        self.state().faults = faults;
        self.release.send_replace(());
    }

    /// What goes wrong with the next request of this role, and a wait for the moment when it need not hang longer.
    pub(crate) fn take_faults(&self, role: Role) -> (Faults, Hang) {
        let release = self.release.subscribe();
        (self.state().faults.take(role), Hang(release))
    }

    /// A live token of the life that the settings give.
    pub(crate) fn mint(&self) -> Minted {
        self.mint_for(self.settings.token_life)
    }

    /// A live token.
    pub(crate) fn mint_for(&self, life: Duration) -> Minted {
        self.make(CookieKind::Normal, life)
    }

    /// The token for a cookie of this kind; live where the kind says so.
    pub(crate) fn make(&self, kind: CookieKind, life: Duration) -> Minted {
        let (now, mut state) = (clock::now(), self.state());
        if kind == CookieKind::Repeated
            && let Some(last) = &state.last
        {
            return last.clone();
        }
        let minted = match kind {
            CookieKind::Expired => state.mint.jwt(an_hour_before(now, life), life),
            CookieKind::Opaque => state.mint.opaque(40, now, life),
            CookieKind::Oversized => state.mint.opaque(9 * 1024, now, life),
            _ => state.mint.jwt(now, life),
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
        self.state().live.get(fingerprint).is_some_and(|expires_at| now < *expires_at)
    }

    /// Revokes one token, or all; says how many.
    pub(crate) fn revoke(&self, fingerprint: Option<&str>) -> usize {
        let mut state = self.state();
        match fingerprint {
            Some(one) => usize::from(state.live.remove(&one.to_ascii_lowercase()).is_some()),
            None => std::mem::take(&mut state.live).len(),
        }
    }
}

/// A wait that ends when faults are set or cleared.
pub(crate) struct Hang(watch::Receiver<()>);

impl Hang {
    pub(crate) async fn until_released(mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

/// When a token of this life was issued if it expired an hour ago.
fn an_hour_before(now: Timestamp, life: Duration) -> Timestamp {
    let age = Duration::from_secs(3600).saturating_add(life);
    now.checked_sub(age).unwrap_or(Timestamp::UNIX_EPOCH)
}

//! The visit of one solver to the page.
//!
//! Some pages set the cookie late, by a script. From version 3.5.2 on FlareSolverr reads the cookies after
//! `waitInSeconds`. Earlier versions read them before the wait, so the page is opened twice in a session of our own.
//! A session keeps a browser open, and is therefore always destroyed.
//!
//! ```text
//! wait? ──no──► one get, cookies only
//!   │
//!   ├─ 3.5.2 or later ► one get with waitInSeconds
//!   ├─ earlier ───────► own session: get, wait, get, destroy (one get if the cookie is there at once)
//!   └─ unknown ───────► the first; the second if that brought no cookie
//! ```

use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::error::FlaresolverrError;
use super::session::OwnSession;
use super::solver::{CookiesRead, GRACE, Solver};
use crate::config::FlaresolverrConfig;
use crate::domain::extract::Solution;
use crate::sources::slots::Slot;

pub(super) struct Visit<'a> {
    pub(super) solver: &'a Arc<Solver>,
    pub(super) config: &'a FlaresolverrConfig,
    /// How long the solver may take for one request, without the wait.
    pub(super) max_timeout: Duration,
}

impl Visit<'_> {
    /// Opens the page.
    pub(super) async fn open(&self, slots: &mut [Slot]) -> Result<Solution, FlaresolverrError> {
        self.solver.destroy_abandoned().await;
        match self.config.wait {
            None => self.get(slots, None, None).await,
            Some(wait) => self.get_late(slots, wait).await,
        }
    }

    /// Opens the page and reads the cookies after the wait.
    async fn get_late(&self, slots: &mut [Slot], wait: Duration) -> Result<Solution, FlaresolverrError> {
        if self.solver.cookies_read().await != Some(CookiesRead::BeforeWait) {
            let solution = self.get(slots, None, Some(wait)).await?;
            if self.has_wanted(&solution) || self.solver.known_cookies_read() == Some(CookiesRead::AfterWait) {
                return Ok(solution);
            }
        }
        let solution = self.get_twice(slots, wait).await?;
        if self.has_wanted(&solution) {
            self.solver.learn(CookiesRead::BeforeWait);
        }
        Ok(solution)
    }

    /// Opens the page, and once more after the wait if its cookies were not there yet, in one session.
    async fn get_twice(&self, slots: &mut [Slot], wait: Duration) -> Result<Solution, FlaresolverrError> {
        let longest = (self.max_timeout + GRACE) * 2 + wait;
        let mut own = self.config.session.is_none().then(|| OwnSession::new(self.solver, longest));
        let mut outcome = self.get(slots, own.as_ref(), None).await;
        if outcome.as_ref().is_ok_and(|solution| !self.has_wanted(solution)) {
            sleep(wait).await;
            outcome = self.get(slots, own.as_ref(), None).await;
        }
        if own.take().is_some() {
            self.solver.tidy_up();
        }
        outcome
    }

    /// Opens the page. A configured session whose browser has died is destroyed and created anew, once.
    async fn get(
        &self,
        slots: &mut [Slot],
        own: Option<&OwnSession>,
        wait: Option<Duration>,
    ) -> Result<Solution, FlaresolverrError> {
        let session = own.map(|own| own.id.as_str()).or(self.config.session.as_deref());
        match (self.get_once(slots, session, wait).await, &self.config.session) {
            (Err(FlaresolverrError::SessionDead), Some(id)) => {
                tracing::info!(
                    solver.session = id,
                    "the browser of FlareSolverr's session has died: creating the session anew"
                );
                self.solver.destroy(id).await?;
                self.get_once(slots, session, wait).await
            }
            (outcome, _) => outcome,
        }
    }

    async fn get_once(
        &self,
        slots: &mut [Slot],
        session: Option<&str>,
        wait: Option<Duration>,
    ) -> Result<Solution, FlaresolverrError> {
        // The wait counts against `maxTimeout`.
        let max_timeout = self.max_timeout + wait.unwrap_or_default();
        let millis = u64::try_from(max_timeout.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut command = json!({"cmd": "request.get", "url": self.config.page, "maxTimeout": millis});
        match (session, self.proxy()) {
            (None, None) => {}
            (None, Some(proxy)) => command["proxy"] = proxy,
            (Some(session), proxy) => {
                if let Some(proxy) = proxy {
                    // A get in a session ignores its own proxy, so the session is created with it unless it exists
                    // already.
                    let create = json!({"cmd": "sessions.create", "session": session, "proxy": proxy});
                    self.solver.solve(slots, &create, self.max_timeout).await?;
                }
                command["session"] = session.into();
            }
        }
        match wait {
            Some(wait) => command["waitInSeconds"] = (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).into(),
            // The page is not needed and may be megabytes, but leaving it out also skips the wait.
            None => command["returnOnlyCookies"] = true.into(),
        }
        if self.config.disable_media {
            command["disableMedia"] = true.into();
        }
        self.solver.solve(slots, &command, max_timeout).await?.into_solution()
    }

    fn proxy(&self) -> Option<Value> {
        let proxy = self.config.proxy.as_ref()?;
        let mut json = json!({"url": proxy.url});
        if let Some(username) = &proxy.username {
            json["username"] = username.as_str().into();
        }
        if let Some(password) = &proxy.password {
            json["password"] = password.expose_secret().into();
        }
        Some(json)
    }

    fn has_wanted(&self, solution: &Solution) -> bool {
        self.config.wanted.is_met(solution.cookies.iter())
    }
}

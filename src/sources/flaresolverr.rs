//! A browser behind FlareSolverr's v1 API.
//!
//! A site may have several solvers. In one attempt they are asked in order, the one whose token proved good last first;
//! they share the time of the attempt. One that has failed comes last for a while.

mod error;
mod session;
mod solver;
mod visit;
mod wire;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::StatusCode;
use tokio::time::timeout;

pub use self::error::FlaresolverrError;
pub use self::solver::{Health, Solvers};

use self::solver::{GRACE, Solver, lock};
use self::visit::Visit;
use self::wire::Reply;
use crate::config::{FlaresolverrConfig, ProxyConfig, SolverKind};
use crate::domain::extract::Solution;
use crate::domain::round::{LEAST, Round, Turn};
use crate::http::ClientError;
use crate::refresh::ports::SourceError;
use crate::sources::slots::Slot;

/// One page, opened by one of the site's solvers.
pub struct Flaresolverr {
    solvers: Vec<Arc<Solver>>,
    config: FlaresolverrConfig,
    /// The solver whose token proved good last.
    preferred: Mutex<Option<usize>>,
}

impl Flaresolverr {
    /// Builds the source. `solvers` is shared by the whole process, and sources of one URL share its slots.
    pub fn new(config: &FlaresolverrConfig, solvers: &Solvers) -> Result<Self, ClientError> {
        let of_site = config.urls.iter().map(|url| solvers.get(url, config.concurrency, config.kind));
        let solvers = of_site.collect::<Result<Vec<_>, _>>()?;
        if solvers.len() > 1 {
            solvers.iter().for_each(|solver| solver.is_one_of_several());
        }
        // The solvers have the addresses.
        let config = FlaresolverrConfig { urls: Vec::new(), ..config.clone() };
        Ok(Self { solvers, config, preferred: Mutex::default() })
    }

    pub(super) fn proxy(&self) -> Option<&ProxyConfig> {
        self.config.proxy.as_ref()
    }

    /// How many solvers the site has.
    pub fn solvers(&self) -> usize {
        self.solvers.len()
    }

    /// Host and port of a solver, by its place in the settings.
    pub fn address(&self, solver: usize) -> String {
        self.solvers[solver].address()
    }

    /// Checks a solver, by its place in the settings. The answer may take half a minute while all its browsers are busy.
    pub async fn health(&self, solver: usize) -> Result<Health, FlaresolverrError> {
        let health = self.solvers[solver].health().await?;
        self.is_able(health.kind).map(|()| health)
    }

    /// Begins an attempt. Several solvers share its time; a single one has its own deadline.
    pub fn begin(&self) -> Round {
        match self.solvers.len() {
            1 => Round::of_one(),
            solvers => {
                let standing = |solver: usize| self.solvers[solver].standing();
                Round::of_several(solvers, *lock(&self.preferred), self.config.max_timeout, standing)
            }
        }
    }

    /// Opens the page by the solver whose turn it is.
    pub async fn solve(&self, Turn { place, share }: Turn) -> Result<Solution, SourceError> {
        let solver = &self.solvers[place];
        if share.is_some_and(|share| share < LEAST) {
            return Err(FlaresolverrError::NoTime.of_source(Some(solver.address())));
        }
        let longest = share.unwrap_or(self.config.max_timeout + self.config.wait.unwrap_or_default() + GRACE);
        let began = solver.begin(longest);
        let outcome = match timeout(longest, solver.slots(self.config.session.as_deref())).await {
            // Boxed, and only now: each of thousands of sites that wait for a slot would reserve kilobytes for its visit.
            Ok(slots) => Box::pin(self.visit(solver, slots, share, began)).await,
            Err(_) => Err(FlaresolverrError::NoSlot(longest)),
        };
        solver.ended(began, outcome.as_ref().err());
        if matches!(outcome, Err(FlaresolverrError::GivenUp(_))) {
            // Its session must not stay open until the solver's next turn.
            solver.tidy_up();
        }
        outcome.map_err(|error| error.of_source(share.map(|_| solver.address())))
    }

    /// Opens the page. With several solvers, what the wait for a slot has left of the `share` is all the time there is: that
    /// wait is for other sites, and no fault of the solver.
    async fn visit(
        &self,
        solver: &Arc<Solver>,
        slots: Vec<Slot>,
        share: Option<Duration>,
        began: Duration,
    ) -> Result<Solution, FlaresolverrError> {
        let Some(share) = share else { return self.open(solver, slots, self.config.max_timeout).await };
        let left = share.saturating_sub(solver.since(began));
        let wait = self.config.wait.unwrap_or_default();
        let max_timeout = left.checked_sub(wait + LEAST).ok_or(FlaresolverrError::NoSlot(share))? + LEAST;
        let opened = timeout(left, self.open(solver, slots, max_timeout)).await;
        opened.unwrap_or(Err(FlaresolverrError::GivenUp(share)))
    }

    async fn open(
        &self,
        solver: &Arc<Solver>,
        mut slots: Vec<Slot>,
        max_timeout: Duration,
    ) -> Result<Solution, FlaresolverrError> {
        self.is_able(self.kind_of(solver).await?)?;
        Visit { solver, config: &self.config, max_timeout }.open(&mut slots).await
    }

    /// The token of this turn has proved good.
    pub fn proved(&self, turn: Turn) {
        *lock(&self.preferred) = Some(turn.place);
    }

    /// What the solver is, where that makes a difference for this site.
    async fn kind_of(&self, solver: &Solver) -> Result<Option<SolverKind>, FlaresolverrError> {
        if self.needs().next().is_none() { Ok(None) } else { solver.kind().await }
    }

    /// What this site needs beyond opening a page.
    fn needs(&self) -> impl Iterator<Item = &'static str> {
        let FlaresolverrConfig { proxy, session, wait, .. } = &self.config;
        let needs = [(proxy.is_some(), "proxy"), (session.is_some(), "session"), (wait.is_some(), "wait")];
        needs.into_iter().filter_map(|(is_needed, what)| is_needed.then_some(what))
    }

    /// Byparr ignores what it does not know, and opens the page without it.
    fn is_able(&self, kind: Option<SolverKind>) -> Result<(), FlaresolverrError> {
        match (kind, self.needs().next()) {
            (Some(SolverKind::Byparr), Some(what)) => Err(FlaresolverrError::Unable(what)),
            _ => Ok(()),
        }
    }
}

/// Parses the answer to a `request.get`.
pub fn read_answer(status: StatusCode, body: &[u8]) -> Result<Solution, SourceError> {
    Ok(solver::success(status, Reply::read(body))?.into_solution()?)
}

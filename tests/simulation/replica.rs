//! A sidecar assembled much like in `app.rs`, in the environment of a story; without the start and end of the process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use token_sidecar::domain::breaker::Breaker;
use token_sidecar::domain::extract::{CookieRule, RawToken, Solution};
use token_sidecar::domain::product::ProductRule;
use token_sidecar::domain::round::{LEAST, Round, Turn};
use token_sidecar::domain::site::Policy;
use token_sidecar::domain::stored::StoredToken;
use token_sidecar::domain::verdict::{Pace, Verdict};
use token_sidecar::redis::RedisStore;
use token_sidecar::redis::subscription::Subscription;
use token_sidecar::refresh::driver::{Driver, Stop};
use token_sidecar::refresh::mailbox::Mailbox;
use token_sidecar::refresh::observation::{Observation, Observer};
use token_sidecar::refresh::ports::{ClaimId, Clock, Jitter, Probe, Solved, Source, SourceError};
use token_sidecar::refresh::site::SiteContext;
use token_sidecar::status::SubscriptionObserver;
use token_sidecar_client::redis::{Connector, Link, LinkError};
use token_sidecar_client::wire::{Cookies, Event, KeyNames, Payload, SiteId, Token};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::laws::{LONGEST_SOLVE, Moment, Stored};
use crate::mutation::Mutation;
use crate::network::dial;
use crate::shop::{Brings, Mood, Solver};
use crate::story::LONGEST_BACKOFF;
use crate::world::{COOKIES_KEY, Process, SITE, TOKEN_KEY, Way, World, spawn};

/// How the sidecars of a story are configured.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) policy: Policy,
    /// The lock TTL of every other sidecar, as while the setting is being changed.
    pub(crate) other_lock_ttl: Duration,
    /// Whether the policy has a schedule.
    pub(crate) scheduled: bool,
    pub(crate) mutation: Option<Mutation>,
}

/// A running sidecar.
pub(crate) struct Replica {
    pub(crate) process: usize,
    stop: Stop,
    driver: JoinHandle<()>,
    subscription: JoinHandle<()>,
}

/// Binds the ports.
struct Surroundings;

impl token_sidecar::refresh::site::Ports for Surroundings {
    type Store = RedisStore;
    type Source = Solvers;
    type Probe = Api;
    type Clock = Time;
    type Jitter = Dice;
    type Observer = NoObserver;
}

impl Replica {
    /// Starts a process.
    pub(crate) fn start(world: &World, setup: &Setup, mut dice: fastrand::Rng) -> Self {
        let process = {
            let mut state = world.state();
            let latency = Duration::from_millis(dice.u64(1..4));
            state.processes.push(Process {
                way: Way::Open,
                frozen: false,
                latency,
                loses_answer_to: None,
                claimed: Duration::ZERO,
                dead: false,
                output: None,
            });
            state.processes.len() - 1
        };
        world.note(|| format!("sidecar {process} starts"));
        let mut policy = setup.policy.clone();
        if process % 2 == 1 {
            policy.lock_ttl = setup.other_lock_ttl;
        }
        let mailbox = Arc::new(Mailbox::default());
        let id = SiteId::parse(SITE).unwrap();
        let time = Time { world: world.clone(), process };
        let dice = Dice::new(dice.u64(..));
        let link = Arc::new(Link::new(Connector::over(dial(world, process))));
        let keys = KeyNames { token: TOKEN_KEY.to_owned(), cookies: COOKIES_KEY.to_owned() };
        let instance = format!("sidecar-{process}");
        let store = RedisStore::new(Arc::clone(&link), id.clone(), keys, policy.lock_ttl, instance.clone());
        let site = SiteContext::<Surroundings> {
            id: id.clone(),
            policy,
            product: ProductRule::Token(CookieRule {
                name: "access-token".into(),
                fallbacks: Vec::new(),
                prefix: "Bearer ".into(),
                ..CookieRule::default()
            }),
            page: "https://www.shop.test/".to_owned(),
            bootstrap: None,
            mailbox: Arc::clone(&mailbox),
            store,
            sources: vec![Solvers::new(world, process, setup)],
            probe: Api { world: world.clone(), process },
            stored: output(world.clone(), process),
            clock: time.clone(),
            jitter: dice.clone(),
            observer: NoObserver,
        };
        let ready = CancellationToken::new();
        let subscription = {
            let lost = Arc::new(Loss {
                lost: CancellationToken::new(),
                heeded: setup.mutation == Some(Mutation::NoGapRecovery),
            });
            let (ready, mut lost) = (ready.clone(), lost);
            let subscribe = move |ready: CancellationToken, loss: &Arc<Loss>| {
                let sites = vec![(id.clone(), Arc::clone(&mailbox))];
                Subscription::new(
                    Arc::clone(&link),
                    time.clone(),
                    dice.clone(),
                    Arc::clone(loss),
                    instance.clone(),
                    sites,
                    Arc::default(),
                )
                .run(ready, CancellationToken::new())
            };
            spawn(async move {
                let mut ready = ready;
                loop {
                    tokio::select! {
                        biased;
                        ended = subscribe(ready.clone(), &lost) => {
                            let _: Result<(), LinkError> = ended;
                            return;
                        }
                        () = lost.lost.cancelled() => {}
                    }
                    // The mutation: a new subscription checks nothing.
                    ready = CancellationToken::new();
                    lost = Arc::new(Loss { lost: CancellationToken::new(), heeded: true });
                }
            })
        };
        let stop = Stop::default();
        let driver = {
            let stop = stop.clone();
            spawn(async move {
                tokio::select! {
                    biased;
                    () = stop.graceful.cancelled() => return,
                    () = ready.cancelled() => {}
                }
                Driver::run(site, None, stop).await;
            })
        };
        Self { process, stop, driver, subscription }
    }

    /// Kills the process at once.
    pub(crate) fn crash(&self, world: &World) {
        self.driver.abort();
        self.subscription.abort();
        world.note(|| format!("sidecar {} dies", self.process));
        world.set_way(self.process, Way::Cut);
        world.state().processes[self.process].dead = true;
    }

    /// SIGTERM, with a grace of some seconds.
    pub(crate) async fn stop(&self, world: &World, grace: Duration) {
        // An abandoned solve goes on in its browser.
        world.state().laws.excuse(self.process, Duration::MAX);
        self.stop.graceful.cancel();
        tokio::time::sleep(grace).await;
        self.stop.now.cancel();
    }

    /// Whether the driver has ended normally.
    pub(crate) async fn ended(self) -> Result<(), String> {
        self.subscription.abort();
        match tokio::time::timeout(Duration::from_secs(60), self.driver).await {
            Ok(Err(error)) if error.is_panic() => Err(format!("sidecar {} panicked", self.process)),
            Ok(_) => Ok(()),
            Err(_) => Err(format!("sidecar {} does not stop", self.process)),
        }
    }
}

/// The clock of a process; no wait ends while the process is stopped.
#[derive(Clone)]
struct Time {
    world: World,
    process: usize,
}

impl Clock for Time {
    fn now(&self) -> Duration {
        self.world.elapsed()
    }

    async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span).await;
        self.world.wait(|state| !state.processes[self.process].frozen).await;
    }
}

/// Jitter and ids of one process, from the story's seed.
#[derive(Clone)]
struct Dice(Arc<AtomicU64>);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(Arc::new(AtomicU64::new(seed)))
    }

    fn throw(&self) -> u64 {
        fastrand::Rng::with_seed(self.0.fetch_add(1, Ordering::Relaxed)).u64(..)
    }

    /// Varies a duration by up to a fifth.
    fn spread(&self, mean: Duration) -> Duration {
        mean.mul_f64(0.8 + 0.4 * (self.throw() % 1000) as f64 / 1000.0)
    }
}

impl Jitter for Dice {
    fn backoff(&self, failures: u32, pace: Pace) -> Duration {
        let longest = LONGEST_BACKOFF;
        match pace {
            Pace::Ordinary => self.spread(Duration::from_secs(5) * (1 << (failures - 1).min(10))).min(longest),
            Pace::LongestBackoff => longest,
        }
    }

    fn pause(&self, repetition: u32) -> Duration {
        self.spread((Duration::from_millis(100) * (1 << (repetition - 1).min(10))).min(Duration::from_secs(2)))
    }

    fn interval(&self, longest: Duration) -> Duration {
        longest.mul_f64(0.75 + 0.25 * (self.throw() % 1000) as f64 / 1000.0)
    }

    fn random_span(&self, longest: Duration) -> Duration {
        longest.mul_f64((self.throw() % 1000) as f64 / 1000.0)
    }

    fn claim_id(&self) -> ClaimId {
        ClaimId(format!("{:016x}", self.throw()))
    }
}

/// The source: one or two solvers, as a process knows them.
struct Solvers {
    world: World,
    process: usize,
    scheduled: bool,
    has_shares: bool,
    breakers: Vec<Mutex<Breaker>>,
    preferred: Mutex<Option<usize>>,
}

impl Solvers {
    fn new(world: &World, process: usize, setup: &Setup) -> Self {
        let breakers = world.state().shop.solvers.iter().map(|_| Mutex::default()).collect();
        Self {
            world: world.clone(),
            process,
            scheduled: setup.scheduled,
            has_shares: setup.mutation != Some(Mutation::NoShares),
            breakers,
            preferred: Mutex::default(),
        }
    }

    /// A solve that began at `began` has ended.
    fn ended(&self, place: usize, began: Duration, brought: &Brought) {
        let mut breaker = self.breakers[place].lock().unwrap();
        match brought {
            Brought::Nothing => breaker.failed(began, self.world.elapsed()),
            Brought::Token(_) | Brought::Error(_) => breaker.succeeded(),
        }
    }

    /// The state in which a solve begins.
    fn moment(&self) -> Moment {
        let (at, now, token) = (self.world.elapsed(), self.world.redis_now(), self.world.get(TOKEN_KEY));
        let state = self.world.state();
        let shop = &state.shop;
        Moment {
            at,
            claimed: state.processes[self.process].claimed,
            now,
            stored: match token {
                None => Stored::None,
                Some(token) if shop.works(&token) => Stored::Works,
                Some(_) => Stored::Refused,
            },
            honest_since: (shop.mood == Mood::Honest).then_some(shop.mood_since),
            scheduled: self.scheduled,
        }
    }
}

impl Source for Solvers {
    fn name(&self) -> &str {
        "solver"
    }

    fn begin(&self) -> Round {
        let now = self.world.elapsed();
        match self.breakers.len() {
            1 => Round::of_one(),
            solvers => {
                let preferred = *self.preferred.lock().unwrap();
                let standing = |solver: usize| self.breakers[solver].lock().unwrap().standing(now);
                Round::of_several(solvers, preferred, LONGEST_SOLVE, standing)
            }
        }
    }

    async fn solve(&self, Turn { place, share }: Turn, _: Option<&StoredToken>) -> Result<Solved, SourceError> {
        if share.is_some_and(|share| share < LEAST) {
            return Err(failed("no time is left", Pace::Ordinary));
        }
        let longest = share.filter(|_| self.has_shares).unwrap_or(LONGEST_SOLVE);
        let (world, moment) = (&self.world, self.moment());
        let number = world.state().laws.solve_begins(self.process, moment);
        self.breakers[place].lock().unwrap().begin(moment.at, longest);
        world.note(|| format!("sidecar {}: a solve by {place} begins, for {longest:?}", self.process));
        world.ring();
        // Its client may go away, but the solve cannot be cancelled.
        let brought = spawn(solved(world.clone(), place, moment.at, longest, number)).await.unwrap();
        self.ended(place, moment.at, &brought);
        // A stopped process gets the result when it continues.
        world.wait(|state| !state.processes[self.process].frozen).await;
        world.note(|| format!("sidecar {}: the solve brings {brought:?}", self.process));
        let token = match brought {
            Brought::Token(token) => token,
            Brought::Error(pace) => return Err(failed("no token", pace)),
            Brought::Nothing => return Err(failed("no answer", Pace::Ordinary)),
        };
        let url = "https://www.shop.test/".to_owned();
        Ok(Solution { bare: Some(RawToken(token)), url, ..Solution::default() }.into())
    }

    fn proved(&self, turn: Turn) {
        *self.preferred.lock().unwrap() = Some(turn.place);
    }
}

/// What a solve has brought.
#[derive(Debug)]
enum Brought {
    Token(String),
    /// What the page failed with, and the pace of the next attempt.
    Error(Pace),
    /// The solver is at fault.
    Nothing,
}

/// A solve by one of the solvers; after `longest` it is given up.
async fn solved(world: World, place: usize, began: Duration, longest: Duration, number: usize) -> Brought {
    let Solver { mut brings, takes } = world.state().shop.solvers[place];
    if brings != Brings::Gone {
        tokio::time::sleep(takes.min(longest)).await;
        // It may have changed meanwhile.
        brings = if takes > longest { Brings::Silence } else { world.state().shop.solvers[place].brings };
    }
    if brings == Brings::Silence {
        tokio::time::sleep(longest.saturating_sub(takes)).await;
    }
    let ended = world.elapsed();
    let mut state = world.state();
    state.laws.solve_ends(number, ended);
    match brings {
        Brings::Fresh => Brought::Token(state.shop.make(true, Some(began))),
        Brings::Dead => Brought::Token(state.shop.make(false, Some(began))),
        Brings::Same => Brought::Token(state.shop.same_again(began)),
        Brings::Down => Brought::Error(Pace::Ordinary),
        Brings::Banned => Brought::Error(Pace::LongestBackoff),
        Brings::Gone | Brings::Silence => Brought::Nothing,
    }
}

fn failed(why: &str, pace: Pace) -> SourceError {
    SourceError { message: format!("solver: {why}"), pace }
}

/// The API.
struct Api {
    world: World,
    process: usize,
}

impl Probe for Api {
    async fn verify(&self, token: &Token, _: &Cookies, _: Option<&str>) -> Verdict {
        let mood = self.world.state().shop.mood;
        let takes = if mood == Mood::Hangs { Duration::from_secs(30) } else { Duration::from_millis(50) };
        tokio::time::sleep(takes).await;
        match mood {
            Mood::Honest if self.world.state().shop.accepts(token.expose()) => Verdict::Accepted,
            Mood::Honest => {
                if self.world.get(TOKEN_KEY).as_deref() == Some(token.expose()) {
                    let at = self.world.elapsed();
                    self.world.state().laws.found_refused(self.process, at);
                }
                Verdict::Refused("401".to_owned())
            }
            Mood::Blocks => Verdict::Blocked("403".to_owned()),
            Mood::Fails => Verdict::Unclear("502".to_owned()),
            Mood::Hangs => Verdict::Unclear("no answer within 30 s".to_owned()),
        }
    }
}

/// The `.env` of a process.
fn output(world: World, process: usize) -> watch::Sender<Option<Arc<StoredToken>>> {
    let (sender, mut receiver) = watch::channel(None::<Arc<StoredToken>>);
    spawn(async move {
        while receiver.changed().await.is_ok() {
            if let Some(stored) = receiver.borrow_and_update().as_ref().filter(|stored| stored.is_ours()) {
                world.state().processes[process].output = Some(stored.token.expose().to_owned());
            }
            world.ring();
        }
    });
    sender
}

struct NoObserver;

impl Observer for NoObserver {
    fn observe(&self, _: Observation<'_>) {}
}

/// Observes when a subscription is lost.
struct Loss {
    lost: CancellationToken,
    heeded: bool,
}

impl SubscriptionObserver for Loss {
    fn connected(&self) {}

    fn disconnected(&self, _: &str) {
        if self.heeded {
            self.lost.cancel();
        }
    }

    fn canary(&self, _: Duration) {}

    fn message(&self, _: &SiteId, _: Payload) {}

    fn event(&self, _: &Event) {}
}

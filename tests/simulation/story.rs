//! A story: a seed decides which events happen, and the sidecars react.

use std::time::Duration;

use token_sidecar::domain::pending::MAX_FINGERPRINTS;
use token_sidecar::domain::schedule::Schedule;
use token_sidecar::domain::site::{Policy, Verify};

use crate::chronicle::Chronicle;
use crate::engine::{Engine, Left, Refusal};
use crate::laws::LONGEST_SOLVE;
use crate::mutation::Mutation;
use crate::parser::{ask, report, work};
use crate::replica::{Replica, Setup};
use crate::shop::{Brings, Mood, Solver};
use crate::world::{State, TOKEN_KEY, Way, World, spawn};

/// After the last fault every report is answered within this time: solves of 40 s that are still running, the lock of a
/// dead process, another solve after the share of a solver that is silent, and what lies between.
const ANSWERED_WITHIN: Duration = Duration::from_secs(110);
/// After the last fault every sidecar is subscribed within this time: two canaries and a pause.
const SUBSCRIBED_WITHIN: Duration = Duration::from_secs(45);
/// The longest pause between two attempts.
pub(crate) const LONGEST_BACKOFF: Duration = Duration::from_secs(600);
/// A forced report leads to a new token within this time, another one after the longest pause at most.
const RENEWED_WITHIN: Duration = Duration::from_secs(90);

/// Every sidecar has received it within this time: one may still be at an earlier attempt whose API hangs.
const KNOWN_WITHIN: Duration = Duration::from_secs(200);

/// The kinds of events. Each seed uses only some of them, so that rare combinations happen often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Revoke,
    Crash,
    Stop,
    Freeze,
    Stall,
    Cut,
    Reset,
    LoseAnswer,
    SlowLink,
    RestartKept,
    RestartEmpty,
    RestartStale,
    ClockAhead,
    ClockBack,
    ClockLeap,
    Api,
    Solver,
    SlowSolver,
    Bare,
    Stale,
    Flood,
    Force,
    LoseKey,
    LoseLock,
    LockByHand,
    Foreign,
    Full,
    ReadOnly,
}

const KINDS: [Kind; 28] = [
    Kind::Revoke,
    Kind::Crash,
    Kind::Stop,
    Kind::Freeze,
    Kind::Stall,
    Kind::Cut,
    Kind::Reset,
    Kind::LoseAnswer,
    Kind::SlowLink,
    Kind::RestartKept,
    Kind::RestartEmpty,
    Kind::RestartStale,
    Kind::ClockAhead,
    Kind::ClockBack,
    Kind::ClockLeap,
    Kind::Api,
    Kind::Solver,
    Kind::SlowSolver,
    Kind::Bare,
    Kind::Stale,
    Kind::Flood,
    Kind::Force,
    Kind::LoseKey,
    Kind::LoseLock,
    Kind::LockByHand,
    Kind::Foreign,
    Kind::Full,
    Kind::ReadOnly,
];

const BRINGS: [Brings; 7] =
    [Brings::Fresh, Brings::Dead, Brings::Same, Brings::Down, Brings::Banned, Brings::Gone, Brings::Silence];

/// How a story ended.
#[derive(Debug)]
pub(crate) struct Ending {
    /// The law that was broken, if one was.
    pub(crate) broken: Option<String>,
    pub(crate) lines: Vec<String>,
    pub(crate) solves: u64,
    pub(crate) asks: u64,
    /// How long after the last fault the last report was answered.
    pub(crate) answered_after: Duration,
}

/// Plays the story of a seed under paused time.
pub(crate) fn live(seed: u64, engine: Box<dyn Engine>, mutation: Option<Mutation>, chronicle: Chronicle) -> Ending {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut story = Story::new(seed, engine, mutation, chronicle);
        let broken = story.play().await.err();
        let answered_after = story.answered_after;
        let mut state = story.world.state();
        Ending {
            broken: state.laws.broken.take().or(broken),
            lines: state.chronicle.lines(),
            solves: state.laws.solves.len() as u64,
            asks: state.laws.asks.len() as u64,
            answered_after,
        }
    })
}

struct Story {
    world: World,
    setup: Setup,
    dice: fastrand::Rng,
    kinds: Vec<Kind>,
    replicas: Vec<Replica>,
    answered_after: Duration,
}

impl Story {
    fn new(seed: u64, engine: Box<dyn Engine>, mutation: Option<Mutation>, chronicle: Chronicle) -> Self {
        let mut dice = fastrand::Rng::with_seed(seed);
        let scheduled = dice.u8(..4) == 0;
        let schedule = Schedule::parse(if scheduled { "every 2m" } else { "off" }, "UTC").unwrap();
        let policy = Policy {
            debounce: Duration::from_secs(10),
            lock_ttl: Duration::from_secs(15),
            backoff_max: LONGEST_BACKOFF,
            token_ttl: Duration::from_secs(86_400),
            verify: Verify::Strict,
            schedule,
        };
        let other_lock_ttl = if dice.u8(..4) == 0 { Duration::from_secs(50) } else { policy.lock_ttl };
        let mut kinds = KINDS.to_vec();
        dice.shuffle(&mut kinds);
        kinds.truncate(dice.usize(2..8));
        // A clock set back and a Redis that loses data can together give the same version twice.
        if kinds.iter().any(|k| matches!(k, Kind::RestartEmpty | Kind::RestartStale)) {
            kinds.retain(|k| !matches!(k, Kind::ClockBack | Kind::ClockLeap));
        }
        kinds.push(Kind::Revoke);
        let solvers = if dice.u8(..3) == 0 { 1 } else { 2 };
        Self {
            world: World::new(engine, solvers, chronicle),
            setup: Setup { policy, other_lock_ttl, scheduled, mutation },
            dice,
            kinds,
            replicas: Vec::new(),
            answered_after: Duration::ZERO,
        }
    }

    async fn play(&mut self) -> Result<(), String> {
        for _ in 0..self.dice.usize(1..4) {
            self.start();
        }
        for _ in 0..self.dice.usize(1..4) {
            spawn(work(self.world.clone(), self.dice.fork()));
        }
        for _ in 0..self.dice.usize(3..14) {
            self.pass(20_000).await?;
            let kind = self.kinds[self.dice.usize(..self.kinds.len())];
            self.happen(kind).await?;
        }
        self.pass(20_000).await?;
        self.heal().await;
        self.settle().await?;
        self.renew().await?;
        for replica in std::mem::take(&mut self.replicas) {
            replica.stop(&self.world, Duration::ZERO).await;
            replica.ended().await?;
        }
        Ok(())
    }

    fn start(&mut self) {
        let dice = self.dice.fork();
        self.replicas.push(Replica::start(&self.world, &self.setup, dice));
    }

    /// Lets some time pass, often little, or until a law is broken.
    async fn pass(&mut self, longest: u64) -> Result<(), String> {
        let longest = if self.dice.bool() { longest / 10 } else { longest };
        let span = Duration::from_millis(self.dice.u64(1..longest));
        self.until(span, |_| false).await;
        self.world.state().laws.broken.take().map_or(Ok(()), Err)
    }

    /// Waits for something, or until a law is broken.
    async fn until(&self, longest: Duration, is: impl Fn(&State) -> bool) -> bool {
        self.world.until(longest, |state| state.laws.broken.is_some() || is(state)).await
    }

    async fn happen(&mut self, kind: Kind) -> Result<(), String> {
        self.world.note(|| format!("{kind:?}"));
        let world = self.world.clone();
        let chosen = self.dice.usize(..self.replicas.len());
        let process = self.replicas[chosen].process;
        match kind {
            Kind::Revoke => world.state().shop.revoke(),
            Kind::Crash => {
                self.replicas.swap_remove(chosen).crash(&world);
                if self.dice.bool() {
                    self.pass(10_000).await?;
                }
                self.start();
            }
            Kind::Stop => {
                let replica = self.replicas.swap_remove(chosen);
                self.start();
                replica.stop(&world, Duration::from_millis(self.dice.u64(..8000))).await;
                let ended = replica.ended().await;
                world.set_way(process, Way::Cut);
                world.state().processes[process].dead = true;
                ended?;
            }
            Kind::Freeze => {
                world.freeze(process, true);
                self.pass(60_000).await?;
                world.freeze(process, false);
            }
            Kind::Stall => {
                world.set_way(process, Way::Stalled);
                self.pass(40_000).await?;
                if self.dice.bool() {
                    world.set_way(process, Way::Cut);
                }
                world.set_way(process, Way::Open);
            }
            Kind::Cut => {
                world.set_way(process, Way::Cut);
                self.pass(40_000).await?;
                world.set_way(process, Way::Open);
            }
            Kind::Reset => world.reset(process),
            Kind::LoseAnswer => {
                let names = ["claim", "commit", "fail", "renew", "announce", "look", "vacate"];
                let name = names[self.dice.usize(..names.len())];
                world.note(|| format!("  to its next {name}"));
                world.lose_answer(process, name);
            }
            Kind::SlowLink => {
                let longest = if self.dice.bool() { 100 } else { 1500 };
                let latency = Duration::from_millis(self.dice.u64(1..longest));
                world.state().processes[process].latency = latency;
                if longest > 100 {
                    // Replies may exceed the time-out, and outcomes may arrive late: the laws do not apply to this process.
                    world.state().laws.excuse(process, Duration::MAX);
                }
            }
            Kind::RestartKept => self.restart(Left::Everything).await?,
            Kind::RestartEmpty => self.restart(Left::Nothing).await?,
            Kind::RestartStale => {
                world.save();
                self.pass(20_000).await?;
                self.restart(Left::LastSave).await?;
            }
            Kind::ClockAhead => world.set_clock(self.dice.i64(0..400_000)),
            Kind::ClockBack => world.set_clock(-self.dice.i64(0..400_000)),
            Kind::ClockLeap => {
                world.set_clock(DAY_MS);
                self.pass(40_000).await?;
                self.world.set_clock(-DAY_MS);
            }
            Kind::Api => {
                let moods = [Mood::Honest, Mood::Blocks, Mood::Fails, Mood::Hangs];
                let mood = moods[self.dice.usize(..moods.len())];
                world.set_mood(mood);
            }
            Kind::Solver => {
                let brings = BRINGS[self.dice.usize(..BRINGS.len())];
                let solver = self.solver();
                world.note(|| format!("  {solver} brings {brings:?}"));
                world.state().shop.solvers[solver].brings = brings;
            }
            Kind::SlowSolver => {
                let takes = Duration::from_millis(self.dice.u64(..u64::try_from(LONGEST_SOLVE.as_millis()).unwrap()));
                let solver = self.solver();
                world.state().shop.solvers[solver].takes = takes;
            }
            Kind::Bare => {
                ask(&world, "now");
            }
            Kind::Stale => {
                ask(&world, &report("long gone"));
            }
            Kind::Flood => {
                world.state().shop.revoke();
                for n in 0..2 * MAX_FINGERPRINTS {
                    ask(&world, &report(&format!("long gone {n}")));
                }
                if let Some(token) = world.get(TOKEN_KEY) {
                    ask(&world, &report(&token));
                }
            }
            Kind::Force => {
                ask(&world, r#"{"force":true}"#);
            }
            Kind::LoseKey => {
                let _ = world.command(&["DEL", TOKEN_KEY]);
                world.excuse_all();
            }
            Kind::LoseLock => {
                let _ = world.command(&["DEL", LOCK]);
                world.excuse_all();
            }
            Kind::LockByHand => {
                let _ = world.command(&["SET", LOCK, "by hand"]);
                world.excuse_all();
            }
            Kind::Foreign => {
                let works = self.dice.bool();
                let token = world.state().shop.make(works, None);
                let _ = world.command(&["SET", TOKEN_KEY, &token, "PX", "3000000"]);
                // It counts as stored long ago.
                world.excuse_all();
            }
            Kind::Full => self.refuse(Refusal::OutOfMemory).await?,
            Kind::ReadOnly => self.refuse(Refusal::ReadOnly).await?,
        }
        Ok(())
    }

    /// One of the solvers.
    fn solver(&mut self) -> usize {
        let solvers = self.world.state().shop.solvers.len();
        self.dice.usize(..solvers)
    }

    async fn restart(&mut self, left: Left) -> Result<(), String> {
        self.world.down();
        self.pass(20_000).await?;
        self.world.up(left);
        Ok(())
    }

    async fn refuse(&mut self, refusal: Refusal) -> Result<(), String> {
        self.world.refuse(Some(refusal));
        self.pass(40_000).await?;
        self.world.refuse(None);
        Ok(())
    }

    /// Ends all faults and all reports.
    async fn heal(&self) {
        self.world.note(|| "the faults stop".to_owned());
        for replica in &self.replicas {
            self.world.state().processes[replica.process].latency = Duration::from_millis(1);
        }
        self.world.set_mood(Mood::Honest);
        let mut state = self.world.state();
        state.shop.solvers.fill(Solver::FINE);
        state.is_quiet = true;
    }

    /// Waits until every report is answered.
    async fn settle(&mut self) -> Result<(), String> {
        let healed = self.world.elapsed();
        let answered = |state: &State| state.unanswered().is_none();
        let within = ANSWERED_WITHIN + self.longer_lock();
        self.until(within, answered).await;
        self.answered_after = self.world.elapsed() - healed;
        let state = self.world.state();
        match state.unanswered() {
            Some(ask) => Err(format!("every report is answered within {within:?}: {ask:?} was not")),
            None => Ok(()),
        }
    }

    /// A forced report leads to a new token, which every sidecar receives.
    async fn renew(&mut self) -> Result<(), String> {
        let ours: Vec<usize> = self.replicas.iter().map(|r| r.process).collect();
        let subscribed = |state: &State| ours.iter().all(|process| state.listeners().contains(process));
        if !self.until(SUBSCRIBED_WITHIN, subscribed).await {
            return Err(format!("every sidecar is subscribed again within {SUBSCRIBED_WITHIN:?}"));
        }
        let forces = self.dice.bool();
        self.world.note(|| format!("a parser insists{}", if forces { "" } else { " without force" }));
        if !forces {
            self.world.state().shop.revoke();
        }
        let insist = |world: &World| match world.get(TOKEN_KEY) {
            _ if forces => ask(world, r#"{"force":true}"#),
            Some(token) => ask(world, &report(&token)),
            None => ask(world, ""),
        };
        let mut asked = insist(&self.world);
        let began = self.world.elapsed();
        let backoff = if forces { Duration::ZERO } else { LONGEST_BACKOFF };
        let within = RENEWED_WITHIN + self.longer_lock() + backoff;
        while self.world.elapsed() < began + within {
            self.until(within, |state| asked.is_some_and(|ask| state.laws.is_answered(ask))).await;
            if let Some(broken) = self.world.state().laws.broken.take() {
                return Err(broken);
            }
            asked = match self.world.get(TOKEN_KEY) {
                Some(token) if self.world.state().shop.works(&token) => {
                    let known = |state: &State| ours.iter().all(|p| state.processes[*p].output == state.newest);
                    return match self.until(KNOWN_WITHIN, known).await {
                        true => Ok(()),
                        false => Err(format!("every sidecar takes a new token in within {KNOWN_WITHIN:?}")),
                    };
                }
                // An attempt from before the end of the faults has answered, or the back-off.
                _ => {
                    self.until(Duration::from_secs(1), |_| false).await;
                    insist(&self.world)
                }
            };
        }
        Err(format!("a token that a parser insists on is there within {within:?}"))
    }

    /// How much longer than usual a dead sidecar's lock may last.
    fn longer_lock(&self) -> Duration {
        self.setup.other_lock_ttl - self.setup.policy.lock_ttl
    }
}

const DAY_MS: i64 = 86_400_000;

/// The key of the lock.
const LOCK: &str = "{shop_token}:lock";

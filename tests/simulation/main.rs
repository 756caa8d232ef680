//! Simulation: whole sidecars and everything around them in one process, under paused time.
//!
//! Several sidecars with their real Redis adapters, parsers, the shop, Redis and the network between them run in one
//! process. A seed decides which faults happen and when; the same seed gives the same story, to the last line.
//! `SEEDS=100000` sets the number of stories, `SEED=42` chooses one.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod chronicle;
mod database;
mod engine;
mod laws;
mod lua;
mod mutation;
mod network;
mod parser;
mod real;
mod replica;
mod reply;
mod scripts;
mod shop;
mod story;
#[path = "../support/mod.rs"]
mod support;
mod world;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::chronicle::Chronicle;
use crate::engine::Model;
use crate::mutation::Mutation;
use crate::real::Real;
use crate::story::{Ending, live};
use crate::support::measured::measured;

/// The default number of stories.
const SEEDS: u64 = 500;
/// A mutation must be detected within this number of stories.
const MUTATED_SEEDS: u64 = 20_000;
/// The number of stories that are also played against a real server.
const REAL_SEEDS: u64 = 40;

fn played(seed: u64, mutation: Option<Mutation>, chronicle: Chronicle) -> Ending {
    live(seed, Box::new(Model::new(mutation)), mutation, chronicle)
}

/// Plays the stories of these seeds on all cores until one breaks a law; returns its seed and the law.
fn first_broken(seeds: Range<u64>, mutation: Option<Mutation>, each: impl Fn(&Ending) + Sync) -> Option<(u64, String)> {
    let (next, found) = (AtomicU64::new(seeds.start), std::sync::Mutex::new(None::<(u64, String)>));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || found.lock().unwrap().is_some() {
                        return;
                    }
                    let ending = played(seed, mutation, Chronicle::Silent);
                    each(&ending);
                    if let Some(law) = ending.broken {
                        let mut found = found.lock().unwrap();
                        *found = Some(found.take().filter(|(earlier, _)| *earlier < seed).unwrap_or((seed, law)));
                    }
                }
            });
        }
    });
    found.into_inner().unwrap()
}

/// Reads an environment variable, since a test has no arguments.
#[expect(clippy::disallowed_methods, reason = "a test reads its own settings")]
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[test]
fn no_story_breaks_a_law() {
    let (solves, asks, slowest) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let each = |ending: &Ending| {
        solves.fetch_add(ending.solves, Ordering::Relaxed);
        asks.fetch_add(ending.asks, Ordering::Relaxed);
        slowest.fetch_max(u64::try_from(ending.answered_after.as_millis()).unwrap(), Ordering::Relaxed);
    };
    let seeds = match setting("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..setting("SEEDS").unwrap_or(SEEDS),
    };
    let stories = seeds.end - seeds.start;
    if let Some((seed, law)) = first_broken(seeds, None, each) {
        let chronicle = Chronicle::kept();
        let logs = chronicle.with_logs();
        let lines = played(seed, None, chronicle).lines.join("\n");
        drop(logs);
        panic!("{lines}\nseed {seed}: {law}\nagain: scripts/simulation --seed {seed}");
    }
    let [solves, asks, slowest] = [solves, asks, slowest].map(AtomicU64::into_inner);
    measured("stories without a broken law", stories);
    measured("solves", solves);
    measured("asks, none of them lost", asks);
    measured("the slowest answer after the faults had stopped", format!("{:?}", Duration::from_millis(slowest)));
}

#[test]
fn a_seed_gives_the_same_story_to_the_last_line() {
    for seed in 0..50 {
        let [one, other] = [(); 2].map(|()| played(seed, None, Chronicle::kept()));
        assert!(one.lines.len() > 20, "seed {seed}");
        assert_eq!(one.lines, other.lines, "seed {seed}");
    }
}

#[test]
fn every_safeguard_that_is_taken_out_breaks_a_law() {
    for mutation in Mutation::ALL {
        let found = first_broken(0..MUTATED_SEEDS, Some(mutation), |_| {});
        let (seed, law) = found.unwrap_or_else(|| panic!("{mutation:?} goes unnoticed"));
        assert!(mutation.breaks().iter().any(|words| law.starts_with(words)), "{mutation:?}, seed {seed}: {law}");
        measured(&format!("{mutation:?} is found out by seed {seed}"), law);
    }
}

/// The model and a real server give the same answers in the same story.
#[test]
fn the_model_answers_as_a_real_redis_does() {
    for seed in 0..REAL_SEEDS {
        let model = played(seed, None, Chronicle::kept());
        let real = live(seed, Box::new(Real::start(world::EPOCH_MS)), None, Chronicle::kept());
        let differs = model.lines.iter().zip(&real.lines).position(|(one, other)| one != other);
        if let Some(n) = differs {
            let shown = |lines: &[String]| lines[n.saturating_sub(8)..(n + 3).min(lines.len())].join("\n");
            panic!("seed {seed}, line {n}\nthe model:\n{}\na Redis:\n{}", shown(&model.lines), shown(&real.lines));
        }
        assert_eq!(model.lines.len(), real.lines.len(), "seed {seed}");
    }
    measured("stories that run the same on a real Redis as on the model", REAL_SEEDS);
}

/// A mutation that changes no script would test nothing.
#[test]
fn every_mutation_changes_a_script() {
    for mutation in Mutation::ALL.into_iter().filter(|mutation| mutation.is_in_scripts()) {
        assert!(scripts::ALL.iter().any(|(_, text)| mutation.applied(text, 0) != *text), "{mutation:?}");
    }
}

//! Faults in any order: whatever happens, the world comes to rest with a token that works.

use proptest::prelude::*;
use token_sidecar::domain::inbox::Arrival;
use token_sidecar::domain::schedule::Schedule;
use token_sidecar::domain::token::Fingerprint;
use token_sidecar::domain::verdict::Pace;

use crate::bench::Bench;
use crate::keys::Lock;
use crate::outside::{Answer, Mood};
use crate::store::{Fault, Op};
use crate::world::{ms, secs};

const REPLICAS: usize = 3;

/// Something that happens.
#[derive(Debug, Clone)]
enum Event {
    Bare,
    TrueReport,
    StaleReport,
    Force,
    ByHand(usize),
    Question(usize),
    Restart(usize),
    Deafen(usize),
    Reconnect(usize),
    CutOff(usize),
    Spoil(Op, Fault, u32),
    Mend,
    Flush,
    LoseKey,
    LoseLock,
    LockByHand,
    Foreign {
        works: bool,
    },
    /// Not back: a clock that is set back and a store that comes back empty may give a version twice.
    SetClockAhead(i64),
    Api(Mood),
    Source(Answer),
    SourceTakes(u64),
}

fn events() -> impl Strategy<Value = Event> {
    let replica = || 0..REPLICAS;
    let messages =
        prop_oneof![Just(Event::Bare), Just(Event::TrueReport), Just(Event::StaleReport), Just(Event::Force)];
    let op = proptest::sample::select(vec![
        Op::Look,
        Op::HasToken,
        Op::Claim,
        Op::Renew,
        Op::Commit,
        Op::Fail,
        Op::Announce,
        Op::Vacate,
        Op::Cookies,
        Op::Publish,
    ]);
    let fault = proptest::sample::select(vec![Fault::Away, Fault::AnswerLost, Fault::Refused]);
    let mood = proptest::sample::select(vec![Mood::Honest, Mood::Honest, Mood::Blocks, Mood::Fails, Mood::Hangs]);
    let answer = proptest::sample::select(vec![
        Answer::Fresh,
        Answer::Fresh,
        Answer::Dead,
        Answer::Token("token-0".to_owned()),
        Answer::Fails("solver: down", Pace::Ordinary),
        Answer::Fails("solver: banned", Pace::Long),
    ]);
    prop_oneof![
        8 => messages,
        2 => replica().prop_map(Event::ByHand),
        1 => replica().prop_map(Event::Question),
        1 => replica().prop_map(Event::Restart),
        1 => replica().prop_map(Event::Deafen),
        1 => replica().prop_map(Event::Reconnect),
        1 => replica().prop_map(Event::CutOff),
        3 => (op, fault, 1u32..5).prop_map(|(op, fault, times)| Event::Spoil(op, fault, times)),
        2 => Just(Event::Mend),
        1 => proptest::sample::select(vec![Event::Flush, Event::LoseKey, Event::LoseLock, Event::LockByHand]),
        1 => any::<bool>().prop_map(|works| Event::Foreign { works }),
        1 => (0i64..800_000).prop_map(Event::SetClockAhead),
        2 => mood.prop_map(Event::Api),
        2 => answer.prop_map(Event::Source),
        1 => (0u64..40_000).prop_map(Event::SourceTakes),
    ]
}

impl Event {
    fn happen(self, bench: &mut Bench, replicas: &mut [usize; REPLICAS]) {
        match self {
            Self::Bare => bench.publish(""),
            Self::TrueReport => {
                let token = bench.state().token().unwrap_or("none").to_owned();
                bench.report(&token);
            }
            Self::StaleReport => bench.report("long gone"),
            Self::Force => bench.force(),
            Self::ByHand(n) => bench.by_hand(replicas[n]),
            Self::Question(n) => bench.post(replicas[n], Arrival::Reconnect),
            Self::Restart(n) => {
                bench.crash(replicas[n]);
                replicas[n] = bench.start();
            }
            Self::Deafen(n) => bench.deafen(replicas[n]),
            Self::Reconnect(n) => bench.reconnect(replicas[n]),
            Self::CutOff(n) => bench.cut_off(replicas[n]),
            Self::Spoil(op, fault, times) => bench.spoil(op, fault, times),
            Self::Mend => bench.mend(),
            Self::Flush => bench.state().keys.flush(),
            Self::LoseKey => bench.state().keys.token = None,
            Self::LoseLock => bench.state().keys.lock = None,
            Self::LockByHand => bench.state().keys.lock = Some(Lock { holder: "by hand".into(), ends: None }),
            Self::Foreign { works } => {
                bench.write_foreign("foreign", Some(secs(3000)));
                if works {
                    bench.state().api.live.insert("foreign".into(), None);
                }
            }
            Self::SetClockAhead(step) => bench.state().clock_step += step,
            Self::Api(mood) => bench.state().api.mood = mood,
            Self::Source(answer) => bench.state().sources[0].rest = answer,
            Self::SourceTakes(span) => bench.state().sources[0].delay = ms(span),
        }
    }
}

async fn live_through(schedule: &str, story: Vec<(u64, Event)>) {
    let schedule = Schedule::parse(schedule, "UTC").unwrap();
    let mut bench = Bench::with(|s| s.policy.schedule = schedule).calmed(REPLICAS).await;
    bench.solves_at_once = u64::MAX; // locks are lost and replicas die here
    let mut replicas = [0, 1, 2];
    for (pause, event) in story {
        event.happen(&mut bench, &mut replicas);
        bench.pass(ms(pause)).await;
    }
    // All is well again, and somebody insists.
    bench.mend();
    {
        let mut state = bench.state();
        state.api.mood = Mood::Honest;
        state.sources[0].rest = Answer::Fresh;
        state.sources[0].delay = secs(17);
    }
    for replica in replicas {
        bench.reconnect(replica);
    }
    bench.rest().await;
    let before = bench.state().refreshed().len();
    bench.force();
    bench.until("a new token", |s| s.refreshed().len() > before).await;
    bench.pass(secs(180)).await; // whoever is at a late attempt of its own comes to its end
    bench.rest().await;
    {
        let state = bench.state();
        let newest = state.token().unwrap();
        assert!(state.api.live.contains_key(newest), "{newest} works");
        for event in state.refreshed() {
            let known = state.api.live.keys().any(|t| Fingerprint::of(t).to_string() == event.fingerprint);
            assert!(known, "a token that the API has never accepted was announced: {event:?}");
        }
        for replica in replicas {
            let sunk = state.sunk.iter().rfind(|s| s.0 == replica).map(|s| s.1.as_str());
            assert_eq!(sunk, Some(newest), "the `.env` of replica {replica}");
        }
    }
    bench.finish().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_all_comes_to_rest_with_a_token_that_works(
        schedule in proptest::sample::select(vec!["off", "every 2m"]),
        story in proptest::collection::vec((0u64..8000, events()), 0..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(live_through(schedule, story));
    }
}

//! What is counted as it happens; what follows from the state alone is in [`super::metrics`].

use std::time::Duration;

use token_sidecar_client::wire::{Payload, Trigger};

/// The upper bounds of the buckets: from a commit in a millisecond to a solve that waited in FlareSolverr's queue.
pub(crate) const STAGE_SECONDS: [f64; 15] =
    [0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 90.0, 150.0, f64::INFINITY];

/// The payloads that messages have.
const PAYLOADS: [Payload; 3] = [Payload::Details, Payload::Bare, Payload::Oversized];

/// The answers to a commit.
const COMMITS: [&str; 3] = ["stored", "superseded", "error"];

/// The counters of one site. Those whose labels are known beforehand begin at zero; the others take no room before they
/// count something: there may be thousands of sites.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    refreshes: Vec<(Refresh, u64)>,
    stages: Vec<(&'static str, StageTimes)>,
    triggers: Vec<(&'static str, u64)>,
    lease_lost: u64,
    commits: [u64; COMMITS.len()],
    messages: [u64; PAYLOADS.len()],
}

/// A refresh that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Refresh {
    trigger: Trigger,
    outcome: &'static str,
    stage: &'static str,
}

/// How long a stage took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct StageTimes {
    pub(crate) sum: f64,
    /// How many ended up in each bucket.
    pub(crate) buckets: [u64; STAGE_SECONDS.len()],
}

/// A counter of every site.
pub(crate) struct Counter {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) samples: fn(&Tally) -> Vec<(Labels, u64)>,
}

/// Names and values, without the site's.
pub(crate) type Labels = Vec<(&'static str, &'static str)>;

/// The counters of every site.
pub(crate) const COUNTERS: [Counter; 5] = [
    Counter {
        name: "refreshes",
        help: "Refreshes of this process that have ended, by what brought them about, how they ended and the stage that failed.",
        samples: |tally| {
            let labels = |ended: &Refresh| {
                vec![("trigger", ended.trigger.as_str()), ("outcome", ended.outcome), ("stage", ended.stage)]
            };
            tally.refreshes.iter().map(|(ended, count)| (labels(ended), *count)).collect()
        },
    },
    Counter {
        name: "triggers",
        help: "Triggers by the decision they led to.",
        samples: |tally| tally.triggers.iter().map(|(word, count)| (vec![("decision", *word)], *count)).collect(),
    },
    Counter {
        name: "lease_lost",
        help: "How often the lock was lost while a refresh of this process went on.",
        samples: |tally| vec![(Vec::new(), tally.lease_lost)],
    },
    Counter {
        name: "commits",
        help: "Commits of this process by the store's answer.",
        samples: |tally| {
            let words = COMMITS.map(|word| vec![("result", word)]);
            words.into_iter().zip(tally.commits).collect()
        },
    },
    Counter {
        name: "messages",
        help: "Messages on the site's token:invalid channel, by how much of the payload could be used.",
        samples: |tally| {
            let words = PAYLOADS.map(|payload| vec![("payload", payload.as_str())]);
            words.into_iter().zip(tally.messages).collect()
        },
    },
];

impl Tally {
    pub(crate) fn decided(&mut self, decision: &'static str, folded: u64) {
        *of(&mut self.triggers, decision) += folded;
    }

    pub(crate) fn timed(&mut self, stage: &'static str, took: Duration) {
        let took = took.as_secs_f64();
        let times = of(&mut self.stages, stage);
        times.sum += took;
        let bucket = STAGE_SECONDS.iter().position(|bound| took <= *bound).unwrap_or(STAGE_SECONDS.len() - 1);
        times.buckets[bucket] += 1;
    }

    pub(crate) fn finished(&mut self, trigger: Trigger, outcome: &'static str, stage: &'static str) {
        *of(&mut self.refreshes, Refresh { trigger, outcome, stage }) += 1;
    }

    pub(crate) const fn lease_lost(&mut self) {
        self.lease_lost += 1;
    }

    pub(crate) fn committed(&mut self, result: &'static str) {
        if let Some(place) = COMMITS.iter().position(|known| *known == result) {
            self.commits[place] += 1;
        }
    }

    pub(crate) fn message(&mut self, payload: Payload) {
        if let Some(place) = PAYLOADS.iter().position(|known| *known == payload) {
            self.messages[place] += 1;
        }
    }

    /// The stages that have ended at least once, and how long they took.
    pub(crate) fn stages(&self) -> &[(&'static str, StageTimes)] {
        &self.stages
    }
}

/// What is counted under a label; a handful of them are looked through faster than any map.
fn of<L: PartialEq, T: Default>(counted: &mut Vec<(L, T)>, label: L) -> &mut T {
    let place = counted.iter().position(|(known, _)| *known == label).unwrap_or_else(|| {
        counted.reserve_exact(1);
        counted.push((label, T::default()));
        counted.len() - 1
    });
    &mut counted[place].1
}

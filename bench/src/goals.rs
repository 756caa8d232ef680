//! What was aimed at, and what came of it.

use std::fmt;

use crate::report::{Flood, Herd, Idle, Latency, Report, Who, row};

/// A goal, as a figure and its bound.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Goal {
    /// What is bounded, with its unit.
    pub(crate) what: &'static str,
    pub(crate) figure: f64,
    pub(crate) bound: Bound,
}

/// What a figure may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Goal {
    pub(crate) fn is_met(&self) -> bool {
        match self.bound {
            Bound::AtMost(most) => self.figure <= most,
            Bound::AtLeast(least) => self.figure >= least,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.is_met() { "met" } else { "MISSED" };
        write!(f, "{word}: {}: {} ({})", self.what, figure(self.figure), self.bound)
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "≤ {}", figure(*most)),
            Self::AtLeast(least) => write!(f, "≥ {}", figure(*least)),
        }
    }
}

/// KiB in MiB.
pub(crate) fn mebi(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// A figure, to as many digits as mean something.
pub(crate) fn figure(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude >= 1_000.0 {
        // In groups of three.
        let digits = format!("{magnitude:.0}");
        let head = digits.len() % 3;
        let groups = digits.as_bytes()[head..].chunks(3).map(String::from_utf8_lossy);
        let head = (head > 0).then(|| digits[..head].into());
        let sign = if value < 0.0 { "−" } else { "" };
        return format!("{sign}{}", head.into_iter().chain(groups).collect::<Vec<_>>().join(","));
    }
    let places = if magnitude == magnitude.trunc() || magnitude >= 100.0 {
        0
    } else if magnitude >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.places$}")
}

/// The goals whose figures are there.
pub(crate) fn of(report: &Report) -> Vec<Goal> {
    let latency = |who| row(&report.latency, |row: &Latency| row.who, who);
    let idle = |who| row(&report.idle, |row: &Idle| row.who, who);
    let flood = |who| row(&report.flood, |row: &Flood| row.who, who);
    let herd = row(&report.herd, |row: &Herd| row.who, Who::Sidecar);
    let start = report.start.iter().find(|row| row.who == Who::Sidecar).and_then(|row| row.subscribed);
    let most =
        |what, figure: Option<f64>, bound| figure.map(|figure| Goal { what, figure, bound: Bound::AtMost(bound) });
    let least =
        |what, figure: Option<f64>, bound| figure.map(|figure| Goal { what, figure, bound: Bound::AtLeast(bound) });
    let dispatch = |of: fn(&Latency) -> f64| Some(of(latency(Who::Sidecar)?) / of(latency(Who::Floor)?));
    let faster = |who| Some(latency(who)?.end_to_end.median / latency(Who::Sidecar)?.end_to_end.median);
    let lighter = |who| Some(idle(who)?.pss_kib as f64 / idle(Who::Sidecar)?.pss_kib as f64);
    let ours = idle(Who::Sidecar);
    let flooded = flood(Who::Sidecar);
    [
        most("from `PUBLISH` to the solver, median, × the floor", dispatch(|row| row.dispatch.median), 1.25),
        most("the same, 99th of 100, × the floor", dispatch(|row| row.dispatch.p99), 2.0),
        least("a waiting parser has the new token sooner, × Celery as its guide has it", faster(Who::Guide), 20.0),
        least("the same, × the best-tuned Celery", faster(Who::Result), 5.0),
        most("idle PSS, MiB", ours.map(|row| mebi(row.pss_kib)), 5.0),
        least("less idle PSS, × Celery as its guide has it", lighter(Who::Guide), 20.0),
        least("the same, × the leanest Celery", lighter(Who::Leanest), 12.0),
        most("CPU ticks in 60 s idle", ours.map(|row| row.ticks as f64), 0.0),
        most("Redis commands a second, idle", ours.map(|row| row.commands_per_minute / 60.0), 0.2),
        least(
            "messages a second in a flood, × Redis alone",
            flooded.zip(flood(Who::Nobody)).map(|(ours, alone)| ours.per_second / alone.per_second),
            0.95,
        ),
        most("RSS in a flood, MiB above idle", flooded.map(|row| mebi(row.peak_rss_kib) - mebi(row.idle_rss_kib)), 4.0),
        most("start to subscribed, median, ms", start.map(|start| start.median), 15.0),
        most("solves for a herd of 1,000 parsers", herd.map(|herd| herd.solves as f64), 1.0),
        most(
            "Redis commands for it, beyond 3 a parser",
            herd.map(|herd| herd.commands as f64 - 3.0 * f64::from(herd.parsers)),
            20.0,
        ),
        most(
            "until all of it works again, × the solve",
            herd.and_then(|herd| Some(herd.all_work_s? / herd.solve_s)),
            1.2,
        ),
        most(
            "10,000 sites, MiB",
            report.sites.iter().find(|row| row.sites == 10_000).map(|row| mebi(row.peak_rss_kib)),
            64.0,
        ),
        most("the binary, MiB", report.size.as_ref().map(|size| size.binary_bytes as f64 / f64::from(1 << 20)), 6.0),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_as_many_digits_as_mean_something() {
        for (value, text) in [
            (0.0, "0"),
            (0.123, "0.12"),
            (1.0, "1"),
            (12.34, "12.3"),
            (123.4, "123"),
            (1_234.0, "1,234"),
            (999.9, "1000"),
            (1_234_567.8, "1,234,568"),
            (-2_000.0, "−2,000"),
        ] {
            assert_eq!(figure(value), text);
        }
    }

    #[test]
    fn a_goal_is_met_at_its_bound_and_not_beyond() {
        let goal = |figure, bound| Goal { what: "it", figure, bound };
        assert!(goal(5.0, Bound::AtMost(5.0)).is_met() && goal(5.0, Bound::AtLeast(5.0)).is_met());
        assert!(!goal(5.1, Bound::AtMost(5.0)).is_met() && !goal(4.9, Bound::AtLeast(5.0)).is_met());
        assert_eq!(goal(5.1, Bound::AtMost(5.0)).to_string(), "MISSED: it: 5.10 (≤ 5)");
    }
}

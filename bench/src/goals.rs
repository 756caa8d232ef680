//! The bounds, and whether the figures meet them.

use std::fmt;

use crate::report::{Browser, FirstSolver, Flood, Gateway, Herd, Idle, Latency, Proxy, Report, Start, Subject, row};

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Goal {
    /// With its unit.
    pub(crate) what: &'static str,
    pub(crate) figure: f64,
    pub(crate) bound: Bound,
}

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
        let verdict = if self.is_met() { "met" } else { "MISSED" };
        write!(f, "{verdict}: {}: {} ({})", self.what, figure(self.figure), self.bound)
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

/// Formats a figure with three significant digits, and groups thousands.
pub(crate) fn figure(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude >= 1_000.0 {
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

fn proxy(gateway: Option<&Gateway>, subject: Subject) -> Option<&Proxy> {
    row(&gateway?.proxies, |row: &Proxy| row.subject, subject)
}

/// The goals whose figures were measured.
pub(crate) fn of(report: &Report) -> Vec<Goal> {
    let latency = |subject| row(&report.latency, |row: &Latency| row.subject, subject);
    let idle = |subject| row(&report.idle, |row: &Idle| row.subject, subject);
    let flood = |subject| row(&report.flood, |row: &Flood| row.subject, subject);
    let peak_kib = |sites| report.sites.iter().find(|row| row.sites == sites).map(|row| row.peak_rss_kib);
    let most = |what, figure: Option<f64>, bound| Some(Goal { what, figure: figure?, bound: Bound::AtMost(bound) });
    let least = |what, figure: Option<f64>, bound| Some(Goal { what, figure: figure?, bound: Bound::AtLeast(bound) });
    let sooner = |subject| Some(latency(subject)?.end_to_end.median / latency(Subject::Sidecar)?.end_to_end.median);
    let less_memory = |subject| Some(idle(subject)?.pss_kib as f64 / idle(Subject::Sidecar)?.pss_kib as f64);
    let dispatch = latency(Subject::Sidecar).map(|row| row.dispatch);
    let floor = latency(Subject::Floor).map(|row| row.dispatch);
    let browser = |subject| row(&report.browser, |row: &Browser| row.subject, subject);
    let (own, kept) = (browser(Subject::Browser), browser(Subject::KeptBrowser));
    let solver = browser(Subject::Flaresolverr);
    let idling = idle(Subject::Sidecar);
    let flooded = flood(Subject::Sidecar);
    let herd = row(&report.herd, |row: &Herd| row.subject, Subject::Sidecar);
    let start = row(&report.start, |row: &Start| row.subject, Subject::Sidecar).and_then(|row| row.subscribed);
    let growth = || {
        let per_site = |fewer, more| Some((peak_kib(more)? as f64 - peak_kib(fewer)? as f64) / f64::from(more - fewer));
        Some(per_site(1_000, 10_000)? / per_site(1, 1_000)?)
    };
    let after = |first| {
        let median = |wanted| report.solvers.iter().find(|row| row.first == wanted).map(|row| row.first_report.median);
        Some(median(first)? / median(FirstSolver::Alone)?)
    };
    let gateway = report.gateway.as_ref();
    let (ours, nginx) = (proxy(gateway, Subject::Gateway), proxy(gateway, Subject::Nginx));
    let (revoked, large) = (gateway.map(|gateway| &gateway.revoked), gateway.map(|gateway| &gateway.large));
    [
        most(
            "from `PUBLISH` to the solver's request, median, × the floor",
            dispatch.zip(floor).map(|(ours, floor)| ours.median / floor.median),
            2.0,
        ),
        most("from `PUBLISH` to the solver's request, 99th percentile, ms", dispatch.map(|ours| ours.p99), 5.0),
        least("new token sooner than with Celery as its guide describes it, ×", sooner(Subject::Guide), 20.0),
        least("new token sooner than with the best-tuned Celery, ×", sooner(Subject::Result), 4.0),
        most("idle PSS, MiB", idling.map(|row| mebi(row.pss_kib)), 6.0),
        least("less idle PSS than Celery as its guide describes it, ×", less_memory(Subject::Guide), 20.0),
        least("less idle PSS than the leanest Celery, ×", less_memory(Subject::Leanest), 12.0),
        most("idle, CPU ticks in 60 s", idling.map(|row| row.ticks as f64), 2.0),
        most("idle, Redis commands a second", idling.map(|row| row.commands_per_minute / 60.0), 0.5),
        least(
            "flood, messages a second, × Redis alone",
            flooded.zip(flood(Subject::RedisAlone)).map(|(ours, alone)| ours.per_second / alone.per_second),
            0.95,
        ),
        most("flood, MiB above idle", flooded.map(|row| mebi(row.peak_rss_kib) - mebi(row.idle_rss_kib)), 4.0),
        most("start to subscribed, median, ms", start.map(|start| start.median), 15.0),
        most("herd of 1,000 parsers, solves", herd.map(|herd| herd.solves as f64), 1.0),
        most(
            "herd of 1,000 parsers, Redis commands beyond 3 a parser",
            herd.map(|herd| herd.commands as f64 - 3.0 * f64::from(herd.parsers)),
            20.0,
        ),
        most(
            "herd of 1,000 parsers, until all work again, × the solve",
            herd.and_then(|herd| Some(herd.all_work_s? / herd.solve_s)),
            1.3,
        ),
        most("1,000 sites, MiB", peak_kib(1_000).map(mebi), 24.0),
        most("10,000 sites, MiB", peak_kib(10_000).map(mebi), 128.0),
        most("memory a site from 1,000 to 10,000 sites, × that from 1 to 1,000", growth(), 1.2),
        most("a new token after the first of two solvers has died, × one alone", after(FirstSolver::Dead), 1.1),
        most("the same after it hangs, with `max_timeout` at ten times the solve", after(FirstSolver::Hung), 6.5),
        most(
            "a new token beside files whose commands fail, hang and fork, median, × without files",
            report.files.as_ref().map(|files| files.beside_commands.median / files.plain.median),
            1.2,
        ),
        most(
            "a page by a browser that is started for it, median, × FlareSolverr",
            own.zip(solver).map(|(own, solver)| own.plain.median / solver.plain.median),
            0.25,
        ),
        most(
            "a page by a browser that was kept, median, × FlareSolverr",
            kept.zip(solver).map(|(kept, solver)| kept.plain.median / solver.plain.median),
            0.1,
        ),
        most(
            "a cookie that a script sets after 1 s, beyond a plain page, s",
            own.map(|own| (own.late.median - own.plain.median) / 1e3),
            1.2,
        ),
        most(
            "a page by a browser, peak PSS, × FlareSolverr",
            own.zip(solver).map(|(own, solver)| own.peak_pss_kib as f64 / solver.peak_pss_kib as f64),
            0.7,
        ),
        most("the source `browser` at rest, processes", own.map(|own| f64::from(own.rest_processes)), 1.0),
        most(
            "the gateway, time added, median, × nginx",
            ours.zip(nginx).map(|(ours, nginx)| ours.added_ms / nginx.added_ms),
            4.0,
        ),
        most("the gateway, time added, median, ms", ours.map(|ours| ours.added_ms), 0.5),
        least(
            "the gateway, requests a CPU second, × nginx",
            ours.zip(nginx).map(|(ours, nginx)| ours.per_cpu_second / nginx.per_cpu_second),
            0.4,
        ),
        most(
            "the gateway with 1,000 connections, MiB above idle",
            ours.map(|ours| mebi(ours.peak_rss_kib) - mebi(ours.idle_rss_kib)),
            // 8 MiB, and 64 KiB a connection.
            70.5,
        ),
        most(
            "the gateway under load, from `PUBLISH` to the solver's request, median, × at rest",
            gateway.map(|gateway| gateway.busy_dispatch.median / gateway.dispatch.median),
            3.0,
        ),
        most("a token revoked under 1,000 clients of the gateway, solves", revoked.map(|row| row.solves as f64), 1.0),
        most("the same, requests that failed", revoked.map(|row| row.failures as f64), 0.0),
        most("the same, until all go on, × the solve", revoked.map(|row| row.all_go_on_s / row.solve_s), 1.3),
        most(
            "1 GiB in each direction through the gateway, MiB above idle",
            large.map(|row| mebi(row.peak_rss_kib) - mebi(row.idle_rss_kib)),
            8.0,
        ),
        most(
            "1 GiB that a client does not read, MiB that the API could send",
            large.map(|row| mebi(row.unread_bytes / 1024)),
            32.0,
        ),
        most("the binary, MiB", report.size.as_ref().map(|size| size.binary_bytes as f64 / f64::from(1 << 20)), 8.0),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_significant_digits() {
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

//! Writes the figures into `docs/performance.md`, between two markers, and plots them.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};

use crate::distribution::Distribution;
use crate::goals::{self, figure, mebi};
use crate::plot;
use crate::report::{FirstSolver, Gateway, Report, Subject};

const PAGE: &str = "performance.md";
const PLOT: &str = "performance/figures.svg";
const BEGIN: &str = "<!-- figures: begin; written by make bench -->\n";
const END: &str = "<!-- figures: end -->\n";

/// Writes the figures into the page, and the plot beside it.
pub(crate) fn write(docs: &Path, report: &Report) -> anyhow::Result<()> {
    let path = docs.join(PAGE);
    // Another folder than `docs` has no page yet.
    let page = fs::read_to_string(&path).unwrap_or_else(|_| format!("{BEGIN}{END}"));
    fs::write(&path, filled(&page, report).with_context(|| path.display().to_string())?)?;
    plot::draw(&docs.join(PLOT), report)
}

/// The page with these figures between its markers.
fn filled(page: &str, report: &Report) -> anyhow::Result<String> {
    let around = page.split_once(BEGIN).and_then(|(head, rest)| Some((head, rest.split_once(END)?.1)));
    let (head, tail) = around.context("the markers around the figures are missing")?;
    ensure!(!tail.contains(BEGIN), "the markers around the figures occur twice");
    Ok(format!("{head}{BEGIN}{}{END}{tail}", tables(report)))
}

struct Table {
    text: String,
}

impl Table {
    fn new(title: &str, columns: &[&str]) -> Self {
        let rule = columns.iter().enumerate().map(|(n, _)| if n == 0 { "---" } else { "--:" });
        let rule = rule.collect::<Vec<_>>().join(" | ");
        Self { text: format!("\n{title}\n\n| {} |\n| {rule} |\n", columns.join(" | ")) }
    }

    fn row(&mut self, name: &str, cells: &[Cell]) {
        let cells: Vec<_> = cells.iter().map(|cell| cell.map_or_else(|| "–".to_owned(), figure)).collect();
        let _infallible = writeln!(self.text, "| {name} | {} |", cells.join(" | "));
    }
}

/// None where it was not measured.
type Cell = Option<f64>;

fn tables(report: &Report) -> String {
    let machine = &report.machine;
    let mut text = format!(
        "Measured on {} cores of an {}, Linux {}, Redis {}, Rust {}, everything on one machine.\n",
        machine.cores, machine.processor, machine.kernel, machine.redis, machine.rust,
    );
    let mut table = Table::new("### Goals", &["goal", "measured", "bound", ""]);
    for goal in goals::of(report) {
        let verdict = if goal.is_met() { "met" } else { "**missed**" };
        let _infallible =
            writeln!(table.text, "| {} | {} | {} | {verdict} |", goal.what, figure(goal.figure), goal.bound);
    }
    text += &table.text;
    text += "\n![latency, memory, replicas and waiting parsers](performance/figures.svg)\n";
    for table in [
        latency(report),
        herd(report),
        idle(report),
        start(report),
        flood(report),
        sites(report),
        replicas(report),
        waiting(report),
        solvers(report),
        files(report),
        browser(report),
        proxies(report),
        revoked(report),
        beside_refreshes(report),
        size(report),
    ] {
        text += &table.text;
    }
    text
}

fn latency(report: &Report) -> Table {
    let columns = ["ms", "solver's request, median", "99th", "new token, median", "99th", "samples"];
    let mut table = Table::new("### From a report, with a solver that answers at once", &columns);
    for row in &report.latency {
        let (dispatch, held) = (row.dispatch, row.end_to_end);
        let cells = [dispatch.median, dispatch.p99, held.median, held.p99, dispatch.samples as f64];
        table.row(row.subject.name(), &cells.map(Some));
    }
    table
}

fn herd(report: &Report) -> Table {
    let columns =
        ["", "parsers", "solves, done and queued", "Redis commands", "a parser", "all work again, s", "gave up"];
    let mut table = Table::new("### A herd: all parsers get a 401 at once, a solve takes 1 s", &columns);
    for row in &report.herd {
        let (parsers, commands) = (f64::from(row.parsers), row.commands as f64);
        let solves = row.solves as f64;
        let each = commands / parsers;
        let cells = [Some(parsers), Some(solves), Some(commands), Some(each), row.all_work_s, Some(row.gave_up.into())];
        table.row(row.subject.name(), &cells);
    }
    table
}

fn idle(report: &Report) -> Table {
    let columns = ["", "processes", "PSS, MiB", "RSS, MiB", "CPU, ms", "ticks", "Redis commands a minute"];
    let seconds = report.idle.first().map_or(60, |row| row.seconds);
    let mut table = Table::new(&format!("### Idle, over {seconds} s"), &columns);
    for row in &report.idle {
        let memory = [f64::from(row.processes), mebi(row.pss_kib), mebi(row.rss_kib)];
        let work = [row.cpu_ms, row.ticks as f64, row.commands_per_minute];
        table.row(row.subject.name(), &[memory, work].concat().into_iter().map(Some).collect::<Vec<_>>());
    }
    table
}

fn start(report: &Report) -> Table {
    let columns = ["ms, median", "exec to subscribed", "exec to the solver's request"];
    let mut table = Table::new("### Start, with Redis up and no token", &columns);
    for row in &report.start {
        let median = |spread: Option<Distribution>| spread.map(|spread| spread.median);
        table.row(row.subject.name(), &[median(row.subscribed), median(row.solver_requested)]);
    }
    table
}

fn flood(report: &Report) -> Table {
    let columns = ["subscriber", "messages a second", "CPU s a million", "RSS idle, MiB", "peak, MiB"];
    let mut table = Table::new("### A flood of a million messages", &columns);
    for row in &report.flood {
        let cells = [row.per_second, row.cpu_s_per_million, mebi(row.idle_rss_kib), mebi(row.peak_rss_kib)];
        table.row(row.subject.name(), &cells.map(Some));
    }
    table
}

fn sites(report: &Report) -> Table {
    let columns =
        ["sites", "subscribed after, s", "RSS, MiB", "peak, MiB", "idle commands a second", "idle % of a core"];
    let mut table = Table::new("### More sites in one process", &columns);
    for row in &report.sites {
        let (rss, peak) = (mebi(row.rss_kib), mebi(row.peak_rss_kib));
        let cells = [row.subscribed_s, rss, peak, row.commands_per_second, row.cpu_percent];
        table.row(&figure(row.sites.into()), &cells.map(Some));
    }
    table
}

fn replicas(report: &Report) -> Table {
    let columns = ["replicas", "solves a report", "Redis commands a report", "new token, median, ms"];
    let mut table = Table::new("### More replicas, a solve takes 0.1 s", &columns);
    for row in &report.replicas {
        let solves = row.solves as f64 / row.reports as f64;
        table.row(&figure(row.replicas.into()), &[solves, row.commands_per_report, row.end_to_end.median].map(Some));
    }
    table
}

fn waiting(report: &Report) -> Table {
    let mut table =
        Table::new("### More parsers that wait for the same token", &["parsers", "the first, ms", "the last, ms"]);
    for row in &report.waiting {
        table.row(&figure(row.parsers.into()), &[row.first_ms, row.last_ms].map(Some));
    }
    table
}

fn solvers(report: &Report) -> Table {
    let columns = ["the first solver", "the first report, s", "× alone", "later reports, s", "× alone"];
    let title = "### Two solvers of which the first has failed, a solve takes 1 s, `max_timeout` is 10 s";
    let mut table = Table::new(title, &columns);
    let alone = report.solvers.iter().find(|row| row.first == FirstSolver::Alone);
    for row in &report.solvers {
        let seconds = |spread: Distribution| spread.median / 1e3;
        let times = |spread: Distribution| alone.map(|alone| spread.median / alone.first_report.median);
        let (first, later) = (row.first_report, row.later_reports);
        table.row(row.first.name(), &[Some(seconds(first)), times(first), Some(seconds(later)), times(later)]);
    }
    table
}

fn files(report: &Report) -> Table {
    let mut table =
        Table::new("### Files with commands that fail, hang and fork", &["ms", "new token, median", "99th"]);
    if let Some(files) = &report.files {
        for (name, spread) in [("without files", files.plain), ("with three of them", files.beside_commands)] {
            table.row(name, &[Some(spread.median), Some(spread.p99)]);
        }
    }
    table
}

fn browser(report: &Report) -> Table {
    let columns = [
        "source",
        "plain page, ms",
        "99th",
        "cookie after 1 s, ms",
        "peak PSS, MiB",
        "PSS at rest, MiB",
        "processes at rest",
    ];
    let mut table = Table::new("### A page opened by a browser, from the report to the new token", &columns);
    for row in &report.browser {
        let times = [row.plain.median, row.plain.p99, row.late.median];
        let rest = [mebi(row.peak_pss_kib), mebi(row.rest_pss_kib), row.rest_processes.into()];
        table.row(row.subject.name(), &[times, rest].concat().into_iter().map(Some).collect::<Vec<_>>());
    }
    table
}

fn proxies(report: &Report) -> Table {
    let columns =
        ["", "time added, ms", "requests a second", "a CPU second", "RSS idle, MiB", "with 1,000 connections"];
    let mut table = Table::new("### The gateway as a reverse proxy, on one core", &columns);
    for row in report.gateway.iter().flat_map(|gateway| &gateway.proxies) {
        let memory = [mebi(row.idle_rss_kib), mebi(row.peak_rss_kib)];
        let cells = [&[row.added_ms, row.per_second, row.per_cpu_second][..], &memory].concat();
        table.row(row.subject.name(), &cells.into_iter().map(Some).collect::<Vec<_>>());
    }
    table
}

fn revoked(report: &Report) -> Table {
    let columns = ["clients", "solves", "requests", "failed", "late 401s", "over, s", "all go on, s"];
    let title = "### A token is revoked under the clients of the gateway, a solve takes 3 s";
    let mut table = Table::new(title, &columns);
    if let Some(Gateway { revoked, .. }) = &report.gateway {
        let counts = [revoked.solves as f64, revoked.requests as f64, revoked.failures as f64, revoked.late.into()];
        let cells = [&counts[..], &[revoked.late_s, revoked.all_go_on_s]].concat();
        table.row(&figure(revoked.clients.into()), &cells.into_iter().map(Some).collect::<Vec<_>>());
    }
    table
}

fn beside_refreshes(report: &Report) -> Table {
    let columns = ["", "solver's request, median, ms", "99th", "samples"];
    let mut table = Table::new("### From a report, beside the gateway's requests", &columns);
    let rows = report.gateway.iter().flat_map(|row| [("at rest", row.dispatch), ("busy", row.busy_dispatch)]);
    for (name, spread) in rows {
        table.row(name, &[spread.median, spread.p99, spread.samples as f64].map(Some));
    }
    table
}

fn size(report: &Report) -> Table {
    let mut table = Table::new("### Size", &["", "binary, MiB", "dependencies"]);
    if let Some(size) = &report.size {
        let binary = size.binary_bytes as f64 / f64::from(1 << 20);
        table.row(Subject::Sidecar.name(), &[binary, size.dependencies as f64].map(Some));
    }
    table
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_the_stored_figures() {
        let docs = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs"));
        let page = fs::read_to_string(docs.join(PAGE)).unwrap();
        let report = Report::read(docs).unwrap();
        assert!(filled(&page, &report).unwrap() == page, "run `token-sidecar-bench page`");
    }

    #[test]
    fn what_is_around_the_figures_stays() {
        let page = format!("# Title\n{BEGIN}old\n{END}after\n");
        let text = filled(&page, &Report::default()).unwrap();
        assert!(text.starts_with(&format!("# Title\n{BEGIN}Measured on")) && text.ends_with(&format!("{END}after\n")));
        assert!(!text.contains("old\n"));
        assert!(filled("# Title\n", &Report::default()).is_err());
        assert!(filled(&page.repeat(2), &Report::default()).is_err());
    }
}

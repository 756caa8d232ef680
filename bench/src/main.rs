//! The benchmark: the sidecar beside the floor, Celery, Redis alone and nginx, in one run on one machine.

mod api;
mod bench;
mod budget;
mod celery;
mod clock;
mod distribution;
mod floor;
mod goals;
mod http;
mod machine;
mod nginx;
mod page;
mod parsers;
mod parts;
mod plot;
mod process;
mod redis;
mod report;
mod solver;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::bench::Bench;
use crate::parts::Part;
use crate::report::Report;

/// Measures what token-sidecar costs, beside the fewest round trips possible, the Celery design that it replaces, Redis
/// alone, and nginx as a reverse proxy.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Everything runs on this machine, on loopback. Use the machine for nothing else meanwhile."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure, and write the figures, the page and its plot
    Run(Run),
    /// Check counts that do not depend on the machine against their bounds
    Budget {
        /// The bounds
        #[arg(long, value_name = "FILE", default_value = "bench/budget.toml")]
        file: PathBuf,
        /// The sidecar, built for release
        #[arg(long, value_name = "FILE", default_value = "target/release/token-sidecar")]
        sidecar: PathBuf,
    },
    /// Write the page and its plot again from the figures
    Page {
        /// The folder of `performance.md`
        #[arg(long, value_name = "FOLDER", default_value = "docs")]
        docs: PathBuf,
    },
    /// Run as the floor
    #[command(hide = true)]
    Floor { redis: SocketAddr, solver: SocketAddr },
    /// Run as a subscriber that drops what it receives
    #[command(hide = true)]
    Drain { redis: SocketAddr, channel: String },
}

#[derive(Debug, clap::Args)]
struct Run {
    /// What to measure [default: everything]
    #[arg(value_name = "PART")]
    parts: Vec<Part>,
    /// The sidecar, built for release
    #[arg(long, value_name = "FILE", default_value = "target/release/token-sidecar")]
    sidecar: PathBuf,
    /// The folder of programs of a virtual environment with `bench/requirements.txt`; without it, Celery is not measured
    #[arg(long, value_name = "FOLDER")]
    python: Option<PathBuf>,
    /// A tenth of the samples and the time: shows that everything works, the figures mean little
    #[arg(long)]
    quick: bool,
    /// Where the figures, the page and its plot are written; figures of parts that are not measured stay
    #[arg(long, value_name = "FOLDER", default_value = "docs")]
    docs: PathBuf,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(run) => measure(run),
        Command::Budget { file, sidecar } => {
            let bench = Bench { sidecar, python: None, quick: false };
            budget::check(&bench, &file).and_then(|is_within| is_within.then_some(()).context("the budget is exceeded"))
        }
        Command::Page { docs } => Report::read(&docs).and_then(|report| page::write(&docs, &report)),
        Command::Floor { redis, solver } => floor::serve(redis, solver),
        Command::Drain { redis, channel } => floor::drain(redis, &channel),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            progress(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn measure(run: Run) -> anyhow::Result<()> {
    process::raise_open_files_limit()?;
    let bench = Bench { sidecar: run.sidecar, python: run.python, quick: run.quick };
    let mut report = Report::read(&run.docs).unwrap_or_default();
    report.machine = machine::read()?;
    for part in if run.parts.is_empty() { Part::ALL.to_vec() } else { run.parts } {
        progress(format_args!("{part:?}: {}", part.about()));
        part.measure(&bench, &mut report).with_context(|| format!("{part:?}"))?;
        // After each part, so that a failure of a later one loses nothing.
        report.write(&run.docs)?;
    }
    page::write(&run.docs, &report)?;
    for goal in goals::of(&report) {
        progress(format_args!("{goal}"));
    }
    Ok(())
}

#[expect(clippy::print_stderr, reason = "progress and errors of a command-line program")]
fn progress(text: std::fmt::Arguments<'_>) {
    eprintln!("bench: {text}");
}

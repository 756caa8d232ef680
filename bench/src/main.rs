//! Measures what the sidecar costs, beside the floor, beside Celery and beside Redis alone, in one run on one machine.

mod budget;
mod celery;
mod clock;
mod floor;
mod goals;
mod machine;
mod page;
mod parsers;
mod parts;
mod plot;
mod process;
mod refreshes;
mod report;
mod resp;
mod solver;
mod spread;
mod world;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::parts::Part;
use crate::report::Report;
use crate::world::World;

/// What token-sidecar costs: measured beside the fewest round trips that there can be, beside the Celery design that it
/// replaces, and beside Redis alone.
#[derive(Debug, Parser)]
#[command(version, after_help = "Everything runs on this machine, on loopback. Leave it alone meanwhile.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure, and write the figures, the page and its plot
    Run(Run),
    /// Hold counts that do not depend on the machine against what they may be
    Budget {
        /// What they may be
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
    /// Serve as the floor
    #[command(hide = true)]
    Floor { redis: SocketAddr, solver: SocketAddr },
    /// Hear everything that is said on a channel, and nothing else
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
    /// A virtual environment with what `bench/requirements.txt` names; without one, nothing is compared with Celery
    #[arg(long, value_name = "FOLDER")]
    python: Option<PathBuf>,
    /// A tenth of the samples and of the time: shows that everything works, and measures little
    #[arg(long)]
    quick: bool,
    /// Where the figures, the page and its plot are written; the figures of other parts stay
    #[arg(long, value_name = "FOLDER", default_value = "docs")]
    docs: PathBuf,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(run) => measure(run),
        Command::Budget { file, sidecar } => {
            let world = World { sidecar, python: None, quick: false };
            budget::check(&world, &file).and_then(|is_kept| is_kept.then_some(()).context("the budget is exceeded"))
        }
        Command::Page { docs } => Report::read(&docs).and_then(|report| page::write(&docs, &report)),
        Command::Floor { redis, solver } => floor::serve(redis, solver),
        Command::Drain { redis, channel } => floor::drain(redis, &channel),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn measure(run: Run) -> anyhow::Result<()> {
    process::open_many_files()?;
    let world = World { sidecar: run.sidecar, python: run.python, quick: run.quick };
    let mut report = Report::read(&run.docs).unwrap_or_default();
    report.machine = machine::read()?;
    for part in if run.parts.is_empty() { Part::ALL.to_vec() } else { run.parts } {
        say(format_args!("{part:?}: {}", part.about()));
        part.measure(&world, &mut report).with_context(|| format!("{part:?}"))?;
        // What is measured is kept, whatever becomes of the rest.
        report.write(&run.docs)?;
    }
    page::write(&run.docs, &report)?;
    for goal in goals::of(&report) {
        say(format_args!("{goal}"));
    }
    Ok(())
}

/// Progress and errors, for whoever waits.
#[expect(clippy::print_stderr, reason = "a program for people")]
fn say(text: std::fmt::Arguments<'_>) {
    eprintln!("bench: {text}");
}

//! `completions` and `man`, both generated from the command line's definition.

use std::io::{self, Write as _};

use clap::CommandFactory as _;

use super::args::Cli;
use super::{Exit, Stopped};

pub(super) fn completions(shell: clap_complete::Shell) -> Result<Exit, Stopped> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "token-sidecar", &mut script);
    io::stdout().write_all(&script)?;
    Ok(Exit::Done)
}

pub(super) fn page() -> Result<Exit, Stopped> {
    let mut page = Vec::new();
    let command = Cli::command();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    for sub in command.get_subcommands() {
        writeln!(page, ".SH \"{}\"", sub.get_name().to_uppercase())?;
        clap_mangen::Man::new(sub.clone()).render_description_section(&mut page)?;
        clap_mangen::Man::new(sub.clone()).render_options_section(&mut page)?;
        if sub.get_after_help().is_some() {
            clap_mangen::Man::new(sub.clone()).render_extra_section(&mut page)?;
        }
    }
    io::stdout().write_all(&page)?;
    Ok(Exit::Done)
}

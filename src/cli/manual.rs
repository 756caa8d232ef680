//! `man`, generated from the command line's definition.

use std::io::{self, Write as _};

use clap::{Command, CommandFactory as _};

use super::args::Cli;
use super::{Exit, Stopped};

pub(super) fn page() -> Result<Exit, Stopped> {
    let mut page = Vec::new();
    let command = Cli::command();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    for (name, sub) in command.get_subcommands().flat_map(with_its_own) {
        writeln!(page, ".SH \"{}\"", name.to_uppercase())?;
        clap_mangen::Man::new(sub.clone()).render_description_section(&mut page)?;
        clap_mangen::Man::new(sub.clone()).render_options_section(&mut page)?;
        if sub.get_after_help().is_some() {
            clap_mangen::Man::new(sub.clone()).render_extra_section(&mut page)?;
        }
    }
    io::stdout().write_all(&page)?;
    Ok(Exit::Done)
}

/// A command, or the commands below it, with their names.
fn with_its_own(command: &Command) -> Vec<(String, &Command)> {
    let name = command.get_name();
    let below: Vec<_> = command.get_subcommands().map(|sub| (format!("{name} {}", sub.get_name()), sub)).collect();
    if below.is_empty() { vec![(name.to_owned(), command)] } else { below }
}

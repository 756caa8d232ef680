//! `completions`: generated from the command line's definition, with what the generator leaves out.

use clap::{Command, CommandFactory as _, ValueEnum as _};
use clap_complete::Shell;

use super::args::Cli;
use super::{Exit, Stopped, screen};

pub(super) fn print(shell: Shell) -> Result<Exit, Stopped> {
    let mut command = Cli::command();
    let commands = listed(command.get_subcommands().map(Command::get_name));
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "token-sidecar", &mut script);
    let script = String::from_utf8_lossy(&script);
    let script = match shell {
        Shell::Bash => repaired_bash(&script),
        Shell::Fish => repaired_fish(&script, &commands),
        _ => script.into_owned(),
    };
    screen::whole(&script)?;
    Ok(Exit::Done)
}

fn listed(words: impl Iterator<Item = impl ToString>) -> String {
    words.map(|word| word.to_string()).collect::<Vec<_>>().join(" ")
}

fn repaired_bash(script: &str) -> String {
    // To bash, `--color=al` is three words.
    let previous = "prev=\"$3\"";
    let before_equals = "[[ ${prev} != = ]] || prev=\"${COMP_WORDS[COMP_CWORD-2]}\"";
    script
        // The generator spells the hyphen of the program's name in two ways, so that no command is ever found.
        .replace("token__subcmd__sidecar", "token__sidecar")
        .replace(previous, &format!("{previous}\n    {before_equals}"))
}

fn repaired_fish(script: &str, commands: &str) -> String {
    // An option that still lacks its value is no error.
    let parsed = "argparse -s (__fish_token_sidecar_global_optspecs) -- $cmd";
    let parsed_with_value = format!("{parsed} 2>/dev/null\n    or {parsed} ''");
    // Of the words after `help`, `help` itself is not the command that is asked about.
    let seen = format!("__fish_seen_subcommand_from {commands}");
    // The generator knows of no argument that is not an option.
    let shells = listed(Shell::value_variants().iter());
    let argument = "complete -c token-sidecar -n \"__fish_token_sidecar_using_subcommand completions\" -f -a";
    script.replace(parsed, &parsed_with_value).replace(&format!("{seen} help"), &seen)
        + &format!("{argument} \"{shells}\"\n")
}

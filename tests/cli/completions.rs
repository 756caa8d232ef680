//! The completion scripts, asked by their shells what could come next.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use clap::CommandFactory as _;
use token_sidecar::cli::args::Cli;

use crate::manual::commands;
use crate::process::Running;
use crate::process::sidecar::PROGRAM;

/// What is typed after the name of the program, and all that is offered for its last word.
const TYPED: [(&str, &[&str]); 12] = [
    ("tr", &["trigger"]),
    ("check-", &["check-config"]),
    ("config i", &["init"]),
    ("help tr", &["trigger"]),
    ("status --w", &["--watch"]),
    ("--config sidecar.toml status --w", &["--watch"]),
    ("--color=always check-config --ren", &["--render"]),
    ("config init --w", &["--write"]),
    ("--color ", &["always", "auto", "never"]),
    ("status --color a", &["always", "auto"]),
    ("status --color=n", &["never"]),
    ("completions z", &["zsh"]),
];

/// Reads lines, and prints each after `> `, followed by what bash would offer.
const BASH: &str = r#"
source ./token-sidecar
words=$(complete -p token-sidecar)
words=${words#*-F }
while IFS= read -r line; do
    echo "> $line"
    # It breaks words at `=` too.
    read -ra COMP_WORDS <<<"${line//=/ = }"
    [[ $line != *' ' ]] || COMP_WORDS+=('')
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    "${words%% *}" token-sidecar "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
    printf '%s\n' "${COMPREPLY[@]}"
done <typed >offered
"#;

const FISH: &str = r#"
source ./token-sidecar
while read --line line
    echo "> $line"
    complete --do-complete "$line" | string replace --regex '\t.*' ''
end <typed >offered
"#;

/// It completes in its line editor alone, which needs a terminal. That begins with the first line.
const ZSH: &str = r#"
fpath=($PWD $fpath)
autoload -Uz compinit && compinit -u -D
compadd() {
    local -a offers
    builtin compadd -A offers "$@"
    print -rl -- $offers >>offered
    builtin compadd "$@"
}
zle-line-init() {
    local line
    while IFS= read -r line; do
        print -r -- "> $line" >>offered
        BUFFER=$line CURSOR=$#line
        zle list-choices
    done <typed
    exit
}
zle -N zle-line-init
"#;

/// What a shell offers for each line that begins with the name of the program. It finds the script for completion as
/// `script`, and what it runs as `start`.
fn offers(shell: &str, script: &str, start: (&str, &str), call: &[&str], typed: &[String]) -> Vec<BTreeSet<String>> {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let printed = Running::start(Command::new(PROGRAM).args(["completions", shell]).env_clear()).end().expect(0);
    write(script, &printed.stdout);
    write(start.0, start.1);
    let lines: Vec<String> = typed.iter().map(|line| format!("token-sidecar {line}\n")).collect();
    write("typed", &lines.concat());
    let offered = run(folder.path(), call);
    let mut parts = offered.split("> token-sidecar ");
    assert_eq!(parts.next(), Some(""));
    // Some write `--color=` for `--color`, and `--color=never` for `never`.
    let bare = |word: &str| word.trim_end_matches([' ', '=']).rsplit('=').next().unwrap_or_default().to_owned();
    let words = |part: &str| part.lines().skip(1).map(bare).filter(|word| !word.is_empty()).collect();
    let offers: Vec<_> = parts.map(words).collect();
    assert_eq!(offers.len(), typed.len(), "{offered}");
    offers
}

fn run(folder: &Path, call: &[&str]) -> String {
    let (shell, arguments) = call.split_first().unwrap();
    let mut command = Command::new(shell);
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.args(arguments).env_clear().env("PATH", path).env("HOME", folder).env("ZDOTDIR", folder);
    let ran = Running::start(command.env("TERM", "dumb").current_dir(folder)).end();
    std::fs::read_to_string(folder.join("offered")).unwrap_or_else(|error| panic!("offered: {error}: {ran:?}"))
}

fn completes(shell: &str, script: &str, start: (&str, &str), call: &[&str]) {
    let mut program = Cli::command();
    program.build();
    let commands = commands();
    let options = commands.iter().map(|words| [words.join(" ").as_str(), "--"].join(" ").trim_start().to_owned());
    let typed: Vec<String> = TYPED.iter().map(|(typed, _)| (*typed).to_owned()).chain(options).collect();
    let offers = offers(shell, script, start, call, &typed);
    let (offers, of_options) = offers.split_at(TYPED.len());
    for ((typed, wanted), offers) in TYPED.iter().zip(offers) {
        assert!(offers.iter().eq(*wanted), "{shell} offers {offers:?} for {typed:?}");
    }
    for (words, offers) in commands.iter().zip(of_options) {
        let command = words.iter().try_fold(&program, |command, word| command.find_subcommand(word)).unwrap();
        let options = command.get_arguments().filter_map(|option| Some(format!("--{}", option.get_long()?)));
        assert_eq!(*offers, options.collect(), "{shell} for {words:?}");
    }
}

#[test]
fn bash_completes_commands_options_and_values() {
    completes("bash", "token-sidecar", ("start", BASH), &["bash", "--norc", "start"]);
}

#[test]
fn fish_completes_commands_options_and_values() {
    completes("fish", "token-sidecar", ("start", FISH), &["fish", "--no-config", "start"]);
}

#[test]
fn zsh_completes_commands_options_and_values() {
    completes("zsh", "_token-sidecar", (".zshrc", ZSH), &["script", "-qec", "zsh -di", "/dev/null"]);
}

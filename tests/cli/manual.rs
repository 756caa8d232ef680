//! The pages of the manual, as `man` shows them and as `make install` installs them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use clap::CommandFactory as _;
use token_sidecar::cli::args::Cli;

use crate::process::sidecar::PROGRAM;
use crate::process::{Ran, Running};

/// The words of every command, those below others too; first the program itself, without any.
pub(crate) fn commands() -> Vec<Vec<String>> {
    fn below(command: &clap::Command, words: &[String], found: &mut Vec<Vec<String>>) {
        found.push(words.to_vec());
        for command in command.get_subcommands() {
            below(command, &[words, &[command.get_name().to_owned()]].concat(), found);
        }
    }
    let mut found = Vec::new();
    below(&Cli::command(), &[], &mut found);
    assert!(found.len() > 15, "{found:?}");
    found
}

fn run(command: &mut Command) -> Ran {
    Running::start(command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default())).end()
}

fn call(words: &[&str]) -> Ran {
    run(Command::new(PROGRAM).args(words))
}

fn page_of(words: &[String]) -> String {
    std::iter::once("token-sidecar").chain(words.iter().map(String::as_str)).collect::<Vec<_>>().join("-")
}

/// A section of a page as it is shown.
fn section<'a>(shown: &'a str, title: &str) -> &'a str {
    let (_, rest) = shown.split_once(&format!("\n{title}\n")).unwrap_or_else(|| panic!("no {title}:\n{shown}"));
    let is_within = |line: &&str| line.is_empty() || line.starts_with(' ');
    let end = rest.lines().take_while(is_within).map(|line| line.len() + 1).sum();
    &rest[..end]
}

#[test]
fn man_shows_a_page_for_each_command_without_a_torn_line() {
    let folder = tempfile::tempdir().unwrap();
    call(&["man", "--write", folder.path().to_str().unwrap()]).expect(0);
    let commands = commands();
    let written = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let written: BTreeSet<String> = std::fs::read_dir(folder.path()).unwrap().map(written).collect();
    assert_eq!(written, commands.iter().map(|words| page_of(words) + ".1").collect());
    for words in &commands {
        let name = page_of(words);
        let page = folder.path().join(format!("{name}.1"));
        let text = std::fs::read_to_string(&page).unwrap();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_eq!(call(&[&["man"], &words[..]].concat()).expect(0).stdout, text);
        assert!(text.is_ascii(), "{words:?}: troff alone reads no UTF-8");

        let mut man = Command::new("man");
        man.args(["--warnings", "--local-file"]).arg(&page);
        let ran = run(man.env("MANWIDTH", "80").env("LC_ALL", "C.UTF-8").env("MANPAGER", "cat"));
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{words:?}");
        let shown = ran.stdout;
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{words:?}:\n{shown}");
        section(&shown, "OPTIONS");
        section(&shown, "EXIT STATUS");
        has_its_examples(&words, &shown);
        assert!(shown.starts_with(&format!("{name}(1) ")), "{shown}");
        let see_also = section(&shown, "SEE ALSO");
        for other in commands.iter().map(|words| page_of(words) + "(1)") {
            let is_itself = other == format!("{name}(1)");
            let is_named = see_also.split([' ', ',', '\n']).any(|word| word == other);
            assert!(is_named != is_itself, "{words:?}: {other}:\n{shown}");
        }
    }
}

/// Each line of the examples in the help is a line of the page.
fn has_its_examples(words: &[&str], shown: &str) {
    let help = call(&[words, &["-h"]].concat()).expect(0).stdout;
    let (_, examples) = help.split_once("\nExample").unwrap();
    let examples = examples.split("\nSettings come from").next().unwrap();
    let section = section(shown, "EXAMPLES");
    for example in examples.lines().skip(1).filter_map(|line| line.strip_prefix("  ")) {
        let example = format!("       {}", example.replace('…', "..."));
        assert!(section.lines().any(|line| line == example), "{words:?}: {example}\n{shown}");
    }
}

#[test]
fn a_page_names_the_settings_and_files_that_count() {
    let page = |words: &[&str]| call(&[&["man"], words].concat()).expect(0).stdout.replace("\\-", "-");
    for (words, some, none) in [
        (
            &["run"][..],
            &["FLARESOLVERR_URL, FLARESOLVERR_URL_FILE", "{SITE}", "/etc/token-sidecar.env"][..],
            "COMMANDS",
        ),
        (&["trigger"], &["REDIS_URL", "SIDECAR_CONFIG", ".env", "--site"], "FLARESOLVERR"),
        (&["healthcheck"], &["SIDECAR_LISTEN", "--listen"], "REDIS_PASSWORD"),
        (&["config", "init"], &["--color", "--write"], "--redis-url"),
        (&[], &["token-sidecar-config-init", "BROWSER_KEEP"], "SUBCOMMANDS"),
    ] {
        let page = page(words);
        for some in some {
            assert!(page.contains(some), "{words:?}: no {some}:\n{page}");
        }
        assert!(!page.contains(none), "{words:?}: {none}:\n{page}");
    }
}

#[test]
fn a_page_that_cannot_be_had_is_2() {
    call(&["man", "frobnicate"]).expect(2).stderr_has("there is no command `frobnicate`");
    call(&["man", "config", "more"]).expect(2).stderr_has("there is no command `config more`");
    call(&["man", "--write", "/dev/null/folder"])
        .expect(2)
        .stderr_has("/dev/null/folder/token-sidecar.1 is not written");
}

/// Every file below the folder, by its path within it.
fn files(folder: &Path) -> BTreeSet<String> {
    let found = run(Command::new("find").args([".", "-type", "f"]).current_dir(folder)).expect(0);
    found.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn make_uninstall_removes_what_install_has_installed() {
    let folder = tempfile::tempdir().unwrap();
    let make = |target: &str| {
        let mut make = Command::new("make");
        make.args(["--silent", target, &format!("BINARY={PROGRAM}")]);
        make.arg(format!("DESTDIR={}", folder.path().display())).current_dir(env!("CARGO_MANIFEST_DIR"));
        run(&mut make).expect(0);
        files(folder.path())
    };
    let installed = make("install-files");
    for words in commands() {
        let page = format!("./usr/local/share/man/man1/{}.1", page_of(&words));
        assert!(installed.contains(&page), "{page}: {installed:#?}");
    }
    assert_eq!(make("uninstall"), BTreeSet::new());
}

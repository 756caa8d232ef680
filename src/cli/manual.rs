//! `man`: a page for each command, generated from the command line's definition.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};

use clap::{Command, CommandFactory as _};
use clap_mangen::Man as Page;
use clap_mangen::roff::{Inline, Roff, bold, roman};

use super::args::{Cli, Man as Flags};
use super::{Exit, Stopped, screen};
use crate::config::{MEANINGS, VARIABLES};

/// What roff would show as another character, or warn of.
const SPELLED: [(char, &str); 4] = [('…', "..."), ('`', "\\(ga"), ('~', "\\(ti"), ('^', "\\(ha")];

pub(super) fn run(flags: &Flags) -> Result<Exit, Stopped> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let Some(folder) = &flags.write else {
        screen::whole(&page(&program, named(&program, &flags.command)?)?)?;
        return Ok(Exit::Done);
    };
    for command in all(&program) {
        let file = folder.join(format!("{}.1", name(command)));
        fs::write(&file, page(&program, command)?)
            .map_err(|error| Stopped::because(Exit::Usage, format!("{} is not written: {error}", file.display())))?;
    }
    Ok(Exit::Done)
}

fn named<'a>(program: &'a Command, words: &[String]) -> Result<&'a Command, Stopped> {
    words.iter().try_fold(program, |command, word| command.find_subcommand(word)).ok_or_else(|| {
        let words = words.join(" ");
        Stopped::because(Exit::Usage, format!("there is no command `{words}`; see token-sidecar --help"))
    })
}

/// A command and all below it.
fn all(command: &Command) -> Vec<&Command> {
    std::iter::once(command).chain(command.get_subcommands().flat_map(all)).collect()
}

/// The name of its page.
fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

/// The settings that a command obeys, by the beginnings of their paths; `None` where it reads no settings.
fn settings(command: &Command) -> Option<&'static [&'static str]> {
    match command.get_name() {
        "config" | "init" | "version" | "completions" | "man" => None,
        "token-sidecar" | "run" | "refresh" | "inspect" | "doctor" | "check-config" => Some(&[""]),
        "notify" => Some(&["notices", "telegram."]),
        "healthcheck" => Some(&["server.listen"]),
        "status" => Some(&["redis.", "time_zone", "sites.*.schedule"]),
        _ => Some(&["redis."]),
    }
}

fn page(program: &Command, command: &Command) -> io::Result<String> {
    let settings = settings(command);
    let notes = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let notes = Notes::of(&notes);
    let usage = command.clone().render_usage().to_string();
    let shown = command.clone().override_usage(usage.trim_start_matches("Usage: ").to_owned()).mut_args(|arg| {
        let is_setting = arg.get_help_heading() == Some("Settings") && arg.get_id() != "color";
        if is_setting && settings.is_none() { arg.hide(true) } else { arg }
    });
    let of_clap = Page::new(shown);

    let mut page = Vec::new();
    let version = env!("CARGO_PKG_VERSION");
    writeln!(page, ".TH {} 1 \"\" \"token-sidecar {version}\" token-sidecar", name(command))?;
    // Names are not hyphenated, nor words spread over the line.
    writeln!(page, ".nh\n.ad l")?;
    of_clap.render_name_section(&mut page)?;
    of_clap.render_synopsis_section(&mut page)?;
    of_clap.render_description_section(&mut page)?;
    let mut remarks = Roff::new();
    for remark in &notes.remarks {
        remarks.control("PP", []).text([roman(*remark)]);
    }
    remarks.to_writer(&mut page)?;
    of_clap.render_options_section(&mut page)?;

    let mut rest = Roff::new();
    let below = all(command).into_iter().skip(1);
    list(&mut rest, "COMMANDS", below.map(|below| (reference(below), about(below))));
    if let Some(paths) = settings {
        list(&mut rest, "ENVIRONMENT", variables(paths).map(|(name, meaning)| (vec![bold(name)], meaning.to_owned())));
        list(&mut rest, "FILES", files(paths).map(|(name, meaning)| (vec![bold(name)], meaning.to_owned())));
    }
    let codes = exit_codes(notes.exit_codes, settings.is_some());
    list(&mut rest, "EXIT STATUS", codes.into_iter().map(|(code, meaning)| (vec![bold(code.to_string())], meaning)));
    rest.control("SH", ["EXAMPLES"]).control("nf", []);
    for line in &notes.examples {
        rest.text([roman(*line)]);
    }
    rest.control("fi", []).control("SH", ["SEE ALSO"]);
    let others: Vec<&Command> = all(program).into_iter().filter(|other| name(other) != name(command)).collect();
    for (n, other) in others.iter().enumerate() {
        let comma = if n + 1 < others.len() { "," } else { "" };
        rest.text([reference(other), vec![roman(comma)]].concat());
    }
    rest.to_writer(&mut page)?;
    let page = String::from_utf8_lossy(&page).into_owned();
    Ok(SPELLED.iter().fold(page, |page, (char, spelled)| page.replace(*char, spelled)))
}

/// What follows the options in a help text, by its parts.
struct Notes<'a> {
    remarks: Vec<&'a str>,
    exit_codes: &'a str,
    examples: Vec<&'a str>,
}

impl<'a> Notes<'a> {
    fn of(text: &'a str) -> Self {
        let mut notes = Self { remarks: Vec::new(), exit_codes: "", examples: Vec::new() };
        for part in text.split("\n\n") {
            if let Some(codes) = part.strip_prefix("Exit codes: ") {
                notes.exit_codes = codes;
            } else if part.starts_with("Example") || part.starts_with(' ') {
                if !notes.examples.is_empty() {
                    notes.examples.push("");
                }
                let lines = part.lines().filter(|line| !line.starts_with("Example"));
                notes.examples.extend(lines.map(|line| line.strip_prefix("  ").unwrap_or(line)));
            } else {
                notes.remarks.push(part);
            }
        }
        notes
    }
}

fn about(command: &Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default()
}

fn reference(command: &Command) -> Vec<Inline> {
    vec![bold(name(command)), roman("(1)")]
}

/// A section of terms and what they mean; none without any.
fn list(roff: &mut Roff, title: &str, items: impl Iterator<Item = (Vec<Inline>, String)>) {
    for (n, (term, meaning)) in items.enumerate() {
        if n == 0 {
            roff.control("SH", [title]);
        }
        roff.control("TP", []).text(term).text([roman(meaning)]);
    }
}

/// Each code of `0 printed, 75 failed.` with its meaning, and those of every command.
fn exit_codes(text: &str, reads_settings: bool) -> BTreeMap<u8, String> {
    let text = text.trim_end_matches('.').replace('\n', " ");
    let code = |part: &str| {
        let (code, meaning) = part.split_once(' ')?;
        Some((code.parse().ok()?, meaning.to_owned()))
    };
    let mut codes: BTreeMap<u8, String> = text.split(", ").filter_map(code).collect();
    codes.entry(2).or_insert_with(|| "wrong usage".to_owned());
    codes.entry(74).or_insert_with(|| "output that cannot be written".to_owned());
    if reads_settings {
        codes.entry(64).or_insert_with(|| "bad settings".to_owned());
    }
    codes
}

/// The variables that count, and what they mean.
fn variables(paths: &[&str]) -> impl Iterator<Item = (String, &'static str)> {
    let counts = |path: &str| paths.iter().any(|start| path.starts_with(start));
    let known = VARIABLES.iter().filter(move |(_, path)| counts(path)).filter_map(|(name, path)| {
        // A variable that names a file with a secret is described beside that of the secret.
        let (_, meaning) = MEANINGS.iter().find(|(known, _)| known == path)?;
        let file = format!("{name}_FILE");
        let has_file = VARIABLES.iter().any(|(name, _)| *name == file);
        Some((if has_file { format!("{name}, {file}") } else { (*name).to_owned() }, *meaning))
    });
    let of_a_site = ("{SITE}".to_owned(), "stands for the name of a site in capitals: CHITAI_GOROD_API_URL");
    let has_sites = paths.contains(&"");
    known.chain(has_sites.then_some(of_a_site)).chain([
        ("SIDECAR_CONFIG".to_owned(), "the TOML file, where there is no --config"),
        ("NO_COLOR".to_owned(), "no colour, unless --color says otherwise"),
    ])
}

fn files(paths: &[&str]) -> impl Iterator<Item = (&'static str, &'static str)> {
    let service = ("/etc/token-sidecar.env", "the variables of the service of systemd");
    let is_of_the_service = paths.contains(&"");
    let own = [
        (".env", "variables, in the working folder; the environment overrides them"),
        ("sidecar.toml", "settings, named by --config or SIDECAR_CONFIG; variables override them"),
    ];
    own.into_iter().chain(is_of_the_service.then_some(service))
}

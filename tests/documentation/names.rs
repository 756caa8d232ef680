//! Whatever the documents name is there: files, commands, flags, variables, keys, targets, metrics, errors.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use clap::{CommandFactory as _, Parser as _};
use token_sidecar::cli::args::Cli;
use token_sidecar::config::{ConfigError, Flag, Inputs, VARIABLES, load};

use crate::markdown::{Document, REPOSITORY, root};

/// The documents for users.
const GUIDES: [&str; 8] = [
    "README.md",
    "README.ru.md",
    "contract/README.md",
    "docs/gateway.md",
    "docs/gateway.ru.md",
    "docs/migration.md",
    "docs/migration.ru.md",
    "docs/monitoring.md",
];

/// Those of them that describe every command.
const COMPLETE: [&str; 2] = ["README.md", "contract/README.md"];

/// Beginnings of the variables that are ours.
const OURS: [&str; 5] = ["SIDECAR_", "REDIS_", "FLARESOLVERR_", "BROWSER_", "CHITAI_GOROD_"];

/// After [`REPOSITORY`], where its files are.
const FILES: &str = "/blob/main/";

fn guides() -> Vec<Document> {
    GUIDES.iter().map(|name| Document::read(name)).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    for document in Document::all() {
        for link in document.links() {
            let (file, anchor) = link.split_once('#').map_or((link.as_str(), None), |(f, a)| (f, Some(a)));
            let path = match file.strip_prefix(REPOSITORY) {
                // Its start page, its issues and the like.
                Some(page) if !page.starts_with(FILES) => continue,
                Some(page) => page[FILES.len()..].to_owned(),
                None if file.is_empty() => document.name.clone(),
                None => beside(&document.name, file),
            };
            let there = root().join(&path).exists();
            let anchored = anchor.is_none_or(|anchor| there && Document::read(&path).anchors().contains(anchor));
            if !there || !anchored {
                broken.push(format!("{}: {link}", document.name));
            }
        }
    }
    assert!(broken.is_empty(), "these links lead nowhere: {broken:#?}");
}

/// Every test that a document names exists.
#[test]
fn every_test_that_stands_for_a_sentence_is_there() {
    let sources: Vec<String> = ["src", "tests"].iter().flat_map(|folder| texts(&root().join(folder))).collect();
    let is_name = |code: &str| {
        code.matches('_').count() > 2 && code.bytes().all(|b| b.is_ascii_lowercase() || b"_0123456789".contains(&b))
    };
    let named: BTreeSet<String> =
        Document::read("docs/security.md").code().into_iter().filter(|code| is_name(code)).collect();
    assert!(named.len() > 20, "few are named: {named:?}");
    let checks = fs::read_to_string(root().join("scripts/containers")).unwrap();
    let is_test = |name: &str| sources.iter().any(|text| text.contains(&format!("fn {name}(")));
    let is_check = |name: &str| checks.lines().any(|line| line.strip_prefix("check ") == Some(name));
    let gone: Vec<_> = named.iter().filter(|name| !is_test(name) && !is_check(name)).collect();
    assert!(gone.is_empty(), "no test is called {gone:?}");
}

fn texts(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: PathBuf| match path.extension() {
        _ if path.is_dir() => texts(&path),
        Some(end) if end == "rs" => vec![fs::read_to_string(&path).unwrap()],
        _ => vec![],
    };
    entries.flat_map(read).collect()
}

/// The path that a link means in a document.
fn beside(document: &str, link: &str) -> String {
    let mut path = PathBuf::new();
    for part in Path::new(document).parent().unwrap().join(link).components() {
        match part {
            Component::ParentDir => assert!(path.pop(), "{document}: {link} leads out of the project"),
            part => path.push(part),
        }
    }
    path.to_string_lossy().into_owned()
}

#[test]
fn every_command_line_is_understood() {
    let mut seen = 0;
    for document in Document::all() {
        for code in document.code() {
            for words in command_lines(&code) {
                seen += 1;
                let parsed = Cli::try_parse_from(std::iter::once("token-sidecar".to_owned()).chain(words));
                assert!(parsed.is_ok(), "{}: {code}: {}", document.name, parsed.unwrap_err());
            }
        }
    }
    assert!(seen > 50, "only {seen} command lines were found");
}

/// The words after each `token-sidecar ` in a piece of code, up to where the shell would end the command.
fn command_lines(code: &str) -> Vec<Vec<String>> {
    let mut lines = Vec::new();
    for (at, name) in code.match_indices("token-sidecar") {
        let before = code[..at].chars().next_back();
        let after = &code[at + name.len()..];
        // A package, a unit, or the reporter of an attempt.
        let is_named = ["-p ", "-u ", "  for "].iter().any(|word| code[..at].ends_with(word));
        let is_started = before.is_none_or(|c| " (/".contains(c)) && !is_named;
        let is_ours = is_started && (after.is_empty() || after.starts_with([' ', ')']));
        let words = shell_words(after);
        let is_example = words.iter().any(|word| word.contains('…'));
        if is_ours && !is_example {
            lines.push(words);
        }
    }
    lines
}

fn shell_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quote) = (String::new(), None);
    for c in text.chars() {
        match (quote, c) {
            (None, '|' | ';' | '&' | ')' | '#' | '>') => break,
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None, ' ') => words.push(std::mem::take(&mut word)),
            (_, c) => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn every_command_is_described() {
    for guide in COMPLETE {
        let code = Document::read(guide).code();
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            let is_named = code.iter().any(|c| c.split([' ', '`']).any(|word| word == name));
            assert!(is_named, "{guide} does not name {name}");
        }
    }
}

/// By the sidecar, or by the compose files.
#[test]
fn every_variable_is_read_by_something() {
    let example = fs::read_to_string(root().join("compose/.env.example")).unwrap();
    let of_compose = example.lines().filter_map(|line| line.trim_start_matches("# ").split_once('='));
    let known: BTreeSet<String> = VARIABLES
        .iter()
        .map(|(name, _)| name.replace("{SITE}", "CHITAI_GOROD"))
        .chain(["SIDECAR_CONFIG".to_owned()])
        .chain(of_compose.map(|(name, _)| name.to_owned()))
        .collect();
    for guide in guides() {
        for word in words(&guide.text, |c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_') {
            let is_ours = OURS.iter().any(|prefix| word.starts_with(prefix) && word.len() > prefix.len());
            assert!(!is_ours || known.contains(word), "{}: nothing reads {word}", guide.name);
        }
    }
}

#[test]
fn every_key_of_the_settings_exists() {
    for document in Document::all() {
        for code in document.code() {
            let path = code.strip_prefix("--set ").unwrap_or(&code).split('=').next().unwrap_or_default();
            let is_path = path.starts_with("sites.") || path.starts_with("flaresolverr.proxy.");
            let is_plain = path.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-*".contains(&b));
            if is_path && is_plain && document.name != "docs/configuration.md" {
                assert!(is_setting(path), "{}: there is no setting {path}", document.name);
            }
        }
    }
}

/// Whether a flag may set it, whatever to.
fn is_setting(path: &str) -> bool {
    let flag = Flag { name: "--set".to_owned(), path: of_the_built_in_site(path), value: "1".to_owned() };
    let errors = load(&Inputs { flags: vec![flag], ..Inputs::default() }).err().map_or(vec![], |errors| errors.0);
    !errors.iter().any(|error| matches!(error, ConfigError::Unknown { .. }) || error.to_string().contains("a table"))
}

/// The same setting of the site that is there without a file.
fn of_the_built_in_site(path: &str) -> String {
    let key = path.strip_prefix("sites.").and_then(|rest| rest.split_once('.')).map(|(_, key)| key);
    key.map_or_else(|| path.to_owned(), |key| format!("sites.chitai_gorod.{key}"))
}

#[test]
fn every_target_of_make_exists() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    for document in Document::all() {
        for code in document.code() {
            for part in code.split("make ").skip(1).filter(|_| code.starts_with("make ") || code.contains(" make ")) {
                let target: String = part.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
                let exists = makefile.lines().any(|line| line.starts_with(&format!("{target}:")));
                assert!(target.is_empty() || exists, "{}: `{code}`: no target {target}", document.name);
            }
        }
    }
}

#[test]
fn every_metric_is_measured() {
    let sources = fs::read_to_string(root().join("src/status/metrics.rs")).unwrap();
    let mut seen = 0;
    for guide in guides() {
        for word in words(&guide.text, |c| c.is_ascii_lowercase() || c == '_') {
            // `token_sidecar_client` is the Python package.
            let Some(name) = word.strip_prefix("token_sidecar_").filter(|name| !["", "client"].contains(name)) else {
                continue;
            };
            seen += 1;
            assert!(sources.contains(&format!("\"{name}\"")), "{}: nothing measures {word}", guide.name);
        }
    }
    assert!(seen > 15, "only {seen} metrics were found");
}

#[test]
fn errors_read_as_they_are_quoted() {
    const QUOTED: [&str; 18] = [
        "is it running?",
        "not reachable at ",
        "its browser does not start",
        "the site has blocked this address",
        "no cookie `",
        "no Chromium is installed",
        "its sandbox cannot be used here",
        "its sandbox does not work as root",
        "it has ended (killed, crashed or out of memory)",
        "other pages are open",
        "it cannot use the proxy",
        "the proxy refuses user and password",
        "an address of this machine or its network, which is refused",
        "the API refused a fresh token",
        "the API blocked us",
        "said nothing clear",
        "the subscription is silent",
        "the file does not hold the current token",
    ];
    let mut sources = String::new();
    read_all(&root().join("src"), &mut sources);
    let guides: String = guides().into_iter().map(|guide| guide.text).collect();
    for quoted in QUOTED {
        assert!(guides.contains(quoted), "no guide quotes {quoted:?} any more: take it off this list");
        assert!(sources.contains(quoted), "a guide quotes {quoted:?}, which the program does not have");
    }
}

fn read_all(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_all(&path, text);
        } else if path.extension().is_some_and(|e| e == "rs") {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

/// The runs of such characters.
fn words(text: &str, is_part: impl Fn(char) -> bool) -> impl Iterator<Item = &str> {
    text.split(move |c| !is_part(c)).filter(|word| !word.is_empty())
}

//! Every row of docs/reliability.md can be repeated: its last column names tests that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::markdown::{Document, root};

#[test]
fn every_fault_that_is_listed_is_tested() {
    let page = Document::read("docs/reliability.md");
    let (mut rows, mut wrong) = (0, Vec::new());
    for line in page.text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| --- ")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [_, _, _, again] = cells[..] else { panic!("four columns are wanted: {line}") };
        if again == "again" {
            continue;
        }
        rows += 1;
        let commands: Vec<&str> = again.split('`').skip(1).step_by(2).collect();
        if commands.is_empty() || !commands.iter().all(|command| chooses_a_test(command)) {
            wrong.push(again);
        }
    }
    assert!(rows > 20, "only {rows} rows were found");
    assert!(wrong.is_empty(), "these commands choose no test: {wrong:#?}");
}

/// Whether the words are `--test CRATE`, with part of the name of a test or its module, or `fuzz TARGET`.
fn chooses_a_test(command: &str) -> bool {
    let (name, chosen) = match command.split(' ').collect::<Vec<_>>()[..] {
        ["fuzz", target] => return root().join("fuzz/src").join(target).with_extension("rs").is_file(),
        ["--test", name] => (name, ""),
        ["--test", name, chosen] => (name, chosen),
        _ => return false,
    };
    let mut found = BTreeSet::new();
    for folder in ["tests", "simulator/tests"] {
        let tests = root().join(folder).join(name);
        collect(&tests, &mut found);
        collect(&tests.with_extension("rs"), &mut found);
    }
    found.iter().any(|test| test.contains(chosen))
}

/// The tests in a file or folder, as `module::name`.
fn collect(path: &Path, found: &mut BTreeSet<String>) {
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| collect(&entry.unwrap().path(), found));
        return;
    }
    let Ok(text) = fs::read_to_string(path) else { return };
    let module = path.file_stem().unwrap().to_string_lossy();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        let name = line.split_once("fn ").and_then(|(_, rest)| rest.split_once('('));
        match name {
            Some((name, _)) if is_test => {
                found.insert(format!("{module}::{name}"));
                is_test = false;
            }
            _ => is_test = is_test || line == "#[test]" || line.starts_with("#[tokio::test"),
        }
    }
}

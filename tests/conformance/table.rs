//! The tables of clients and scenarios in `clients/README.md`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::CLIENTS;
use crate::scenario::{Scenario, Through};

/// What stands before and after the tables.
const MARKS: [&str; 2] = ["<!-- table: generated -->\n", "<!-- end of table -->\n"];

/// Each cell is a test of that name, so that what is ticked here is what passes.
fn table(title: &str, through: Through) -> String {
    let clients: Vec<_> = CLIENTS.iter().filter(|client| client.through == through).collect();
    let mut text = format!("\n| {title} |");
    for client in &clients {
        write!(text, " {} |", client.name).unwrap();
    }
    text.push_str("\n| --- |");
    text.push_str(&" :-: |".repeat(clients.len()));
    for scenario in Scenario::all(through) {
        write!(text, "\n| {} |{}", scenario.shows, " ✓ |".repeat(clients.len())).unwrap();
    }
    text.push('\n');
    text
}

/// Panics where the tables are others; with `TABLE=write` they are made anew.
#[expect(clippy::disallowed_methods, reason = "a switch of the one test run")]
pub(crate) fn is_up_to_date() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/README.md");
    let shown = fs::read_to_string(&file).unwrap();
    let (before, rest) = shown.split_once(MARKS[0]).unwrap();
    let (_, after) = rest.split_once(MARKS[1]).unwrap();
    let tables = [("with Redis", Through::Redis), ("through the gateway", Through::Gateway)];
    let tables = tables.map(|(title, through)| table(title, through)).concat();
    let wanted = [before, MARKS[0], &tables, "\n", MARKS[1], after].concat();
    if std::env::var("TABLE").is_ok_and(|value| value == "write") {
        fs::write(&file, &wanted).unwrap();
    }
    let is_right = fs::read_to_string(&file).unwrap() == wanted;
    assert!(is_right, "clients/README.md is out of date: TABLE=write cargo test --test conformance table");
}

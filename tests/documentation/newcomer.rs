//! From nothing to a site of one's own: the commands of the READMEs, typed as they stand there.

use std::process::Stdio;

use crate::consoles::World;
use crate::markdown::Document;

/// Where the commands are.
const SECTIONS: [(&str, &str); 2] =
    [("README.md", "\n### A site of your own, from nothing\n"), ("README.ru.md", "\n### Свой сайт с нуля\n")];

/// What the test's world has from the start: the program, a Redis, a simulator.
const THERE: [&str; 4] =
    ["scripts/setup demo", "make release && sudo make install", "redis-server --daemonize yes", "make simulator &"];

/// Where the simulator is in the READMEs.
const ADDRESS: &str = "http://127.0.0.1:8191";

/// The commands of a section without their comments.
fn commands(name: &str, heading: &str) -> Vec<String> {
    let document = Document::read(name);
    let (_, section) = document.text.split_once(heading).unwrap_or_else(|| panic!("{name} has no {heading}"));
    let section = Document { name: name.to_owned(), text: section.to_owned() };
    let mut commands: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in section.blocks("sh")[0].lines() {
        let line = line.split("  # ").next().unwrap().trim_end();
        match commands.last_mut().filter(|_| goes_on) {
            Some(command) => command.extend(["\n", line]),
            None => commands.push(line.to_owned()),
        }
        let command = commands.last().unwrap();
        goes_on = line.ends_with('|') || command.contains("<<'TOML'") && line != "TOML";
    }
    commands
}

#[test]
fn a_newcomer_has_a_site_and_a_parser_with_a_token_within_ten_commands() {
    let [english, russian] = SECTIONS.map(|(name, heading)| commands(name, heading));
    assert_eq!(english, russian);
    assert!(english.len() < 10, "{english:#?}");
    let (there, typed) = english.split_at(THERE.len());
    assert_eq!(there, THERE);

    let world = World::without_sidecar();
    let typed = typed.join("\n").replace(ADDRESS, &world.base);
    assert!(!typed.contains("8191"), "{typed}");
    // The sidecar ends with the shell, which a deadline ends.
    let script = format!("trap 'kill $(jobs -p); wait' EXIT\n{typed}\n");
    let mut shell = world.command("timeout");
    shell.args(["120", "bash", "-eo", "pipefail", "-c", &script]).stdin(Stdio::null());
    let output = shell.output().unwrap();
    let [shown, log] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{typed}\n{shown}\n{log}");
    assert!(shown.contains("ok    shop: source flaresolverr"), "{shown}");
    let answer: serde_json::Value = serde_json::from_str(shown.lines().last().unwrap()).unwrap();
    assert_eq!(answer["data"]["type"], "searchProductResult", "the API answers a parser: {shown}");
}

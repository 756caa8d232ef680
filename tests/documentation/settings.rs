//! The pages that describe the settings, checked against the settings.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use token_sidecar::config::{Inputs, Layer, MEANINGS, Secrecy, Setting, VARIABLES, list};

use crate::markdown::{Document, root};

const PRESET: &str = include_str!("../../src/config/presets/chitai_gorod.toml");
const SITE: &str = "chitai_gorod";

/// The built-in site's file; with `examples`, what is commented out counts too.
fn preset_text(examples: bool) -> String {
    let example = |line: &'static str| {
        let line = line.strip_prefix("# ")?;
        line.split_once(" = ").is_some_and(|(name, _)| !name.contains(' ')).then_some(line)
    };
    let lines = PRESET.lines().map(|line| example(line).filter(|_| examples).unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n")
}

/// The same as values by their paths.
fn preset(examples: bool) -> BTreeMap<String, toml::Value> {
    let mut values = BTreeMap::new();
    let table = preset_text(examples).parse().unwrap();
    collect("", &toml::Value::Table(table), &mut values);
    values
}

fn collect(path: &str, value: &toml::Value, values: &mut BTreeMap<String, toml::Value>) {
    match value {
        toml::Value::Table(table) => {
            for (name, value) in table {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                collect(&path, value, values);
            }
        }
        value => {
            values.insert(path.to_owned(), value.clone());
        }
    }
}

fn plain(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// Every setting; one header stands for all.
fn settings() -> Vec<Setting> {
    let mut settings = list(&Inputs::default()).unwrap().settings;
    for setting in &mut settings {
        if let Some((table, _)) = setting.path.split_once(".headers.") {
            setting.path = format!("{table}.headers.*");
        }
    }
    // That of another built-in site is the same.
    settings.retain(|setting| !setting.path.starts_with("sites.") || of_the_site(&setting.path).is_some());
    settings.dedup_by(|one, other| one.path == other.path);
    settings
}

fn of_the_site(path: &str) -> Option<&str> {
    path.strip_prefix("sites.")?.strip_prefix(SITE)?.strip_prefix('.')
}

/// The row of a setting, up to what it means.
fn row(setting: &Setting, preset: &BTreeMap<String, toml::Value>, all: &[Setting]) -> String {
    let key = of_the_site(&setting.path).unwrap_or(&setting.path);
    let is_of_the_process = |key: &str| all.iter().any(|other| other.path == key);
    let (toml_file, env_file) = if is_secret(setting.secrecy) { (", `…_file`", ", `…_FILE`") } else { ("", "") };
    let pattern = setting.path.replacen(SITE, "*", 1);
    let variable = VARIABLES.iter().find(|(_, path)| *path == pattern);
    let variable = variable.map_or("–".to_owned(), |(name, _)| format!("`{name}`{env_file}"));
    let default = match (preset.get(&setting.path), &setting.value) {
        _ if key.ends_with(".*") => "–".to_owned(),
        (Some(value), _) => format!("`{}` (built-in site)", plain(value).replace('|', "\\|")),
        (None, Some(_)) if key != setting.path && is_of_the_process(key) => format!("as `{key}`"),
        (None, Some(value)) => {
            format!("`{}`", value.replace(SITE, "{site}").replace("CHITAI_GOROD", "{SITE}"))
        }
        (None, None) => "–".to_owned(),
    };
    format!("| `{key}`{toml_file} | {variable} | {default} | ")
}

fn is_secret(secrecy: Secrecy) -> bool {
    !matches!(secrecy, Secrecy::Open | Secrecy::Address)
}

/// The text of a table's cell as `config init` has it.
fn without_links(cell: &str) -> String {
    let mut parts = cell.split("](");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (_, rest) = part.split_once(')').unwrap();
        let at = text.rfind('[').unwrap();
        text.remove(at);
        text.push_str(rest);
    }
    text.replace("\\|", "|")
}

#[test]
fn the_page_for_people_has_every_setting() {
    let page = fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let (_, tables) = page.split_once("\n## All settings\n").unwrap();
    let (process, site) = tables.split_once("\n### A site\n").unwrap();
    let (all, preset) = (settings(), preset(false));
    for (table, is_of_a_site) in [(process, false), (site, true)] {
        let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| `")).collect();
        let settings: Vec<&Setting> =
            all.iter().filter(|setting| of_the_site(&setting.path).is_some() == is_of_a_site).collect();
        for (number, setting) in settings.iter().enumerate() {
            let head = row(setting, &preset, &all);
            let written = rows.get(number).unwrap_or(&"");
            let meaning = written.strip_prefix(&head).and_then(|rest| rest.strip_suffix(" |"));
            let pattern = setting.path.replacen(SITE, "*", 1);
            let (_, known) = MEANINGS.iter().find(|(path, _)| *path == pattern).unwrap_or_else(|| panic!("{pattern}"));
            let is_right = meaning.is_some_and(|meaning| without_links(meaning) == *known);
            assert!(is_right, "docs/configuration.md: in place of\n{written}\nshould stand\n{head}{known} |");
        }
        assert_eq!(rows.len(), settings.len(), "rows of no setting: {:?}", &rows[settings.len()..]);
    }
    assert_eq!(MEANINGS.len(), all.len());
}

#[test]
fn the_built_in_site_shows_every_setting_of_a_site_with_its_default() {
    let (shown, set) = (preset(true), preset(false));
    for Setting { path, value, origin, secrecy } in settings() {
        if of_the_site(&path).is_none() || path.ends_with(".*") {
            continue;
        }
        let example = shown.get(&path).unwrap_or_else(|| panic!("{path} is not shown"));
        if let (Some(value), Layer::Default) = (value, &origin.layer) {
            assert!(secrecy != Secrecy::Secret && !set.contains_key(&path), "{path}");
            assert_eq!(plain(example), value, "{path}");
        }
    }
}

#[test]
fn the_examples_of_the_built_in_site_are_right() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sidecar.toml");
    fs::write(&file, preset_text(true)).unwrap();
    let listed = list(&Inputs { config_file: Some(file), ..Inputs::default() });
    assert!(listed.is_ok(), "{}", listed.unwrap_err());
}

#[test]
fn the_sites_of_the_readmes_are_right_and_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sidecar.toml");
    let tables = ["README.md", "README.ru.md"].map(|name| Document::read(name).blocks("toml").concat());
    for table in &tables {
        fs::write(&file, table).unwrap();
        let listed = list(&Inputs { config_file: Some(file.clone()), ..Inputs::default() }).unwrap().settings;
        let is_set = |setting: &&Setting| matches!(setting.origin.layer, Layer::File(_));
        assert_eq!(listed.iter().filter(is_set).count(), 5, "{table}");
    }
    let [english, russian] = tables.map(|table| table.parse::<toml::Table>().unwrap());
    assert_eq!(english, russian);
}

#[test]
fn every_setting_is_listed_once() {
    let listed = list(&Inputs::default()).unwrap().settings;
    let paths: BTreeSet<&String> = listed.iter().map(|setting| &setting.path).collect();
    assert_eq!(paths.len(), listed.len());
}

#[test]
fn a_variable_sets_a_setting_and_that_of_a_secret_may_name_a_file() {
    let settings = settings();
    let secrecy = |pattern: &str| {
        let path = pattern.replacen('*', SITE, 1);
        settings.iter().find(|setting| setting.path == path).map(|setting| setting.secrecy)
    };
    let has = |variable: &str, path: &str| VARIABLES.contains(&(variable, path));
    for (name, path) in VARIABLES {
        let file_of = path.strip_suffix("_file").and_then(secrecy);
        let is_there = secrecy(path).is_some() || file_of.is_some_and(is_secret);
        assert!(is_there, "{name} sets {path}, which is no setting");
        if secrecy(path).is_some_and(is_secret) {
            assert!(has(&format!("{name}_FILE"), &format!("{path}_file")), "{name} has no file");
        }
    }
}

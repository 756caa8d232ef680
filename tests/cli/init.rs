//! `config init`: every setting is in the file, at its default.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use token_sidecar::config::VARIABLES;

use crate::process::sidecar::PROGRAM;
use crate::process::{Ran, Running};

fn call(folder: &Path, args: &[&str]) -> Ran {
    let mut command = Command::new(PROGRAM);
    command.args(args).env_clear().env("TZ", "UTC").current_dir(folder);
    Running::start(&mut command).end()
}

/// Every setting that is in force, by its path.
fn settings(folder: &Path, args: &[&str]) -> BTreeMap<String, Value> {
    let ran = call(folder, &[&["check-config", "--json"], args].concat()).expect(0);
    let json: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(json["warnings"], Value::Array(vec![]));
    let setting = |setting: &Value| (setting["path"].as_str().unwrap().to_owned(), setting["value"].clone());
    json["settings"].as_array().unwrap().iter().map(setting).collect()
}

/// With every setting taken out of its comment: text has a blank after its `#`.
fn uncommented(text: &str) -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with(' ') => format!("{setting}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

fn paths(path: &str, value: &toml::Value) -> Vec<String> {
    let below = |name: &String| if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
    match value {
        toml::Value::Table(table) => table.iter().flat_map(|(name, value)| paths(&below(name), value)).collect(),
        _ => vec![path.to_owned()],
    }
}

#[test]
fn the_toml_file_has_every_setting_at_its_default() {
    let folder = tempfile::tempdir().unwrap();
    let defaults = settings(folder.path(), &[]);
    let text = call(folder.path(), &["config", "init"]).expect(0).stdout;
    let mut known: Vec<String> = defaults.keys().cloned().collect();
    let mut written = paths("", &toml::Value::Table(uncommented(&text).parse().unwrap()));
    known.sort();
    written.sort();
    assert_eq!(written, known);
    for text in [text.clone(), uncommented(&text)] {
        std::fs::write(folder.path().join("sidecar.toml"), &text).unwrap();
        assert_eq!(settings(folder.path(), &["--config", "sidecar.toml"]), defaults, "{text}");
    }
}

#[test]
fn the_dotenv_has_every_variable_at_its_default() {
    let folder = tempfile::tempdir().unwrap();
    let defaults = settings(folder.path(), &[]);
    let text = call(folder.path(), &["config", "init", "--env"]).expect(0).stdout;
    for (name, _) in VARIABLES {
        let name = name.replace("{SITE}", "CHITAI_GOROD");
        let is_there = text.lines().any(|line| line.trim_start_matches(['#', ' ']).starts_with(&format!("{name}=")));
        // Nothing is started that a .env names.
        assert_eq!(is_there, name != "BROWSER_PATH", "{name}:\n{text}");
    }
    assert!(text.contains("\n#SIDECAR_CONFIG=\n"), "{text}");
    for text in [text.clone(), uncommented(&text)] {
        std::fs::write(folder.path().join(".env"), &text).unwrap();
        assert_eq!(settings(folder.path(), &[]), defaults, "{text}");
    }
}

#[test]
fn every_setting_says_what_it_means_and_a_secret_names_a_file_first() {
    let folder = tempfile::tempdir().unwrap();
    for (args, file, value) in [
        (&["config", "init"][..], "# password_file = \"/run/secrets/redis-password\"", "#password = \"\""),
        (&["config", "init", "--env"], "# REDIS_PASSWORD_FILE=/run/secrets/redis-password", "#REDIS_PASSWORD="),
    ] {
        let text = call(folder.path(), args).expect(0).stdout;
        let lines: Vec<&str> = text.lines().collect();
        for pair in lines.windows(2).filter(|pair| pair[1].starts_with('#') && !pair[1].starts_with("# ")) {
            assert!(pair[0].starts_with("# ") && pair[0].len() > 5, "{} means nothing:\n{text}", pair[1]);
        }
        assert!(lines.windows(2).any(|pair| pair == [file, value]), "{file}, {value}:\n{text}");
        assert!(lines.iter().all(|line| !line.starts_with("# ") || line.chars().count() <= 100), "{text}");
    }
}

#[test]
fn a_file_is_written_for_its_owner_alone_and_never_over_another() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sidecar.toml");
    let printed = call(folder.path(), &["config", "init"]).expect(0);
    assert_eq!(call(folder.path(), &["config", "init", "--write", "sidecar.toml"]).expect(0).stdout, "");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), printed.stdout);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::write(&file, "shutdown_grace = \"1s\"\n").unwrap();
    let refused = call(folder.path(), &["config", "init", "--write", "sidecar.toml"]).expect(2);
    refused.stderr_has("sidecar.toml is not written: it exists already; name another file, or remove this one first");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "shutdown_grace = \"1s\"\n");
    call(folder.path(), &["config", "init", "--write", "nowhere/sidecar.toml"]).expect(2).stderr_has("nowhere/");
}

/// Whoever has no right settings yet is who needs the command.
#[test]
fn wrong_settings_do_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let printed = call(folder.path(), &["config", "init"]).expect(0).stdout;
    std::fs::write(folder.path().join(".env"), "SIDECAR_DEBOUNCE=soon\nSIDECAR_CONFIG=missing.toml\n").unwrap();
    assert_eq!(call(folder.path(), &["config", "init"]).expect(0).stdout, printed);
}

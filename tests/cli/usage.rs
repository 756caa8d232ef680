//! The command line itself: help, wrong usage, and the files generated from its description.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

use assert_cmd::cargo::cargo_bin_cmd;

use crate::manual::commands;
use crate::process::{Ran, Running, World};

/// A command that needs no world.
fn call(args: &[&str]) -> Ran {
    let output = cargo_bin_cmd!("token-sidecar").args(args).env_clear().output().unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// `/dev/full` answers every write as a full disk does.
#[test]
fn output_that_cannot_be_written_is_74() {
    let world = World::start();
    let under = ["sh", "-c", "exec \"$@\" >/dev/full", "sh"];
    for args in [
        &["version"][..],
        &["--help"],
        &["--version"],
        &["help", "status"],
        &["man"],
        &["completions", "bash"],
        &["config", "init"],
        &["check-config"],
    ] {
        let ran = Running::start(&mut world.command_under(&under, args, &[])).end().expect(74);
        ran.stderr_has("standard output: No space left on device");
    }
}

#[test]
fn wrong_usage_is_2_with_what_is_possible() {
    for args in [
        &["frobnicate"][..],
        &["--frobnicate"],
        &["trigger", "--wait=soon"],
        &["trigger", "--wait", "soon"],
        &["token", "--wait", "60s", "more"],
        &["completions"],
        &["completions", "tcsh"],
        &["--set", "no-equals-sign"],
        &["status", "--json", "more"],
        &["inspect"],
    ] {
        let ran = call(args);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("error:"), "{args:?}: {}", ran.stderr);
    }
    call(&["statsu"]).expect(2).stderr_has("status");
}

#[test]
fn help_shows_every_command_examples_and_exit_codes() {
    let help = call(&["--help"]).expect(0);
    for word in [
        "run",
        "refresh",
        "trigger",
        "token",
        "status",
        "watch",
        "doctor",
        "check-config",
        "config",
        "inspect",
        "healthcheck",
        "completions",
        "man",
        "Examples:",
        "redis-cli PUBLISH chitai_gorod:token:invalid now",
        "64",
        "69",
        "75",
        "--site",
        "--config",
        "SIDECAR_CONFIG",
        "REDIS_URL",
    ] {
        assert!(help.stdout.contains(word), "{word}:\n{}", help.stdout);
    }
    call(&["--version"]).expect(0).prints(env!("CARGO_PKG_VERSION"));
}

/// Also of those below others.
#[test]
fn the_help_of_every_command_fits_80_columns_with_its_examples_whole() {
    let commands = commands();
    for words in &commands {
        let args = || words.iter().map(String::as_str).chain(["--help"]);
        let output = cargo_bin_cmd!("token-sidecar").args(args()).env_clear().env("COLUMNS", "80").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{words:?}:\n{text}");
        let wide = call(&args().collect::<Vec<_>>()).expect(0).stdout;
        let examples = |text: &str| text.split_once("\nExample").map(|(_, examples)| examples.to_owned());
        assert!(examples(&text).is_some(), "{words:?} has no example:\n{text}");
        assert_eq!(examples(&text), examples(&wide), "{words:?}");
    }
    assert!(commands.iter().any(|words| words.len() > 1), "{commands:?}");
}

#[test]
fn help_of_a_command_is_there_both_ways() {
    for command in ["trigger", "history"] {
        assert_eq!(call(&["help", command]).expect(0).stdout, call(&[command, "--help"]).expect(0).stdout);
    }
    assert_eq!(call(&["help"]).expect(0).stdout, call(&["--help"]).expect(0).stdout);
    call(&["help", "statsu"]).expect(2);
}

#[test]
fn color_is_a_choice() {
    let world = World::start();
    let is_coloured = |args: &[&str], env| {
        let ran = world.call_with(args, env);
        (ran.stdout + &ran.stderr).contains('\u{1b}')
    };
    for args in [&["status"][..], &["check-config"], &["--help"], &["frobnicate"]] {
        let with = |color: &'static str| args.iter().copied().chain([color]).collect::<Vec<_>>();
        assert!(is_coloured(&with("--color=always"), &[]), "{args:?}");
        assert!(is_coloured(&with("--color=always"), &[("NO_COLOR", "1")]), "a flag beats the environment: {args:?}");
        for plain in ["--color=never", "--color=auto"] {
            assert!(!is_coloured(&with(plain), &[]), "{args:?} {plain}: stdout is no terminal");
        }
    }
    assert!(is_coloured(&["status", "--color", "always"], &[]));
    assert!(is_coloured(&["refresh", "--color", "always"], &[]), "the log");
    assert!(!is_coloured(&["refresh"], &[]));
    call(&["status", "--color=sometimes"]).expect(2).stderr_has("always");
}

#[test]
fn the_version_can_be_read_by_programs() {
    let version = env!("CARGO_PKG_VERSION");
    let text = format!("token-sidecar {version}\n");
    assert_eq!(call(&["version"]).expect(0).stdout, text);
    assert_eq!(call(&["--version"]).expect(0).stdout, text);
    let shown: serde_json::Value = serde_json::from_str(&call(&["version", "--json"]).expect(0).stdout).unwrap();
    assert_eq!(shown["version"], version);
    let commit = option_env!("TOKEN_SIDECAR_COMMIT").filter(|commit| !commit.is_empty());
    assert_eq!(shown["commit"].as_str(), commit);
    assert!(["debug", "release"].contains(&shown["profile"].as_str().unwrap()), "{shown}");
    assert!(shown["target"].as_str().unwrap().starts_with(std::env::consts::ARCH), "{shown}");
}

#[test]
fn a_reader_that_has_had_enough_is_no_error() {
    let world = World::start();
    let mut command = Command::new("sh");
    command.args([
        "-c",
        &format!("{} check-config | head -n 1; echo ${{PIPESTATUS:-}}", crate::process::sidecar::PROGRAM),
    ]);
    let output = command.env_clear().env("PATH", "/usr/bin:/bin").current_dir(world.folder.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

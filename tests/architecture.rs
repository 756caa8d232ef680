//! The arrows between modules: main → cli → app → { server, gateway, outputs, sources, verify, redis } → refresh → domain → the
//! wire types of the crate for parsers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What the files of a module may name of the crate, besides their own module.
const ARROWS: [(&str, &[&str]); 22] = [
    ("domain", &[]),
    ("config", &["domain"]),
    ("refresh", &["domain"]),
    ("status", &["log", "refresh", "domain"]),
    ("child", &[]),
    ("clock", &["refresh"]),
    ("jitter", &["refresh", "domain"]),
    ("http", &["config", "domain"]),
    ("sources", &["child", "clock", "http", "config", "refresh", "domain"]),
    ("verify", &["http", "config", "refresh", "domain"]),
    ("outputs", &["child", "http", "config", "refresh", "domain"]),
    ("redis", &["status", "config", "refresh", "domain"]),
    ("server", &["status", "refresh", "domain"]),
    ("gateway", &["status", "http", "config", "refresh", "domain"]),
    ("log", &["config"]),
    ("shutdown", &[]),
    (
        "app",
        &[
            "redis", "sources", "verify", "outputs", "server", "gateway", "status", "http", "clock", "jitter",
            "config", "refresh", "domain",
        ],
    ),
    ("doctor", &["app", "redis", "sources", "verify", "outputs", "http", "clock", "config", "refresh", "domain"]),
    ("inspect", &["app", "sources", "verify", "config", "refresh", "domain"]),
    (
        "cli",
        &[
            "app", "doctor", "inspect", "http", "clock", "redis", "config", "log", "shutdown", "status", "refresh",
            "domain",
        ],
    ),
    ("lib", &[]),
    ("main", &[]),
];

/// The same within the crate for parsers.
const CLIENT_ARROWS: [(&str, &[&str]); 11] = [
    ("cause", &[]),
    ("excerpt", &[]),
    ("renewed", &[]),
    ("wire", &["excerpt"]),
    ("tls", &["cause", "excerpt"]),
    ("redis", &["wire", "excerpt", "renewed", "tls", "cause"]),
    ("error", &["redis", "wire"]),
    ("updates", &["redis", "wire"]),
    ("site", &["updates", "error", "redis", "wire"]),
    ("wait", &["site", "updates", "error", "redis", "wire"]),
    ("client", &["wait", "site", "updates", "error", "redis", "wire"]),
];

/// Which modules use the connections of the crate for parsers; every module may use its wire types.
const CONNECTED: [&str; 5] = ["app", "cli", "config", "doctor", "redis"];

/// What a parser must not have to compile.
const SERVER_ONLY: [&str; 5] = ["axum", "clap", "hyper", "reqwest", "token-sidecar"];

/// What the domain may not touch.
const IMPURE: [&str; 9] =
    ["tokio", "redis::", "reqwest", "axum", "std::env", "std::fs", "std::net", "Instant::now", "Timestamp::now"];

/// What the refresh may not know.
const OUTSIDE: [&str; 5] = ["redis::", "reqwest", "axum", "std::env", "std::fs"];

/// The files below `folder`, by their path within it.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push((path.clone(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found = Vec::new();
    walk(&root, &mut found);
    assert!(found.len() > 10, "the sources were not found");
    found.into_iter().map(|(path, text)| (path.strip_prefix(&root).unwrap().to_owned(), text)).collect()
}

/// The code itself: no tests, no comments.
fn code(text: &str) -> String {
    let before_tests = text.split("#[cfg(test)]").next().unwrap();
    before_tests.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn module(path: &Path) -> String {
    let first = path.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// The words that follow `marker`, wherever it stands.
fn after<'a>(code: &'a str, marker: &str) -> BTreeSet<&'a str> {
    let word = |rest: &'a str| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
    code.match_indices(marker).map(|(at, _)| word(&code[at + marker.len()..])).filter(|w| !w.is_empty()).collect()
}

/// Uses within the crate that no arrow allows.
fn against(arrows: &[(&str, &[&str])], folder: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for (path, text) in sources(folder) {
        let (module, code) = (module(&path), code(&text));
        if module == "lib" {
            continue;
        }
        let (_, allowed) = arrows.iter().find(|(name, _)| *name == module).unwrap_or_else(|| panic!("{module}?"));
        for named in after(&code, "crate::") {
            let known = arrows.iter().any(|(name, _)| *name == named);
            if known && named != module && !allowed.contains(&named) {
                wrong.push(format!("{} names {named}", path.display()));
            }
        }
        assert!(!code.contains("use crate::{"), "{}: one path a line, so that arrows are seen", path.display());
    }
    wrong
}

#[test]
fn no_module_names_another_against_the_arrows() {
    let wrong = [against(&ARROWS, "src"), against(&CLIENT_ARROWS, "clients/rust/src")].concat();
    assert!(wrong.is_empty(), "against the arrows:\n{}", wrong.join("\n"));
}

#[test]
fn of_the_crate_for_parsers_most_modules_use_the_wire_types_alone() {
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        let (module, code) = (module(&path), code(&text));
        let is_client_named = code.contains("token_sidecar_client::{");
        for named in after(&code, "token_sidecar_client::").into_iter().chain(is_client_named.then_some("Client")) {
            let is_allowed = match named {
                "wire" | "cause" | "excerpt" | "renewed" | "tls" => true,
                "redis" => CONNECTED.contains(&module.as_str()),
                _ => module == "cli",
            };
            if !is_allowed {
                wrong.push(format!("{} names {named}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_parser_compiles_nothing_of_the_server() {
    let lock: toml::Table = fs::read_to_string("Cargo.lock").unwrap().parse().unwrap();
    let packages = lock["package"].as_array().unwrap();
    let mut needed = BTreeSet::from(["token-sidecar-client"]);
    let mut open = vec!["token-sidecar-client"];
    while let Some(name) = open.pop() {
        let package = packages.iter().filter(|package| package["name"].as_str() == Some(name));
        let dependencies = package.filter_map(|package| package.get("dependencies")?.as_array()).flatten();
        // `name`, or `name version` where there are several.
        let dependencies = dependencies.map(|dependency| dependency.as_str().unwrap().split(' ').next().unwrap());
        open.extend(dependencies.filter(|dependency| needed.insert(dependency)));
    }
    assert!(needed.contains("redis"), "the lock file was not understood: {needed:?}");
    let wrong: Vec<_> = SERVER_ONLY.into_iter().filter(|name| needed.contains(name)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn the_domain_touches_nothing_and_the_refresh_knows_no_outside() {
    let mut wrong = Vec::new();
    let rooms =
        [("src", "domain", &IMPURE[..]), ("src", "refresh", &OUTSIDE[..]), ("clients/rust/src", "wire", &IMPURE[..])];
    for (folder, room, banned) in rooms {
        for (path, text) in sources(folder).into_iter().filter(|(path, _)| module(path) == room) {
            let code = code(&text);
            wrong.extend(banned.iter().filter(|b| code.contains(**b)).map(|b| format!("{}: {b}", path.display())));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_file_has_at_most_450_lines_before_its_tests() {
    let all = [sources("src"), sources("clients/rust/src")].concat();
    let long = all.into_iter().filter_map(|(path, text)| {
        let lines = text.split("#[cfg(test)]").next().unwrap().lines().count();
        (lines > 450).then(|| format!("{}: {lines}", path.display()))
    });
    let long: Vec<_> = long.collect();
    assert!(long.is_empty(), "too long:\n{}", long.join("\n"));
}

#[test]
fn backoff_is_used_in_one_file() {
    let users: Vec<_> = sources("src").into_iter().filter(|(_, text)| text.contains("use backoff::")).collect();
    assert_eq!(users.iter().map(|(p, _)| p.display().to_string()).collect::<Vec<_>>(), ["jitter.rs"]);
}

/// Without it cargo looks for the file, which a build of the image does not have.
#[test]
fn every_target_that_the_manifest_names_has_its_path() {
    let manifest: toml::Table = fs::read_to_string("Cargo.toml").unwrap().parse().unwrap();
    let targets = ["test", "example", "bench", "bin"].iter().filter_map(|kind| manifest.get(*kind)?.as_array());
    for target in targets.flatten() {
        assert!(target.get("path").is_some(), "{target}");
    }
}

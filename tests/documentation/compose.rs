//! The compose files set variables that are read, and build and mount what is there.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;
use token_sidecar::config::VARIABLES;

use crate::markdown::root;

const FILES: [&str; 3] = ["compose.yaml", "rehearsal.yaml", "browser.yaml"];

/// All compose files, by their names.
fn files() -> Vec<(&'static str, String, Value)> {
    let read = |name: &'static str| {
        let text = fs::read_to_string(root().join("compose").join(name)).unwrap();
        let value = serde_yaml_ng::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, text, value)
    };
    FILES.into_iter().map(read).collect()
}

/// A service's value in each file that has one.
fn each(service: &str, key: &str) -> Vec<(&'static str, Value)> {
    let all = files().into_iter().map(|(name, _, file)| (name, file["services"][service][key].clone()));
    all.filter(|(_, value)| !value.is_null()).collect()
}

#[test]
fn every_variable_of_the_sidecar_is_read_by_it() {
    let known: BTreeSet<String> = VARIABLES.iter().map(|(name, _)| name.replace("{SITE}", "CHITAI_GOROD")).collect();
    let set = each("sidecar", "environment");
    assert_eq!(set.len(), FILES.len());
    for (file, variables) in set {
        for name in variables.as_object().unwrap().keys() {
            assert!(known.contains(name), "{file}: nothing reads {name}");
        }
    }
}

#[test]
fn every_variable_of_the_example_is_used() {
    let example = fs::read_to_string(root().join("compose/.env.example")).unwrap();
    let is_name = |name: &str| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    let lines = example.lines().filter_map(|line| line.trim_start_matches("# ").split_once('='));
    let names: Vec<&str> = lines.map(|(name, _)| name).filter(|name| is_name(name)).collect();
    assert!(names.len() > 15, "few are listed: {names:?}");
    let texts: String = files().into_iter().map(|(_, text, _)| text).collect();
    for name in names {
        assert!(texts.contains(&format!("${{{name}:")), "no compose file uses {name}");
    }
}

#[test]
fn every_image_has_its_stage_and_the_last_stage_is_the_plain_sidecar() {
    let recipe = fs::read_to_string(root().join("sidecar.Dockerfile")).unwrap();
    let stages: Vec<&str> =
        recipe.lines().filter_map(|line| line.strip_prefix("FROM ")?.split(" AS ").nth(1)).collect();
    assert_eq!(stages.last(), Some(&"sidecar"));
    let built = [each("sidecar", "build"), each("flaresolverr", "build")].concat();
    assert_eq!(built.len(), 3);
    for (file, build) in built {
        let target = build["target"].as_str().unwrap();
        assert!(stages.contains(&target), "{file}: no stage {target}");
    }
}

/// Merged with `compose.yaml`, the service keeps its other limits.
#[test]
fn the_browser_has_a_writable_folder_limits_and_a_profile_that_is_there() {
    let [_, _, (_, _, file)] = &files()[..] else { panic!("three files") };
    let sidecar = &file["services"]["sidecar"];
    for key in ["tmpfs", "mem_limit", "pids_limit"] {
        assert!(!sidecar[key].is_null(), "no {key}");
    }
    let profile = sidecar["security_opt"][0].as_str().unwrap().strip_prefix("seccomp=").unwrap();
    let profile = fs::read_to_string(root().join("compose").join(profile)).unwrap();
    let profile: Value = serde_json::from_str(&profile).unwrap();
    let refused: Vec<&str> =
        profile["syscalls"][0]["names"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(refused.contains(&"mount") && refused.contains(&"ptrace") && refused.contains(&"bpf"));
    assert!(!["clone", "unshare", "chroot"].iter().any(|needed| refused.contains(needed)));
}

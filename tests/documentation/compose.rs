//! The compose files set variables that are read, and build and mount what is there.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;
use token_sidecar::config::VARIABLES;

use crate::markdown::root;

const FILES: [&str; 5] = ["compose.yaml", "rehearsal.yaml", "browser.yaml", "gateway.yaml", "status.yaml"];

/// The service that is pasted into a file of the user's own.
const PASTED: &str = "production.yaml";

fn pasted() -> Value {
    let text = fs::read_to_string(root().join("compose").join(PASTED)).unwrap();
    serde_yaml_ng::from_str::<Value>(&text).unwrap_or_else(|error| panic!("{PASTED}: {error}"))
}

/// All compose files, by their names.
fn files() -> Vec<(&'static str, String, Value)> {
    let read = |name: &'static str| {
        let text = fs::read_to_string(root().join("compose").join(name)).unwrap();
        let mut value: serde_yaml_ng::Value =
            serde_yaml_ng::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        // A merge may bring another one.
        value.apply_merge().unwrap();
        value.apply_merge().unwrap();
        let value = serde_json::to_value(value).unwrap();
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
    let known = VARIABLES.iter().map(|(name, _)| name.replace("{SITE}", "CHITAI_GOROD"));
    let known: BTreeSet<String> = known.chain(["SIDECAR_CONFIG".to_owned()]).collect();
    let mut set = each("sidecar", "environment");
    assert_eq!(set.len(), FILES.len());
    set.push((PASTED, pasted()["services"]["sidecar"]["environment"].clone()));
    for (file, variables) in set {
        for name in variables.as_object().unwrap().keys() {
            assert!(known.contains(name), "{file}: nothing reads {name}");
        }
    }
}

#[test]
fn every_variable_of_the_sidecar_may_be_set_in_env() {
    let (_, text, file) = files().swap_remove(0);
    let passed = file["services"]["sidecar"]["environment"].as_object().unwrap();
    for (name, _) in VARIABLES {
        let name = name.replace("{SITE}", "CHITAI_GOROD");
        let value = passed.get(&name).unwrap_or_else(|| panic!("compose.yaml does not pass {name} on"));
        assert!(value.is_null() || text.contains(&format!("{name}: ${{{name}")), "compose.yaml fixes {name}");
    }
}

/// What an overlay gives the sidecar is checked before it starts.
#[test]
fn the_settings_that_are_checked_are_those_of_the_sidecar() {
    for (name, _, file) in files() {
        let (sidecar, settings) = (&file["services"]["sidecar"], &file["services"]["settings"]);
        for key in ["environment", "secrets", "image", "user", "volumes"] {
            assert_eq!(sidecar[key], settings[key], "{name}: {key}");
        }
    }
}

#[test]
fn every_variable_of_the_example_is_used() {
    let example = fs::read_to_string(root().join("compose/.env.example")).unwrap();
    let is_name = |name: &str| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    let is_used =
        |name: &str, text: &str| text.contains(&format!("${{{name}:")) || text.contains(&format!("      {name}:\n"));
    let lines = example.lines().filter_map(|line| line.trim_start_matches("# ").split_once('='));
    let names: Vec<&str> = lines.map(|(name, _)| name).filter(|name| is_name(name)).collect();
    assert!(names.len() > 15, "few are listed: {names:?}");
    let texts: String = files().into_iter().map(|(_, text, _)| text).collect();
    for name in names {
        assert!(is_used(name, &texts), "no compose file uses {name}");
    }
}

#[test]
fn every_image_has_its_stage_and_the_last_stage_is_the_plain_sidecar() {
    let recipe = fs::read_to_string(root().join("sidecar.Dockerfile")).unwrap();
    let stages: Vec<&str> =
        recipe.lines().filter_map(|line| line.strip_prefix("FROM ")?.split(" AS ").nth(1)).collect();
    assert_eq!(stages.last(), Some(&"sidecar"));
    let built = [each("sidecar", "build"), each("flaresolverr", "build"), each("browser", "build")].concat();
    assert_eq!(built.len(), 3);
    for (file, build) in built {
        let target = build["target"].as_str().unwrap();
        assert!(stages.contains(&target), "{file}: no stage {target}");
    }
    assert!(
        recipe.contains(concat!("\nARG VERSION=", env!("CARGO_PKG_VERSION"), "\n")),
        "the label has another version"
    );
}

/// A service that an overlay adds has what `compose.yaml` gives to its own.
#[test]
fn every_service_is_bounded_and_has_no_rights() {
    for (name, file) in files().into_iter().map(|(name, _, file)| (name, file)).chain([(PASTED, pasted())]) {
        for (service, settings) in file["services"].as_object().unwrap() {
            if settings["image"].is_null() || (name == "rehearsal.yaml" && service == "flaresolverr") {
                continue;
            }
            for key in ["mem_limit", "pids_limit", "logging", "read_only", "restart", "ulimits"] {
                assert!(!settings[key].is_null(), "{name}: {service} has no {key}");
            }
            assert_eq!(settings["cap_drop"], serde_json::json!(["ALL"]), "{name}: {service}");
            assert_eq!(settings["security_opt"][0], "no-new-privileges:true", "{name}: {service}");
        }
    }
}

#[test]
fn the_profile_of_the_browser_allows_its_sandbox_and_little_else() {
    let [(_, options)] = &each("browser", "security_opt")[..] else { panic!("one file has the browser") };
    let profile = options[1].as_str().unwrap().strip_prefix("seccomp=").unwrap();
    let profile = fs::read_to_string(root().join("compose").join(profile)).unwrap();
    let profile: Value = serde_json::from_str(&profile).unwrap();
    let refused: Vec<&str> =
        profile["syscalls"][0]["names"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(refused.contains(&"mount") && refused.contains(&"ptrace") && refused.contains(&"bpf"));
    assert!(!["clone", "unshare", "chroot"].iter().any(|needed| refused.contains(needed)));
}

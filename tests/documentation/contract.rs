//! The published schemas, documents and samples are what the code writes and reads, and are valid.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use strum::VariantArray as _;
use token_sidecar::status::{HistoryEntry, SiteStatus};
use token_sidecar_client::wire::{Event, Payload, Report, Stage, Trigger};

use crate::markdown::{Document, root};
use crate::support::contract::{self, conforms};

/// The schemas that are only parts of others, not of whole messages.
const PARTS: [&str; 3] = ["attempt", "site", "solver"];

fn schema(name: &str) -> Value {
    contract::schemas().remove(&file(name)).unwrap()
}

fn file(schema: &str) -> String {
    format!("{schema}.schema.json")
}

/// The samples of a schema: its name, with or without `token-`, and a word of their own.
fn samples(schema: &str) -> Vec<(String, String)> {
    let prefix = format!("{}-", schema.trim_start_matches("token-"));
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join("contract/samples")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with(&prefix) {
            found.push((name, fs::read_to_string(path).unwrap().trim().to_owned()));
        }
    }
    assert!(!found.is_empty(), "there are no samples {prefix}…");
    found
}

fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// What a script of ours prints; panics where it fails.
fn script(arguments: &[&str]) -> String {
    let script = root().join("scripts/languages");
    let ran = Command::new(script).args(arguments).current_dir(root()).output().unwrap();
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "scripts/languages {arguments:?}: {errors}{}", String::from_utf8_lossy(&ran.stdout));
    String::from_utf8(ran.stdout).unwrap()
}

#[test]
fn every_schema_is_one_and_has_samples_that_conform() {
    let mut seen = BTreeSet::new();
    for (name, schema) in contract::schemas() {
        let name = name.trim_end_matches(".schema.json");
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema", "{name}");
        jsonschema::meta::validate(&schema).unwrap_or_else(|error| panic!("{name}: {error}"));
        if PARTS.contains(&name) {
            continue;
        }
        for (sample, text) in samples(name) {
            conforms(&file(name), &read(&text)).unwrap_or_else(|error| panic!("{sample}: {error}"));
            seen.insert(sample);
        }
    }
    let all = fs::read_dir(root().join("contract/samples")).unwrap();
    let all: BTreeSet<_> = all.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    assert_eq!(seen, all, "a sample of no schema");
}

#[test]
fn openapi_is_what_it_claims_to_be() {
    script(&["install"]);
    script(&["python", "-m", "openapi_spec_validator", "contract/openapi.yaml"]);
}

#[test]
fn asyncapi_is_what_it_claims_to_be_and_its_references_lead_somewhere() {
    script(&["install"]);
    let file = format!("{}/3.0.0.json", script(&["asyncapi"]).trim());
    let meta = read(&fs::read_to_string(file).unwrap());
    let document = contract::yaml("asyncapi.yaml");
    let validator = jsonschema::options().offline().build(&meta).unwrap();
    let wrong: Vec<String> = validator.iter_errors(&document).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let mut broken = document.clone();
    broken["channels"]["updated"]["address"] = json!(7);
    assert!(!validator.is_valid(&broken));

    let schemas = contract::schemas();
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 20);
    for reference in references {
        let is_there = match reference.strip_prefix('#') {
            Some(pointer) => document.pointer(pointer).is_some(),
            None => schemas.contains_key(&reference),
        };
        assert!(is_there, "{reference} leads nowhere");
    }
    for message in document["components"]["messages"].as_object().unwrap().values() {
        for example in message["examples"].as_array().into_iter().flatten() {
            let schema = message["payload"]["schema"]["$ref"].as_str().unwrap();
            conforms(schema, &example["payload"]).unwrap();
        }
    }
}

/// Every `$ref` in it.
fn collect(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| collect(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, found)),
        _ => {}
    }
}

#[test]
fn asyncapi_has_the_channels_of_the_code_and_of_the_text() {
    let document = contract::yaml("asyncapi.yaml");
    let channels = document["channels"].as_object().unwrap().values();
    let described: BTreeSet<&str> = channels.map(|channel| channel["address"].as_str().unwrap()).collect();
    let code = fs::read_to_string(root().join("clients/rust/src/wire/channels.rs")).unwrap();
    let words = code.split('"').skip(1).step_by(2);
    let used: BTreeSet<&str> = words.filter(|word| word.contains("token:")).collect();
    assert_eq!(described, used);
    let text = Document::read("contract/README.md").text;
    for address in described {
        assert!(text.contains(&format!("`{}`", address.replace("{site}", "S"))), "{address}");
    }
}

#[test]
fn the_samples_of_states_are_read_and_written_by_our_types() {
    let mut sites = Vec::new();
    for (_, text) in samples("status").into_iter().chain(samples("api-status")) {
        sites.extend(read(&text)["sites"].as_array().unwrap().clone());
    }
    let mut attempts = Vec::new();
    for (_, text) in samples("history") {
        attempts.extend(read(&text)["entries"].as_array().unwrap().clone());
    }
    for site in &mut sites {
        // In `/api/status` alone.
        site.as_object_mut().unwrap().remove("reports_per_hour");
        if let Some(history) = site.as_object_mut().unwrap().remove("history") {
            attempts.extend(history.as_array().unwrap().clone());
        }
        let parsed: SiteStatus = serde_json::from_value(site.clone()).unwrap();
        assert_eq!(serde_json::to_value(parsed).unwrap(), *site);
    }
    for attempt in &attempts {
        let parsed: HistoryEntry = serde_json::from_value(attempt.clone()).unwrap();
        assert_eq!(serde_json::to_value(parsed).unwrap(), *attempt);
    }
    assert!(sites.len() >= 5 && attempts.len() >= 4);
}

#[test]
fn the_samples_are_what_the_sidecar_writes_to_the_byte() {
    for (sample, text) in samples("token-updated").into_iter().chain(samples("token-failed")) {
        let event = Event::parse(text.as_bytes()).unwrap_or_else(|| panic!("{sample} is none of our messages"));
        assert_eq!(event.to_json(), text, "{sample}");
    }
}

#[test]
fn the_messages_in_the_text_are_ours_too() {
    let blocks = Document::read("contract/README.md").blocks("json");
    assert_eq!(blocks.len(), 2);
    for block in blocks {
        let event = Event::parse(block.as_bytes()).unwrap();
        let shown = read(&block);
        assert_eq!(read(&event.to_json()), shown);
    }
}

#[test]
fn a_schema_requires_all_that_is_written_and_lists_all_words() {
    for name in ["token-updated", "token-failed"] {
        let schema = schema(name);
        let written = read(&samples(name)[0].1);
        let mut names: Vec<&str> = written.as_object().unwrap().keys().map(String::as_str).collect();
        let mut required: Vec<&str> =
            schema["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        let mut described: Vec<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        for list in [&mut names, &mut required, &mut described] {
            list.sort_unstable();
        }
        assert_eq!((&required, &described), (&names, &names), "{name}");
        let triggers: Vec<&str> = Trigger::VARIANTS.iter().map(|t| t.into_str()).collect();
        assert_eq!(schema["properties"]["trigger"]["enum"], json!(triggers));
    }
    let stages: Vec<&str> = Stage::VARIANTS.iter().map(|s| s.into_str()).collect();
    assert_eq!(schema("token-failed")["properties"]["stage"]["enum"], json!(stages));
}

#[test]
fn a_schema_refuses_what_is_wrong() {
    let right = read(&samples("token-updated")[0].1);
    for (field, wrong) in [
        ("cause", json!("renewed")),
        ("version", json!("1")),
        ("version", json!(-1)),
        ("fingerprint", json!("9F86D081884C7D65")),
        ("refreshed_at", json!("yesterday")),
        ("key", json!("")),
        ("site", json!("A Shop")),
    ] {
        let mut sample = right.clone();
        sample[field] = wrong;
        assert!(contract::event(&sample).is_err(), "{field}");
    }
    let mut long = right.clone();
    long["token"] = json!("a field that is not described");
    assert!(contract::event(&long).is_err());
    let mut short = right;
    short.as_object_mut().unwrap().remove("ttl");
    assert!(contract::event(&short).is_err());
}

#[test]
fn the_samples_of_reports_are_understood() {
    for (sample, text) in samples("token-invalid") {
        let json = read(&text);
        let (report, payload) = Report::parse(text.as_bytes());
        assert_eq!(payload, Payload::Details);
        assert_eq!(report.fingerprint.map(|f| f.to_string()).as_deref(), json["fingerprint"].as_str(), "{sample}");
        assert_eq!(report.reason.as_deref(), json["reason"].as_str(), "{sample}");
        assert_eq!(report.source.as_deref(), json["source"].as_str(), "{sample}");
        assert_eq!(report.force, json["force"].as_bool().unwrap_or(false), "{sample}");
    }
}

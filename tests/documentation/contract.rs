//! The published schemas and samples are what the code writes and reads.

use std::fs;

use serde_json::Value;
use token_sidecar::domain::event::Event;
use token_sidecar::domain::token::Fingerprint;
use token_sidecar::domain::trigger::{Payload, Report, Trigger};
use token_sidecar::domain::verdict::Stage;

use crate::markdown::{Document, root};

fn schema(name: &str) -> Value {
    let file = root().join(format!("contract/{name}.schema.json"));
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

fn samples(prefix: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join("contract/samples")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with(prefix) {
            found.push((name, fs::read_to_string(path).unwrap().trim().to_owned()));
        }
    }
    assert!(found.len() >= 2, "there are no samples {prefix}…");
    found
}

/// As much of JSON Schema as the schemas here use; anything else in one is an error.
fn conforms(schema: &Value, value: &Value) -> Result<(), String> {
    for (word, rule) in schema.as_object().unwrap() {
        let is_right = match word.as_str() {
            "$schema" | "title" | "description" | "default" => true,
            "type" => types(rule).iter().any(|kind| is_a(kind, value)),
            "const" => rule == value,
            "enum" => rule.as_array().unwrap().contains(value),
            "minimum" => value.as_i64().is_none_or(|n| n >= rule.as_i64().unwrap()),
            "minLength" => value.as_str().is_none_or(|s| s.len() as u64 >= rule.as_u64().unwrap()),
            "format" => {
                assert_eq!(rule, "date-time");
                value.as_str().is_none_or(|s| s.ends_with('Z') && s.parse::<jiff::Timestamp>().is_ok())
            }
            "pattern" => value.as_str().is_none_or(|s| matches(rule.as_str().unwrap(), s)),
            "required" => rule.as_array().unwrap().iter().all(|name| value.get(name.as_str().unwrap()).is_some()),
            "properties" => {
                for (name, rule) in rule.as_object().unwrap() {
                    if let Some(value) = value.get(name) {
                        conforms(rule, value).map_err(|error| format!("{name}: {error}"))?;
                    }
                }
                true
            }
            other => panic!("the tests do not know {other}"),
        };
        if !is_right {
            return Err(format!("{value} is against {word} {rule}"));
        }
    }
    Ok(())
}

fn types(rule: &Value) -> Vec<&str> {
    rule.as_str().map_or_else(|| rule.as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect(), |t| vec![t])
}

fn is_a(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("the tests do not know the type {other}"),
    }
}

fn matches(pattern: &str, text: &str) -> bool {
    match pattern {
        "^[0-9a-f]{16}$" => Fingerprint::parse(text).is_some_and(|f| f.to_string() == text),
        "^[0-9A-Fa-f]{16}$" => Fingerprint::parse(text).is_some(),
        "^[a-z0-9][a-z0-9_-]{0,63}$" => token_sidecar::domain::site::SiteId::parse(text).is_some(),
        other => panic!("the tests do not know the pattern {other}"),
    }
}

#[test]
fn the_samples_are_what_the_sidecar_writes_to_the_byte() {
    for (prefix, name) in [("updated-", "token-updated"), ("failed-", "token-failed")] {
        let schema = schema(name);
        for (sample, text) in samples(prefix) {
            let event = Event::parse(text.as_bytes()).unwrap_or_else(|| panic!("{sample} is none of our messages"));
            assert_eq!(event.to_json(), text, "{sample}");
            conforms(&schema, &serde_json::from_str(&text).unwrap()).unwrap_or_else(|e| panic!("{sample}: {e}"));
        }
    }
}

#[test]
fn the_messages_in_the_text_are_ours_too() {
    let blocks = Document::read("contract/README.md").blocks("json");
    assert_eq!(blocks.len(), 2);
    for block in blocks {
        let event = Event::parse(block.as_bytes()).unwrap();
        let shown: Value = serde_json::from_str(&block).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&event.to_json()).unwrap(), shown);
    }
}

#[test]
fn a_schema_requires_all_that_is_written_and_lists_all_words() {
    for (prefix, name) in [("updated-", "token-updated"), ("failed-", "token-failed")] {
        let schema = schema(name);
        let written: Value = serde_json::from_str(&samples(prefix)[0].1).unwrap();
        let mut names: Vec<&str> = written.as_object().unwrap().keys().map(String::as_str).collect();
        let mut required: Vec<&str> =
            schema["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        let mut described: Vec<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        for list in [&mut names, &mut required, &mut described] {
            list.sort_unstable();
        }
        assert_eq!((&required, &described), (&names, &names), "{name}");
        let triggers: Vec<&str> = Trigger::ALL.iter().map(|t| t.as_str()).collect();
        assert_eq!(schema["properties"]["trigger"]["enum"], serde_json::json!(triggers));
    }
    let stages: Vec<&str> = Stage::ALL.iter().map(|s| s.as_str()).collect();
    assert_eq!(schema("token-failed")["properties"]["stage"]["enum"], serde_json::json!(stages));
}

#[test]
fn a_schema_refuses_what_is_wrong() {
    let schema = schema("token-updated");
    let right: Value = serde_json::from_str(&samples("updated-")[0].1).unwrap();
    for (field, wrong) in [
        ("cause", serde_json::json!("renewed")),
        ("version", serde_json::json!("1")),
        ("version", serde_json::json!(-1)),
        ("fingerprint", serde_json::json!("9F86D081884C7D65")),
        ("refreshed_at", serde_json::json!("yesterday")),
        ("key", serde_json::json!("")),
        ("site", serde_json::json!("A Shop")),
    ] {
        let mut sample = right.clone();
        sample[field] = wrong;
        assert!(conforms(&schema, &sample).is_err(), "{field}");
    }
    let mut short = right;
    short.as_object_mut().unwrap().remove("ttl");
    assert!(conforms(&schema, &short).is_err());
}

#[test]
fn the_samples_of_reports_are_understood() {
    let schema = schema("token-invalid");
    for (sample, text) in samples("invalid-") {
        let json: Value = serde_json::from_str(&text).unwrap();
        conforms(&schema, &json).unwrap_or_else(|e| panic!("{sample}: {e}"));
        let report = Report::parse(text.as_bytes());
        assert_eq!(report.payload, Payload::Details);
        assert_eq!(report.fingerprint.map(|f| f.to_string()).as_deref(), json["fingerprint"].as_str(), "{sample}");
        assert_eq!(report.reason.as_deref(), json["reason"].as_str(), "{sample}");
        assert_eq!(report.source.as_deref(), json["source"].as_str(), "{sample}");
        assert_eq!(report.force, json["force"].as_bool().unwrap_or(false), "{sample}");
    }
}

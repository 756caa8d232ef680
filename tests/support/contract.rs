//! The contract's documents, read strictly: what they do not describe is an error, as what they forbid.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use jsonschema::{Registry, Validator};
use serde_json::{Value, json};

/// Where the schemas are to each other, as they would be once published.
const BASE: &str = "https://contract.test/";

static SCHEMAS: LazyLock<BTreeMap<String, Validator>> = LazyLock::new(compile);

/// The statuses for a path or a method that is not in the document.
static REFUSAL: LazyLock<Value> =
    LazyLock::new(|| json!({ "content": { "application/json": { "schema": { "$ref": "error.schema.json" } } } }));

/// `contract/openapi.yaml`.
pub(crate) static OPENAPI: LazyLock<Value> = LazyLock::new(|| yaml("openapi.yaml"));

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contract")
}

/// One of its YAML documents.
pub(crate) fn yaml(name: &str) -> Value {
    serde_yaml_ng::from_str(&fs::read_to_string(folder().join(name)).unwrap()).unwrap()
}

/// All schemas by their file names, as they are published.
pub(crate) fn schemas() -> BTreeMap<String, Value> {
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let schemas = files.filter(|path| path.to_string_lossy().ends_with(".schema.json"));
    let read = |path: PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap())
    };
    schemas.map(read).collect()
}

fn compile() -> BTreeMap<String, Validator> {
    let mut schemas = schemas();
    schemas.values_mut().for_each(close);
    let mut registry = Registry::new();
    for (name, schema) in &schemas {
        registry = registry.add(format!("{BASE}{name}"), schema).unwrap();
    }
    let registry = registry.prepare().unwrap();
    let validator = |name: &str| {
        let options = jsonschema::options().with_registry(&registry).with_base_uri(BASE).should_validate_formats(true);
        options.build(&json!({ "$ref": name })).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    schemas.keys().map(|name| (name.clone(), validator(name))).collect()
}

/// Forbids the fields that are not described. Clients must not: the contract grows.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.values_mut().for_each(close);
            if fields.contains_key("type") && fields.get("properties").is_some_and(Value::is_object) {
                fields.entry("additionalProperties").or_insert(false.into());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

/// Checks a value against the schema of a file.
pub(crate) fn conforms(schema: &str, value: &Value) -> Result<(), String> {
    let validator = SCHEMAS.get(schema).unwrap_or_else(|| panic!("there is no contract/{schema}"));
    let wrong: Vec<String> =
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    if wrong.is_empty() { Ok(()) } else { Err(format!("against contract/{schema}: {}: {value}", wrong.join("; "))) }
}

/// Checks a message of the sidecar against the schema of its kind.
pub(crate) fn event(message: &Value) -> Result<(), String> {
    match message["event"].as_str() {
        Some("token:updated") => conforms("token-updated.schema.json", message),
        Some("token:failed") => conforms("token-failed.schema.json", message),
        _ => Err(format!("no event of the contract: {message}")),
    }
}

/// The paths of `openapi.yaml`, with the operations of each.
pub(crate) fn paths() -> impl Iterator<Item = (&'static str, &'static serde_json::Map<String, Value>)> {
    let paths = OPENAPI["paths"].as_object().unwrap();
    paths.iter().map(|(path, operations)| (path.as_str(), operations.as_object().unwrap()))
}

/// The path of `openapi.yaml` that a request matches.
pub(crate) fn path_of(asked: &str) -> Option<&'static str> {
    let asked: Vec<&str> = asked.split('?').next().unwrap_or_default().split('/').collect();
    let fits = |path: &str| {
        let parts: Vec<&str> = path.split('/').collect();
        parts.len() == asked.len() && parts.iter().zip(&asked).all(|(part, word)| part.starts_with('{') || part == word)
    };
    paths().map(|(path, _)| path).find(|path| fits(path))
}

/// Checks an answer of the sidecar's HTTP against `openapi.yaml`. `headers` are the lines of its head.
pub(crate) fn answer(method: &str, asked: &str, status: u16, headers: &[String], body: &str) -> Result<(), String> {
    let operation = path_of(asked).and_then(|path| OPENAPI["paths"][path].get(method.to_lowercase()));
    let documented = operation.and_then(|operation| operation["responses"].get(status.to_string()));
    let unknown = matches!(status, 404 | 405) && operation.is_none();
    let response = match documented {
        Some(response) => response,
        None if unknown => &REFUSAL,
        None => return Err(format!("openapi.yaml has no {status} for {method} {asked}")),
    };
    let is = |name: &str, wanted: Option<&Value>| {
        let line = headers.iter().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        });
        let value = line.ok_or_else(|| format!("{method} {asked}: {status} without {name}"))?;
        let right = wanted.is_none_or(|schema| jsonschema::is_valid(schema, &value.into()));
        if right { Ok(value.to_owned()) } else { Err(format!("{method} {asked}: {status} with {name}: {value}")) }
    };
    for (name, header) in response["headers"].as_object().into_iter().flatten() {
        let header = resolve(header);
        is(name, Some(&header["schema"]))?;
    }
    let kind = is("Content-Type", None)?;
    let Some(content) = response["content"].get(&kind) else {
        return Err(format!("{method} {asked}: openapi.yaml has no {status} of {kind}"));
    };
    match content["schema"]["$ref"].as_str() {
        Some(schema) => {
            let body = serde_json::from_str(body).map_err(|error| format!("{method} {asked}: {error}: {body}"))?;
            conforms(schema, &body).map_err(|error| format!("{method} {asked}: {status} {error}"))
        }
        None => Ok(()),
    }
}

/// What a reference within `openapi.yaml` means.
fn resolve(value: &'static Value) -> &'static Value {
    let pointer = value["$ref"].as_str().map(|reference| reference.trim_start_matches('#'));
    pointer.map_or(value, |pointer| OPENAPI.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is not there")))
}

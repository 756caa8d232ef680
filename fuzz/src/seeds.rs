//! Sources of seeds.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The contract's samples whose file name starts with `prefix`.
pub(crate) fn contract(prefix: &str) -> Vec<Vec<u8>> {
    let mut files = files(&root().join("contract/samples"));
    files.retain(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)));
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Recorded responses of FlareSolverr: status and body.
pub(crate) fn answers() -> Vec<(u64, Value)> {
    let files = files(&root().join("tests/fixtures/flaresolverr"));
    let cases = files.iter().filter_map(|file| serde_json::from_slice::<Value>(&fs::read(file).unwrap()).ok());
    cases
        .filter(Value::is_object)
        .map(|case| (case["http_status"].as_u64().unwrap_or(200), case["response"].clone()))
        .collect()
}

pub(crate) fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

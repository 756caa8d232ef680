//! Where seeds come from.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The samples of the contract whose name begins so.
pub(crate) fn contract(head: &str) -> Vec<Vec<u8>> {
    let mut files = files(&root().join("contract/samples"));
    files.retain(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(head)));
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// The recorded answers of FlareSolverr: the status, and what was answered.
pub(crate) fn answers() -> Vec<(u64, Value)> {
    let files = files(&root().join("tests/fixtures/flaresolverr"));
    let cases = files.iter().filter_map(|file| serde_json::from_slice::<Value>(&fs::read(file).unwrap()).ok());
    cases
        .filter(Value::is_object)
        .map(|case| (case["http_status"].as_u64().unwrap_or(200), case["response"].clone()))
        .collect()
}

/// Texts as seeds.
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

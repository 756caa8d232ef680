//! Libraries that replace functions of the C library in a child process, by `LD_PRELOAD`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles a source below `tests/` into a library in `folder`.
pub(crate) fn library(source: &str, folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(source);
    let library = folder.join(source.file_name().unwrap()).with_extension("so");
    let compiled = Command::new("cc").args(["-O2", "-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
    assert!(compiled.unwrap().success(), "{} does not compile", source.display());
    library
}

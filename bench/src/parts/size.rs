//! The size of the binary, and how many crates it is built of.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::bench::Bench;
use crate::report::Size;

pub(super) fn measure(bench: &Bench) -> anyhow::Result<Size> {
    Ok(Size { binary_bytes: binary(bench)?, dependencies: dependencies()? })
}

/// The size of the binary in bytes.
pub(crate) fn binary(bench: &Bench) -> anyhow::Result<u64> {
    let file = &bench.sidecar;
    Ok(fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?.len())
}

/// The number of crates in the binary, without the workspace's own.
pub(crate) fn dependencies() -> anyhow::Result<u64> {
    let tree = ["tree", "--locked", "-p", "token-sidecar", "-e", "normal", "--prefix", "none", "--format", "{p}"];
    let output = Command::new("cargo").args(tree).output().context("cannot run cargo")?;
    ensure!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    // A crate of the workspace is listed with its folder in parentheses.
    let crates = text.lines().map(|line| line.trim_end_matches(" (*)")).filter(|line| !line.is_empty());
    Ok(crates.filter(|line| !line.contains("(/")).collect::<BTreeSet<_>>().len() as u64)
}

//! What is to be had, what it is made of, and how long it takes to build.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use crate::clock::Instant;
use crate::report::Size;
use crate::world::World;

/// The name of the image while it is measured.
const IMAGE: &str = "token-sidecar:benchmark";

pub(super) fn measure(world: &World) -> anyhow::Result<Size> {
    Ok(Size {
        binary_bytes: binary(world)?,
        image_bytes: image(),
        dependencies: dependencies()?,
        cold_build_s: cold_build()?,
    })
}

/// The size of the binary in bytes.
pub(crate) fn binary(world: &World) -> anyhow::Result<u64> {
    let file = &world.sidecar;
    Ok(fs::metadata(file).with_context(|| format!("{} is not there", file.display()))?.len())
}

/// How many crates the sidecar is built of, its own not among them.
pub(crate) fn dependencies() -> anyhow::Result<u64> {
    let tree = ["tree", "--locked", "-p", "token-sidecar", "-e", "normal", "--prefix", "none", "--format", "{p}"];
    let output = Command::new("cargo").args(tree).output().context("cargo cannot be run")?;
    ensure!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let names: BTreeSet<_> = text.lines().map(|line| line.trim_end_matches(" (*)")).filter(|l| !l.is_empty()).collect();
    Ok(names.len().saturating_sub(1) as u64)
}

fn cold_build() -> anyhow::Result<f64> {
    let folder = tempfile::tempdir()?;
    // What is to be downloaded is no part of it.
    ensure!(Command::new("cargo").args(["fetch", "--locked", "--quiet"]).status()?.success(), "cargo fetch failed");
    let began = Instant::now();
    let built = Command::new("cargo")
        .args(["build", "--release", "--locked", "--quiet", "-p", "token-sidecar", "--target-dir"])
        .arg(folder.path())
        .status()?;
    ensure!(built.success(), "cargo build failed");
    Ok(Instant::now().since(began).as_secs_f64())
}

/// The size of the image, where a container engine runs.
fn image() -> Option<u64> {
    let docker = |args: &[&str]| -> Option<String> {
        let output = Command::new("docker").args(args).stderr(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    docker(&["build", "--quiet", "--file", "sidecar.Dockerfile", "--target", "sidecar", "--tag", IMAGE, "."])?;
    docker(&["image", "inspect", "--format", "{{.Size}}", IMAGE])?.parse().ok()
}

//! Has the linker pack the relocations of the binary where the C library of this machine can read them so: 200 KiB less
//! in the file and in memory. A linker that cannot do so goes on without.

use std::env;
use std::process::Command;

/// The first glibc that reads packed relocations.
const FIRST: (u32, u32) = (2, 36);

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let is_here = variable("HOST") == variable("TARGET");
    if is_here && variable("CARGO_CFG_TARGET_ENV") == "gnu" && glibc().is_some_and(|version| version >= FIRST) {
        println!("cargo:rustc-link-arg-bin=token-sidecar=-Wl,-z,pack-relative-relocs");
    }
}

#[expect(clippy::disallowed_methods, reason = "cargo speaks to a build script by the environment")]
fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

/// The version of the C library here.
fn glibc() -> Option<(u32, u32)> {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let (major, minor) = std::str::from_utf8(&said.stdout).ok()?.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

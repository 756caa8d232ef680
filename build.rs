//! Tells the linker how to lay the binary out.
//!
//! - Relocations are packed where the C library of this machine can read them so: 200 KiB less in the file and in memory.
//!   A linker that cannot do so goes on without.
//! - What a refresh runs lies side by side, in the order of [`ORDER`]: it comes after hours, to caches that are cold, and
//!   touches half as many pages so. `make order` writes that file; a name in it that is no more does no harm.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

/// The first glibc that reads packed relocations.
const FIRST: (u32, u32) = (2, 36);

/// The functions of a refresh, as `-C symbol-mangling-version=v0` names them (see `.cargo/config.toml`).
const ORDER: &str = "src/refresh.order";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={ORDER}");
    if variable("CARGO_CFG_TARGET_OS") == "linux" && variable("OPT_LEVEL") != "0" && has_usual_linker() {
        order();
    }
    let is_here = variable("HOST") == variable("TARGET");
    if is_here && variable("CARGO_CFG_TARGET_ENV") == "gnu" && glibc().is_some_and(|version| version >= FIRST) {
        println!("cargo:rustc-link-arg-bin=token-sidecar=-Wl,-z,pack-relative-relocs");
    }
}

/// Has the linker put the functions of [`ORDER`] before all others.
fn order() {
    let script = Path::new(&variable("OUT_DIR")).join("order.ld");
    // Where dependencies are built ahead of the sources, there is no file yet.
    let Ok(functions) = fs::read_to_string(ORDER) else { return };
    let sections: String = functions.lines().map(|function| format!("    *(.text.{function})\n")).collect();
    let text = format!("SECTIONS {{\n  .text.refresh : {{\n{sections}  }}\n}}\nINSERT BEFORE .text;\n");
    if fs::write(&script, text).is_ok() {
        println!("cargo:rustc-link-arg-bin=token-sidecar=-Wl,-T,{}", script.display());
    }
}

/// Whether nobody has chosen another linker, which may not read such scripts.
fn has_usual_linker() -> bool {
    variable("RUSTC_LINKER").is_empty() && !variable("CARGO_ENCODED_RUSTFLAGS").contains("link")
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

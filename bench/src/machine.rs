//! The machine of a measurement.

use std::fs;
use std::process::Command;
use std::thread::available_parallelism;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    pub(crate) redis: String,
    pub(crate) rust: String,
}

pub(crate) fn read() -> anyhow::Result<Machine> {
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let version = |program: &str| -> anyhow::Result<String> {
        let output = Command::new(program).arg("--version").output()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let redis = version("redis-server")?;
    let redis = redis.split_ascii_whitespace().find_map(|word| word.strip_prefix("v=")).unwrap_or(&redis);
    Ok(Machine {
        processor: model.map_or("unknown", |(_, name)| name).to_owned(),
        cores: available_parallelism()?.get(),
        // Without the suffix, which names a distribution or a machine.
        kernel: kernel.trim().split('-').next().unwrap_or_default().to_owned(),
        redis: redis.to_owned(),
        rust: version("rustc")?.split_ascii_whitespace().nth(1).unwrap_or_default().to_owned(),
    })
}

//! Commits beside files whose commands fail, hang and leave processes behind, and commits without files.

use anyhow::Context as _;

use crate::bench::{Bench, INVALID, TOKEN, UPDATED};
use crate::distribution::Distribution;
use crate::parsers::Parser;
use crate::redis::RedisServer;
use crate::report::Files;
use crate::solver::Solver;

const SAMPLES: u32 = 300;
const COMMANDS: [&str; 3] = [r#"["false"]"#, r#"["sleep", "1000"]"#, r#"["sh", "-c", "sleep 1000 & exit"]"#];

/// In turns, so that a disturbance of the machine affects both.
pub(super) fn measure(bench: &Bench) -> anyhow::Result<Files> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    let files = COMMANDS.iter().enumerate().map(|(number, command)| {
        let path = path(&number.to_string());
        let file = format!("path = {path:?}\ntemplate = \"{{{{ token }}}}\"\ncommand = {command}\ntimeout = \"1s\"\n");
        format!("[[sites.chitai_gorod.files]]\n{file}")
    });
    let config = path("sidecar.toml");
    std::fs::write(&config, files.collect::<String>()).with_context(|| config.clone())?;
    let servers = [(RedisServer::start()?, Solver::start()?), (RedisServer::start()?, Solver::start()?)];
    let [(plain_redis, plain_solver), (redis, solver)] = &servers;
    let _plain = bench.ready_sidecar(plain_redis, plain_solver, &[("SIDECAR_DEBOUNCE", "0s")])?;
    let settings = [("SIDECAR_DEBOUNCE", "0s"), ("SIDECAR_CONFIG", &*config)];
    let _with_files = bench.ready_sidecar(redis, solver, &settings)?;
    let mut without = Parser::subscribed(plain_redis, INVALID, UPDATED, TOKEN)?;
    let mut with = Parser::subscribed(redis, INVALID, UPDATED, TOKEN)?;
    let (mut plain, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..bench.scaled(SAMPLES) {
        Bench::pause();
        plain.push(without.sample(plain_solver)?.end_to_end);
        Bench::pause();
        beside.push(with.sample(solver)?.end_to_end);
    }
    Ok(Files { plain: Distribution::of(plain), beside_commands: Distribution::of(beside) })
}

//! From all that was given to the settings that count.

use std::time::Duration;

use super::Config;
use super::checks;
use super::environment::Inputs;
use super::error::ConfigErrors;
use super::layers::Layers;
use super::reader::{Faulty, Read, Reader};
use super::redis::RedisConfig;
use super::server::{self, LogFormat, ServerConfig};
use super::setting::Setting;
use super::site::SiteConfig;
use super::source;
use super::value;
use crate::domain::site::SiteId;

/// The longest that a shutdown may wait.
const GRACE: Duration = Duration::from_secs(600);

/// The settings that count, and where they come from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings, checked.
    pub config: Config,
    /// Each of them for people, secrets redacted.
    pub settings: Vec<Setting>,
    /// What is probably not meant; no secrets either.
    pub warnings: Vec<String>,
}

/// Lays all layers over each other and checks what comes out. Nothing is connected, and nothing outside is read
/// but the files that are named.
///
/// # Errors
/// [`ConfigErrors`] has everything that is wrong, as far as one fault does not hide another.
pub fn load(inputs: &Inputs) -> Result<Loaded, ConfigErrors> {
    let layers = Layers::of(inputs).map_err(|error| ConfigErrors(vec![error]))?;
    let mut reader = Reader::new(layers);
    let config = read(&mut reader);
    let (settings, warnings, faults) = reader.finish();
    match config {
        Ok(config) if faults.is_empty() => Ok(Loaded { config, settings, warnings }),
        _ => Err(ConfigErrors(faults)),
    }
}

fn read(reader: &mut Reader) -> Read<Config> {
    let redis = RedisConfig::read(reader);
    let server = ServerConfig::read(reader);
    let log_format = LogFormat::read(reader);
    let log_filter = server::read_filter(reader);
    let zone = reader.required("time_zone", value::zone);
    let shutdown_grace = reader.required("shutdown_grace", value::span(Duration::ZERO..=GRACE));
    let shared = source::read_shared(reader);
    // A wrong zone is said once, and not by every schedule too.
    let sites = read_sites(reader, zone.as_deref().unwrap_or("UTC"));
    let (redis, sites) = (redis?, sites?);
    checks::check(reader, &redis.topology, &sites);
    shared?;
    zone?;
    Ok(Config {
        redis,
        server: server?,
        log_format: log_format?,
        log_filter: log_filter?,
        shutdown_grace: shutdown_grace?,
        sites,
    })
}

fn read_sites(reader: &mut Reader, zone: &str) -> Read<Vec<SiteConfig>> {
    let mut sites = Vec::new();
    let mut fault = None;
    for id in reader.sites().iter().filter_map(|name| SiteId::parse(name)) {
        match reader.required(&format!("sites.{id}.enabled"), value::switch) {
            Ok(false) => {}
            Ok(true) => match SiteConfig::read(reader, &id, zone) {
                Ok(site) => sites.push(site),
                Err(faulty) => fault = Some(faulty),
            },
            Err(faulty) => fault = Some(faulty),
        }
    }
    match fault {
        Some(Faulty) => Err(Faulty),
        None if sites.is_empty() => Err(reader.conflict("no site is enabled".to_owned())),
        None => Ok(sites),
    }
}

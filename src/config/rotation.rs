//! Secrets that are read from their files again, so that a rotation needs no restart.

use std::sync::Arc;

use secrecy::SecretString;
use token_sidecar_client::redis::RedisConfig;

use super::error::ConfigErrors;
use super::gateway::GatewaySection;
use super::layers::Layers;
use super::reader::{Reader, Section};
use super::redis::RedisSection;
use super::server::{ServerConfig, ServerSection};

/// Reads the files that some settings name; all other settings stay as they were at the start.
pub type Again<T> = Arc<dyn Fn() -> Result<T, ConfigErrors> + Send + Sync>;

/// What is read again while the process runs; `None` where no file is named.
#[derive(Clone)]
pub struct Rotation {
    pub redis: Option<Again<RedisConfig>>,
    pub admin_token: Option<Again<SecretString>>,
    pub gateway_key: Option<Again<SecretString>>,
}

impl Rotation {
    pub(super) fn of(layers: &Layers) -> Self {
        Self {
            redis: again(layers.table("redis"), |process| {
                let section: RedisSection = process.read("redis")?;
                Some(section.build(process))
            }),
            admin_token: again(layers.table("server"), |process| {
                let section: ServerSection = process.read("server")?;
                ServerConfig::from(section).admin_token
            }),
            gateway_key: again(layers.table("gateway"), |process| {
                let section: GatewaySection = process.read("gateway")?;
                section.build(process).key
            }),
        }
    }
}

/// Whether the setting at a path is read from its file again.
pub(super) fn is_read_again(path: &str) -> bool {
    path.starts_with("redis.") || ["server.admin_token", "gateway.key"].contains(&path)
}

fn again<T: 'static>(layers: Layers, read: fn(&mut Section) -> Option<T>) -> Option<Again<T>> {
    if !layers.name_a_file() {
        return None;
    }
    Some(Arc::new(move || {
        let mut reader = Reader::new(layers.clone(), false);
        let value = read(&mut reader.section(None));
        let errors = reader.finish().errors;
        value.filter(|_| errors.is_empty()).ok_or(ConfigErrors(errors))
    }))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::super::fixture::Given;
    use super::*;

    #[test]
    fn files_are_read_again_and_nothing_else_is() {
        let given = Given::nothing()
            .file_variable("REDIS_PASSWORD_FILE", "one")
            .file_variable("SIDECAR_ADMIN_TOKEN_FILE", "one")
            .file_variable("SIDECAR_GATEWAY_KEY_FILE", "one")
            .toml("redis.url = 'redis://here/1'");
        let Rotation { redis, admin_token, gateway_key } = given.loaded().config.rotation;
        let (redis, admin_token, gateway_key) = (redis.unwrap(), admin_token.unwrap(), gateway_key.unwrap());
        given.write("REDIS_PASSWORD_FILE", "two\n");
        given.write("SIDECAR_ADMIN_TOKEN_FILE", "two\n");
        given.write("SIDECAR_GATEWAY_KEY_FILE", "two\n");
        given.write("sidecar.toml", "redis.url = 'redis://elsewhere/2'");
        let read = redis().unwrap();
        assert_eq!((read.password.unwrap().expose_secret(), read.url.database()), ("two", 1));
        assert_eq!(admin_token().unwrap().expose_secret(), "two");
        assert_eq!(gateway_key().unwrap().expose_secret(), "two");
        let file = given.write("SIDECAR_ADMIN_TOKEN_FILE", "");
        let error = given.anonymous(&admin_token().unwrap_err().to_string());
        assert_eq!(error, "environment: SIDECAR_ADMIN_TOKEN_FILE = \"SIDECAR_ADMIN_TOKEN_FILE\": the file is empty");
        std::fs::remove_file(file).unwrap();
        assert!(admin_token().unwrap_err().to_string().contains("the file cannot be read: No such file"));
    }

    #[test]
    fn where_no_file_is_named_nothing_is_read_again() {
        let given = Given::nothing()
            .variable("REDIS_PASSWORD", "one")
            .variable("SIDECAR_ADMIN_TOKEN", "one")
            .variable("SIDECAR_GATEWAY_KEY", "one");
        let Rotation { redis, admin_token, gateway_key } = given.loaded().config.rotation;
        assert!(redis.is_none() && admin_token.is_none() && gateway_key.is_none());
    }

    #[test]
    fn a_setting_that_a_restart_would_apply_is_named() {
        let given = Given::nothing()
            .variable("SIDECAR_LOCK_TTL", "20s")
            .file_variable("REDIS_PASSWORD_FILE", "one")
            .file_variable("FLARESOLVERR_URL_FILE", "http://one")
            .dotenv("SIDECAR_DEBOUNCE=1s\nCHITAI_GOROD_BEARER_TOKEN=one")
            .toml("shutdown_grace = '1s'\nserver.admin_token = 'one'\n[sites.chitai_gorod]\nlock_ttl = '1s'");
        let then = given.loaded().in_files;
        given.write(".env", "SIDECAR_DEBOUNCE=1s\nCHITAI_GOROD_BEARER_TOKEN=two");
        given.write(
            "sidecar.toml",
            "shutdown_grace = '1s'\nserver.admin_token = 'one'\n[sites.chitai_gorod]\nlock_ttl = '2s'",
        );
        given.write("REDIS_PASSWORD_FILE", "two");
        assert_eq!(then.changed(&given.loaded().in_files), Vec::<String>::new());
        given.write(".env", "SIDECAR_DEBOUNCE=2s\nREDIS_URL=redis://elsewhere");
        given.write("sidecar.toml", "server.admin_token = 'two'");
        given.write("FLARESOLVERR_URL_FILE", "http://two");
        assert_eq!(
            then.changed(&given.loaded().in_files),
            ["flaresolverr.url", "redis.url", "server.admin_token", "shutdown_grace", "sites.chitai_gorod.debounce"]
        );
    }
}

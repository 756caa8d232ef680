//! Files of settings: a TOML file, then a line `---`, then a `.env`. Errors name their place and show no secret.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use tempfile::TempDir;
use token_sidecar::config::{Inputs, Secrecy, VARIABLES, list, load};

/// Part of every secret in the seeds.
const SECRET: &str = "hunter";

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    crate::seeds::texts(&[
        include_str!("../../src/config/presets/chitai_gorod.toml"),
        "[redis]\nurl = \"rediss://u:hunter2@redis:6380/1\"\n[server]\nadmin_token = 'hunter2'\nlisten = 'off'",
        "redis.password = \"hunter2\"\n[sites.shop]\npage_url = \"https://shop.test/\"\nbootstrap_token = \"Bearer hunter2\"\n\
         [sites.shop.http]\nurl = \"{api}/x?key=hunter2\"\nbody = 'hunter2'\nheaders.authorization = 'hunter2'\n",
        "[flaresolverr]\nurl = \"http://u:hunter2@solver:8191/v1\"\nmax_timeout = '90s'\nproxy = { url = \"http://p:1\", \
         username = 'u', password = 'hunter2' }",
        "[redis.sentinel]\nnodes = ['redis://:hunter2@a', 'b']\nmaster = 7\n[redis.cluster]\nnodes = 'redis://:hunter2@c'",
        "redis.url = 'redis://:p@hunter2@redis'\nflaresolverr.url = 'http://u:/hunter2@h'",
        "a = [1,\n'hunter2'\n{",
        "---\nREDIS_PASSWORD=hunter2\nexport SIDECAR_ADMIN_TOKEN='hunter2'\nSIDECAR_VERIFY=maybe\nREDIS_URL=\"redis://hunter2",
        "---\nCHITAI_GOROD_BEARER_TOKEN=Bearer hunter2\nSIDECAR_SCHEDULE=0 */3 * * *\nFLARESOLVERR_URL=http://u:hunter2@h\nTZ=x",
    ])
}

pub(crate) fn check(data: &[u8]) {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| TempDir::new().unwrap()).path();
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (toml, dotenv) = text.split_once("---\n").unwrap_or((text, ""));
    let file = |name: &str, text: &str| -> PathBuf {
        let file = folder.join(name);
        fs::write(&file, text).unwrap();
        file
    };
    // No other files of this machine are to be read.
    if text.contains("_file") || text.contains("_FILE") || text.contains("SIDECAR_CONFIG") {
        return;
    }
    let inputs = Inputs {
        config_file: Some(file("sidecar.toml", toml)),
        dotenv: Some(file(".env", dotenv)),
        ..Inputs::default()
    };
    let (shown, is_loaded) = match load(&inputs) {
        Ok(loaded) => (format!("{:?}\n{}", list(&inputs), loaded.warnings.join("\n")), true),
        Err(errors) => {
            let lines: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
            assert!(!lines.is_empty(), "refused without a reason");
            (lines.join("\n"), false)
        }
    };
    let parsed = toml.parse::<toml::Table>();
    if parsed.is_err() {
        assert!(!is_loaded);
        let line = shown.split_once("sidecar.toml, line ").and_then(|(_, rest)| rest.split_once(':')?.0.parse().ok());
        assert!(line.is_some_and(|n: usize| (1..=toml.split('\n').count()).contains(&n)), "no position: {shown}");
    }
    let of_toml = parsed.map_or(0, |table| secrets(&toml::Value::Table(table), ""));
    let everywhere = text.matches(SECRET).count();
    // Where the text also occurs outside of secrets (in a comment or a name), it may be shown.
    if of_toml + of_dotenv(dotenv) == everywhere {
        assert!(!shown.contains(SECRET), "{shown}");
    }
}

/// How often [`SECRET`] occurs in the values of secret settings.
fn secrets(value: &toml::Value, path: &str) -> usize {
    match value {
        toml::Value::Table(table) => {
            let dot = if path.is_empty() { "" } else { "." };
            table.iter().map(|(name, value)| secrets(value, &format!("{path}{dot}{name}"))).sum()
        }
        toml::Value::String(text) if is_secret(path, text) => text.matches(SECRET).count(),
        _ => 0,
    }
}

fn is_secret(path: &str, text: &str) -> bool {
    let is_of = |pattern: &str| {
        let (pattern, path): (Vec<_>, Vec<_>) = (pattern.split('.').collect(), path.split('.').collect());
        pattern.len() == path.len() && pattern.iter().zip(&path).all(|(p, n)| *p == "*" || p == n)
    };
    settings().iter().filter(|(pattern, _)| is_of(pattern)).any(|(_, secrecy)| is_secret_in(*secrecy, text))
}

fn is_secret_in(secrecy: Secrecy, text: &str) -> bool {
    match secrecy {
        Secrecy::Secret => true,
        Secrecy::Address | Secrecy::SecretAddress => is_login(text),
        _ => false,
    }
}

/// Every setting by its path, `*` for a site.
fn settings() -> &'static BTreeMap<String, Secrecy> {
    static SETTINGS: OnceLock<BTreeMap<String, Secrecy>> = OnceLock::new();
    SETTINGS.get_or_init(|| {
        let settings = list(&Inputs::default()).unwrap().settings.into_iter();
        settings.map(|setting| (setting.path.replace("chitai_gorod", "*"), setting.secrecy)).collect()
    })
}

fn of_dotenv(text: &str) -> usize {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| {
            let name = name.trim().trim_start_matches("export ").trim();
            let variable = VARIABLES.iter().find(|(known, _)| known.replace("{SITE}", "CHITAI_GOROD") == name);
            let secrecy = variable.and_then(|(_, path)| settings().get(*path));
            let counts = secrecy.is_some_and(|secrecy| is_secret_in(*secrecy, value.trim_matches(['"', '\''])));
            if counts { value.matches(SECRET).count() } else { 0 }
        })
        .sum()
}

/// Whether the text is `scheme://user:password@…` with the secret only in the password.
fn is_login(text: &str) -> bool {
    let Some((head, rest)) = text.split_once("://") else { return false };
    let Some((login, tail)) = rest.rsplit_once('@') else { return false };
    let (user, _) = login.split_once(':').unwrap_or(("", login));
    [head, user, tail].iter().all(|part| !part.contains(SECRET))
}

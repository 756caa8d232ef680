//! The files that `config init` writes: every setting at its default, commented out.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use token_sidecar_client::wire::SiteId;
use toml::Value;

use super::environment::Inputs;
use super::error::ConfigErrors;
use super::layers::{Layers, PROGRAM};
use super::listing::Setting;
use super::load::list;
use super::meanings::MEANINGS;
use super::redaction::Secrecy;
use super::tree::Scope;
use super::variables;

/// The sections, those that interest a reader most first.
const SECTIONS: [&str; 7] = ["redis", "sites", "flaresolverr", "browser", "gateway", "server", "log"];

/// The width of comments.
const WIDTH: usize = 100;

const TOML_HEAD: &str = "\
# The settings of token-sidecar, all at their defaults. Remove the # in front of a setting to change
# it; one that is \"\" is not set. `token-sidecar check-config --config FILE` shows what counts.
# A site of your own is one more section [sites.NAME] with the settings of [sites.chitai_gorod];
# page_url, api_url and cookie are enough for a start.
";

const ENV_HEAD: &str = "\
# The settings of token-sidecar that have a variable, all at their defaults. Remove the # in front
# of one to change it; one without a value is not set. `token-sidecar check-config` shows what
# counts.
";

/// What is written as `[[…]]`.
const LISTS_OF_TABLES: [&str; 2] = ["files", "notices"];

/// A setting as it is without any file, variable and flag.
struct Initial {
    path: String,
    value: Option<Value>,
    secrecy: Secrecy,
}

/// A TOML file.
pub fn toml() -> Result<String, ConfigErrors> {
    let mut tables: Vec<(String, Vec<Initial>)> = Vec::new();
    for setting in settings()? {
        let (table, _) = setting.table_and_key();
        match tables.iter_mut().find(|(name, _)| name == table) {
            Some((_, settings)) => settings.push(setting),
            None => tables.push((table.to_owned(), vec![setting])),
        }
    }
    let mut text = TOML_HEAD.to_owned();
    for (table, settings) in &tables {
        if !table.is_empty() {
            let _never = write!(text, "\n[{table}]\n");
        }
        for setting in settings {
            let (_, key) = setting.table_and_key();
            text.push('\n');
            comment(&mut text, setting.meaning(), variables::of(&setting.path));
            if let Some(file) = setting.example_of_a_file() {
                let _never = writeln!(text, "# {key}_file = \"{file}\"");
            }
            let unset = if LISTS_OF_TABLES.contains(&key) { Value::Array(Vec::new()) } else { "".into() };
            let value = setting.value.clone().unwrap_or(unset);
            let _never = writeln!(text, "#{key} = {value}");
        }
    }
    Ok(text)
}

/// A `.env`.
pub fn dotenv() -> Result<String, ConfigErrors> {
    let mut text = ENV_HEAD.to_owned();
    let _never = write!(text, "\n# the TOML file with further settings\n#{}=\n", variables::CONFIG);
    let mut seen = BTreeSet::new();
    for setting in settings()? {
        // A program to start is never taken from a .env.
        let Some(name) = variables::of(&setting.path).filter(|name| name != PROGRAM) else { continue };
        if seen.insert(name.clone()) {
            text.push('\n');
            comment(&mut text, setting.meaning(), None);
            if let Some(file) = setting.example_of_a_file() {
                let _never = writeln!(text, "# {name}_FILE={file}");
            }
            let _never = writeln!(text, "#{name}={}", setting.value.as_ref().map(in_a_variable).unwrap_or_default());
        }
    }
    Ok(text)
}

fn settings() -> Result<Vec<Initial>, ConfigErrors> {
    let inputs = Inputs::default();
    let layers = Layers::of(&inputs).map_err(|error| ConfigErrors(vec![error]))?;
    let initial = |Setting { path, secrecy, .. }: Setting| {
        let site = path.strip_prefix("sites.").and_then(|rest| rest.split_once('.'));
        let (site, key) = site.map_or((None, &*path), |(site, key)| (SiteId::parse(site), key));
        let value = Scope { layers: &layers, site: site.as_ref(), refused: &[], notes: None }.at(key).value();
        Initial { path, value, secrecy }
    };
    let mut settings: Vec<Initial> = list(&inputs)?.settings.into_iter().map(initial).collect();
    settings.sort_by_key(Initial::rank);
    Ok(settings)
}

impl Initial {
    /// In TOML what is in no section comes first.
    fn rank(&self) -> usize {
        let Some((section, _)) = self.path.split_once('.') else { return 0 };
        SECTIONS.iter().position(|name| *name == section).map_or(usize::MAX, |at| at + 1)
    }

    /// The name of a header may contain dots.
    fn table_and_key(&self) -> (&str, &str) {
        let end = self.path.find(".headers.").map(|at| at + ".headers".len()).or_else(|| self.path.rfind('.'));
        end.map_or(("", &*self.path), |end| (&self.path[..end], &self.path[end + 1..]))
    }

    fn meaning(&self) -> &'static str {
        MEANINGS.iter().find(|(pattern, _)| self.is(pattern)).map_or("", |(_, meaning)| meaning)
    }

    fn is(&self, pattern: &str) -> bool {
        let (names, patterns) = (self.path.split('.'), pattern.split('.'));
        names.clone().count() == patterns.clone().count()
            && names.zip(patterns).all(|(name, pattern)| pattern == "*" || pattern == name)
    }

    fn example_of_a_file(&self) -> Option<String> {
        let is_secret = matches!(self.secrecy, Secrecy::Secret | Secrecy::SecretAddress);
        is_secret.then(|| format!("/run/secrets/{}", self.path.trim_start_matches("sites.").replace(['.', '_'], "-")))
    }
}

/// A value as a variable has it, in quotes where a shell or a `.env` needs them.
fn in_a_variable(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(in_a_variable).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:,@".contains(c);
    if text.chars().all(is_plain) { text } else { format!("'{text}'") }
}

/// What a setting means, with the variable that sets it.
fn comment(text: &mut String, meaning: &str, variable: Option<String>) {
    let mut line = "#".to_owned();
    for word in meaning.split(' ').map(str::to_owned).chain(variable.map(|name| format!("[env: {name}]"))) {
        if line.chars().count() + word.chars().count() >= WIDTH {
            let _never = writeln!(text, "{line}");
            line = "#".to_owned();
        }
        line.push(' ');
        line.push_str(&word);
    }
    let _never = writeln!(text, "{line}");
}

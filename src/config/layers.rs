//! Built-in site < TOML file < `.env` < environment < flags: each setting's strongest value, and whose it is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use token_sidecar_client::wire::SiteId;

use super::environment::{self, BrokenLine, Flag, Inputs};
use super::error::ConfigError;
use super::hint;
use super::key::Key;
use super::keys::KEYS;
use super::setting::Origin;

/// The built-in site.
pub(super) const PRESET: &str = include_str!("presets/chitai_gorod.toml");

/// The variable that names the TOML file.
pub(super) const CONFIG: &str = "SIDECAR_CONFIG";

/// The head of the variables that are ours alone.
const OWN: &str = "SIDECAR_";

/// A value as somebody has written it.
pub(super) struct Leaf {
    pub(super) raw: Raw,
    pub(super) origin: Origin,
    /// The key, the variable or the flag.
    pub(super) name: String,
}

/// What was written.
pub(super) enum Raw {
    /// In a TOML file.
    Toml(toml::Value),
    /// In a variable or a flag.
    Text(String),
    /// In a file of its own, which is read when nothing beats it.
    File(String),
}

/// The strongest values.
#[derive(Default)]
pub(super) struct Layers {
    pub(super) leaves: BTreeMap<String, Leaf>,
    pub(super) sites: BTreeSet<String>,
    pub(super) faults: Vec<ConfigError>,
    pub(super) warnings: Vec<String>,
}

impl Layers {
    /// Lays all of it in its order. Fails where a whole file is missing from the picture.
    pub(super) fn of(inputs: &Inputs) -> Result<Self, ConfigError> {
        let mut layers = Self::default();
        if let Some(zone) = &inputs.zone {
            let leaf = Leaf { raw: Raw::Text(zone.clone()), origin: Origin::System, name: "time zone".to_owned() };
            layers.leaves.insert("time_zone".to_owned(), leaf);
        }
        let dotenv = inputs.dotenv.as_ref().map(|file| environment::dotenv(file)).transpose()?.unwrap_or_default();
        let preset = PRESET.parse().map_err(|error: toml::de::Error| ConfigError::File {
            file: Origin::BuiltIn.place(),
            reason: error.message().to_owned(),
        })?;
        layers.lay_table(&preset, &Origin::BuiltIn);
        if let Some(file) = config_file(inputs, &dotenv.variables) {
            layers.lay_table(&environment::toml(&file)?, &Origin::File(file));
        }
        if let Some(file) = &inputs.dotenv {
            layers.lay_variables(&dotenv.variables, |variable| Origin::DotEnv { file: file.clone(), variable });
            layers.blame(file, &dotenv.broken);
        }
        layers.lay_variables(&inputs.environment, Origin::Environment);
        layers.lay_flags(&inputs.flags);
        Ok(layers)
    }

    fn lay_table(&mut self, table: &toml::Table, origin: &Origin) {
        let mut layer = BTreeMap::new();
        self.walk(table, "", "", origin, &mut layer);
        self.leaves.append(&mut layer);
    }

    fn walk(
        &mut self,
        table: &toml::Table,
        pattern: &str,
        path: &str,
        origin: &Origin,
        layer: &mut BTreeMap<String, Leaf>,
    ) {
        for (name, value) in table {
            let full = join(path, name);
            // Headers are the same in any case.
            let place = if pattern.ends_with(".headers") { full.to_ascii_lowercase() } else { full.clone() };
            let wrong = |reason: &str, shown: String| ConfigError::Wrong {
                place: origin.place(),
                name: full.clone(),
                value: shown,
                reason: reason.to_owned(),
            };
            match (Child::of(pattern, name), value) {
                (None, _) => self.faults.push(ConfigError::Unknown {
                    place: origin.place(),
                    key: full,
                    hint: hint::of_key(pattern, name),
                }),
                (Some(Child::Table(pattern)), toml::Value::Table(table)) => {
                    if pattern == "sites.*" {
                        if SiteId::parse(name).is_none() {
                            self.faults.push(ConfigError::Unknown {
                                place: origin.place(),
                                key: full,
                                hint: "a site's id is 1 to 64 lower-case letters, digits, _ and -".to_owned(),
                            });
                            continue;
                        }
                        self.sites.insert(name.clone());
                    }
                    self.walk(table, &pattern, &full, origin, layer);
                }
                // What stands in place of a table may be anything, a secret too.
                (Some(Child::Table(_)), _) => {
                    self.faults.push(wrong("expected a table", super::redaction::HIDDEN.to_owned()));
                }
                (Some(Child::Value), value) => self.put(layer, place, full, Raw::Toml(value.clone()), origin),
                (Some(Child::File), toml::Value::String(file)) => {
                    let base = place.strip_suffix("_file").unwrap_or(&place).to_owned();
                    self.put(layer, base, full, Raw::File(file.clone()), origin);
                }
                (Some(Child::File), _) => {
                    self.faults.push(wrong("expected a file's name", super::redaction::HIDDEN.to_owned()));
                }
            }
        }
    }

    fn lay_variables(&mut self, variables: &BTreeMap<String, String>, origin: impl Fn(String) -> Origin) {
        let mut layer = BTreeMap::new();
        for (path, key, variable) in self.variables() {
            for (name, from_file) in [(variable.clone(), false), (format!("{variable}_FILE"), true)] {
                let Some(value) = variables.get(&name).filter(|value| !value.trim().is_empty()) else { continue };
                let raw = if from_file { Raw::File(value.clone()) } else { Raw::Text(value.clone()) };
                if !from_file || key.has_file() {
                    self.put(&mut layer, path.clone(), name.clone(), raw, &origin(name));
                }
            }
        }
        self.leaves.append(&mut layer);
        let known = self.known_variables();
        for name in variables.keys().filter(|name| name.starts_with(OWN) && !known.contains(*name)) {
            let place = origin(name.clone()).place();
            self.warnings.push(format!("{place}: unknown variable {name}: {}", hint::of_variable(name, &known)));
        }
    }

    fn lay_flags(&mut self, flags: &[Flag]) {
        for flag in flags {
            let paths: Vec<String> = if flag.path.starts_with("sites.*.") {
                self.sites.iter().map(|site| flag.path.replacen('*', site, 1)).collect()
            } else {
                vec![flag.path.clone()]
            };
            for path in paths {
                let known = match path.strip_prefix("sites.").and_then(|rest| rest.split_once('.')) {
                    Some((site, _)) => self.sites.contains(site) && Key::of(&path).is_some(),
                    None => Key::of(&path).is_some(),
                };
                let origin = Origin::Flag(flag.name.clone());
                if known {
                    let leaf = Leaf { raw: Raw::Text(flag.value.clone()), origin, name: flag.name.clone() };
                    self.leaves.insert(path, leaf);
                } else {
                    let hint = format!("the sites are {}", join_all(&self.sites));
                    self.faults.push(ConfigError::Unknown { place: origin.to_string(), key: path, hint });
                }
            }
        }
    }

    fn put(&mut self, layer: &mut BTreeMap<String, Leaf>, path: String, name: String, raw: Raw, origin: &Origin) {
        if let Some(other) = layer.get(&path) {
            let (one, other) = (other.name.clone(), name.clone());
            self.faults.push(ConfigError::Twice { place: origin.place(), one, other });
            return;
        }
        layer.insert(path, Leaf { raw, origin: origin.clone(), name });
    }

    /// A line that sets nothing is an error if it hides a variable of ours, and otherwise somebody else's business.
    fn blame(&mut self, file: &Path, broken: &[BrokenLine]) {
        let known = self.known_variables();
        for BrokenLine { number, name, is_open } in broken {
            let place = format!("{}, line {number}", file.display());
            let reason = if *is_open {
                "a quote is opened and never closed"
            } else {
                "not of the form NAME=value; a value with blanks needs quotes"
            };
            if *is_open || known.contains(name) || name.starts_with(OWN) {
                self.faults.push(ConfigError::File { file: place, reason: reason.to_owned() });
            } else {
                self.warnings.push(format!("{place} is left out: {reason}"));
            }
        }
    }

    /// Every variable that counts, with the path that it sets.
    fn variables(&self) -> Vec<(String, &'static Key, String)> {
        let of_key = |key: &'static Key| {
            let sites: Vec<&str> =
                if key.is_of_a_site() { self.sites.iter().map(String::as_str).collect() } else { vec![""] };
            sites
                .into_iter()
                .filter_map(move |site| Some((key.path_of(site), key, key.env_of(site)?)))
                .collect::<Vec<_>>()
        };
        KEYS.iter().flat_map(of_key).collect()
    }

    fn known_variables(&self) -> BTreeSet<String> {
        let with_file = |(_, key, name): (String, &'static Key, String)| {
            let file = key.has_file().then(|| format!("{name}_FILE"));
            std::iter::once(name).chain(file)
        };
        self.variables().into_iter().flat_map(with_file).chain([CONFIG.to_owned()]).collect()
    }
}

/// What a name stands for at its place in a TOML file.
enum Child {
    /// A table; its path with `*` for what can be named freely.
    Table(String),
    Value,
    File,
}

impl Child {
    fn of(pattern: &str, name: &str) -> Option<Self> {
        let is_key = |path: &str| KEYS.iter().find(|key| key.path == path);
        let is_table =
            |path: &str| KEYS.iter().any(|key| key.path.strip_prefix(path).is_some_and(|p| p.starts_with('.')));
        let file_of = |path: &str| name.ends_with("_file") && is_key(path).is_some_and(Key::has_file);
        let free = join(pattern, "*");
        if is_key(&free).is_some() {
            return Some(if file_of(&free) { Self::File } else { Self::Value });
        }
        if is_table(&free) {
            return Some(Self::Table(free));
        }
        let own = join(pattern, name);
        if name.contains('.') {
            None
        } else if is_key(&own).is_some() {
            Some(Self::Value)
        } else if is_table(&own) {
            Some(Self::Table(own))
        } else {
            own.strip_suffix("_file").is_some_and(file_of).then_some(Self::File)
        }
    }
}

fn config_file(inputs: &Inputs, dotenv: &BTreeMap<String, String>) -> Option<PathBuf> {
    let named = |variables: &BTreeMap<String, String>| {
        variables.get(CONFIG).filter(|file| !file.trim().is_empty()).map(PathBuf::from)
    };
    inputs.config_file.clone().or_else(|| named(&inputs.environment)).or_else(|| named(dotenv))
}

pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn join_all(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Given;

    #[test]
    fn a_stronger_layer_beats_the_weaker_ones() {
        let path = "sites.chitai_gorod.debounce";
        let given = Given::nothing();
        assert_eq!(given.setting(path), ("10s".to_owned(), "default".to_owned()));
        let given = given.toml("[sites.chitai_gorod]\ndebounce = \"1s\"");
        assert_eq!(given.setting(path), ("1s".to_owned(), "sidecar.toml".to_owned()));
        let given = given.dotenv("SIDECAR_DEBOUNCE=2s");
        assert_eq!(given.setting(path), ("2s".to_owned(), ".env SIDECAR_DEBOUNCE".to_owned()));
        let given = given.variable("SIDECAR_DEBOUNCE", "3s");
        assert_eq!(given.setting(path), ("3s".to_owned(), "environment SIDECAR_DEBOUNCE".to_owned()));
        let given = given.flag("--debounce", "sites.*.debounce", "4s");
        assert_eq!(given.setting(path), ("4s".to_owned(), "flag --debounce".to_owned()));
        assert_eq!(given.loaded().config.sites[0].policy.debounce.as_secs(), 4);
    }

    #[test]
    fn the_file_beats_the_built_in_site_key_by_key() {
        let given = Given::nothing().toml(
            "[sites.chitai_gorod]\ncity_id = 213\n[sites.chitai_gorod.probe.headers]\nPlatform = \"\"\nx-y = \"z\"",
        );
        let probe = &given.loaded().config.sites[0].probe;
        assert!(probe.url.contains("customerCityId=213&"));
        let names: Vec<&str> = probe.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["initial-feature", "shop-brand", "x-y"]);
        assert_eq!(given.setting("sites.chitai_gorod.cookie"), ("access-token".to_owned(), "built-in site".to_owned()));
    }

    #[test]
    fn an_empty_variable_counts_as_unset() {
        let given = Given::nothing().dotenv("SIDECAR_DEBOUNCE=2s\nREDIS_PASSWORD=").variable("SIDECAR_DEBOUNCE", " ");
        assert_eq!(given.setting("sites.chitai_gorod.debounce").0, "2s");
        assert!(given.loaded().config.redis.password.is_none());
    }

    #[test]
    fn the_file_is_found_by_flag_by_variable_and_by_dotenv() {
        let given = Given::nothing();
        let file = given.write("other.toml", "shutdown_grace = \"3s\"");
        let given = given.variable("SIDECAR_CONFIG", &file.display().to_string());
        assert_eq!(given.setting("shutdown_grace"), ("3s".to_owned(), "other.toml".to_owned()));
        let given = given.toml("shutdown_grace = \"4s\"");
        assert_eq!(given.setting("shutdown_grace"), ("4s".to_owned(), "sidecar.toml".to_owned()));
        let given = Given::nothing().dotenv("SIDECAR_CONFIG=/nowhere/other.toml");
        assert!(given.refused().starts_with("/nowhere/other.toml: cannot be read: "));
    }

    #[test]
    fn a_variable_holds_for_every_site_or_for_the_one_in_its_name() {
        let given = Given::nothing()
            .toml(
                "[sites.shop-2]\npage_url = \"https://two.test/\"\napi_url = \"https://two.test/api\"\ncookie = \"t\"",
            )
            .variable("SIDECAR_TOKEN_TTL", "1h")
            .variable("SHOP_2_API_URL", "https://two.test/other");
        for (path, value) in [
            ("sites.chitai_gorod.token_ttl", "1h"),
            ("sites.shop-2.token_ttl", "1h"),
            ("sites.shop-2.api_url", "https://two.test/other"),
            ("sites.chitai_gorod.api_url", "https://web-agr.chitai-gorod.ru/web/api/v2"),
            ("sites.shop-2.env_key", "SHOP_2_BEARER_TOKEN"),
            ("sites.shop-2.token_key", "shop-2_token"),
        ] {
            assert_eq!(given.setting(path).0, value, "{path}");
        }
    }

    #[test]
    fn a_secret_may_come_from_a_file_and_a_stronger_layer_beats_it() {
        let given = Given::nothing().file_variable("SIDECAR_ADMIN_TOKEN_FILE", "hunter2\n");
        let (value, origin) = given.setting("server.admin_token");
        assert_eq!((value.as_str(), origin.as_str()), ("(hidden)", "environment SIDECAR_ADMIN_TOKEN_FILE"));
        let file = given.write("password", "from-a-file\r\n");
        let given = given.toml(&format!("[redis]\npassword_file = {file:?}"));
        let password = |given: &Given| {
            given.loaded().config.redis.password.map(|p| secrecy::ExposeSecret::expose_secret(&p).to_owned())
        };
        assert_eq!(password(&given).as_deref(), Some("from-a-file"));
        let given = given.variable("REDIS_PASSWORD", "from-the-environment");
        assert_eq!(password(&given).as_deref(), Some("from-the-environment"));
        std::fs::remove_file(file).ok();
        assert_eq!(password(&given).as_deref(), Some("from-the-environment"), "a file that is beaten is not read");
    }

    #[test]
    fn a_header_may_come_from_a_file_too() {
        let given = Given::nothing();
        let file = given.write("key", "hunter2\n");
        let given = given.toml(&format!("[sites.chitai_gorod.probe.headers]\nx-api-key_file = {file:?}"));
        assert!(given.loaded().config.sites[0].probe.headers.contains(&("x-api-key".to_owned(), "hunter2".to_owned())));
        assert_eq!(given.setting("sites.chitai_gorod.probe.headers.x-api-key").0, "(hidden)");
    }

    #[test]
    fn an_unknown_variable_of_ours_is_a_warning_with_the_nearest_name() {
        let given = Given::nothing()
            .variable("SIDECAR_DEBOUNSE", "1s")
            .variable("SIDECAR_SERVICE_PORT_EVERYTHING", "1")
            .variable("DEBOUNCE", "1s");
        assert_eq!(
            given.loaded().warnings,
            [
                "environment: unknown variable SIDECAR_DEBOUNSE: did you mean SIDECAR_DEBOUNCE?",
                "environment: unknown variable SIDECAR_SERVICE_PORT_EVERYTHING: nothing reads it",
            ]
        );
    }

    #[test]
    fn a_dotenv_of_somebody_else_is_read_as_far_as_it_concerns_us() {
        let given = Given::nothing().dotenv("THEIRS=a b\n\n# remark\nexport SIDECAR_DEBOUNCE='2s' # ours\n");
        assert_eq!(given.setting("sites.chitai_gorod.debounce").0, "2s");
        let warnings: Vec<String> = given.loaded().warnings.iter().map(|w| given.anonymous(w)).collect();
        assert_eq!(
            warnings,
            [".env, line 1 is left out: not of the form NAME=value; a value with blanks needs quotes"]
        );
    }
}

//! The layers: defaults < built-in site < TOML file < `.env` < environment < flags. Each is a tree like that of the TOML
//! file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use token_sidecar_client::wire::SiteId;
use toml::{Table, Value};

use super::environment::{self, BrokenLine, Flag, Inputs};
use super::error::{ConfigError, nearest};
use super::variables::{self, Variables};

const DEFAULTS: &str = include_str!("presets/defaults.toml");
const PRESETS: [&str; 2] = [include_str!("presets/chitai_gorod.toml"), include_str!("presets/wildberries.toml")];

/// Whether a preset has this site.
pub fn is_built_in(site: &SiteId) -> bool {
    let trees = PRESETS.iter().filter_map(|preset| preset.parse::<toml::Table>().ok());
    trees.into_iter().any(|tree| tree.get("sites").and_then(|sites| sites.get(site.as_str())).is_some())
}

/// The variable that names a program to start.
pub(super) const PROGRAM: &str = "BROWSER_PATH";

/// How the values begin that a user of the older guide's `.env` was to fill in.
const PLACEHOLDER: &str = "ВАШ_";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layer {
    Default,
    /// The system's time zone.
    System,
    BuiltIn,
    File(PathBuf),
    DotEnv(PathBuf),
    Environment,
    Flags,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::System => f.write_str("system"),
            Self::BuiltIn => f.write_str("built-in site"),
            Self::File(file) | Self::DotEnv(file) => write!(f, "{}", file.display()),
            Self::Environment => f.write_str("environment"),
            Self::Flags => f.write_str("flag"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub layer: Layer,
    /// The variable or the flag.
    pub name: Option<String>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.layer)?;
        self.name.as_ref().map_or(Ok(()), |name| write!(f, " {name}"))
    }
}

/// All layers.
#[derive(Clone, Default)]
pub(super) struct Layers {
    /// The weakest first.
    pub(super) trees: Vec<(Layer, Value)>,
    /// The sites that the TOML file names or that are built in.
    pub(super) sites: BTreeSet<SiteId>,
    pub(super) errors: Vec<ConfigError>,
    pub(super) warnings: Vec<String>,
    flags: Vec<Flag>,
}

impl Layers {
    /// Reads every layer. Fails if a file cannot be read as a whole.
    pub(super) fn of(inputs: &Inputs) -> Result<Self, ConfigError> {
        let dotenv = inputs.dotenv.as_ref().map(|file| environment::dotenv(file)).transpose()?.unwrap_or_default();
        let mut layers = Self { flags: inputs.flags.clone(), ..Self::default() };
        layers.trees.push((Layer::Default, built_in(DEFAULTS)?.into()));
        if let Some(zone) = &inputs.zone {
            let zone = Table::from_iter([("time_zone".to_owned(), zone.clone().into())]);
            layers.trees.push((Layer::System, zone.into()));
        }
        for preset in PRESETS {
            layers.add(Layer::BuiltIn, built_in(preset)?);
        }
        if let Some(file) = config_file(inputs, &dotenv.variables) {
            let table = environment::toml(&file)?;
            if config_file(inputs, &BTreeMap::new()).is_none() {
                layers.refuse_programs(&file, &table);
            }
            layers.add(Layer::File(file), table);
        }
        let variables = Variables::of(&layers.sites);
        if let Some(file) = &inputs.dotenv {
            if dotenv.variables.get(PROGRAM).is_some_and(|path| !path.trim().is_empty()) {
                let file = file.display();
                let reason = "names a program to start, which is never taken from a .env: set it in the environment";
                layers.errors.push(ConfigError::Conflict(format!("{file}: {PROGRAM} {reason}")));
            }
            layers.add_variables(&variables, Layer::DotEnv(file.clone()), &dotenv.variables);
            if let Some(line) = dotenv.encoding {
                layers.warnings.push(format!("{}, line {line}: not UTF-8", file.display()));
            }
            layers.check_lines(&variables, file, &dotenv.broken);
        }
        layers.add_variables(&variables, Layer::Environment, &inputs.environment);
        layers.add_flags();
        Ok(layers)
    }

    /// What all layers say in this table alone.
    pub(super) fn table(&self, name: &str) -> Self {
        let one =
            |tree: &Value| tree.get(name).map(|table| Table::from_iter([(name.to_owned(), table.clone())]).into());
        let trees = self.trees.iter().filter_map(|(layer, tree)| Some((layer.clone(), one(tree)?)));
        Self { trees: trees.collect(), flags: self.flags.clone(), ..Self::default() }
    }

    /// Whether a setting names a file.
    pub(super) fn name_a_file(&self) -> bool {
        fn names_a_file(tree: &Value) -> bool {
            tree.as_table()
                .is_some_and(|table| table.iter().any(|(name, value)| name.ends_with("_file") || names_a_file(value)))
        }
        self.trees.iter().any(|(_, tree)| names_a_file(tree))
    }

    /// The origin of what is at a path of a layer.
    pub(super) fn origin(&self, layer: &Layer, path: &str) -> Origin {
        let name = match layer {
            Layer::DotEnv(_) | Layer::Environment => variables::of(path),
            Layer::Flags => self.flags.iter().rev().find(|flag| flag.path == path).map(|flag| flag.name.clone()),
            Layer::Default | Layer::System | Layer::BuiltIn | Layer::File(_) => None,
        };
        Origin { layer: layer.clone(), name }
    }

    /// Adds a layer that may name sites.
    fn add(&mut self, layer: Layer, table: Table) {
        for name in table.get("sites").and_then(Value::as_table).into_iter().flat_map(Table::keys) {
            match SiteId::parse(name) {
                Some(id) => {
                    self.sites.insert(id);
                }
                None => {
                    let hint = "a site's id is 1 to 64 lower-case letters, digits, _ and -".to_owned();
                    self.errors.push(unknown(&layer, format!("sites.{name}"), hint));
                }
            }
        }
        self.trees.push((layer, table.into()));
    }

    fn add_variables(&mut self, known: &Variables, layer: Layer, variables: &BTreeMap<String, String>) {
        let mut table = Table::new();
        for (name, value) in variables {
            let mut warn = |text: &str| self.warnings.push(format!("{layer}: {name} {text}"));
            let quotes = value.chars().next().zip(value.chars().next_back()).filter(|_| value.len() > 1);
            match known.path(name) {
                Some(_) if value.trim().is_empty() => {}
                Some(_) if value.starts_with(PLACEHOLDER) => {
                    warn("is a placeholder of the older guide: it counts as not set")
                }
                // It is the system's variable, and many settings need no zone.
                Some(path)
                    if path == "time_zone"
                        && let Err(reason) = environment::zone(value) =>
                {
                    warn(&format!("= {value:?} is not used: {reason}"));
                }
                Some(path) => {
                    if matches!(quotes, Some(('"', '"') | ('\'', '\''))) {
                        warn("begins and ends with quotes, which count as part of the value");
                    }
                    insert(&mut table, &path, value);
                }
                None if name.starts_with(variables::OWN) && name != variables::CONFIG => {
                    let hint = nearest(name, variables::names()).unwrap_or_else(|| "nothing reads it".to_owned());
                    self.warnings.push(format!("{layer}: unknown variable {name}: {hint}"));
                }
                None => {}
            }
        }
        self.trees.push((layer, table.into()));
    }

    fn add_flags(&mut self) {
        let mut table = Table::new();
        for flag in &self.flags {
            let site = flag.path.strip_prefix("sites.");
            let name = site.unwrap_or(&flag.path).split('.').next().unwrap_or_default();
            let names = || self.sites.iter().map(ToString::to_string);
            let hint = match (site, self.sites.contains(name)) {
                (None, true) => format!("did you mean sites.{}?", flag.path),
                (Some(_), false) if name != "*" => nearest(name, names())
                    .unwrap_or_else(|| format!("the sites are {}", names().collect::<Vec<_>>().join(", "))),
                _ => {
                    insert(&mut table, &flag.path, &flag.value);
                    continue;
                }
            };
            self.errors.push(unknown(&format!("flag {}", flag.name), flag.path.clone(), hint));
        }
        self.trees.push((Layer::Flags, table.into()));
    }

    /// Refuses what starts a program or signals one in a TOML file that only a `.env` has named: the `.env` of a working
    /// folder may be another's.
    fn refuse_programs(&mut self, file: &Path, table: &Table) {
        let mut found = Vec::new();
        let mut look = |at: String, table: Option<&Value>, keys: &[&str]| {
            let has = |key: &&&str| table.is_some_and(|table| table.get(key).is_some());
            found.extend(keys.iter().filter(has).map(|key| format!("{at}.{key}")));
        };
        look("browser".to_owned(), table.get("browser"), &["path", "args"]);
        for (name, site) in table.get("sites").and_then(Value::as_table).into_iter().flatten() {
            look(format!("sites.{name}.browser"), site.get("browser"), &["path", "args"]);
            for (number, file) in site.get("files").and_then(Value::as_table).into_iter().flatten() {
                look(format!("sites.{name}.files.{number}"), Some(file), &["command", "signal"]);
            }
        }
        for key in found {
            let reason = "decides which program starts or is signalled, which is never taken by way of a .env: name the file in the environment";
            self.errors.push(ConfigError::Conflict(format!("{}: {key} {reason}", file.display())));
        }
    }

    /// A line that cannot be parsed is an error if it may set a variable of the sidecar; otherwise it belongs to another program.
    fn check_lines(&mut self, known: &Variables, file: &Path, broken: &[BrokenLine]) {
        for BrokenLine { number, name, is_open } in broken {
            let place = format!("{}, line {number}", file.display());
            let reason = if *is_open {
                "a quote is opened and never closed"
            } else {
                "not of the form NAME=value; a value with blanks needs quotes"
            };
            if *is_open || name.starts_with(variables::OWN) || known.path(name).is_some() {
                self.errors.push(ConfigError::File { file: place, reason: reason.to_owned() });
            } else {
                self.warnings.push(format!("{place} is left out: {reason}"));
            }
        }
    }
}

fn unknown(place: &impl fmt::Display, key: String, hint: String) -> ConfigError {
    ConfigError::Unknown { place: place.to_string(), key, hint }
}

fn built_in(text: &str) -> Result<Table, ConfigError> {
    text.parse().map_err(|error: toml::de::Error| ConfigError::File {
        file: Layer::BuiltIn.to_string(),
        reason: error.message().to_owned(),
    })
}

fn config_file(inputs: &Inputs, dotenv: &BTreeMap<String, String>) -> Option<PathBuf> {
    let named = |variables: &BTreeMap<String, String>| {
        variables.get(variables::CONFIG).filter(|file| !file.trim().is_empty()).map(PathBuf::from)
    };
    inputs.config_file.clone().or_else(|| named(&inputs.environment)).or_else(|| named(dotenv))
}

/// Sets the value at a dotted path. The name of a header may contain dots.
fn insert(table: &mut Table, path: &str, value: &str) {
    let (name, below) = path.split_once('.').map_or((path, None), |(name, below)| (name, Some(below)));
    let Some(below) = below else {
        table.insert(name.to_owned(), value.into());
        return;
    };
    let entry = table.entry(name).or_insert_with(|| Table::new().into());
    match entry {
        Value::Table(headers) if name == "headers" => {
            headers.insert(below.to_owned(), value.into());
        }
        Value::Table(table) => insert(table, below, value),
        // Another flag has set a value in place of this table, which is refused where the table is read.
        _ => {}
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
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
        assert!(probe.url.as_ref().unwrap().as_str().contains("customerCityId=213&"));
        let names: Vec<&str> = probe.headers.keys().map(|name| name.as_str()).collect();
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
        assert_eq!(given.loaded().config.sites[0].probe.headers["x-api-key"], "hunter2");
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
    fn a_dotenv_of_another_program_is_read_for_our_variables() {
        let given = Given::nothing().dotenv("THEIRS=a b\n\n# remark\nexport SIDECAR_DEBOUNCE='2s' # ours\n");
        assert_eq!(given.setting("sites.chitai_gorod.debounce").0, "2s");
        let warnings: Vec<String> = given.loaded().warnings.iter().map(|w| given.anonymous(w)).collect();
        assert_eq!(
            warnings,
            [".env, line 1 is left out: not of the form NAME=value; a value with blanks needs quotes"]
        );
    }

    fn warnings(given: &Given) -> Vec<String> {
        given.loaded().warnings.iter().map(|warning| given.anonymous(warning)).collect()
    }

    #[test]
    fn a_value_in_quotes_is_a_warning_that_does_not_show_it() {
        let given = Given::nothing().variable("REDIS_PASSWORD", "\"hunter2\"").variable("CHITAI_GOROD_CITY_ID", "'39'");
        assert_eq!(
            warnings(&given),
            [
                "environment: CHITAI_GOROD_CITY_ID begins and ends with quotes, which count as part of the value",
                "environment: REDIS_PASSWORD begins and ends with quotes, which count as part of the value",
            ]
        );
        assert_eq!(warnings(&Given::nothing().variable("REDIS_PASSWORD", "\"")), [""; 0]);
    }

    #[test]
    fn the_placeholders_of_the_older_guide_count_as_not_set() {
        let given = Given::nothing().dotenv(
            "CHITAI_GOROD_BEARER_TOKEN=ВАШ_ТОКЕН_БУДЕТ_ОБНОВЛЕН_АВТОМАТИЧЕСКИ\nCHITAI_GOROD_USER_ID=\"ВАШ_USER_ID\"\n",
        );
        let text = "is a placeholder of the older guide: it counts as not set";
        let expected = ["CHITAI_GOROD_BEARER_TOKEN", "CHITAI_GOROD_USER_ID"].map(|name| format!(".env: {name} {text}"));
        assert_eq!(warnings(&given), expected);
        assert_eq!(given.setting("sites.chitai_gorod.bootstrap_token"), (String::new(), "default".to_owned()));
    }

    #[test]
    fn a_zone_that_is_not_known_is_no_reason_to_refuse() {
        let given = Given::nothing().zone("Europe/Moscow").variable("TZ", "Mars/Olympus");
        assert_eq!(
            warnings(&given),
            [
                r#"environment: TZ = "Mars/Olympus" is not used: expected a time zone such as UTC, Europe/Moscow or MSK-3"#
            ]
        );
        assert_eq!(given.setting("time_zone").0, "Europe/Moscow");
        assert_eq!(Given::nothing().variable("TZ", "<+03>-3").setting("time_zone").0, "<+03>-3");
    }

    #[test]
    fn a_comment_in_another_encoding_is_a_warning() {
        let given = Given::nothing();
        let dotenv = given.write_bytes(".env", b"A=b\n# \xef\xf0\xe8\xe2\xe5\xf2\nSIDECAR_DEBOUNCE=2s\n");
        let given = given.dotenv_at(dotenv);
        assert_eq!(warnings(&given), [".env, line 2: not UTF-8"]);
        assert_eq!(given.setting("sites.chitai_gorod.debounce").0, "2s");
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_secret() {
        let given = Given::nothing().file_variable("REDIS_PASSWORD_FILE", "\u{feff}hunter2\r\n");
        let password = given.loaded().config.redis.password.unwrap();
        assert_eq!(secrecy::ExposeSecret::expose_secret(&password), "hunter2");
    }

    #[test]
    fn a_pipe_or_a_huge_file_is_an_error_at_once() {
        let given = Given::nothing();
        let huge = given.write("huge", "");
        std::fs::File::options().write(true).open(&huge).unwrap().set_len(1 << 30).unwrap();
        let pipe = huge.with_file_name("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for (file, secret, toml) in
            [(huge, "it is larger than 64 KiB", "it is larger than 65536 KiB"), (pipe, "it is a pipe", "it is a pipe")]
        {
            let file = file.display().to_string();
            let error = Given::nothing().variable("REDIS_PASSWORD_FILE", &file).refused();
            assert!(error.ends_with(&format!("the file cannot be read: {secret}")), "{error}");
            assert_eq!(
                Given::nothing().variable("SIDECAR_CONFIG", &file).refused(),
                format!("{file}: cannot be read: {toml}")
            );
        }
    }
}

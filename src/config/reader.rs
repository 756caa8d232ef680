//! Reads the strongest value of each key into its type, notes what is wrong with any of them, and lists what is in
//! force for whoever wants to see it.

use std::collections::BTreeSet;

use super::environment;
use super::error::ConfigError;
use super::key::{Fallback, Key, Shape, env_prefix};
use super::layers::{Layers, Leaf, Raw};
use super::redaction::HIDDEN;
use super::setting::{Origin, Setting};

/// The value cannot be used, and the reader knows why.
#[derive(Debug)]
pub(super) struct Faulty;

/// What reading comes to.
pub(super) type Read<T> = Result<T, Faulty>;

/// Reads the strongest value of each key.
pub(super) struct Reader {
    layers: Layers,
    /// `None` where nobody wants to see it.
    list: Option<List>,
}

/// What is in force.
#[derive(Default)]
struct List {
    settings: Vec<Setting>,
    /// The settings of the process that are in it.
    shared: BTreeSet<String>,
}

/// A value and whose it is.
struct Found {
    content: Content,
    origin: Origin,
    name: String,
}

enum Content {
    Unset,
    Toml(toml::Value),
    Text(String),
    /// What the file has, and the file.
    File(String, String),
}

impl Reader {
    pub(super) const fn new(layers: Layers) -> Self {
        Self { layers, list: None }
    }

    /// One that lists what is in force.
    pub(super) fn listing(layers: Layers) -> Self {
        Self { layers, list: Some(List::default()) }
    }

    /// The ids of all sites that are mentioned.
    pub(super) fn sites(&self) -> Vec<String> {
        self.layers.sites.iter().cloned().collect()
    }

    /// Whether anything below `table` is set by anybody.
    pub(super) fn has(&self, table: &str) -> bool {
        self.below(table).next().is_some()
    }

    /// The names of what is set below `table`.
    pub(super) fn names_below(&self, table: &str) -> Vec<String> {
        self.below(table).map(str::to_owned).collect()
    }

    fn below(&self, table: &str) -> impl Iterator<Item = &str> {
        let head = format!("{table}.");
        let from_there = self.layers.leaves.range(head.clone()..);
        from_there.map_while(move |(path, _)| path.strip_prefix(&head))
    }

    /// Reads a value that may be missing.
    pub(super) fn optional<T>(&mut self, path: &str, parse: impl Fn(&str) -> Result<T, String>) -> Read<Option<T>> {
        let (key, found) = self.find(path)?;
        let parsed = match &found.content {
            Content::Unset => Ok(None),
            Content::Text(text) | Content::Toml(toml::Value::String(text)) | Content::File(text, _) => {
                parse(text).map(Some)
            }
            Content::Toml(value) => match (key.shape, value) {
                (Shape::Text, toml::Value::Integer(n)) => parse(&n.to_string()).map(Some),
                (Shape::Switch, toml::Value::Boolean(on)) => parse(&on.to_string()).map(Some),
                // What would be right of a value of another type, the parser knows best.
                (_, other) => {
                    Err(parse(&other.to_string()).err().unwrap_or_else(|| "expected a text in quotes".to_owned()))
                }
            },
        };
        self.note(path, key, &found.origin, || found.content.text().map(|value| key.show(path, &value)));
        parsed.map_err(|reason| self.wrong(path, key, &found, found.content.text().as_deref(), reason))
    }

    /// Reads a value that must be there.
    pub(super) fn required<T>(&mut self, path: &str, parse: impl Fn(&str) -> Result<T, String>) -> Read<T> {
        match self.optional(path, &parse)? {
            Some(value) => Ok(value),
            // The parser says what would be right.
            None => Err(self.missing(path, &parse("").err().unwrap_or_else(|| "it must not be empty".to_owned()))),
        }
    }

    /// Reads a list; one that is not set is empty.
    pub(super) fn list<T>(&mut self, path: &str, parse: impl Fn(&str) -> Result<T, String>) -> Read<Vec<T>> {
        let (key, found) = self.find(path)?;
        let items: Option<Vec<String>> = match &found.content {
            Content::Unset => Some(Vec::new()),
            Content::Text(text) | Content::Toml(toml::Value::String(text)) | Content::File(text, _) => Some(
                text.split([',', '\n']).map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect(),
            ),
            Content::Toml(toml::Value::Array(array)) => {
                array.iter().map(|item| item.as_str().map(str::to_owned)).collect()
            }
            Content::Toml(_) => None,
        };
        let Some(items) = items else {
            return Err(self.wrong(path, key, &found, None, "expected a list of texts".to_owned()));
        };
        self.note(path, key, &found.origin, || {
            let shown: Vec<String> = items.iter().map(|item| key.show(path, item)).collect();
            (!shown.is_empty()).then(|| shown.join(", "))
        });
        let mut values = Vec::new();
        let mut fault = None;
        for item in &items {
            match parse(item) {
                Ok(value) => values.push(value),
                Err(reason) => fault = Some(self.wrong(path, key, &found, Some(item), reason)),
            }
        }
        fault.map_or(Ok(values), Err)
    }

    /// Notes that a key must be set.
    pub(super) fn missing(&mut self, path: &str, reason: &str) -> Faulty {
        let env = Key::of(path).and_then(|key| key.env_of(site_of(path)));
        let key = env.map_or_else(|| path.to_owned(), |env| format!("{path} ({env})"));
        self.fault(ConfigError::Missing { key, reason: reason.to_owned() })
    }

    /// Notes that values do not go together.
    pub(super) fn conflict(&mut self, text: String) -> Faulty {
        self.fault(ConfigError::Conflict(text))
    }

    /// Notes something that is probably not meant.
    pub(super) fn warn(&mut self, text: String) {
        self.layers.warnings.push(text);
    }

    /// What is in force, what is probably not meant, and what is wrong.
    pub(super) fn finish(self) -> (Vec<Setting>, Vec<String>, Vec<ConfigError>) {
        let settings = self.list.map(|list| list.settings).unwrap_or_default();
        (settings, self.layers.warnings, self.layers.faults)
    }

    fn find(&mut self, path: &str) -> Read<(&'static Key, Found)> {
        let Some(key) = Key::of(path) else {
            return Err(self.conflict(format!("{path} is not in the list of keys")));
        };
        let Some(leaf) = self.layers.leaves.get(path) else {
            return match key.fallback {
                Fallback::As(other) => self.find(other),
                Fallback::None => Ok((key, Found::default_of(path, Content::Unset))),
                Fallback::Text(text) => {
                    let site = site_of(path);
                    // Only the two names are replaced: the rest is for the template.
                    let text = text.replace("{site}", site).replace("{SITE}", &env_prefix(site));
                    Ok((key, Found::default_of(path, Content::Text(text))))
                }
            };
        };
        let (origin, name) = (leaf.origin.clone(), leaf.name.clone());
        match Content::of(leaf) {
            Ok(content) => Ok((key, Found { content, origin, name })),
            Err((file, reason)) => {
                let place = origin.place();
                Err(self.fault(ConfigError::Wrong { place, name, value: format!("{file:?}"), reason }))
            }
        }
    }

    /// Lists a setting, if anybody wants to see it; `value` is what may be shown of it.
    fn note(&mut self, path: &str, key: &Key, origin: &Origin, value: impl FnOnce() -> Option<String>) {
        let Some(list) = &mut self.list else { return };
        let site = site_of(path);
        // What sites inherit is read for each of them.
        if site.is_empty() && !list.shared.insert(path.to_owned()) {
            return;
        }
        let env = key.env_of(site);
        list.settings.push(Setting { path: path.to_owned(), env, value: value(), origin: origin.clone() });
    }

    fn wrong(&mut self, path: &str, key: &Key, found: &Found, value: Option<&str>, reason: String) -> Faulty {
        let is_text = !matches!(&found.content, Content::Toml(value) if !value.is_str() && key.shape != Shape::List);
        let value = match (&found.content, value.map(|value| key.show(path, value))) {
            (Content::File(_, file), _) => format!("{file:?}"),
            (_, None) => HIDDEN.to_owned(),
            (_, Some(shown)) if shown == HIDDEN || !is_text => shown,
            (_, Some(shown)) => format!("{:?}", shorten(&shown)),
        };
        let (place, name) = (found.origin.place(), found.name.clone());
        self.fault(ConfigError::Wrong { place, name, value, reason })
    }

    fn fault(&mut self, fault: ConfigError) -> Faulty {
        // What many sites inherit is wrong once.
        if !self.layers.faults.contains(&fault) {
            self.layers.faults.push(fault);
        }
        Faulty
    }
}

impl Found {
    fn default_of(path: &str, content: Content) -> Self {
        Self { content, origin: Origin::Default, name: path.to_owned() }
    }
}

impl Content {
    fn of(leaf: &Leaf) -> Result<Self, (String, String)> {
        Ok(match &leaf.raw {
            // An empty text takes back what a weaker layer has set.
            Raw::Toml(toml::Value::String(text)) if text.trim().is_empty() => Self::Unset,
            Raw::Text(text) if text.trim().is_empty() => Self::Unset,
            Raw::Toml(value) => Self::Toml(value.clone()),
            Raw::Text(text) => Self::Text(text.clone()),
            Raw::File(file) => match environment::secret(file.as_ref()) {
                Ok(text) => Self::File(text, file.clone()),
                Err(reason) => return Err((file.clone(), reason)),
            },
        })
    }

    fn text(&self) -> Option<String> {
        match self {
            Self::Unset => None,
            Self::Toml(toml::Value::String(text)) | Self::Text(text) | Self::File(text, _) => Some(text.clone()),
            Self::Toml(value) => Some(value.to_string()),
        }
    }
}

fn site_of(path: &str) -> &str {
    path.strip_prefix("sites.").and_then(|rest| rest.split('.').next()).unwrap_or_default()
}

fn shorten(text: &str) -> String {
    const MOST: usize = 120;
    if text.chars().count() <= MOST {
        text.to_owned()
    } else {
        format!("{}…", text.chars().take(MOST).collect::<String>())
    }
}

//! The settings as serde reads them: a place holds what each layer has there, and the strongest layer's value counts.
//!
//! An error needs its place, the origin of the value and its redaction, so the layers have a deserializer of their own. A
//! reading ends at the first error; `reader` then notes it and reads again with the default in place of the value.

mod deserialize;

use std::borrow::Cow;
use std::path::Path;
use std::rc::Rc;

use token_sidecar_client::wire::SiteId;
use toml::Value;

use super::environment;
use super::error::ConfigError;
use super::layers::{Layer, Layers, Origin};
use super::listing::{Notes, Setting};
use super::redaction::{self, HIDDEN, Secrecy};
use super::rotation::is_read_again;
use super::variables;

/// Tables of the process that sites inherit.
const SHARED: &[&str] = &["browser", "flaresolverr"];

/// The settings of the process or of a site.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) layers: &'a Layers,
    pub(super) site: Option<&'a SiteId>,
    /// The paths with errors, for which the default counts.
    pub(super) refused: &'a [(Option<SiteId>, String)],
    /// `None` for the items of a list.
    pub(super) notes: Option<&'a Notes>,
}

/// A place in the tree, the root included.
pub(super) struct Place<'a> {
    scope: Scope<'a>,
    /// The path of its table, below the site if there is one.
    table: Rc<str>,
    name: String,
    /// The weakest first.
    entries: Vec<Entry<'a>>,
    secrecy: Secrecy,
    /// The place is this item of a list.
    item: Option<String>,
}

/// What one layer has at a place.
#[derive(Clone, Copy)]
struct Entry<'a> {
    layer: &'a Layer,
    /// The site of the table, `*` for all sites.
    site: Option<&'a str>,
    /// As the layer spells the name: `…_file` names a file with the value, and headers ignore case.
    name: &'a str,
    value: &'a Value,
}

/// A value as a text.
struct Given<'a> {
    text: Cow<'a, str>,
    /// The value, if it is not a text.
    other: Option<&'a Value>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// What would be valid.
    #[error("{0}")]
    Reason(String),
    /// With the path, below the site if there is one.
    #[error("{error}")]
    At { path: String, error: ConfigError },
}

impl<'a> Scope<'a> {
    fn root(self) -> Place<'a> {
        let of_layer = |(layer, root): &'a (Layer, Value)| {
            let sites = self.site.iter().flat_map(|site| ["*", site.as_str()]);
            let sites = sites.filter_map(|site| Some((Some(site), root.get("sites")?.get(site)?)));
            let process = self.site.is_none().then_some((None, root));
            let entries = sites.chain(process).map(|(site, value)| Entry { layer, site, name: "", value });
            entries.collect::<Vec<_>>()
        };
        let entries = self.layers.trees.iter().flat_map(of_layer).collect();
        Place { scope: self, table: Rc::default(), name: String::new(), entries, secrecy: Secrecy::Open, item: None }
    }

    /// The place at a dotted path. The name of a header may contain dots.
    pub(super) fn at(self, path: &str) -> Place<'a> {
        let (mut place, mut rest) = (self.root(), path);
        while let Some((name, below)) = rest.split_once('.').filter(|_| place.name != "headers") {
            (place, rest) = (place.child(&place.path().into(), name), below);
        }
        if rest.is_empty() { place } else { place.child(&place.path().into(), rest) }
    }

    fn is_refused(&self, table: &str, name: &str) -> bool {
        self.refused.iter().any(|(site, refused)| site.as_ref() == self.site && *refused == join(table, name))
    }
}

impl<'a> Place<'a> {
    /// A place in this table, whose path is `table`.
    fn child(&self, table: &Rc<str>, name: &str) -> Self {
        let mut entries = Vec::new();
        if self.scope.site.is_some() && self.name.is_empty() && SHARED.contains(&name) {
            entries = Scope { site: None, ..self.scope }.root().child(table, name).entries;
        }
        // The file of a template is a setting of its own: it holds no secret.
        let file = if name == "template" { String::new() } else { format!("{name}_file") };
        for entry in &self.entries {
            let Some(written) = entry.value.as_table() else { continue };
            if self.name == "headers" {
                let spelled = |other: &str| other.eq_ignore_ascii_case(name) || other.eq_ignore_ascii_case(&file);
                let found = written.iter().filter(|(name, _)| spelled(name));
                entries.extend(found.map(|(name, value)| Entry { name, value, ..*entry }));
            } else {
                let found = [name, &file].into_iter().filter_map(|name| written.get_key_value(name));
                entries.extend(found.map(|(name, value)| Entry { name, value, ..*entry }));
            }
        }
        // A proxy is replaced as a whole: one site's password must not reach another site's proxy.
        let is_own = |entry: &Entry| entry.site.is_some() && entry.value.as_table().is_none_or(|own| !own.is_empty());
        if name == "proxy" {
            if entries.iter().any(is_own) {
                entries.retain(is_own);
            }
            // Nor may the login beside an address reach the one that a stronger layer has in its place.
            let has_address = |entry: &Entry| ["url", "url_file"].iter().any(|url| entry.value.get(url).is_some());
            if let Some(address) = entries.iter().rposition(has_address) {
                let stronger = entries.split_off(address);
                entries.retain(|entry| !has_address(entry));
                entries.extend(stronger);
            }
        }
        if self.scope.is_refused(table, name) {
            entries.retain(|entry| *entry.layer == Layer::Default);
        }
        Self { table: Rc::clone(table), name: name.to_owned(), entries, secrecy: Secrecy::Open, item: None, ..*self }
    }

    pub(super) fn with(self, secrecy: Secrecy) -> Self {
        Self { secrecy, ..self }
    }

    /// The path, below the site if there is one.
    fn path(&self) -> String {
        join(&self.table, &self.name)
    }

    /// The path as it is listed.
    pub(super) fn full_path(&self) -> String {
        self.scope.site.map_or_else(|| self.path(), |site| format!("sites.{site}.{}", self.path()))
    }

    /// The origin of an entry, and its path there.
    fn origin(&self, entry: Option<&Entry>) -> (Origin, String) {
        let Some(entry) = entry else { return (Origin { layer: Layer::Default, name: None }, self.full_path()) };
        let path = join(&self.table, entry.name);
        let path = entry.site.map_or_else(|| path.clone(), |site| join(&format!("sites.{site}"), &path));
        (self.scope.layers.origin(entry.layer, &path), path)
    }

    /// The file that has the value.
    fn file(&self) -> Option<&'a Value> {
        let entry = self.entries.last()?;
        (entry.name.ends_with("_file") && !self.name.ends_with("_file")).then_some(entry.value)
    }

    /// `None` if it is not set.
    fn given(&self) -> Result<Option<Given<'_>>, Error> {
        let text = |text| Ok(Some(Given { text, other: None }));
        if let Some(item) = &self.item {
            return text(item.into());
        }
        let Some(entry) = self.entries.last() else { return Ok(None) };
        let other = self.entries.iter().rev().nth(1);
        if let Some(other) = other.filter(|other| std::ptr::eq(other.layer, entry.layer) && other.site == entry.site) {
            let [one, other] = [other, entry].map(|entry| {
                let (origin, path) = self.origin(Some(entry));
                origin.name.unwrap_or(path)
            });
            let place = entry.layer.to_string();
            return Err(self.error(ConfigError::Twice { place, one, other }));
        }
        match (self.file(), entry.value) {
            (Some(_), _) if !self.secrecy.is_secret() => {
                Err(self.unknown(entry, format!("did you mean {}?", self.name)))
            }
            (Some(Value::String(file)), _) => environment::secret(Path::new(file))
                .map_or_else(|reason| Err(self.wrong(&format!("{file:?}"), reason)), |secret| text(secret.into())),
            (Some(_), _) => Err(self.wrong(HIDDEN, "expected a file's name".to_owned())),
            // An empty text unsets what a weaker layer has set.
            (None, Value::String(given)) if given.trim().is_empty() => Ok(None),
            (None, Value::String(given)) => text(match self.scope.site.map(SiteId::as_str) {
                Some(site) if *entry.layer == Layer::Default && given.contains('{') => {
                    given.replace("{site}", site).replace("{SITE}", &variables::prefix(site)).into()
                }
                _ => given.into(),
            }),
            (None, other) => Ok(Some(Given { text: other.to_string().into(), other: Some(other) })),
        }
    }

    /// The value as a TOML file has it; `None` if it is not set.
    pub(super) fn value(&self) -> Option<Value> {
        let given = self.given().ok()??;
        Some(given.other.cloned().unwrap_or_else(|| given.text.into_owned().into()))
    }

    /// Reads a text, or a value of another kind that can be read as one.
    fn read<T>(self, is_text: fn(&Value) -> bool, read: impl FnOnce(&str) -> Result<T, Error>) -> Result<T, Error> {
        let given = self.given()?;
        self.note(given.as_ref().map(|given| &*given.text).as_slice());
        let is_other = given.as_ref().and_then(|given| given.other).is_some_and(|other| !is_text(other));
        let result = match read(given.as_ref().map_or("", |given| &given.text)) {
            // The expected kind is known where the value is read.
            Ok(_) if is_other => Err(Error::Reason("expected a text in quotes".to_owned())),
            result => result,
        };
        result.map_err(|error| match error {
            Error::Reason(reason) => self.refuse(reason),
            at @ Error::At { .. } => at,
        })
    }

    /// Notes an effective setting, which has one value or the items of a list.
    fn note(&self, values: &[&str]) {
        let Some(notes) = self.scope.notes else { return };
        let (entry, file) = (self.entries.last(), self.file());
        let is_in_a_file = entry.is_some_and(|entry| matches!(entry.layer, Layer::File(_) | Layer::DotEnv(_)));
        let is_inherited = self.scope.site.is_some() && entry.is_some_and(|entry| entry.site.is_none());
        // An output keeps the line of this token in the .env current.
        if (is_in_a_file || file.is_some()) && !is_inherited && self.name != "bootstrap_token" {
            let (path, file) = (self.full_path(), file.and_then(Value::as_str));
            match file.filter(|_| is_read_again(&path)) {
                Some(file) => notes.in_files.borrow_mut().note(path, &[file]),
                None => notes.in_files.borrow_mut().note(path, values),
            }
        }
        if let Some(list) = &notes.list {
            let shown: Vec<String> = values.iter().map(|value| self.show(value)).collect();
            let value = (!shown.is_empty()).then(|| shown.join(", "));
            let (origin, _) = self.origin(entry);
            list.borrow_mut().push(Setting { path: self.full_path(), value, origin, secrecy: self.secrecy });
        }
    }

    fn show(&self, value: &str) -> String {
        // A password may contain what separates the items of a list: such an item may be a part of one.
        let whole = self.entries.last().and_then(|entry| entry.value.as_str());
        if self.item.is_some() && self.secrecy.is_secret() && whole.is_some_and(|whole| whole.trim() != value) {
            return HIDDEN.to_owned();
        }
        redaction::show(self.secrecy, &self.name, value)
    }

    /// The error for an invalid or missing value.
    pub(super) fn refuse(&self, reason: String) -> Error {
        match (self.file(), self.given()) {
            (Some(file), _) => self.wrong(&file.to_string(), reason),
            (None, Err(error)) => error,
            (None, Ok(None)) => self.missing(reason),
            (None, Ok(Some(Given { text, other }))) => {
                let mut shown = self.show(&text);
                if shown != HIDDEN && other.is_none() {
                    if let Some((end, _)) = shown.char_indices().nth(120) {
                        shown.truncate(end);
                        shown.push('…');
                    }
                    shown = format!("{shown:?}");
                }
                self.wrong(&shown, reason)
            }
        }
    }

    fn wrong(&self, value: &str, reason: String) -> Error {
        self.wrong_in(self.entries.last(), value, reason)
    }

    fn wrong_in(&self, entry: Option<&Entry>, value: &str, reason: String) -> Error {
        let (Origin { layer, name }, path) = self.origin(entry);
        let (place, name, value) = (layer.to_string(), name.unwrap_or(path), value.to_owned());
        self.error(ConfigError::Wrong { place, name, value, reason })
    }

    fn unknown(&self, entry: &Entry, hint: String) -> Error {
        let (origin, key) = self.origin(Some(entry));
        self.error(ConfigError::Unknown { place: origin.to_string(), key, hint })
    }

    pub(super) fn missing(&self, reason: String) -> Error {
        let path = self.full_path();
        let variable = variables::of(&path).map(|variable| format!(" ({variable})")).unwrap_or_default();
        self.error(ConfigError::Missing { key: path + &variable, reason })
    }

    fn error(&self, error: ConfigError) -> Error {
        Error::At { path: self.path(), error }
    }

    /// The names in this table, which must be one in every layer.
    fn names(&self) -> Result<impl Iterator<Item = (&Entry<'a>, &'a str)>, Error> {
        match self.entries.iter().find(|entry| !entry.value.is_table()) {
            // It may be anything, even a secret.
            Some(entry) => Err(self.wrong_in(Some(entry), HIDDEN, "expected a table".to_owned())),
            None => Ok(self.entries.iter().flat_map(|entry| {
                entry.value.as_table().into_iter().flatten().map(move |(name, _)| (entry, name.as_str()))
            })),
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() || name.is_empty() { format!("{path}{name}") } else { format!("{path}.{name}") }
}

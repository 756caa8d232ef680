//! The merged settings as serde reads them.
//!
//! An error needs its place, the origin of the value and its redaction, so the tree has a deserializer of its own. A
//! reading ends at the first error; `reader` then puts the default in place of the value and reads again.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use serde::Deserializer;
use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, IntoDeserializer as _, MapAccess, SeqAccess, Visitor};
use token_sidecar_client::wire::SiteId;
use toml::{Table, Value};

use super::environment;
use super::error::{ConfigError, nearest};
use super::layers::{Layer, Layers, Origin, is_same, join};
use super::redaction::{self, HIDDEN, Secrecy};
use super::variables;

/// An effective setting, to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The dotted path in the TOML file.
    pub path: String,
    /// As written, secrets redacted; `None` if not set.
    pub value: Option<String>,
    pub origin: Origin,
    pub secrecy: Secrecy,
}

/// The settings of the process or of a site.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) layers: &'a Layers,
    pub(super) merged: &'a Table,
    pub(super) site: Option<&'a SiteId>,
    pub(super) list: Option<&'a RefCell<Vec<Setting>>>,
}

/// A place in the tree.
pub(super) struct Place<'a> {
    scope: Scope<'a>,
    /// The path of its table, below the site if there is one.
    table: String,
    name: String,
    /// The values by the names that were written: two if one layer has two spellings of a name.
    entries: Vec<(&'a str, &'a Value)>,
    secrecy: Secrecy,
}

/// A value as a text.
enum Given<'a> {
    Unset,
    Text(Cow<'a, str>),
    Other(&'a Value),
}

#[derive(Debug)]
pub(super) enum Error {
    /// What would be valid.
    Reason(String),
    /// With the path in the merged tree.
    At { path: String, error: ConfigError },
}

impl<'a> Place<'a> {
    /// The place at a dotted path. The name of a header may contain dots.
    pub(super) fn at(scope: Scope<'a>, path: &str) -> Self {
        let (table, name) = match path.split_once(".headers.") {
            Some((table, name)) => (format!("{table}.headers"), name),
            None => path.rsplit_once('.').map_or((String::new(), path), |(table, name)| (table.to_owned(), name)),
        };
        let mut tables = table.split('.').filter(|name| !name.is_empty());
        let found = tables.try_fold(scope.merged, |table, name| table.get(name)?.as_table());
        Self::new(scope, table, found, name)
    }

    fn new(scope: Scope<'a>, table: String, found: Option<&'a Table>, name: &str) -> Self {
        let entries = found.into_iter().flatten().filter(|(written, _)| is_same(&table, written, name));
        let entries = entries.map(|(written, value)| (written.as_str(), value)).collect();
        Self { scope, table, name: name.to_owned(), entries, secrecy: Secrecy::Open }
    }

    pub(super) fn with(self, secrecy: Secrecy) -> Self {
        Self { secrecy, ..self }
    }

    /// The path in the merged tree.
    fn path(&self) -> String {
        join(&self.table, &self.name)
    }

    /// The path as it is listed.
    fn full_path(&self) -> String {
        self.scope.site.map_or_else(|| self.path(), |site| format!("sites.{site}.{}", self.path()))
    }

    /// The origin of the value, and its name there.
    fn origin(&self) -> (Origin, String) {
        let found = self.entries.first().and_then(|(written, _)| self.origin_of(written));
        let (origin, path) = found.unwrap_or_else(|| (Origin { layer: Layer::Default, name: None }, self.full_path()));
        let name = origin.name.clone().unwrap_or(path);
        (origin, name)
    }

    fn origin_of(&self, written: &str) -> Option<(Origin, String)> {
        self.scope.layers.origin(self.scope.site, &self.table, written)
    }

    /// The file that has the value.
    fn file(&self) -> Option<&'a Value> {
        let (written, value) = self.entries.first()?;
        (written.ends_with("_file") && !self.name.ends_with("_file")).then_some(*value)
    }

    fn given(&self) -> Result<Given<'a>, Error> {
        let value = match self.entries[..] {
            [] => return Ok(Given::Unset),
            [(_, value)] => value,
            [_, (other, _), ..] => {
                let (origin, one) = self.origin();
                let other = self.origin_of(other).map(|(origin, path)| origin.name.unwrap_or(path)).unwrap_or_default();
                return Err(self.error(ConfigError::Twice { place: origin.layer.to_string(), one, other }));
            }
        };
        match (self.file(), value) {
            (Some(_), _) if !self.secrecy.is_secret() => Err(self.unknown(format!("did you mean {}?", self.name))),
            (Some(Value::String(file)), _) => {
                let secret = environment::secret(Path::new(file));
                secret.map(|text| Given::Text(text.into())).map_err(|reason| self.wrong(&format!("{file:?}"), reason))
            }
            (Some(_), _) => Err(self.wrong(HIDDEN, "expected a file's name".to_owned())),
            // An empty text unsets what a weaker layer has set.
            (None, Value::String(text)) if text.trim().is_empty() => Ok(Given::Unset),
            (None, Value::String(text)) => Ok(Given::Text(text.into())),
            (None, other) => Ok(Given::Other(other)),
        }
    }

    /// Reads a text, or a value of another kind that can be read as one.
    fn read<T>(self, is_text: fn(&Value) -> bool, read: impl FnOnce(&str) -> Result<T, Error>) -> Result<T, Error> {
        let given = self.given()?;
        self.note(|| given.text().map(|text| self.show(&text)));
        let result = match (read(&given.text().unwrap_or_default()), &given) {
            // The expected kind is known where the value is read.
            (Ok(_), Given::Other(value)) if !is_text(value) => {
                Err(Error::Reason("expected a text in quotes".to_owned()))
            }
            (result, _) => result,
        };
        result.map_err(|error| match error {
            Error::Reason(reason) => self.refuse(reason),
            at @ Error::At { .. } => at,
        })
    }

    /// Lists an effective setting.
    fn note(&self, shown: impl FnOnce() -> Option<String>) {
        if let Some(list) = self.scope.list {
            let (origin, _) = self.origin();
            list.borrow_mut().push(Setting { path: self.full_path(), value: shown(), origin, secrecy: self.secrecy });
        }
    }

    fn show(&self, value: &str) -> String {
        redaction::show(self.secrecy, &self.name, value)
    }

    /// The error for an invalid or missing value.
    pub(super) fn refuse(&self, reason: String) -> Error {
        match (self.file(), self.given()) {
            (Some(file), _) => self.wrong(&file.to_string(), reason),
            (None, Ok(Given::Unset)) => self.missing(reason),
            (None, Ok(Given::Text(text))) => self.wrong_text(&text, reason),
            (None, Ok(Given::Other(value))) => self.wrong(&self.show(&value.to_string()), reason),
            (None, Err(error)) => error,
        }
    }

    fn wrong_text(&self, text: &str, reason: String) -> Error {
        let mut shown = self.show(text);
        if shown == HIDDEN {
            return self.wrong(HIDDEN, reason);
        }
        if let Some((end, _)) = shown.char_indices().nth(120) {
            shown.truncate(end);
            shown.push('…');
        }
        self.wrong(&format!("{shown:?}"), reason)
    }

    fn wrong(&self, value: &str, reason: String) -> Error {
        let (origin, name) = self.origin();
        let place = origin.layer.to_string();
        self.error(ConfigError::Wrong { place, name, value: value.to_owned(), reason })
    }

    fn unknown(&self, hint: String) -> Error {
        let found = self.entries.first().and_then(|(written, _)| self.origin_of(written));
        let (place, key) = found.map(|(origin, path)| (origin.to_string(), path)).unwrap_or_default();
        self.error(ConfigError::Unknown { place, key, hint })
    }

    pub(super) fn missing(&self, reason: String) -> Error {
        let path = self.full_path();
        let variable = variables::of(&path).map(|variable| format!(" ({variable})")).unwrap_or_default();
        self.error(ConfigError::Missing { key: path + &variable, reason })
    }

    fn error(&self, error: ConfigError) -> Error {
        Error::At { path: self.path(), error }
    }

    fn as_table(&self) -> Result<Option<&'a Table>, Error> {
        match self.entries.first() {
            _ if self.name.is_empty() => Ok(Some(self.scope.merged)),
            None => Ok(None),
            Some((_, Value::Table(table))) => Ok(Some(table)),
            // It may be anything, even a secret.
            Some(_) => Err(self.wrong(HIDDEN, "expected a table".to_owned())),
        }
    }

    /// Refuses names in this table that are not in `fields`.
    fn check_names(&self, table: Option<&'a Table>, fields: &[&str]) -> Result<(), Error> {
        let is_known =
            |name: &str| fields.contains(&name.strip_suffix("_file").unwrap_or(name)) || fields.contains(&name);
        let mut names = table.into_iter().flat_map(Table::keys);
        let Some(name) = names.find(|name| !is_known(name)) else { return Ok(()) };
        let suffix = if name.ends_with("_file") { "_file" } else { "" };
        let hint = nearest(name, fields.iter().map(|field| format!("{field}{suffix}"))).unwrap_or_else(|| {
            let known: BTreeSet<&str> = fields.iter().copied().collect();
            format!("known here are {}", known.into_iter().collect::<Vec<_>>().join(", "))
        });
        Err(Self::new(self.scope, self.path(), table, name).unknown(hint))
    }

    fn entries<I>(&self, table: Option<&'a Table>, names: I, secrecy: Secrecy) -> Entries<'a, I> {
        Entries { scope: self.scope, path: self.path(), table, names, secrecy, value: None }
    }
}

impl Given<'_> {
    fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Unset => None,
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::Other(value) => Some(value.to_string().into()),
        }
    }
}

impl<'de> Deserializer<'de> for Place<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.read(Value::is_integer, |text| visitor.visit_str(text))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.read(Value::is_bool, |text| match text.trim().parse() {
            Ok(on) => visitor.visit_bool(on),
            Err(_) => Err(Error::Reason("expected true or false".to_owned())),
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.read(|_| false, |text| visitor.visit_enum(word(text)))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if matches!(self.given()?, Given::Unset) {
            self.note(|| None);
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    /// The types that say what may be shown of a value are newtypes.
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        let secrecy = Secrecy::of_type(name).unwrap_or(self.secrecy);
        visitor.visit_newtype_struct(self.with(secrecy))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let items: Option<Vec<String>> = match self.given()? {
            Given::Unset => Some(Vec::new()),
            Given::Text(text) => {
                let items = text.split([',', '\n']).map(str::trim).filter(|item| !item.is_empty());
                Some(items.map(str::to_owned).collect())
            }
            Given::Other(value) => {
                value.as_array().and_then(|items| items.iter().map(|item| item.as_str().map(str::to_owned)).collect())
            }
        };
        let items = items.ok_or_else(|| self.wrong(HIDDEN, "expected a list of texts".to_owned()))?;
        self.note(|| {
            let shown: Vec<String> = items.iter().map(|item| self.show(item)).collect();
            (!shown.is_empty()).then(|| shown.join(", "))
        });
        visitor.visit_seq(Items { place: self, items: items.into_iter() })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let table = self.as_table()?;
        let names = table.into_iter().flat_map(Table::keys);
        let names = names.map(|name| name.strip_suffix("_file").unwrap_or(name).to_ascii_lowercase());
        let names: BTreeSet<String> = names.collect();
        // Only the name can tell whether a value with a user-defined name is a secret.
        visitor.visit_map(self.entries(table, names.into_iter(), Secrecy::Header))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let table = self.as_table()?;
        self.check_names(table, fields)?;
        visitor.visit_map(self.entries(table, fields.iter().map(|&name| name.to_owned()), Secrecy::Open))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple
        tuple_struct identifier
    }
}

/// The places in a table: every field, set or not, or every name in it.
struct Entries<'a, I> {
    scope: Scope<'a>,
    path: String,
    table: Option<&'a Table>,
    names: I,
    secrecy: Secrecy,
    value: Option<Place<'a>>,
}

impl<'de, I: Iterator<Item = String>> MapAccess<'de> for Entries<'_, I> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some(name) = self.names.next() else { return Ok(None) };
        self.value = Some(Place::new(self.scope, self.path.clone(), self.table, &name).with(self.secrecy));
        seed.deserialize(word(&name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let value = self.value.take().ok_or_else(|| Error::Reason("a value without its name".to_owned()))?;
        seed.deserialize(value)
    }
}

struct Items<'a> {
    place: Place<'a>,
    items: std::vec::IntoIter<String>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some(item) = self.items.next() else { return Ok(None) };
        seed.deserialize(word(&item)).map(Some).map_err(|error| match error {
            Error::Reason(reason) => self.place.wrong_text(&item, reason),
            at @ Error::At { .. } => at,
        })
    }
}

fn word(text: &str) -> StrDeserializer<'_, Error> {
    text.trim().into_deserializer()
}

impl de::Error for Error {
    fn custom<T: fmt::Display>(reason: T) -> Self {
        Self::Reason(reason.to_string())
    }

    fn unknown_variant(_: &str, known: &'static [&'static str]) -> Self {
        Self::Reason(match known {
            [others @ .., last] if !others.is_empty() => format!("expected {} or {last}", others.join(", ")),
            known => format!("expected {}", known.concat()),
        })
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reason(reason) => f.write_str(reason),
            Self::At { error, .. } => write!(f, "{error}"),
        }
    }
}

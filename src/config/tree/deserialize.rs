//! A place as a deserializer: what `serde` asks for is read of the strongest layer that has it.

use std::collections::BTreeSet;
use std::fmt;
use std::rc::Rc;

use serde::Deserializer;
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, IntoDeserializer, Visitor};
use toml::{Table, Value};

use super::super::error::nearest;
use super::super::layers::Layer;
use super::super::redaction::{HIDDEN, Secrecy};
use super::{Entry, Error, Given, Place, Scope};

/// The numbers that name the tables of a list; `None` where it holds something else.
fn numbers_of(list: &Table) -> Option<Vec<usize>> {
    let number = |(name, table): (&String, &Value)| {
        let number = name.parse().ok().filter(|number: &usize| number.to_string() == *name)?;
        table.is_table().then_some(number)
    };
    list.iter().map(number).collect()
}

impl<'a> Place<'a> {
    /// The tables of a list, whose names are their numbers; `None` where it is no list of tables. A layer's list takes the
    /// place of a weaker one as a whole, but a flag sets one key of one table, or of one more.
    fn tables(&self) -> Result<Option<Vec<Self>>, Error> {
        if self.entries.last().is_none_or(|last| !last.value.is_table()) {
            return Ok(None);
        }
        let is_flag = |entry: &&Entry| *entry.layer == Layer::Flags;
        let is_empty = |entry: &&Entry| {
            entry.value.as_array().is_some_and(Vec::is_empty) || entry.value.as_str().is_some_and(str::is_empty)
        };
        let list = self.entries.iter().rfind(|entry| !is_flag(entry)).filter(|list| !is_empty(list));
        let entries: Vec<_> = list.into_iter().chain(self.entries.iter().filter(is_flag)).copied().collect();
        let mut numbers = BTreeSet::new();
        for entry in &entries {
            let Some(tables) = entry.value.as_table().and_then(numbers_of) else {
                let reason = match is_flag(&entry) {
                    true => "a list is set as a whole, such as a,b; of a list of tables, one key: .0.key".to_owned(),
                    false => format!("expected a list of tables: [[{}]]", self.full_path()),
                };
                return Err(self.wrong_in(Some(entry), HIDDEN, reason));
            };
            numbers.extend(tables);
        }
        if let Some(gap) = (0..numbers.len()).find(|number| !numbers.contains(number)) {
            return Err(
                self.wrong(HIDDEN, format!("the tables of a list are counted from 0 on, and .{gap} is missing"))
            );
        }
        let list = Place { entries, table: Rc::clone(&self.table), name: self.name.clone(), item: None, ..*self };
        let path = self.path().into();
        Ok(Some(numbers.into_iter().map(|number| list.child(&path, &number.to_string())).collect()))
    }

    /// The items of a list of texts. A text is one, split at commas and blanks, where `is_split`.
    fn items<'de, V: Visitor<'de>>(&self, is_split: bool, visitor: V) -> Result<V::Value, Error> {
        let items: Option<Vec<String>> = match self.given()? {
            None => Some(Vec::new()),
            Some(Given { text, other: None }) if is_split => {
                let items = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|item| !item.is_empty());
                Some(items.map(str::to_owned).collect())
            }
            Some(Given { other: None, .. }) => None,
            Some(Given { other: Some(value), .. }) => {
                value.as_array().and_then(|items| items.iter().map(|item| item.as_str().map(str::to_owned)).collect())
            }
        };
        let items = items.ok_or_else(|| self.wrong(HIDDEN, "expected a list of texts".to_owned()))?;
        self.note(&items.iter().map(String::as_str).collect::<Vec<_>>());
        let scope = Scope { notes: None, ..self.scope };
        let (table, name, entries) = (&self.table, &self.name, &self.entries);
        let places = items.into_iter().map(|item| Place {
            scope,
            table: Rc::clone(table),
            name: name.clone(),
            entries: entries.clone(),
            secrecy: self.secrecy,
            item: Some(item),
        });
        visitor.visit_seq(SeqDeserializer::new(places))
    }

    /// Hands the places in this table to a visitor, whether they are set or not.
    fn visit<'de, V: Visitor<'de>>(
        &self,
        names: impl Iterator<Item = impl AsRef<str>>,
        secrecy: Secrecy,
        visitor: V,
    ) -> Result<V::Value, Error> {
        let path = self.path().into();
        let places = names.map(|name| {
            let place = self.child(&path, name.as_ref()).with(secrecy);
            (name.as_ref().to_owned(), place)
        });
        visitor.visit_map(MapDeserializer::new(places))
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
        self.read(|_| false, |text| visitor.visit_enum(text.trim().into_deserializer()))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.given()?.is_none() {
            self.note(&[]);
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
        if let Some(tables) = self.tables()? {
            return visitor.visit_seq(SeqDeserializer::new(tables.into_iter()));
        }
        self.items(true, visitor)
    }

    /// A list that is written as one.
    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.items(false, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let names = self.names()?.map(|(_, name)| name.strip_suffix("_file").unwrap_or(name).to_ascii_lowercase());
        let names: BTreeSet<String> = names.collect();
        // Only the name can tell whether a value with a user-defined name is a secret.
        self.visit(names.into_iter(), Secrecy::Header, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let path = self.path();
        for (entry, name) in self.names()? {
            let (bare, file) = name.strip_suffix("_file").map_or((name, ""), |bare| (bare, "_file"));
            if fields.contains(&bare) || fields.contains(&name) || self.scope.is_refused(&path, name) {
                continue;
            }
            let hint = nearest(name, fields.iter().map(|field| format!("{field}{file}"))).unwrap_or_else(|| {
                let known: BTreeSet<&str> = fields.iter().copied().collect();
                format!("known here are {}", known.into_iter().collect::<Vec<_>>().join(", "))
            });
            return Err(self.child(&path.into(), name).unknown(&Entry { name, ..*entry }, hint));
        }
        self.visit(fields.iter(), Secrecy::Open, visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        tuple_struct identifier
    }
}

impl<'de> IntoDeserializer<'de, Error> for Place<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
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

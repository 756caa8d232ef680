//! Templates in the language of Jinja.
//!
//! What is written may be a shell script, the settings of a server or a message in JSON, and values come from web pages. So a
//! value is written without a filter only where all of its characters are harmless; every other value needs a filter that
//! quotes it.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::Arc;

use minijinja::value::{Object, ObjectRepr, Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The longest text that is written.
const MAX_BYTES: usize = 1 << 20;
/// How many instructions a template may run: some thousand turns of a loop.
const FUEL: u64 = 50_000;
/// What may stay in a URL besides letters and digits.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// What a value may hold, besides letters and digits, that is written without a filter.
const PLAIN: &[u8] = b"._~+/=%:@-";

/// The functions of every template.
const FUNCTIONS: [&str; 4] = ["debug", "dict", "namespace", "range"];

/// The text of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextTemplate(String);

/// Where a template is wrong, and why. Holds none of the values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {reason}")]
pub struct TemplateError {
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    reason: String,
}

/// A value that a filter has quoted.
#[derive(Debug)]
struct Quoted(String);

/// The reason of an error of ours; those of the library may hold values.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Reason(&'static str);

impl TextTemplate {
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Fails at a name that is none of `known`, even in a branch that no rendering has taken.
    pub fn check_names(&self, known: &[&str]) -> Result<(), TemplateError> {
        let environment = Environment::new();
        // What is no template is found where it is rendered.
        let Ok(template) = environment.template_from_str(&self.0) else { return Ok(()) };
        let names: BTreeSet<String> = template.undeclared_variables(false).into_iter().collect();
        let Some(name) = names.iter().find(|name| !known.iter().chain(&FUNCTIONS).any(|one| one == name)) else {
            return Ok(());
        };
        let before = self.0.find(name.as_str()).and_then(|at| self.0.get(..at)).unwrap_or_default();
        let (line, column) = (before.matches('\n').count() + 1, column_after(before));
        Err(TemplateError { line, column, reason: format!("{name}: it is not known") })
    }

    /// What it makes of these values. `Undefined` stands for one that is known and not there.
    pub fn render(&self, context: &Value) -> Result<String, TemplateError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_keep_trailing_newline(true);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_formatter(write_value);
        environment.set_fuel(Some(FUEL));
        environment.add_filter("json", |value: Value| quoted(&value, json));
        environment.add_filter("shell", |value: Value| quoted(&value, |value| shell(&text(value)?)));
        environment.add_filter("url", |value: Value| quoted(&value, |value| Ok(url(&text(value)?))));
        environment.add_filter("ini", |value: Value| quoted(&value, |value| ini(&text(value)?)));
        let mut written = Limited(Vec::new());
        let rendered = environment
            .template_from_str(&self.0)
            .and_then(|template| template.render_captured_to(context, &mut written).map(drop));
        rendered.map_err(|error| self.error(&error))?;
        // What is written into it is text.
        Ok(String::from_utf8_lossy(&written.0).into_owned())
    }

    fn error(&self, error: &Error) -> TemplateError {
        let span = error.range().filter(|span| self.0.get(span.clone()).is_some()).unwrap_or_default();
        let column = column_after(&self.0[..span.start]);
        let line = error.line().unwrap_or(1);
        let ours = std::iter::successors(std::error::Error::source(error), |error| error.source())
            .find_map(|error| error.downcast_ref::<Reason>());
        let mut reason = match (ours, error.kind(), error.detail()) {
            (Some(reason), ..) => reason.to_string(),
            // These are about the text of the template alone.
            (None, ErrorKind::SyntaxError | ErrorKind::UnknownFilter | ErrorKind::UnknownTest, Some(detail)) => {
                detail.to_owned()
            }
            (None, ErrorKind::UndefinedError, _) => "it is not known".to_owned(),
            (None, ErrorKind::OutOfFuel, _) => "it takes more than 50,000 steps".to_owned(),
            (None, ErrorKind::WriteFailure, _) => "it makes more than 1 MiB".to_owned(),
            (None, kind, _) => kind.to_string(),
        };
        let expression = self.0[span].trim();
        let is_about_a_value = ours.is_some() || error.kind() == ErrorKind::UndefinedError;
        if is_about_a_value && !expression.is_empty() && !expression.contains('\n') {
            reason = format!("{expression}: {reason}");
        }
        TemplateError { line, column, reason }
    }
}

/// The column of what follows, in characters from 1.
fn column_after(text: &str) -> usize {
    text.rsplit('\n').next().unwrap_or_default().chars().count() + 1
}

/// Writes a value that is quoted, or that needs no quotes.
fn write_value(output: &mut Output<'_>, _: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    if let Some(Quoted(text)) = value.downcast_object_ref() {
        return Ok(output.write_str(text)?);
    }
    let text = text(value)?;
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || PLAIN.contains(&b)) {
        return Err(ours(
            "it may hold more than letters, digits and ._~+/=%:@-, and needs a filter: json, shell, url or ini",
        ));
    }
    Ok(output.write_str(&text)?)
}

fn quoted(value: &Value, quote: impl Fn(&Value) -> Result<String, Error>) -> Result<Value, Error> {
    quote(value).map(|text| Value::from_object(Quoted(text)))
}

/// A text, or a number or a truth value as one.
fn text(value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::Undefined => Err(ErrorKind::UndefinedError.into()),
        ValueKind::String | ValueKind::Number | ValueKind::Bool => Ok(value.to_string()),
        _ if value.downcast_object_ref::<Quoted>().is_some() => Ok(value.to_string()),
        _ => Err(ours("it is no text: the filter json writes all of it")),
    }
}

fn json(value: &Value) -> Result<String, Error> {
    if value.is_undefined() {
        return Err(ErrorKind::UndefinedError.into());
    }
    serde_json::to_string(value).map_err(|_| ours("it has no form in JSON"))
}

/// A word of a POSIX shell.
fn shell(text: &str) -> Result<String, Error> {
    if text.contains('\0') {
        return Err(ours("no word of a shell holds a zero byte"));
    }
    Ok(format!("'{}'", text.replace('\'', r"'\''")))
}

fn url(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

/// A value in double quotes, as systemd, git and most readers of INI files take it.
fn ini(text: &str) -> Result<String, Error> {
    if text.contains(char::is_control) {
        return Err(ours("no value of an INI file holds a control character"));
    }
    Ok(format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\"")))
}

fn ours(reason: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason).with_source(Reason(reason))
}

impl Object for Quoted {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Fails where more is written than a file may hold.
struct Limited(Vec<u8>);

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

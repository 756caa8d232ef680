//! Templates of files that hold a token, in the language of Jinja.
//!
//! A file may be a shell script or the settings of a server, and cookies come from a web page. So a value is written without
//! a filter only where all of its characters are harmless; every other value needs a filter that quotes it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use minijinja::value::{Enumerator, Object, ObjectRepr, Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use token_sidecar_client::wire::{Product, SiteId};

use super::stored::StoredToken;

/// The longest file that is written.
const MAX_BYTES: usize = 1 << 20;
/// How many instructions a template may run: some thousand turns of a loop.
const FUEL: u64 = 50_000;
/// What may stay in a URL besides letters and digits.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// What a value may hold, besides letters and digits, that is written without a filter.
const PLAIN: &[u8] = b"._~+/=%:@-";

/// A template that was parsed, and rendered with sample values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileTemplate {
    text: String,
    product: Product,
}

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

/// A cookie of every name, for a template that is rendered before there are any.
#[derive(Debug)]
struct AnyCookie;

/// The reason of an error of ours; those of the library may hold values.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Reason(&'static str);

impl FileTemplate {
    /// Parses the template of a site with this product. Renders it too, with values like those to come, so that a wrong
    /// name is found now.
    pub fn parse(text: &str, product: Product) -> Result<Self, TemplateError> {
        let template = Self { text: text.to_owned(), product };
        template.sample()?;
        Ok(template)
    }

    /// What would be written, with `hidden` in place of all that is secret.
    pub fn sample(&self) -> Result<String, TemplateError> {
        // A user agent and a header of cookies need a filter with every token.
        self.render_with(&minijinja::context! {
            site => "site", token => self.token("hidden"), user_agent => "hidden (user agent)",
            cookies => Value::from_object(AnyCookie), cookie_header => "name=hidden; name=hidden",
            fingerprint => "0123456789abcdef", version => 1_u64, expires_at => "2030-01-01T00:00:00Z",
        })
    }

    /// The content of the file for a stored token.
    pub fn render(&self, site: &SiteId, stored: &StoredToken) -> Result<String, TemplateError> {
        let known = |value: Option<String>| value.map_or(Value::UNDEFINED, Value::from);
        self.render_with(&minijinja::context! {
            site => site.as_str(), token => self.token(stored.token.expose()),
            user_agent => known(stored.user_agent.clone()),
            cookies => stored.cookies.iter().collect::<BTreeMap<_, _>>(), cookie_header => stored.cookies.header(),
            fingerprint => stored.token.fingerprint().to_string(), version => stored.version,
            expires_at => known(stored.ends_at.map(|at| at.to_string())),
        })
    }

    /// There is none where the cookies are the product.
    fn token(&self, token: &str) -> Value {
        match self.product {
            Product::Token => token.into(),
            Product::Cookies => Value::UNDEFINED,
        }
    }

    fn render_with(&self, context: &Value) -> Result<String, TemplateError> {
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
            .template_from_str(&self.text)
            .and_then(|template| template.render_captured_to(context, &mut written).map(drop));
        rendered.map_err(|error| self.error(&error))?;
        // What is written into it is text.
        Ok(String::from_utf8_lossy(&written.0).into_owned())
    }

    fn error(&self, error: &Error) -> TemplateError {
        let span = error.range().filter(|span| self.text.get(span.clone()).is_some()).unwrap_or_default();
        let before = &self.text[..span.start];
        let line = error.line().unwrap_or(1);
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
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
        let expression = self.text[span].trim();
        let is_about_a_value = ours.is_some() || error.kind() == ErrorKind::UndefinedError;
        if is_about_a_value && !expression.is_empty() && !expression.contains('\n') {
            reason = format!("{expression}: {reason}");
        }
        TemplateError { line, column, reason }
    }
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

impl Object for AnyCookie {
    fn get_value(self: &Arc<Self>, _: &Value) -> Option<Value> {
        Some("hidden".into())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(&["name"])
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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use token_sidecar_client::wire::{Cookies, Token};

    use super::*;

    fn rendered(template: &str) -> Result<String, String> {
        let mut cookies = Cookies::default();
        cookies.insert("plain", "abc".to_owned());
        cookies.insert("odd", "a'b\"c\\ $(d);\u{e9}".to_owned());
        let stored = StoredToken {
            token: Token::parse("eyJ0.e-_x.s=").unwrap(),
            cookies,
            version: 17,
            user_agent: Some("Mozilla/5.0 (X11)".to_owned()),
            ends_at: None,
        };
        let rendered = FileTemplate::parse(template, Product::Token)
            .and_then(|template| template.render(&SiteId::parse("shop").unwrap(), &stored));
        rendered.map_err(|error| error.to_string())
    }

    #[test]
    fn values_are_written_as_they_are_or_quoted() {
        for (template, file) in [
            ("", ""),
            ("no values\n", "no values\n"),
            ("T={{ token }}\n", "T=eyJ0.e-_x.s=\n"),
            ("{{ site }} {{ version }} {{ fingerprint }} {{ cookies.plain }}", "shop 17 4ea49530c7dfafa8 abc"),
            ("{{ user_agent | shell }}", "'Mozilla/5.0 (X11)'"),
            ("{{ cookies.odd | shell }}", "'a'\\''b\"c\\ $(d);é'"),
            ("{{ cookies.odd | json }}", r#""a'b\"c\\ $(d);é""#),
            ("{{ cookies.odd | url }}", "a%27b%22c%5C%20%24%28d%29%3B%C3%A9"),
            ("{{ cookies.odd | ini }}", r#""a'b\"c\\ $(d);é""#),
            ("{{ cookies | json }}", r#"{"odd":"a'b\"c\\ $(d);é","plain":"abc"}"#),
            ("{{ cookie_header | shell }}", "'odd=a'\\''b\"c\\ $(d);é; plain=abc'"),
            ("{{ ('Bearer ' ~ token) | ini }}", "\"Bearer eyJ0.e-_x.s=\""),
            (
                "{% for name, value in cookies | items %}{{ name }}={{ value | url }}\n{% endfor %}",
                "odd=a%27b%22c%5C%20%24%28d%29%3B%C3%A9\nplain=abc\n",
            ),
            ("{{ expires_at | default('never') }}", "never"),
            ("{% if expires_at is defined %}{{ expires_at }}{% endif %}", ""),
            ("a\r\n{{ token }}\r\n", "a\r\neyJ0.e-_x.s=\r\n"),
            ("{# a remark #}{{ token | json }}", "\"eyJ0.e-_x.s=\""),
        ] {
            assert_eq!(rendered(template).as_deref(), Ok(file), "{template}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (template, error) in [
            ("a\n  {{ token", "line 2, column"),
            ("{{ tokn }}", "line 1, column 4: tokn: it is not known"),
            ("x\n{{ token | bas64 }}", "line 2, column 12: filter bas64 is unknown"),
            ("{% for x in %}", "line 1, column "),
            ("{{ cookies }}", "cookies: it is no text"),
            ("é {{ cookies.odd }}", "line 1, column 6: cookies.odd: it may hold more than letters"),
            ("{{ user_agent }}", "it may hold more"),
            ("{{ cookies.absent }}", "cookies.absent: it is not known"),
            ("{{ expires_at }}", "expires_at: it is not known"),
            ("{{ expires_at | shell }}", "it is not known"),
            ("{{ cookies.odd | safe }}", "it may hold more"),
            ("{% autoescape 'html' %}{{ cookies.odd | escape }}{% endautoescape %}", "it may hold more"),
            (
                "{% autoescape 'html' %}{% set x %}{{ cookies.odd | shell }}{% endset %}{{ x }}{% endautoescape %}",
                "it may hold more",
            ),
            ("{{ cookies.odd | shell | upper }}", "it may hold more"),
            ("{{ cookies.odd | shell ~ '' }}", "it may hold more"),
            (
                "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
                "it takes more than 50,000 steps",
            ),
            ("{% include 'other' %}", ""),
        ] {
            let refused = rendered(template).unwrap_err();
            assert!(refused.starts_with("line ") && refused.contains(error), "{template}: {refused}");
            assert!(!refused.contains("(d)") && !refused.contains("X11"), "{refused}");
        }
    }

    #[test]
    fn a_file_has_a_bound() {
        let long = "x".repeat(MAX_BYTES + 1);
        assert_eq!(rendered(&long).unwrap_err(), "line 1, column 1: it makes more than 1 MiB");
    }

    #[test]
    fn a_sample_has_no_secrets_and_every_cookie() {
        let text = "{{ token }} {{ cookies.any }} {{ cookie_header | shell }}";
        let template = FileTemplate::parse(text, Product::Token).unwrap();
        assert_eq!(template.sample().unwrap(), "hidden hidden 'name=hidden; name=hidden'");
        let refused = FileTemplate::parse(text, Product::Cookies).unwrap_err();
        assert_eq!(refused.to_string(), "line 1, column 4: token: it is not known");
    }
}

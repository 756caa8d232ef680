//! Addresses, headers and bodies that are made of other settings, and of what is stored:
//! `{api}/search?city={city_id}`, `Bearer {token}`.
//!
//! | placeholder | stands for |
//! | --- | --- |
//! | `{site}` | the site's id |
//! | `{api}` | `api_url` |
//! | `{api_parent}` | `api_url` without its last segment: `https://shop.test/api` for `https://shop.test/api/v2` |
//! | `{city_id}`, `{user_id}` | these settings, empty if not set |
//! | `{token}`, `{cookie:NAME}`, `{cookies}` | in the plain request alone: [what is stored](Stored) when it is sent |
//!
//! In an address the last two rows are percent-encoded. `{{` and `}}` are plain braces. In a body the last row alone
//! counts, and every other brace stands for itself: a body is full of them.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use super::value::{self, Parsed};

/// What the placeholders of a site stand for.
pub(super) struct Placeholders {
    pub(super) site: String,
    pub(super) api: Option<String>,
    pub(super) city_id: Option<String>,
    pub(super) user_id: Option<String>,
}

#[derive(Clone, Copy)]
enum Target {
    Address,
    Header,
}

/// A text with places for what is stored, which are filled in when it is needed.
#[derive(Clone, Default)]
pub struct Template(Vec<Part>);

#[derive(Clone)]
enum Part {
    Text(String),
    Stored(Stored),
}

/// What a plain request may take from what is stored. It is shown as its placeholder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    Token,
    /// All cookies, as the header `Cookie` has them.
    Cookies,
    /// The raw value of one cookie.
    Cookie(String),
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token => f.write_str("{token}"),
            Self::Cookies => f.write_str("{cookies}"),
            Self::Cookie(name) => write!(f, "{{cookie:{name}}}"),
        }
    }
}

impl Stored {
    /// Reads what stands between the braces.
    fn parse(inner: &str) -> Option<Self> {
        match inner {
            "token" => Some(Self::Token),
            "cookies" => Some(Self::Cookies),
            _ => {
                let name = inner.strip_prefix("cookie:")?;
                value::name(name).ok().map(Self::Cookie)
            }
        }
    }
}

/// A text such as a body, in which no braces count but those of [`Stored`].
impl From<&str> for Template {
    fn from(text: &str) -> Self {
        let mut template = Self::default();
        let mut rest = text;
        while let Some((before, inner)) = rest.split_once('{') {
            template.push(before);
            let stored = inner.split_once('}').and_then(|(inner, tail)| Some((Stored::parse(inner)?, tail)));
            if let Some((stored, tail)) = stored {
                template.0.push(Part::Stored(stored));
                rest = tail;
            } else {
                template.push("{");
                rest = inner;
            }
        }
        template.push(rest);
        template
    }
}

impl Template {
    /// The text with these values in place of what is stored.
    pub fn fill<E>(&self, mut value: impl FnMut(&Stored) -> Result<String, E>) -> Result<String, E> {
        let parts = self.0.iter().map(|part| match part {
            Part::Text(text) => Ok(Cow::Borrowed(text.as_str())),
            Part::Stored(stored) => value(stored).map(Cow::Owned),
        });
        parts.collect()
    }

    /// The text with each placeholder in its own place, to be checked before anything is stored.
    pub(super) fn sample(&self, shown: impl Fn(&Stored) -> String) -> String {
        self.fill(|stored| Ok::<_, Infallible>(shown(stored))).unwrap_or_else(|never| match never {})
    }

    /// A text without placeholders.
    pub fn text(text: &str) -> Self {
        Self(vec![Part::Text(text.to_owned())])
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|part| matches!(part, Part::Text(text) if text.is_empty()))
    }

    /// Whether something of what is stored is filled in.
    pub fn uses_stored(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Stored(_)))
    }

    /// The text before the first place for what is stored.
    fn head(&self) -> &str {
        match self.0.first() {
            Some(Part::Text(text)) => text,
            _ => "",
        }
    }

    fn push(&mut self, text: &str) {
        match self.0.last_mut() {
            Some(Part::Text(last)) => last.push_str(text),
            _ if text.is_empty() => {}
            _ => self.0.push(Part::Text(text.to_owned())),
        }
    }
}

impl Placeholders {
    /// Fills in an address.
    pub(super) fn address(&self, template: &str) -> Parsed<Url> {
        value::address(&self.fill(template, Target::Address)?)
    }

    /// Fills in the value of a header.
    pub(super) fn header(&self, template: &str) -> Parsed<String> {
        self.fill(template, Target::Header)
    }

    /// Fills in an address, but for what is stored. Beside it, the same address with placeholders in these places.
    pub(super) fn address_for_stored(&self, template: &str) -> Parsed<(Template, Url)> {
        let template = self.parse(template.trim(), Target::Address, true)?;
        let address = value::address(&template.sample(|stored| percent_encoded(&stored.to_string())))?;
        let stays = || Url::parse(template.head()).is_ok_and(|head| head.origin() == address.origin());
        if template.uses_stored() && !stays() {
            return Err("what is stored can stand in the path and the query alone".to_owned());
        }
        Ok((template, address))
    }

    /// Fills in the value of a header, but for what is stored.
    pub(super) fn header_for_stored(&self, template: &str) -> Parsed<Template> {
        let template = self.parse(template.trim(), Target::Header, true)?;
        value::header(&template.sample(Stored::to_string)).map(|_| template)
    }

    fn fill(&self, template: &str, target: Target) -> Parsed<String> {
        Ok(self.parse(template, target, false)?.sample(Stored::to_string))
    }

    /// Reads a template. `stored` says whether it may have what is stored.
    fn parse(&self, template: &str, target: Target, stored: bool) -> Parsed<Template> {
        let mut filled = Template::default();
        let mut rest = template;
        while let Some(at) = rest.find(['{', '}']) {
            filled.push(&rest[..at]);
            let brace = &rest[at..];
            if brace.starts_with("{{") || brace.starts_with("}}") {
                filled.push(&brace[..1]);
                rest = &brace[2..];
                continue;
            }
            let Some((name, tail)) = brace.strip_prefix('{').and_then(|inner| inner.split_once('}')) else {
                return Err("a brace without its other half; `{{` and `}}` are plain braces".to_owned());
            };
            match Stored::parse(name).filter(|_| stored) {
                Some(stored) => filled.0.push(Part::Stored(stored)),
                None => filled.push(&self.value_of(name, target, stored)?),
            }
            rest = tail;
        }
        filled.push(rest);
        Ok(filled)
    }

    fn value_of(&self, name: &str, target: Target, stored: bool) -> Parsed<Cow<'_, str>> {
        let given = |value: &Option<String>| -> Cow<'static, str> {
            let value = value.clone().unwrap_or_default();
            match target {
                Target::Address => percent_encoded(&value).into(),
                Target::Header => value.into(),
            }
        };
        let api = || self.api.as_deref().ok_or_else(|| format!("{{{name}}} stands for `api_url`, which is not set"));
        match name {
            "site" => Ok(Cow::Borrowed(&self.site)),
            "api" => api().map(Cow::Borrowed),
            "api_parent" => api().map(|api| Cow::Borrowed(parent(api))),
            "city_id" => Ok(given(&self.city_id)),
            "user_id" => Ok(given(&self.user_id)),
            _ => {
                let more = if stored { ", {token}, {cookie:NAME}, {cookies}" } else { "" };
                let known = "{api}, {api_parent}, {city_id}, {user_id}, {site}";
                Err(format!("unknown placeholder {{{name}}}: known are {known}{more}"))
            }
        }
    }
}

/// As an address and a form have it.
pub fn percent_encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// An address without the last segment of its path.
fn parent(address: &str) -> &str {
    let host = address.find("://").map_or(0, |at| at + 3);
    address[host..].rfind('/').map_or(address, |at| &address[..host + at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placeholders() -> Placeholders {
        Placeholders {
            site: "shop".to_owned(),
            api: Some("https://shop.test/api/v2".to_owned()),
            city_id: Some("39 & more".to_owned()),
            user_id: None,
        }
    }

    #[test]
    fn placeholders_are_filled_in() {
        for (template, address) in [
            ("https://x.test/", "https://x.test/"),
            ("{api}/search?city={city_id}", "https://shop.test/api/v2/search?city=39%20%26%20more"),
            ("{api_parent}/v1/auth", "https://shop.test/api/v1/auth"),
            ("{api}/{{{site}}}?user={user_id}", "https://shop.test/api/v2/{shop}?user="),
        ] {
            assert_eq!(placeholders().fill(template, Target::Address).as_deref(), Ok(address));
        }
        assert_eq!(placeholders().header("city {city_id}").as_deref(), Ok("city 39 & more"));
    }

    #[test]
    fn what_cannot_be_filled_in_is_an_error() {
        let without_api = Placeholders { api: None, ..placeholders() };
        for (placeholders, template, reason) in [
            (&placeholders(), "{apj}", "unknown placeholder {apj}"),
            (&placeholders(), "{token}", "unknown placeholder {token}: known are {api}, {api_parent}, {city_id}, "),
            (&placeholders(), "{api", "a brace without its other half"),
            (&placeholders(), "api}", "a brace without its other half"),
            (&without_api, "{api_parent}", "{api_parent} stands for `api_url`, which is not set"),
        ] {
            let error = placeholders.address(template).err().unwrap_or_default();
            assert!(error.starts_with(reason), "{error}");
        }
    }

    /// With `<…>` for what is stored.
    fn shown(template: &Template) -> String {
        template.sample(|stored| format!("<{stored}>"))
    }

    #[test]
    fn what_is_stored_is_left_open() {
        let placeholders = placeholders();
        let address = placeholders.address_for_stored("{api}/{token}/renew?{{x}}={cookie:a-b}");
        let address = address.map(|(template, page)| (shown(&template), String::from(page)));
        let page = "https://shop.test/api/v2/%7Btoken%7D/renew?{x}=%7Bcookie%3Aa%2Db%7D";
        let template = "https://shop.test/api/v2/<{token}>/renew?{x}=<{cookie:a-b}>";
        assert_eq!(address, Ok((template.to_owned(), page.to_owned())));
        let header = placeholders.header_for_stored(" {site} {cookies} ").map(|template| shown(&template));
        assert_eq!(header.as_deref(), Ok("shop <{cookies}>"));
        for (body, template) in [
            (r#"{"a":{"refresh":"{cookie:r}"}}"#, r#"{"a":{"refresh":"<{cookie:r}>"}}"#),
            ("{}{{token}}{cookie:}{cookie:a b}{api}{ token }{", "{}{<{token}>}{cookie:}{cookie:a b}{api}{ token }{"),
        ] {
            assert_eq!(shown(&Template::from(body)), template);
        }
    }

    #[test]
    fn what_is_stored_chooses_no_server() {
        for address in [
            "https://{token}/",
            "{token}",
            "https://shop.test{token}/",
            "https://shop.test:{token}/",
            "{cookies}@x.test",
        ] {
            assert!(placeholders().address_for_stored(address).is_err(), "{address}");
        }
        assert!(placeholders().address_for_stored("https://shop.test?{token}").is_ok());
        let error = placeholders().header_for_stored("{tokens}").err().unwrap_or_default();
        assert!(error.ends_with("{site}, {token}, {cookie:NAME}, {cookies}"), "{error}");
    }

    #[test]
    fn an_address_without_a_path_is_its_own_parent() {
        assert_eq!(parent("http://127.0.0.1:9000"), "http://127.0.0.1:9000");
        assert_eq!(parent("http://127.0.0.1:9000/v2"), "http://127.0.0.1:9000");
    }
}

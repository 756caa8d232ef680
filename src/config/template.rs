//! Addresses and headers that are made of other settings: `{api}/search?city={city_id}`.
//!
//! | placeholder | stands for |
//! | --- | --- |
//! | `{site}` | the site's id |
//! | `{api}` | `api_url` |
//! | `{api_parent}` | `api_url` without its last segment: `https://shop.test/api` for `https://shop.test/api/v2` |
//! | `{city_id}`, `{user_id}` | these settings, empty if not set |
//!
//! In an address the last two are percent-encoded. `{{` and `}}` are plain braces.

use std::borrow::Cow;

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

impl Placeholders {
    /// Fills in an address.
    pub(super) fn address(&self, template: &str) -> Parsed<Url> {
        value::address(&self.fill(template, Target::Address)?)
    }

    /// Fills in the value of a header.
    pub(super) fn header(&self, template: &str) -> Parsed<String> {
        self.fill(template, Target::Header)
    }

    fn fill(&self, template: &str, target: Target) -> Parsed<String> {
        let mut filled = String::new();
        let mut rest = template;
        while let Some(at) = rest.find(['{', '}']) {
            filled.push_str(&rest[..at]);
            let brace = &rest[at..];
            if brace.starts_with("{{") || brace.starts_with("}}") {
                filled.push_str(&brace[..1]);
                rest = &brace[2..];
                continue;
            }
            let Some((name, tail)) = brace.strip_prefix('{').and_then(|inner| inner.split_once('}')) else {
                return Err("a brace without its other half; `{{` and `}}` are plain braces".to_owned());
            };
            filled.push_str(&self.value_of(name, target)?);
            rest = tail;
        }
        filled.push_str(rest);
        Ok(filled)
    }

    fn value_of(&self, name: &str, target: Target) -> Parsed<Cow<'_, str>> {
        let given = |value: &Option<String>| -> Cow<'static, str> {
            let value = value.clone().unwrap_or_default();
            match target {
                Target::Address => utf8_percent_encode(&value, NON_ALPHANUMERIC).to_string().into(),
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
            _ => Err(format!(
                "unknown placeholder {{{name}}}: known are {{api}}, {{api_parent}}, {{city_id}}, {{user_id}}, {{site}}"
            )),
        }
    }
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
            (&placeholders(), "{api", "a brace without its other half"),
            (&placeholders(), "api}", "a brace without its other half"),
            (&without_api, "{api_parent}", "{api_parent} stands for `api_url`, which is not set"),
        ] {
            let error = placeholders.address(template).err().unwrap_or_default();
            assert!(error.starts_with(reason), "{error}");
        }
    }

    #[test]
    fn an_address_without_a_path_is_its_own_parent() {
        assert_eq!(parent("http://127.0.0.1:9000"), "http://127.0.0.1:9000");
        assert_eq!(parent("http://127.0.0.1:9000/v2"), "http://127.0.0.1:9000");
    }
}

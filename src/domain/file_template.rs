//! Templates of files that hold a token.

use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::value::{Enumerator, Object, Value};
use token_sidecar_client::wire::{Product, SiteId};

use super::stored::StoredToken;
use super::template::{TemplateError, TextTemplate};

/// A template that was parsed, and rendered with sample values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileTemplate {
    template: TextTemplate,
    product: Product,
}

/// The values of a template.
const NAMES: [&str; 8] =
    ["cookie_header", "cookies", "expires_at", "fingerprint", "site", "token", "user_agent", "version"];

/// A cookie of every name, for a template that is rendered before there are any.
#[derive(Debug)]
struct AnyCookie;

impl FileTemplate {
    /// Parses the template of a site with this product. Renders it too, with values like those to come, so that a wrong
    /// name is found now.
    pub fn parse(text: &str, product: Product) -> Result<Self, TemplateError> {
        let template = Self { template: TextTemplate::new(text), product };
        template.sample("site")?;
        template.template.check_names(&NAMES)?;
        Ok(template)
    }

    /// What would be written for a site, with `hidden` in place of all that is secret.
    pub fn sample(&self, site: &str) -> Result<String, TemplateError> {
        // A user agent and a header of cookies need a filter with every token.
        self.template.render(&minijinja::context! {
            site, token => self.token("hidden"), user_agent => "hidden (user agent)",
            cookies => Value::from_object(AnyCookie), cookie_header => "name=hidden; name=hidden",
            fingerprint => "0123456789abcdef", version => 1_u64, expires_at => "2030-01-01T00:00:00Z",
        })
    }

    /// The content of the file for a stored token.
    pub fn render(&self, site: &SiteId, stored: &StoredToken) -> Result<String, TemplateError> {
        let known = |value: Option<String>| value.map_or(Value::UNDEFINED, Value::from);
        self.template.render(&minijinja::context! {
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
}

impl Object for AnyCookie {
    fn get_value(self: &Arc<Self>, _: &Value) -> Option<Value> {
        Some("hidden".into())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(&["name"])
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
            ("{% set x = 1 %}{% for i in range(2) %}{{ loop.index + x }}{% endfor %}", "23"),
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
            ("{% if version > 99 %}\n{{ tokn }}{% endif %}", "line 2, column 4: tokn: it is not known"),
        ] {
            let refused = rendered(template).unwrap_err();
            assert!(refused.starts_with("line ") && refused.contains(error), "{template}: {refused}");
            assert!(!refused.contains("(d)") && !refused.contains("X11"), "{refused}");
        }
    }

    #[test]
    fn a_file_has_a_bound() {
        let long = "x".repeat((1 << 20) + 1);
        assert_eq!(rendered(&long).unwrap_err(), "line 1, column 1: it makes more than 1 MiB");
    }

    #[test]
    fn a_sample_has_no_secrets_and_every_cookie() {
        let text = "{{ token }} {{ cookies.any }} {{ cookie_header | shell }}";
        let template = FileTemplate::parse(text, Product::Token).unwrap();
        assert_eq!(template.sample("shop").unwrap(), "hidden hidden 'name=hidden; name=hidden'");
        let refused = FileTemplate::parse(text, Product::Cookies).unwrap_err();
        assert_eq!(refused.to_string(), "line 1, column 4: token: it is not known");
    }
}

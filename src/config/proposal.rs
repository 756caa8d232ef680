//! The table of a site that `inspect` writes.

use std::time::Duration;

use token_sidecar_client::excerpt::is_hidden;
use token_sidecar_client::wire::SiteId;
use url::Url;

use crate::domain::duration;
use crate::domain::inspection::{Item, Kind, is_cookie_name};

/// The cookie of a token that the page has elsewhere.
const COOKIE: &str = "access-token";

/// A site by what was seen of its page.
pub struct Proposal<'a> {
    pub id: &'a SiteId,
    pub page: &'a Url,
    /// Where tokens were tried.
    pub api: Option<&'a Url>,
    /// What has opened the page.
    pub source: &'a str,
    /// How long that waited for what comes late.
    pub wait: Option<Duration>,
    pub is_by_proxy: bool,
    /// `None`: the cookies are the product.
    pub token: Option<&'a Item>,
}

impl Proposal<'_> {
    /// The table as TOML, with what each key means.
    pub fn toml(&self) -> String {
        let id = self.id;
        let mut lines = vec![
            "# A site by what `token-sidecar inspect` has seen. Name this file with --config, or".to_owned(),
            format!("# add the table to yours. `token-sidecar doctor --site {id}` says whether it works."),
            String::new(),
            format!("[sites.{id}]"),
        ];
        let mut add = |comment: &str, key: &str, value: String| {
            lines.extend([format!("# {comment}"), format!("{key} = {value}")]);
        };
        add("The page that is opened.", "page_url", quoted(self.page.as_str()));
        let source = match self.token {
            // Nothing else sees these places.
            Some(item) if item.kind != Kind::Cookie => "browser",
            _ => self.source,
        };
        add("What opens it.", "sources", format!("[{}]", quoted(source)));
        match self.token {
            None => {
                add("The API goes by the cookies: they are what parsers read.", "product", quoted("cookies"));
                add("Those that must be there; without any, every jar counts.", "cookies", "[]".to_owned());
            }
            Some(item) => {
                let is_cookie = item.kind == Kind::Cookie;
                let comment = match is_cookie {
                    true => "The cookie that holds the token.",
                    false => "The cookie that parsers find the token in, beside its key.",
                };
                let name =
                    if is_cookie || is_cookie_name(&item.name) && item.to.is_none() { &item.name } else { COOKIE };
                add(comment, "cookie", quoted(name));
                if item.has_scheme && is_cookie {
                    add("What stands before the token in it.", "cookie_prefix", quoted("Bearer "));
                }
                if item.token.as_ref().is_some_and(|token| !token.is_b64token()) {
                    add("The token is no b64token of RFC 6750.", "token_charset", quoted("visible"));
                }
                if let Some(place) = place(item) {
                    add("Where the page has the token.", "browser.token", quoted(&place));
                }
            }
        }
        if source == "http" {
            add("What is requested for its cookies.", "http.url", quoted(&escaped(self.page.as_str())));
        }
        if let Some(wait) = self.wait.filter(|_| source == self.source && source != "http") {
            add("For what comes late.", &format!("{source}.wait"), quoted(&duration::text(wait)));
        }
        // The header is read from requests there.
        let sent_to = self.token.and_then(|item| item.to.as_ref());
        if let Some(api) = self.api.or(sent_to) {
            let mut base = api.clone();
            // It may have a key in it.
            base.set_query(None);
            base.set_fragment(None);
            let (how, probe) = match self.api {
                Some(api) => ("How a token is proved: a GET that is answered 401 with a wrong one.", api),
                None => ("The page sends the token there; name a GET that is answered 401 with a wrong one.", &base),
            };
            add(
                "The API. Shorten it to what all of its addresses begin with.",
                "api_url",
                quoted(base.as_str().trim_end_matches('/')),
            );
            add(how, "probe.url", quoted(&escaped(probe.as_str())));
        }
        if self.api.is_none() {
            add(
                "No API was tried, so that nothing is proved. Remove it once `probe.url` is known.",
                "verify",
                quoted("off"),
            );
        }
        if self.is_by_proxy {
            lines.push("# The page was opened through a proxy, which this site needs too.".to_owned());
            lines.push(format!("# proxy.url_file = \"/run/secrets/{id}-proxy\""));
        }
        lines.push(String::new());
        lines.join("\n")
    }
}

/// The setting `browser.token`, but for a cookie.
fn place(item: &Item) -> Option<String> {
    let pointer = item.pointer.as_deref().map(|pointer| format!("#{pointer}")).unwrap_or_default();
    match item.kind {
        Kind::Cookie => None,
        Kind::Local => Some(format!("local:{}{pointer}", item.name)),
        Kind::Session => Some(format!("session:{}{pointer}", item.name)),
        Kind::Header => Some(format!("request:{}", item.name)),
    }
}

/// With braces that are no placeholders.
fn escaped(address: &str) -> String {
    address.replace('{', "{{").replace('}', "}}")
}

/// A basic string of TOML. What a terminal would not show is escaped.
fn quoted(text: &str) -> String {
    let escaped = text.chars().map(|c| match c {
        '"' | '\\' => format!("\\{c}"),
        c if is_hidden(c) => format!("\\U{:08X}", u32::from(c)),
        c => c.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

#[cfg(test)]
#[expect(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use jiff::Timestamp;

    use super::super::fixture::Given;
    use super::super::{BrowserPlace, SiteConfig, SourceConfig, StorageItem};
    use super::*;
    use crate::domain::extract::{Cookie, RawToken, Solution};
    use crate::domain::inspection::{PageContent, Seen, items};
    use crate::domain::product::ProductRule;
    use crate::domain::site::Verify;

    const OPAQUE: &str = "a8f1Zq09KdUv72mNc5Te";
    const PAGE: &str = "https://www.shop.test/{a}?b={c}";

    fn item(kind: Kind, name: &str, value: &str, to: Option<&str>) -> Item {
        let (url, value) = (|text: &str| Url::parse(text).unwrap(), value.to_owned());
        let mut content = PageContent::default();
        if kind == Kind::Cookie {
            let (name, domain, path) = (name.to_owned(), "www.shop.test".to_owned(), "/".to_owned());
            content.solution = Solution {
                cookies: vec![Cookie { name, value, domain, path, expires_at: None }],
                ..Solution::default()
            };
        } else {
            content.seen = vec![Seen { kind, name: name.to_owned(), value: RawToken(value), to: to.map(url) }];
        }
        items(&content, &url(PAGE), None, Timestamp::UNIX_EPOCH).remove(0)
    }

    /// The site as the written table has it, and the table.
    fn loaded(token: Option<&Item>, api: Option<&str>, source: &str) -> (SiteConfig, String) {
        let (id, page) = (SiteId::parse("shop-2").unwrap(), Url::parse(PAGE).unwrap());
        let api = api.map(|api| Url::parse(api).unwrap());
        let wait = Some(Duration::from_secs(5));
        let proposal = Proposal { id: &id, page: &page, api: api.as_ref(), source, wait, is_by_proxy: true, token };
        let text = proposal.toml();
        let given = Given::nothing().toml(&format!("sites.chitai_gorod.enabled = false\n{text}"));
        let loaded = given.loaded();
        assert_eq!(loaded.warnings, Vec::<String>::new());
        let [site] = loaded.config.sites.try_into().unwrap_or_else(|_| panic!("one site"));
        assert_eq!((site.id.as_str(), site.page.as_str()), ("shop-2", page.as_str()), "{text}");
        assert!(!text.contains(OPAQUE), "{text}");
        (site, text)
    }

    #[test]
    fn the_table_of_a_cookie_loads_as_it_was_seen() {
        let cookie = item(Kind::Cookie, "auth", &format!("Bearer%20{OPAQUE}"), None);
        let (site, _) = loaded(Some(&cookie), Some("https://api.shop.test/v2/?q={x}#y"), "flaresolverr");
        let ProductRule::Token(rule) = &site.product else { panic!("a token") };
        assert_eq!((rule.name.as_str(), rule.prefix.as_str()), ("auth", "Bearer "));
        assert_eq!(site.api.unwrap().as_str(), "https://api.shop.test/v2");
        assert_eq!(site.probe.url.unwrap().as_str(), "https://api.shop.test/v2/?q={x}#y");
        assert_eq!(site.policy.verify, Verify::Strict);
        let [SourceConfig::Flaresolverr(solver)] = &site.sources[..] else { panic!("a solver") };
        assert_eq!(solver.wait, Some(Duration::from_secs(5)));
        let odd = item(Kind::Cookie, "auth", &format!("12|{OPAQUE}"), None);
        let (site, text) = loaded(Some(&odd), None, "http");
        assert!(text.contains("token_charset = \"visible\""), "{text}");
        assert_eq!(site.policy.verify, Verify::Off);
        let [SourceConfig::Http(http)] = &site.sources[..] else { panic!("a request") };
        assert_eq!(http.page.as_str(), Url::parse(PAGE).unwrap().as_str());
    }

    #[test]
    fn the_table_of_another_place_loads_with_the_browser() {
        let in_json = format!(r#"{{"a \" \\ b":{{"\u202e":"{OPAQUE}"}}}}"#);
        let stored =
            |key: &str, pointer: Option<&str>| StorageItem { key: key.to_owned(), pointer: pointer.map(str::to_owned) };
        for (kind, name, value, to, place, cookie) in [
            (Kind::Local, "auth", OPAQUE, None, BrowserPlace::Local(stored("auth", None)), "auth"),
            (
                Kind::Session,
                "a b\n\u{202e}",
                in_json.as_str(),
                None,
                BrowserPlace::Session(stored("a b\n\u{202e}", Some("/a \" \\ b/\u{202e}"))),
                COOKIE,
            ),
            (
                Kind::Header,
                "x-auth",
                OPAQUE,
                Some("https://api.shop.test/v2?x=1"),
                BrowserPlace::Request("x-auth".parse().unwrap()),
                COOKIE,
            ),
        ] {
            let item = item(kind, name, value, to);
            for api in [None, Some("https://api.shop.test/me")] {
                let (site, text) = loaded(Some(&item), api, "browser");
                let [SourceConfig::Browser(browser)] = &site.sources[..] else { panic!("a browser: {text}") };
                assert_eq!(browser.token, place, "{text}");
                let ProductRule::Token(rule) = &site.product else { panic!("a token") };
                assert_eq!(rule.name, cookie);
                assert!(!text.contains('\u{202e}'), "{text}");
            }
        }
    }

    #[test]
    fn the_table_of_cookies_loads() {
        let (site, _) = loaded(None, Some("https://api.shop.test/"), "browser");
        assert_eq!(site.product, ProductRule::Cookies(vec![]));
        assert_eq!(site.probe.url.unwrap().as_str(), "https://api.shop.test/");
    }
}

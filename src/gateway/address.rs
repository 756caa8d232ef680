//! From the target of a request to an address of the API, which never leaves the site's `api_url`.

use axum::http::{Method, Uri};
use percent_encoding::percent_decode;
use url::Url;

/// How often a path is decoded to see what is in it, once more than it may be encoded.
const LAYERS: usize = 3;

/// What a target names: `/site` + `rest` + `?query`.
#[derive(Debug, PartialEq, Eq)]
pub struct Target<'a> {
    pub site: &'a str,
    /// Empty, or begins with a slash.
    rest: &'a str,
    query: Option<&'a str>,
}

/// Why no address is made of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the gateway is no proxy: ask it for /SITE/path")]
    Form,
    #[error("TRACE is refused: its answer would repeat the token")]
    Trace,
    #[error("a path that has `//`, or begins with it once decoded, is refused")]
    Slashes,
    #[error("a path with a backslash or a control character is refused, encoded ones too")]
    Characters,
    #[error("a path with `.` or `..` is refused, encoded ones too")]
    Dots,
    #[error("a path that is percent-encoded more than twice is refused")]
    Encoded,
    #[error("the path does not lead below the site's api_url")]
    Outside,
}

impl<'a> Target<'a> {
    pub fn of(method: &Method, uri: &'a Uri) -> Result<Self, Refusal> {
        let path = uri.path();
        let is_origin_form = uri.scheme().is_none() && uri.authority().is_none() && path.starts_with('/');
        if !is_origin_form || method == Method::CONNECT {
            return Err(Refusal::Form);
        }
        // No credentials are sent with it (RFC 9110, section 9.3.8).
        if method == Method::TRACE {
            return Err(Refusal::Trace);
        }
        if path.contains("//") {
            return Err(Refusal::Slashes);
        }
        let below = &path[1..];
        let (site, rest) = below.find('/').map_or((below, ""), |at| below.split_at(at));
        check(site)?;
        check(rest)?;
        Ok(Self { site, rest, query: uri.query() })
    }

    /// The address of the API, as the URL standard writes it.
    pub fn below(&self, api: &Url) -> Result<Url, Refusal> {
        let mut url = api.clone();
        url.set_path(&format!("{}{}", api.path().trim_end_matches('/'), self.rest));
        url.set_query(self.query);
        if rest_below(api, &url).is_none() { Err(Refusal::Outside) } else { Ok(url) }
    }
}

/// The gateway's own path for an address below `api`, with query and fragment; `None` for any other address.
pub fn local(site: &str, api: &Url, url: &Url) -> Option<String> {
    let mut local = format!("/{site}{}", rest_below(api, url)?);
    for (sign, part) in [('?', url.query()), ('#', url.fragment())] {
        if let Some(part) = part {
            local.push(sign);
            local.push_str(part);
        }
    }
    Some(local)
}

/// The path of `url` below that of `api`: empty, or with a slash at its beginning.
fn rest_below<'a>(api: &Url, url: &'a Url) -> Option<&'a str> {
    let is_same_place = url.scheme() == api.scheme()
        && url.host() == api.host()
        && url.port_or_known_default() == api.port_or_known_default()
        && url.username().is_empty()
        && url.password().is_none();
    let rest = url.path().strip_prefix(api.path().trim_end_matches('/')).filter(|_| is_same_place)?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

/// Servers decode a path once or twice before they resolve its dots; some take a backslash for a slash, and what follows
/// a semicolon for a parameter.
///
/// An address that is one segment, `https%3A%2F%2Fother.test%2F`, passes: two slashes leave no prefix, however often they
/// are decoded. At the beginning they are refused: a server that makes an address of the decoded path takes
/// `//other.test/` for another host.
fn check(path: &str) -> Result<(), Refusal> {
    let mut path = path.as_bytes().to_vec();
    for _ in 0..LAYERS {
        if path.iter().any(|byte| byte.is_ascii_control() || *byte == b'\\') {
            return Err(Refusal::Characters);
        }
        if path.starts_with(b"//") {
            return Err(Refusal::Slashes);
        }
        let mut names =
            path.split(|byte| *byte == b'/').filter_map(|segment| segment.split(|byte| *byte == b';').next());
        if names.any(|name| matches!(name, b"." | b"..")) {
            return Err(Refusal::Dots);
        }
        let decoded: Vec<u8> = percent_decode(&path).collect();
        if decoded == path {
            return Ok(());
        }
        path = decoded;
    }
    Err(Refusal::Encoded)
}

#[cfg(test)]
mod law;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn api() -> Url {
        Url::parse("https://api.shop.test/web/api/v2").unwrap()
    }

    fn mapped(target: &str) -> Result<String, Refusal> {
        let uri = target.parse::<Uri>().map_err(|_| Refusal::Form)?;
        let target = Target::of(&Method::GET, &uri)?;
        assert_eq!(target.site, "shop");
        target.below(&api()).map(String::from)
    }

    #[test]
    fn a_target_is_mapped_below_the_api() {
        for (target, rest) in [
            ("/shop", ""),
            ("/shop/", "/"),
            ("/shop?a=1", "?a=1"),
            ("/shop/search/product?phrase=redis&page[]=1", "/search/product?phrase=redis&page[]=1"),
            ("/shop/a%2Fb/c%20d/100%25", "/a%2Fb/c%20d/100%25"),
            ("/shop/%D1%81", "/%D1%81"),
            ("/shop/a.b/..c/...", "/a.b/..c/..."),
            ("/shop/x?next=https://evil.test/../..//", "/x?next=https://evil.test/../..//"),
            ("/shop/user@evil.test:80", "/user@evil.test:80"),
            ("/shop/redirect/https%3A%2F%2Fother.test%2F", "/redirect/https%3A%2F%2Fother.test%2F"),
            ("/shop/redirect/https%253A%252f%252fother.test", "/redirect/https%253A%252f%252fother.test"),
            ("/shop/a?", "/a?"),
        ] {
            assert_eq!(mapped(target), Ok(format!("https://api.shop.test/web/api/v2{rest}")), "{target}");
        }
    }

    #[test]
    fn what_leaves_the_prefix_is_refused() {
        for (target, refusal) in [
            ("/shop/..", Refusal::Dots),
            ("/shop/../admin", Refusal::Dots),
            ("/shop/./a", Refusal::Dots),
            ("/../shop", Refusal::Dots),
            ("/shop/%2e%2e/admin", Refusal::Dots),
            ("/shop/.%2E/admin", Refusal::Dots),
            ("/shop/%2e", Refusal::Dots),
            ("/shop/a%2f..%2fb", Refusal::Dots),
            ("/shop/%252e%252e/admin", Refusal::Dots),
            ("/shop/%25252525252e/admin", Refusal::Encoded),
            ("/shop/..;/admin", Refusal::Dots),
            ("/shop/..;x=1/admin", Refusal::Dots),
            ("/shop/https%3A%2F%2Fother.test%2F..%2Fadmin", Refusal::Dots),
            ("/shop/https%253A%252F%252F%252E%252e%252fadmin", Refusal::Dots),
            ("/shop//evil.test/", Refusal::Slashes),
            ("//shop/a", Refusal::Slashes),
            ("/shop/https://other.test/", Refusal::Slashes),
            ("/shop/%2fevil.test/", Refusal::Slashes),
            ("/shop/%2F%2fevil.test/", Refusal::Slashes),
            ("/shop/%252fevil.test/", Refusal::Slashes),
            ("/shop/a%25252f%25252fb", Refusal::Encoded),
            ("/shop/..%5cadmin", Refusal::Characters),
            ("/shop/%5c", Refusal::Characters),
            ("/shop/a%00b", Refusal::Characters),
            ("/shop/a%0d%0aHost:%20evil", Refusal::Characters),
            ("http://evil.test/shop/a", Refusal::Form),
            ("https://api.shop.test/web/api/v2", Refusal::Form),
            ("evil.test:443", Refusal::Form),
            ("*", Refusal::Form),
        ] {
            assert_eq!(mapped(target), Err(refusal), "{target}");
        }
        let uri = "/shop/a".parse().unwrap();
        assert_eq!(Target::of(&Method::CONNECT, &uri), Err(Refusal::Form));
        assert_eq!(Target::of(&Method::TRACE, &uri), Err(Refusal::Trace));
    }

    #[test]
    fn an_address_below_the_api_is_one_of_the_gateway() {
        for (address, path) in [
            ("https://api.shop.test/web/api/v2/item?id=1#top", Some("/shop/item?id=1#top")),
            ("https://api.shop.test:443/web/api/v2", Some("/shop")),
            ("https://api.shop.test/web/api/v20", None),
            ("https://api.shop.test/web/api", None),
            ("http://api.shop.test/web/api/v2/item", None),
            ("https://api.shop.test:8443/web/api/v2/item", None),
            ("https://user@api.shop.test/web/api/v2/item", None),
            ("https://evil.test/web/api/v2/item", None),
        ] {
            assert_eq!(local("shop", &api(), &Url::parse(address).unwrap()).as_deref(), path, "{address}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_mapped_lies_below_the_api(rest in "[a-z./%?&=;:@2eE5cfF0\\\\ #-]{0,40}", api in prop::sample::select(vec![
            "https://api.shop.test", "http://127.0.0.1:8080/", "https://api.shop.test/web/api/v2",
        ])) {
            let api = Url::parse(api).unwrap();
            if let Ok(uri) = format!("/shop{rest}").parse::<Uri>()
                && let Ok(target) = Target::of(&Method::GET, &uri)
                && let Ok(url) = target.below(&api)
            {
                law::assert_below(&url, &api);
            }
        }
    }
}

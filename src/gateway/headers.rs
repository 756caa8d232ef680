//! Which headers pass, in each direction.

use axum::http::header::{
    ALT_SVC, CONNECTION, CONTENT_LENGTH, COOKIE, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION,
    REFERER, SET_COOKIE, TRANSFER_ENCODING, USER_AGENT, VIA,
};
use url::Url;

use super::address;
use crate::config::{GatewayConfig, UserAgent};
use crate::domain::stored::StoredToken;
use crate::http::{self, credentials};

/// What the gateway did, where that is not simply to send the request on.
pub(super) const TOKEN_SIDECAR: HeaderName = HeaderName::from_static("x-token-sidecar");

/// They say by which way a request came: the API shall see one that comes from here.
const OF_THE_WAY: [HeaderName; 3] = [VIA, FORWARDED, HeaderName::from_static("x-real-ip")];

/// The headers of a client's request that pass.
pub(super) fn of_client(mut headers: HeaderMap) -> HeaderMap {
    let is_empty =
        headers.get(CONTENT_LENGTH).is_some_and(|length| length == "0") && !headers.contains_key(TRANSFER_ENCODING);
    remove_of_connection(&mut headers);
    if is_from_the_gateway(&headers) {
        headers.remove(REFERER);
    }
    let forwarded = beginning_with("x-forwarded-", &headers);
    for name in GatewayConfig::OF_THE_GATEWAY.into_iter().chain(OF_THE_WAY).chain(forwarded) {
        headers.remove(name);
    }
    // The HTTP client writes every other length, but not that of an empty body.
    if is_empty {
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    headers
}

/// Whether the request followed a link, as Scrapy does, from what the gateway has answered.
fn is_from_the_gateway(headers: &HeaderMap) -> bool {
    let referer = headers.get(REFERER).and_then(|value| Url::parse(value.to_str().ok()?).ok());
    referer.zip(headers.get(HOST)).is_some_and(|(referer, host)| host == referer.authority())
}

/// The headers that a token brings to each request.
pub(super) fn of_token(of_site: &HeaderMap, stored: &StoredToken, config: &GatewayConfig) -> HeaderMap {
    let mut headers = of_site.clone();
    let user_agent = stored.user_agent.as_deref().filter(|_| config.user_agent == UserAgent::Bundle);
    credentials::set(&mut headers, &stored.token, &stored.cookies, user_agent);
    headers
}

/// The headers of a request that is sent with a token. `client` is what [`of_client`] left, `of_token` what the token
/// brings.
pub(super) fn with_token(
    client: &HeaderMap,
    of_token: &HeaderMap,
    stored: &StoredToken,
    config: &GatewayConfig,
) -> HeaderMap {
    let mut headers = client.clone();
    headers.remove(COOKIE);
    headers.extend(of_token.clone());
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(http::USER_AGENT));
    if config.merge_cookies
        && let Some(jar) = merged(headers.get(COOKIE), client, stored)
    {
        headers.insert(COOKIE, jar);
    }
    headers
}

/// The token's cookies, and those of the client's that have other names.
fn merged(of_token: Option<&HeaderValue>, client: &HeaderMap, stored: &StoredToken) -> Option<HeaderValue> {
    let is_new = |pair: &&[u8]| {
        let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
        !name.is_empty() && std::str::from_utf8(name).is_ok_and(|name| stored.cookies.get(name).is_none())
    };
    let own = client.get_all(COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let own = own.map(<[u8]>::trim_ascii).filter(is_new);
    let pairs: Vec<&[u8]> = of_token.map(HeaderValue::as_bytes).into_iter().chain(own).collect();
    let mut jar = HeaderValue::from_bytes(&pairs.join(&b"; "[..])).ok().filter(|jar| !jar.is_empty())?;
    jar.set_sensitive(true);
    Some(jar)
}

/// The headers of the API's answer that pass. `url` is where the request was sent.
pub(super) fn of_answer(headers: &mut HeaderMap, site: &str, api: &Url, url: &Url, config: &GatewayConfig) {
    // Where both are there, the length is wrong (RFC 9112, section 6.3).
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    remove_of_connection(headers);
    // `Alt-Svc` speaks of the API's host, for which a client would take the gateway's.
    for name in beginning_with("access-control-", headers).into_iter().chain([ALT_SVC, TOKEN_SIDECAR]) {
        headers.remove(name);
    }
    if !config.pass_set_cookie {
        headers.remove(SET_COOKIE);
    }
    let location = headers.get(LOCATION).and_then(|location| std::str::from_utf8(location.as_bytes()).ok());
    let location = location.and_then(|location| url.join(location).ok());
    if let Some(location) = location {
        let location = address::local(site, api, &location).unwrap_or_else(|| location.into());
        if let Ok(location) = HeaderValue::try_from(location) {
            headers.insert(LOCATION, location);
        }
    }
    headers.append(VIA, HeaderValue::from_static("1.1 token-sidecar"));
}

fn beginning_with(prefix: &str, headers: &HeaderMap) -> Vec<HeaderName> {
    headers.keys().filter(|name| name.as_str().starts_with(prefix)).cloned().collect()
}

fn remove_of_connection(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.into_iter().chain(GatewayConfig::OF_A_CONNECTION) {
        headers.remove(name);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use token_sidecar_client::wire::{Cookies, Token};

    use super::super::trial::config;
    use super::*;

    fn map(headers: &[(&str, &str)]) -> HeaderMap {
        let value = |value: &str| HeaderValue::from_bytes(value.as_bytes()).unwrap();
        let mut map = HeaderMap::new();
        for (name, text) in headers {
            map.append(name.parse::<HeaderName>().unwrap(), value(text));
        }
        map
    }

    fn shown(headers: &HeaderMap) -> Vec<String> {
        let mut lines: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        lines
    }

    fn stored() -> StoredToken {
        StoredToken {
            token: Token::parse("abc").unwrap(),
            cookies: Cookies::from_json(r#"{"access-token":"Bearer%20abc","id":"1"}"#),
            version: 1,
            user_agent: Some("Mozilla/5.0".into()),
            ends_at: None,
        }
    }

    #[test]
    fn what_concerns_the_connection_or_the_gateway_is_not_sent_on() {
        let passed = of_client(map(&[
            ("host", "localhost"),
            ("connection", "x-private, close"),
            ("x-private", "1"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("expect", "100-continue"),
            ("upgrade", "websocket"),
            ("proxy-authorization", "Bearer key"),
            ("x-gateway-key", "key"),
            ("authorization", "Bearer mine"),
            ("via", "1.1 cache"),
            ("forwarded", "for=192.0.2.1"),
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-proto", "http"),
            ("x-real-ip", "192.0.2.1"),
            ("accept", "*/*"),
            ("content-type", "text/plain"),
        ]));
        assert_eq!(shown(&passed), ["accept: */*", "content-type: text/plain"]);
    }

    #[test]
    fn a_referer_passes_unless_it_names_the_gateway() {
        let passed = |host, referer| of_client(map(&[("host", host), ("referer", referer)])).contains_key(REFERER);
        assert!(passed("127.0.0.1:9189", "https://shop.test/page"));
        assert!(passed("127.0.0.1:9189", "no address"));
        assert!(!passed("127.0.0.1:9189", "http://127.0.0.1:9189/shop/items"));
        assert!(!passed("localhost", "http://localhost/shop/items"));
    }

    #[test]
    fn only_the_length_of_an_empty_body_passes() {
        let empty = ("content-length", "0");
        assert_eq!(shown(&of_client(map(&[empty]))), ["content-length: 0"]);
        assert!(of_client(map(&[empty, ("transfer-encoding", "chunked")])).is_empty());
    }

    #[test]
    fn the_token_its_cookies_and_its_user_agent_take_the_place_of_the_clients() {
        let client =
            map(&[("cookie", "id=2; id =4"), ("cookie", "mine=3"), ("user-agent", "curl/8"), ("platform", "phone")]);
        let of_site = map(&[("platform", "desktop")]);
        let sent = |config: &GatewayConfig| {
            shown(&with_token(&client, &of_token(&of_site, &stored(), config), &stored(), config))
        };
        let rest = ["authorization: Bearer abc", "platform: desktop"];
        let (cookie, agent) = ("cookie: access-token=Bearer%20abc; id=1", "user-agent: Mozilla/5.0");
        assert_eq!(sent(&config()), [rest[0], cookie, rest[1], agent]);
        let merging = GatewayConfig { merge_cookies: true, user_agent: UserAgent::Client, ..config() };
        assert_eq!(sent(&merging), [rest[0], &format!("{cookie}; mine=3"), rest[1], "user-agent: curl/8"]);
    }

    #[test]
    fn a_request_always_says_who_sends_it() {
        let (none, stored) = (HeaderMap::new(), StoredToken { user_agent: None, ..stored() });
        let of_token = of_token(&none, &stored, &config());
        assert_eq!(with_token(&none, &of_token, &stored, &config())[USER_AGENT], http::USER_AGENT);
    }

    #[test]
    fn what_the_answer_says_of_the_api_alone_is_dropped_and_a_location_made_the_gateways() {
        let api = Url::parse("https://shop.test/api").unwrap();
        let url = api.join("/api/a/b").unwrap();
        let passed = |headers: &[(&str, &str)]| {
            let mut headers = map(headers);
            of_answer(&mut headers, "shop", &api, &url, &config());
            headers.remove(VIA);
            shown(&headers)
        };
        let dropped = [
            ("set-cookie", "a=1"),
            ("access-control-allow-origin", "*"),
            ("alt-svc", "h3"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("x-token-sidecar", "replayed"),
            ("content-encoding", "br"),
        ];
        assert_eq!(passed(&dropped), ["content-encoding: br"]);
        let length = ("content-length", "3");
        assert_eq!(passed(&[length]), ["content-length: 3"]);
        assert!(passed(&[length, ("transfer-encoding", "chunked")]).is_empty());
        for (location, rewritten) in [
            ("https://shop.test/api/c?d=1", "/shop/c?d=1"),
            ("/api/c", "/shop/c"),
            ("c", "/shop/a/c"),
            ("/api/ключ", "/shop/%D0%BA%D0%BB%D1%8E%D1%87"),
            ("../../login", "https://shop.test/login"),
            ("https://other.test/api/c", "https://other.test/api/c"),
        ] {
            assert_eq!(passed(&[("location", location)]), [format!("location: {rewritten}")], "{location}");
        }
    }
}

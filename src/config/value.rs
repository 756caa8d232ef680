//! The types of single settings. Each is read from a text by a function whose error says what would be valid.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use percent_encoding::percent_decode_str;
use reqwest::Method;
use reqwest::header::{HeaderName, HeaderValue};
use secrecy::SecretString;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use token_sidecar_client::redis::{RedisUrl, UrlError};
use token_sidecar_client::wire::Token;
use tracing_subscriber::filter::Targets;
use url::Url;

use super::browser::{BrowserPlace, StorageItem};
use super::environment;
use super::gateway::{self, GatewayAddress};
use super::notices::SigningKey;
use super::source::{ProxyConfig, TokenPlace};
use crate::domain::{duration, extract};

/// A value, or what would be valid.
pub(super) type Parsed<T> = Result<T, String>;

/// A newtype for each kind of text, and the function that reads it.
macro_rules! texts {
    ($($name:ident($inner:ty) = $parse:expr;)+) => {$(
        pub(super) struct $name(pub(super) $inner);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(ByText($parse)).map(Self)
            }
        }
    )+};
}

texts! {
    PresentFile(PathBuf) = present_file;
    Concurrency(usize) = concurrency;
    Listen(Option<SocketAddr>) = listen;
    GatewayListen(Option<GatewayAddress>) = gateway::listen;
    SizeText(usize) = gateway::size;
    MaxWaiting(usize) = gateway::max_waiting;
    SocketMode(u32) = gateway::socket_mode;
    FileMode(u32) = file_mode;
    UserText(u32) = environment::user;
    GroupText(u32) = environment::group;
    LogFilter(Targets) = log_filter;
    Zone(String) = environment::zone;
    ScheduleText(String) = schedule;
    WebAddress(Url) = address;
    BaseAddress(String) = base_address;
    SolverAddress(SecretString) = |text| solver_address(text).map(SecretString::from);
    ProxyAddress(String) = proxy_address;
    SiteProxyAddress(ProxyConfig) = site_proxy;
    BrowserAddress(SecretString) = |text| browser_address(text).map(SecretString::from);
    BrowserPlaceText(BrowserPlace) = browser_place;
    RedisAddress(RedisUrl) = |text| text.parse().map_err(|error: UrlError| error.to_string());
    BearerToken(Token) = token;
    AdminToken(SecretString) = admin_token;
    Name(String) = name;
    Text(String) = |text| header(text).map(|_| text.trim().to_owned());
    UserAgentText(HeaderValue) = user_agent;
    RedisKey(String) = redis_key;
    VariableName(String) = variable;
    NoticeAddress(SecretString) = |text| web(text, &["http", "https"], "https://hooks.test/…").map(|_| text.trim().into());
    NoticeSecret(SigningKey) = signing_key;
    BotToken(SecretString) = bot_token;
    ChatId(String) = chat_id;
    HttpMethod(Method) = method;
    Place(TokenPlace) = place;
}

/// A duration between two bounds in milliseconds.
pub(super) struct Span<const LEAST: u64, const MOST: u64>(pub(super) Duration);

impl<'de, const LEAST: u64, const MOST: u64> Deserialize<'de> for Span<LEAST, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let by_text = ByText(|text| span(Duration::from_millis(LEAST)..=Duration::from_millis(MOST))(text));
        deserializer.deserialize_str(by_text).map(Self)
    }
}

pub(super) const SECOND: u64 = 1_000;
pub(super) const HOUR: u64 = 3_600 * SECOND;
pub(super) const DAY: u64 = 24 * HOUR;

/// A list of texts that is written as one: a text is not split.
pub(super) struct Words(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items;
        impl<'de> Visitor<'de> for Items {
            type Value = Words;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of texts")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Words, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(items)).map(Words)
            }
        }
        // `deserialize_seq` would split a text at its blanks.
        deserializer.deserialize_tuple(0, Items)
    }
}

/// Reads a value from a text.
pub(super) struct ByText<T>(pub(super) fn(&str) -> Parsed<T>);

impl<T> Visitor<'_> for ByText<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).map_err(E::custom)
    }
}

fn present_file(name: &str) -> Parsed<PathBuf> {
    let file = PathBuf::from(name.trim());
    if file.is_file() { Ok(file) } else { Err("there is no such file".to_owned()) }
}

/// A duration within bounds.
fn span(bounds: RangeInclusive<Duration>) -> impl Fn(&str) -> Parsed<Duration> {
    move |text| match duration::parse(text) {
        Err(_) => Err("expected a time such as 10s, 5m or 24h".to_owned()),
        Ok(span) if bounds.contains(&span) => Ok(span),
        Ok(span) => {
            let (least, most) = (duration::text(*bounds.start()), duration::text(*bounds.end()));
            let unit = if text.trim().bytes().all(|b| b.is_ascii_digit()) {
                format!(" (a number without a unit counts seconds: this is {})", duration::text(span))
            } else {
                String::new()
            };
            Err(format!("expected a time from {least} to {most}{unit}"))
        }
    }
}

fn concurrency(text: &str) -> Parsed<usize> {
    let number = text.trim().parse().ok().filter(|number| (1..=64).contains(number));
    number.ok_or_else(|| "expected a number from 1 to 64".to_owned())
}

fn file_mode(text: &str) -> Parsed<u32> {
    let mode = u32::from_str_radix(text.trim(), 8).ok().filter(|mode| *mode <= 0o777 && mode & 0o400 != 0);
    mode.ok_or_else(|| "expected permissions such as \"0600\" or \"0640\", by which the owner may read it".to_owned())
}

fn method(text: &str) -> Parsed<Method> {
    let method =
        [Method::GET, Method::POST, Method::PUT, Method::PATCH].into_iter().find(|method| method == text.trim());
    method.ok_or_else(|| "expected GET, POST, PUT or PATCH".to_owned())
}

fn place(text: &str) -> Parsed<TokenPlace> {
    let place = match text.trim().split_once(':') {
        None if text.trim() == "cookie" => Some(TokenPlace::Cookie),
        Some(("json", pointer)) if pointer.starts_with('/') => Some(TokenPlace::Json(pointer.to_owned())),
        Some(("header", name)) => header_name(name.trim()).ok().map(TokenPlace::Header),
        _ => None,
    };
    place.ok_or_else(|| "expected json:/pointer/to/it, cookie or header:NAME".to_owned())
}

fn browser_place(text: &str) -> Parsed<BrowserPlace> {
    let item = |text: &str| {
        let (key, pointer) = text.split_once("#/").map_or((text, None), |(key, rest)| (key, Some(format!("/{rest}"))));
        (!key.is_empty()).then(|| StorageItem { key: key.to_owned(), pointer })
    };
    let place = match text.trim().split_once(':') {
        None if text.trim() == "cookie" => Some(BrowserPlace::Cookie),
        Some(("local", rest)) => item(rest).map(BrowserPlace::Local),
        Some(("session", rest)) => item(rest).map(BrowserPlace::Session),
        Some(("request", name)) => header_name(name.trim()).ok().map(BrowserPlace::Request),
        _ => None,
    };
    place.ok_or_else(|| "expected cookie, local:KEY, session:KEY, local:KEY#/json/pointer or request:HEADER".to_owned())
}

/// A schedule, parsed completely once the time zone is known.
fn schedule(text: &str) -> Parsed<String> {
    let text = Some(text).filter(|text| !text.is_empty()).map(str::to_owned);
    text.ok_or_else(|| "expected a crontab expression such as `0 */3 * * *`, `every 3h` or `off`".to_owned())
}

fn listen(text: &str) -> Parsed<Option<SocketAddr>> {
    if text.trim() == "off" {
        return Ok(None);
    }
    let address = text.trim().parse().map(Some);
    address.map_err(|_| "expected an address with a port such as 127.0.0.1:9188 or [::]:9188, or off".to_owned())
}

fn log_filter(text: &str) -> Parsed<Targets> {
    let parts: Vec<&str> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    // A span or its fields would be taken for a target that does not exist.
    let known = !parts.is_empty() && parts.iter().all(|part| !part.contains(['[', ' ', '"']));
    let filter = parts.join(",").parse().ok().filter(|_| known);
    filter.ok_or_else(|| "expected a filter such as info or warn,token_sidecar=debug".to_owned())
}

/// The address of a page or an API, without credentials.
pub fn address(text: &str) -> Result<Url, String> {
    let url = web(text, &["http", "https"], "https://shop.test/")?;
    if has_credentials(&url) {
        return Err(
            "user and password cannot stand in this address: an `authorization` header can hold them".to_owned()
        );
    }
    Ok(url)
}

/// The base address of an API, without a slash at its end.
fn base_address(text: &str) -> Parsed<String> {
    let url = address(text)?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err("expected an address without a query".to_owned());
    }
    Ok(text.trim().trim_end_matches('/').to_owned())
}

/// The address of a FlareSolverr; the default path is `/v1`.
fn solver_address(text: &str) -> Parsed<String> {
    let url = web(text, &["http", "https"], "http://flaresolverr:8191/v1")?;
    let address = text.trim().trim_end_matches('/');
    Ok(if url.path() == "/" { format!("{address}/v1") } else { address.to_owned() })
}

/// The address of a browser: of its web socket, or of the HTTP server that names it.
fn browser_address(text: &str) -> Parsed<String> {
    web(text, &["http", "https", "ws", "wss"], "http://127.0.0.1:9222 or wss://browser.test/?token=…")?;
    Ok(text.trim().to_owned())
}

fn proxy_address(text: &str) -> Parsed<String> {
    let url = web(text, &["http", "https", "socks4", "socks5"], "http://proxy:3128 or socks5://proxy:1080")?;
    if has_credentials(&url) {
        return Err("a browser ignores the credentials in it: set `username` and `password` beside it".to_owned());
    }
    Ok(text.trim().to_owned())
}

/// The address of a site's proxy, which may contain user and password.
fn site_proxy(text: &str) -> Parsed<ProxyConfig> {
    let mut url =
        web(text, &["http", "https", "socks5", "socks5h"], "http://user:password@proxy:3128 or socks5://proxy:1080")?;
    if url.path().len() > 1 || url.query().is_some() {
        return Err("expected an address without a path, such as http://proxy:3128".to_owned());
    }
    let plain = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
    let username = Some(plain(url.username())).filter(|name| !name.is_empty());
    let password = url.password().map(|password| SecretString::from(plain(password)));
    // Neither fails for an address with a host.
    let (_, _) = (url.set_username(""), url.set_password(None));
    Ok(ProxyConfig { url: url.as_str().trim_end_matches('/').to_owned(), username, password })
}

/// A bearer token, with or without `Bearer `, percent-encoded or not.
fn token(text: &str) -> Parsed<Token> {
    Token::parse(&percent_decode_str(text).decode_utf8_lossy()).map_err(|error| error.to_string())
}

/// What a header can carry after `Bearer `.
fn admin_token(text: &str) -> Parsed<SecretString> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(SecretString::from(text))
    } else {
        Err("expected letters, digits and signs without blanks".to_owned())
    }
}

/// The name of a cookie: a `token` of RFC 9110, as those of headers are.
pub(super) fn name(text: &str) -> Parsed<String> {
    header_name(text).map(|_| text.to_owned())
}

pub(super) fn header_name(text: &str) -> Parsed<HeaderName> {
    text.parse().map_err(|_| "expected a name without blanks and separators".to_owned())
}

pub(super) fn header(text: &str) -> Parsed<HeaderValue> {
    let value = Some(text.trim()).filter(|text| text.is_ascii()).and_then(|text| text.parse::<HeaderValue>().ok());
    let mut value = value.ok_or_else(|| "expected ASCII on one line".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

fn user_agent(text: &str) -> Parsed<HeaderValue> {
    let name = extract::user_agent(text).and_then(|name| HeaderValue::from_str(&name).ok());
    name.ok_or_else(|| "expected at most 512 characters of ASCII on one line".to_owned())
}

/// Standard Webhooks: `whsec_` and Base64; any other text is the key as it is.
fn signing_key(text: &str) -> Parsed<SigningKey> {
    let text = text.trim();
    let key = text.strip_prefix("whsec_").map_or_else(|| Ok(text.into()), |encoded| BASE64_STANDARD.decode(encoded));
    let key = key.ok().filter(|key| !key.is_empty());
    key.map(SigningKey::from).ok_or_else(|| "expected a text, or whsec_ and a key in Base64".to_owned())
}

fn bot_token(text: &str) -> Parsed<SecretString> {
    let text = text.trim();
    let is_one = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b":_-".contains(&b));
    if is_one { Ok(text.into()) } else { Err("expected the token of a bot, such as 123456:ABC-DEF".to_owned()) }
}

fn chat_id(text: &str) -> Parsed<String> {
    let text = text.trim();
    let (number, name) = (text.strip_prefix('-').unwrap_or(text), text.strip_prefix('@').unwrap_or_default());
    let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if is_number || is_name {
        Ok(text.to_owned())
    } else {
        Err("expected the number of a chat, or @name of a channel".to_owned())
    }
}

fn redis_key(text: &str) -> Parsed<String> {
    const MOST: usize = 256;
    let legal = (1..=MOST).contains(&text.len()) && !text.chars().any(|c| c.is_whitespace() || c.is_control());
    if legal { Ok(text.to_owned()) } else { Err(format!("expected 1 to {MOST} characters without blanks")) }
}

fn variable(text: &str) -> Parsed<String> {
    let legal = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && text.bytes().next().is_some_and(|b| !b.is_ascii_digit());
    if legal { Ok(text.to_owned()) } else { Err("expected a name such as SHOP_BEARER_TOKEN".to_owned()) }
}

fn has_credentials(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

fn web(text: &str, schemes: &[&str], example: &str) -> Parsed<Url> {
    let url = Url::parse(text.trim()).ok().filter(|url| schemes.contains(&url.scheme()) && url.has_host());
    url.ok_or_else(|| format!("expected an address such as {example}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_solver_without_a_path_means_its_first_version() {
        for (text, url) in [
            ("http://solver:8191", "http://solver:8191/v1"),
            ("http://solver:8191/", "http://solver:8191/v1"),
            ("http://solver:8191/v1/", "http://solver:8191/v1"),
            ("https://u:p@solver/some/v1", "https://u:p@solver/some/v1"),
        ] {
            assert_eq!(solver_address(text), Ok(url.to_owned()));
        }
        assert!(solver_address("solver:8191").is_err());
    }

    #[test]
    fn a_browser_finds_the_token_where_the_page_has_it() {
        let item =
            |key: &str, pointer: Option<&str>| StorageItem { key: key.to_owned(), pointer: pointer.map(str::to_owned) };
        for (text, place) in [
            ("cookie", BrowserPlace::Cookie),
            ("local:auth", BrowserPlace::Local(item("auth", None))),
            ("local:a:b#c", BrowserPlace::Local(item("a:b#c", None))),
            ("session:auth#/user/a~1b/token", BrowserPlace::Session(item("auth", Some("/user/a~1b/token")))),
            ("request:Authorization", BrowserPlace::Request(reqwest::header::AUTHORIZATION)),
        ] {
            assert_eq!(browser_place(text), Ok(place), "{text}");
        }
        for wrong in ["", "cookies", "local:", "local:#/a", "session:", "request:", "request:a b", "header:x"] {
            assert!(browser_place(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_number_without_a_unit_is_shown_as_seconds_where_that_is_too_much() {
        let bounds = Duration::from_secs(1)..=Duration::from_secs(600);
        assert_eq!(
            span(bounds)("60000"),
            Err("expected a time from 1s to 10m (a number without a unit counts seconds: this is 16h40m)".to_owned())
        );
    }

    #[test]
    fn a_bootstrap_token_may_be_as_the_browser_had_it() {
        for text in ["abc.def", "Bearer abc.def", "Bearer%20abc.def"] {
            assert_eq!(token(text).map(|t| t.expose().to_owned()), Ok("abc.def".to_owned()));
        }
        assert!(token("abc def").is_err());
    }

    #[test]
    fn a_filter_is_levels_and_targets_and_nothing_that_would_be_overlooked() {
        for right in ["info", "WARN", "off", "3", "warn,token_sidecar=debug", " info , redis=trace,, ", "token_sidecar"]
        {
            assert!(log_filter(right).is_ok(), "{right}");
        }
        for wrong in ["", " ,", "a=b=c", "info=loud", "[refresh]=debug", "a[refresh{site=shop}]=debug", "a b"] {
            assert!(log_filter(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_cannot_stand_in_its_place_is_refused() {
        assert!(name("").is_err() && name("a b").is_err() && name("a=b").is_err() && name("a;b").is_err());
        assert!(header("a\nb").is_err() && header("ä").is_err());
        assert!(user_agent("a\nb").is_err() && user_agent("ä").is_err() && user_agent(&"x".repeat(513)).is_err());
        assert!(redis_key("").is_err() && redis_key("a b").is_err());
        assert!(variable("1A").is_err() && variable("A-B").is_err() && variable("A=B").is_err());
        assert!(address("https://user:x@shop.test").is_err() && address("ftp://shop.test").is_err());
        assert!(base_address("https://shop.test/api?x=1").is_err());
        assert!(proxy_address("http://user:x@proxy:3128").is_err());
        assert!(listen("localhost:9188").is_err() && listen("127.0.0.1").is_err());
        assert!(admin_token("a b").is_err());
    }
}

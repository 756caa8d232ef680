//! Redaction: what may be shown of a value.

use serde::Deserialize;

/// Shown in place of a secret value.
pub(super) const HIDDEN: &str = "(hidden)";

/// Replaces the secrets in an address.
const MASK: &str = "***";

/// A header or parameter whose name contains one of these is taken for a secret.
const SECRET_NAMES: &[&str] = &["auth", "cookie", "cred", "key", "pass", "pwd", "secret", "session", "sig", "token"];

/// The schemes of all addresses in the settings.
const SCHEMES: &[&str] = &[
    "http",
    "https",
    "redis",
    "rediss",
    "redis+unix",
    "socks4",
    "socks5",
    "socks5h",
    "unix",
    "valkey",
    "valkeys",
    "ws",
    "wss",
];

/// What may be shown of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrecy {
    Open,
    /// An address that should contain no secret; one that does is shown without it.
    Address,
    /// An address that may contain a secret: shown without it, or hidden if it is not an address.
    SecretAddress,
    /// A header's value: shown unless the header's name marks it as a secret.
    Header,
    Secret,
}

/// An address that should contain no secret.
#[derive(Deserialize)]
pub(super) struct Address<T>(pub(super) T);

/// An address that may contain a secret.
#[derive(Deserialize)]
pub(super) struct SecretAddress<T>(pub(super) T);

/// A setting that is never shown.
#[derive(Deserialize)]
pub(super) struct Secret<T>(pub(super) T);

impl Secrecy {
    /// The secrecy that one of the types above stands for, by the type's name.
    pub(super) fn of_type(name: &str) -> Option<Self> {
        match name {
            "Address" => Some(Self::Address),
            "SecretAddress" => Some(Self::SecretAddress),
            "Secret" => Some(Self::Secret),
            _ => None,
        }
    }

    pub(super) const fn is_secret(self) -> bool {
        !matches!(self, Self::Open | Self::Address)
    }
}

/// Redacts `value`; `name` is the last name in its path.
pub(super) fn show(secrecy: Secrecy, name: &str, value: &str) -> String {
    let is_address = start(value).is_some();
    match secrecy {
        Secrecy::Open => value.to_owned(),
        Secrecy::Header if !names_a_secret(name) => value.to_owned(),
        Secrecy::Address if !is_address && !value.contains('@') => value.to_owned(),
        Secrecy::Address | Secrecy::SecretAddress if is_address => address(value),
        _ => HIDDEN.to_owned(),
    }
}

/// An address without its secrets. Works on the text, as the address may be malformed: everything before the last
/// `@` counts as credentials, wherever a parser would see the end of the host.
pub(super) fn address(text: &str) -> String {
    let Some((scheme, rest)) = start(text).map(|at| text.split_at(at)) else { return HIDDEN.to_owned() };
    let (credentials, rest) = rest.rsplit_once('@').map_or((None, rest), |(head, tail)| (Some(head), tail));
    let credentials = match credentials.map(|c| c.split_once(':')) {
        None => String::new(),
        Some(Some((user, _))) => format!("{user}:{MASK}@"),
        Some(None) => format!("{MASK}@"),
    };
    let Some((place, query)) = rest.split_once('?') else { return format!("{scheme}{credentials}{rest}") };
    let shown: Vec<String> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((name, _)) if names_a_secret(name) || name.contains('%') => format!("{name}={MASK}"),
            _ => pair.to_owned(),
        })
        .collect();
    format!("{scheme}{credentials}{place}?{}", shown.join("&"))
}

/// Where the host of an address begins, or what follows its first placeholder.
fn start(text: &str) -> Option<usize> {
    let placeholder = || text.starts_with('{').then(|| text.find('}')).flatten().map(|at| at + 1);
    // An unknown scheme may be part of a password.
    let is_scheme = |at: &usize| SCHEMES.contains(&text[..*at].to_ascii_lowercase().as_str());
    text.find("://").filter(is_scheme).map(|at| at + 3).or_else(placeholder)
}

fn names_a_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_NAMES.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_secrets() {
        for (value, shown) in [
            ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
            ("redis://user:hunter2@redis:6379/0", "redis://user:***@redis:6379/0"),
            ("redis://:hunter2@redis", "redis://:***@redis"),
            ("redis://hunter2@redis", "redis://***@redis"),
            ("redis://:hun@ter/2@redis:6379", "redis://:***@redis:6379"),
            ("redis://:hun?ter#2@redis:6379", "redis://:***@redis:6379"),
            ("unix:///run/redis.sock?db=1&pass=hunter2", "unix:///run/redis.sock?db=1&pass=***"),
            ("https://shop.test/?phrase=x&api_key=hunter2", "https://shop.test/?phrase=x&api_key=***"),
            ("https://shop.test/?%70ass=hunter2", "https://shop.test/?%70ass=***"),
            ("{api}/search?city={city_id}&api_key=hunter2", "{api}/search?city={city_id}&api_key=***"),
        ] {
            assert_eq!(address(value), shown);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_password_is_shown_whatever_is_in_it(before in "\\PC{0,12}", after in "\\PC{0,12}", user in "[a-z]{0,4}") {
            for head in ["redis://", "rediss:", "unix:///run/redis.sock?pass=x&", ""] {
                let value = format!("{head}{user}:{before}hunter2{after}@redis:6379/0");
                proptest::prop_assert!(!show(Secrecy::SecretAddress, "url", &value).contains("hunter2"));
            }
        }
    }

    #[test]
    fn what_is_shown_depends_on_what_the_value_is() {
        for (secrecy, name, value, shown) in [
            (Secrecy::Open, "debounce", "10s", "10s"),
            (Secrecy::Secret, "password", "hunter2", HIDDEN),
            (Secrecy::SecretAddress, "url", "hunter2", HIDDEN),
            (Secrecy::SecretAddress, "url", "redis:/:hunter2@x", HIDDEN),
            (Secrecy::SecretAddress, "url", "user:hunter2://@x", HIDDEN),
            (Secrecy::Address, "page_url", "www.shop.test", "www.shop.test"),
            (Secrecy::Address, "page_url", "user:hunter2@www.shop.test", HIDDEN),
            (Secrecy::Header, "platform", "desktop", "desktop"),
            (Secrecy::Header, "Authorization", "hunter2", HIDDEN),
            (Secrecy::Header, "x-api-key", "hunter2", HIDDEN),
        ] {
            assert_eq!(show(secrecy, name, value), shown, "{name}");
        }
    }
}

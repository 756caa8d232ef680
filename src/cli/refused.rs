//! A token that the API has refused, as a command is given it.

use std::io::{IsTerminal as _, Read as _, stdin};
use std::time::Duration;

use token_sidecar_client::wire::{Fingerprint, MAX_COOKIES_BYTES, Product};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::{Exit, Stopped};

/// More than any token has, and any cookies, in bytes.
const LONGEST: u64 = 2 * MAX_COOKIES_BYTES as u64;

/// The fingerprint of the given token; 16 hex digits count as a fingerprint. Without an argument, or with `-`, the token
/// is read from standard input, at most for `patience`: there nothing but a token is expected.
pub(super) async fn read(given: Option<&str>, product: Product, patience: Duration) -> Result<Fingerprint, Stopped> {
    let text = match given.filter(|text| *text != "-") {
        Some(text) => return fingerprint(text, product).map_err(|reason| usage(&reason)),
        None if stdin().is_terminal() => {
            return Err(usage("which token? Give it on standard input, or its fingerprint as an argument"));
        }
        None => timeout(patience, spawn_blocking(input))
            .await
            .map_err(|_| Stopped::because(Exit::TryAgain, "standard input does not end"))?
            .map_err(|error| Stopped::new(Exit::Usage, error))?
            .map_err(|error| usage(&format!("standard input: {error}")))?,
    };
    of_token(&text, product).map_err(|reason| usage(&reason))
}

fn input() -> std::io::Result<String> {
    let mut text = String::new();
    stdin().lock().take(LONGEST).read_to_string(&mut text)?;
    Ok(text)
}

fn fingerprint(text: &str, product: Product) -> Result<Fingerprint, String> {
    Fingerprint::parse(text.trim()).map_or_else(|| of_token(text, product), Ok)
}

/// `text` may end with the line feed of a command's output.
fn of_token(text: &str, product: Product) -> Result<Fingerprint, String> {
    if text.trim().is_empty() {
        return Err(format!("the refused {product} is empty"));
    }
    let text = text.strip_suffix('\n').unwrap_or(text);
    Ok(product.read(text).map_err(|error| format!("the refused {product}: {error}"))?.fingerprint())
}

fn usage(reason: &str) -> Stopped {
    Stopped::because(Exit::Usage, reason)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_named_by_itself_or_by_its_fingerprint() {
        let of = |text: &str| fingerprint(text, Product::Token).unwrap();
        assert_eq!(of("abc.def\n"), Fingerprint::of("abc.def"));
        assert_eq!(of("Bearer abc.def"), Fingerprint::of("abc.def"));
        assert_eq!(of(&Fingerprint::of("abc.def").to_string()), Fingerprint::of("abc.def"));
        let looks_like_a_fingerprint = "0123456789abcdef";
        assert_eq!(of_token(looks_like_a_fingerprint, Product::Token), Ok(Fingerprint::of(looks_like_a_fingerprint)));
        for wrong in ["", " \n", "a b c", "a\u{7f}b"] {
            assert!(fingerprint(wrong, Product::Token).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn cookies_are_named_by_the_text_of_their_key() {
        let of = |text: &str| fingerprint(text, Product::Cookies);
        for json in [r#"{"a":"1"}"#, r#"{"a": "1"} "#] {
            assert_eq!(of(json), Ok(Fingerprint::of(json)));
            assert_eq!(of(&format!("{json}\n")), Ok(Fingerprint::of(json)));
        }
        assert_eq!(of("a=1"), Err("the refused cookies: the value is no JSON object of cookies".to_owned()));
    }
}

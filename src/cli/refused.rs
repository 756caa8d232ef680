//! A token that the API has refused, as a command is given it.

use std::io::{IsTerminal as _, Read as _, stdin};
use std::time::Duration;

use token_sidecar_client::wire::{Fingerprint, Token};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::{Exit, Stopped};

/// More than any token has, in bytes.
const LONGEST: u64 = 16 << 10;

/// The fingerprint of the given token; 16 hex digits count as a fingerprint. Without an argument, or with `-`, the token
/// is read from standard input, at most for `patience`: there nothing but a token is expected.
pub(super) async fn read(given: Option<&str>, patience: Duration) -> Result<Fingerprint, Stopped> {
    let text = match given.filter(|text| *text != "-") {
        Some(text) => return fingerprint(text).map_err(|reason| usage(&reason)),
        None if stdin().is_terminal() => {
            return Err(usage("which token? Give it on standard input, or its fingerprint as an argument"));
        }
        None => timeout(patience, spawn_blocking(input))
            .await
            .map_err(|_| Stopped::because(Exit::TryAgain, "standard input does not end"))?
            .map_err(|error| Stopped::new(Exit::Usage, error))?
            .map_err(|error| usage(&format!("standard input: {error}")))?,
    };
    of_token(&text).map_err(|reason| usage(&reason))
}

fn input() -> std::io::Result<String> {
    let mut text = String::new();
    stdin().lock().take(LONGEST).read_to_string(&mut text)?;
    Ok(text)
}

fn fingerprint(text: &str) -> Result<Fingerprint, String> {
    Fingerprint::parse(text.trim()).map_or_else(|| of_token(text), Ok)
}

fn of_token(text: &str) -> Result<Fingerprint, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("the refused token is empty".to_owned());
    }
    Ok(Token::parse(text).map_err(|error| format!("the refused token: {error}"))?.fingerprint())
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
        let of = |text: &str| fingerprint(text).unwrap();
        assert_eq!(of("abc.def\n"), Fingerprint::of("abc.def"));
        assert_eq!(of("Bearer abc.def"), Fingerprint::of("abc.def"));
        assert_eq!(of(&Fingerprint::of("abc.def").to_string()), Fingerprint::of("abc.def"));
        let looks_like_a_fingerprint = "0123456789abcdef";
        assert_eq!(of_token(looks_like_a_fingerprint), Ok(Fingerprint::of(looks_like_a_fingerprint)));
        for wrong in ["", " \n", "a b c", "a\u{7f}b"] {
            assert!(fingerprint(wrong).is_err(), "{wrong:?}");
        }
    }
}

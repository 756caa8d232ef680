//! A token that the API has refused, as a command is given it.

use std::io::{IsTerminal as _, Read as _, stdin};
use std::time::Duration;

use token_sidecar_client::wire::{Fingerprint, Token};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::{Exit, Stopped};

/// No token is longer.
const LONGEST: u64 = 64 << 10;

/// The fingerprint of the given token. A fingerprint (16 hex digits) is taken as it is. Without one, or with `-`, it is
/// read from standard input, at most for `patience`.
pub(super) async fn read(given: Option<&str>, patience: Duration) -> Result<Fingerprint, Stopped> {
    let text = match given.filter(|text| *text != "-") {
        Some(text) => text.to_owned(),
        None if stdin().is_terminal() => {
            return Err(usage("which token? Give it on standard input, or its fingerprint as an argument"));
        }
        None => timeout(patience, spawn_blocking(input))
            .await
            .map_err(|_| Stopped::because(Exit::TryAgain, "standard input does not end"))?
            .map_err(|error| Stopped::new(Exit::Usage, error))?
            .map_err(|error| usage(&format!("standard input: {error}")))?,
    };
    fingerprint(&text).map_err(|reason| usage(&reason))
}

fn input() -> std::io::Result<String> {
    let mut text = String::new();
    stdin().lock().take(LONGEST).read_to_string(&mut text)?;
    Ok(text)
}

fn fingerprint(text: &str) -> Result<Fingerprint, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("the refused token is empty".to_owned());
    }
    match Fingerprint::parse(text) {
        Some(fingerprint) => Ok(fingerprint),
        None => Ok(Token::parse(text).map_err(|error| format!("the refused token: {error}"))?.fingerprint()),
    }
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
        for wrong in ["", " \n", "a b c", "a\u{7f}b"] {
            assert!(fingerprint(wrong).is_err(), "{wrong:?}");
        }
    }
}

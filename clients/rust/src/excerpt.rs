//! Shortens text from outside to one line without secrets, for logs and events.

/// The first line that is not blank, at most `limit` characters of it, without control and bidirectional characters, and
/// with everything that looks like a secret left out: user and password of a URL, and long words of mixed letters.
#[must_use]
pub fn excerpt(text: &str, limit: usize) -> String {
    // FlareSolverr writes the end of a line as the two characters `\n`.
    let line = text.split(['\n', '\r']).flat_map(|part| part.split("\\n")).map(str::trim).find(|part| !part.is_empty());
    let words = line.unwrap_or_default().split(|c: char| c.is_whitespace() || is_hidden(c)).filter(|w| !w.is_empty());
    let (mut shown, mut length) = (String::new(), 0);
    // A message may be megabytes long. Words are masked before they are cut: half a secret is not recognised.
    for word in words {
        if length > limit {
            break;
        }
        let gap = if shown.is_empty() { "" } else { " " };
        let word = masked(word);
        length += gap.len() + word.chars().count();
        shown.push_str(gap);
        shown.push_str(&word);
    }
    if length <= limit {
        return shown;
    }
    shown.chars().take(limit.saturating_sub(1)).chain(['…']).collect()
}

/// Whether a character controls a terminal, or the direction in which text is shown.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    let directs = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || directs
}

/// Text from outside without the `secrets` that were sent there, percent-encoded or decoded. To be applied before the text
/// is cut.
#[must_use]
pub fn without<'a>(text: &str, secrets: impl IntoIterator<Item = &'a str>) -> String {
    let forms = secrets.into_iter().flat_map(|secret| [Some(secret.to_owned()), decoded(secret)]).flatten();
    let mut known: Vec<String> = forms.filter(|secret| !secret.is_empty()).collect();
    // The longest first: one may be the beginning of another.
    known.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
    known.dedup();
    known.iter().fold(text.to_owned(), |text, secret| without_one(&text, secret))
}

fn without_one(text: &str, secret: &str) -> String {
    let (mut shown, mut rest, mut at) = (String::with_capacity(text.len()), text, 0);
    while at < rest.len() {
        match extent(&rest.as_bytes()[at..], secret.as_bytes()) {
            Some(length) => {
                shown.push_str(&rest[..at]);
                shown.push('…');
                (rest, at) = (&rest[at + length..], 0);
            }
            None => at += 1,
        }
    }
    shown + rest
}

/// The length of the secret at the beginning of a text, where any of its bytes may be percent-encoded.
fn extent(text: &[u8], secret: &[u8]) -> Option<usize> {
    if text.starts_with(secret) {
        return Some(secret.len());
    }
    secret.iter().try_fold(0, |at, byte| match encoded(text.get(at..)?) {
        Some(found) if found == *byte => Some(at + 3),
        _ => (text.get(at) == Some(byte)).then_some(at + 1),
    })
}

/// The byte that a text begins with, if it is percent-encoded.
fn encoded(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}

/// A percent-encoded text without its encoding; `None` where it is no text then.
fn decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some(first) = rest.first() {
        let found = encoded(rest);
        bytes.push(found.unwrap_or(*first));
        rest = &rest[if found.is_some() { 3 } else { 1 }..];
    }
    String::from_utf8(bytes).ok()
}

fn masked(word: &str) -> String {
    let word = without_login(word);
    let mut shown = String::with_capacity(word.len());
    let mut rest = word.as_str();
    while !rest.is_empty() {
        let run = rest.find(|c: char| !of_a_secret(c)).unwrap_or(rest.len());
        shown.push_str(if looks_secret(&rest[..run]) { "…" } else { &rest[..run] });
        let next = rest[run..].find(of_a_secret).map_or(rest.len(), |i| run + i);
        shown.push_str(&rest[run..next]);
        rest = &rest[next..];
    }
    shown
}

/// `http://user:password@host/` without the user and the password: all that stands before the last `@`, since a password
/// may hold any character and a word several addresses.
fn without_login(word: &str) -> String {
    let Some((before, host)) = word.rfind('@').map(|at| word.split_at(at)) else { return word.to_owned() };
    match before.split_once("://") {
        Some((scheme, _)) if !scheme.contains('@') => format!("{scheme}://…{host}"),
        None if !before.contains(':') => word.to_owned(),
        _ => format!("…{host}"),
    }
}

fn of_a_secret(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+' | '=' | '%' | '~')
}

fn looks_secret(run: &str) -> bool {
    let has = |test: fn(&u8) -> bool| run.as_bytes().iter().any(test);
    run.len() >= 24 && has(u8::is_ascii_lowercase) && (has(u8::is_ascii_uppercase) || has(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_is_shown_without_secrets_and_control_characters() {
        for (text, shown) in [
            ("", ""),
            ("\r\n\\n  first\\nsecond", "first"),
            ("a\u{7}b\tc", "a b c"),
            ("a\u{202e}b\u{2066}c", "a b c"),
            ("net::ERR_HTTP2_PROTOCOL_ERROR_AND_SO_ON", "net::ERR_HTTP2_PROTOCOL_ERROR_AND_SO_ON"),
            ("proxy http://u:p@proxy:3128/ is down", "proxy http://…@proxy:3128/ is down"),
            ("proxy http://u:p/w@proxy:3128 is down", "proxy http://…@proxy:3128 is down"),
            ("not http://a@b/http://u:p@proxy:3128/", "not http://…@proxy:3128/"),
            ("proxy u:p@proxy:3128 is down, ask root@shop.test", "proxy …@proxy:3128 is down, ask root@shop.test"),
            ("Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJzaG9wLnRlc3Qi.c2ln", "Bearer ….….c2ln"),
            ("{\"x\":\"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9\"}", "{\"x\":\"…\"}"),
        ] {
            assert_eq!(excerpt(text, 300), shown, "{text:?}");
        }
        assert_eq!(excerpt("abcdef", 4), "abc…");
    }

    #[test]
    fn nothing_is_cut_before_it_is_masked() {
        let (token, login) = ("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9", "http://user:hunter2@proxy/");
        for blanks in 0..200 {
            let gap = " ".repeat(blanks);
            assert_eq!(excerpt(&format!("a{gap} {token}"), 20), "a …");
            assert_eq!(excerpt(&format!("a{gap} {login}"), 20), "a http://…@proxy/");
        }
    }

    #[test]
    fn what_was_sent_is_removed_percent_encoded_or_not() {
        let secrets = ["Bearer%20a.b/c", "longer-than", "longer", "50%25"];
        for (text, shown) in [
            ("no Bearer%20a.b/c here", "no … here"),
            ("no Bearer a.b/c, Bearer%2520a%2eb%2Fc or B%65arer%20a.b/c", "no …, … or …"),
            ("longer-than longer%2Dthan longer", "… … …"),
            ("50% 50%25 5%", "… … 5%"),
            ("ключ Bearer%2", "ключ Bearer%2"),
        ] {
            assert_eq!(without(text, secrets), shown, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_was_sent_is_not_shown_wherever_it_stands(
            before in "\\PC{0,9}", secret in "[a-zа-я]{3,9}", after in "\\PC{0,9}", is_encoded: bool,
        ) {
            let sent: String = if is_encoded {
                secret.bytes().map(|byte| format!("%{byte:02x}")).collect()
            } else {
                secret.clone()
            };
            let text = format!("{before}{sent}{after}");
            prop_assert!(!without(&text, [secret.as_str()]).contains(&sent));
        }

        #[test]
        fn it_is_one_short_line_whatever_comes(text in "\\PC*|[\\x00-\\x7f]*", limit in 1_usize..80) {
            let shown = excerpt(&text, limit);
            prop_assert!(shown.chars().count() <= limit);
            prop_assert!(!shown.contains(is_hidden));
        }
    }
}

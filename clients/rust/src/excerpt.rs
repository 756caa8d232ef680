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

/// Text from outside without the `secrets` that were sent there. To be applied before the text is cut.
#[must_use]
pub fn without<'a>(text: &str, secrets: impl IntoIterator<Item = &'a str>) -> String {
    let mut known: Vec<&str> = secrets.into_iter().filter(|secret| !secret.is_empty()).collect();
    // The longest first: one may be the beginning of another.
    known.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
    known.into_iter().fold(text.to_owned(), |text, secret| text.replace(secret, "…"))
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

    proptest! {
        #[test]
        fn it_is_one_short_line_whatever_comes(text in "\\PC*|[\\x00-\\x7f]*", limit in 1_usize..80) {
            let shown = excerpt(&text, limit);
            prop_assert!(shown.chars().count() <= limit);
            prop_assert!(!shown.contains(is_hidden));
        }
    }
}

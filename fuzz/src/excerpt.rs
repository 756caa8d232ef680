//! Text of another program, with a token or a password in it, made fit for a log line.

use token_sidecar_client::excerpt::excerpt;

const TOKEN: &str =
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJzaG9wLnRlc3QiLCJzdWIiOiI3In0.dozjgNryP4J3jVmNHl0w5Nx";
const LOGIN: &str = "http://user:hunter2@proxy:3128/";

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    crate::seeds::texts(&[
        "\u{1}\u{10}Error: the cookie  of http://a@b/ is no good\\nStack",
        "\u{2}\u{f0}proxy  is down: ftp://x:y@z/",
        "\u{3}\u{20}\r\n\t{\"x\":\"\"}",
        "\u{6}\u{ff}",
    ])
}

pub(crate) fn check(data: &[u8]) {
    let [at, limit, text @ ..] = data else { return };
    let (limit, text) = (usize::from(*limit).max(1), String::from_utf8_lossy(text));
    assert_one_line(&excerpt(&text, limit), limit);
    let mut cut = usize::from(at / 2).min(text.len());
    while !text.is_char_boundary(cut) {
        cut -= 1;
    }
    let (before, after) = text.split_at(cut);
    let planted = if at % 2 == 0 { TOKEN } else { LOGIN };
    let shown = excerpt(&format!("{before}{planted}{after}"), limit);
    assert_one_line(&shown, limit);
    // Not even the beginning of the token may be shown.
    assert!(!shown.contains(&TOKEN[..12]) || text.contains(&TOKEN[..12]), "{shown}");
    assert!(!shown.contains("hunter2") || text.contains("hunter2"), "{shown}");
}

fn assert_one_line(shown: &str, limit: usize) {
    assert!(shown.chars().count() <= limit, "longer than {limit}: {shown}");
    assert!(!shown.contains(char::is_control), "{shown:?}");
    assert!(!looks_secret(shown), "{shown}");
}

/// Whether the text has a long word of mixed letters or digits.
pub(crate) fn looks_secret(text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric() && !"_-+=%~".contains(c)).any(|word| {
        let has = |test: fn(u8) -> bool| word.bytes().any(test);
        word.len() >= 24 && has(|b| b.is_ascii_lowercase()) && has(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
    })
}

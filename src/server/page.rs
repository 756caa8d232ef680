//! `/`: the status page. It is one file and reads `/api/status`, `/api/histories` and `/api/events`.

use std::sync::LazyLock;

use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::IntoResponse;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

const FRAME: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str =
    concat!(include_str!("page/words.js"), include_str!("page/charts.js"), include_str!("page/page.js"));

static HTML: LazyLock<String> = LazyLock::new(|| FRAME.replace("{style}", STYLE).replace("{script}", SCRIPT));

/// Allows the page's style and script by their digests, and nothing else.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; style-src '{}'; script-src '{}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        digest(STYLE),
        digest(SCRIPT),
    )
});

/// `GET /`.
pub(super) async fn show() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, POLICY.as_str())], HTML.as_str())
}

fn digest(text: &str) -> String {
    format!("sha256-{}", BASE64_STANDARD.encode(Sha256::digest(text)))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::super::trial::Trial;
    use super::{HTML, SCRIPT, STYLE, digest};

    #[tokio::test]
    async fn the_page_runs_what_is_in_it_and_nothing_else() {
        let answer = Trial::new().get("/").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
        let between = |open: &str, close: &str| {
            let (_, rest) = answer.text.split_once(open).unwrap();
            rest.split_once(close).unwrap().0.to_owned()
        };
        let policy = answer.header("content-security-policy");
        assert!(policy.contains(&format!("script-src '{}'", digest(&between("<script>", "</script>")))));
        assert!(policy.contains(&format!("style-src '{}'", digest(&between("<style>", "</style>")))));
        assert!(!policy.contains("unsafe"));
    }

    #[test]
    fn the_page_is_small() {
        assert!(HTML.len() < 100_000, "{} bytes", HTML.len());
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere_and_sets_no_markup() {
        for (text, words) in [
            (SCRIPT, ["innerHTML", "insertAdjacentHTML", "document.write", "eval(", "localStorage"]),
            (STYLE, ["@import", "url(", "http:", "https:", "//"]),
        ] {
            for word in words {
                assert!(!text.contains(word), "{word}");
            }
        }
    }
}

//! Why a browser brings no token, in one line that says what to do.

use std::time::Duration;

use token_sidecar_client::excerpt::excerpt;

use crate::domain::duration;
use crate::domain::verdict::Pace;
use crate::http::RequestError;
use crate::refresh::ports::SourceError;

/// The longest text of a browser that is shown.
const SHOWN: usize = 300;

/// Why a solve brings no token. Texts of the browser are cut and cleaned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrowserError {
    #[error("no Chromium is installed (looked for {0}); install one, or set BROWSER_PATH or BROWSER_URL")]
    Missing(String),
    #[error("BROWSER_PATH: {0} is no file")]
    NoFile(String),
    #[error("{path} does not start: {reason}")]
    Start { path: String, reason: String },
    #[error(
        "its sandbox cannot be used here: allow user namespaces (in a container, by its seccomp profile), \
         or set BROWSER_SANDBOX=false"
    )]
    Sandbox,
    #[error("its sandbox does not work as root: run the sidecar as another user, or set BROWSER_SANDBOX=false")]
    Root,
    #[error("its folder cannot be made: {0}")]
    Folder(String),
    #[error("{0}; is a browser with an open DevTools port at BROWSER_URL?")]
    Request(#[source] RequestError),
    /// The endpoint is no browser's.
    #[error("{peer}: {problem}")]
    Endpoint { peer: String, problem: String },
    #[error("it has ended (killed, crashed or out of memory)")]
    Ended,
    #[error("it hangs: no answer to a command within {}", duration::text(COMMAND_TIMEOUT))]
    Silent,
    #[error("it does not speak the Chrome DevTools Protocol")]
    NoCdp,
    #[error("the page makes it send a message of more than {} MiB", .0 >> 20)]
    TooLong(usize),
    #[error("it refuses {command}: {reason}")]
    Refuses { command: &'static str, reason: String },
    /// No slot became free in this time.
    #[error("no turn within {}: other pages are open (see `concurrency`)", duration::text(*.0))]
    NoSlot(Duration),
    #[error("it cannot open the page ({0})")]
    Navigation(String),
    #[error("it cannot use the proxy ({0})")]
    Proxy(String),
    #[error("the proxy refuses user and password")]
    ProxyLogin,
    #[error("the page is a download")]
    Download,
    #[error("the page leads to {0}, an address of this machine or its network, which is refused")]
    Inside(String),
    #[error("the page has crashed its renderer")]
    Crashed,
    #[error("the page has loaded more than {} MiB", .0 >> 20)]
    TooLarge(u64),
    #[error("the page has opened more than {0} frames of other sites and workers")]
    TooManyTargets(usize),
    #[error("HTTP {0}: the site has blocked this address; a proxy or another address may help")]
    Blocked(u16),
    #[error("the page{} has no {wanted}, {} after it had loaded", of_status(*.status), duration::text(*.waited))]
    NoToken { status: Option<u16>, wanted: String, waited: Duration },
    #[error("timeout after {}: {doing}", duration::text(*.after))]
    TimedOut { after: Duration, doing: String },
}

/// How long a browser may take to answer a command. It waits for no page.
pub(super) const COMMAND_TIMEOUT: Duration = Duration::from_secs(20);

impl BrowserError {
    /// The error of a browser that ended before its first answer, by the last lines that it wrote.
    pub(super) fn of_start(path: &str, log: &str) -> Self {
        if log.contains("Running as root without --no-sandbox") {
            return Self::Root;
        }
        if log.contains("No usable sandbox") || log.contains("Failed to move to new namespace") {
            return Self::Sandbox;
        }
        // Advice and stack traces may follow the line that tells why.
        let of_kind = |kind: &str| log.lines().rev().find(|line| line.contains(kind) && !line.trim().is_empty());
        let line = [":FATAL:", ":ERROR:", ""].into_iter().find_map(of_kind);
        let reason = line.map_or_else(|| "it ended at once".to_owned(), |line| excerpt(line, SHOWN));
        Self::Start { path: path.to_owned(), reason }
    }

    /// The error of a page that cannot be opened, by Chromium's name for it.
    pub(super) fn of_navigation(text: &str) -> Self {
        let text = excerpt(text, SHOWN);
        if ["net::ERR_PROXY", "net::ERR_TUNNEL", "net::ERR_SOCKS"].iter().any(|kind| text.starts_with(kind)) {
            Self::Proxy(text)
        } else {
            Self::Navigation(text)
        }
    }

    pub(super) fn refuses(command: &'static str, reason: &str) -> Self {
        Self::Refuses { command, reason: excerpt(reason, SHOWN) }
    }
}

impl From<BrowserError> for SourceError {
    fn from(error: BrowserError) -> Self {
        let pace = if matches!(error, BrowserError::Blocked(_)) { Pace::LongestBackoff } else { Pace::Ordinary };
        Self { message: format!("browser: {error}"), pace }
    }
}

fn of_status(status: Option<u16>) -> String {
    status.filter(|status| *status != 200).map(|status| format!(" (HTTP {status})")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_browser_wrote_before_it_ended_is_told_in_one_line() {
        for (log, text) in [
            ("", "/opt/chrome does not start: it ended at once"),
            ("/opt/chrome: cannot execute\n\n", "/opt/chrome does not start: /opt/chrome: cannot execute"),
            (
                "[1:1:ERROR:dbus.cc] no bus\n[1:1:FATAL:proc.cc(12)] Check failed: proc\n#0 0x55\nsee http://crbug.com/1",
                "/opt/chrome does not start: [1:1:FATAL:proc.cc(12)] Check failed: proc",
            ),
        ] {
            assert_eq!(BrowserError::of_start("/opt/chrome", log).to_string(), text);
        }
        let root = "[1:1:ERROR:zygote.cc:103] Running as root without --no-sandbox is not supported.";
        assert_eq!(BrowserError::of_start("x", root), BrowserError::Root);
        let none = "[1:1:FATAL:zygote.cc:128] No usable sandbox! If you are running on Ubuntu 23.10+ …";
        assert_eq!(BrowserError::of_start("x", none), BrowserError::Sandbox);
    }
}

//! A browser that the sidecar starts itself, or one elsewhere that speaks the Chrome DevTools Protocol.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::HeaderName;
use secrecy::SecretString;
use serde::Deserialize;
use token_sidecar_client::wire::SiteId;
use url::Url;

use super::reader::Section;
use super::redaction::{self, SecretAddress};
use super::source::{LONGEST, ProxyConfig};
use super::value::{BrowserAddress, BrowserPlaceText, Concurrency, HOUR, SECOND, Span};
use crate::domain::product::Wanted;

/// A page that a browser opens for its token.
#[derive(Clone)]
pub struct BrowserConfig {
    pub program: BrowserProgram,
    pub page: Url,
    /// The API, if it is known: `request:HEADER` is read from requests to it.
    pub api: Option<Url>,
    /// The cookies that the page is to set.
    pub wanted: Wanted,
    pub token: BrowserPlace,
    /// How long after the page has loaded the token may still come.
    pub wait: Duration,
    /// The longest solve, from the start of the browser on.
    pub max_timeout: Duration,
    pub proxy: Option<ProxyConfig>,
    /// The most pages at once, over all sites of this process; each has a browser of its own.
    pub concurrency: usize,
    /// How long a browser is kept for the next solve.
    pub keep: Duration,
}

#[derive(Debug, Clone)]
pub enum BrowserProgram {
    Launch(BrowserLaunch),
    /// The address of a browser, which may contain a secret.
    Connect(SecretString),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BrowserLaunch {
    /// `None`: the usual names are looked for.
    pub path: Option<PathBuf>,
    pub sandbox: bool,
    /// Further arguments.
    pub args: Vec<String>,
}

/// Where a page has its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrowserPlace {
    /// In the site's token cookie or its fallbacks.
    Cookie,
    Local(StorageItem),
    Session(StorageItem),
    /// In this header of the page's own requests to the API.
    Request(HeaderName),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageItem {
    pub key: String,
    /// A JSON pointer (RFC 6901) into the value.
    pub pointer: Option<String>,
}

impl fmt::Debug for BrowserConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BrowserConfig({})", redaction::address(self.page.as_str()))
    }
}

/// `[browser]`, and `[sites.S.browser]`, which inherits it.
#[derive(Deserialize)]
pub(super) struct BrowserSection {
    path: Option<PathBuf>,
    url: SecretAddress<Option<BrowserAddress>>,
    args: Vec<String>,
    sandbox: bool,
    concurrency: Concurrency,
    keep: Span<0, HOUR>,
    max_timeout: Span<SECOND, LONGEST>,
    wait: Span<0, LONGEST>,
    token: BrowserPlaceText,
}

/// What a browser is to open for a site.
pub(super) struct BrowserTask {
    pub(super) page: Url,
    pub(super) api: Option<Url>,
    pub(super) wanted: Wanted,
    pub(super) proxy: Option<ProxyConfig>,
}

impl BrowserSection {
    pub(super) fn build(self, site: &mut Section, id: &SiteId, task: BrowserTask) -> BrowserConfig {
        let BrowserTask { page, api, wanted, proxy } = task;
        let proxy = proxy.map(ProxyConfig::for_chromium);
        if self.url.0.is_some() && self.path.is_some() {
            let both = "browser.url (BROWSER_URL) and browser.path (BROWSER_PATH) are both set: which one?";
            site.conflict(&["browser.url", "browser.path"], both.to_owned());
        }
        if proxy.as_ref().is_some_and(|proxy| proxy.url.starts_with("socks") && proxy.username.is_some()) {
            let reason =
                "Chromium has no login for SOCKS proxies: use an HTTP proxy, or leave `browser` out of the sources";
            site.conflict(&["proxy.url"], format!("sites.{id}.proxy: {reason}"));
        }
        if matches!(&wanted, Wanted::All(_)) && self.token.0 != BrowserPlace::Cookie {
            let reason = "the cookies are the product: set it to \"cookie\"";
            site.conflict(&["browser.token"], format!("sites.{id}.browser.token: {reason}"));
        }
        if let (BrowserPlace::Request(_), None) = (&self.token.0, &api) {
            let reason = "the header is read from requests to the API: set api_url";
            site.conflict(&["api_url", "probe.url"], format!("sites.{id}.browser.token: {reason}"));
        }
        if self.args.iter().any(|arg| arg == "--no-sandbox") {
            let reason = "set browser.sandbox = false (BROWSER_SANDBOX) in place of --no-sandbox";
            site.conflict(&["browser.args"], format!("sites.{id}.browser.args: {reason}"));
        }
        let program = match self.url.0 {
            Some(address) => BrowserProgram::Connect(address.0),
            None => BrowserProgram::Launch(BrowserLaunch { path: self.path, sandbox: self.sandbox, args: self.args }),
        };
        BrowserConfig {
            program,
            page,
            api,
            wanted,
            token: self.token.0,
            wait: self.wait.0,
            max_timeout: self.max_timeout.0,
            proxy,
            concurrency: self.concurrency.0,
            keep: self.keep.0,
        }
    }
}

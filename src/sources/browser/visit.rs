//! One page from its opening to its end.

use std::future::pending;
use std::pin::Pin;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use token_sidecar_client::excerpt::excerpt;
use tokio::time::{Sleep, sleep, timeout};
use url::Url;

use super::connection::{Connection, Message};
use super::error::BrowserError;
use super::page::{Page, ProxyLogin, Rules};
use super::pool::Lease;
use crate::config::{BrowserConfig, BrowserPlace, BrowserProgram, StorageItem};
use crate::domain::extract::{Cookie, RawToken, Solution};
use crate::domain::inspection::{Kind, PageContent, Seen};
use crate::refresh::ports::Solved;
use crate::sources::lenient;

/// How often a page is looked at where no event tells that something is new.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How long a page may take to say what it has stored: its script may never end.
const STORAGE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a page that has a token may take to have another solution.
const LATER_TIMEOUT: Duration = Duration::from_secs(15);
/// The longest value of a page's storage that is read.
const MAX_STORED: usize = 1 << 20;
/// The entries of a storage: 500 at most, and as much text as one value may have.
const STORED: &str = "all => { let left = 1 << 20; return Object.entries(all).filter(([key, value]) => { \
    const size = key.length + value.length; return size <= left && (left -= size, true) }).slice(0, 500) }";

pub(super) struct Visit {
    lease: Lease,
    config: BrowserConfig,
    open: OpenPage,
    /// When the time for the token is over; set once the page has loaded.
    give_up: Option<Pin<Box<Sleep>>>,
}

/// The page, and what its events are answered with.
#[derive(Debug)]
struct OpenPage {
    page: Page,
    rules: Rules,
    /// The command that opened the page; its answer may bring an error.
    navigation: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Context {
    browser_context_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    target_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Session {
    session_id: String,
}

/// The answer to `Page.navigate`.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Navigation {
    error_text: String,
    is_download: bool,
}

#[derive(Deserialize)]
struct Jar {
    #[serde(deserialize_with = "lenient::cookies")]
    cookies: Option<Vec<Cookie>>,
}

impl Visit {
    pub(super) fn new(lease: Lease, config: BrowserConfig) -> Self {
        let login = config.proxy.as_ref().and_then(|proxy| {
            let username = proxy.username.clone()?;
            Some(ProxyLogin { username, password: proxy.password.clone().unwrap_or_default() })
        });
        let header = match (&config.token, &config.api) {
            (BrowserPlace::Request(name), Some(api)) => Some((name.clone(), api.clone())),
            _ => None,
        };
        let site = std::iter::once(&config.page).chain(&config.api).cloned().collect();
        let rules = Rules { site, login, header, watches: false, commands: vec![] };
        let open = OpenPage { page: Page::default(), rules, navigation: 0 };
        Self { lease, config, open, give_up: None }
    }

    /// The same visit, but one that keeps the headers of the page's requests.
    pub(super) fn watching(mut self) -> Self {
        self.open.rules.watches = true;
        self
    }

    /// Opens the page and waits until it has the token.
    pub(super) async fn find(&mut self) -> Result<Solution, BrowserError> {
        self.navigate().await?;
        self.next(None).await
    }

    /// Opens the page, and waits until it has loaded and the time for a token is over.
    pub(super) async fn settle(&mut self) -> Result<(), BrowserError> {
        self.navigate().await?;
        while self.may_change().await? {}
        match self.open.page.status {
            Some(status @ (403 | 429)) => Err(BrowserError::Blocked(status)),
            _ => Ok(()),
        }
    }

    /// All that the page has.
    pub(super) async fn content(&mut self) -> Result<PageContent, BrowserError> {
        let mut seen = Vec::new();
        for (kind, storage) in [(Kind::Local, "localStorage"), (Kind::Session, "sessionStorage")] {
            let entries = self.evaluated(format!("({STORED})({storage})")).await?.unwrap_or_default();
            let entries: Vec<(String, String)> = serde_json::from_value(entries).unwrap_or_default();
            let entries = entries.into_iter().map(|(name, value)| (name, RawToken(value)));
            seen.extend(entries.map(|(name, value)| Seen { kind, name, value, to: None }));
        }
        let cookies = self.cookies().await?;
        self.lease.is_well = true;
        seen.append(&mut self.open.page.sent);
        let (url, user_agent) = (self.open.page.url.clone(), self.open.page.user_agent.clone());
        Ok(PageContent { solution: Solution { cookies, bare: None, url, user_agent }, seen })
    }

    /// Whether the site has answered.
    pub(super) const fn is_answered(&self) -> bool {
        self.open.page.status.is_some()
    }

    async fn navigate(&mut self) -> Result<(), BrowserError> {
        self.open().await?;
        let navigate = json!({"url": self.config.page.as_str()});
        let connection = &mut self.lease.browser()?.connection;
        self.open.navigation = connection.send(Some(&self.open.page.session), "Page.navigate", navigate);
        Ok(())
    }

    /// Waits until the page has a solution that is another than the last.
    async fn next(&mut self, last: Option<&Solution>) -> Result<Solution, BrowserError> {
        loop {
            let found = self.look().await?;
            if let Some(solution) = found.filter(|solution| Some(solution) != last) {
                self.lease.is_well = true;
                return Ok(solution);
            }
            if !self.may_change().await? {
                return Err(self.no_token());
            }
        }
    }

    /// Waits until there may be something new; `false` once the time for that is over.
    async fn may_change(&mut self) -> Result<bool, BrowserError> {
        if let Some(error) = self.open.page.error.take() {
            return Err(error);
        }
        match (self.open.page.has_loaded, &self.give_up) {
            (false, _) => self.give_up = None,
            (true, None) => self.give_up = Some(Box::pin(sleep(self.config.wait))),
            (true, Some(_)) => {}
        }
        let mut give_up = self.give_up.take();
        let waited = async {
            match &mut give_up {
                Some(end) => end.await,
                None => pending().await,
            }
        };
        let goes_on = tokio::select! {
            biased;
            () = waited => false,
            changed = self.changed() => changed.map(|()| true)?,
            () = sleep(LOOK_INTERVAL) => true,
        };
        self.give_up = give_up;
        self.open.page.has_changed = false;
        Ok(goes_on)
    }

    /// The solution, and those that the page may have later.
    pub(super) fn solved(mut self: Box<Self>, solution: Solution) -> Solved {
        let last = solution.clone();
        let later = async move {
            let next = timeout(LATER_TIMEOUT, self.next(Some(&last))).await;
            let solution = next.ok()?.ok()?;
            Some(self.solved(solution))
        };
        Solved { solution, later: Some(Box::pin(later)) }
    }

    /// What the browser says of itself, once it has opened an empty page.
    pub(super) async fn check(mut self) -> Result<String, BrowserError> {
        let opened = timeout(self.config.max_timeout, self.open()).await;
        opened.map_err(|_| BrowserError::Silent)??;
        self.lease.is_well = true;
        let sandbox = match &self.config.program {
            BrowserProgram::Launch(launch) if launch.sandbox => ", in its sandbox",
            BrowserProgram::Launch(_) => ", without its sandbox",
            BrowserProgram::Connect(_) => "",
        };
        Ok(format!("{}{sandbox}", excerpt(&self.lease.browser()?.version.product, 80)))
    }

    /// Why there is no solution when the time is over.
    pub(super) fn timed_out(&self) -> BrowserError {
        if let Some(status @ (403 | 429)) = self.open.page.status {
            return BrowserError::Blocked(status);
        }
        let doing = match (&self.open.page.status, self.open.page.has_loaded) {
            _ if self.open.page.session.is_empty() => "the browser was still starting".to_owned(),
            (None, _) => "the site has not answered".to_owned(),
            (Some(status), false) => format!("the page was still loading (HTTP {status})"),
            (Some(_), true) => format!("the page has no {}", self.wanted()),
        };
        BrowserError::TimedOut { after: self.config.max_timeout, doing }
    }

    fn no_token(&self) -> BrowserError {
        match self.open.page.status {
            Some(status @ (403 | 429)) => BrowserError::Blocked(status),
            status => BrowserError::NoToken { status, wanted: self.wanted(), waited: self.config.wait },
        }
    }

    /// What the page is to have.
    fn wanted(&self) -> String {
        let item = |kind, item: &StorageItem| format!("{kind} item `{}`", excerpt(&item.key, 60));
        match &self.config.token {
            BrowserPlace::Cookie => self.config.wanted.to_string(),
            BrowserPlace::Local(local) => item("localStorage", local),
            BrowserPlace::Session(session) => item("sessionStorage", session),
            BrowserPlace::Request(name) => format!("request to the API with `{name}`"),
        }
    }

    /// Opens an empty page in a context of its own.
    async fn open(&mut self) -> Result<(), BrowserError> {
        let is_own = self.lease.is_own();
        let mut context = json!({"disposeOnDetach": true});
        if let Some(proxy) = &self.config.proxy {
            context["proxyServer"] = proxy.url.as_str().into();
            // Chromium would reach loopback addresses past the proxy.
            context["proxyBypassList"] = "<-loopback>".into();
        }
        let browser = self.lease.open().await?;
        let user_agent = browser.version.user_agent.clone();
        let Context { browser_context_id } = browser.read("Target.createBrowserContext", context).await?;
        let downloads = json!({"behavior": "deny", "browserContextId": browser_context_id});
        browser.connection.send(None, "Browser.setDownloadBehavior", downloads);
        let target = json!({"url": "about:blank", "browserContextId": browser_context_id});
        let Target { target_id } = browser.read("Target.createTarget", target).await?;
        let attach = json!({"targetId": target_id, "flatten": true});
        let Session { session_id } = browser.read("Target.attachToTarget", attach).await?;
        let intercept = ("Fetch.enable", json!({"handleAuthRequests": true}));
        let mut commands = commands(&user_agent);
        if is_own {
            // All requests of the browser are this page's.
            browser.command(None, intercept.0, intercept.1).await?;
        } else {
            commands.push(intercept);
        }
        // Waited for: a page that is opened before would run without the rules, and under the other name.
        for (method, params) in commands.iter().cloned() {
            browser.command(Some(&session_id), method, params).await?;
        }
        for method in ["Inspector.enable", "Page.enable"] {
            browser.connection.send(Some(&session_id), method, json!({}));
        }
        self.lease.context = Some(browser_context_id.clone());
        self.open.rules.commands = commands;
        self.open.page = Page::new(browser_context_id, target_id, session_id, user_agent);
        // A shared worker belongs to no page, so that only the browser tells of it. It waits for none, since those of other
        // pages would wait too: it runs once its script is loaded, and the request for that is answered after its event.
        let shared = json!({
            "autoAttach": true, "waitForDebuggerOnStart": false, "flatten": true, "filter": [{"type": "shared_worker"}],
        });
        self.command(None, "Target.setAutoAttach", shared).await.map(|_| ())
    }

    /// The solution, once the page has the token.
    async fn look(&mut self) -> Result<Option<Solution>, BrowserError> {
        let bare = match &self.config.token {
            BrowserPlace::Cookie => None,
            BrowserPlace::Request(_) => match &self.open.page.header {
                None => return Ok(None),
                header => header.clone(),
            },
            BrowserPlace::Local(_) | BrowserPlace::Session(_) => match self.stored().await? {
                None => return Ok(None),
                stored => stored,
            },
        };
        let cookies = self.cookies().await?;
        // A frame of another site may set a cookie of the same name.
        let hosts = [&self.config.page].into_iter().chain(&self.config.api).filter_map(Url::host_str);
        let shown = Url::parse(&self.open.page.url).ok();
        let hosts: Vec<&str> = hosts.chain(shown.as_ref().and_then(Url::host_str)).collect();
        let sent = cookies.iter().filter(|cookie| hosts.iter().any(|host| cookie.is_sent_to(host)));
        let wanted = &self.config.wanted;
        let has_token = bare.is_some()
            || wanted.is_met(sent.clone())
            || wanted.is_open() && self.open.page.has_loaded && sent.clone().next().is_some();
        let (url, user_agent) = (self.open.page.url.clone(), self.open.page.user_agent.clone());
        Ok(has_token.then_some(Solution { cookies, bare, url, user_agent }))
    }

    async fn cookies(&mut self) -> Result<Vec<Cookie>, BrowserError> {
        let context = json!({"browserContextId": self.lease.context});
        let jar = self.command(None, "Storage.getCookies", context).await?;
        let jar: Jar = serde_json::from_str(jar.get()).map_err(|_| BrowserError::NoCdp)?;
        Ok(jar.cookies.unwrap_or_default())
    }

    /// The token in the page's storage.
    async fn stored(&mut self) -> Result<Option<RawToken>, BrowserError> {
        let (storage, item) = match &self.config.token {
            BrowserPlace::Local(item) => ("localStorage", item.clone()),
            BrowserPlace::Session(item) => ("sessionStorage", item.clone()),
            BrowserPlace::Cookie | BrowserPlace::Request(_) => return Ok(None),
        };
        let expression = format!("{storage}.getItem({})", json!(item.key));
        let value = self.evaluated(expression).await?.unwrap_or_default();
        let text = value.as_str().filter(|text| text.len() <= MAX_STORED);
        Ok(text.and_then(|text| match &item.pointer {
            None => Some(RawToken(text.to_owned())),
            Some(pointer) => {
                let json: Value = serde_json::from_str(text).ok()?;
                Some(RawToken(json.pointer(pointer)?.as_str()?.to_owned()))
            }
        }))
    }

    /// What an expression is in the page. It throws where the page has no storage yet, and waits for a script that runs.
    async fn evaluated(&mut self, expression: String) -> Result<Option<Value>, BrowserError> {
        let params = json!({"expression": expression, "returnByValue": true});
        let session = self.open.page.session.clone();
        let answer = timeout(STORAGE_TIMEOUT, self.command(Some(&session), "Runtime.evaluate", params)).await;
        match answer {
            Ok(Ok(answer)) => {
                let mut answer: Value = serde_json::from_str(answer.get()).unwrap_or_default();
                Ok(answer.pointer_mut("/result/value").map(Value::take))
            }
            Ok(Err(error @ (BrowserError::Ended | BrowserError::NoCdp | BrowserError::Silent))) => Err(error),
            Ok(Err(_)) | Err(_) => Ok(None),
        }
    }

    /// Waits until something is new.
    async fn changed(&mut self) -> Result<(), BrowserError> {
        let connection = &mut self.lease.browser()?.connection;
        while !self.open.page.has_changed {
            let message = connection.receive().await?;
            self.open.take(message, connection);
        }
        Ok(())
    }

    async fn command(
        &mut self,
        session: Option<&str>,
        method: &'static str,
        params: Value,
    ) -> Result<Box<RawValue>, BrowserError> {
        let open = &mut self.open;
        let other = |message, connection: &mut Connection| open.take(message, connection);
        self.lease.browser()?.command_with(session, method, params, other).await
    }
}

/// What the page, each of its frames of another site and each of its workers is sent before it runs.
fn commands(user_agent: &str) -> Vec<(&'static str, Value)> {
    // Bodies are of no use.
    let bodies = json!({"maxTotalBufferSize": 0, "maxResourceBufferSize": 0});
    let attach = json!({"autoAttach": true, "waitForDebuggerOnStart": true, "flatten": true});
    let mut commands = vec![("Network.enable", bodies), ("Target.setAutoAttach", attach)];
    if user_agent.contains("HeadlessChrome") {
        commands.push(("Emulation.setUserAgentOverride", named_as_with_a_window(user_agent)));
    }
    commands
}

/// The user agent without `HeadlessChrome`. Without brands beside it no client hints would be sent.
fn named_as_with_a_window(user_agent: &str) -> Value {
    let version = user_agent.split_once("Chrome/").and_then(|(_, rest)| rest.split('.').next());
    let brand = |name: &str, version: &str| json!({"brand": name, "version": version});
    let hints = json!({
        // The second brand stands for any other, as in all Chromiums.
        "brands": [brand("Chromium", version.unwrap_or_default()), brand("Not/A)Brand", "24")],
        "platform": "Linux", "platformVersion": "", "architecture": "x86", "model": "", "mobile": false,
    });
    json!({"userAgent": user_agent.replace("HeadlessChrome", "Chrome"), "userAgentMetadata": hints})
}

impl OpenPage {
    fn take(&mut self, message: Message, connection: &mut Connection) {
        match message {
            Message::Answer { id, result } if id == self.navigation => {
                let answer = result.map(|answer| serde_json::from_str(answer.get()).unwrap_or_default());
                let (error, is_download) = match answer {
                    Ok(Navigation { error_text, is_download }) => (error_text, is_download),
                    Err(error) => (error, false),
                };
                if is_download {
                    self.page.fail(BrowserError::Download);
                } else if !error.is_empty() {
                    self.page.fail(BrowserError::of_navigation(&error));
                }
            }
            // The answers to commands that no step waits for.
            Message::Answer { .. } => {}
            Message::Event { session, method, params } => {
                // Chromium may send what is no JSON value, such as half a surrogate pair.
                let Ok(params) = serde_json::from_str(params.get()) else { return };
                for answer in self.page.take(session.as_deref(), &method, &params, &self.rules) {
                    connection.send(answer.session.as_deref(), answer.method, answer.params);
                }
            }
        }
    }
}

//! What is known of an open page, and what each of its events is answered with. No input and output here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::header::HeaderName;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use token_sidecar_client::excerpt::excerpt;
use url::{Host, Url};

use super::error::BrowserError;
use crate::domain::extract::RawToken;
use crate::domain::inspection::{Kind, Seen, may_hold_token};

/// A page that loads more is given up.
const MAX_LOADED: u64 = 64 << 20;
/// So is one that opens more frames of other sites and workers.
const MAX_TARGETS: usize = 200;

/// How many headers that may hold a token are kept of a page's requests, and the longest value.
const MAX_SENT: usize = 100;
const MAX_SENT_BYTES: usize = 16 << 10;

/// What a page may do.
#[derive(Debug)]
pub(super) struct Rules {
    /// The addresses of the site: its page and its API. All others inside the own network are refused.
    pub(super) site: Vec<Url>,
    pub(super) login: Option<ProxyLogin>,
    /// The header of requests to the API that holds the token.
    pub(super) header: Option<(HeaderName, Url)>,
    /// Whether every header that may hold a token is kept.
    pub(super) watches: bool,
    /// What the page, each of its frames of another site and each of its workers is sent before it runs.
    pub(super) commands: Vec<(&'static str, Value)>,
}

#[derive(Debug)]
pub(super) struct ProxyLogin {
    pub(super) username: String,
    pub(super) password: SecretString,
}

/// What has been learnt from events so far.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// Its browser context.
    context: String,
    frame: String,
    /// Empty until it is open.
    pub(super) session: String,
    pub(super) url: String,
    /// Of the document that is shown.
    pub(super) status: Option<u16>,
    pub(super) user_agent: Option<String>,
    pub(super) has_loaded: bool,
    /// The token in a header of a request to the API.
    pub(super) header: Option<RawToken>,
    /// The headers that may hold a token, each once, where they are kept.
    pub(super) sent: Vec<Seen>,
    /// There may be something new to find.
    pub(super) has_changed: bool,
    pub(super) error: Option<BrowserError>,
    loaded: u64,
    /// How many frames of other sites and workers it has opened.
    targets: usize,
    /// The last request that asked for the proxy's login: it was wrong if it asks again.
    asked_login: Option<String>,
}

/// A command that answers an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Command {
    /// `None` for the browser itself.
    pub(super) session: Option<String>,
    pub(super) method: &'static str,
    pub(super) params: Value,
}

type Reply = (&'static str, Value);

impl Page {
    /// An empty page. Its main frame has the id of its target.
    pub(super) fn new(context: String, frame: String, session: String, user_agent: String) -> Self {
        Self { context, frame, session, user_agent: Some(user_agent), ..Self::default() }
    }

    /// Learns from an event of a session, and says what it is answered with.
    pub(super) fn take(&mut self, session: Option<&str>, method: &str, params: &Value, rules: &Rules) -> Vec<Command> {
        let (method, params) = match method {
            "Target.attachedToTarget" => return self.attached(params, rules),
            "Fetch.requestPaused" => self.request(params, rules),
            "Fetch.authRequired" => self.login(params, rules),
            // `alert` and its kind would hold up the page; a page that asks whether it may be left is left.
            "Page.javascriptDialogOpening" => ("Page.handleJavaScriptDialog", json!({"accept": true})),
            _ => {
                self.learn(session, method, params);
                return vec![];
            }
        };
        vec![Command { session: session.map(str::to_owned), method, params }]
    }

    fn learn(&mut self, session: Option<&str>, method: &str, params: &Value) {
        match method {
            // `Page.frameNavigated` and `Page.loadEventFired` may not come: the process of a new document may load it
            // before it sends events.
            "Network.responseReceived" if params["type"] == "Document" && self.is_main(&params["frameId"]) => {
                let response = &params["response"];
                self.status = response["status"].as_u64().and_then(|status| u16::try_from(status).ok());
                self.url = text(&response["url"]).to_owned();
                self.has_loaded = false;
            }
            "Page.frameStoppedLoading" if self.is_main(&params["frameId"]) && self.status.is_some() => {
                (self.has_loaded, self.has_changed) = (true, true);
            }
            "Network.responseReceivedExtraInfo" => {
                let headers = params["headers"].as_object();
                self.has_changed |= headers.is_some_and(|all| all.keys().any(|n| n.eq_ignore_ascii_case("set-cookie")));
            }
            "Network.dataReceived" => {
                self.loaded = self.loaded.saturating_add(params["dataLength"].as_u64().unwrap_or_default());
                if self.loaded > MAX_LOADED {
                    self.fail(BrowserError::TooLarge(MAX_LOADED));
                }
            }
            // A frame of another site may crash alone.
            "Inspector.targetCrashed" if session == Some(&self.session) => self.fail(BrowserError::Crashed),
            _ => {}
        }
    }

    /// Notes the end of the page; the first reason counts.
    pub(super) fn fail(&mut self, error: BrowserError) {
        self.error.get_or_insert(error);
        self.has_changed = true;
    }

    fn is_main(&self, frame: &Value) -> bool {
        *frame == *self.frame
    }

    /// A frame of another site or a worker gets the page's rules, then runs. A kind that does not know one of the
    /// commands leaves it out: dedicated workers send their requests through their frame. Nothing is kept of it, and no
    /// answer is waited for, so that it holds up nothing when it hangs.
    fn attached(&mut self, params: &Value, rules: &Rules) -> Vec<Command> {
        // The browser tells of the shared workers of all pages, also of those that are not ours.
        if params["targetInfo"]["browserContextId"] != *self.context {
            return vec![];
        }
        self.targets += 1;
        if self.targets > MAX_TARGETS {
            self.fail(BrowserError::TooManyTargets(MAX_TARGETS));
            return vec![];
        }
        let session = text(&params["sessionId"]);
        let commands = rules.commands.iter().cloned().chain([("Runtime.runIfWaitingForDebugger", json!({}))]);
        commands.map(|(method, params)| Command { session: Some(session.to_owned()), method, params }).collect()
    }

    fn request(&mut self, params: &Value, rules: &Rules) -> Reply {
        let (id, request) = (&params["requestId"], &params["request"]);
        let url = Url::parse(text(&request["url"]));
        let is_document = params["resourceType"] == "Document" && self.is_main(&params["frameId"]);
        if let Some(host) = url.as_ref().ok().and_then(|url| rules.refused(url)) {
            if is_document {
                self.fail(BrowserError::Inside(host));
            }
            return ("Fetch.failRequest", json!({"requestId": id, "errorReason": "BlockedByClient"}));
        }
        if is_document && let Some(name) = header(&request["headers"], "user-agent") {
            self.user_agent = Some(name.to_owned());
        }
        if let (Some((name, api)), Ok(url)) = (&rules.header, &url)
            && url.origin() == api.origin()
            && let Some(value) = header(&request["headers"], name.as_str()).filter(|value| !value.is_empty())
        {
            self.header = Some(RawToken(value.to_owned()));
            self.has_changed = true;
        }
        if let (true, Ok(url)) = (rules.watches, url) {
            self.keep_sent(&request["headers"], &url);
        }
        ("Fetch.continueRequest", json!({"requestId": id}))
    }

    fn keep_sent(&mut self, headers: &Value, url: &Url) {
        for (name, value) in headers.as_object().into_iter().flatten() {
            let name = name.to_ascii_lowercase();
            let value = value.as_str().filter(|value| value.len() <= MAX_SENT_BYTES && may_hold_token(&name, value));
            let Some(value) = value.map(|value| RawToken(value.to_owned())) else { continue };
            let is_known = self.sent.iter().any(|seen| seen.name == name && seen.value == value);
            if !is_known && self.sent.len() < MAX_SENT {
                self.sent.push(Seen { kind: Kind::Header, name, value, to: Some(url.clone()) });
            }
        }
    }

    /// The login of the proxy; a server gets none.
    fn login(&mut self, params: &Value, rules: &Rules) -> Reply {
        let id = text(&params["requestId"]);
        let is_proxy = params["authChallenge"]["source"] == "Proxy";
        let answer = match &rules.login {
            Some(login) if is_proxy && self.asked_login.as_deref() != Some(id) => {
                self.asked_login = Some(id.to_owned());
                let (username, password) = (&login.username, login.password.expose_secret());
                json!({"response": "ProvideCredentials", "username": username, "password": password})
            }
            _ => {
                if is_proxy {
                    self.fail(BrowserError::ProxyLogin);
                }
                json!({"response": "CancelAuth"})
            }
        };
        ("Fetch.continueWithAuth", json!({"requestId": id, "authChallengeResponse": answer}))
    }
}

impl Rules {
    /// Host and port of an address that a page must not reach: one of this machine or of its network, unless the site
    /// itself is there. A name that resolves to such an address is not seen here.
    fn refused(&self, url: &Url) -> Option<String> {
        let is_inside = match url.host()? {
            Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
            Host::Ipv4(address) => is_inside_v4(address),
            Host::Ipv6(address) => is_inside(address),
        };
        let place = |url: &Url| (url.host_str().map(str::to_owned), url.port_or_known_default());
        let is_site = || self.site.iter().any(|site| place(site) == place(url));
        (is_inside && !is_site()).then(|| excerpt(&crate::http::peer(url), 80))
    }
}

fn is_inside(address: Ipv6Addr) -> bool {
    // `::ffff:0:0/96`, and `64:ff9b::/96` of RFC 6052.
    let embedded = match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            Some(Ipv4Addr::new(a, b, c, d))
        }
        _ => address.to_ipv4(),
    };
    match embedded.map_or(IpAddr::V6(address), IpAddr::V4) {
        IpAddr::V4(address) => is_inside_v4(address),
        IpAddr::V6(address) => address.is_unique_local() || address.is_unicast_link_local() || address.is_multicast(),
    }
}

fn is_inside_v4(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    let is_shared = first == 100 && (64..128).contains(&second);
    first == 0
        || is_shared
        || address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn header<'a>(headers: &'a Value, name: &str) -> Option<&'a str> {
    let mut all = headers.as_object()?.iter();
    all.find(|(other, _)| other.eq_ignore_ascii_case(name)).and_then(|(_, value)| value.as_str())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn rules(page: &str) -> Rules {
        let login = Some(ProxyLogin { username: "user".to_owned(), password: "hunter2".into() });
        let api = Url::parse("https://api.shop.test/v2").unwrap();
        let header = Some((HeaderName::from_static("authorization"), api.clone()));
        let commands = vec![("Fetch.enable", json!({}))];
        Rules { site: vec![Url::parse(page).unwrap(), api], login, header, watches: false, commands }
    }

    fn page() -> Page {
        Page::new("context".to_owned(), "main".to_owned(), "session".to_owned(), "UA".to_owned())
    }

    /// What an event of the page's own session is answered with.
    fn answered(page: &mut Page, method: &str, params: &Value, rules: &Rules) -> Option<Reply> {
        let commands = page.take(Some("session"), method, params, rules);
        commands.into_iter().next().map(|command| (command.method, command.params))
    }

    fn paused(url: &str, kind: &str, headers: Value) -> Value {
        json!({"requestId": "7", "frameId": "main", "resourceType": kind, "request": {"url": url, "headers": headers}})
    }

    #[test]
    fn addresses_of_this_machine_and_its_network_are_refused_unless_the_site_is_there() {
        let shop = rules("https://www.shop.test/");
        for inside in [
            "http://127.0.0.1:6379/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f.0.0.1/",
            "http://localhost/",
            "http://a.localhost:80/",
            "http://[::1]/",
            "http://[::]/",
            "http://0.0.0.0/",
            "http://10.1.2.3/",
            "http://172.16.0.1/",
            "http://192.168.1.1/",
            "http://169.254.169.254/latest/",
            "http://100.64.0.1/",
            "http://[::ffff:10.0.0.1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://[fe80::1]/",
            "http://[fd00::1]/",
            "http://224.0.0.1/",
            "http://255.255.255.255/",
            "https://127.0.0.1/",
        ] {
            assert!(shop.refused(&Url::parse(inside).unwrap()).is_some(), "{inside}");
        }
        for outside in
            ["https://www.shop.test/", "http://8.8.8.8/", "http://[2001:db8::1]/", "http://172.32.0.1/", "data:,x"]
        {
            assert_eq!(shop.refused(&Url::parse(outside).unwrap()), None, "{outside}");
        }
        let local = rules("http://127.0.0.1:8080/shop");
        assert_eq!(local.refused(&Url::parse("http://127.0.0.1:8080/other").unwrap()), None);
        assert_eq!(local.refused(&Url::parse("http://127.0.0.1:6379/").unwrap()), Some("127.0.0.1:6379".to_owned()));
    }

    #[test]
    fn a_document_that_leads_inside_ends_the_page_and_an_image_does_not() {
        let (rules, mut page) = (rules("https://www.shop.test/"), page());
        let image = answered(&mut page, "Fetch.requestPaused", &paused("http://10.0.0.1/", "Image", json!({})), &rules);
        assert_eq!(image, Some(("Fetch.failRequest", json!({"requestId": "7", "errorReason": "BlockedByClient"}))));
        assert_eq!(page.error, None);
        answered(&mut page, "Fetch.requestPaused", &paused("http://10.0.0.1/", "Document", json!({})), &rules);
        assert_eq!(page.error, Some(BrowserError::Inside("10.0.0.1:80".to_owned())));
    }

    #[test]
    fn the_header_is_taken_from_requests_to_the_api_alone() {
        let (rules, mut page) = (rules("https://www.shop.test/"), page());
        let headers = json!({"Authorization": "Bearer abc", "User-Agent": "Mozilla"});
        for (url, token) in [
            ("https://other.test/v2", None),
            ("http://api.shop.test/v2", None),
            ("https://api.shop.test/v1/x", Some(RawToken("Bearer abc".to_owned()))),
        ] {
            let answer = answered(&mut page, "Fetch.requestPaused", &paused(url, "XHR", headers.clone()), &rules);
            assert_eq!(answer, Some(("Fetch.continueRequest", json!({"requestId": "7"}))));
            assert_eq!(page.header, token, "{url}");
        }
        assert_eq!(page.user_agent.as_deref(), Some("UA"), "that of the document counts");
        answered(&mut page, "Fetch.requestPaused", &paused("https://www.shop.test/", "Document", headers), &rules);
        assert_eq!(page.user_agent.as_deref(), Some("Mozilla"));
    }

    #[test]
    fn every_header_that_may_hold_a_token_is_kept_once_where_they_are_watched() {
        let (mut rules, mut page) = (rules("https://www.shop.test/"), page());
        let mut send = |rules: &Rules, value: &str| {
            let headers = json!({"Authorization": value, "X-Lang": "ru", "X-Auth": 7});
            answered(&mut page, "Fetch.requestPaused", &paused("https://any.test/x", "XHR", headers), rules);
            page.sent.iter().map(|seen| (seen.name.clone(), seen.value.0.len())).collect::<Vec<_>>()
        };
        assert_eq!(send(&rules, "Bearer abc"), []);
        rules.watches = true;
        for value in ["Bearer abc", "Bearer abc", &"x".repeat(MAX_SENT_BYTES + 1)] {
            assert_eq!(send(&rules, value), [("authorization".to_owned(), 10)]);
        }
        let most = (0..200).map(|n| send(&rules, &format!("Bearer {n}")).len()).max();
        assert_eq!(most, Some(MAX_SENT));
    }

    #[test]
    fn the_login_is_for_the_proxy_and_is_given_once() {
        let (rules, mut page) = (rules("https://www.shop.test/"), page());
        let asked = |source: &str| json!({"requestId": "7", "authChallenge": {"source": source}});
        let answer = |reply: Option<Reply>| reply.unwrap().1["authChallengeResponse"].clone();
        assert_eq!(
            answer(answered(&mut page, "Fetch.authRequired", &asked("Server"), &rules)),
            json!({"response": "CancelAuth"})
        );
        assert_eq!(page.error, None);
        let given = answer(answered(&mut page, "Fetch.authRequired", &asked("Proxy"), &rules));
        assert_eq!(given, json!({"response": "ProvideCredentials", "username": "user", "password": "hunter2"}));
        assert_eq!(
            answer(answered(&mut page, "Fetch.authRequired", &asked("Proxy"), &rules)),
            json!({"response": "CancelAuth"})
        );
        assert_eq!(page.error, Some(BrowserError::ProxyLogin));
        assert!(!format!("{rules:?}").contains("hunter2"));
    }

    #[test]
    fn a_page_that_loads_too_much_or_crashes_ends() {
        let (rules, mut page) = (rules("https://www.shop.test/"), page());
        answered(&mut page, "Network.dataReceived", &json!({"dataLength": MAX_LOADED}), &rules);
        assert_eq!(page.error, None);
        answered(&mut page, "Network.dataReceived", &json!({"dataLength": 1}), &rules);
        assert_eq!(page.error.take(), Some(BrowserError::TooLarge(MAX_LOADED)));
        page.take(Some("frame"), "Inspector.targetCrashed", &json!({}), &rules);
        assert_eq!(page.error, None, "a frame of another site");
        answered(&mut page, "Inspector.targetCrashed", &json!({}), &rules);
        assert_eq!(page.error, Some(BrowserError::Crashed));
    }

    #[test]
    fn status_and_address_are_those_of_the_document_that_is_shown() {
        let (rules, mut page) = (rules("https://www.shop.test/"), page());
        let url = "https://www.shop.test/";
        let response = |frame: &str, kind: &str, status: u16| json!({"frameId": frame, "type": kind, "response": {"status": status, "url": url}});
        let stopped = |frame: &str| json!({"frameId": frame});
        answered(&mut page, "Page.frameStoppedLoading", &stopped("main"), &rules);
        assert!(!page.has_loaded, "that is the empty page");
        answered(&mut page, "Network.responseReceived", &response("main", "Document", 403), &rules);
        answered(&mut page, "Network.responseReceived", &response("other", "Document", 200), &rules);
        answered(&mut page, "Network.responseReceived", &response("main", "Image", 404), &rules);
        assert_eq!((page.status, page.url.as_str()), (Some(403), url));
        answered(&mut page, "Page.frameStoppedLoading", &stopped("other"), &rules);
        assert!(!page.has_loaded);
        answered(&mut page, "Page.frameStoppedLoading", &stopped("main"), &rules);
        assert!(page.has_loaded);
        answered(&mut page, "Network.responseReceived", &response("main", "Document", 200), &rules);
        assert_eq!((page.status, page.has_loaded), (Some(200), false));
    }

    #[test]
    fn a_frame_or_worker_gets_the_rules_before_it_runs_and_one_too_many_never_runs() {
        let (rules, mut page) = (rules("https://www.shop.test/"), page());
        let mut attached = |context: &str| {
            let params = json!({"sessionId": "frame", "targetInfo": {"browserContextId": context}});
            let commands = page.take(Some("session"), "Target.attachedToTarget", &params, &rules);
            let sent = commands.into_iter().map(|command| (command.session, command.method)).collect::<Vec<_>>();
            (sent, page.error.clone())
        };
        let all = ["Fetch.enable", "Runtime.runIfWaitingForDebugger"].map(|method| (Some("frame".to_owned()), method));
        for _ in 0..MAX_TARGETS {
            assert_eq!(attached("context"), (all.to_vec(), None));
        }
        assert_eq!(attached("another"), (vec![], None), "a worker of another page");
        assert_eq!(attached("context"), (vec![], Some(BrowserError::TooManyTargets(MAX_TARGETS))));
    }

    proptest::proptest! {
        #[test]
        fn no_event_panics(method in 0..9_usize, value in "null|7|-1|1e308|\"x\"|\\[\\]|\\{\\}") {
            let value: Value = serde_json::from_str(&value).unwrap();
            let methods = ["Fetch.requestPaused", "Fetch.authRequired", "Page.frameStoppedLoading", "Network.responseReceived",
                "Network.responseReceivedExtraInfo", "Network.dataReceived", "Page.javascriptDialogOpening",
                "Target.attachedToTarget", "x"];
            let params = json!({"requestId": value, "request": value, "frame": value, "response": value, "type": "Document",
                "frameId": "main", "headers": value, "dataLength": value, "authChallenge": value, "targetInfo": value});
            for params in [&params, &value] {
                page().take(None, methods[method], params, &rules("https://www.shop.test/"));
            }
        }
    }
}

//! One request: sent with the current token, and after a 401 once more with the next one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::TRANSFER_ENCODING;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use axum::response::Response;
use hyper::ext::ReasonPhrase;
use token_sidecar_client::wire::{Event, Fingerprint, SiteId};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use url::Url;

use super::access::Access;
use super::address::Target;
use super::body::{Memory, Upload};
use super::headers::{self, TOKEN_SIDECAR};
use super::problem::Problem;
use super::refused::Refused;
use super::site::Site;
use crate::config::GatewayConfig;
use crate::domain::stored::StoredToken;
use crate::status::{GatewayOutcome, StatusRegistry};

/// How long the API may take to begin its answer to a request that is sent as a whole.
const ANSWER: Duration = Duration::from_secs(120);

/// How long a body that is kept may take to arrive.
const UPLOAD: Duration = Duration::from_secs(60);
/// What all bodies that are kept may take together, in bytes. Further ones are streamed.
const KEPT: usize = 128 << 20;

/// Serves all sites that have an API.
pub struct Gateway {
    config: GatewayConfig,
    access: Access,
    sites: BTreeMap<SiteId, Site>,
    status: Arc<StatusRegistry>,
    /// Places for requests that wait for a token.
    waiting: Semaphore,
    kept: Memory,
}

/// A request on its way.
struct Exchange<'a, B> {
    gateway: &'a Gateway,
    site: &'a Site,
    method: Method,
    url: Url,
    headers: HeaderMap,
    upload: Upload<B>,
    outcome: GatewayOutcome,
    /// How long the API took.
    upstream: Duration,
}

/// What is said in `X-Token-Sidecar`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase", const_into_str)]
enum Mark {
    /// Sent twice.
    Replayed,
    /// The 401 is not because of the token.
    Refused,
    /// The token was reported; the request is the client's to send again.
    Refreshing,
    /// Redis is out of reach: the token is the last one that is known.
    Stale,
}

impl Gateway {
    pub fn new(config: GatewayConfig, access: Access, sites: Vec<Site>, status: Arc<StatusRegistry>) -> Self {
        Self {
            access,
            waiting: Semaphore::new(config.max_waiting),
            kept: Memory::of(KEPT),
            sites: sites.into_iter().map(|site| (site.id.clone(), site)).collect(),
            config,
            status,
        }
    }

    /// An event that was received on the subscription.
    pub fn event(&self, event: &Event) {
        if let Event::Failed(failed) = event
            && let Some(site) = SiteId::parse(&failed.site).and_then(|id| self.sites.get(&id))
        {
            site.tokens.failed(failed);
        }
    }

    /// A client has connected.
    pub(super) async fn connected(&self) {
        self.access.read_again().await;
    }

    /// Answers one request.
    pub(super) async fn serve<B>(&self, request: Request<B>) -> Response
    where
        B: hyper::body::Body<Data = Bytes> + Send + Sync + Unpin + 'static,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let (parts, body) = request.into_parts();
        match self.prepare(parts, body).await {
            Ok(exchange) => exchange.run().await,
            Err(problem) => {
                tracing::debug!(status = problem.status().as_u16(), "the gateway refuses a request");
                problem.into_response()
            }
        }
    }

    async fn prepare<B>(&self, parts: Parts, body: B) -> Result<Exchange<'_, B>, Problem>
    where
        B: hyper::body::Body<Data = Bytes> + Unpin,
    {
        self.access.check(&parts.headers)?;
        let target = Target::of(&parts.method, &parts.uri)?;
        let site = SiteId::parse(target.site).and_then(|id| self.sites.get(&id));
        let site = site.ok_or_else(|| Problem::unknown_site(self.sites.keys().map(SiteId::as_str)))?;
        let url = target.below(&site.api)?;
        let mut codings = parts.headers.get_all(TRANSFER_ENCODING).iter();
        if codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
            return Err(Problem::unknown_coding());
        }
        // Before any wait: hyper notices that a client has gone only once its request was read.
        let upload = timeout(UPLOAD, Upload::read(body, self.config.replay_limit, &self.kept)).await;
        let upload = upload.map_err(|_| Problem::slow_body(UPLOAD))?.map_err(|_| Problem::broken_body())?;
        Ok(Exchange {
            gateway: self,
            site,
            url,
            method: parts.method,
            headers: headers::of_client(parts.headers),
            upload,
            outcome: GatewayOutcome::Sent,
            upstream: Duration::ZERO,
        })
    }
}

impl<B> Exchange<'_, B>
where
    B: hyper::body::Body<Data = Bytes> + Send + Sync + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    async fn run(mut self) -> Response {
        let (site, began) = (self.site, self.site.observer.now());
        let response = self.forward().await.unwrap_or_else(Problem::into_response);
        let (status, outcome) = (response.status().as_u16(), self.outcome);
        let added = site.observer.now().saturating_sub(began).saturating_sub(self.upstream);
        site.observer.answered(status, outcome, added);
        tracing::debug!(
            site = %site.id, method = %self.method, status, outcome = outcome.into_str(),
            added.ms = added.as_millis(), "the gateway answers"
        );
        response
    }

    async fn forward(&mut self) -> Result<Response, Problem> {
        let stored = self.token(None).await?;
        let sent = self.site.observer.now();
        let response = self.send(&stored).await?;
        let is_stale = !self.gateway.status.is_connected();
        if is_stale || response.status() != StatusCode::UNAUTHORIZED {
            return Ok(self.passed(response, is_stale.then_some(Mark::Stale)));
        }
        let refused = stored.token.fingerprint();
        if !self.is_about_the_token(&stored, sent).await {
            return Ok(self.passed(response, Some(Mark::Refused)));
        }
        if !self.may_be_repeated() {
            if self.usable(Some(refused)).is_none() {
                self.site.tokens.report(refused);
            }
            return Ok(self.passed(response, Some(Mark::Refreshing)));
        }
        // Its connection is free for others while this request waits.
        drop(response);
        let newer = self.token(Some(refused)).await?;
        let response = self.send(&newer).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            self.site.refusals.remember(&self.method, self.url.path(), self.site.observer.now());
            return Ok(self.passed(response, Some(Mark::Refused)));
        }
        self.outcome = GatewayOutcome::Replayed;
        Ok(self.passed(response, Some(Mark::Replayed)))
    }

    /// The stored token; where it is the refused one, has ended or is not there, the next one.
    async fn token(&mut self, refused: Option<Fingerprint>) -> Result<Arc<StoredToken>, Problem> {
        if let Some(stored) = self.usable(refused) {
            return Ok(stored);
        }
        self.outcome = GatewayOutcome::Waited;
        let _place = self.gateway.waiting.try_acquire().map_err(|_| Problem::crowded())?;
        let now = || self.site.observer.time();
        let next = self.site.tokens.next(refused, now, self.gateway.config.wait).await;
        next.map_err(|reason| Problem::no_token(&reason, now(), self.gateway.status.is_connected()))
    }

    fn usable(&self, refused: Option<Fingerprint>) -> Option<Arc<StoredToken>> {
        self.site.tokens.usable(refused, self.site.observer.time())
    }

    /// Whether a 401 says that the token is bad. A token that was replaced since is.
    async fn is_about_the_token(&self, token: &Arc<StoredToken>, sent: Duration) -> bool {
        if self.usable(Some(token.token.fingerprint())).is_some() {
            return true;
        }
        let (method, path, may_be_repeated) = (&self.method, self.url.path(), self.may_be_repeated());
        let refused = Refused { method, path, token, sent, may_be_repeated };
        let (refusals, observer) = (&self.site.refusals, &self.site.observer);
        refusals.is_about_the_token(&refused, || observer.now(), self.gateway.config.wait).await
    }

    /// A body that was streamed is gone.
    fn may_be_repeated(&self) -> bool {
        let is_safe = [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE].contains(&self.method);
        matches!(self.upload, Upload::Kept(..)) && (is_safe || self.gateway.config.replay_unsafe)
    }

    async fn send(&mut self, stored: &Arc<StoredToken>) -> Result<reqwest::Response, Problem> {
        let mut request = reqwest::Request::new(self.method.clone(), self.url.clone());
        let config = &self.gateway.config;
        let of_token = self.site.headers_of(stored, config);
        *request.headers_mut() = headers::with_token(&self.headers, &of_token, stored, config);
        *request.body_mut() = Some(self.upload.take());
        let began = self.site.observer.now();
        let answer = self.site.client.open(request);
        // A body that is streamed may take long; where nothing moves, the client's connection is closed.
        let patience = if matches!(self.upload, Upload::Kept(..)) { ANSWER } else { Duration::MAX };
        let answer = timeout(patience, answer).await;
        self.upstream += self.site.observer.now().saturating_sub(began);
        let answer = answer.map_err(|_| Problem::silent_api(ANSWER))??;
        match answer.status() {
            status @ (StatusCode::SWITCHING_PROTOCOLS | StatusCode::PROXY_AUTHENTICATION_REQUIRED) => {
                Err(Problem::not_for_clients(status))
            }
            _ => Ok(answer),
        }
    }

    /// The API's answer, streamed as it comes.
    fn passed(&mut self, response: reqwest::Response, mark: Option<Mark>) -> Response {
        if response.status() == StatusCode::UNAUTHORIZED {
            self.outcome = GatewayOutcome::Refused;
        }
        let (mut parts, body) = axum::http::Response::<reqwest::Body>::from(response).into_parts();
        let (id, api, config) = (self.site.id.as_str(), &self.site.api, &self.gateway.config);
        headers::of_answer(&mut parts.headers, id, api, &self.url, config);
        if let Some(mark) = mark {
            parts.headers.insert(TOKEN_SIDECAR, HeaderValue::from_static(mark.into_str()));
        }
        // The version is that of the client's connection.
        let mut response = Response::new(Body::new(body));
        *response.status_mut() = parts.status;
        *response.headers_mut() = parts.headers;
        if let Some(reason) = parts.extensions.remove::<ReasonPhrase>() {
            response.extensions_mut().insert(reason);
        }
        response
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use axum::http::HeaderMap;
    use futures_util::FutureExt as _;
    use token_sidecar_client::wire::{Cookies, Token};
    use tokio::sync::watch;

    use super::super::site::SiteParts;
    use super::super::trial::{Silent, config};
    use super::*;
    use crate::domain::schedule::Schedule;
    use crate::domain::verdict::Verdict;

    /// With a site `shop` that has a token.
    fn gateway(api: &str) -> Gateway {
        let mut status = StatusRegistry::new(Arc::new(|| Duration::ZERO));
        let id = SiteId::parse("shop").unwrap();
        let _unused = status.add(&id, Schedule::parse("off", "UTC").unwrap());
        let (token, cookies) = (Token::parse("token").unwrap(), Cookies::default());
        let stored = StoredToken { token, cookies, version: 1, user_agent: None, ends_at: None };
        let site = Site::new(SiteParts {
            observer: status.gateway(&id).unwrap(),
            id,
            api: Url::parse(api).unwrap(),
            headers: HeaderMap::new(),
            proxy: None,
            stored: watch::Sender::new(Some(Arc::new(stored))).subscribe(),
            mailbox: Arc::default(),
            judge: Arc::new(|_| std::future::ready(Verdict::Accepted).boxed()),
        });
        let config = GatewayConfig { replay_limit: 10, ..config() };
        Gateway::new(config, Access::Socket, vec![site.unwrap()], Arc::new(status))
    }

    fn to_shop<B>(body: B) -> Request<B> {
        Request::builder().uri("/shop/x").body(body).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_that_does_not_begin_its_answer_is_given_up() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let gateway = gateway(&format!("http://{}", silent.local_addr().unwrap()));
        let answer = gateway.serve(to_shop(reqwest::Body::from(""))).await;
        assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_arrive_is_given_up() {
        let answer = gateway("http://127.0.0.1:1").serve(to_shop(Silent)).await;
        assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
    }
}

//! `/api/status`, `/api/history` and `POST /api/sites/S/refresh`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use token_sidecar_client::wire::{SiteId, whole_second_down};
use tokio::time::timeout;

use super::context::{Context, Limits};
use super::health::{health, millis};
use super::problem::Problem;
use super::shared_page::{Page, json_page};
use crate::domain::breaker::SolverStatus;
use crate::status::{SiteStatus, StatusRegistry, SubscriptionState};

/// How many entries of the history are given by default.
const HISTORY_ENTRIES: usize = 50;

const MAX_HISTORY_ENTRIES: usize = 500;

#[derive(Debug, Serialize)]
struct ProcessStatus<'a> {
    version: &'static str,
    instance: &'a str,
    /// The store's clock, estimated; `null` before the first reading.
    time: Option<Timestamp>,
    redis: Value,
    solvers: Vec<SolverStatus>,
    sites: Vec<SiteStatus>,
}

/// The query of `/api/history`.
#[derive(Debug, Deserialize)]
pub(super) struct HistoryQuery {
    /// Optional if there is only one site.
    site: Option<String>,
    limit: Option<usize>,
}

/// `GET /api/status`.
pub(super) async fn status(State(context): State<Arc<Context>>) -> Page {
    let status = &context.status;
    context.states.get(|| {
        let body = ProcessStatus {
            version: env!("CARGO_PKG_VERSION"),
            instance: &context.instance,
            time: status.time().map(whole_second_down),
            redis: redis_status(status, &context.limits),
            solvers: status.solvers(),
            sites: status.sites(),
        };
        json_page(StatusCode::OK, &body)
    })
}

/// `GET /api/history?site=S&limit=50`: the latest attempts, newest first.
pub(super) async fn history(
    State(context): State<Arc<Context>>,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|e| Problem(StatusCode::BAD_REQUEST, e.body_text()))?;
    let site = match query.site {
        Some(name) => known(&context.status, &name)?,
        None => only(&context.status)?,
    };
    let limit = query.limit.unwrap_or(HISTORY_ENTRIES).clamp(1, MAX_HISTORY_ENTRIES);
    let reading = async {
        // Few readers at a time: many requests must not cause many commands to Redis.
        let _turn = context.readers.acquire().await.map_err(|e| e.to_string())?;
        context.history.latest(&site, limit).await
    };
    let entries = timeout(context.limits.history, reading)
        .await
        .unwrap_or_else(|_| Err("the store takes too long".to_owned()))
        .map_err(|e| Problem::unavailable(format!("the history cannot be read: {e}")))?;
    Ok(Json(json!({ "site": site.as_str(), "entries": entries })).into_response())
}

/// `POST /api/sites/S/refresh`: a manual trigger. The body is not read.
pub(super) async fn refresh(
    State(context): State<Arc<Context>>,
    site: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Some(admin_token) = &context.admin_token else { return Err(Problem::not_found("there is no such page")) };
    let admin_token = admin_token.read_again().await;
    if !authorized(&headers, &admin_token) {
        return Err(Problem(
            StatusCode::UNAUTHORIZED,
            "the header `Authorization: Bearer …` is missing or wrong".into(),
        ));
    }
    let Path(name) = site.map_err(|e| Problem(StatusCode::BAD_REQUEST, e.body_text()))?;
    let site = known(&context.status, &name)?;
    if !(context.refresh)(&site) {
        return Err(Problem::unavailable("the sidecar is shutting down"));
    }
    tracing::info!(site = %site, "a refresh was asked for over HTTP");
    Ok((StatusCode::ACCEPTED, Json(json!({ "accepted": true }))).into_response())
}

/// The state of the subscription; `since_s` and `canary_age_s` are seconds ago.
fn redis_status(status: &StatusRegistry, limits: &Limits) -> Value {
    let (subscription, now) = (status.subscription(), status.now());
    let (state, since) = match subscription.state {
        SubscriptionState::Connecting => ("connecting", None),
        SubscriptionState::Up { since } => ("up", Some(since)),
        SubscriptionState::Down { since, .. } => ("down", Some(since)),
    };
    let seconds = |at: Duration| now.saturating_sub(at).as_secs();
    json!({
        "subscription": state,
        "since_s": since.map(seconds),
        "problem": health(&subscription, now, limits).err(),
        "canary_age_s": subscription.canary.map(|canary| seconds(canary.at)),
        "round_trip_ms": subscription.canary.map(|canary| millis(canary.round_trip)),
        "reconnects": subscription.reconnects(),
    })
}

fn known(status: &StatusRegistry, name: &str) -> Result<SiteId, Problem> {
    SiteId::parse(name).filter(|site| status.knows(site)).ok_or_else(|| Problem::not_found("there is no such site"))
}

fn only(status: &StatusRegistry) -> Result<SiteId, Problem> {
    let mut sites = status.site_ids();
    match (sites.next(), sites.next()) {
        (Some(site), None) => Ok(site.clone()),
        _ => Err(Problem(StatusCode::BAD_REQUEST, "there are several sites: add `?site=…`".into())),
    }
}

/// Compares digests in constant time, so that timing reveals neither the content nor the length of the token.
fn authorized(headers: &HeaderMap, admin_token: &SecretString) -> bool {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let Some((scheme, credentials)) = value.to_str().ok().and_then(|v| v.split_once(' ')) else { return false };
    let given = Sha256::digest(credentials.trim().as_bytes());
    let right = Sha256::digest(admin_token.expose_secret().as_bytes());
    let is_set = !admin_token.expose_secret().is_empty();
    is_set && scheme.eq_ignore_ascii_case("bearer") && bool::from(given.ct_eq(&right))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::super::trial::{ADMIN, ModelHistory, TOKEN, Trial, ask, failing, site, snapshot};
    use crate::domain::snapshot::Snapshot;
    use crate::refresh::observation::{Observation, Observer, OutcomeKind, Step};
    use crate::status::SubscriptionObserver;
    use serde_json::{Value, json};
    use std::time::Duration;
    use token_sidecar_client::wire::{Fingerprint, Payload};

    const REFRESH: &str = "/api/sites/shop/refresh";

    #[tokio::test]
    async fn the_status_has_all_that_is_known() {
        let trial = Trial::new();
        trial.status.connected();
        trial.status.canary(Duration::from_micros(700));
        trial.look(&Snapshot { failing: Some(Box::new(failing())), ..snapshot() });
        trial.shop.observe(Observation::Entered(Step::Solve));
        trial.pass(Duration::from_secs(5));
        let answer = trial.get("/api/status").await;
        let expected = json!({
            "version": env!("CARGO_PKG_VERSION"), "instance": "box-1", "time": "2026-11-22T07:20:05Z",
            "redis": {
                "subscription": "up", "since_s": 5, "problem": null, "canary_age_s": 5, "round_trip_ms": 0.7,
                "reconnects": 0,
            },
            "solvers": [],
                "sites": [{
                "site": "shop", "state": "fresh",
                "token": {
                    "fingerprint": Fingerprint::of(TOKEN).to_string(), "version": 1_795_331_585_623_u64,
                    "refreshed_at": "2026-11-22T07:13:05Z", "expires_at": null,
                    "key_ends_at": "2026-11-23T07:13:05Z", "trigger": "invalid", "source": "flaresolverr",
                },
                "refresh_at": "2026-11-22T09:00:00Z", "next_tick": "2026-11-22T09:00:00Z",
                "refresh": { "stage": "solve", "since": "2026-11-22T07:20:00Z" },
                "failing": {
                    "attempts": 3, "retry_at": "2026-11-22T07:21:00Z", "stage": "verify",
                    "error": "the API refuses <b>fresh</b> tokens", "trigger": "expiry",
                },
                "last_attempt_at": "2026-11-22T07:20:00Z", "last_success_at": "2026-11-22T07:13:05Z",
                "read_at": "2026-11-22T07:20:00Z",
            }],
        });
        assert_eq!((answer.status.as_u16(), answer.json()), (200, expected));
        assert_eq!(answer.header("content-type"), "application/json");
    }

    #[tokio::test]
    async fn before_anything_is_known_the_status_is_unknown() {
        let status = Trial::new().get("/api/status").await.json();
        assert_eq!(status["time"], Value::Null);
        assert_eq!(status["redis"]["subscription"], "connecting");
        assert_eq!(status["sites"][0]["state"], "unknown");
    }

    #[tokio::test]
    async fn the_history_is_given_in_bounds() {
        let trial = Trial::new();
        for (path, count) in [
            ("/api/history?site=shop", 50),
            ("/api/history", 50),
            ("/api/history?site=shop&limit=3", 3),
            ("/api/history?limit=0", 1),
            ("/api/history?limit=999999", 500),
        ] {
            let answer = trial.get(path).await;
            assert_eq!(answer.status, 200, "{path}");
            assert_eq!(answer.json()["entries"].as_array().unwrap().len(), count, "{path}");
            assert_eq!(answer.json()["site"], "shop");
        }
    }

    #[tokio::test]
    async fn a_history_that_cannot_be_given_is_refused_with_a_reason() {
        let mut trial = Trial::with_sites(&["books"]);
        trial.limits.history = Duration::from_millis(20);
        for (history, path, status, error) in [
            (ModelHistory::Entries(1), "/api/history", 400, "there are several sites: add `?site=…`"),
            (ModelHistory::Entries(1), "/api/history?site=other", 404, "there is no such site"),
            (ModelHistory::Entries(1), "/api/history?site=..%2F", 404, "there is no such site"),
            (ModelHistory::Away, "/api/history?site=shop", 503, "the history cannot be read: connection refused"),
            (
                ModelHistory::Silence,
                "/api/history?site=shop",
                503,
                "the history cannot be read: the store takes too long",
            ),
        ] {
            trial.history = history;
            let answer = trial.get(path).await;
            assert_eq!((answer.status.as_u16(), answer.json()), (status, json!({ "error": error })), "{path}");
        }
        let answer = trial.get("/api/history?limit=many").await;
        assert_eq!(answer.status, 400);
        assert!(answer.json()["error"].is_string());
    }

    #[tokio::test]
    async fn only_the_right_admin_token_acts() {
        let trial = Trial::new();
        let right = format!("Bearer {ADMIN}");
        for (headers, status) in [
            (vec![], 401),
            (vec![("authorization", "Bearer")], 401),
            (vec![("authorization", "Bearer ")], 401),
            (vec![("authorization", "Bearer wrong")], 401),
            (vec![("authorization", "Basic very-secret-admin")], 401),
            (vec![("authorization", "very-secret-admin")], 401),
            (vec![("authorization", "Bearer very-secret-admi")], 401),
            (vec![("authorization", "Bearer very-secret-admin-")], 401),
            (vec![("authorization", right.as_str()), ("authorization", right.as_str())], 401),
            (vec![("authorization", right.as_str())], 202),
            (vec![("authorization", "bearer  very-secret-admin")], 202),
        ] {
            let answer = trial.ask("POST", REFRESH, &headers).await;
            assert_eq!(answer.status.as_u16(), status, "{headers:?}");
            let challenge = if status == 401 { "Bearer" } else { "" };
            assert_eq!(answer.header("www-authenticate"), challenge);
            assert!(!answer.text.contains("very-secret"));
        }
        assert_eq!(*trial.triggered.lock().unwrap(), ["shop", "shop"]);
        let answer = trial.ask("POST", REFRESH, &[("authorization", right.as_str())]).await;
        assert_eq!(answer.json(), json!({ "accepted": true }));
    }

    #[tokio::test]
    async fn without_an_admin_token_nothing_that_acts_exists() {
        let trial = Trial { admin_token: None, ..Trial::new() };
        for (method, header) in [("POST", "Bearer "), ("POST", "Bearer very-secret-admin"), ("GET", "")] {
            let answer = trial.ask(method, REFRESH, &[("authorization", header)]).await;
            assert_eq!(answer.status, 404);
            assert_eq!(answer.json(), json!({ "error": "there is no such page" }));
        }
        assert!(trial.triggered.lock().unwrap().is_empty());
        let trial = Trial { admin_token: Some(""), ..trial };
        assert_eq!(trial.ask("POST", REFRESH, &[("authorization", "Bearer ")]).await.status, 401);
    }

    #[tokio::test]
    async fn every_refusal_is_json_with_an_error() {
        let bearer = format!("Bearer {ADMIN}");
        let bearer = [("authorization", bearer.as_str())];
        let trial = Trial::new();
        for (method, path, status) in [
            ("POST", "/api/sites/other/refresh", 404),
            ("POST", "/api/sites/%ff/refresh", 400),
            ("GET", REFRESH, 405),
            ("DELETE", "/healthz", 405),
            ("POST", "/", 405),
            ("GET", "/nothing", 404),
            ("GET", "/api/", 404),
        ] {
            let answer = trial.ask(method, path, &bearer).await;
            assert_eq!(answer.status.as_u16(), status, "{method} {path}");
            assert!(answer.json()["error"].is_string(), "{method} {path}");
        }
        let closed = Trial { open: false, ..Trial::new() };
        assert_eq!(closed.ask("POST", REFRESH, &bearer).await.status, 503);
    }

    #[tokio::test]
    async fn no_answer_holds_a_secret_or_may_be_kept() {
        let trial = Trial::new();
        trial.status.connected();
        trial.status.canary(Duration::ZERO);
        trial.status.message(&site("shop"), Payload::Details);
        trial.look(&Snapshot { failing: Some(Box::new(failing())), ..snapshot() });
        trial.shop.observe(Observation::Finished(OutcomeKind::Refreshed));
        let context = trial.context();
        for path in ["/", "/healthz", "/readyz", "/metrics", "/api/status", "/api/history", "/nothing"] {
            let answer = ask(&context, "GET", path, &[]).await;
            assert!(!answer.text.contains("very-secret"), "{path}");
            assert_eq!(answer.header("cache-control"), "no-store", "{path}");
            assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
            assert!(answer.header("content-security-policy").starts_with("default-src 'none'"), "{path}");
            let head = ask(&context, "HEAD", path, &[]).await;
            assert_eq!((head.status, head.text.as_str()), (answer.status, ""), "{path}");
        }
    }
}

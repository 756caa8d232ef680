//! `/api/status` and `POST /api/sites/S/refresh`.

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
use token_sidecar_client::wire::{SiteId, tidy, whole_second_down};

use super::context::{Context, Limits};
use super::health::{STOPPING, health, millis};
use super::problem::Problem;
use super::shared_page::{Page, json_page};
use crate::domain::breaker::SolverStatus;
use crate::domain::pending::Note;
use crate::status::{HOURS, OutputStatus, SiteStatus, StatusRegistry, SubscriptionState};

/// Who asks for a refresh over HTTP and does not say who it is.
const SOURCE: &str = "http";

#[derive(Debug, Serialize)]
struct ProcessStatus<'a> {
    version: &'static str,
    instance: &'a str,
    /// The store's clock, estimated; `null` before the first reading.
    time: Option<Timestamp>,
    redis: Value,
    solvers: Vec<SolverStatus>,
    /// Whether there is an admin token, and so a route that acts.
    admin: bool,
    sites: Vec<SiteView>,
}

/// A site as `/api/status` shows it.
#[derive(Debug, Serialize)]
struct SiteView {
    #[serde(flatten)]
    status: SiteStatus,
    /// Reports received by this process; the last number is the hour that runs.
    reports_per_hour: [u32; HOURS],
    /// What holds the token beside Redis.
    outputs: Vec<OutputStatus>,
}

/// The query of a refresh: for logs and the history, as in a report.
#[derive(Debug, Deserialize)]
pub(super) struct RefreshQuery {
    reason: Option<String>,
    source: Option<String>,
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
            admin: context.admin_token.is_some(),
            sites: status
                .reported()
                .into_iter()
                .map(|(status, reports_per_hour, outputs)| SiteView { status, reports_per_hour, outputs })
                .collect(),
        };
        json_page(StatusCode::OK, &body)
    })
}

/// `POST /api/sites/S/refresh?reason=TEXT&source=NAME`: a manual trigger. The body is not read.
pub(super) async fn refresh(
    State(context): State<Arc<Context>>,
    site: Result<Path<String>, PathRejection>,
    query: Result<Query<RefreshQuery>, QueryRejection>,
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
    let Query(query) = query.map_err(|e| Problem(StatusCode::BAD_REQUEST, e.body_text()))?;
    let site = known(&context.status, &name)?;
    let text = |given: Option<String>| given.as_deref().and_then(tidy);
    let note = Note { reason: text(query.reason), source: text(query.source).or_else(|| Some(SOURCE.to_owned())) };
    if context.stopping.is_cancelled() {
        return Err(Problem::unavailable(STOPPING));
    }
    tracing::info!(site = %site, reason = note.reason, source = note.source, "a refresh is asked for over HTTP");
    (context.refresh)(&site, note);
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

pub(super) fn known(status: &StatusRegistry, name: &str) -> Result<SiteId, Problem> {
    SiteId::parse(name).filter(|site| status.knows(site)).ok_or_else(|| Problem::not_found("there is no such site"))
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
    use super::super::trial::{ADMIN, TOKEN, Trial, ask, failing, site, snapshot};
    use super::STOPPING;
    use crate::domain::snapshot::Snapshot;
    use crate::refresh::observation::{Observation, Observer, OutcomeKind, Step};
    use crate::status::SubscriptionObserver;
    use serde_json::{Value, json};
    use std::time::Duration;
    use token_sidecar_client::wire::{Fingerprint, Payload, Trigger};

    const REFRESH: &str = "/api/sites/shop/refresh";

    #[tokio::test]
    async fn the_status_has_all_that_is_known() {
        let trial = Trial::new();
        trial.status.connected();
        trial.status.canary(Duration::from_micros(700));
        trial.look(&Snapshot { failing: Some(Box::new(failing())), ..snapshot() });
        trial.shop.observe(Observation::Entered(Step::Solve));
        trial.status.message(&site("shop"), Payload::Bare);
        trial.shop.output("/data/.env", false).report(Err("it is a folder".to_owned()));
        let with_hook = trial.shop.output("/data/token", true);
        with_hook.report(Ok(()));
        with_hook.report_hook(Err("nginx ended with 1".to_owned()));
        trial.pass(Duration::from_secs(5));
        let answer = trial.get("/api/status").await;
        let expected = json!({
            "version": env!("CARGO_PKG_VERSION"), "instance": "box-1", "time": "2026-11-22T07:20:05Z",
            "redis": {
                "subscription": "up", "since_s": 5, "problem": null, "canary_age_s": 5, "round_trip_ms": 0.7,
                "reconnects": 0,
            },
            "solvers": [], "admin": true,
            "sites": [{
                "site": "shop", "state": "fresh",
                "token": {
                    "product": "token", "fingerprint": Fingerprint::of(TOKEN).to_string(),
                    "version": 1_795_331_585_623_u64,
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
                "reports_per_hour": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
                "outputs": [
                    { "file": "/data/.env", "current": false, "error": "it is a folder" },
                    {
                        "file": "/data/token", "current": true, "error": null,
                        "hook": { "succeeded": false, "error": "nginx ended with 1" },
                    },
                ],
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
        assert_eq!(*trial.triggered.lock().unwrap(), ["shop: - by http", "shop: - by http"]);
        let answer = trial.ask("POST", REFRESH, &[("authorization", right.as_str())]).await;
        assert_eq!(answer.json(), json!({ "accepted": true }));
    }

    #[tokio::test]
    async fn who_asks_and_why_is_passed_on_tidied() {
        let trial = Trial::new();
        let right = format!("Bearer {ADMIN}");
        for query in ["?reason=new%20keys%0a%E2%80%AE&source=anna", "?reason=+", "?reason=%F0%9F%94%91"] {
            let answer = trial.ask("POST", &format!("{REFRESH}{query}"), &[("authorization", &right)]).await;
            assert_eq!(answer.status, 202, "{query}");
        }
        assert_eq!(*trial.triggered.lock().unwrap(), ["shop: new keys by anna", "shop: - by http", "shop: 🔑 by http"]);
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
            ("POST", "/api/sites/shop/refresh?reason=a&reason=b", 400),
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
        trial.stopping.cancel();
        let answer = trial.ask("POST", REFRESH, &bearer).await;
        assert_eq!((answer.status.as_u16(), answer.json()["error"].as_str()), (503, Some(STOPPING)));
    }

    #[tokio::test]
    async fn no_answer_holds_a_secret_or_may_be_kept() {
        let trial = Trial::new();
        trial.status.connected();
        trial.status.canary(Duration::ZERO);
        trial.status.message(&site("shop"), Payload::Details);
        trial.look(&Snapshot { failing: Some(Box::new(failing())), ..snapshot() });
        trial.shop.observe(Observation::Finished(OutcomeKind::Refreshed, Trigger::Schedule));
        let context = trial.context();
        for path in
            ["/", "/healthz", "/readyz", "/metrics", "/api/status", "/api/history", "/api/histories", "/nothing"]
        {
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

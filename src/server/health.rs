//! `/healthz` and `/readyz`.
//!
//! A process is healthy while what it publishes comes back on its own subscription: that a loop turns proves
//! nothing. Redis away for longer than the bound is therefore unhealthy, also before it was first reached:
//! nothing is served then, whoever is to blame. A process is ready once it hears triggers and knows the state
//! of its sites; a site without a token is no reason not to be.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use super::state::{Limits, Shared};
use crate::domain::duration;
use crate::status::model::{Canary, LinkStatus, Subscription, TokenState};

/// `GET /healthz`.
pub(super) async fn healthz(State(shared): State<Arc<Shared>>) -> Response {
    match health(&shared.board.link(), shared.board.now(), &shared.limits) {
        Ok(canary) => {
            let age_s = shared.board.now().saturating_sub(canary.at).as_secs();
            let body = json!({ "status": "ok", "canary_age_s": age_s, "round_trip_ms": millis(canary.round_trip) });
            Json(body).into_response()
        }
        Err(error) => {
            (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "unhealthy", "error": error }))).into_response()
        }
    }
}

/// The body of `GET /readyz`.
#[derive(Serialize)]
struct Readiness {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    sites: Vec<SiteState>,
}

#[derive(Serialize)]
struct SiteState {
    site: String,
    token: TokenState,
}

/// `GET /readyz`.
pub(super) async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    let mut sites = Vec::new();
    shared.board.each(|site, status, _| {
        sites.push(SiteState { site: site.to_string(), token: status.state(shared.board.now()) });
    });
    let (code, status, error) = match readiness(&shared.board.link(), &sites) {
        Ok(()) => (StatusCode::OK, "ready", None),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, "not ready", Some(error)),
    };
    (code, Json(Readiness { status, error, sites })).into_response()
}

/// The canary that proves that the subscription lives, or why nothing does.
pub(super) fn health(link: &LinkStatus, now: Duration, limits: &Limits) -> Result<Canary, String> {
    let ago = |at: Duration| duration::text(Duration::from_secs(now.saturating_sub(at).as_secs()));
    let is_lost =
        matches!(&link.subscription, Subscription::Down { since, .. } if now.saturating_sub(*since) > limits.outage);
    if let Some(canary) = link.canary.filter(|c| !is_lost && now.saturating_sub(c.at) <= limits.canary) {
        return Ok(canary);
    }
    Err(match (&link.subscription, link.canary) {
        (Subscription::Connecting, _) => "Redis was not reached yet".to_owned(),
        (Subscription::Down { since, reason }, _) => format!("Redis has been away for {}: {reason}", ago(*since)),
        (Subscription::Up { since }, None) => format!("subscribed {} ago, and no canary came back yet", ago(*since)),
        (Subscription::Up { .. }, Some(canary)) => {
            format!("the subscription is deaf: the last canary came back {} ago", ago(canary.at))
        }
    })
}

fn readiness(link: &LinkStatus, sites: &[SiteState]) -> Result<(), String> {
    let unread = sites.iter().filter(|site| site.token == TokenState::Unknown);
    let unread: Vec<&str> = unread.map(|site| site.site.as_str()).collect();
    match &link.subscription {
        Subscription::Connecting => Err("not subscribed yet".to_owned()),
        Subscription::Down { reason, .. } => Err(format!("not subscribed: {reason}")),
        Subscription::Up { .. } if unread.is_empty() => Ok(()),
        Subscription::Up { .. } => Err(format!("the state was not read yet of {}", unread.join(", "))),
    }
}

/// Milliseconds with three digits after the point.
pub(super) fn millis(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::super::trial::{Trial, snapshot};
    use crate::status::model::LinkObserver;
    use axum::http::StatusCode;
    use serde_json::json;
    use std::time::Duration;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    async fn health(trial: &Trial) -> (u16, serde_json::Value) {
        let answer = trial.get("/healthz").await;
        (answer.status.as_u16(), answer.json())
    }

    fn unhealthy(error: &str) -> (u16, serde_json::Value) {
        (503, json!({ "status": "unhealthy", "error": error }))
    }

    #[tokio::test]
    async fn health_is_the_canary() {
        let trial = Trial::new();
        assert_eq!(health(&trial).await, unhealthy("Redis was not reached yet"));
        trial.board.connected();
        trial.pass(s(3));
        assert_eq!(health(&trial).await, unhealthy("subscribed 3s ago, and no canary came back yet"));
        trial.board.canary(Duration::from_micros(1_250));
        trial.pass(s(25));
        let ok = json!({ "status": "ok", "canary_age_s": 25, "round_trip_ms": 1.25 });
        assert_eq!(health(&trial).await, (200, ok));
        trial.pass(s(1));
        assert_eq!(health(&trial).await, unhealthy("the subscription is deaf: the last canary came back 26s ago"));
    }

    #[tokio::test]
    async fn a_short_gap_is_no_illness_and_a_long_one_is() {
        let trial = Trial::new();
        trial.board.connected();
        trial.board.canary(s(0));
        trial.board.disconnected("connection reset");
        trial.pass(s(8));
        trial.board.disconnected("connection refused");
        assert_eq!(health(&trial).await.0, 200);
        trial.pass(s(1));
        assert_eq!(health(&trial).await, unhealthy("Redis has been away for 9s: connection refused"));
    }

    #[tokio::test]
    async fn a_process_is_ready_once_it_hears_triggers_and_knows_its_sites() {
        let trial = Trial::new();
        let ready = async || {
            let answer = trial.get("/readyz").await;
            (answer.status, answer.json())
        };
        let unread = json!([{ "site": "shop", "token": "unknown" }]);
        let not = |error: &str| {
            (StatusCode::SERVICE_UNAVAILABLE, json!({ "status": "not ready", "error": error, "sites": unread }))
        };
        assert_eq!(ready().await, not("not subscribed yet"));
        trial.board.disconnected("connection refused");
        assert_eq!(ready().await, not("not subscribed: connection refused"));
        trial.board.connected();
        assert_eq!(ready().await, not("the state was not read yet of shop"));
        trial.look(&crate::domain::snapshot::Snapshot { current: None, ..snapshot() });
        let body = json!({ "status": "ready", "sites": [{ "site": "shop", "token": "missing" }] });
        assert_eq!(ready().await, (StatusCode::OK, body), "a site without a token is served as well");
    }
}

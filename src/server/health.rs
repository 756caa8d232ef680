//! `/healthz` and `/readyz`.
//!
//! A process is healthy while the canaries that it publishes come back on its own subscription: a running event loop is
//! no evidence of health. A process that has lost Redis for longer than the bound, or has never reached it, is unhealthy.
//! It is ready once it is subscribed and has read the state of its sites; a site needs no token for that. While it
//! shuts down it is not.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::context::{Context, Limits};
use super::shared_page::{Page, json_page};
use crate::domain::duration;
use crate::status::{Canary, SiteStatus, SubscriptionState, SubscriptionStatus, TokenState};

/// Why a sidecar that is shutting down is not ready, and takes no triggers.
pub(super) const STOPPING: &str = "the sidecar is shutting down";

/// `GET /healthz`.
pub(super) async fn healthz(State(context): State<Arc<Context>>) -> (StatusCode, Json<Value>) {
    match health(&context.status.subscription(), context.status.now(), &context.limits) {
        Ok(canary) => {
            let age_s = context.status.now().saturating_sub(canary.at).as_secs();
            let body = json!({ "status": "ok", "canary_age_s": age_s, "round_trip_ms": millis(canary.round_trip) });
            (StatusCode::OK, Json(body))
        }
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "unhealthy", "error": error }))),
    }
}

/// `GET /readyz`.
pub(super) async fn readyz(State(context): State<Arc<Context>>) -> Page {
    context.readiness.get(|| {
        let sites = context.status.sites();
        let states: Vec<_> = sites.iter().map(|site| json!({ "site": site.site, "token": site.state })).collect();
        let ready = match context.stopping.is_cancelled() {
            true => Err(STOPPING.to_owned()),
            false => readiness(&context.status.subscription().state, &sites),
        };
        match ready {
            Ok(()) => json_page(StatusCode::OK, &json!({ "status": "ready", "sites": states })),
            Err(error) => {
                let body = json!({ "status": "not ready", "error": error, "sites": states });
                json_page(StatusCode::SERVICE_UNAVAILABLE, &body)
            }
        }
    })
}

/// The canary that shows that the subscription works, or why the process is unhealthy.
pub(super) fn health(subscription: &SubscriptionStatus, now: Duration, limits: &Limits) -> Result<Canary, String> {
    let ago = |at: Duration| duration::text(Duration::from_secs(now.saturating_sub(at).as_secs()));
    let is_lost = matches!(&subscription.state, SubscriptionState::Down { since, .. } if now.saturating_sub(*since) > limits.outage);
    if let Some(canary) = subscription.canary.filter(|c| !is_lost && now.saturating_sub(c.at) <= limits.canary) {
        return Ok(canary);
    }
    Err(match (&subscription.state, subscription.canary) {
        (SubscriptionState::Connecting, _) => "Redis was not reached yet".to_owned(),
        (SubscriptionState::Down { since, reason }, _) => format!("Redis has been away for {}: {reason}", ago(*since)),
        (SubscriptionState::Up { since }, None) => {
            format!("subscribed {} ago, and no canary came back yet", ago(*since))
        }
        (SubscriptionState::Up { .. }, Some(canary)) => {
            format!("the subscription is silent: the last canary came back {} ago", ago(canary.at))
        }
    })
}

fn readiness(subscription: &SubscriptionState, sites: &[SiteStatus]) -> Result<(), String> {
    let unread = sites.iter().filter(|site| site.state == TokenState::Unknown);
    let unread: Vec<&str> = unread.map(|site| site.site.as_str()).collect();
    match subscription {
        SubscriptionState::Connecting => Err("not subscribed yet".to_owned()),
        SubscriptionState::Down { reason, .. } => Err(format!("not subscribed: {reason}")),
        SubscriptionState::Up { .. } if unread.is_empty() => Ok(()),
        SubscriptionState::Up { .. } => Err(format!("the state was not read yet of {}", unread.join(", "))),
    }
}

/// Milliseconds with three digits after the point.
pub(super) fn millis(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::super::trial::{Trial, snapshot};
    use super::STOPPING;
    use crate::status::SubscriptionObserver;
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
        trial.status.connected();
        trial.pass(s(3));
        assert_eq!(health(&trial).await, unhealthy("subscribed 3s ago, and no canary came back yet"));
        trial.status.canary(Duration::from_micros(1_250));
        trial.pass(s(25));
        let ok = json!({ "status": "ok", "canary_age_s": 25, "round_trip_ms": 1.25 });
        assert_eq!(health(&trial).await, (200, ok));
        trial.pass(s(1));
        assert_eq!(health(&trial).await, unhealthy("the subscription is silent: the last canary came back 26s ago"));
    }

    #[tokio::test]
    async fn a_short_gap_is_healthy_and_a_long_one_is_not() {
        let trial = Trial::new();
        trial.status.connected();
        trial.status.canary(s(0));
        trial.status.disconnected("connection reset");
        trial.pass(s(8));
        trial.status.disconnected("connection refused");
        assert_eq!(health(&trial).await.0, 200);
        trial.pass(s(1));
        assert_eq!(health(&trial).await, unhealthy("Redis has been away for 9s: connection refused"));
    }

    #[tokio::test]
    async fn a_process_is_ready_once_it_is_subscribed_and_knows_its_sites() {
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
        trial.status.disconnected("connection refused");
        assert_eq!(ready().await, not("not subscribed: connection refused"));
        trial.status.connected();
        assert_eq!(ready().await, not("the state was not read yet of shop"));
        trial.look(&crate::domain::snapshot::Snapshot { current: None, ..snapshot() });
        let body = json!({ "status": "ready", "sites": [{ "site": "shop", "token": "missing" }] });
        assert_eq!(ready().await, (StatusCode::OK, body), "a site needs no token for that");
        trial.stopping.cancel();
        let (status, body) = ready().await;
        assert_eq!((status, &body["error"]), (StatusCode::SERVICE_UNAVAILABLE, &json!(STOPPING)));
    }
}

//! `/metrics`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::text::encode;

use super::context::Context;
use super::problem::Problem;

/// The format of the answer.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `GET /metrics`.
pub(super) async fn show(State(context): State<Arc<Context>>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &context.metrics) {
        Ok(()) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => Problem(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written".into()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::trial::{Trial, failing, site, snapshot};
    use crate::domain::snapshot::Snapshot;
    use crate::refresh::observation::{CommitResult, DecisionKind, Observation, Observer, OutcomeKind, Step};
    use crate::status::SubscriptionObserver;
    use std::time::Duration;
    use token_sidecar_client::wire::{Payload, Trigger};

    /// The samples alone.
    async fn samples(trial: &Trial) -> Vec<String> {
        let text = trial.get("/metrics").await.text;
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    #[tokio::test]
    async fn every_number_is_there() {
        let trial = Trial::new();
        trial.status.connected();
        trial.status.disconnected("connection reset");
        trial.status.connected();
        trial.status.canary(Duration::from_micros(700));
        trial.status.message(&site("shop"), Payload::Details);
        trial.status.message(&site("other"), Payload::Bare);
        trial.look(&Snapshot { failing: Some(Box::new(failing())), ..snapshot() });
        for observation in [
            Observation::Decided { decision: DecisionKind::Solve, folded: 3 },
            Observation::Decided { decision: DecisionKind::Repeat, folded: 1 },
            Observation::Timed(Step::Solve, Duration::from_millis(17_500)),
            Observation::Pending(true),
            Observation::LeaseLost,
            Observation::Commit(CommitResult::Stored),
            Observation::Finished { trigger: Trigger::Invalid, outcome: OutcomeKind::Refreshed, stage: None },
            Observation::Entered(Step::Claimed),
        ] {
            trial.shop.observe(observation);
        }
        trial.pass(Duration::from_secs(5));
        let _events = trial.status.subscribe();
        let mut expected = vec![
            format!(r#"token_sidecar_build_info{{version="{}"}} 1"#, env!("CARGO_PKG_VERSION")),
            r#"token_sidecar_refreshes_total{site="shop",trigger="invalid",outcome="refreshed",stage=""} 1"#.into(),
            r#"token_sidecar_stage_duration_seconds_sum{site="shop",stage="solve"} 17.5"#.into(),
            r#"token_sidecar_stage_duration_seconds_count{site="shop",stage="solve"} 1"#.into(),
            r#"token_sidecar_triggers_total{site="shop",decision="repeat"} 1"#.into(),
            r#"token_sidecar_triggers_total{site="shop",decision="solve"} 3"#.into(),
            r#"token_sidecar_pending{site="shop"} 1"#.into(),
            r#"token_sidecar_lease_lost_total{site="shop"} 1"#.into(),
            r#"token_sidecar_commits_total{site="shop",result="error"} 0"#.into(),
            r#"token_sidecar_commits_total{site="shop",result="stored"} 1"#.into(),
            r#"token_sidecar_commits_total{site="shop",result="superseded"} 0"#.into(),
            r#"token_sidecar_messages_total{site="shop",payload="bare"} 0"#.into(),
            r#"token_sidecar_messages_total{site="shop",payload="details"} 1"#.into(),
            r#"token_sidecar_messages_total{site="shop",payload="oversized"} 0"#.into(),
            r#"token_sidecar_token_valid{site="shop"} 1.0"#.into(),
            r#"token_sidecar_token_version{site="shop"} 1795331585623.0"#.into(),
            r#"token_sidecar_token_expiry_timestamp_seconds{site="shop"} 1795417985.0"#.into(),
            r#"token_sidecar_refresh_due_timestamp_seconds{site="shop"} 1795338000.0"#.into(),
            r#"token_sidecar_last_attempt_timestamp_seconds{site="shop"} 1795332000.0"#.into(),
            r#"token_sidecar_last_success_timestamp_seconds{site="shop"} 1795331585.0"#.into(),
            r#"token_sidecar_consecutive_failures{site="shop"} 3.0"#.into(),
            "token_sidecar_subscription_up 1.0".into(),
            "token_sidecar_canary_round_trip_seconds 0.0007".into(),
            "token_sidecar_canary_age_seconds 5.0".into(),
            "token_sidecar_event_subscribers 1.0".into(),
            "token_sidecar_reconnects_total 1".into(),
        ];
        let mut samples = samples(&trial).await;
        let buckets = samples.extract_if(.., |line| line.contains("_bucket{")).collect::<Vec<_>>();
        samples.sort();
        expected.sort();
        assert_eq!(samples, expected);
        let bucket = |le: &str, count: u32| {
            format!(r#"token_sidecar_stage_duration_seconds_bucket{{le="{le}",site="shop",stage="solve"}} {count}"#)
        };
        assert!(buckets.contains(&bucket("10.0", 0)) && buckets.contains(&bucket("20.0", 1)), "{buckets:?}");
    }

    #[tokio::test]
    async fn what_is_not_known_is_left_out() {
        let trial = Trial::new();
        let gauges = samples(&trial).await;
        let of = |name: &str| gauges.iter().filter(|line| line.starts_with(name)).collect::<Vec<_>>();
        assert!(of("token_sidecar_token_").is_empty());
        assert!(of("token_sidecar_canary_").is_empty());
        assert_eq!(of("token_sidecar_subscription_up"), ["token_sidecar_subscription_up 0.0"]);
        trial.look(&Snapshot { current: None, ..snapshot() });
        assert!(samples(&trial).await.contains(&r#"token_sidecar_token_valid{site="shop"} 0.0"#.to_owned()));
    }

    #[tokio::test]
    async fn the_text_is_open_metrics_and_tells_what_each_number_is() {
        let answer = Trial::with_two_sites().get("/metrics").await;
        assert_eq!(answer.header("content-type"), super::OPEN_METRICS);
        assert!(answer.text.ends_with("# EOF\n"));
        let named = |kind: &str| {
            let names = answer.text.lines().filter_map(|line| line.strip_prefix(kind)?.split(' ').next());
            names.map(str::to_owned).collect::<Vec<_>>()
        };
        let (helps, types) = (named("# HELP "), named("# TYPE "));
        assert_eq!(helps, types);
        assert_eq!(helps.len(), 17, "those of which nothing has happened yet are left out");
        assert!(helps.iter().all(|name| name.starts_with("token_sidecar_")));
        assert!(answer.text.contains(r#"token_sidecar_lease_lost_total{site="books"} 0"#));
    }
}

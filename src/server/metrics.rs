//! `/metrics`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;

use super::context::Context;
use crate::status::{Format, metrics};

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `GET /metrics`: in Prometheus' text format, unless the client takes OpenMetrics.
pub(super) async fn show(State(context): State<Arc<Context>>, headers: HeaderMap) -> impl IntoResponse {
    let (format, kind) = match takes_open_metrics(&headers) {
        true => (Format::OpenMetrics, OPEN_METRICS),
        false => (Format::Text, TEXT),
    };
    let page = &context.metrics[format as usize];
    page.get(|| (StatusCode::OK, [(CONTENT_TYPE, kind)], metrics(&context.status, format).into()))
}

fn takes_open_metrics(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_open_metrics =
            parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/openmetrics-text"));
        let mut weights = parts.filter_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
        is_open_metrics && weights.all(|weight| weight > 0.0)
    })
}

#[cfg(test)]
mod tests {
    use super::super::trial::{Answer, Trial, failing, site, snapshot};
    use crate::domain::snapshot::Snapshot;
    use crate::refresh::observation::{DecisionKind, Observation, Observer, OutcomeKind, Step};
    use crate::status::SubscriptionObserver;
    use std::time::Duration;
    use token_sidecar_client::wire::{Payload, Trigger};

    /// What Prometheus sends.
    const PROMETHEUS: &str =
        "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";

    /// The samples that are not 0, without the buckets.
    async fn samples(trial: &Trial) -> Vec<String> {
        let text = trial.get("/metrics").await.text;
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.contains("_bucket"));
        lines
            .filter(|line| !line.ends_with(" 0") && !line.starts_with("process_"))
            .map(|line| line.replace("token_sidecar_", ""))
            .collect()
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
            Observation::Finished(OutcomeKind::Refreshed, Trigger::Schedule),
            Observation::Entered(Step::Claimed),
        ] {
            trial.shop.observe(observation);
        }
        trial.shop.output("/data/.env", false).report(Ok(()));
        let with_hook = trial.shop.output("/data/a\"b", true);
        with_hook.report(Ok(()));
        with_hook.report_hook(Ok(()));
        let _not_written_yet = trial.shop.output("/data/later", true);
        trial.pass(Duration::from_secs(5));
        let _events = trial.status.subscribe();
        let expected = format!(
            r#"build_info{{version="{}"}} 1
refreshes_total{{site="shop",outcome="refreshed"}} 1
refreshes_by_trigger_total{{trigger="schedule",outcome="refreshed"}} 1
triggers_total{{site="shop",decision="solve"}} 3
triggers_total{{site="shop",decision="repeat"}} 1
messages_total{{site="shop",payload="details"}} 1
lease_lost_total{{site="shop"}} 1
pending{{site="shop"}} 1
token_valid{{site="shop"}} 1
token_version{{site="shop"}} 1795331585623
token_expiry_timestamp_seconds{{site="shop"}} 1795417985
refresh_due_timestamp_seconds{{site="shop"}} 1795338000
last_attempt_timestamp_seconds{{site="shop"}} 1795332000
last_success_timestamp_seconds{{site="shop"}} 1795331585
consecutive_failures{{site="shop"}} 3
output_current{{site="shop",file="/data/.env"}} 1
output_current{{site="shop",file="/data/a\"b"}} 1
output_hook_succeeded{{site="shop",file="/data/a\"b"}} 1
stage_duration_seconds_sum{{stage="solve"}} 17.5
stage_duration_seconds_count{{stage="solve"}} 1
subscription_up 1
reconnects_total 1
canary_round_trip_seconds 0.0007
canary_age_seconds 5
event_subscribers 1"#,
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(samples(&trial).await, expected.lines().collect::<Vec<_>>());
        let text = trial.get("/metrics").await.text;
        let bucket = |le: &str, count: u32| {
            text.contains(&format!(
                "token_sidecar_stage_duration_seconds_bucket{{stage=\"solve\",le=\"{le}\"}} {count}\n"
            ))
        };
        assert!(bucket("10.0", 0) && bucket("20.0", 1) && bucket("+Inf", 1), "{text}");
    }

    #[tokio::test]
    async fn every_counter_is_there_from_the_start_and_what_is_not_known_is_left_out() {
        let trial = Trial::new();
        let text = trial.get("/metrics").await.text;
        for outcome in ["refreshed", "failed", "superseded", "abandoned"] {
            let line = format!("token_sidecar_refreshes_total{{site=\"shop\",outcome=\"{outcome}\"}} 0");
            assert!(text.lines().any(|shown| shown == line), "{line}");
        }
        let samples = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
        assert_eq!((samples("token_sidecar_token_"), samples("token_sidecar_canary_")), (0, 0));
        trial.look(&Snapshot { current: None, ..snapshot() });
        assert!(trial.get("/metrics").await.text.contains("token_sidecar_token_valid{site=\"shop\"} 0\n"));
    }

    #[tokio::test]
    async fn a_hundred_sites_have_fewer_than_3000_samples() {
        let count = async |trial: Trial| {
            trial.look(&snapshot());
            let text = trial.get("/metrics").await.text;
            text.lines().filter(|line| !line.starts_with('#')).count()
        };
        let (one, two) = (count(Trial::new()).await, count(Trial::with_sites(&["books"])).await);
        assert!(one + 99 * (two - one) < 3_000, "{one} for one site, {two} for two");
    }

    #[tokio::test]
    async fn the_format_is_what_the_client_takes() {
        let trial = Trial::new();
        let get = async |accept: &str| trial.ask("GET", "/metrics", &[("accept", accept)]).await;
        let is_open_metrics =
            |answer: &Answer| answer.header("content-type").starts_with("application/openmetrics-text;");
        for accept in [PROMETHEUS, "application/openmetrics-text", "Application/OpenMetrics-Text; version=1.0.0"] {
            let answer = get(accept).await;
            assert!(is_open_metrics(&answer), "{accept}");
            assert!(answer.text.contains("\n# TYPE token_sidecar_refreshes counter\n"), "{accept}");
            assert!(answer.text.ends_with("\n# EOF\n"), "{accept}");
        }
        for accept in ["", "*/*", "text/plain", "text/html;q=0.9, */*", "application/openmetrics-text;q=0, */*"] {
            let answer = get(accept).await;
            assert_eq!(answer.header("content-type"), super::TEXT, "{accept}");
            assert!(answer.text.contains("\n# TYPE token_sidecar_refreshes_total counter\n"), "{accept}");
            assert!(!answer.text.contains("EOF"), "{accept}");
        }
    }
}

//! `/metrics`: the counters, and what follows from the state at the moment of the scrape.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::problem::Problem;
use super::state::Shared;
use crate::domain::schedule::Schedule;
use crate::status::counters::{COUNTERS, STAGE_SECONDS};
use crate::status::model::{SiteStatus, Subscription, TokenState, TokenStatus};
use crate::status::registry::Board;

/// The format of the answer.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of a board, named `token_sidecar_…`.
pub(super) fn registry(board: Arc<Board>) -> Registry {
    let mut registry = Registry::with_prefix("token_sidecar");
    let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "The build that runs", build);
    registry.register_collector(Box::new(Counters(Arc::clone(&board))));
    registry.register_collector(Box::new(Gauges(board)));
    registry
}

/// `GET /metrics`.
pub(super) async fn show(State(shared): State<Arc<Shared>>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &shared.registry) {
        Ok(()) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => Problem(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written".into()).into_response(),
    }
}

/// What is counted as it happens. What has never happened is left out.
#[derive(Debug)]
struct Counters(Arc<Board>);

/// What is measured at the moment of the scrape.
#[derive(Debug)]
struct Gauges(Arc<Board>);

struct Gauge<F> {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    value: F,
}

/// A site's value; `None` where there is none to give.
type OfSite = fn(&SiteStatus, &Schedule, Duration) -> Option<f64>;

/// The process' value.
type OfBoard = fn(&Board) -> Option<f64>;

const SITE_GAUGES: [Gauge<OfSite>; 7] = [
    Gauge {
        name: "token_valid",
        help: "1 where the store has a token whose end has not passed, 0 where not; absent until the store was read.",
        unit: None,
        value: |status, _, now| match status.state(now) {
            TokenState::Unknown => None,
            TokenState::Fresh => Some(1.0),
            TokenState::Missing | TokenState::Expired => Some(0.0),
        },
    },
    Gauge {
        name: "token_version",
        help: "The version of the current token; 0 where somebody else wrote it.",
        unit: None,
        value: |status, _, _| token(status).map(|t| float(t.version)),
    },
    Gauge {
        name: "token_expiry_timestamp",
        help: "When the current token or its key ends, whichever comes first, in Unix time.",
        unit: Some(Unit::Seconds),
        value: |status, _, _| token(status)?.ends_at.map(unix),
    },
    Gauge {
        name: "refresh_due_timestamp",
        help: "When a new token is fetched by itself, by the schedule or ahead of the end, in Unix time.",
        unit: Some(Unit::Seconds),
        value: |status, schedule, now| status.refresh_at(schedule, now).map(unix),
    },
    Gauge {
        name: "last_attempt_timestamp",
        help: "When an attempt last began in this process, or succeeded in any, in Unix time.",
        unit: Some(Unit::Seconds),
        value: |status, _, _| status.last_attempt_at.map(unix),
    },
    Gauge {
        name: "last_success_timestamp",
        help: "When a token was last stored by any process, in Unix time.",
        unit: Some(Unit::Seconds),
        value: |status, _, _| status.last_success_at.map(unix),
    },
    Gauge {
        name: "consecutive_failures",
        help: "Failed attempts in a row, over all replicas.",
        unit: None,
        value: |status, _, _| {
            let reading = status.reading.as_ref()?;
            Some(reading.failing.as_ref().map_or(0.0, |f| f64::from(f.attempts)))
        },
    },
];

const BOARD_GAUGES: [Gauge<OfBoard>; 4] = [
    Gauge {
        name: "subscription_up",
        help: "1 while this process is subscribed in Redis, 0 otherwise.",
        unit: None,
        value: |board| Some(f64::from(matches!(board.link().subscription, Subscription::Up { .. }))),
    },
    Gauge {
        name: "canary_round_trip",
        help: "How long the last canary was on its way through Redis and back.",
        unit: Some(Unit::Seconds),
        value: |board| board.link().canary.map(|c| c.round_trip.as_secs_f64()),
    },
    Gauge {
        name: "canary_age",
        help: "How long ago the last canary came back.",
        unit: Some(Unit::Seconds),
        value: |board| board.link().canary.map(|c| board.now().saturating_sub(c.at).as_secs_f64()),
    },
    Gauge {
        name: "event_subscribers",
        help: "How many clients follow /api/events.",
        unit: None,
        value: |board| Some(float(board.subscribers() as u64)),
    },
];

impl Collector for Counters {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for counter in &COUNTERS {
            let mut samples = Vec::new();
            self.0.each_tally(|site, tally| {
                let of_site = (counter.samples)(tally).into_iter();
                samples.extend(of_site.map(|(labels, count)| (site.clone(), labels, count)));
            });
            if samples.is_empty() {
                continue;
            }
            let mut metric = encoder.encode_descriptor(counter.name, counter.help, None, MetricType::Counter)?;
            for (site, mut labels, count) in samples {
                let mut all = vec![("site", site.as_str())];
                all.append(&mut labels);
                ConstCounter::new(count).encode(metric.encode_family(&all)?)?;
            }
        }
        let mut samples = Vec::new();
        self.0.each_tally(|site, tally| {
            samples.extend(tally.stages().iter().map(|(stage, times)| (site.clone(), *stage, *times)));
        });
        if samples.is_empty() {
            return Ok(());
        }
        let help = "How long a stage of a refresh took: solve, extract, verify, commit.";
        let mut metric =
            encoder.encode_descriptor("stage_duration", help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (site, stage, times) in samples {
            let labels = [("site", site.as_str()), ("stage", stage)];
            let buckets: Vec<(f64, u64)> = STAGE_SECONDS.into_iter().zip(times.buckets).collect();
            let count = times.buckets.iter().sum();
            metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(times.sum, count, &buckets, None)?;
        }
        Ok(())
    }
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let board = &*self.0;
        for gauge in &SITE_GAUGES {
            let mut values = Vec::new();
            board.each(|site, status, schedule| {
                values.extend((gauge.value)(status, schedule, board.now()).map(|value| (site.to_string(), value)));
            });
            let mut metric =
                encoder.encode_descriptor(gauge.name, gauge.help, gauge.unit.as_ref(), MetricType::Gauge)?;
            for (site, value) in values {
                metric.encode_family(&[("site", site)])?.encode_gauge(&value)?;
            }
        }
        for gauge in &BOARD_GAUGES {
            let mut metric =
                encoder.encode_descriptor(gauge.name, gauge.help, gauge.unit.as_ref(), MetricType::Gauge)?;
            if let Some(value) = (gauge.value)(board) {
                metric.encode_gauge(&value)?;
            }
        }
        let reconnects = ConstCounter::new(board.link().reconnects());
        let help = "How often the subscription in Redis came back after it was lost.";
        reconnects.encode(encoder.encode_descriptor("reconnects", help, None, reconnects.metric_type())?)
    }
}

fn token(status: &SiteStatus) -> Option<&TokenStatus> {
    status.reading.as_ref()?.token.as_deref()
}

fn unix(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}

/// Versions are milliseconds since 1970: a double holds them exactly.
fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::super::trial::{Trial, failing, site, snapshot};
    use crate::domain::snapshot::Snapshot;
    use crate::refresh::ports::{Observation, Observer};
    use crate::status::model::LinkObserver;
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
        trial.board.connected();
        trial.board.disconnected("connection reset");
        trial.board.connected();
        trial.board.canary(Duration::from_micros(700));
        trial.board.message(&site("shop"), Payload::Details);
        trial.board.message(&site("other"), Payload::Bare);
        trial.look(&Snapshot { failing: Some(Box::new(failing())), ..snapshot() });
        for observation in [
            Observation::Decided { decision: "solve", folded: 3 },
            Observation::Decided { decision: "repeat", folded: 1 },
            Observation::Timed("solve", Duration::from_millis(17_500)),
            Observation::LeaseLost,
            Observation::Commit("stored"),
            Observation::Finished { trigger: Trigger::Invalid, outcome: "refreshed", stage: "" },
            Observation::Entered("claimed"),
        ] {
            trial.shop.observe(observation);
        }
        trial.pass(Duration::from_secs(5));
        let _events = trial.board.subscribe();
        let mut expected = vec![
            format!(r#"token_sidecar_build_info{{version="{}"}} 1"#, env!("CARGO_PKG_VERSION")),
            r#"token_sidecar_refreshes_total{site="shop",trigger="invalid",outcome="refreshed",stage=""} 1"#.into(),
            r#"token_sidecar_stage_duration_seconds_sum{site="shop",stage="solve"} 17.5"#.into(),
            r#"token_sidecar_stage_duration_seconds_count{site="shop",stage="solve"} 1"#.into(),
            r#"token_sidecar_triggers_total{site="shop",decision="repeat"} 1"#.into(),
            r#"token_sidecar_triggers_total{site="shop",decision="solve"} 3"#.into(),
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
        assert_eq!(helps.len(), 16, "those of which nothing has happened yet are left out");
        assert!(helps.iter().all(|name| name.starts_with("token_sidecar_")));
        assert!(answer.text.contains(r#"token_sidecar_lease_lost_total{site="books"} 0"#));
    }
}

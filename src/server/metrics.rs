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
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::board::Board;
use super::problem::Problem;
use super::state::Shared;
use crate::domain::schedule::Schedule;
use crate::flow::status::{SiteStatus, Subscription, TokenState, TokenStatus};

/// The format of the answer.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of a board, named `token_sidecar_…`.
pub(super) fn registry(board: Arc<Board>) -> Registry {
    let mut registry = Registry::with_prefix("token_sidecar");
    let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "The build that runs", build);
    board.tally().register(&mut registry);
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
        help: "1 where the store has a token whose end has not passed, 0 where not; absent until the store was read",
        unit: None,
        value: |status, _, now| match status.state(now) {
            TokenState::Unknown => None,
            TokenState::Fresh => Some(1.0),
            TokenState::Missing | TokenState::Expired => Some(0.0),
        },
    },
    Gauge {
        name: "token_version",
        help: "The version of the current token; 0 where somebody else wrote it",
        unit: None,
        value: |status, _, _| token(status).map(|t| float(t.version)),
    },
    Gauge {
        name: "token_expiry_timestamp",
        help: "When the current token or its key ends, whichever comes first, in Unix time",
        unit: Some(Unit::Seconds),
        value: |status, _, _| token(status)?.ends_at.map(unix),
    },
    Gauge {
        name: "refresh_due_timestamp",
        help: "When a new token is fetched by itself, by the schedule or ahead of the end, in Unix time",
        unit: Some(Unit::Seconds),
        value: |status, schedule, now| status.refresh_at(schedule, now).map(unix),
    },
    Gauge {
        name: "last_attempt_timestamp",
        help: "When an attempt last began in this process, or succeeded in any, in Unix time",
        unit: Some(Unit::Seconds),
        value: |status, _, _| status.last_attempt_at.map(unix),
    },
    Gauge {
        name: "last_success_timestamp",
        help: "When a token was last stored by any process, in Unix time",
        unit: Some(Unit::Seconds),
        value: |status, _, _| status.last_success_at.map(unix),
    },
    Gauge {
        name: "consecutive_failures",
        help: "Failed attempts in a row, over all replicas",
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
        help: "1 while this process is subscribed in Redis, 0 otherwise",
        unit: None,
        value: |board| Some(f64::from(matches!(board.link().subscription, Subscription::Up { .. }))),
    },
    Gauge {
        name: "canary_round_trip",
        help: "How long the last canary was on its way through Redis and back",
        unit: Some(Unit::Seconds),
        value: |board| board.link().canary.map(|c| c.round_trip.as_secs_f64()),
    },
    Gauge {
        name: "canary_age",
        help: "How long ago the last canary came back",
        unit: Some(Unit::Seconds),
        value: |board| board.link().canary.map(|c| board.now().saturating_sub(c.at).as_secs_f64()),
    },
    Gauge {
        name: "event_subscribers",
        help: "How many clients follow /api/events",
        unit: None,
        value: |board| Some(float(board.subscribers() as u64)),
    },
];

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
        let help = "How often the subscription in Redis came back after it was lost";
        reconnects.encode(encoder.encode_descriptor("reconnects", help, None, reconnects.metric_type())?)
    }
}

fn token(status: &SiteStatus) -> Option<&TokenStatus> {
    status.reading.as_ref()?.token.as_ref()
}

fn unix(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}

/// Versions are milliseconds since 1970: a double holds them exactly.
fn float(number: u64) -> f64 {
    number as f64
}

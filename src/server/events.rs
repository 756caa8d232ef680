//! `/api/events`: the events of all sites, as server-sent events named `token:updated` and `token:failed`, and what
//! happens in this process, as `refresh` and `redis`.
//!
//! A client that cannot keep up gets the event `lagged` and is disconnected; it reconnects and reads the state again.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::broadcast::error::RecvError;

use super::context::Context;
use super::problem::Problem;

/// How often an idle connection gets a comment.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How soon a client reconnects after the connection has ended.
const RETRY: Duration = Duration::from_secs(3);

/// `GET /api/events`.
pub(super) async fn follow(State(context): State<Arc<Context>>) -> Result<Response, Problem> {
    let place = Arc::clone(&context.subscribers).try_acquire_owned();
    let place = place.map_err(|_| Problem::unavailable("too many clients follow the events already"))?;
    let subscribed = Some((context.status.subscribe(), place));
    let events = stream::unfold(subscribed, async |subscribed| {
        let (mut receiver, place) = subscribed?;
        match receiver.recv().await {
            Ok(event) => Some((Event::default().event(event.name).data(event.json), Some((receiver, place)))),
            Err(RecvError::Lagged(missed)) => {
                Some((Event::default().event("lagged").data(format!(r#"{{"missed":{missed}}}"#)), None))
            }
            Err(RecvError::Closed) => None,
        }
    });
    // The client receives this at once and misses nothing from here on.
    let greeting = stream::once(ready(Event::default().retry(RETRY).comment("following")));
    let events = greeting.chain(events.take_until(context.shutdown.clone().cancelled_owned()));
    let events = events.map(Ok::<_, Infallible>);
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::super::trial::{Trial, ask, begin};
    use crate::refresh::observation::{Observation, Observer, OutcomeKind, Step};
    use crate::status::{EVENT_BUFFER, SubscriptionObserver};
    use axum::body::to_bytes;
    use axum::http::StatusCode;
    use token_sidecar_client::wire::{Event, Failed, FailedCause, Stage, Trigger, Updated, UpdatedCause};

    const GREETING: &str = "retry: 3000\n: following\n\n";

    fn updated(site: &str, version: u64) -> Event {
        Event::Updated(Updated {
            site: site.into(),
            cause: UpdatedCause::Refreshed,
            version,
            fingerprint: "9f86d081884c7d65".into(),
            key: "shop_token".into(),
            ttl: None,
            expires_at: None,
            refresh_at: None,
            refreshed_at: None,
            trigger: Trigger::Invalid,
            source: "flaresolverr".into(),
        })
    }

    fn failed(error: &str) -> Event {
        Event::Failed(Failed {
            site: "shop".into(),
            cause: FailedCause::Attempt,
            stage: Stage::Solve,
            error: error.into(),
            attempt: 1,
            retry_at: "2026-11-22T07:21:00Z".parse().unwrap(),
            valid_until: None,
            trigger: Trigger::Invalid,
        })
    }

    async fn text(response: axum::response::Response) -> String {
        String::from_utf8(to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn events_come_by_name_as_they_were_published_until_the_end() {
        let trial = Trial::new();
        let context = trial.context();
        trial.status.event(&updated("shop", 1));
        let response = begin(&context, "GET", "/api/events", &[]).await;
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        trial.status.event(&updated("shop", 2));
        trial.status.event(&failed("a\nb"));
        let body = text(response);
        let end = async {
            tokio::task::yield_now().await;
            trial.shutdown.cancel();
        };
        let expected = format!(
            "{GREETING}event: token:updated\ndata: {}\n\nevent: token:failed\ndata: {}\n\n",
            updated("shop", 2).to_json(),
            failed("a\nb").to_json(),
        );
        assert_eq!(tokio::join!(body, end).0, expected);
    }

    #[tokio::test]
    async fn the_stages_of_a_refresh_and_the_loss_of_redis_come_at_once() {
        let trial = Trial::new();
        let response = begin(&trial.context(), "GET", "/api/events", &[]).await;
        trial.status.connected();
        trial.shop.observe(Observation::Entered(Step::Solve));
        trial.shop.observe(Observation::Finished(OutcomeKind::Failed, Trigger::Schedule));
        trial.status.disconnected("connection reset");
        trial.status.disconnected("another attempt to connect has failed");
        let expected = [
            ("redis", r#"{"subscription":"up"}"#),
            ("refresh", r#"{"site":"shop","stage":"solve"}"#),
            ("refresh", r#"{"site":"shop","stage":null}"#),
            ("redis", r#"{"subscription":"down"}"#),
        ];
        let expected: String = expected.iter().map(|(name, data)| format!("event: {name}\ndata: {data}\n\n")).collect();
        let end = async {
            tokio::task::yield_now().await;
            trial.shutdown.cancel();
        };
        assert_eq!(tokio::join!(text(response), end).0, format!("{GREETING}{expected}"));
    }

    #[tokio::test]
    async fn what_is_not_ours_or_too_large_is_not_passed_on() {
        let trial = Trial::new();
        let response = begin(&trial.context(), "GET", "/api/events", &[]).await;
        trial.status.event(&updated("other", 1));
        trial.status.event(&updated("no site at all", 1));
        trial.status.event(&failed(&"x".repeat(20_000)));
        trial.shutdown.cancel();
        assert_eq!(text(response).await, GREETING);
    }

    #[tokio::test]
    async fn a_client_that_cannot_keep_up_gets_a_last_event_and_is_dropped() {
        let trial = Trial::new();
        let response = begin(&trial.context(), "GET", "/api/events", &[]).await;
        for version in 0..EVENT_BUFFER as u64 + 100 {
            trial.status.event(&updated("shop", version));
        }
        assert_eq!(text(response).await, format!("{GREETING}event: lagged\ndata: {{\"missed\":100}}\n\n"));
    }

    #[tokio::test]
    async fn places_are_bounded_and_come_free() {
        let mut trial = Trial::new();
        trial.limits.subscribers = 1;
        let context = trial.context();
        let first = begin(&context, "GET", "/api/events", &[]).await;
        let second = ask(&context, "GET", "/api/events", &[]).await;
        assert_eq!(second.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(second.header("retry-after"), "5");
        assert_eq!(trial.status.subscribers(), 1);
        drop(first);
        assert_eq!(begin(&context, "GET", "/api/events", &[]).await.status(), StatusCode::OK);
    }
}

//! `/api/events`: what is announced, as server-sent events named `token:updated` and `token:failed`.
//!
//! A client that cannot keep up is told with an event `lagged` and dropped: it comes back by itself and reads
//! the state anew.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use tokio::sync::OwnedSemaphorePermit;
use tokio_stream::Stream;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::problem::Problem;
use super::state::Shared;
use crate::status::registry::Notice;

/// How often a silent connection is given a sign of life.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How soon a client comes back after the connection has ended.
const RETRY: Duration = Duration::from_secs(3);

/// `GET /api/events`.
pub(super) async fn follow(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    let place = shared.subscribers.clone().try_acquire_owned();
    let place = place.map_err(|_| Problem::unavailable("too many clients follow the events already"))?;
    let subscriber = Subscriber {
        phase: Phase::Greeting,
        notices: BroadcastStream::new(shared.board.subscribe()),
        shutdown: Box::pin(shared.shutdown.clone().cancelled_owned()),
        _place: place,
    };
    Ok(Sse::new(subscriber).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

/// One client's share of the events.
struct Subscriber {
    phase: Phase,
    notices: BroadcastStream<Notice>,
    shutdown: Pin<Box<WaitForCancellationFutureOwned>>,
    _place: OwnedSemaphorePermit,
}

enum Phase {
    Greeting,
    Following,
    Ended,
}

impl Stream for Subscriber {
    type Item = Result<Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.phase {
            Phase::Ended => return Poll::Ready(None),
            Phase::Greeting => {
                // Sent at once: the client knows that nothing is missed from here on.
                self.phase = Phase::Following;
                return Poll::Ready(Some(Ok(Event::default().retry(RETRY).comment("following"))));
            }
            Phase::Following => {}
        }
        if self.shutdown.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.notices).poll_next(cx).map(|notice| {
            Some(Ok(match notice? {
                Ok(notice) => Event::default().event(notice.name).data(notice.json),
                Err(BroadcastStreamRecvError::Lagged(missed)) => {
                    self.phase = Phase::Ended;
                    Event::default().event("lagged").data(format!(r#"{{"missed":{missed}}}"#))
                }
            }))
        })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::super::trial::{Trial, ask, begin};
    use crate::status::model::LinkObserver;
    use axum::body::to_bytes;
    use axum::http::StatusCode;
    use token_sidecar_client::wire::{Event, Failed, FailedCause, Trigger, Updated, UpdatedCause};

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
            stage: "solve".into(),
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
        let shared = trial.shared();
        trial.board.event(&updated("shop", 1));
        let response = begin(&shared, "GET", "/api/events", &[]).await;
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        trial.board.event(&updated("shop", 2));
        trial.board.event(&failed("a\nb"));
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
    async fn what_is_not_ours_or_too_large_is_not_passed_on() {
        let trial = Trial::new();
        let response = begin(&trial.shared(), "GET", "/api/events", &[]).await;
        trial.board.event(&updated("other", 1));
        trial.board.event(&updated("no site at all", 1));
        trial.board.event(&failed(&"x".repeat(20_000)));
        trial.shutdown.cancel();
        assert_eq!(text(response).await, GREETING);
    }

    #[tokio::test]
    async fn a_client_that_cannot_keep_up_is_told_and_dropped() {
        let trial = Trial::new();
        let response = begin(&trial.shared(), "GET", "/api/events", &[]).await;
        for version in 0..164 {
            trial.board.event(&updated("shop", version));
        }
        assert_eq!(text(response).await, format!("{GREETING}event: lagged\ndata: {{\"missed\":100}}\n\n"));
    }

    #[tokio::test]
    async fn places_are_bounded_and_come_free() {
        let mut trial = Trial::new();
        trial.limits.subscribers = 1;
        let shared = trial.shared();
        let first = begin(&shared, "GET", "/api/events", &[]).await;
        let second = ask(&shared, "GET", "/api/events", &[]).await;
        assert_eq!(second.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(second.header("retry-after"), "5");
        assert_eq!(trial.board.subscribers(), 1);
        drop(first);
        assert_eq!(begin(&shared, "GET", "/api/events", &[]).await.status(), StatusCode::OK);
    }
}

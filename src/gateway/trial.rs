//! What the tests of the gateway share.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::config::{GatewayConfig, UserAgent};

pub(super) fn config() -> GatewayConfig {
    GatewayConfig {
        listen: None,
        key: None,
        wait: Duration::from_secs(1),
        replay_limit: 0,
        replay_unsafe: true,
        max_waiting: 1,
        user_agent: UserAgent::Bundle,
        merge_cookies: false,
        pass_set_cookie: false,
        socket_mode: 0o660,
    }
}

/// A body that says that it has 10 bytes, and sends none.
pub(super) struct Silent;

impl Body for Silent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(10)
    }
}

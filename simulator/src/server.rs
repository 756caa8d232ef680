//! The port: what is served where, and connections that can be cut.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{DefaultBodyLimit, FromRequestParts};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderMap, HeaderName};
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get, post};
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::world::World;
use crate::{api, control, shop, solver};

/// As much as FlareSolverr reads of a body (bottle's `MEMFILE_MAX`).
const BODY_LIMIT: usize = 102_400;

/// Serves the world until it stops.
pub(crate) async fn serve(listener: TcpListener, world: Arc<World>) {
    let stop = world.stop.clone();
    let door = Door { listener, stop: stop.clone() };
    let service = routes(world).into_make_service_with_connect_info::<Cut>();
    if let Some(Err(error)) = stop.run_until_cancelled(async { axum::serve(door, service).await }).await {
        tracing::error!(%error, "the port is lost");
    }
}

fn routes(world: Arc<World>) -> Router {
    Router::new()
        .route("/", get(solver::index))
        .route("/health", get(solver::health))
        .route("/v1", post(solver::v1))
        .route("/shop", get(shop::get))
        .route("/shop/", get(shop::get))
        .route("/shop/{*page}", get(shop::get))
        .route("/web/api/{*path}", any(api::call))
        .route("/control/statistics", get(control::statistics))
        .route("/control/faults", get(control::faults).put(control::set_faults).delete(control::clear_faults))
        .route("/control/revoke", post(control::revoke))
        .route("/control/mint", post(control::mint))
        .route("/control/reset", post(control::reset))
        .fallback(solver::not_found)
        .method_not_allowed_fallback(solver::method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(world)
}

/// A header as text; empty where there is none.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// An answer that says JSON if it looks like it, else HTML.
pub(crate) fn raw(status: StatusCode, body: String) -> Response {
    let kind = if body.starts_with('{') { "application/json" } else { "text/html" };
    (status, [(CONTENT_TYPE, kind)], body).into_response()
}

/// The connection that a request came over.
pub(crate) struct Line(CancellationToken);

impl Line {
    /// Closes the connection without an answer.
    pub(crate) async fn cut(self) -> ! {
        self.0.cancel();
        std::future::pending().await
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Line {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let cut = parts.extensions.get::<ConnectInfo<Cut>>();
        Ok(Self(cut.map(|ConnectInfo(Cut(token))| token.clone()).unwrap_or_default()))
    }
}

/// What cuts a connection.
#[derive(Clone)]
struct Cut(CancellationToken);

impl Connected<IncomingStream<'_, Door>> for Cut {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        Self(stream.io().cut.clone())
    }
}

/// A listener whose connections end with the world.
struct Door {
    listener: TcpListener,
    stop: CancellationToken,
}

impl Listener for Door {
    type Io = Connection;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        let _ = stream.set_nodelay(true);
        let cut = self.stop.child_token();
        (Connection { stream, ended: Box::pin(cut.clone().cancelled_owned()), cut }, peer)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A stream that fails once it is cut, so that hyper drops it.
struct Connection {
    stream: TcpStream,
    cut: CancellationToken,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.ended.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

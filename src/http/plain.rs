//! `http://` to a neighbour: one connection, one request and its answer, with nothing between us and HTTP. Much of the way
//! to a solver's request is code that runs once in hours and finds no cache warm; this is less of it.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::Full;
use hyper::Uri;
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use reqwest::Request;
use reqwest::header::{ACCEPT, HOST, HeaderValue};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use url::{Host, Position, Url};

use super::{Answer, CONNECT_TIMEOUT, Fault, UNKNOWN_NAME, cause, no_connection, read};

/// A solve may be silent for minutes: so often the other side is asked whether it is still there, and this often in vain.
const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(15)).with_interval(Duration::from_secs(15)).with_retries(3);

/// Sends a request and reads at most `bound` bytes of what it is answered.
pub(super) async fn exchange(request: Request, bound: usize) -> Result<Answer, Fault> {
    let socket = connect(request.url()).await.map_err(Fault::Unreachable)?;
    // Only now, while the other side accepts the connection.
    let message = message(request).ok_or_else(|| Fault::Dropped("the request cannot be sent".to_owned()))?;
    let (mut sender, connection) = handshake(TokioIo::new(socket)).await.map_err(|e| Fault::Dropped(cause(&e)))?;
    let answer = async {
        let response = sender.send_request(message).await.map_err(|e| Fault::Dropped(cause(&e)))?;
        Ok(read(response, bound).await)
    };
    // What ends the connection, the request and the answer say.
    let connection = async {
        let _ = connection.await;
        pending::<Infallible>().await
    };
    tokio::select! {
        biased;
        answer = answer => answer,
        never = connection => match never {},
    }
}

/// The request as it goes over the wire.
fn message(mut request: Request) -> Option<hyper::Request<Full<Bytes>>> {
    let mut headers = std::mem::take(request.headers_mut());
    let url = request.url();
    if !headers.contains_key(HOST) {
        headers.insert(HOST, HeaderValue::from_str(&url[Position::BeforeHost..Position::AfterPort]).ok()?);
    }
    if !headers.contains_key(ACCEPT) {
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    }
    let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
    let mut message = hyper::Request::new(Full::new(Bytes::copy_from_slice(body)));
    *message.method_mut() = request.method().clone();
    *message.uri_mut() = Uri::try_from(&url[Position::BeforePath..Position::AfterQuery]).ok()?;
    *message.headers_mut() = headers;
    Some(message)
}

/// Tries one address of the host after the other.
async fn connect(url: &Url) -> Result<TcpStream, String> {
    let port = url.port_or_known_default().unwrap_or_default();
    let addresses: Vec<SocketAddr> = match url.host() {
        Some(Host::Ipv4(ip)) => vec![(ip, port).into()],
        Some(Host::Ipv6(ip)) => vec![(ip, port).into()],
        Some(Host::Domain(name)) => match timeout(CONNECT_TIMEOUT, lookup_host((name, port))).await {
            Ok(Ok(addresses)) => addresses.collect(),
            Ok(Err(_)) => vec![],
            Err(_) => return Err(no_connection()),
        },
        None => vec![],
    };
    let share = CONNECT_TIMEOUT / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let mut complaint = UNKNOWN_NAME.to_owned();
    for address in addresses {
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => match prepare(&socket) {
                Ok(()) => return Ok(socket),
                Err(e) => complaint = cause(&e),
            },
            Ok(Err(e)) => complaint = cause(&e),
            Err(_) => complaint = no_connection(),
        }
    }
    Err(complaint)
}

fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    SockRef::from(socket).set_tcp_keepalive(&KEEPALIVE)
}

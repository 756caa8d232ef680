//! The connections of clients: how many, how large and how slow they may be.

use std::convert::Infallible;
use std::fs::{self, File, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::header::{CONNECTION, HOST};
use axum::http::{HeaderValue, Version};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::forward::Gateway;
use super::problem::Problem;
use crate::config::GatewayAddress;

/// The most connections of clients.
const CONNECTIONS: usize = 2048;
/// How many more may wait to be accepted. With the 128 of the standard library, clients that come at once and find no
/// room try again only after a second.
const QUEUE: u32 = 2048;
/// The largest head of a request, in bytes.
const HEAD_BYTES: usize = 32 * 1024;
const MAX_HEADERS: usize = 100;
/// How long the next head on a connection may take, from the end of the last answer.
const HEAD: Duration = Duration::from_secs(30);
/// How long nothing may move on a connection while a request is under way, beyond the wait for a token.
const IDLE: Duration = Duration::from_secs(120);
/// How long to pause when no connection can be accepted, for instance without a free file descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// How long other processes may take to bind their sockets in the same folder.
const LOCK: Duration = Duration::from_secs(5);

/// An address that is listened on.
pub enum GatewayListener {
    Tcp(TcpListener),
    Unix(UnixSocket),
}

/// Its file is removed at the end, unless another process has taken its place.
pub struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode.
    file: (u64, u64),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl GatewayListener {
    /// A Unix socket gets these permissions before anyone can connect. The file that an earlier process has left is
    /// replaced.
    pub async fn bind(address: &GatewayAddress, mode: u32) -> io::Result<Self> {
        match address {
            GatewayAddress::Tcp(address) => tcp(*address).map(Self::Tcp),
            GatewayAddress::Unix(path) => UnixSocket::bind(path, mode).await.map(Self::Unix),
        }
    }

    /// Where it listens, as the log says it.
    pub fn address(&self) -> String {
        match self {
            Self::Tcp(listener) => listener.local_addr().map_or_else(|_| "?".to_owned(), |address| address.to_string()),
            Self::Unix(socket) => format!("unix:{}", socket.path.display()),
        }
    }

    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Self::Unix(socket) => Box::new(socket.listener.accept().await?.0),
        })
    }
}

fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(QUEUE)
}

impl UnixSocket {
    async fn bind(path: &Path, mode: u32) -> io::Result<Self> {
        let beside = path.parent().unwrap_or(path);
        let _locked = locked(beside.to_owned()).await?;
        free(path).await?;
        // Nobody else may enter the folder: the socket leaves it with its permissions.
        let private = Permissions::from_mode(0o700);
        let folder = tempfile::Builder::new().prefix(".").permissions(private).tempdir_in(beside)?;
        let fresh = folder.path().join("s");
        let listener = UnixListener::bind(&fresh)?;
        fs::set_permissions(&fresh, Permissions::from_mode(mode))?;
        let file = identity(&fresh)?;
        fs::rename(&fresh, path)?;
        Ok(Self { listener, path: path.to_owned(), file })
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            // Where that fails, the next process replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Device and inode of a file.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

/// Locks a folder (`flock`), so that of several processes that find a forgotten socket one alone replaces it.
async fn locked(folder: PathBuf) -> io::Result<File> {
    let locking = spawn_blocking(move || {
        let folder = File::open(folder)?;
        folder.lock()?;
        Ok(folder)
    });
    let locked = timeout(LOCK, locking).await.map_err(|_| io::Error::other("another process has locked the folder"))?;
    locked.map_err(io::Error::other)?
}

/// Fails where something else than a forgotten socket has this name.
async fn free(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(file) if !file.file_type().is_socket() => Err(io::ErrorKind::AlreadyExists.into()),
        Ok(_) => match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            // Somebody listens, even where the queue is full or this process may not connect.
            _ => Err(io::ErrorKind::AddrInUse.into()),
        },
    }
}

/// Serves until shutdown; requests under way may then go on for `grace`.
pub async fn serve(
    listener: GatewayListener,
    gateway: Arc<Gateway>,
    wait: Duration,
    shutdown: CancellationToken,
    grace: Duration,
) {
    let places = Arc::new(Semaphore::new(connections()));
    let mut tasks = JoinSet::new();
    let mut refused = false;
    loop {
        // Without a place, clients wait in the queue of the listener.
        let accepting = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (listener.accept().await, place)
        };
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = tasks.join_next() => {}
            accepted = accepting => match accepted {
                (Ok(stream), Ok(place)) => {
                    refused = false;
                    let connection = Connection { gateway: Arc::clone(&gateway), places: Arc::clone(&places), _place: place };
                    tasks.spawn(connection.converse(stream, IDLE + wait, shutdown.clone()));
                }
                (Err(error), _) => {
                    // Logged once, not at every try.
                    if !std::mem::replace(&mut refused, true) {
                        tracing::warn!(%error, "the gateway failed to accept a connection: trying again");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
                // The semaphore is never closed.
                (_, Err(_)) => break,
            },
        }
    }
    drop(listener);
    // Dropping the set aborts those that take longer.
    let _ = timeout(grace, async { while tasks.join_next().await.is_some() {} }).await;
}

/// A quarter of the file descriptors that this process may open: each client has a connection to the API too.
fn connections() -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok());
    descriptors.map_or(CONNECTIONS, |descriptors| (descriptors / 4).clamp(1, CONNECTIONS))
}

struct Connection {
    gateway: Arc<Gateway>,
    places: Arc<Semaphore>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    /// Serves one connection until nothing has moved on it for `idle`.
    async fn converse(self, stream: Box<dyn Stream>, idle: Duration, shutdown: CancellationToken) {
        self.gateway.connected().await;
        let moved = Arc::new(AtomicU64::new(0));
        let io = TokioIo::new(Watched { stream, moved: Arc::clone(&moved) });
        let service = service_fn(|request| self.answer(request));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_headers(MAX_HEADERS)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(io, service);
        let (mut connection, mut seen, mut is_ending) = (pin!(connection), 0, false);
        loop {
            tokio::select! {
                // A client's mistakes are answered or cut off, and not logged.
                _ = connection.as_mut() => return,
                () = shutdown.cancelled(), if !is_ending => {
                    is_ending = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = sleep(idle) => {
                    let now = moved.load(Relaxed);
                    if std::mem::replace(&mut seen, now) == now {
                        return;
                    }
                }
            }
        }
    }

    async fn answer(&self, request: hyper::Request<Incoming>) -> Result<axum::response::Response, Infallible> {
        // HTTP/1.1 needs one, and no more than one (RFC 9112, section 3.2), HTTP/1.0 has none.
        let hosts = request.headers().get_all(HOST).iter().count();
        let is_unclear_host = hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11);
        let mut response =
            if is_unclear_host { Problem::without_host().into_response() } else { self.gateway.serve(request).await };
        // An idle connection gives its place to the next client.
        if self.places.available_permits() == 0 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}

/// A stream that counts what moves on it.
struct Watched {
    stream: Box<dyn Stream>,
    moved: Arc<AtomicU64>,
}

impl Watched {
    fn note<T>(&self, poll: Poll<T>) -> Poll<T> {
        if poll.is_ready() {
            self.moved.fetch_add(1, Relaxed);
        }
        poll
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.note(poll)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note(poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::super::access::Access;
    use super::super::trial::config;
    use super::*;
    use crate::status::StatusRegistry;

    const IDLE: Duration = Duration::from_secs(10);

    /// The client's end of a connection to a gateway without sites.
    fn connected(tasks: &mut JoinSet<()>) -> DuplexStream {
        let status = Arc::new(StatusRegistry::new(Arc::new(|| Duration::ZERO)));
        let places = Arc::new(Semaphore::new(2));
        let place = Arc::clone(&places).try_acquire_owned().unwrap();
        let gateway = Arc::new(Gateway::new(config(), Access::Loopback, Vec::new(), status));
        let (client, stream) = duplex(1 << 16);
        let connection = Connection { gateway, places, _place: place };
        tasks.spawn(connection.converse(Box::new(stream), IDLE, CancellationToken::new()));
        client
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_closed_when_nothing_has_moved_on_it_for_long() {
        let mut tasks = JoinSet::new();
        let mut client = connected(&mut tasks);
        for _ in 0..10 {
            sleep(IDLE / 2).await;
            client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
            let mut answer = [0; 4096];
            let length = client.read(&mut answer).await.unwrap();
            assert!(answer[..length].starts_with(b"HTTP/1.1 404 "));
        }
        let silent = async { client.read(&mut [0]).await };
        assert_eq!(timeout(2 * IDLE + Duration::from_secs(1), silent).await.unwrap().unwrap(), 0);
    }

    #[tokio::test]
    async fn a_request_without_a_host_is_refused() {
        let mut tasks = JoinSet::new();
        for (version, status) in [("1.1", "400"), ("1.0", "404")] {
            let mut client = connected(&mut tasks);
            client.write_all(format!("GET / HTTP/{version}\r\n\r\n").as_bytes()).await.unwrap();
            let mut answer = [0; 4096];
            let length = client.read(&mut answer).await.unwrap();
            let answer = String::from_utf8_lossy(&answer[..length]);
            assert!(answer.starts_with(&format!("HTTP/{version} {status} ")), "{answer}");
        }
    }

    #[tokio::test]
    async fn clients_that_come_at_once_need_not_try_again() {
        let listener = GatewayListener::bind(&GatewayAddress::Tcp("127.0.0.1:0".parse().unwrap()), 0).await.unwrap();
        let address = listener.address().parse().unwrap();
        // Nobody accepts them yet. Without room, a client tries again for longer than this.
        let connect = |_| std::net::TcpStream::connect_timeout(&address, Duration::from_secs(20)).unwrap();
        assert_eq!((0..300).map(connect).collect::<Vec<_>>().len(), 300);
    }

    async fn bound(path: &Path) -> io::Result<GatewayListener> {
        GatewayListener::bind(&GatewayAddress::Unix(path.to_owned()), 0o600).await
    }

    #[tokio::test]
    async fn a_socket_whose_queue_is_full_is_not_taken_for_a_forgotten_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let address = socket2::SockAddr::unix(&path).unwrap();
        let busy = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        busy.bind(&address).unwrap();
        busy.listen(0).unwrap();
        let client = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        client.connect(&address).unwrap();
        assert_eq!(bound(&path).await.err().map(|error| error.kind()), Some(io::ErrorKind::AddrInUse));
        drop(busy);
        assert!(bound(&path).await.is_ok());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn of_processes_that_start_together_one_replaces_a_forgotten_socket() {
        let folder = tempfile::tempdir().unwrap();
        for name in 0..20 {
            let path = folder.path().join(name.to_string());
            drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
            let mut binding = JoinSet::new();
            for _ in 0..8 {
                let path = path.clone();
                binding.spawn(async move { bound(&path).await });
            }
            let mut bound = binding.join_all().await.into_iter().flatten();
            assert!(bound.next().is_some() && bound.next().is_none());
        }
    }

    #[tokio::test]
    async fn a_socket_is_alone_in_its_folder_and_takes_away_only_its_own_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let names = || fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
        let first = bound(&path).await.unwrap();
        assert_eq!((names(), fs::metadata(&path).unwrap().permissions().mode() & 0o777), (vec!["s".into()], 0o600));
        fs::remove_file(&path).unwrap();
        let second = bound(&path).await.unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
        assert!(names().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_does_not_end_is_cut_off() {
        let mut tasks = JoinSet::new();
        let mut client = connected(&mut tasks);
        let drip = async {
            while client.write_all(b"x").await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        };
        timeout(HEAD + Duration::from_secs(5), drip).await.unwrap();
    }
}

//! One port for https and http: the first byte of a connection tells which (0x16 begins a TLS handshake).
//!
//! Source of the need: clients that rewrite every URL to https, and people who write `http://` all the same.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use haversack_model::host::Connection;

use crate::Config;
use crate::stall::StallGuard;

const TLS_HANDSHAKE: u8 = 0x16;
const MAX_HEADER_BYTES: usize = 64 * 1024;
const MAX_HEADERS: usize = 100;

/// What every connection needs.
#[derive(Clone)]
struct Shared {
    router: Router,
    acceptor: TlsAcceptor,
    builder: Arc<auto::Builder<TokioExecutor>>,
    header_timeout: Duration,
    idle_timeout: Duration,
    refuse_remote_http: bool,
}

/// Accepts connections until told to stop, then lets requests under way finish within the configured time.
pub(crate) async fn run(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    router: Router,
    config: &Config,
    stop: CancellationToken,
) {
    let shared = Shared {
        router,
        acceptor: TlsAcceptor::from(tls),
        builder: Arc::new(builder(config)),
        header_timeout: Duration::from_secs(config.header_timeout_s.max(1)),
        idle_timeout: Duration::from_secs(config.idle_timeout_s.max(1)),
        refuse_remote_http: !config.insecure_http,
    };
    let places = Arc::new(Semaphore::new(config.max_connections.max(1) as usize));
    let graceful = GracefulShutdown::new();
    loop {
        let place = tokio::select! {
            () = stop.cancelled() => break,
            place = Arc::clone(&places).acquire_owned() => place.expect("the semaphore is never closed"),
        };
        let (stream, peer) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file handles, mostly: some will be free soon.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let shared = shared.clone();
        let watcher = graceful.watcher();
        let stopping = stop.clone();
        tokio::spawn(async move {
            let _place = place;
            tokio::select! {
                // A connection that has not even said what it speaks is not waited for.
                () = stopping.cancelled() => {}
                Some((stream, is_tls)) = open(&shared, stream, peer) => {
                    let connection = Connection { is_tls, peer };
                    match stream {
                        Opened::Plain(stream) => serve(&shared, stream, connection, watcher).await,
                        Opened::Tls(stream) => serve(&shared, *stream, connection, watcher).await,
                    }
                }
            }
        });
    }
    drop(listener);
    let deadline = Instant::now() + Duration::from_secs(config.shutdown_s);
    tokio::select! {
        () = graceful.shutdown() => {}
        () = tokio::time::sleep_until(deadline.into()) => {
            tracing::warn!("some requests did not finish in time and are cut off");
        }
    }
}

enum Opened {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::server::TlsStream<TcpStream>>),
}

fn builder(config: &Config) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(config.header_timeout_s.max(1)))
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(100)
        .max_header_list_size(MAX_HEADER_BYTES as u32)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

/// Looks at the first byte, and shakes hands if it asks for TLS.
async fn open(shared: &Shared, stream: TcpStream, peer: SocketAddr) -> Option<(Opened, bool)> {
    let opening = async {
        stream.set_nodelay(true).ok()?;
        let mut first = [0; 1];
        if stream.peek(&mut first).await.ok()? == 0 {
            return None;
        }
        if first[0] != TLS_HANDSHAKE {
            return Some((Opened::Plain(stream), false));
        }
        match shared.acceptor.accept(stream).await {
            Ok(stream) => Some((Opened::Tls(Box::new(stream)), true)),
            Err(error) => {
                tracing::debug!(%error, %peer, "a TLS handshake failed");
                None
            }
        }
    };
    tokio::time::timeout(shared.header_timeout, opening)
        .await
        .ok()
        .flatten()
}

async fn serve<S>(
    shared: &Shared,
    stream: S,
    connection: Connection,
    watcher: hyper_util::server::graceful::Watcher,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let refuse = shared.refuse_remote_http
        && !connection.is_tls
        && !connection.peer.ip().to_canonical().is_loopback();
    let router = shared.router.clone();
    let service = tower::service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
        let router = router.clone();
        async move {
            if refuse && request.uri().path() != "/health" {
                return Ok(crate::http::refuse_plain_http());
            }
            request.extensions_mut().insert(connection);
            router.oneshot(request.map(axum::body::Body::new)).await
        }
    });
    let io = TokioIo::new(StallGuard::new(stream, shared.idle_timeout));
    let serving = shared
        .builder
        .serve_connection(io, TowerToHyperService::new(service))
        .into_owned();
    if let Err(error) = watcher.watch(serving).await {
        tracing::debug!(%error, peer = %connection.peer, "a connection ended early");
    }
}

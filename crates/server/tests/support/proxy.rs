//! A proxy on loopback that breaks connections on purpose, one rule per connection.
//!
//! Rule source: GUARANTEES 3.5. It moves bytes and knows nothing of what they mean, so it works for https too.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What happens to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// Ends after so many bytes from the client.
    CutRequest(u64),
    /// Ends after so many bytes from the server.
    CutResponse(u64),
    /// The request arrives whole; what the server answers after so many bytes is swallowed, and the connection ends.
    SwallowAfter(u64),
    /// Ends with a reset after so many bytes from the server.
    Reset(u64),
    /// Stands still after so many bytes from the server.
    StandStill(u64),
    /// Is accepted and never answered.
    HalfOpen,
    /// Every piece from the server is late.
    Latency(Duration),
}

/// Which fault a connection gets: by its number, from zero.
pub(crate) type Rule = dyn Fn(usize) -> Fault + Send + Sync;

/// A running proxy; it ends when dropped.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    sent_by_server: Arc<AtomicU64>,
    _runtime: tokio::runtime::Runtime,
}

impl Proxy {
    /// A proxy before `target`.
    pub(crate) fn start(target: SocketAddr, rule: Arc<Rule>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let sent_by_server = Arc::new(AtomicU64::new(0));
        let (count, bytes) = (Arc::clone(&connections), Arc::clone(&sent_by_server));
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let fault = rule(count.fetch_add(1, Ordering::SeqCst));
                tokio::spawn(carry(stream, target, fault, Arc::clone(&bytes)));
            }
        });
        Self {
            address,
            connections,
            sent_by_server,
            _runtime: runtime,
        }
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
    /// Bytes that the server has sent so far.
    pub(crate) fn sent_by_server(&self) -> u64 {
        self.sent_by_server.load(Ordering::SeqCst)
    }
}

async fn carry(client: TcpStream, target: SocketAddr, fault: Fault, bytes: Arc<AtomicU64>) {
    if fault == Fault::HalfOpen {
        let mut client = client;
        // Held until the client gives up.
        let mut sink = [0; 1024];
        while client.read(&mut sink).await.is_ok_and(|n| n > 0) {}
        return;
    }
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    let reset = matches!(fault, Fault::Reset(_));
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async {
        let limit = match fault {
            Fault::CutRequest(n) => Some(n),
            _ => None,
        };
        let mut moved = 0;
        let mut piece = vec![0; 16 * 1024];
        loop {
            let Ok(count) = from_client.read(&mut piece).await else {
                return;
            };
            if count == 0 {
                return;
            }
            let room = limit.map_or(count, |n| (n - moved).min(count as u64) as usize);
            if to_server.write_all(&piece[..room]).await.is_err() {
                return;
            }
            moved += room as u64;
            if limit == Some(moved) {
                return;
            }
        }
    };
    let down = async {
        let limit = match fault {
            Fault::CutResponse(n)
            | Fault::SwallowAfter(n)
            | Fault::Reset(n)
            | Fault::StandStill(n) => Some(n),
            _ => None,
        };
        let mut moved = 0;
        let mut piece = vec![0; 16 * 1024];
        loop {
            let Ok(count) = from_server.read(&mut piece).await else {
                return;
            };
            if count == 0 {
                return;
            }
            bytes.fetch_add(count as u64, Ordering::SeqCst);
            if let Fault::Latency(wait) = fault {
                tokio::time::sleep(wait).await;
            }
            let room = limit.map_or(count, |n| (n - moved).min(count as u64) as usize);
            if to_client.write_all(&piece[..room]).await.is_err() {
                return;
            }
            moved += room as u64;
            if limit == Some(moved) {
                if matches!(fault, Fault::StandStill(_)) {
                    std::future::pending::<()>().await;
                }
                return;
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
    let client = from_client.reunite(to_client);
    if let (true, Ok(client)) = (reset, client) {
        // Closing with linger zero sends a reset instead of an orderly end.
        #[allow(
            deprecated,
            reason = "a linger of zero does not block, which is what the deprecation is about"
        )]
        let _ = client.set_linger(Some(Duration::ZERO));
    }
}

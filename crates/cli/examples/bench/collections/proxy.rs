//! A way between two servers that counts every byte and every turn, and may be long.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Result;

/// What went over the way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    /// Bytes to the primary.
    pub(crate) up: u64,
    /// Bytes from it.
    pub(crate) down: u64,
    /// How often something was sent after an answer, or at first; connections that were opened are in it.
    pub(crate) round_trips: u64,
}

impl Traffic {
    /// Bytes both ways.
    pub(crate) fn bytes(&self) -> u64 {
        self.up + self.down
    }
}

#[derive(Debug, Default)]
struct Counters {
    up: AtomicU64,
    down: AtomicU64,
    round_trips: AtomicU64,
    /// Whether the native interface is hidden.
    only_arangodb: AtomicBool,
}

/// How a question to the native interface begins, and what it is made then.
const NATIVE: (&[u8], &[u8]) = (b"GET /v1/", b"GET /no/");

/// A proxy on a free port of this machine.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    counters: Arc<Counters>,
    stopped: Arc<AtomicBool>,
}

impl Proxy {
    /// Begins to carry. `delay`: how long each byte is on its way, in each direction.
    pub(crate) fn start(to: SocketAddr, delay: Duration) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let counters = Arc::new(Counters::default());
        let stopped = Arc::new(AtomicBool::new(false));
        let (counting, ends) = (Arc::clone(&counters), Arc::clone(&stopped));
        std::thread::spawn(move || {
            for incoming in listener.incoming() {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                // A connection that cannot be made is the measured program's to notice.
                let Ok(client) = incoming else { continue };
                std::thread::sleep(delay);
                let Ok(server) = TcpStream::connect(to) else {
                    continue;
                };
                counting.round_trips.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(delay);
                let _cut = carry(client, server, delay, &counting);
            }
        });
        Ok(Self {
            address,
            counters,
            stopped,
        })
    }

    /// Its own end, for the secondary.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Hides or shows the native interface of the primary: without it, only ArangoDB's protocols are left.
    pub(crate) fn hide_native(&self, hide: bool) {
        self.counters.only_arangodb.store(hide, Ordering::Relaxed);
    }

    /// What went over it since this was asked last.
    pub(crate) fn take(&self) -> Traffic {
        Traffic {
            up: self.counters.up.swap(0, Ordering::Relaxed),
            down: self.counters.down.swap(0, Ordering::Relaxed),
            round_trips: self.counters.round_trips.swap(0, Ordering::Relaxed),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Wakes the one who waits for connections.
        let _woken = TcpStream::connect(self.address);
    }
}

fn carry(
    client: TcpStream,
    server: TcpStream,
    delay: Duration,
    counters: &Arc<Counters>,
) -> Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    // Whether the primary spoke last.
    let answered = Arc::new(AtomicBool::new(true));
    for (from, to, is_up) in [
        (client.try_clone()?, server.try_clone()?, true),
        (server, client, false),
    ] {
        let (counters, answered) = (Arc::clone(counters), Arc::clone(&answered));
        let (send, receive) = mpsc::sync_channel::<(Instant, Vec<u8>)>(1024);
        std::thread::spawn(move || deliver(&receive, to));
        std::thread::spawn(move || {
            let (mut from, mut piece) = (from, vec![0; 256 << 10]);
            while let Ok(count) = from.read(&mut piece) {
                if count == 0 {
                    return;
                }
                if is_up {
                    counters.up.fetch_add(count as u64, Ordering::Relaxed);
                    if answered.swap(false, Ordering::Relaxed) {
                        counters.round_trips.fetch_add(1, Ordering::Relaxed);
                    }
                } else {
                    counters.down.fetch_add(count as u64, Ordering::Relaxed);
                    answered.store(true, Ordering::Relaxed);
                }
                let due = Instant::now() + delay;
                let mut bytes = piece[..count].to_vec();
                if is_up
                    && counters.only_arangodb.load(Ordering::Relaxed)
                    && bytes.starts_with(NATIVE.0)
                {
                    bytes[..NATIVE.1.len()].copy_from_slice(NATIVE.1);
                }
                if send.send((due, bytes)).is_err() {
                    return;
                }
            }
        });
    }
    Ok(())
}

/// Writes each piece when it is due.
fn deliver(pieces: &mpsc::Receiver<(Instant, Vec<u8>)>, mut to: TcpStream) {
    for (due, piece) in pieces {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&piece).is_err() {
            return;
        }
    }
    let _gone = to.shutdown(Shutdown::Write);
}

//! Cut, swallowed and reset connections: whatever the network does, every edit arrives exactly once.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use haversack_model::Error;
use haversack_server::native::{Compression, NativeRemote};
use support::proxy::{Fault, Proxy, Rule};
use support::{checkout, client_at, edit_with_sql, editor, is_equal, remote, start, sync};

fn through(proxy: &Proxy, handle: &haversack_server::Handle) -> NativeRemote {
    let url = format!("http://{}", proxy.address);
    NativeRemote::new(client_at(&url, handle, editor()), "WildfireSync")
}

#[test]
fn edits_arrive_exactly_once_wherever_the_connection_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(&dir);
    let path = dir.path().join("one.gpkg");
    let mut file = checkout(&remote(&handle), "one", &path);
    let mut made = 0;
    // Of every fault: a first connection that suffers it at a moving byte, later ones that are well.
    for step in 0..24_u64 {
        let at = step * 37;
        let fault = match step % 4 {
            0 => Fault::CutRequest(at),
            1 => Fault::CutResponse(at),
            2 => Fault::SwallowAfter(at / 4),
            _ => Fault::Reset(at),
        };
        let rule: Arc<Rule> = Arc::new(move |n| if n == 0 { fault } else { Fault::None });
        let proxy = Proxy::start(handle.address, rule);
        let mut broken = through(&proxy, &handle);
        made += 1;
        edit_with_sql(
            &path,
            &format!("INSERT INTO inspections (name, score) VALUES ('cut {step}', {made})"),
        );
        if let Err(error) = sync(&mut file, &mut broken) {
            assert!(matches!(error, Error::Network(_)), "{fault:?}: {error:?}");
        }
        let mut well = through(&proxy, &handle);
        sync(&mut file, &mut well).unwrap();
        assert!(is_equal(&file, &well), "{fault:?}");
        assert!(proxy.connections() > 0);
    }
    let store = handle.server.services.store("WildfireSync").unwrap();
    let count: i64 = rusqlite::Connection::open(store.path())
        .unwrap()
        .query_row(
            "SELECT count(*) FROM inspections WHERE name LIKE 'cut %'",
            [],
            |r| r.get(0),
        )
        .unwrap();
    assert_eq!(count, made, "each edit exactly once");
}

#[test]
fn a_lost_reply_is_given_again_and_nothing_is_applied_twice() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(&dir);
    let path = dir.path().join("one.gpkg");
    let mut file = checkout(&remote(&handle), "one", &path);
    edit_with_sql(
        &path,
        "UPDATE inspections SET score = 11 WHERE OBJECTID = 3",
    );
    // The request arrives, the server commits, and not one byte of its answer comes back.
    let proxy = Proxy::start(
        handle.address,
        Arc::new(|n| {
            if n == 0 {
                Fault::SwallowAfter(0)
            } else {
                Fault::None
            }
        }),
    );
    let mut broken = through(&proxy, &handle);
    let generation = || {
        use haversack_model::Store as _;
        let store = handle.server.services.store("WildfireSync").unwrap();
        store.begin_read().unwrap().head().unwrap().generation
    };
    let before = generation();
    let _lost = sync(&mut file, &mut broken);
    let after = generation();
    assert_eq!(after.0, before.0 + 1, "it was applied");
    sync(&mut file, &mut broken).unwrap();
    assert_eq!(generation(), after, "the repeat changed nothing");
    assert!(is_equal(&file, &broken));
}

#[test]
fn a_download_continues_where_the_connection_broke() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(&dir);
    let whole = dir.path().join("whole.gpkg");
    drop(checkout(&remote(&handle), "whole", &whole));
    let size = std::fs::metadata(&whole).unwrap().len();
    // Every connection ends after a third of the file or so.
    let cut = Arc::new(AtomicU64::new(size / 3));
    let limit = Arc::clone(&cut);
    let proxy = Proxy::start(
        handle.address,
        Arc::new(move |_| Fault::CutResponse(limit.load(Ordering::SeqCst))),
    );
    // Uncompressed: what is left after a cut would fit into one connection otherwise.
    let url = format!("https://127.0.0.1:{}", proxy.address.port());
    let plain = client_at(&url, &handle, editor()).with_compression(Compression::Never);
    let broken = NativeRemote::new(plain, "WildfireSync");
    let path = dir.path().join("cut.gpkg");
    let file = checkout(&broken, "cut", &path);
    assert!(proxy.connections() >= 3, "{}", proxy.connections());
    assert!(proxy.sent_by_server() < size * 2, "little was sent twice");
    assert!(is_equal(&file, &remote(&handle)));
}

#[test]
fn a_slow_line_only_takes_longer() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(&dir);
    let proxy = Proxy::start(
        handle.address,
        Arc::new(|_| Fault::Latency(Duration::from_millis(5))),
    );
    let slow = through(&proxy, &handle);
    let file = checkout(&slow, "slow", &dir.path().join("slow.gpkg"));
    assert!(is_equal(&file, &slow));
}

#[test]
fn a_server_that_never_answers_holds_nothing_up() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(&dir);
    let proxy = Proxy::start(
        handle.address,
        Arc::new(|n| if n == 0 { Fault::HalfOpen } else { Fault::None }),
    );
    let stuck = std::net::TcpStream::connect(proxy.address).unwrap();
    let well = through(&proxy, &handle);
    assert!(well.client().discover().unwrap().is_some());
    drop(stuck);
}

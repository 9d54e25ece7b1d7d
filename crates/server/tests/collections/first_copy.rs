//! The first copy of a large collection, which is a prepared file: it goes on where it was cut, and is thrown away afterwards.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use haversack_model::Store as _;
use haversack_server::{Handle, clock};
use haversack_sync::reconcile::Method;

use crate::support::proxy::{Fault, Proxy, Rule};
use crate::{Pair, contents, edit, pair, pull, request, run, start};

/// So many documents that a first copy of them travels as a file.
const MANY: u64 = 25_000;

#[test]
fn a_large_first_copy_is_a_file_that_is_thrown_away_afterwards() {
    let pair = pair(MANY);
    let first = pull(&pair);
    assert!(first.created);
    assert_eq!(
        (first.walk.method, first.walk.inserted),
        (Method::FullCopy, MANY)
    );
    assert_eq!(first.walk.rounds, 1, "the proof: {:?}", first.walk);
    assert!(files(&pair.primary, "files").is_empty());
    assert!(parts(&pair).is_empty());
    assert_eq!(pull(&pair).walk.method, Method::Equal);
}

/// Names of the files in a folder of a server's data.
fn files(handle: &Handle, folder: &str) -> Vec<String> {
    let store = handle.server.services.store("_system").unwrap();
    let data = store.path().parent().unwrap().parent().unwrap();
    let found = std::fs::read_dir(data.join(folder)).unwrap();
    found
        .map(|one| one.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn parts(pair: &Pair) -> Vec<String> {
    let mut names = files(&pair.secondary, "services");
    names.retain(|name| name.contains(".copy-"));
    names
}

#[test]
fn a_first_copy_and_a_comparison_take_no_write_of_the_primary() {
    let pair = pair(MANY);
    let store = pair.primary.server.services.store("_system").unwrap();
    let (begun, has_begun) = channel();
    let (end, ended) = channel::<()>();
    std::thread::scope(|scope| {
        // Held to the end: whatever would write the collection's file could only wait. Were that so, it would come to an end all the same.
        let holder = scope.spawn(move || {
            let writer = store.begin_write(clock::now()).unwrap();
            begun.send(()).unwrap();
            let was_awaited = ended.recv_timeout(Duration::from_mins(1)).is_err();
            drop(writer);
            was_awaited
        });
        has_begun.recv().unwrap();
        let first = run(&pair, &request(pair.primary.address)).unwrap();
        let scattered = (0..MANY).step_by(500).map(|n| (format!("k{n}"), None));
        edit(&pair.secondary, scattered);
        let second = run(&pair, &request(pair.primary.address)).unwrap();
        // Nobody listens any more if it was too late.
        let _too_late = end.send(());
        assert!(
            !holder.join().unwrap(),
            "a synchronisation waited for a writer"
        );
        assert_eq!(first.walk.inserted, MANY);
        let walk = second.walk;
        assert!(walk.inserted > 0 && walk.rounds > 1, "{walk:?}");
    });
    assert_eq!(contents(&pair.primary), contents(&pair.secondary));
}

#[test]
fn a_first_copy_over_a_way_that_breaks_goes_on_with_what_arrived() {
    let pair = pair(MANY);
    let rule: Arc<Rule> = Arc::new(|n| {
        if n < 14 {
            Fault::CutResponse(400_000)
        } else {
            Fault::None
        }
    });
    let proxy = Proxy::start(pair.primary.address, rule);
    let asked = request(proxy.address);
    let mut cut = 0;
    while run(&pair, &asked).is_err() {
        cut += 1;
        assert!(cut < 20, "it never comes to an end");
        assert!(contents(&pair.secondary).is_empty());
    }
    assert_eq!(contents(&pair.primary), contents(&pair.secondary));
    assert!(parts(&pair).is_empty());
    let sent = proxy.sent_by_server();
    assert!(proxy.connections() > 1 && sent < 8_000_000, "{sent} bytes");
}

/// A way that breaks in the middle of the first file, until it is mended.
fn broken(pair: &Pair) -> (Proxy, Arc<AtomicBool>) {
    let mended = Arc::new(AtomicBool::new(false));
    let is_mended = Arc::clone(&mended);
    let rule: Arc<Rule> = Arc::new(move |n| match n {
        _ if is_mended.load(Ordering::SeqCst) => Fault::None,
        0 => Fault::CutResponse(700_000),
        _ => Fault::CutRequest(0),
    });
    (Proxy::start(pair.primary.address, rule), mended)
}

#[test]
fn a_first_copy_goes_on_after_the_secondary_lost_its_power() {
    let mut pair = pair(MANY);
    let (proxy, mended) = broken(&pair);
    assert!(run(&pair, &request(proxy.address)).is_err());
    let left = parts(&pair);
    assert_eq!(left.len(), 2, "what arrived, and what it is of: {left:?}");
    // Only the length has reached the disk.
    let store = pair.secondary.server.services.store("_system").unwrap();
    let is_part = |name: &&String| Path::new(name.as_str()).extension() == Some("part".as_ref());
    let part = left.iter().find(is_part).unwrap();
    let part = store.path().with_file_name(part);
    drop(store);
    let arrived = std::fs::metadata(&part).unwrap().len();
    assert!(arrived > 500_000, "{arrived}");
    std::fs::write(&part, vec![0; arrived as usize]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let first = std::mem::replace(&mut pair.secondary, start(&folder, &[]));
    first.stop();
    pair.secondary.stop();
    pair.secondary = start(&pair.folders[1], &["tcp://127.0.0.1:*"]);
    mended.store(true, Ordering::SeqCst);
    let report = run(&pair, &request(proxy.address)).unwrap();
    assert_eq!(report.walk.inserted, MANY);
    assert_eq!(contents(&pair.primary), contents(&pair.secondary));
    assert!(parts(&pair).is_empty());
}

#[test]
fn a_first_copy_begins_anew_when_its_file_has_expired() {
    let pair = pair(MANY);
    let (proxy, mended) = broken(&pair);
    assert!(run(&pair, &request(proxy.address)).is_err());
    let files_of_primary = prepared(&pair);
    std::fs::remove_file(&files_of_primary[0]).unwrap();
    edit(&pair.primary, [("k5".to_owned(), None)]);
    mended.store(true, Ordering::SeqCst);
    run(&pair, &request(proxy.address)).unwrap();
    assert_eq!(contents(&pair.primary), contents(&pair.secondary));
    assert!(parts(&pair).is_empty());
}

/// The prepared files at the primary.
fn prepared(pair: &Pair) -> Vec<PathBuf> {
    let store = pair.primary.server.services.store("_system").unwrap();
    let folder = store
        .path()
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("files");
    let mut names = files(&pair.primary, "files");
    names.retain(|name| name.ends_with(".sqlite"));
    names.iter().map(|name| folder.join(name)).collect()
}

#[test]
fn a_prepared_file_that_was_altered_at_the_primary_is_refused_and_the_next_one_taken() {
    let pair = pair(MANY);
    let (proxy, mended) = broken(&pair);
    assert!(run(&pair, &request(proxy.address)).is_err());
    let found = prepared(&pair);
    assert_eq!(found.len(), 1);
    let file = rusqlite::Connection::open(&found[0]).unwrap();
    file.execute(
        "UPDATE documents SET key = 'foreign' WHERE rowid = 20000",
        [],
    )
    .unwrap();
    drop(file);
    mended.store(true, Ordering::SeqCst);
    let refused = run(&pair, &request(proxy.address)).unwrap_err().to_string();
    assert!(refused.contains("prepared file"), "{refused}");
    assert!(contents(&pair.secondary).is_empty() && parts(&pair).is_empty());
    run(&pair, &request(proxy.address)).unwrap();
    assert_eq!(contents(&pair.primary), contents(&pair.secondary));
}

//! A service file with one document collection, short ways to edit it, and a synchronisation of two of them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use haversack_model::conformance::documents::{NOTES, with_documents};
use haversack_model::documents::{DocumentStore as _, document, key_of};
use haversack_model::{CollectionId, Generation, GlobalId, Revision, Store as _, Timestamp};
use haversack_sync::reconcile::{
    Limits, Method, Options, Report, Result, Secondary as _, Step, Walk, answer,
};

use crate::common::Held;

pub(crate) const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// Keys with revisions and bodies.
pub(crate) type Contents = BTreeMap<String, (Revision, String)>;

pub(crate) fn file() -> Held {
    Held::new(&with_documents())
}

pub(crate) fn body(n: u64, version: u64) -> String {
    format!("{{\"n\":{n},\"version\":{version}}}")
}

/// Puts documents (`Some`) and deletes them (`None`) in one transaction.
pub(crate) fn edit<K: AsRef<str>>(held: &Held, all: impl IntoIterator<Item = (K, Option<String>)>) {
    let mut tx = held.store.begin_write(NOW).unwrap();
    for (key, body) in all {
        match body {
            Some(body) => {
                tx.put(NOTES, &document(key.as_ref(), body), None).unwrap();
            }
            None => {
                tx.delete(NOTES, &GlobalId::Text(key.as_ref().into()), None)
                    .unwrap();
            }
        }
    }
    tx.commit().unwrap();
}

pub(crate) fn put(held: &Held, from: u64, upto: u64, version: u64) {
    edit(
        held,
        (from..upto).map(|n| (format!("k{n}"), Some(body(n, version)))),
    );
}

pub(crate) fn contents(held: &Held) -> Contents {
    let tx = held.store.read_documents().unwrap();
    let mut all = Contents::new();
    tx.by_key(NOTES, None, &mut |found| {
        let body = found.record.values[0].as_text().unwrap().to_owned();
        all.insert(
            key_of(&found.record.global_id),
            (found.track.revision, body),
        );
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    all
}

pub(crate) fn head(held: &Held) -> Generation {
    held.store.begin_read().unwrap().head().unwrap().generation
}

/// Makes `copy` equal to `primary` and checks that it is, summaries included.
pub(crate) fn sync(primary: &Held, copy: &Held) -> Report {
    let report = sync_with(primary, copy, Options::default()).unwrap();
    assert_eq!(bodies(primary), bodies(copy));
    for held in [primary, copy] {
        assert!(held.store.check_summaries(NOTES, NOW).unwrap());
    }
    report
}

pub(crate) fn bodies(held: &Held) -> BTreeMap<String, String> {
    let all = contents(held).into_iter();
    all.map(|(key, (_, body))| (key, body)).collect()
}

pub(crate) fn sync_with(primary: &Held, copy: &Held, options: Options) -> Result<Report> {
    pull((primary, NOTES), (copy, NOTES), options)
}

/// Makes one collection a copy of another.
pub(crate) fn pull(
    (primary, source): (&Held, CollectionId),
    (copy, target): (&Held, CollectionId),
    options: Options,
) -> Result<Report> {
    let mut copy = copy.store.secondary(target, NOW)?;
    let mut walk = Walk::new(options);
    let mut question = walk.start(&mut copy)?;
    loop {
        // The answer comes in small pieces.
        let mut stream = Vec::new();
        answer(
            &primary.store.primary(source, NOW),
            &question,
            &Limits::default(),
            &mut |piece| {
                stream.extend_from_slice(piece);
                Ok(())
            },
        )?;
        let mut last = Step::More;
        for piece in stream.chunks(1000) {
            last = walk.feed(&mut copy, piece)?;
        }
        match last {
            Step::Ask(next) => question = next,
            Step::Done(report) => return Ok(*report),
            Step::More => panic!("the answer was cut"),
        }
    }
}

/// A primary of `n` documents and an equal copy.
pub(crate) fn equal(n: u64) -> (Held, Held) {
    let (primary, copy) = (file(), file());
    put(&primary, 0, n, 0);
    let report = sync(&primary, &copy);
    assert_eq!((report.method, report.rounds), (Method::FullCopy, 1));
    (primary, copy)
}

pub(crate) fn root(held: &Held) -> haversack_sync::reconcile::Sum {
    held.store
        .secondary(NOTES, NOW)
        .unwrap()
        .state()
        .unwrap()
        .root
}

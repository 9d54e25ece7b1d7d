//! Rules of stores that keep document collections: [`DocumentStore`].

use std::ops::ControlFlow;

use uuid::Uuid;

use super::fixture::{PLACES, id, place, service};
use crate::documents::{
    DocumentStore, DocumentWrite, Index, Merged, NamedStage, Pin, Properties, Staged, body_of,
    document, key_of,
};
use crate::store::{ChangeQuery, Flow};
use crate::{
    CollectionId, Error, Filter, Generation, Result, Revision, Service, Timestamp, Value, Versioned,
};

/// Documents.
pub const NOTES: CollectionId = CollectionId(10);
/// Documents with a unique index on `mail`, one on `a.b` and `n` that is sparse.
pub const PEOPLE: CollectionId = CollectionId(11);

/// The service of the suite with two document collections.
pub fn with_documents() -> Service {
    let mut service = service();
    let collection = |id, name| crate::Collection::documents(id, name, name, false);
    service.collections.push(collection(NOTES, "_notes"));
    let mut people = collection(PEOPLE, "people");
    people.indexes = vec![
        index("1", &["mail"], false),
        index("2", &["a.b", "n"], true),
    ];
    service.collections.push(people);
    service
}

fn index(id: &str, fields: &[&str], sparse: bool) -> Index {
    Index {
        id: id.to_owned(),
        name: format!("idx_{id}"),
        kind: "persistent".to_owned(),
        fields: fields.iter().map(|field| (*field).to_owned()).collect(),
        unique: true,
        sparse,
        properties: Properties::new(),
    }
}

fn write<T>(
    store: &dyn DocumentStore,
    now: i64,
    work: impl FnOnce(&mut dyn DocumentWrite) -> Result<T>,
) -> Result<(Generation, T)> {
    let mut tx = store.write_documents(Timestamp(now))?;
    let done = work(tx.as_mut())?;
    Ok((tx.commit()?.generation, done))
}

fn put(store: &dyn DocumentStore, of: CollectionId, all: &[(&str, &str)]) -> Result<Generation> {
    write(store, 5, |tx| {
        for (key, body) in all {
            tx.put(of, &document(key, *body), None)?;
        }
        Ok(())
    })
    .map(|(generation, ())| generation)
}

type Visit<'a> = dyn FnMut(Versioned) -> Result<Flow> + 'a;

fn bodies(read: impl FnOnce(&mut Visit<'_>) -> Result<()>) -> Vec<(String, String)> {
    let mut all = Vec::new();
    read(&mut |found| {
        let body = found.record.values[0].as_text().unwrap_or_default();
        all.push((key_of(&found.record.global_id), body.to_owned()));
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    all
}

fn all(store: &dyn DocumentStore, of: CollectionId) -> Vec<(String, String)> {
    let tx = store.read_documents().unwrap();
    bodies(|visit| tx.by_key(of, None, visit))
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter()
        .map(|(key, body)| ((*key).to_owned(), (*body).to_owned()))
        .collect()
}

pub fn documents_come_back_exactly_and_in_order_of_their_keys(store: &dyn DocumentStore) {
    let exact = r#"{"b": 1.0,  "a":"\u0000\ud800","n":12345678901234567890}"#;
    let key = "550e8400-E29B-41d4-a716-446655440000";
    put(
        store,
        NOTES,
        &[("b", "{}"), ("B", exact), (key, "{}"), ("a%", "{}")],
    )
    .unwrap();
    let expected = pairs(&[(key, "{}"), ("B", exact), ("a%", "{}"), ("b", "{}")]);
    assert_eq!(all(store, NOTES), expected);
    let tx = store.read_documents().unwrap();
    let rest = bodies(|visit| tx.by_key(NOTES, Some("B"), visit));
    assert_eq!(rest, expected[2..]);
    assert_eq!(tx.count(NOTES).unwrap(), 4);
}

pub fn what_is_no_json_object_is_refused(store: &dyn DocumentStore) {
    for body in ["", "[1]", "{", "{\"a\":}", "1"] {
        let refused = put(store, NOTES, &[("a", body)]);
        assert!(matches!(refused, Err(Error::Invalid { .. })), "{body}");
    }
    let long = "k".repeat(255);
    assert!(put(store, NOTES, &[(&long, "{}")]).is_err());
    assert!(all(store, NOTES).is_empty());
}

pub fn a_foreign_revision_is_kept_and_moves_nothing(store: &dyn DocumentStore) {
    let foreign = Revision(77 << 40);
    let before = store.begin_read().unwrap().head().unwrap().revision;
    write(store, 5, |tx| {
        tx.put_revision(NOTES, &document("a", "{}"), foreign, None)
    })
    .unwrap();
    let tx = store.read_documents().unwrap();
    assert_eq!(tx.head().unwrap().revision, before);
    let a = crate::GlobalId::Text("a".into());
    assert_eq!(tx.track(NOTES, &a).unwrap().unwrap().revision, foreign);
    drop(tx);
    put(store, NOTES, &[("a", "{\"n\":1}"), ("b", "{}")]).unwrap();
    let tx = store.read_documents().unwrap();
    let edited = tx.track(NOTES, &a).unwrap().unwrap().revision;
    assert!(edited > foreign, "an edit here is after what it replaces");
    let mut found = Vec::new();
    tx.revisions(
        NOTES,
        Revision(0),
        Revision(u64::MAX),
        &mut |revision, id| {
            found.push((revision, key_of(&id)));
            Ok(ControlFlow::Continue(()))
        },
    )
    .unwrap();
    assert!(found.is_sorted());
    assert_eq!(found.len(), 2);
    found.clear();
    tx.revisions(NOTES, edited, edited, &mut |revision, id| {
        found.push((revision, key_of(&id)));
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    assert_eq!(found, [(edited, "a".to_owned())]);
}

pub fn a_pinned_generation_is_read_as_it_was(store: &dyn DocumentStore) {
    let at = put(
        store,
        NOTES,
        &[("a", "{\"n\":1}"), ("b", "{}"), ("c", "{}")],
    )
    .unwrap();
    let pin = Pin {
        id: Uuid::from_u128(1),
        generation: at,
        expires_at: Timestamp(1000),
    };
    write(store, 5, |tx| tx.pin(&pin)).unwrap();
    write(store, 6, |tx| {
        tx.delete(NOTES, &crate::GlobalId::Text("b".into()), None)?;
        tx.touch(NOTES, &crate::GlobalId::Text("c".into()))?;
        tx.put(NOTES, &document("d", "{}"), None)
    })
    .unwrap();
    let last = put(store, NOTES, &[("a", "{\"n\":2}")]).unwrap();
    let then = |after: Option<&str>| {
        let tx = store.read_documents().unwrap();
        bodies(|visit| tx.live_as_of(NOTES, at, after, visit))
    };
    let expected = pairs(&[("a", "{\"n\":1}"), ("b", "{}"), ("c", "{}")]);
    assert_eq!(then(None), expected);
    assert_eq!(then(Some("a")), expected[1..]);
    let (_, floor) = write(store, 999, |tx| tx.prune_history(last)).unwrap();
    assert_eq!(floor, at, "the pin holds the floor");
    assert_eq!(then(None), expected);
    let (_, floor) = write(store, 1000, |tx| tx.prune_history(last)).unwrap();
    assert_eq!(floor, last, "an expired one does not");
    let tx = store.read_documents().unwrap();
    assert_eq!(tx.pins().unwrap(), []);
    let gone = tx.live_as_of(NOTES, at, None, &mut |_| Ok(ControlFlow::Continue(())));
    assert!(matches!(gone, Err(Error::Resync { .. })));
    drop(tx);
    assert!(write(store, 1000, |tx| tx.pin(&pin)).is_err());
}

pub fn a_pin_is_extended_and_removed(store: &dyn DocumentStore) {
    let mut pin = Pin {
        id: Uuid::from_u128(1),
        generation: Generation(0),
        expires_at: Timestamp(1000),
    };
    write(store, 5, |tx| tx.pin(&pin)).unwrap();
    pin.expires_at = Timestamp(2000);
    write(store, 5, |tx| tx.pin(&pin)).unwrap();
    assert_eq!(store.read_documents().unwrap().pins().unwrap(), [pin]);
    assert!(write(store, 5, |tx| tx.unpin(pin.id)).unwrap().1);
    assert!(!write(store, 5, |tx| tx.unpin(pin.id)).unwrap().1);
}

pub fn a_unique_index_names_itself_and_the_document_that_has_the_values(store: &dyn DocumentStore) {
    put(store, PEOPLE, &[("1", r#"{"mail":"x","a":{"b":1},"n":2}"#)]).unwrap();
    let refused = |body: &str| match put(store, PEOPLE, &[("2", body)]) {
        Err(Error::Unique {
            index,
            key,
            conflicting,
            ..
        }) => {
            assert_eq!((key.as_str(), conflicting.as_str()), ("2", "1"));
            Some(index)
        }
        Err(other) => panic!("{other}"),
        Ok(_) => None,
    };
    assert_eq!(refused(r#"{"mail":"x"}"#).as_deref(), Some("idx_1"));
    let numbers = refused(r#"{"mail":"y","a":{"b":1.0},"n":2}"#);
    assert_eq!(numbers.as_deref(), Some("idx_2"), "1 is 1.0");
    for other in [
        r#"{"mail":"y","a":{"b":"1"},"n":2}"#,
        r#"{"mail":"y","a":{"b":true},"n":2}"#,
        r#"{"mail":"y","a":{"b":1}}"#,
        r#"{"mail":null,"a":{"b":1},"n":null}"#,
    ] {
        assert_eq!(refused(other), None, "{other}");
    }
    let absent = put(store, PEOPLE, &[("3", "{}")]);
    assert!(
        matches!(absent, Err(Error::Unique { .. })),
        "absent is null"
    );
    put(store, PEOPLE, &[("1", r#"{"mail":"x","a":{"b":1},"n":2}"#)]).unwrap();
}

pub fn an_index_is_built_and_dropped_with_the_definition(store: &dyn DocumentStore) {
    put(store, NOTES, &[("a", r#"{"n":1}"#), ("b", r#"{"n":1}"#)]).unwrap();
    let mut wanted = with_documents();
    let notes = wanted
        .collections
        .iter_mut()
        .find(|c| c.id == NOTES)
        .unwrap();
    notes.indexes = vec![index("9", &["n"], false)];
    let built = write(store, 5, |tx| tx.store_service(&wanted));
    assert!(matches!(built, Err(Error::Unique { .. })), "{built:?}");
    put(store, NOTES, &[("b", r#"{"n":2}"#)]).unwrap();
    write(store, 5, |tx| tx.store_service(&wanted)).unwrap();
    assert!(put(store, NOTES, &[("c", r#"{"n":2}"#)]).is_err());
    write(store, 5, |tx| tx.store_service(&with_documents())).unwrap();
    put(store, NOTES, &[("c", r#"{"n":2}"#)]).unwrap();
}

pub fn a_collection_is_renamed_dropped_and_made_again(store: &dyn DocumentStore) {
    put(store, NOTES, &[("a", "{}")]).unwrap();
    let mut wanted = with_documents();
    let at = wanted
        .collections
        .iter()
        .position(|c| c.id == NOTES)
        .unwrap();
    wanted.collections[at].name = "other".into();
    let properties = &mut wanted.collections[at].properties;
    properties.insert("waitForSync".into(), serde_json::json!(true));
    write(store, 5, |tx| tx.store_service(&wanted)).unwrap();
    assert_eq!(all(store, NOTES), pairs(&[("a", "{}")]));
    let tx = store.begin_read().unwrap();
    assert_eq!(tx.collection(NOTES).unwrap(), wanted.collections[at]);
    drop(tx);
    wanted.collections.remove(at);
    write(store, 5, |tx| tx.store_service(&wanted)).unwrap();
    assert!(store.begin_read().unwrap().collection(NOTES).is_err());
    write(store, 5, |tx| tx.store_service(&with_documents())).unwrap();
    assert!(all(store, NOTES).is_empty());
    put(store, NOTES, &[("a", "{}")]).unwrap();
}

pub fn a_truncated_collection_leaves_tombstones(store: &dyn DocumentStore) {
    let before = put(store, NOTES, &[("a", "{}"), ("b", "{}")]).unwrap();
    assert_eq!(write(store, 5, |tx| tx.truncate(NOTES)).unwrap().1, 2);
    let tx = store.begin_read().unwrap();
    let mut deleted = 0;
    let query = ChangeQuery {
        collection: NOTES,
        since: before,
        upto: tx.head().unwrap().generation,
        filter: &Filter::All,
        filter_then: &Filter::All,
    };
    tx.changes(&query, &mut |change| {
        deleted += u32::from(change.track.deleted && change.matched);
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    assert_eq!(deleted, 2);
}

fn staged(key: &str, document: Option<(u64, &str)>) -> Staged {
    Staged {
        key: key.to_owned(),
        document: document.map(|(revision, body)| (Revision(revision), body.to_owned())),
    }
}

pub fn a_stage_is_merged_by_key(store: &dyn DocumentStore) {
    let before = put(
        store,
        NOTES,
        &[("a", "{}"), ("b", "{}"), ("c", "{}"), ("e", "{}")],
    )
    .unwrap();
    let stage = [
        staged("a", Some((7, "{}"))),
        staged("b", Some((8, "{\"n\":1}"))),
        staged("d", Some((9, "{}"))),
        staged("e", None),
        staged("f", None),
    ];
    write(store, 5, |tx| {
        stage.iter().try_for_each(|change| tx.stage(NOTES, change))
    })
    .unwrap();
    assert_eq!(all(store, NOTES).len(), 4, "nobody sees the stage");
    assert_eq!(store.read_documents().unwrap().staged(NOTES).unwrap(), 5);
    let (after, merged) = write(store, 5, |tx| tx.merge_stage(NOTES, false)).unwrap();
    let expected = Merged {
        inserted: 1,
        replaced: 1,
        removed: 1,
        equal: 1,
    };
    assert_eq!(merged, expected);
    assert_eq!(
        after.0,
        before.0 + 3,
        "an equal document takes no generation"
    );
    let now = pairs(&[("a", "{}"), ("b", "{\"n\":1}"), ("c", "{}"), ("d", "{}")]);
    assert_eq!(all(store, NOTES), now);
    let tx = store.read_documents().unwrap();
    let a = tx.track(NOTES, &crate::GlobalId::Text("a".into())).unwrap();
    assert_eq!(a.unwrap().revision, Revision(7));
    assert_eq!(tx.staged(NOTES).unwrap(), 0);
    drop(tx);
    write(store, 5, |tx| {
        tx.stage(NOTES, &staged("b", Some((8, "{\"n\":1}"))))
    })
    .unwrap();
    let (_, merged) = write(store, 5, |tx| tx.merge_stage(NOTES, true)).unwrap();
    assert_eq!((merged.removed, merged.equal), (3, 1));
    assert_eq!(all(store, NOTES), pairs(&[("b", "{\"n\":1}")]));
}

/// Keys and revisions of a collection after a merge of its stage, as they are told before it: by key, then by revision.
fn merged(store: &dyn DocumentStore, whole: bool) -> [Vec<(String, u64)>; 2] {
    let tx = store.read_documents().unwrap();
    let (mut by_key, mut by_revision) = (Vec::new(), Vec::new());
    tx.merged_keys(NOTES, whole, (None, None), &mut |key, revision| {
        by_key.push((key.to_owned(), revision.0));
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    let all = (Revision(0), Revision(u64::MAX));
    tx.merged_revisions(NOTES, whole, all, &mut |key, revision| {
        by_revision.push((key.to_owned(), revision.0));
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    assert!(by_revision.is_sorted_by_key(|(_, revision)| *revision));
    by_revision.sort();
    [by_key, by_revision]
}

pub fn what_a_merge_would_leave_is_known_before(store: &dyn DocumentStore) {
    put(store, NOTES, &[("a", "{}"), ("b", "{}"), ("c", "{}")]).unwrap();
    let live = merged(store, false);
    assert_eq!(live[0], live[1]);
    assert_eq!(live[0].len(), 3);
    assert_eq!(merged(store, true), [[], []]);
    write(store, 5, |tx| {
        tx.stage(NOTES, &staged("b", Some((9, "{\"n\":1}"))))?;
        tx.stage(NOTES, &staged("c", None))?;
        tx.stage(NOTES, &staged("d", Some((7, "{}"))))
    })
    .unwrap();
    let told = merged(store, false);
    let expected = vec![live[0][0].clone(), ("b".to_owned(), 9), ("d".to_owned(), 7)];
    assert_eq!(told, [expected.clone(), expected.clone()]);
    let whole = vec![("b".to_owned(), 9), ("d".to_owned(), 7)];
    assert_eq!(merged(store, true), [whole.clone(), whole.clone()]);
    let tx = store.read_documents().unwrap();
    let mut within = Vec::new();
    tx.merged_keys(NOTES, false, (Some("a"), Some("b")), &mut |key, _| {
        within.push(key.to_owned());
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    assert_eq!(within, ["b"], "above the one, up to the other");
    let bounds = (Revision(7), Revision(8));
    within.clear();
    tx.merged_revisions(NOTES, false, bounds, &mut |key, _| {
        within.push(key.to_owned());
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    assert_eq!(within, ["d"]);
    drop(tx);
    write(store, 5, |tx| tx.merge_stage(NOTES, false)).unwrap();
    assert_eq!(merged(store, false), [expected.clone(), expected]);
}

pub fn a_stage_is_named_until_it_is_emptied(store: &dyn DocumentStore) {
    let named = || store.read_documents().unwrap().named_stages().unwrap();
    let of = |origin: &str| NamedStage {
        collection: NOTES,
        origin: origin.to_owned(),
        at: Timestamp(5),
    };
    assert_eq!(named(), []);
    for origin in ["one", "two"] {
        write(store, 5, |tx| tx.name_stage(&of(origin))).unwrap();
        assert_eq!(named(), [of(origin)]);
    }
    write(store, 5, |tx| tx.clear_stage(NOTES)).unwrap();
    assert_eq!(named(), []);
    write(store, 5, |tx| {
        tx.name_stage(&of("three"))?;
        tx.stage(NOTES, &staged("a", Some((7, "{}"))))?;
        tx.merge_stage(NOTES, true)
    })
    .unwrap();
    assert_eq!(named(), []);
}

pub fn a_merge_may_exchange_unique_values_but_not_repeat_them(store: &dyn DocumentStore) {
    let (x, y) = (r#"{"mail":"x"}"#, r#"{"mail":"y"}"#);
    put(store, PEOPLE, &[("1", x), ("2", y)]).unwrap();
    let merge = |all: &[(&str, &str)]| {
        write(store, 5, |tx| {
            tx.clear_stage(PEOPLE)?;
            for (key, body) in all {
                tx.stage(PEOPLE, &staged(key, Some((1, body))))?;
            }
            tx.merge_stage(PEOPLE, true)
        })
    };
    merge(&[("1", y), ("2", x)]).unwrap();
    assert_eq!(all(store, PEOPLE), pairs(&[("1", y), ("2", x)]));
    let twice = merge(&[("1", y), ("2", y)]);
    assert!(matches!(twice, Err(Error::Unique { .. })), "{twice:?}");
    assert_eq!(all(store, PEOPLE), pairs(&[("1", y), ("2", x)]));
    assert!(
        put(store, PEOPLE, &[("3", x)]).is_err(),
        "the index still stands"
    );
}

pub fn a_layer_is_read_as_documents(store: &dyn DocumentStore) {
    write(store, 5, |tx| {
        tx.put(PLACES, &place(1, "a"), None)?;
        tx.put(PLACES, &place(2, "b"), None)
    })
    .unwrap();
    let tx = store.read_documents().unwrap();
    let collection = tx.collection(PLACES).unwrap();
    let mut found = Vec::new();
    tx.by_key(PLACES, None, &mut |versioned| {
        let body = body_of(&collection, &versioned.record);
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        found.push((key_of(&versioned.record.global_id), body["name"].clone()));
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    assert_eq!(found.len(), 2);
    assert!(found.is_sorted_by_key(|(key, _)| key.clone()));
    let first = crate::GlobalId::Text(found[0].0.as_str().into());
    let by_text = tx.record(PLACES, &first).unwrap().unwrap();
    assert_eq!(key_of(&by_text.record.global_id), found[0].0);
    assert!([id(1), id(2)].contains(&by_text.record.global_id));
    let mut rest = Vec::new();
    tx.by_key(PLACES, Some(&found[0].0), &mut |versioned| {
        rest.push(versioned.record.values[0].clone());
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    assert_eq!(rest, [Value::Text(found[1].1.as_str().unwrap().to_owned())]);
}

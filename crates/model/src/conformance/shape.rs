//! Changes of a schema, and digests.

use super::fixture::{PLACES, commit, field, id, place, put_places, service};
use crate::store::Store;
use crate::{CollectionId, Error, FieldType, Filter, Geometry, Record, Service, Shape, Value};

fn with_height() -> Service {
    let mut service = service();
    let mut height = field("height", FieldType::Double);
    height.default = Value::Real(1.5);
    service.collections[0].fields.push(height);
    service.collections[0]
        .fields
        .push(field("remark", FieldType::String));
    service
}

fn store_service(store: &dyn Store, service: &Service) -> crate::Result<()> {
    let mut tx = store.begin_write(crate::Timestamp(1)).unwrap();
    tx.store_service(service)?;
    tx.commit().map(|_| ())
}

pub fn a_new_column_is_there_with_its_default(store: &dyn Store) {
    put_places(store, &[place(1, "a")]);
    let before = store.begin_read().unwrap();
    store_service(store, &with_height()).unwrap();
    assert_eq!(before.collection(PLACES).unwrap().fields.len(), 5);
    assert_eq!(
        before
            .record(PLACES, &id(1))
            .unwrap()
            .unwrap()
            .record
            .values
            .len(),
        5
    );
    drop(before);
    let tx = store.begin_read().unwrap();
    assert!(tx.service().unwrap().schema_version > 1);
    let found = tx.record(PLACES, &id(1)).unwrap().unwrap().record;
    assert_eq!(found.values[5..], [Value::Real(1.5), Value::Null]);
    drop(tx);
    let mut tall = place(1, "a");
    tall.values.extend([Value::Real(9.0), "r".into()]);
    put_places(store, std::slice::from_ref(&tall));
    let tx = store.begin_read().unwrap();
    assert!(
        tx.record(PLACES, &id(1))
            .unwrap()
            .unwrap()
            .record
            .same_content(&tall)
    );
}

pub fn past_versions_have_the_new_column_too(store: &dyn Store) {
    let first = put_places(store, &[place(1, "a")]);
    put_places(store, &[place(1, "b")]);
    store_service(store, &with_height()).unwrap();
    let tx = store.begin_read().unwrap();
    let then = tx.record_as_of(PLACES, &id(1), first).unwrap().unwrap();
    assert_eq!(then.record.values[0], "a".into());
    assert_eq!(then.record.values[5], Value::Real(1.5));
    drop(tx);
    let mut changed = place(1, "c");
    changed.values.extend([Value::Real(2.0), Value::Null]);
    let last = put_places(store, &[changed]);
    let tx = store.begin_read().unwrap();
    assert_eq!(tx.history(PLACES, &id(1)).unwrap().len(), 2);
    assert!(tx.record_as_of(PLACES, &id(1), last).unwrap().is_some());
}

pub fn a_new_collection_can_be_used(store: &dyn Store) {
    let mut wider = service();
    let mut more = wider.collections[0].clone();
    more.id = CollectionId(9);
    more.name = "More".into();
    more.table = "more".into();
    wider.collections.push(more);
    store_service(store, &wider).unwrap();
    commit(store, 2, |tx| {
        tx.put(CollectionId(9), &place(1, "a"), None).unwrap();
    });
    let tx = store.begin_read().unwrap();
    assert!(tx.record(CollectionId(9), &id(1)).unwrap().is_some());
    assert!(tx.collection(CollectionId(9).attachments()).is_ok());
}

pub fn a_changed_type_is_refused(store: &dyn Store) {
    put_places(store, &[place(1, "a")]);
    let mut wrong = service();
    wrong.collections[0].fields[1].kind = FieldType::String;
    assert!(matches!(
        store_service(store, &wrong),
        Err(Error::Invalid { .. })
    ));
    let mut missing = service();
    missing.collections[0].fields.remove(0);
    assert!(matches!(
        store_service(store, &missing),
        Err(Error::Invalid { .. })
    ));
    let mut strict = service();
    let mut needed = field("needed", FieldType::String);
    needed.nullable = false;
    strict.collections[0].fields.push(needed);
    assert!(matches!(
        store_service(store, &strict),
        Err(Error::Invalid { .. })
    ));
    let tx = store.begin_read().unwrap();
    assert_eq!(tx.service().unwrap(), service());
    assert_eq!(
        tx.record(PLACES, &id(1))
            .unwrap()
            .unwrap()
            .record
            .values
            .len(),
        5
    );
}

pub fn a_missing_collection_is_refused(store: &dyn Store) {
    let mut fewer = service();
    fewer.collections.pop();
    assert!(matches!(
        store_service(store, &fewer),
        Err(Error::Invalid { .. })
    ));
}

pub fn a_description_changes_without_a_new_version(store: &dyn Store) {
    let mut told = service();
    told.description = "Trees and their visitors".into();
    told.collections[0].description = "Where".into();
    store_service(store, &told).unwrap();
    let tx = store.begin_read().unwrap();
    assert_eq!(tx.service().unwrap(), told);
    assert_eq!(tx.collection(PLACES).unwrap().description, "Where");
}

pub fn digests_tell_content_and_nothing_else(store: &dyn Store) {
    put_places(store, &[place(1, "a"), place(2, "b")]);
    let digest = |filter: &Filter| store.begin_read().unwrap().digest(PLACES, filter).unwrap();
    let before = digest(&Filter::All);
    assert_eq!(before.count, 2);
    let mut by_hand = crate::record::Digest::default();
    for record in [place(2, "b"), place(1, "a")] {
        by_hand.add(record.content_hash());
    }
    assert_eq!(before, by_hand, "order and object ids do not count");
    commit(store, 2, |tx| {
        tx.touch(PLACES, &id(1)).unwrap();
        tx.put(PLACES, &place(2, "b"), None).unwrap();
    });
    assert_eq!(digest(&Filter::All), before);
    let moved = Record {
        geometry: Some(Geometry::from_shape(&Shape::Point(None))),
        ..place(2, "b")
    };
    put_places(store, &[moved]);
    assert_ne!(digest(&Filter::All), before);
    assert_eq!(digest(&Filter::GlobalIds(vec![id(1)])).count, 1);
    assert_eq!(digest(&Filter::Nothing), crate::record::Digest::default());
}

use std::collections::BTreeSet;

use haversack_model::store::Flow;
use haversack_model::{
    Filter, GlobalId, Host as _, Principal, Query, QueryRow, ReadTx, Record, Shape, Store as _,
};

use super::*;

fn sample() -> (tempfile::TempDir, Arc<Server>) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path()).unwrap();
    publish(&server).unwrap();
    (dir, server)
}

fn records(tx: &dyn ReadTx, collection: CollectionId) -> Vec<Record> {
    let mut records = Vec::new();
    tx.query(&Query::records(collection, Filter::All), &mut |row| {
        if let QueryRow::Record(one) = row {
            records.push(one.record);
        }
        Ok(Flow::Continue(()))
    })
    .unwrap();
    records
}

#[test]
fn the_sample_is_the_same_on_every_machine_but_for_its_ids() {
    let (_one, first) = sample();
    let (_two, second) = sample();
    for (service, collection) in [
        ("WildfireSync", wildfire::POINTS),
        ("WildfireSync", wildfire::LINES),
        ("WildfireSync", wildfire::AREAS),
        ("Ports", CollectionId(0)),
    ] {
        let of = |server: &Server| {
            let store = server.services.store(service).unwrap();
            let tx = store.begin_read().unwrap();
            records(tx.as_ref(), collection)
        };
        let (a, b) = (of(&first), of(&second));
        assert!(a.len() >= 35, "{service} {collection}: {}", a.len());
        assert_eq!(a.len(), b.len());
        for (a, b) in a.iter().zip(&b) {
            assert_eq!((&a.values, &a.geometry), (&b.values, &b.geometry));
            assert_ne!(a.global_id, b.global_id);
        }
    }
}

#[test]
fn every_page_is_wider_than_its_layer_and_every_field_but_the_name_may_be_left_out() {
    let (_dir, server) = sample();
    for name in server.service_names() {
        let store = server.services.store(&name).unwrap();
        let tx = store.begin_read().unwrap();
        for collection in tx.service().unwrap().layers_and_tables() {
            let count = records(tx.as_ref(), collection.id).len();
            assert!(count < collection.max_record_count as usize);
            for field in &collection.fields {
                let may_be_left_out = field.nullable || !field.default.is_null();
                assert!(may_be_left_out || field.name == "name", "{}", field.name);
            }
        }
    }
}

#[test]
fn areas_have_holes_and_parts_and_lines_have_parts() {
    let (_dir, server) = sample();
    let store = server.services.store("WildfireSync").unwrap();
    let tx = store.begin_read().unwrap();
    let shapes = |collection| -> Vec<Shape> {
        records(tx.as_ref(), collection)
            .iter()
            .map(|r| r.geometry.as_ref().unwrap().shape())
            .collect()
    };
    let areas = shapes(wildfire::AREAS);
    let has_hole = |s: &&Shape| matches!(s, Shape::MultiPolygon(parts) if parts.iter().any(|rings| rings.len() > 1));
    assert!(areas.iter().filter(has_hole).count() > 10);
    let has_several = |s: &&Shape| matches!(s, Shape::MultiPolygon(parts) if parts.len() > 1);
    assert!(areas.iter().filter(has_several).count() > 10);
    let lines = shapes(wildfire::LINES);
    let has_parts = |s: &Shape| matches!(s, Shape::MultiLineString(parts) if parts.len() > 1);
    assert!(lines.iter().any(has_parts));
    // The form in which feature services tell geometries: what comes back unchanged is equal.
    for shape in areas.iter().chain(&lines) {
        let geometry = haversack_model::Geometry::from_shape(shape);
        assert_eq!(
            haversack_geoservices::wire::geometry::normalised(&geometry),
            geometry
        );
    }
}

#[test]
fn every_inspection_belongs_to_a_point_and_pictures_are_kept_under_their_hash() {
    let (_dir, server) = sample();
    let store = server.services.store("WildfireSync").unwrap();
    let tx = store.begin_read().unwrap();
    let points: BTreeSet<_> = records(tx.as_ref(), wildfire::POINTS)
        .into_iter()
        .map(|r| r.global_id)
        .collect();
    for inspection in records(tx.as_ref(), wildfire::INSPECTIONS) {
        let point = inspection.values[0].as_text().unwrap();
        assert!(points.contains(&GlobalId::parse_uuid(point).unwrap()));
    }
    let attachments = records(tx.as_ref(), wildfire::POINTS.attachments());
    assert!(attachments.len() > 20);
    for attachment in attachments {
        let hash = attachment.values[4].as_text().unwrap();
        let hash = haversack_model::BlobHash::from_hex(hash).unwrap();
        let content = tx.blob(hash).unwrap().unwrap();
        assert_eq!(Value::Integer(content.len() as i64), attachment.values[3]);
    }
}

#[test]
fn anonymous_may_edit_and_synchronise_the_wildfire_and_only_read_the_ports() {
    let (_dir, server) = sample();
    let rights = |service| server.access(&Principal::anonymous(), service).rights;
    assert_eq!(
        rights("WildfireSync"),
        [Right::Read, Right::Edit, Right::Sync]
    );
    assert_eq!(rights("ports"), [Right::Read]);
    assert_eq!(rights("Other"), []);
}

#[test]
fn a_second_start_leaves_the_sample_as_it_is() {
    let (_dir, server) = sample();
    let head = |server: &Server| {
        let store = server.services.store("Ports").unwrap();
        store.begin_read().unwrap().head().unwrap()
    };
    let before = head(&server);
    publish(&server).unwrap();
    assert_eq!(head(&server), before);
}

#[test]
fn the_clinics_have_people_once_and_an_instance_of_ones_own_is_left_alone() {
    use haversack_model::documents::DocumentStore as _;

    let count = |server: &Server, name: &str| {
        let store = server.services.store("dhis2").unwrap();
        let tx = store.read_documents().unwrap();
        let id = tx.service().unwrap().collection_named(name).unwrap().id;
        (tx.count(id).unwrap(), tx.head().unwrap())
    };
    let (_dir, server) = sample();
    let before = count(&server, "trackedEntities");
    assert_eq!(before.0, 300);
    assert_eq!(count(&server, "events").0, 600);
    publish(&server).unwrap();
    assert_eq!(count(&server, "trackedEntities"), before);

    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path()).unwrap();
    let host: Arc<dyn haversack_model::Host> = Arc::clone(&server) as _;
    let admin = Principal {
        name: "admin".to_owned(),
        is_admin: true,
    };
    let own =
        r#"{"organisationUnits": [{"id": "myOuRoot001", "path": "/myOuRoot001", "name": "Mine"}]}"#;
    haversack_dhis2::face::post(&host, &admin, "/api/metadata", "", own).unwrap();
    publish(&server).unwrap();
    assert_eq!(count(&server, "organisationUnits").0, 1);
    assert_eq!(count(&server, "trackedEntities").0, 0);
}

#[test]
fn some_hundred_documents_are_in_the_database_where_clients_look_and_are_not_made_twice() {
    use haversack_model::documents::DocumentStore as _;
    let texts = |server: &Server| {
        let store = server.services.store("_system").unwrap();
        let tx = store.read_documents().unwrap();
        let service = tx.service().unwrap();
        let test = service.collection_named("test").unwrap().id;
        let mut texts = Vec::new();
        tx.by_key(test, None, &mut |found| {
            texts.push((found.record.global_id, found.record.values));
            Ok(Flow::Continue(()))
        })
        .unwrap();
        texts
    };
    let (_one, first) = sample();
    let (_two, second) = sample();
    let told = texts(&first);
    assert!((200..1000).contains(&told.len()), "{}", told.len());
    assert_eq!(told, texts(&second));
    publish(&first).unwrap();
    assert_eq!(told, texts(&first));
}

#[test]
fn an_empty_database_that_is_there_gets_the_documents_too() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path()).unwrap();
    server
        .create_service(&Service::of_documents("_system"), |_empty| Ok(()))
        .unwrap();
    publish(&server).unwrap();
    let service = server.services.store("_system").unwrap();
    let service = service.begin_read().unwrap().service().unwrap();
    assert!(service.collection_named("test").is_some());
}

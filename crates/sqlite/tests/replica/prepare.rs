//! Files prepared on the server, with data as awkward as the real one: names in many scripts, mixed geometries, 71 columns.

use std::path::{Path, PathBuf};
use std::process::Command;

use haversack_model::local::LocalReplica;
use haversack_model::{
    BlobHash, Collection, CollectionId, Filter, GlobalId, Record, Service, Shape, Store, SyncState,
    Timestamp, Value, filter::Comparison, filter::Expr,
};
use haversack_sqlite::SqliteStore;
use haversack_sqlite::replica::{Checkout, Options, Prepared, ReplicaFile, prepare_replica};
use uuid::Uuid;

use crate::support::{header, python, run};
use crate::world::{ports, towns, world};

const NOW: Timestamp = Timestamp(1_700_000_000_000);

struct Server {
    folder: tempfile::TempDir,
    store: SqliteStore,
}

impl Server {
    fn new(layers: &[(Collection, Vec<Record>)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let service = Service {
            name: "world".to_owned(),
            title: "World".to_owned(),
            description: String::new(),
            copyright: String::new(),
            capabilities: Vec::new(),
            srid: 4326,
            schema_version: 3,
            collections: layers.iter().map(|(c, _)| c.clone()).collect(),
        };
        let store = SqliteStore::create(folder.path().join("world.gpkg"), &service).unwrap();
        let mut tx = store.begin_write(NOW).unwrap();
        for (collection, records) in layers {
            for record in records {
                tx.put(collection.id, record, None).unwrap();
            }
        }
        tx.commit().unwrap();
        Self { folder, store }
    }
    fn path(&self) -> PathBuf {
        self.folder.path().join("replica.gpkg")
    }
    fn prepare(&self, layers: Vec<(CollectionId, &Filter)>) -> (Prepared, ReplicaFile) {
        let checkout = Checkout {
            seal: &(),
            layers,
            header: header(),
            options: Options::default(),
            content: true,
        };
        let prepared =
            prepare_replica(&self.store, &checkout, &self.path(), &mut |_, _, _| {}).unwrap();
        let names: Vec<_> = std::fs::read_dir(self.folder.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("replica"))
            .collect();
        assert_eq!(names, ["replica.gpkg"], "nothing else is left behind");
        (prepared, ReplicaFile::open(&self.path()).unwrap())
    }
}

#[test]
fn a_prepared_file_equals_the_service_and_is_an_ordinary_geopackage() {
    let layers = world();
    let server = Server::new(&layers);
    let wanted = layers.iter().map(|(c, _)| (c.id, &Filter::All)).collect();
    let (prepared, mut file) = server.prepare(wanted);
    let read = server.store.begin_read().unwrap();
    assert_eq!(prepared.head, read.head().unwrap());
    let total: usize = layers.iter().map(|(_, records)| records.len()).sum();
    assert_eq!(prepared.rows, total as u64);
    assert_eq!(
        file.header().unwrap().cursor.generation,
        prepared.head.generation
    );
    assert_eq!(file.header().unwrap().schema_version, 3);
    assert!(file.problems().unwrap().is_empty());
    assert_eq!(file.status().unwrap().pending, 0);
    let mut tables = Vec::new();
    for (collection, records) in &layers {
        assert_eq!(
            file.digest(collection.id).unwrap(),
            read.digest(collection.id, &Filter::All).unwrap(),
            "{}",
            collection.name
        );
        let tx = file.begin().unwrap();
        for record in records.iter().step_by(50) {
            let theirs = read
                .record(collection.id, &record.global_id)
                .unwrap()
                .unwrap();
            let at = tx
                .version(collection.id, &record.global_id)
                .unwrap()
                .unwrap();
            assert_eq!(at.revision, theirs.track.revision);
            assert_eq!(at.generation, theirs.track.generation);
        }
        drop(tx);
        tables.push((file.table(collection.id).unwrap().to_owned(), records.len()));
    }
    assert_eq!(layers[3].0.fields.len(), 71);
    drop(file);

    // GDAL sees the layers and nothing of ours, reads everything, and says nothing against it.
    let output = Command::new("ogrinfo")
        .args(["-ro", "-al", "-so"])
        .arg(server.path())
        .output()
        .expect("ogrinfo cannot be run: install gdal-bin");
    let (text, errors) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    assert_eq!(errors, "");
    assert!(!text.contains("haversack"), "{text}");
    for (table, count) in &tables {
        let part = text
            .split(&format!("Layer name: {table}\n"))
            .nth(1)
            .unwrap();
        assert!(
            part.contains(&format!("Feature Count: {count}\n")),
            "{table}"
        );
    }
    let conn = rusqlite::Connection::open(server.path()).unwrap();
    for (table, _) in &tables {
        let sound: String = conn
            .query_row(
                "SELECT rtreecheck('main', ?1)",
                [format!("rtree_{table}_SHAPE")],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(sound, "ok", "{table}");
    }
    let sound: String = conn
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(sound, "ok");
}

#[test]
fn edits_of_wide_and_many_scripted_rows_are_captured_with_their_bases() {
    let layers = world();
    let server = Server::new(&layers);
    let wanted = layers.iter().map(|(c, _)| (c.id, &Filter::All)).collect();
    let (_, mut file) = server.prepare(wanted);
    let (countries, areas) = (&layers[3], &layers[2]);
    let script = format!(
        "ds = gdal.OpenEx(path, gdal.OF_UPDATE)\n\
         countries = ds.GetLayerByName('{}'); areas = ds.GetLayerByName('{}')\n\
         for f in list(countries):\n  f['NAME'] = f['NAME'] + ' 港'; countries.SetFeature(f)\n\
         for f in list(areas):\n  f.SetGeometry(ogr.ForceToMultiPolygon(f.GetGeometryRef().Clone())); areas.SetFeature(f)\n\
         ds = None\n",
        file.table(countries.0.id).unwrap(),
        file.table(areas.0.id).unwrap(),
    );
    python(&server.path(), &script);
    let tx = file.begin().unwrap();
    let pending = tx.pending(usize::MAX).unwrap();
    let of = |id| pending.iter().filter(move |e| e.collection == id);
    assert_eq!(of(countries.0.id).count(), 177);
    // Areas that were multi already did not change, though every one was written again.
    let single = areas
        .1
        .iter()
        .filter(|r| matches!(r.geometry.as_ref().unwrap().shape(), Shape::Polygon(_)))
        .count();
    assert!(single > 0 && single < areas.1.len());
    assert_eq!(of(areas.0.id).count(), single);
    for entry in &pending {
        assert_eq!(entry.state, SyncState::ToUpdate);
        let all = &layers[entry.collection.0 as usize].1;
        let original = all.iter().find(|r| r.global_id == entry.global_id).unwrap();
        assert!(entry.base.as_ref().unwrap().0.same_content(original));
    }
}

#[test]
fn only_rows_that_match_and_no_other_layer_are_in_a_filtered_file() {
    let (mut ports, records) = ports(7);
    ports.name = "Häfen der Welt (10 m)".to_owned();
    let towns = towns(8);
    let server = Server::new(&[(ports.clone(), records.clone()), towns]);
    let at = ports.field_index("scalerank").unwrap();
    let filter = Filter::Compare {
        left: Expr::Field("scalerank".into()),
        op: Comparison::LessOrEqual,
        right: Expr::Literal(Value::Integer(4)),
    };
    let (prepared, file) = server.prepare(vec![(ports.id, &filter)]);
    let expected = records
        .iter()
        .filter(|r| r.values[at].as_integer().is_some_and(|n| n <= 4))
        .count();
    assert!(expected > 0 && expected < records.len());
    assert_eq!(prepared.rows, expected as u64);
    let read = server.store.begin_read().unwrap();
    assert_eq!(
        file.digest(ports.id).unwrap(),
        read.digest(ports.id, &filter).unwrap()
    );
    assert_eq!(file.table(ports.id), Some("Häfen_der_Welt_10_m"));
    assert_eq!(file.collections().len(), 1);
    let out = run(Command::new("ogrinfo").arg("-ro").arg(server.path()));
    assert_eq!(out.matches("1: ").count(), 1, "{out}");
    assert!(!out.contains("2: "), "{out}");
}

#[test]
fn attachments_come_with_their_content() {
    let (mut ports, records) = ports(0);
    ports.has_attachments = true;
    let hidden = ports.attachments();
    let server = Server::new(&[(ports.clone(), records.clone())]);
    let hash =
        BlobHash::from_hex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
            .unwrap();
    let attachment = Record {
        global_id: GlobalId::Uuid(Uuid::from_u128(99)),
        object_id: None,
        values: vec![
            records[0].global_id.braced().into(),
            "photo.txt".into(),
            "text/plain".into(),
            Value::Integer(3),
            hash.to_string().into(),
            Value::Null,
        ],
        geometry: None,
    };
    let mut tx = server.store.begin_write(NOW).unwrap();
    tx.store_blob(hash, b"abc").unwrap();
    tx.store_blob(BlobHash([7; 32]), b"of nobody").unwrap();
    tx.put(hidden.id, &attachment, None).unwrap();
    tx.commit().unwrap();
    let (_, mut file) = server.prepare(vec![(ports.id, &Filter::All), (hidden.id, &Filter::All)]);
    let tx = file.begin().unwrap();
    let row = tx.row(hidden.id, &attachment.global_id).unwrap().unwrap();
    assert!(row.same_content(&attachment));
    assert_eq!(tx.blob(hash).unwrap().as_deref(), Some(&b"abc"[..]));
    assert_eq!(tx.blob(BlobHash([7; 32])).unwrap(), None);
}

#[test]
fn an_unknown_collection_leaves_no_file() {
    let server = Server::new(&[ports(0)]);
    let checkout = Checkout {
        seal: &(),
        layers: vec![(CollectionId(5), &Filter::All)],
        header: header(),
        options: Options::default(),
        content: false,
    };
    let result = prepare_replica(&server.store, &checkout, &server.path(), &mut |_, _, _| {});
    assert!(result.is_err());
    assert!(
        !server.path().exists()
            && !Path::new(&format!("{}.part", server.path().display())).exists()
    );
}

#[test]
fn commits_during_the_preparation_are_after_its_cursor() {
    let (ports, records) = ports(0);
    let server = Server::new(&[(ports.clone(), records.clone())]);
    let checkout = Checkout {
        seal: &(),
        layers: vec![(ports.id, &Filter::All)],
        header: header(),
        options: Options::default(),
        content: false,
    };
    let before = server
        .store
        .begin_read()
        .unwrap()
        .digest(ports.id, &Filter::All)
        .unwrap();
    let prepared = prepare_replica(
        &server.store,
        &checkout,
        &server.path(),
        &mut |step, _, _| {
            if step == "copying rows" {
                let mut tx = server.store.begin_write(NOW).unwrap();
                tx.delete(ports.id, &records[3].global_id, None).unwrap();
                tx.commit().unwrap();
            }
        },
    )
    .unwrap();
    let file = ReplicaFile::open(&server.path()).unwrap();
    assert_eq!(file.digest(ports.id).unwrap(), before);
    let head = server.store.begin_read().unwrap().head().unwrap();
    assert!(head.generation > prepared.header.cursor.generation);
}

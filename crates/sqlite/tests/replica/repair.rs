//! Files whose capture was broken are noticed, refused and repaired.

use std::process::Command;

use haversack_model::local::LocalReplica;
use haversack_model::{GlobalId, SyncState, Theirs, Value};
use haversack_sqlite::replica::{Problem, Repaired};

use crate::support::{Fixture, PARKS, gid, park, run, version};

/// Repairs with a server that has parks 1 to `count`, of which `newer` were changed after this replica's download.
fn repair(fixture: &Fixture, count: u32, newer: &[u32]) -> Repaired {
    fixture
        .open()
        .repair(Some(&mut |collection, take| {
            assert_eq!(collection, PARKS);
            for n in 1..=count {
                let (mut record, mut at) = (park(n), version(n));
                if newer.contains(&n) {
                    record.values[2] = Value::Integer(-1);
                    at.revision.0 += 1000;
                }
                take(&record, at)?;
            }
            Ok(())
        }))
        .unwrap()
}

fn refusal(fixture: &Fixture) -> String {
    let mut file = fixture.open();
    let Err(error) = file.begin() else {
        panic!("a broken file was not refused");
    };
    error.to_string()
}

#[test]
fn a_dropped_trigger_is_noticed_and_its_missed_edits_are_found() {
    let fixture = Fixture::new(6);
    fixture.plain_sql(
        "UPDATE City_parks SET name = 'captured' WHERE OBJECTID = 6; \
         DROP TRIGGER haversack_update_0; DROP TRIGGER haversack_delete_0; \
         UPDATE City_parks SET name = 'missed' WHERE OBJECTID IN (1, 4); \
         DELETE FROM City_parks WHERE OBJECTID = 2",
    );
    let text = refusal(&fixture);
    assert!(
        text.contains("haversack_update_0") && text.contains("haversack repair"),
        "{text}"
    );
    assert_eq!(fixture.open().problems().unwrap().len(), 2);

    let without = fixture.open().repair(None).unwrap_err().to_string();
    assert!(without.contains("comparing with the server"), "{without}");

    let repaired = repair(&fixture, 6, &[4]);
    assert_eq!(
        (
            repaired.added,
            repaired.changed,
            repaired.deleted,
            repaired.uncertain
        ),
        (0, 1, 1, 1)
    );
    let mut entries = fixture.entries();
    entries.sort_by(|a, b| a.global_id.cmp(&b.global_id));
    assert_eq!(entries.len(), 4);
    assert_eq!(entries[0].global_id, gid(1));
    assert!(entries[0].base.as_ref().unwrap().0.same_content(&park(1)));
    assert!(entries[1].deleted && entries[1].global_id == gid(2));
    // Both sides may have changed park 4: it meets the server's version as an addition, so neither is lost.
    assert_eq!(entries[2].base, None);
    assert!(matches!(&entries[2].theirs, Theirs::Row { record, .. } if record.global_id == gid(4)));
    assert_eq!(entries[3].global_id, gid(6));
    assert_eq!(fixture.row(&gid(1)).unwrap().values[0], "missed".into());
}

#[test]
fn a_table_overwritten_by_ogr2ogr_gets_its_shape_and_its_identities_back() {
    let fixture = Fixture::new(4);
    let copy = fixture.folder.path().join("copy.gpkg");
    run(Command::new("ogr2ogr")
        .args(["-f", "GPKG", "-nln", "City_parks", "-lco", "FID=id", "-lco", "GEOMETRY_NAME=g"])
        .args(["-sql", "SELECT GlobalID, area, trees, visited, SHAPE, \
               CASE WHEN OBJECTID = 3 THEN 'renamed' ELSE name END AS name FROM City_parks WHERE OBJECTID <> 4 \
               UNION ALL SELECT NULL, 1, 2, NULL, SHAPE, 'new' FROM City_parks WHERE OBJECTID = 1"])
        .arg(&copy)
        .arg(&fixture.path));
    run(Command::new("ogr2ogr")
        .args(["-f", "GPKG", "-overwrite", "-nln", "City_parks"])
        .arg(&fixture.path)
        .arg(&copy));
    assert!(refusal(&fixture).contains("overwritten"));

    let repaired = repair(&fixture, 4, &[]);
    assert_eq!(
        (
            repaired.added,
            repaired.changed,
            repaired.deleted,
            repaired.uncertain
        ),
        (1, 1, 1, 0),
        "{repaired:?}"
    );
    assert!(fixture.open().problems().unwrap().is_empty());
    let entries = fixture.entries();
    let of = |id: &GlobalId| entries.iter().find(|e| e.global_id == *id);
    assert_eq!(of(&gid(3)).unwrap().state, SyncState::ToUpdate);
    assert!(of(&gid(4)).unwrap().deleted);
    assert_eq!(
        entries
            .iter()
            .filter(|e| e.state == SyncState::ToPost)
            .count(),
        1
    );
    assert!(fixture.row(&gid(1)).unwrap().same_content(&park(1)));

    // It is an ordinary layer again: indexed, and captured.
    let out = fixture.python(
        "ds = gdal.OpenEx(path, gdal.OF_UPDATE); layer = ds.GetLayerByName('City_parks')\n\
         layer.SetSpatialFilterRect(0.25, 0.1, 0.35, 0.3)\n\
         for f in list(layer):\n  print(f['GlobalID']); f['name'] = 'again'; layer.SetFeature(f)\n",
    );
    assert_eq!(out.trim(), gid(2).to_string());
    assert!(fixture.entries().iter().any(|e| e.global_id == gid(2)));
}

#[test]
fn a_table_that_was_copied_by_hand_and_put_in_its_place_is_noticed_and_repaired() {
    let fixture = Fixture::new(6);
    fixture.plain_sql(
        "CREATE TABLE backup AS SELECT * FROM City_parks; \
         UPDATE backup SET name = 'edited in the copy' WHERE OBJECTID = 2; \
         DELETE FROM backup WHERE OBJECTID = 3; \
         DROP TABLE City_parks; \
         ALTER TABLE backup RENAME TO City_parks",
    );
    let refused = refusal(&fixture);
    assert!(refused.contains("repair"), "{refused}");
    let repaired = repair(&fixture, 6, &[]);
    assert_eq!(
        (repaired.added, repaired.changed, repaired.deleted),
        (0, 1, 1),
        "{repaired:?}"
    );
    let ids: Vec<_> = fixture.entries().into_iter().map(|e| e.global_id).collect();
    assert!(ids.len() == 2 && ids.contains(&gid(2)) && ids.contains(&gid(3)));
    // Capture works again, and the copy is a layer with an index as before.
    fixture.plain_sql("UPDATE City_parks SET name = 'later' WHERE OBJECTID = 4");
    assert_eq!(fixture.entries().len(), 3);
}

#[test]
fn a_dropped_column_gets_the_servers_values_back() {
    let fixture = Fixture::new(3);
    fixture.python(
        "ds = gdal.OpenEx(path, gdal.OF_UPDATE)\n\
         for event in ('before_insert', 'insert', 'update', 'delete', 'identity', 'key'):\n  \
         ds.ExecuteSQL(f'DROP TRIGGER haversack_{event}_0')\n\
         ds.ExecuteSQL('ALTER TABLE City_parks DROP COLUMN trees')\n\
         ds.ExecuteSQL(\"UPDATE City_parks SET name = 'x' WHERE OBJECTID = 2\")\n",
    );
    let problems = fixture.open().problems().unwrap();
    assert!(problems.contains(&Problem::MissingColumn {
        table: "City_parks".into(),
        column: "trees".into()
    }));
    let repaired = repair(&fixture, 3, &[]);
    assert_eq!((repaired.changed, repaired.uncertain), (1, 0));
    let row = fixture.row(&gid(2)).unwrap();
    assert_eq!(row.values[2], Value::Integer(2));
    assert_eq!(row.values[0], "x".into());
}

#[test]
fn a_dropped_table_is_filled_from_the_server_and_lost_edits_are_named() {
    let fixture = Fixture::new(3);
    fixture.plain_sql("UPDATE City_parks SET name = 'x' WHERE OBJECTID = 2");
    fixture
        .python("ds = gdal.OpenEx(path, gdal.OF_UPDATE); ds.ExecuteSQL('DELLAYER:City_parks')\n");
    assert!(refusal(&fixture).contains("is gone"));
    let status = fixture.open().status().unwrap();
    assert!(
        !status.problems.is_empty(),
        "status can be asked of a broken file"
    );
    let repaired = repair(&fixture, 3, &[]);
    assert_eq!(repaired.lost, [gid(2)]);
    assert_eq!(repaired.restored, 3);
    assert!(fixture.entries().is_empty());
    assert!(fixture.row(&gid(2)).unwrap().same_content(&park(2)));
}

#[test]
fn capture_switched_off_by_hand_is_noticed() {
    let fixture = Fixture::new(2);
    fixture.plain_sql(
        "INSERT INTO haversack_writer VALUES ('off'); UPDATE City_parks SET trees = 7 WHERE OBJECTID = 1",
    );
    assert!(refusal(&fixture).contains("switched off"));
    assert_eq!(repair(&fixture, 2, &[]).changed, 1);
    assert_eq!(fixture.entries().len(), 1);
}

#[test]
fn a_sound_file_is_left_alone_by_repair() {
    let fixture = Fixture::new(2);
    fixture.plain_sql("UPDATE City_parks SET trees = 7 WHERE OBJECTID = 1");
    assert_eq!(fixture.open().repair(None).unwrap(), Repaired::default());
    assert_eq!(fixture.entries().len(), 1);
}

#[test]
fn a_column_that_a_person_adds_is_no_problem() {
    let fixture = Fixture::new(2);
    fixture.plain_sql(
        "ALTER TABLE City_parks ADD COLUMN note TEXT; UPDATE City_parks SET note = 'x' WHERE OBJECTID = 1",
    );
    assert!(fixture.open().problems().unwrap().is_empty());
    assert!(
        fixture.entries().is_empty(),
        "it is not part of what is synchronised"
    );
}

#[test]
fn a_renamed_table_keeps_its_edits_and_its_new_name() {
    let fixture = Fixture::new(3);
    fixture.plain_sql("UPDATE City_parks SET trees = 7 WHERE OBJECTID = 1");
    fixture.python(
        "ds = gdal.OpenEx(path, gdal.OF_UPDATE)\n\
         ds.ExecuteSQL('ALTER TABLE City_parks RENAME TO Gardens')\n\
         layer = ds.GetLayerByName('Gardens'); f = layer.GetFeature(2); f['trees'] = 8; layer.SetFeature(f)\n",
    );
    assert!(refusal(&fixture).contains("renamed from"));
    let mut file = fixture.open();
    let repaired = file.repair(None).unwrap();
    assert_eq!(repaired.problems.len(), 1);
    assert_eq!(file.table(PARKS), Some("Gardens"));
    assert!(file.problems().unwrap().is_empty());
    fixture.plain_sql("DELETE FROM Gardens WHERE OBJECTID = 3");
    assert_eq!(fixture.entries().len(), 3);
}

#[test]
fn a_renamed_column_keeps_its_edits_and_gets_its_name_back_without_a_server() {
    let fixture = Fixture::new(3);
    fixture.plain_sql("UPDATE City_parks SET trees = 7 WHERE OBJECTID = 1");
    fixture.python(
        "ds = gdal.OpenEx(path, gdal.OF_UPDATE)\n\
         layer = ds.GetLayerByName('City_parks')\n\
         at = layer.GetLayerDefn().GetFieldIndex('trees')\n\
         layer.AlterFieldDefn(at, ogr.FieldDefn('number \"of\" trees', ogr.OFTInteger), ogr.ALTER_NAME_FLAG)\n\
         f = layer.GetFeature(2); f['number \"of\" trees'] = 8; layer.SetFeature(f)\n",
    );
    let text = refusal(&fixture);
    assert!(text.contains("was renamed to"), "{text}");
    let mut file = fixture.open();
    let repaired = file.repair(None).unwrap();
    assert_eq!(
        repaired.problems,
        [Problem::RenamedColumn {
            table: "City_parks".into(),
            column: "trees".into(),
            to: "number \"of\" trees".into()
        }]
    );
    assert!(file.problems().unwrap().is_empty());
    fixture.plain_sql("UPDATE City_parks SET trees = 9 WHERE OBJECTID = 3");
    assert_eq!(fixture.entries().len(), 3);
    assert_eq!(fixture.row(&gid(2)).unwrap().values[2], Value::Integer(8));
}

#[test]
fn what_people_added_to_a_table_survives_its_repair() {
    let fixture = Fixture::new(3);
    fixture.plain_sql(
        "ALTER TABLE City_parks ADD COLUMN \"my notes\" TEXT; \
         UPDATE City_parks SET \"my notes\" = 'tall fence' WHERE OBJECTID = 2; \
         DROP TRIGGER haversack_update_0; UPDATE City_parks SET trees = 5 WHERE OBJECTID = 2",
    );
    assert_eq!(repair(&fixture, 3, &[]).changed, 1);
    let notes = fixture.python(
        "ds = gdal.OpenEx(path); layer = ds.GetLayerByName('City_parks')\n\
         print([f['my notes'] for f in layer])\n",
    );
    assert_eq!(notes.trim(), "[None, 'tall fence', None]");
}

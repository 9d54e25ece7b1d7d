//! Every row of the table "Capture by triggers", with the program that does it.

use haversack_model::{SyncState, Value};
use haversack_sqlite::replica::Options;

use crate::support::{Fixture, gid, park, run, version};
use crate::world::ports_as_geojson;

const OPEN: &str =
    "ds = gdal.OpenEx(path, gdal.OF_UPDATE); layer = ds.GetLayerByName('City_parks')\n";

fn ogr(fixture: &Fixture, script: &str) -> String {
    fixture.python(&format!("{OPEN}{script}\nds = None\n"))
}

#[test]
fn set_feature_keeps_the_base_of_the_first_edit() {
    let fixture = Fixture::new(3);
    for name in ["first", "second"] {
        ogr(
            &fixture,
            &format!("f = layer.GetFeature(2); f['name'] = '{name}'; layer.SetFeature(f)"),
        );
    }
    let entries = fixture.entries();
    assert_eq!(entries.len(), 1);
    let entry = &entries[0];
    assert_eq!((entry.state, entry.deleted), (SyncState::ToUpdate, false));
    let (base, at) = entry.base.as_ref().unwrap();
    assert!(base.same_content(&park(2)), "{base:?}");
    assert_eq!(*at, version(2));
    assert_eq!(
        fixture.row(&gid(2)).unwrap().values[0],
        Value::from("second")
    );
}

#[test]
fn set_feature_with_a_moved_point_is_captured_and_indexed() {
    let fixture = Fixture::new(3);
    let out = ogr(
        &fixture,
        "f = layer.GetFeature(1); f.SetGeometry(ogr.CreateGeometryFromWkt('POINT (50 60)')); layer.SetFeature(f)\n\
         layer.SetSpatialFilterRect(49, 59, 51, 61); print([g.GetFID() for g in layer])",
    );
    assert_eq!(out.trim(), "[1]");
    let entries = fixture.entries();
    assert_eq!(entries.len(), 1);
    assert!(entries[0].base.as_ref().unwrap().0.same_content(&park(1)));
}

#[test]
fn saving_a_feature_unchanged_is_no_edit() {
    let fixture = Fixture::new(3);
    ogr(&fixture, "f = layer.GetFeature(2); layer.SetFeature(f)");
    assert!(fixture.entries().is_empty());
}

#[test]
fn an_edit_that_is_taken_back_is_no_edit() {
    let fixture = Fixture::new(3);
    for name in ["other", "park 2"] {
        ogr(
            &fixture,
            &format!("f = layer.GetFeature(2); f['name'] = '{name}'; layer.SetFeature(f)"),
        );
    }
    assert!(fixture.entries().is_empty());
}

#[test]
fn create_feature_gets_a_global_id_and_is_an_addition() {
    let fixture = Fixture::new(3);
    ogr(
        &fixture,
        "f = ogr.Feature(layer.GetLayerDefn()); f['name'] = 'new'\n\
         f.SetGeometry(ogr.CreateGeometryFromWkt('POINT (1 2)')); layer.CreateFeature(f)",
    );
    let entries = fixture.entries();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].state, SyncState::ToPost);
    assert_eq!(entries[0].base, None);
    let row = fixture.row(&entries[0].global_id).unwrap();
    assert_eq!(row.values[0], Value::from("new"));
    let ids = fixture.ids();
    assert_eq!(ids[3], (4, entries[0].global_id.to_string()));
    let bytes: Vec<char> = ids[3].1.chars().collect();
    assert_eq!(bytes[15], '4', "a random UUID: {}", ids[3].1);
}

#[test]
fn delete_feature_keeps_the_old_row() {
    let fixture = Fixture::new(3);
    ogr(&fixture, "layer.DeleteFeature(3)");
    let entries = fixture.entries();
    assert_eq!(entries.len(), 1);
    assert!(entries[0].deleted);
    assert_eq!(entries[0].state, SyncState::ToUpdate);
    let (base, at) = entries[0].base.as_ref().unwrap();
    assert!(base.same_content(&park(3)));
    assert_eq!(*at, version(3));
}

#[test]
fn an_addition_that_was_never_sent_vanishes_when_it_is_deleted() {
    let fixture = Fixture::new(1);
    ogr(
        &fixture,
        "f = ogr.Feature(layer.GetLayerDefn()); layer.CreateFeature(f); layer.DeleteFeature(f.GetFID())",
    );
    assert!(fixture.entries().is_empty());
    assert_eq!(fixture.ids().len(), 1);
}

#[test]
fn ogrinfo_and_plain_sqlite_update_attributes() {
    let fixture = Fixture::new(3);
    run(std::process::Command::new("ogrinfo")
        .arg(&fixture.path)
        .args([
            "-sql",
            "UPDATE City_parks SET trees = 99 WHERE OBJECTID = 1",
        ]));
    fixture.plain_sql(
        "UPDATE City_parks SET area = 0.5 WHERE OBJECTID = 2; DELETE FROM City_parks WHERE OBJECTID = 3",
    );
    let entries = fixture.entries();
    let seen: Vec<_> = entries
        .iter()
        .map(|e| (e.global_id.clone(), e.deleted))
        .collect();
    assert_eq!(seen, [(gid(1), false), (gid(2), false), (gid(3), true)]);
    assert!(entries[1].base.as_ref().unwrap().0.same_content(&park(2)));
}

#[test]
fn plain_sqlite_still_works_after_gdal_opened_the_file_for_update() {
    let fixture = Fixture::new(3);
    for _ in 0..2 {
        ogr(
            &fixture,
            "f = layer.GetFeature(1); f['trees'] = f['trees'] + 1; layer.SetFeature(f)",
        );
        fixture.plain_sql("UPDATE City_parks SET area = area + 1 WHERE OBJECTID = 2");
    }
    assert_eq!(fixture.entries().len(), 2);
}

#[test]
fn ogr2ogr_append_logs_every_row_with_an_id_of_its_own() {
    let fixture = Fixture::new(3);
    let ports = fixture.path.with_extension("geojson");
    std::fs::write(&ports, ports_as_geojson()).unwrap();
    run(std::process::Command::new("ogr2ogr")
        .args(["-f", "GPKG", "-append", "-nln", "City_parks"])
        .arg(&fixture.path)
        .arg(&ports));
    let entries = fixture.entries();
    assert_eq!(entries.len(), 1081);
    assert!(entries.iter().all(|e| e.state == SyncState::ToPost));
    let ids: std::collections::HashSet<_> = fixture.ids().into_iter().map(|(_, id)| id).collect();
    assert_eq!(ids.len(), 1084);
}

#[test]
fn upsert_feature_keeps_the_identity() {
    let fixture = Fixture::new(3);
    ogr(
        &fixture,
        "f = ogr.Feature(layer.GetLayerDefn()); f.SetFID(2); f['name'] = 'upserted'\n\
         f.SetGeometry(ogr.CreateGeometryFromWkt('POINT (1 2)')); layer.UpsertFeature(f)",
    );
    assert_replaced(&fixture, "upserted");
}

#[test]
fn insert_or_replace_keeps_the_identity_with_recursive_triggers_on_and_off() {
    for recursive in ["on", "off"] {
        let options = Options {
            spatial_index: false,
        };
        let fixture = Fixture::with(3, options);
        fixture.plain_sql(&format!(
            "PRAGMA recursive_triggers = {recursive}; \
             INSERT OR REPLACE INTO City_parks (OBJECTID, name) VALUES (2, '{recursive}')"
        ));
        assert_replaced(&fixture, recursive);
    }
}

/// One update of park 2 with its base, and no stranger.
fn assert_replaced(fixture: &Fixture, name: &str) {
    let entries = fixture.entries();
    assert_eq!(entries.len(), 1, "{entries:#?}");
    let entry = &entries[0];
    assert_eq!(
        (entry.global_id.clone(), entry.state, entry.deleted),
        (gid(2), SyncState::ToUpdate, false)
    );
    let (base, at) = entry.base.as_ref().unwrap();
    assert!(base.same_content(&park(2)));
    assert_eq!(*at, version(2));
    assert_eq!(fixture.row(&gid(2)).unwrap().values[0], Value::from(name));
    assert_eq!(fixture.ids().len(), 3);
}

#[test]
fn an_unsent_addition_stays_one_when_it_is_replaced() {
    for recursive in ["on", "off"] {
        let options = Options {
            spatial_index: false,
        };
        let fixture = Fixture::with(1, options);
        fixture.plain_sql("INSERT INTO City_parks (name) VALUES ('new')");
        let id = fixture.ids()[1].1.clone();
        fixture.plain_sql(&format!(
            "PRAGMA recursive_triggers = {recursive}; \
             INSERT OR REPLACE INTO City_parks (OBJECTID, name) VALUES (2, 'newer')"
        ));
        let entries = fixture.entries();
        assert_eq!(entries.len(), 1, "recursive triggers {recursive}");
        assert_eq!(entries[0].state, SyncState::ToPost);
        assert_eq!(entries[0].global_id.to_string(), id);
        assert_eq!(fixture.ids()[1].1, id);
    }
}

#[test]
fn an_insert_that_is_ignored_leaves_no_edit_and_loses_no_later_one() {
    let options = Options {
        spatial_index: false,
    };
    let fixture = Fixture::with(3, options);
    let ignored = "INSERT OR IGNORE INTO City_parks (OBJECTID, name) VALUES (2, 'ignored')";
    fixture.plain_sql(ignored);
    assert!(fixture.entries().is_empty());
    fixture.plain_sql(&format!(
        "{ignored}; DELETE FROM City_parks WHERE OBJECTID = 2"
    ));
    let entries = fixture.entries();
    assert_eq!(entries.len(), 1);
    assert!(entries[0].deleted && entries[0].global_id == gid(2));
}

#[test]
fn undoing_a_delete_restores_the_record() {
    let options = Options {
        spatial_index: false,
    };
    let fixture = Fixture::with(3, options);
    fixture.plain_sql(
        "CREATE TEMP TABLE undo AS SELECT * FROM City_parks WHERE OBJECTID = 2; \
         DELETE FROM City_parks WHERE OBJECTID = 2; \
         UPDATE undo SET GlobalID = NULL; \
         INSERT INTO City_parks SELECT * FROM undo",
    );
    assert!(
        fixture.entries().is_empty(),
        "deleted and brought back unchanged"
    );
    assert_eq!(fixture.ids()[1], (2, gid(2).to_string()));
}

#[test]
fn cut_and_paste_is_an_update_of_the_same_record() {
    let fixture = Fixture::new(3);
    ogr(
        &fixture,
        "f = layer.GetFeature(2).Clone(); layer.DeleteFeature(2)\n\
         f.SetFID(-1); f['name'] = 'pasted'; layer.CreateFeature(f)",
    );
    let entries = fixture.entries();
    assert_eq!(entries.len(), 1);
    assert_eq!(
        (entries[0].global_id.clone(), entries[0].deleted),
        (gid(2), false)
    );
    assert!(entries[0].base.as_ref().unwrap().0.same_content(&park(2)));
    assert_eq!(fixture.ids()[2], (4, gid(2).to_string()));
}

#[test]
fn copy_and_paste_makes_a_record_of_its_own() {
    let fixture = Fixture::new(3);
    ogr(
        &fixture,
        "f = layer.GetFeature(2).Clone(); f.SetFID(-1); layer.CreateFeature(f)",
    );
    let entries = fixture.entries();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].state, SyncState::ToPost);
    assert_ne!(entries[0].global_id, gid(2));
    assert_eq!(fixture.ids()[1], (2, gid(2).to_string()));
}

#[test]
fn a_global_id_made_by_another_program_is_kept_in_our_form() {
    let options = Options {
        spatial_index: false,
    };
    let fixture = Fixture::with(1, options);
    fixture.plain_sql(
        "INSERT INTO City_parks (GlobalID) VALUES ('0f0e0d0c-1111-4222-8333-00aabbccddee'), ('not an id')",
    );
    let ids = fixture.ids();
    assert_eq!(ids[1].1, "{0F0E0D0C-1111-4222-8333-00AABBCCDDEE}");
    assert!(haversack_model::GlobalId::parse_uuid(&ids[2].1).is_ok());
    assert_eq!(fixture.entries().len(), 2);
}

#[test]
fn an_edited_global_id_is_set_back() {
    let fixture = Fixture::new(3);
    fixture.plain_sql("UPDATE City_parks SET GlobalID = 'mine' WHERE OBJECTID = 1");
    ogr(
        &fixture,
        "f = layer.GetFeature(2); f['GlobalID'] = None; f['name'] = 'x'; layer.SetFeature(f)",
    );
    let ids: Vec<_> = fixture.ids().into_iter().map(|(_, id)| id).collect();
    assert_eq!(
        ids,
        [gid(1).to_string(), gid(2).to_string(), gid(3).to_string()]
    );
    let entries = fixture.entries();
    assert_eq!(entries.len(), 1, "only the name of park 2 was edited");
    assert_eq!(entries[0].global_id, gid(2));
}

#[test]
fn a_key_of_another_record_is_refused_and_a_free_one_is_no_edit() {
    let fixture = Fixture::new(3);
    let out = fixture.python(
        "import sqlite3\nc = sqlite3.connect(path)\n\
         try:\n  c.execute('UPDATE OR REPLACE City_parks SET OBJECTID = 1 WHERE OBJECTID = 2')\n\
         except Exception as e:\n  print(e)\n",
    );
    // Plain SQLite cannot move a key where there is a spatial index; GDAL can.
    assert!(!out.trim().is_empty());
    run(std::process::Command::new("ogrinfo")
        .arg(&fixture.path)
        .args([
            "-sql",
            "UPDATE City_parks SET OBJECTID = 77 WHERE OBJECTID = 3",
        ]));
    assert_eq!(fixture.ids().len(), 3);
    assert!(fixture.entries().is_empty());
}

#[test]
fn a_bulk_edit_is_captured_whole() {
    let fixture = Fixture::new(2000);
    fixture.plain_sql("UPDATE City_parks SET trees = trees + 1");
    let entries = fixture.entries();
    assert_eq!(entries.len(), 2000);
    assert!(entries.iter().all(|e| e.base.is_some()));
}

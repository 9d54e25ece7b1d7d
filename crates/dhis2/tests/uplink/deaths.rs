//! The process dies between two commits, a backup is put back: nothing is lost, nothing goes up twice, nothing goes in circles.

use serde_json::json;

use crate::aggregate::pairs;
use crate::world::{World, aged, named, person, visit};

impl World {
    /// The copy as it is by now, to be put back: as if what was committed there since had not been.
    fn keep(&self) -> Vec<u8> {
        let db = rusqlite::Connection::open(&self.path).unwrap();
        let kept = self.folder.path().join("kept.gpkg");
        let _old = std::fs::remove_file(&kept);
        db.execute("VACUUM INTO ?1", [kept.to_str().unwrap()])
            .unwrap();
        std::fs::read(&kept).unwrap()
    }
    fn put_back(&self, kept: &[u8]) {
        for ending in ["-wal", "-shm", "-journal"] {
            let beside = format!("{}{ending}", self.path.display());
            let _none = std::fs::remove_file(beside);
        }
        std::fs::write(&self.path, kept).unwrap();
    }
}

impl World {
    fn sql(&self, text: &str) -> String {
        let db = rusqlite::Connection::open(&self.path).unwrap();
        db.query_row(text, [], |row| row.get(0)).unwrap_or_default()
    }
    fn cursor(&self) -> String {
        self.sql(
            "SELECT text FROM haversack_notes WHERE topic = 'dhis2 uplink' AND name = 'cursor'",
        )
    }
    /// The documents were committed, and the process died before the copy was: it has the cursor of before, and what came is still to be written.
    fn forget_last_commit(&self, cursor: &str, came: &[&str]) {
        self.sql(&format!(
            "UPDATE haversack_notes SET text = '{cursor}' WHERE topic = 'dhis2 uplink' AND name = 'cursor' RETURNING text"
        ));
        for name in came {
            self.sql(&format!(
                "INSERT INTO haversack_notes (topic, name, text) VALUES ('dhis2 came', '{name}', '') RETURNING text"
            ));
        }
    }
    /// The name of a record in the notes.
    fn name_of(&self, table: &str, uid: &str) -> String {
        let id = self.sql(&format!(
            "SELECT CAST(id AS TEXT) FROM haversack_layers WHERE table_name = '{table}'"
        ));
        format!("{id}/{uid}")
    }
}

#[test]
fn a_clinic_that_dies_before_its_copy_is_committed_sends_nothing_back() {
    let world = World::new();
    let cursor = world.cursor();
    world.country.send(&named(1, "country"));
    world.country.send(&aged(2, "32"));
    world
        .country
        .delete(&json!({"events": [{"event": "hvEv0000001"}]}));
    world.round();
    assert_eq!(world.clinic.name(1), "country");
    assert_ne!(world.cursor(), cursor);
    let person = world.name_of("person", "hvTe0000001");
    world.forget_last_commit(&cursor, &[&person]);
    world.clinic.send(&aged(1, "55"));
    world.country.send(&named(1, "country again"));
    let done = world.round();
    assert_eq!((done.collected, done.sent), (1, 1), "the age alone");
    assert_eq!(world.clinic.name(1), "country again");
    assert_eq!(world.country.name(1), "country again");
    assert_eq!(world.country.age(1), "55");
    assert!(world.conflicts().is_empty(), "{:?}", world.conflicts());
    world.assert_equal(&[1, 2, 3]);
}

#[test]
fn reports_and_files_that_came_before_the_death_do_not_go_back() {
    let world = World::with_files();
    world.country.enter(&[("202605", "5")]);
    world.round();
    let cursor = world.cursor();
    let file = world.country.add_file(b"signed");
    world.country.consents(3, &file);
    world.country.enter(&[("202605", "55"), ("202608", "8")]);
    world.country.complete("202608", true);
    world.round();
    assert_ne!(world.cursor(), cursor);
    let id = |table: &str, what: &str| {
        let uid = world.sql(&format!("SELECT uid FROM {table} WHERE period = '{what}'"));
        world.name_of(table, &uid)
    };
    let came = [
        world.name_of("person", "hvTe0000003"),
        id("data_values", "202605"),
        id("data_values", "202608"),
        id("completions", "202608"),
    ];
    let came: Vec<&str> = came.iter().map(String::as_str).collect();
    world.forget_last_commit(&cursor, &came);
    world.clinic.enter(&[("202609", "9")]);
    world.country.enter(&[("202605", "555")]);
    world.country.complete("202608", false);
    let done = world.round();
    assert_eq!((done.collected, done.sent), (1, 1), "the new value alone");
    let all = pairs(&[("202605", "555"), ("202608", "8"), ("202609", "9")]);
    for place in [&world.country, &world.clinic] {
        assert_eq!(place.values(), all);
        assert_eq!(place.completed(), [""; 0]);
        assert_eq!(place.consent(3).unwrap(), b"signed");
        assert_eq!(place.named_by(3), file);
    }
    assert!(world.conflicts().is_empty(), "{:?}", world.conflicts());
    world.assert_quiet();
}

#[test]
fn edits_that_were_collected_before_the_death_are_collected_again_and_sent_once() {
    let world = World::new();
    let kept = world.keep();
    world.clinic.send(&named(1, "device"));
    world.clinic.send(&json!({"trackedEntities": [person(9)]}));
    assert!(world.alone().collected > 0);
    world.put_back(&kept);
    assert_eq!(world.state().waiting, 0);
    world
        .clinic
        .send(&json!({"events": [visit(9, "12.5", "ACTIVE")]}));
    world.round();
    assert_eq!(
        (world.country.name(1), world.country.name(9)),
        ("device".to_owned(), "Name 9".to_owned())
    );
    assert_eq!(world.country.event(9)["dataValues"][0]["value"], "12.5");
    world.assert_equal(&[1, 2, 3, 9]);
}

#[test]
fn what_a_device_does_while_a_round_works_is_put_onto_what_came() {
    let world = World::new();
    let cursor = world.cursor();
    world.country.send(&named(1, "country"));
    world
        .country
        .send(&json!({"events": [visit(2, "70.5", "ACTIVE")]}));
    world.round();
    // As it is when what came is in the copy and not yet in the documents: a device changes what it sees.
    world.forget_last_commit(&cursor, &[]);
    world.clinic.send(&named(1, "device"));
    world.clinic.send(&aged(1, "44"));
    assert_eq!(world.alone().collected, 2);
    let conflicts = world.conflicts();
    assert_eq!(
        conflicts.len(),
        1,
        "the name was changed by both: {conflicts:?}"
    );
    world.round();
    for place in [&world.country, &world.clinic] {
        assert_eq!(
            (place.name(1), place.age(1)),
            ("device".to_owned(), "44".to_owned())
        );
    }
    world.assert_equal(&[1, 2, 3]);
}

#[test]
fn what_came_since_a_backup_of_the_clinic_comes_again_and_nothing_goes_back() {
    let world = World::new();
    let backup = world.clinic.host.backup("dhis2");
    world.country.send(&named(1, "country"));
    world.country.send(&json!({"trackedEntities": [person(8)]}));
    world.clinic.send(&named(2, "device"));
    world.round();
    world.clinic.host.put_back("dhis2", &backup);
    assert_eq!(
        (world.clinic.name(1), world.clinic.name(2)),
        ("Name 1".to_owned(), "Name 2".to_owned())
    );
    world.clinic.send(&aged(3, "61"));
    let done = world.round();
    assert_eq!((done.collected, done.sent), (1, 1), "{done:?}");
    assert_eq!(
        (world.clinic.name(1), world.clinic.name(2)),
        ("country".to_owned(), "device".to_owned())
    );
    assert_eq!(
        (world.country.age(3), world.country.name(2)),
        ("61".to_owned(), "device".to_owned())
    );
    assert!(world.conflicts().is_empty(), "{:?}", world.conflicts());
    world.assert_equal(&[1, 2, 3, 8]);
}

#[test]
fn without_a_common_history_both_versions_are_kept_and_the_copy_stands() {
    let world = World::new();
    world.clinic.send(&named(1, "device"));
    world.clinic.send(&json!({"trackedEntities": [person(9)]}));
    // A cursor of a history that nobody knows.
    let cursor = r#"{"history":"7a1d6a5e-0000-4000-8000-000000000001","generation":3}"#;
    world.forget_last_commit(cursor, &[]);
    world.round();
    assert_eq!(
        world.country.name(9),
        "Name 9",
        "what the copy does not have goes up"
    );
    let conflicts = world.conflicts();
    assert!(
        conflicts
            .iter()
            .any(|c| format!("{:?}", c.mine).contains("device")),
        "{conflicts:?}"
    );
    assert_eq!(
        (world.clinic.name(1), world.country.name(1)),
        ("Name 1".to_owned(), "Name 1".to_owned())
    );
}

//! Whatever statements editors run, the outbox says exactly how the rows differ from what the server confirmed.

use std::collections::BTreeMap;

use haversack_model::local::LocalReplica;
use haversack_model::{GlobalId, SyncState};
use haversack_sqlite::replica::Options;
use proptest::prelude::*;
use rusqlite::Connection;

use crate::support::{Fixture, PARKS, gid, park, version};

/// Rows that the server confirmed.
const CONFIRMED: u32 = 4;

/// One statement of an editor. Keys and ids are drawn from few, so that they meet.
#[derive(Clone, Debug)]
enum Statement {
    Update {
        key: i64,
        trees: i64,
    },
    UpdateAll {
        trees: i64,
    },
    Delete {
        key: i64,
    },
    DeleteAll,
    Insert {
        or: &'static str,
        key: Option<i64>,
        id: Option<u32>,
        trees: i64,
    },
    Upsert {
        key: i64,
        trees: i64,
    },
    Identity {
        key: i64,
        id: Option<u32>,
    },
    Key {
        or: &'static str,
        from: i64,
        to: i64,
    },
    Recursive(bool),
    Begin,
    Commit,
    Rollback,
}

fn statement() -> impl Strategy<Value = Statement> {
    let key = || 1..8_i64;
    // Parks 1 to 4 are confirmed; their own number of trees is their key, so an edit may undo another.
    let trees = || 1..6_i64;
    let id = || proptest::option::of(1..7_u32);
    let or = || prop::sample::select(vec!["", "OR REPLACE", "OR IGNORE"]);
    prop_oneof![
        4 => (key(), trees()).prop_map(|(key, trees)| Statement::Update { key, trees }),
        1 => trees().prop_map(|trees| Statement::UpdateAll { trees }),
        3 => key().prop_map(|key| Statement::Delete { key }),
        1 => Just(Statement::DeleteAll),
        6 => (or(), proptest::option::of(key()), id(), trees())
            .prop_map(|(or, key, id, trees)| Statement::Insert { or, key, id, trees }),
        2 => (key(), trees()).prop_map(|(key, trees)| Statement::Upsert { key, trees }),
        2 => (key(), id()).prop_map(|(key, id)| Statement::Identity { key, id }),
        1 => (or(), key(), key()).prop_map(|(or, from, to)| Statement::Key { or, from, to }),
        1 => any::<bool>().prop_map(Statement::Recursive),
        1 => Just(Statement::Begin),
        1 => Just(Statement::Commit),
        1 => Just(Statement::Rollback),
    ]
}

/// Runs a statement; one that SQLite refuses, as an editor would see too, changes nothing.
fn run(conn: &Connection, statement: &Statement) {
    let id_text = |id: &Option<u32>| id.map(|n| gid(n).to_string());
    let _refused = match statement {
        Statement::Update { key, trees } => conn.execute(
            "UPDATE City_parks SET trees = ?2 WHERE OBJECTID = ?1",
            [key, trees],
        ),
        Statement::UpdateAll { trees } => conn.execute("UPDATE City_parks SET trees = ?1", [trees]),
        Statement::Delete { key } => {
            conn.execute("DELETE FROM City_parks WHERE OBJECTID = ?1", [key])
        }
        Statement::DeleteAll => conn.execute("DELETE FROM City_parks", []),
        Statement::Insert { or, key, id, trees } => conn.execute(
            &format!("INSERT {or} INTO City_parks (OBJECTID, GlobalID, trees) VALUES (?1, ?2, ?3)"),
            rusqlite::params![key, id_text(id), trees],
        ),
        Statement::Upsert { key, trees } => conn.execute(
            "INSERT INTO City_parks (OBJECTID, trees) VALUES (?1, ?2) \
             ON CONFLICT (OBJECTID) DO UPDATE SET trees = excluded.trees",
            [key, trees],
        ),
        Statement::Identity { key, id } => conn.execute(
            "UPDATE City_parks SET GlobalID = ?2 WHERE OBJECTID = ?1",
            rusqlite::params![key, id_text(id)],
        ),
        Statement::Key { or, from, to } => conn.execute(
            &format!("UPDATE {or} City_parks SET OBJECTID = ?2 WHERE OBJECTID = ?1"),
            [from, to],
        ),
        Statement::Recursive(on) => conn
            .pragma_update(None, "recursive_triggers", on)
            .map(|()| 0),
        Statement::Begin => conn.execute_batch("BEGIN").map(|()| 0),
        Statement::Commit => conn.execute_batch("COMMIT").map(|()| 0),
        Statement::Rollback => conn.execute_batch("ROLLBACK").map(|()| 0),
    };
}

/// Compares rows, confirmed versions and outbox.
fn check(fixture: &Fixture) {
    let mut file = fixture.open();
    assert!(file.problems().unwrap().is_empty());
    let tx = file.begin().unwrap();
    let pending = tx.pending(usize::MAX).unwrap();
    let mut entries: BTreeMap<GlobalId, _> = pending
        .into_iter()
        .map(|entry| (entry.global_id.clone(), entry))
        .collect();
    assert_eq!(tx.entries().unwrap().len(), entries.len());
    let mut live = BTreeMap::new();
    for (key, text) in fixture.ids() {
        let id = GlobalId::parse_uuid(&text).unwrap();
        assert_eq!(id.to_string(), text);
        let row = tx.row(PARKS, &id).unwrap().unwrap();
        assert!(
            live.insert(id, row).is_none(),
            "two rows have one id, one is {key}"
        );
    }
    for n in 1..=CONFIRMED {
        let (id, confirmed) = (gid(n), park(n));
        let mine = live.remove(&id);
        let entry = entries.remove(&id);
        if mine
            .as_ref()
            .is_some_and(|mine| mine.same_content(&confirmed))
        {
            assert!(
                entry.is_none(),
                "park {n} is as the server has it: {entry:?}"
            );
            continue;
        }
        let entry = entry.unwrap_or_else(|| panic!("the edit of park {n} was not captured"));
        assert_eq!(entry.deleted, mine.is_none(), "park {n}");
        assert_eq!(entry.state, SyncState::ToUpdate, "park {n}");
        let (base, at) = entry.base.unwrap();
        assert!(
            base.same_content(&confirmed),
            "park {n} has another base: {base:?}"
        );
        assert_eq!(at, version(n));
    }
    for id in live.keys() {
        let entry = entries
            .remove(id)
            .unwrap_or_else(|| panic!("the new row {id} was not captured"));
        assert_eq!((entry.state, entry.deleted), (SyncState::ToPost, false));
        assert_eq!(entry.base, None);
    }
    assert!(entries.is_empty(), "entries of no edit: {entries:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn the_outbox_is_the_difference_to_what_the_server_confirmed(
        statements in proptest::collection::vec(statement(), 1..25),
    ) {
        let options = Options { spatial_index: false };
        let fixture = Fixture::with(CONFIRMED, options);
        let conn = Connection::open(&fixture.path).unwrap();
        conn.execute_batch("PRAGMA synchronous = OFF").unwrap();
        for statement in &statements {
            run(&conn, statement);
        }
        if !conn.is_autocommit() {
            conn.execute_batch("COMMIT").unwrap();
        }
        drop(conn);
        check(&fixture);
    }
}

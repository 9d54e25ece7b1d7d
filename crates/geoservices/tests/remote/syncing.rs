//! Checkout, edits on both sides and sync by the remote, against our own face over real HTTP.

use haversack_geoservices::remote::CheckoutRequest;
use haversack_model::local::LocalReplica as _;
use haversack_model::remote::Remote as _;
use haversack_model::schema::attachment_field;
use haversack_model::{
    BlobHash, CollectionId, ConflictKind, Envelope, Filter, Policy, Query, QueryRow, Record,
    Select, Store as _, Value, Winner,
};

use crate::field::{Person, Town};
use crate::sample::{BEDS, INSPECTIONS, TREES, gid, gid_text};

/// All rows of a collection on the server, by global id.
fn server_rows(town: &Town, id: CollectionId) -> Vec<Record> {
    let tx = town.host.store.begin_read().unwrap();
    let mut rows = Vec::new();
    let query = Query {
        select: Select::Records,
        ..Query::records(id, Filter::All)
    };
    tx.query(&query, &mut |row| {
        if let QueryRow::Record(versioned) = row {
            let mut record = versioned.record;
            record.object_id = None;
            rows.push(record);
        }
        Ok(haversack_model::store::Flow::Continue(()))
    })
    .unwrap();
    rows.sort_by(|a, b| a.global_id.cmp(&b.global_id));
    rows
}

/// Both files hold what the server holds.
fn assert_equal(town: &Town, people: &mut [&mut Person]) {
    for id in [TREES, BEDS, INSPECTIONS, TREES.attachments()] {
        let server = server_rows(town, id);
        for (at, person) in people.iter_mut().enumerate() {
            assert_eq!(person.rows(id), server, "collection {id}, person {at}");
        }
    }
}

#[test]
fn a_checkout_holds_what_the_server_holds() {
    let town = Town::new();
    let mut ada = town.person("ada", Policy::Merge);
    assert_equal(&town, &mut [&mut ada]);
    assert_eq!(ada.rows(TREES).len(), 10);
    assert_eq!(town.connect("ada").replicas().unwrap().len(), 1);
}

#[test]
fn a_part_is_checked_out_and_stays_that_part() {
    let town = Town::new();
    let mut ada = town.person_with("ada", Policy::Merge, |request: &mut CheckoutRequest| {
        request.layers = vec![TREES];
        request.conditions.insert(TREES, "kind = 1".to_owned());
        let area = Envelope {
            min_x: 50.0,
            min_y: 0.0,
            max_x: 650.0,
            max_y: 100.0,
        };
        request.area = Some((area, 3857));
        request.attachments = false;
    });
    let names = |rows: Vec<Record>| {
        let names = rows
            .iter()
            .map(|r| r.values[0].as_text().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(ada.rows(TREES)), ["tree 1", "tree 3", "tree 5"]);
    // Another one cuts an oak and plants two where there were ashes.
    let mut bob = town.person("bob", Policy::Merge);
    let table = bob.file.table(TREES).unwrap().to_owned();
    bob.sql(&format!("UPDATE {table} SET kind = 2 WHERE name = 'tree 1'; UPDATE {table} SET kind = 1 WHERE name IN ('tree 2', 'tree 8')"));
    assert_eq!(bob.sync().applied, 3);
    ada.sync();
    assert_eq!(
        names(ada.rows(TREES)),
        ["tree 2", "tree 3", "tree 5"],
        "one left, one entered, one is too far away"
    );
}

#[test]
fn two_people_edit_different_things_and_nothing_is_lost() {
    let town = Town::new();
    let mut ada = town.person("ada", Policy::Merge);
    let mut bob = town.person("bob", Policy::Merge);
    let table = ada.file.table(TREES).unwrap().to_owned();
    let inspections = ada.file.table(INSPECTIONS).unwrap().to_owned();
    ada.sql(&format!("UPDATE {table} SET name = 'big tree' WHERE name = 'tree 1'; DELETE FROM {table} WHERE name = 'tree 2'"));
    ada.sql(&format!(
        "INSERT INTO {inspections} (name, tree) VALUES ('new', '{}')",
        gid_text(3)
    ));
    bob.sql(&format!("UPDATE {table} SET height = 33.5 WHERE name = 'tree 1'; INSERT INTO {table} (name, kind) VALUES ('bobs', 3)"));
    let first = ada.sync();
    assert_eq!(
        (first.applied, first.conflicts, first.rejected.len()),
        (3, 0, 0),
        "{first:?}"
    );
    let second = bob.sync();
    assert_eq!(
        (second.applied, second.merged, second.conflicts),
        (1, 1, 0),
        "{second:?}"
    );
    ada.sync();
    assert_eq!(ada.name(&gid(1)).as_deref(), Some("big tree"));
    assert_eq!(ada.value(&gid(1), "height"), Value::Real(33.5));
    assert_eq!(
        ada.value(&gid(1), "editor"),
        Value::from("bob"),
        "the server's stamps come down"
    );
    assert_eq!(ada.name(&gid(2)), None);
    assert_equal(&town, &mut [&mut ada, &mut bob]);
    let idle = ada.sync();
    assert_eq!((idle.applied, idle.put, idle.removed), (0, 0, 0));
}

#[test]
fn a_real_conflict_is_kept_with_its_three_versions_and_the_policy_decides() {
    for (policy, kept, winner) in [
        (Policy::Merge, "from ada", Winner::Theirs),
        (Policy::Server, "from ada", Winner::Theirs),
        (Policy::Client, "from bob", Winner::Mine),
    ] {
        let town = Town::new();
        let mut ada = town.person("ada", Policy::Merge);
        let mut bob = town.person("bob", policy);
        let table = ada.file.table(TREES).unwrap().to_owned();
        ada.sql(&format!("UPDATE {table} SET name = 'from ada' WHERE name = 'tree 1'; UPDATE {table} SET height = 1 WHERE name = 'tree 2'"));
        bob.sql(&format!("UPDATE {table} SET name = 'from bob' WHERE name = 'tree 1'; DELETE FROM {table} WHERE name = 'tree 2'"));
        ada.sync();
        assert_eq!(bob.sync().conflicts, 2, "{policy:?}");
        ada.sync();
        assert_eq!(ada.name(&gid(1)).as_deref(), Some(kept), "{policy:?}");
        assert_eq!(
            ada.name(&gid(2)).is_none(),
            policy == Policy::Client,
            "{policy:?}"
        );
        assert_equal(&town, &mut [&mut ada, &mut bob]);
        let conflicts = bob.conflicts();
        let of = |kind| conflicts.iter().find(|c| c.kind == kind).unwrap();
        let update = of(ConflictKind::UpdateUpdate);
        assert_eq!(
            (update.winner, update.fields.clone()),
            (winner, vec!["name".to_owned()])
        );
        let name = |record: &Option<Record>| {
            record.as_ref().unwrap().values[0]
                .as_text()
                .unwrap()
                .to_owned()
        };
        assert_eq!(
            [&update.base, &update.mine, &update.theirs].map(name),
            ["tree 1", "from bob", "from ada"]
        );
        assert_eq!(of(ConflictKind::DeleteUpdate).mine, None);
    }
}

#[test]
fn attachments_go_both_ways_with_their_content() {
    let town = Town::new();
    let mut ada = town.person("ada", Policy::Merge);
    let mut bob = town.person("bob", Policy::Merge);
    let table = ada.file.table(TREES.attachments()).unwrap().to_owned();
    let insert = |name: &str, content: &str| {
        format!(
            "INSERT INTO {table} (parent, name, content_type, content) VALUES ('{}', '{name}', 'text/plain', CAST('{content}' AS BLOB))",
            gid_text(4)
        )
    };
    ada.sql(&insert("a.txt", "hello"));
    bob.sql(&insert("b.txt", "world"));
    assert_eq!((ada.sync().applied, bob.sync().applied), (1, 1));
    ada.sync();
    assert_equal(&town, &mut [&mut ada, &mut bob]);
    let rows = ada.rows(TREES.attachments());
    assert_eq!(rows.len(), 2);
    for row in &rows {
        let hash =
            BlobHash::from_hex(row.values[attachment_field::SHA256].as_text().unwrap()).unwrap();
        let content = ada.file.begin().unwrap().blob(hash).unwrap().unwrap();
        let wanted: &[u8] = if row.values[attachment_field::NAME] == Value::from("a.txt") {
            b"hello"
        } else {
            b"world"
        };
        assert_eq!(content, wanted);
    }
    ada.sql(&format!("DELETE FROM {table} WHERE name = 'b.txt'; UPDATE {table} SET name = 'c.txt' WHERE name = 'a.txt'"));
    assert_eq!(ada.sync().applied, 2);
    bob.sync();
    assert_equal(&town, &mut [&mut ada, &mut bob]);
    assert_eq!(bob.rows(TREES.attachments()).len(), 1);
}

#[test]
fn what_the_server_refuses_stays_here_with_its_reason() {
    let town = Town::new();
    let mut ada = town.person("ada", Policy::Merge);
    let table = ada.file.table(TREES).unwrap().to_owned();
    ada.sql(&format!("UPDATE {table} SET kind = 9 WHERE name = 'tree 1'; UPDATE {table} SET kind = 3 WHERE name = 'tree 2'"));
    let summary = ada.sync();
    assert_eq!(
        (summary.applied, summary.rejected.len()),
        (1, 1),
        "{summary:?}"
    );
    assert!(summary.rejected[0].2.contains("kind"), "{summary:?}");
    assert_eq!(ada.value(&gid(1), "kind"), Value::Integer(9));
}

#[test]
fn a_released_replica_is_gone_and_one_that_was_forgotten_is_made_anew() {
    let town = Town::new();
    let mut ada = town.person("ada", Policy::Merge);
    let table = ada.file.table(TREES).unwrap().to_owned();
    let header = ada.file.header().unwrap();
    ada.remote.release(&header).unwrap();
    ada.remote.release(&header).unwrap();
    assert!(town.connect("ada").replicas().unwrap().is_empty());
    ada.sql(&format!(
        "UPDATE {table} SET name = 'kept' WHERE name = 'tree 1'"
    ));
    let summary = ada.sync();
    assert!(summary.resynced && summary.applied == 1, "{summary:?}");
    assert_ne!(ada.file.header().unwrap().id, header.id);
    assert_equal(&town, &mut [&mut ada]);
}

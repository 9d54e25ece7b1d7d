//! Downloads, uploads and merges against scripted answers of a foreign server; the server is a stand-in.

use haversack_model::edit::Base;
use haversack_model::local::{FrozenBatch, LocalReplica as _};
use haversack_model::remote::{Remote as _, RemoteChange};
use haversack_model::{
    BatchNumber, Changes, CollectionId, ConflictKind, Cursor, Edit, Error, Generation, GlobalId,
    Outcome, Policy, Record, RejectCode, Timestamp, Value, Winner,
};
use haversack_sqlite::replica::{Options, ReplicaFile};
use haversack_sync::client::synchronise;
use serde_json::json;

use super::standin::{Fault, REPLICA, StandIn};
use crate::remote::{CheckoutRequest, GeoServicesRemote};

const OAK: &str = "{0000000A-0000-4000-8000-000000000000}";
const ASH: &str = "{0000000B-0000-4000-8000-000000000000}";
const ELM: &str = "{0000000C-0000-4000-8000-000000000000}";
const TREES: CollectionId = CollectionId(0);
const NAME: usize = 0;
const AGE: usize = 1;

fn id(text: &str) -> GlobalId {
    GlobalId::parse_uuid(text).expect("a UUID")
}

/// Without R-tree: its triggers call functions that a plain SQLite does not have.
fn without_index() -> Options {
    Options {
        spatial_index: false,
    }
}

/// A replica file of a stand-in with an oak and an ash.
struct Field {
    server: StandIn,
    remote: GeoServicesRemote,
    file: ReplicaFile,
    _folder: tempfile::TempDir,
}

impl Field {
    fn new(policy: Policy, prepare: impl FnOnce(&StandIn)) -> Self {
        let server = StandIn::start();
        server.edit(OAK, Some(json!({"name": "oak", "age": 40})));
        server.edit(ASH, Some(json!({"name": "ash", "age": 7})));
        prepare(&server);
        let mut remote = server.connect();
        let checkout = remote
            .checkout(
                CheckoutRequest {
                    name: "field".into(),
                    ..CheckoutRequest::default()
                },
                policy,
                &mut |_| {},
            )
            .expect("checked out");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("field.gpkg");
        let mut file = ReplicaFile::create(
            &path,
            checkout.collections(),
            checkout.header(),
            without_index(),
        )
        .expect("a file");
        checkout
            .fill(&mut remote, &mut file, &mut |_, _| {})
            .expect("filled");
        Self {
            server,
            remote,
            file,
            _folder: folder,
        }
    }

    /// Edits as a GIS tool would: plain SQL on the file.
    fn sql(&self, sql: &str) {
        let db = rusqlite::Connection::open(self.file.path()).expect("opened");
        db.execute_batch(sql).expect(sql);
    }
    fn sync(&mut self) -> haversack_model::Result<haversack_sync::client::Summary> {
        synchronise(
            &mut self.file,
            &mut self.remote,
            &|| Timestamp(5),
            &mut |_| {},
        )
    }
    fn row(&mut self, of: &str) -> Option<Record> {
        let tx = self.file.begin().expect("a transaction");
        tx.row(TREES, &id(of)).expect("read")
    }
    fn text(&mut self, of: &str) -> String {
        let row = self.row(of).expect("a row");
        let age = row.values[AGE].as_integer().expect("a number");
        format!("{} {age}", row.values[NAME].as_text().expect("a text"))
    }
    fn server_text(&self, of: &str) -> String {
        let row = self.server.row(of).expect("a row");
        format!("{} {}", row["name"].as_str().expect("a text"), row["age"])
    }
    fn table(&self) -> String {
        self.file.table(TREES).expect("a table").to_owned()
    }
}

#[test]
fn a_checkout_fills_a_file_with_all_rows_and_the_cursor() {
    for (per_layer, jobs) in [(false, false), (true, false), (false, true)] {
        let mut field = Field::new(Policy::Merge, |server| {
            server.with(|state| (state.per_layer, state.jobs) = (per_layer, jobs));
        });
        assert_eq!(
            (field.text(OAK), field.text(ASH)),
            ("oak 40".into(), "ash 7".into())
        );
        let header = field.file.header().expect("a header");
        assert_eq!(header.id.to_string().to_uppercase(), REPLICA);
        assert_eq!(header.cursor.generation, Generation(12));
        assert_eq!(header.layer_cursors.len(), usize::from(per_layer));
        assert_eq!(header.protocol, "geoservices");
    }
}

#[test]
fn edits_go_up_and_changes_come_down() {
    for per_layer in [false, true] {
        let mut field = Field::new(Policy::Merge, |server| {
            server.with(|state| state.per_layer = per_layer);
        });
        let table = field.table();
        field.sql(&format!(
            "UPDATE {table} SET age = 41 WHERE name = 'oak'; DELETE FROM {table} WHERE name = 'ash'"
        ));
        field.sql(&format!(
            "INSERT INTO {table} (GlobalID, name, age) VALUES ('{ELM}', 'elm', 1)"
        ));
        field.server.edit(OAK, Some(json!({"name": "old oak"})));
        let summary = field.sync().expect("synchronised");
        assert_eq!(
            (summary.merged, summary.applied, summary.conflicts),
            (1, 2, 0),
            "{summary:?}"
        );
        assert_eq!(
            field.server_text(OAK),
            "old oak 41",
            "both changes are there"
        );
        assert_eq!(field.text(OAK), "old oak 41");
        assert_eq!(field.server.row(ASH), None);
        assert_eq!(
            (field.row(ASH), field.server_text(ELM)),
            (None, "elm 1".into())
        );
        let again = field.sync().expect("nothing to do");
        assert_eq!(
            (again.applied, again.put, again.removed),
            (0, 0, 0),
            "{again:?}"
        );
    }
}

#[test]
fn a_real_conflict_keeps_base_mine_and_theirs_and_the_policy_decides() {
    for (policy, server_has, winner) in [
        (Policy::Merge, "their oak 41", Winner::Merged),
        (Policy::Server, "their oak 40", Winner::Theirs),
        (Policy::Client, "my oak 41", Winner::Mine),
    ] {
        let mut field = Field::new(policy, |_| {});
        let table = field.table();
        field.sql(&format!(
            "UPDATE {table} SET name = 'my oak', age = 41 WHERE name = 'oak'"
        ));
        field.server.edit(OAK, Some(json!({"name": "their oak"})));
        let summary = field.sync().expect("synchronised");
        assert_eq!(summary.conflicts, 1, "{policy:?}");
        assert_eq!(field.server_text(OAK), server_has, "{policy:?}");
        assert_eq!(field.text(OAK), server_has, "{policy:?}");
        let tx = field.file.begin().expect("a transaction");
        let conflicts = tx.conflicts(true).expect("read");
        let [conflict] = conflicts.as_slice() else {
            panic!("{conflicts:?}");
        };
        assert_eq!(
            (conflict.kind, conflict.winner),
            (ConflictKind::UpdateUpdate, winner)
        );
        assert_eq!(conflict.fields, ["name"]);
        let name =
            |record: &Option<Record>| record.as_ref().expect("a version").values[NAME].clone();
        assert_eq!(name(&conflict.base), Value::from("oak"));
        assert_eq!(name(&conflict.mine), Value::from("my oak"));
        assert_eq!(name(&conflict.theirs), Value::from("their oak"));
    }
}

#[test]
fn deletions_on_either_side_are_conflicts_that_lose_nothing() {
    let mut field = Field::new(Policy::Merge, |_| {});
    let table = field.table();
    field.sql(&format!(
        "UPDATE {table} SET age = 41 WHERE name = 'oak'; DELETE FROM {table} WHERE name = 'ash'"
    ));
    field.server.edit(OAK, None);
    field.server.edit(ASH, Some(json!({"age": 8})));
    let summary = field.sync().expect("synchronised");
    assert_eq!(summary.conflicts, 2);
    assert_eq!((field.row(OAK), field.text(ASH)), (None, "ash 8".into()));
    let tx = field.file.begin().expect("a transaction");
    let kinds: Vec<ConflictKind> = tx
        .conflicts(true)
        .expect("read")
        .iter()
        .map(|c| c.kind)
        .collect();
    assert!(
        kinds.contains(&ConflictKind::UpdateDelete) && kinds.contains(&ConflictKind::DeleteUpdate),
        "{kinds:?}"
    );
}

#[test]
fn an_edit_that_the_server_refuses_keeps_its_reason_and_hinders_no_other() {
    let mut field = Field::new(Policy::Merge, |_| {});
    field
        .server
        .with(|state| state.refuse.insert(OAK.into(), "too old".into()));
    let table = field.table();
    field.sql(&format!("UPDATE {table} SET age = age + 1"));
    let summary = field.sync().expect("synchronised");
    assert_eq!((summary.applied, summary.rejected.len()), (1, 1));
    assert_eq!(summary.rejected[0].2, "too old");
    assert_eq!(
        (field.server_text(ASH), field.server_text(OAK)),
        ("ash 8".into(), "oak 40".into())
    );
    assert_eq!(field.text(OAK), "oak 41", "the edit is still here");
}

#[test]
fn a_lost_answer_is_repeated_without_harm() {
    let mut field = Field::new(Policy::Merge, |_| {});
    let table = field.table();
    field.sql(&format!("UPDATE {table} SET age = 41 WHERE name = 'oak'"));
    field.sql(&format!(
        "INSERT INTO {table} (GlobalID, name, age) VALUES ('{ELM}', 'elm', 1)"
    ));
    // The first question is for what changed, the second one is the upload.
    field.server.fail(
        "synchronizeReplica",
        Fault::Body(json!({"edits": [], "replicaServerGen": 12}).to_string()),
    );
    field.server.fail("synchronizeReplica", Fault::LostAnswer);
    let lost = field.sync().expect_err("no answer");
    assert!(matches!(lost, Error::Network(_)), "{lost}");
    assert_eq!(field.server_text(OAK), "oak 41", "it took effect");
    // Another one edits the new row before the repeat.
    field.server.edit(ELM, Some(json!({"age": 2})));
    let summary = field.sync().expect("synchronised");
    assert_eq!(summary.applied + summary.conflicts, 2, "{summary:?}");
    assert_eq!(
        (field.text(OAK), field.text(ELM)),
        ("oak 41".into(), "elm 2".into())
    );
    assert_eq!(field.server_text(ELM), "elm 2");
}

#[test]
fn a_batch_that_is_sent_again_is_one_conflict() {
    let field = Field::new(Policy::Server, |_| {});
    let header = field.file.header().expect("a header");
    let mut remote = field.remote;
    field.server.edit(OAK, Some(json!({"age": 99})));
    let mut mine = Changes::default();
    mine.values.insert(AGE, Value::Integer(41));
    let mut content = Changes::default();
    content.values.insert(AGE, Value::Integer(40));
    let base = Some(Base {
        revision: haversack_model::Revision(0),
        content,
    });
    let edit = Edit::Update {
        global_id: id(OAK),
        mine,
        base,
    };
    let batch = FrozenBatch {
        number: BatchNumber(1),
        edits: vec![(TREES, edit)],
        cursor: header.cursor,
    };
    let first = remote.push(&header, &batch).expect("answered");
    let second = remote.push(&header, &batch).expect("answered");
    assert_eq!(first.conflicts[0].id, second.conflicts[0].id);
    assert!(matches!(
        first.receipts[0].outcome,
        Outcome::Conflict {
            mine_won: false,
            ..
        }
    ));
}

#[test]
fn a_field_that_the_server_makes_is_refused_here() {
    let field = Field::new(Policy::Merge, |_| {});
    let header = field.file.header().expect("a header");
    let mut remote = field.remote;
    let mut mine = Changes::default();
    mine.values.insert(2, Value::Integer(1));
    let edit = Edit::Update {
        global_id: id(OAK),
        mine,
        base: None,
    };
    let batch = FrozenBatch {
        number: BatchNumber(1),
        edits: vec![(TREES, edit)],
        cursor: header.cursor,
    };
    let reply = remote.push(&header, &batch).expect("answered");
    assert!(
        matches!(&reply.receipts[0].outcome, Outcome::Rejected { code: RejectCode::InvalidValue, reason } if reason.contains("seen")),
        "{reply:?}"
    );
}

#[test]
fn a_long_download_comes_in_pages_and_the_cursor_moves_with_the_last() {
    let mut field = Field::new(Policy::Merge, |_| {});
    let header = field.file.header().expect("a header");
    for number in 0..4_500_u32 {
        field.server.edit(
            &format!("{{{number:08X}-0000-4000-8000-0000000000FF}}"),
            Some(json!({"name": "x", "age": number})),
        );
    }
    let mut sizes = Vec::new();
    loop {
        let page = field.remote.pull(&header).expect("a page");
        sizes.push(page.changes.len());
        if !page.more {
            assert_eq!(page.cursor.generation, Generation(4_512));
            break;
        }
        assert_eq!(page.cursor, header.cursor);
    }
    assert_eq!(sizes, [2_000, 2_000, 500]);
    assert_eq!(
        field.server.count("synchronizeReplica"),
        1,
        "one document for all pages"
    );
    let summary = field.sync().expect("synchronised");
    assert_eq!(summary.put, 4_500);
}

#[test]
fn a_generation_that_is_gone_leads_to_a_full_resync() {
    let mut field = Field::new(Policy::Merge, |_| {});
    let table = field.table();
    field.sql(&format!("UPDATE {table} SET age = 41 WHERE name = 'oak'"));
    field.server.with(|state| state.rows.remove(ASH));
    let gone = json!({"error": {"code": 400, "message": "The replica's generation is not available any more.", "details": []}});
    field
        .server
        .fail("synchronizeReplica", Fault::Body(gone.to_string()));
    let summary = field.sync().expect("synchronised");
    assert!(summary.resynced);
    assert_eq!(
        field.row(ASH),
        None,
        "what the server does not have any more is gone"
    );
    assert_eq!(
        (field.text(OAK), field.server_text(OAK)),
        ("oak 41".into(), "oak 41".into())
    );
}

#[test]
fn a_replica_that_the_server_forgot_is_registered_anew() {
    let mut field = Field::new(Policy::Merge, |_| {});
    field.server.with(|state| state.unknown_replica = true);
    let header = field.file.header().expect("a header");
    let refused = field.remote.pull(&header).expect_err("unknown");
    assert!(
        matches!(refused, Error::NoReplica(of) if of == header.id),
        "{refused}"
    );
    let renewed = field.remote.renew(&header).expect("renewed");
    assert!(!renewed.continues);
    field
        .remote
        .release(&header)
        .expect("what is unknown is released");
}

#[test]
fn a_page_names_rows_with_the_generation_of_its_document() {
    let mut field = Field::new(Policy::Merge, |_| {});
    field.server.edit(OAK, Some(json!({"age": 50})));
    let header = field.file.header().expect("a header");
    let page = field.remote.pull(&header).expect("a page");
    let [
        RemoteChange::Put {
            version, record, ..
        },
    ] = page.changes.as_slice()
    else {
        panic!("{page:?}");
    };
    assert_eq!(
        (version.generation, record.values[AGE].clone()),
        (Generation(13), Value::Integer(50))
    );
    assert_eq!(
        page.cursor,
        Cursor {
            generation: Generation(13),
            ..header.cursor
        }
    );
}

//! The service on which these tests play: trees with a place, a grower and attachments; branches that go with them.

use std::cell::Cell;
use std::sync::Arc;

use haversack_model::filter::{Comparison, Expr};
use haversack_model::schema::{
    Cardinality, EditorFields, GeometryColumn, GeometryKind, Relationship,
};
use haversack_model::{
    Access, Changes, Collection, CollectionId, CollectionKind, Edit, Field, FieldType, Filter,
    Geometry, GlobalId, HistoryId, Policy, Position, Record, Right, Service, Shape, Store,
    Timestamp, Value, Versioned,
};
use haversack_sync::{Applied, Ids, Uploader, apply_edits};
use uuid::Uuid;

use crate::memory::{MemoryStore, State};

pub(crate) const TREES: CollectionId = CollectionId(0);
pub(crate) const BRANCHES: CollectionId = CollectionId(1);

pub(crate) fn field(name: &str, kind: FieldType) -> Field {
    Field {
        name: name.to_owned(),
        alias: name.to_owned(),
        kind,
        length: (kind == FieldType::String).then_some(20),
        nullable: true,
        editable: true,
        domain: None,
        default: Value::Null,
    }
}

fn collection(id: CollectionId, name: &str, fields: Vec<Field>) -> Collection {
    Collection {
        id,
        name: name.to_owned(),
        table: name.to_owned(),
        kind: CollectionKind::Table,
        description: String::new(),
        object_id_field: "OBJECTID".to_owned(),
        global_id_field: "GlobalID".to_owned(),
        display_field: None,
        geometry: None,
        fields,
        has_attachments: false,
        relationships: Vec::new(),
        editor_fields: None,
        max_record_count: 1000,
        indexes: Vec::new(),
        properties: std::collections::BTreeMap::new(),
    }
}

fn end(related: CollectionId, is_origin: bool, key_field: &str) -> Relationship {
    Relationship {
        id: 0,
        name: "branches of a tree".to_owned(),
        related,
        is_origin,
        cardinality: Cardinality::OneToMany,
        key_field: key_field.to_owned(),
        composite: true,
    }
}

pub(crate) fn service() -> Service {
    let mut trees = collection(
        TREES,
        "trees",
        vec![
            field("name", FieldType::String),
            field("height", FieldType::Integer),
            field("grower", FieldType::String),
        ],
    );
    trees.kind = CollectionKind::Layer;
    trees.has_attachments = true;
    trees.geometry = Some(GeometryColumn {
        name: "place".to_owned(),
        kind: GeometryKind::Point,
        srid: 4326,
        has_z: false,
        has_m: false,
    });
    trees.relationships = vec![end(BRANCHES, true, "GlobalID")];
    let mut branches = collection(
        BRANCHES,
        "branches",
        vec![
            field("tree", FieldType::Guid),
            field("label", FieldType::String),
        ],
    );
    branches.relationships = vec![end(TREES, false, "tree")];
    Service {
        name: "parks".to_owned(),
        title: String::new(),
        description: String::new(),
        copyright: String::new(),
        capabilities: Vec::new(),
        srid: 4326,
        schema_version: 1,
        collections: vec![trees, branches],
    }
}

/// The service with stamps of editors on its trees.
pub(crate) fn stamped_service() -> Service {
    let mut service = service();
    let trees = &mut service.collections[0];
    for (name, kind) in [
        ("made", FieldType::Date),
        ("maker", FieldType::String),
        ("edited", FieldType::Date),
        ("editor", FieldType::String),
    ] {
        trees.fields.push(field(name, kind));
    }
    trees.editor_fields = Some(EditorFields {
        created_at: "made".to_owned(),
        creator: "maker".to_owned(),
        edited_at: "edited".to_owned(),
        editor: "editor".to_owned(),
    });
    service
}

pub(crate) fn all_rights() -> Access {
    Access {
        rights: vec![Right::Read, Right::Edit, Right::Sync],
        ..Access::default()
    }
}

pub(crate) fn id(number: u128) -> GlobalId {
    GlobalId::Uuid(Uuid::from_u128(number))
}

pub(crate) fn tree(number: u128, name: &str, height: i64) -> Record {
    Record {
        global_id: id(number),
        object_id: None,
        values: vec![name.into(), height.into(), Value::Null],
        geometry: None,
    }
}

pub(crate) fn point(x: f64, y: f64) -> Geometry {
    Geometry::from_shape(&Shape::Point(Some(Position::xy(x, y))))
}

pub(crate) fn set(at: usize, value: impl Into<Value>) -> Changes {
    Changes {
        values: [(at, value.into())].into(),
        geometry: None,
    }
}

pub(crate) fn equals(field: &str, value: impl Into<Value>) -> Filter {
    Filter::Compare {
        left: Expr::Field(field.to_owned()),
        op: Comparison::Equal,
        right: Expr::Literal(value.into()),
    }
}

/// A server in memory with a clock and ids that count.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) store: MemoryStore,
    time: Cell<i64>,
    fresh: Cell<u128>,
}

impl Ground {
    pub(crate) fn new() -> Self {
        Self::of(service())
    }

    pub(crate) fn of(service: Service) -> Self {
        Self {
            store: MemoryStore::new(service, HistoryId(Uuid::from_u128(1 << 100)), None),
            time: Cell::new(1_000_000),
            fresh: Cell::new(1 << 64),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.time.set(self.time.get() + 1000);
        Timestamp(self.time.get())
    }

    pub(crate) fn fresh(&self) -> Uuid {
        self.fresh.set(self.fresh.get() + 1);
        Uuid::from_u128(self.fresh.get())
    }

    /// Edits in one transaction.
    pub(crate) fn apply(
        &self,
        by: &Uploader<'_>,
        edits: &[(CollectionId, Edit)],
        atomic: bool,
    ) -> Applied {
        let mut fresh = || self.fresh();
        let mut tx = self.store.begin_write(self.now()).expect("a transaction");
        let applied = apply_edits(
            &mut *tx,
            by,
            edits,
            atomic,
            self.now(),
            &mut Ids(&mut fresh),
        )
        .expect("edits are applied or rejected");
        tx.commit().expect("a commit");
        applied
    }

    /// Online edits of someone with all rights.
    pub(crate) fn online(&self, edits: &[(CollectionId, Edit)]) -> Applied {
        let access = all_rights();
        let by = Uploader {
            user: "web",
            replica: None,
            policy: Policy::Client,
            access: &access,
            cursor: None,
        };
        self.apply(&by, edits, false)
    }

    pub(crate) fn add(&self, record: &Record) {
        let edit = Edit::Add {
            record: record.clone(),
            undelete: false,
        };
        self.online(&[(TREES, edit)]);
    }

    pub(crate) fn update(&self, number: u128, mine: Changes) {
        let edit = Edit::Update {
            global_id: id(number),
            mine,
            base: None,
        };
        self.online(&[(TREES, edit)]);
    }

    pub(crate) fn delete(&self, number: u128) {
        let edit = Edit::Delete {
            global_id: id(number),
            base: None,
        };
        self.online(&[(TREES, edit)]);
    }

    /// What happened so far may have been forgotten: cursors of before are worth nothing.
    pub(crate) fn start_history(&self) {
        let mut tx = self.store.begin_write(self.now()).expect("a transaction");
        tx.start_history(HistoryId(self.fresh()))
            .expect("a history");
        tx.commit().expect("a commit");
    }
    /// The server is put back to a backup, as its operator would.
    pub(crate) fn put_back(&self, backup: Arc<State>) {
        self.store.restore(backup);
        self.start_history();
    }
    pub(crate) fn record(&self, collection: CollectionId, id: &GlobalId) -> Option<Versioned> {
        let tx = self.store.begin_read().expect("a snapshot");
        tx.record(collection, id).expect("a read")
    }

    pub(crate) fn head(&self) -> haversack_model::Generation {
        let tx = self.store.begin_read().expect("a snapshot");
        tx.head().expect("a head").generation
    }
}

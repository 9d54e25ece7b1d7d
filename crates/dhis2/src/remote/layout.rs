//! How a copy of tracker data is laid out: which table holds what, and which column which value.
//!
//! A copy is an ordinary replica file. Each tracked entity type, each program's enrollments and each program stage's events are
//! a layer of their own, with a column for every attribute or data element; relationships, notes and what the program keeps
//! of itself (metadata, marks, reserved values) are tables. A record's global id is its uid. What a collection is stands in its
//! [`properties`](Collection::properties), so the file alone tells it. `docs/decisions/0022` says why.
//!
//! Pure: no file, no network. Called by the download, the upload and the commands.

mod aggregate;
mod columns;
mod objects;
mod plan;
mod tables;

use std::collections::BTreeMap;

use haversack_model::{Collection, CollectionId, Record, Value};

use crate::wire::tracker::Kind;

pub use aggregate::AggregateKey;
pub use columns::{Described, value_in, value_out};
pub use plan::{EntityType, Program, Schema, Stage, plan};
pub use tables::{
    COMPLETIONS, DATA_VALUES, FILES, IMPORT_CONFLICTS, INSTANCE, MARKS, METADATA, MetadataTable,
    NOTES, RELATIONSHIPS, RESERVED_VALUES, VIOLATIONS, fixed, metadata_table,
};

/// Names in [`Collection::properties`].
mod property {
    /// What the collection holds: see [`super::Role`].
    pub(super) const ROLE: &str = "role";
    /// Uid of the type, program or stage of a layer; name of the type of a metadata table.
    pub(super) const OF: &str = "of";
    /// Uid of the program of a stage, and of enrollments.
    pub(super) const PROGRAM: &str = "program";
    /// Uid of the attribute or data element, by name of its column.
    pub(super) const VALUES: &str = "values";
}

/// What a collection holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Tracked entities of a type.
    TrackedEntities {
        /// The type.
        entity_type: String,
    },
    /// Enrollments in a program.
    Enrollments {
        /// The program.
        program: String,
    },
    /// Events of a stage.
    Events {
        /// The stage.
        stage: String,
        /// Its program.
        program: String,
    },
    /// Relationships between objects.
    Relationships,
    /// Remarks on enrollments and events.
    Notes,
    /// Aggregate data.
    DataValues,
    /// Which data sets are complete.
    Completions,
    /// Pictures and documents that values name.
    Files,
    /// Metadata of a type, such as `programs`. Made by the server; edits are refused.
    Metadata {
        /// The collection of the web API.
        of: String,
    },
    /// Kept by the program itself, and no record of the server: marks, reserved values and so on.
    Kept,
}

impl Role {
    /// What a collection says of itself; `None` for one that is not ours.
    pub fn of(collection: &Collection) -> Option<Self> {
        let text = |name: &str| {
            let found = collection.properties.get(name)?;
            found.as_str().map(str::to_owned)
        };
        let of = || text(property::OF).unwrap_or_default();
        let program = || text(property::PROGRAM).unwrap_or_default();
        Some(match text(property::ROLE)?.as_str() {
            "trackedEntities" => Self::TrackedEntities { entity_type: of() },
            "enrollments" => Self::Enrollments { program: program() },
            "events" => Self::Events {
                stage: of(),
                program: program(),
            },
            "relationships" => Self::Relationships,
            "notes" => Self::Notes,
            "dataValues" => Self::DataValues,
            "completions" => Self::Completions,
            "files" => Self::Files,
            "metadata" => Self::Metadata { of: of() },
            "kept" => Self::Kept,
            _ => return None,
        })
    }
    /// The kind of tracker object that its records are.
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Self::TrackedEntities { .. } => Some(Kind::TrackedEntity),
            Self::Enrollments { .. } => Some(Kind::Enrollment),
            Self::Events { .. } => Some(Kind::Event),
            Self::Relationships => Some(Kind::Relationship),
            Self::Notes
            | Self::DataValues
            | Self::Completions
            | Self::Files
            | Self::Metadata { .. }
            | Self::Kept => None,
        }
    }
    /// What one of its records is called, `event`.
    pub fn member(&self) -> &'static str {
        match self {
            Self::Notes => "note",
            Self::DataValues => "dataValue",
            Self::Completions => "completion",
            Self::Files => "file",
            other => other.kind().map_or("record", Kind::member),
        }
    }
    /// What its records are called together, `events`.
    pub fn collection(&self) -> &'static str {
        match self {
            Self::Notes => "notes",
            Self::DataValues => "dataValues",
            Self::Completions => "completions",
            Self::Files => "files",
            other => other.kind().map_or("records", Kind::collection),
        }
    }
    /// Whether its records are data of people, made here or on the server, and no knowledge of the program.
    pub fn is_data(&self) -> bool {
        !matches!(self, Self::Metadata { .. } | Self::Kept)
    }
}

/// One collection of a copy with its columns by name.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its definition.
    pub collection: Collection,
    /// What it holds.
    pub role: Role,
    /// Position of each column.
    columns: BTreeMap<String, usize>,
    /// Position and uid of the columns that hold attribute or data values.
    values: Vec<(usize, String)>,
}

impl Table {
    /// `None` for a collection that is not ours.
    pub fn of(collection: &Collection) -> Option<Self> {
        let role = Role::of(collection)?;
        let fields = collection.fields.iter().enumerate();
        let columns: BTreeMap<String, usize> =
            fields.map(|(at, field)| (field.name.clone(), at)).collect();
        let named = collection.properties.get(property::VALUES);
        let named = named.and_then(serde_json::Value::as_object);
        let mut values: Vec<(usize, String)> = named
            .into_iter()
            .flatten()
            .filter_map(|(column, uid)| Some((*columns.get(column)?, uid.as_str()?.to_owned())))
            .collect();
        values.sort();
        Some(Self {
            collection: collection.clone(),
            role,
            columns,
            values,
        })
    }

    /// Its number in the file.
    pub fn id(&self) -> CollectionId {
        self.collection.id
    }
    /// Position of a column.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.get(name).copied()
    }
    /// Columns of attribute or data values: position and uid.
    pub fn values(&self) -> &[(usize, String)] {
        &self.values
    }
    /// Uid of the attribute or data element that a column holds.
    pub fn value_of_column(&self, at: usize) -> Option<&str> {
        let found = self.values.iter().find(|(column, _)| *column == at);
        found.map(|(_, uid)| uid.as_str())
    }
    /// The column that holds an attribute or data element.
    pub fn column_of_value(&self, uid: &str) -> Option<usize> {
        let found = self.values.iter().find(|(_, of)| of == uid);
        found.map(|(column, _)| *column)
    }

    /// The text in a column; empty if there is none.
    pub fn text(&self, record: &Record, column: &str) -> String {
        self.cell(record, column)
            .and_then(value_out)
            .unwrap_or_default()
    }
    /// Whether a column holds something else than zero.
    pub fn flag(&self, record: &Record, column: &str) -> bool {
        match self.cell(record, column) {
            Some(Value::Integer(n)) => *n != 0,
            Some(Value::Text(text)) => text == "true" || text == "1",
            _ => false,
        }
    }
    /// The value in a column.
    pub fn cell<'a>(&self, record: &'a Record, column: &str) -> Option<&'a Value> {
        record.values.get(self.column(column)?)
    }
    /// A record with these texts; empty ones are null. Columns that the table does not have are left out.
    pub fn record(&self, uid: &str, cells: &[(&str, &str)]) -> Record {
        let mut record = self.empty(uid);
        for (column, text) in cells {
            self.put(&mut record, column, text);
        }
        record
    }

    fn empty(&self, uid: &str) -> Record {
        Record {
            global_id: haversack_model::GlobalId::Text(uid.into()),
            object_id: None,
            values: vec![Value::Null; self.collection.fields.len()],
            geometry: None,
        }
    }
    /// Sets a column; an empty text makes it null.
    pub fn put(&self, record: &mut Record, column: &str, text: &str) {
        let Some(at) = self.column(column) else {
            return;
        };
        let Some(field) = self.collection.fields.get(at) else {
            return;
        };
        if let Some(slot) = record.values.get_mut(at) {
            *slot = if text.is_empty() {
                Value::Null
            } else {
                value_in(field.kind, text)
            };
        }
    }
    fn put_flag(&self, record: &mut Record, column: &str, flag: bool) {
        if let Some(slot) = self.column(column).and_then(|at| record.values.get_mut(at)) {
            *slot = Value::Integer(i64::from(flag));
        }
    }
}

/// All tables of a copy.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    tables: BTreeMap<CollectionId, Table>,
}

impl Layout {
    /// Reads what the collections of a file say of themselves; others are left out.
    pub fn of(collections: &[Collection]) -> Self {
        let tables = collections.iter().filter_map(Table::of);
        Self {
            tables: tables.map(|table| (table.id(), table)).collect(),
        }
    }
    /// All tables in the order of their numbers.
    pub fn tables(&self) -> impl Iterator<Item = &Table> {
        self.tables.values()
    }
    /// The table of a collection.
    pub fn table(&self, id: CollectionId) -> Option<&Table> {
        self.tables.get(&id)
    }
    /// The layer of a tracked entity type.
    pub fn entities(&self, of: &str) -> Option<&Table> {
        self.find(|role| matches!(role, Role::TrackedEntities { entity_type } if entity_type == of))
    }
    /// The layer of a program's enrollments.
    pub fn enrollments(&self, of: &str) -> Option<&Table> {
        self.find(|role| matches!(role, Role::Enrollments { program } if program == of))
    }
    /// The layer of a stage's events.
    pub fn events(&self, of: &str) -> Option<&Table> {
        self.find(|role| matches!(role, Role::Events { stage, .. } if stage == of))
    }
    /// The table of a metadata type.
    pub fn metadata(&self, name: &str) -> Option<&Table> {
        self.find(|role| matches!(role, Role::Metadata { of } if of == name))
    }
    /// All layers of a kind of object.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Table> {
        self.tables()
            .filter(move |table| table.role.kind() == Some(kind))
    }
    fn find(&self, is: impl Fn(&Role) -> bool) -> Option<&Table> {
        self.tables().find(|table| is(&table.role))
    }
}

#[cfg(test)]
mod tests;

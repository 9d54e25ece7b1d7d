//! Document collections: what they are made of, and what a store that keeps them can do beyond [`Store`].
//!
//! A document is a [`Record`] whose global id is [`GlobalId::Text`] of its key and whose one value is the exact JSON
//! text of its body, without `_key`, `_id` and `_rev`; `_from` and `_to` of an edge are in it. Its revision is that of
//! its tracking. Every layer and table is readable as documents, too: [`key_of`] and [`body_of`].

mod project;

use std::collections::BTreeMap;
use std::fmt::Debug;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::store::{Flow, ReadTx, Store, WriteTx};
use crate::{
    Collection, CollectionId, CollectionKind, Error, Field, FieldType, Generation, GlobalId,
    ObjectId, Record, ReplicaId, Result, Revision, Service, Timestamp, Value, Versioned,
};

pub use project::{body_of, key_of};

/// What a face keeps with a collection or an index.
pub type Properties = BTreeMap<String, serde_json::Value>;

/// Longest key in bytes.
pub const MAX_KEY_BYTES: usize = 254;

/// An index of a document collection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// Identity within the collection; letters, digits, `_` and `-`.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// What its maker calls the kind: `persistent`, `geo`. Stores look at `unique` alone.
    pub kind: String,
    /// Paths of attributes: `name`, `address.city`.
    pub fields: Vec<String>,
    /// Whether no two documents may have the same values. An absent attribute counts as null.
    pub unique: bool,
    /// Whether documents in which one of the attributes is absent or null are left out.
    pub sparse: bool,
    /// What a face keeps with it.
    #[serde(default, skip_serializing_if = "Properties::is_empty")]
    pub properties: Properties,
}

impl Collection {
    /// An empty collection of documents. [`Service::new_documents`] finds a free id and table.
    pub fn documents(id: CollectionId, name: &str, table: &str, edges: bool) -> Self {
        Self {
            id,
            name: name.to_owned(),
            table: table.to_owned(),
            kind: CollectionKind::Documents { edges },
            description: String::new(),
            object_id_field: "OBJECTID".to_owned(),
            global_id_field: "_key".to_owned(),
            display_field: None,
            geometry: None,
            fields: vec![Field {
                name: "document".to_owned(),
                alias: "document".to_owned(),
                kind: FieldType::String,
                length: None,
                nullable: false,
                editable: true,
                domain: None,
                default: Value::Null,
            }],
            has_attachments: false,
            relationships: Vec::new(),
            editor_fields: None,
            max_record_count: 1000,
            indexes: Vec::new(),
            properties: Properties::new(),
        }
    }
    /// Whether its records are documents.
    pub fn is_documents(&self) -> bool {
        matches!(self.kind, CollectionKind::Documents { .. })
    }
}

impl Service {
    /// A service without collections, for documents.
    pub fn of_documents(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            title: name.to_owned(),
            description: String::new(),
            copyright: String::new(),
            capabilities: vec!["Query".to_owned()],
            srid: 4326,
            schema_version: 1,
            collections: Vec::new(),
        }
    }
    /// A collection of documents that can be added: its id and its table are free.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the name is taken or is none: a letter or `_`, then letters, digits, `_` and `-`, up to
    /// 256 bytes.
    pub fn new_documents(&self, name: &str, edges: bool) -> Result<Collection> {
        check_collection_name(name)?;
        let taken = |problem: &str| Error::Invalid {
            what: format!("collection {name:?}"),
            problem: problem.to_owned(),
        };
        if self.collections.iter().any(|c| c.name == name) {
            return Err(taken("a collection has this name"));
        }
        let id = self.collections.iter().map(|c| c.id.0 + 1).max();
        let id = id.unwrap_or(0);
        let is_free = |table: &str| {
            !self
                .collections
                .iter()
                .any(|c| c.table.eq_ignore_ascii_case(table))
        };
        // The tables of databases ignore case and have words of their own; only simple names are kept as they are.
        let is_plain = name.len() <= 60 && name.starts_with(|c: char| c.is_ascii_alphabetic());
        let reserved = ["gpkg_", "sqlite_", "haversack_", "rtree_"];
        let lower = name.to_ascii_lowercase();
        let table = if is_plain && is_free(name) && !reserved.iter().any(|r| lower.starts_with(r)) {
            name.to_owned()
        } else {
            format!("documents_{id}")
        };
        if !is_free(&table) {
            return Err(taken("its table cannot be named"));
        }
        Ok(Collection::documents(CollectionId(id), name, &table, edges))
    }
    /// The collection of a name, by its exact text.
    pub fn collection_named(&self, name: &str) -> Option<&Collection> {
        self.collections.iter().find(|c| c.name == name)
    }
    /// What feature clients see.
    pub fn layers_and_tables(&self) -> impl Iterator<Item = &Collection> {
        self.collections.iter().filter(|c| !c.is_documents())
    }
}

/// Refuses what is no name of a document collection.
///
/// # Errors
/// [`Error::Invalid`] says what would do.
pub fn check_collection_name(name: &str) -> Result<()> {
    let fits = (1..=256).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if fits {
        return Ok(());
    }
    Err(Error::Invalid {
        what: format!("collection name {name:?}"),
        problem: "it must be 1 to 256 letters, digits, _ or -, beginning with a letter or _"
            .to_owned(),
    })
}

/// A store that keeps document collections.
pub trait DocumentStore: Store {
    /// A snapshot, as [`Store::begin_read`].
    fn read_documents(&self) -> Result<Box<dyn DocumentRead + '_>>;
    /// The write transaction, as [`Store::begin_write`].
    fn write_documents(&self, now: Timestamp) -> Result<Box<dyn DocumentWrite + '_>>;
}

/// Reads that documents need. They work on layers and tables as well.
pub trait DocumentRead: ReadTx {
    /// Live records with keys above `after`, in the order of the keys' bytes.
    fn by_key(
        &self,
        collection: CollectionId,
        after: Option<&str>,
        visit: &mut dyn FnMut(Versioned) -> Result<Flow>,
    ) -> Result<()>;
    /// Revisions and global ids of live records with `from <= revision <= upto`, in their order. Reads no content.
    fn revisions(
        &self,
        collection: CollectionId,
        from: Revision,
        upto: Revision,
        visit: &mut dyn FnMut(Revision, GlobalId) -> Result<Flow>,
    ) -> Result<()>;
    /// How many live records there are.
    fn count(&self, collection: CollectionId) -> Result<u64>;
    /// The records that were live at a generation, as they were then, with keys above `after`, in the order of the
    /// keys' bytes. A pin on that generation makes such reads agree with each other, however long they take.
    ///
    /// # Errors
    /// [`Error::Resync`] if the generation is below the floor or above the head.
    fn live_as_of(
        &self,
        collection: CollectionId,
        at: Generation,
        after: Option<&str>,
        visit: &mut dyn FnMut(Versioned) -> Result<Flow>,
    ) -> Result<()>;
    /// All pins, expired ones too as long as nothing was pruned.
    fn pins(&self) -> Result<Vec<Pin>>;
    /// How many changes wait in a collection's stage.
    fn staged(&self, collection: CollectionId) -> Result<u64>;
    /// What the stages are of that were named and not emptied since, by collection.
    fn named_stages(&self) -> Result<Vec<NamedStage>>;
    /// Keys and revisions of the documents that [`DocumentWrite::merge_stage`] would leave, with `after < key <= upto`, in the
    /// order of the keys' bytes. Reads no content; only of document collections.
    fn merged_keys(
        &self,
        collection: CollectionId,
        whole: bool,
        bounds: (Option<&str>, Option<&str>),
        visit: &mut dyn FnMut(&str, Revision) -> Result<Flow>,
    ) -> Result<()>;
    /// The same with `from <= revision <= upto`, in the order of the revisions.
    fn merged_revisions(
        &self,
        collection: CollectionId,
        whole: bool,
        bounds: (Revision, Revision),
        visit: &mut dyn FnMut(&str, Revision) -> Result<Flow>,
    ) -> Result<()>;
    /// What [`DocumentWrite::merge_stage`] would change, by key, at most so many. Equal content is no difference.
    fn differences(
        &self,
        collection: CollectionId,
        whole: bool,
        most: usize,
    ) -> Result<Vec<Difference>>;
}

/// Writes that documents need.
pub trait DocumentWrite: WriteTx + DocumentRead {
    /// Inserts or replaces a record with the revision that it has elsewhere, which does not move the service's last.
    ///
    /// # Errors
    /// As [`WriteTx::put`]; both say [`Error::Unique`] if a unique index of the collection refuses the document.
    fn put_revision(
        &mut self,
        collection: CollectionId,
        record: &Record,
        revision: Revision,
        origin: Option<ReplicaId>,
    ) -> Result<ObjectId>;
    /// Deletes all records and leaves a tombstone of each. Returns how many there were.
    fn truncate(&mut self, collection: CollectionId) -> Result<u64>;
    /// Keeps all history above a generation until a time; replaces the pin of the same id.
    ///
    /// # Errors
    /// [`Error::Resync`] if the generation is below the floor or above the head.
    fn pin(&mut self, pin: &Pin) -> Result<()>;
    /// Removes a pin; `false` if there is none of this id.
    fn unpin(&mut self, id: Uuid) -> Result<bool>;

    /// Says what the stage of a collection is of, until it is emptied; replaces what was said before.
    fn name_stage(&mut self, stage: &NamedStage) -> Result<()>;
    /// Empties the stage of a collection.
    fn clear_stage(&mut self, collection: CollectionId) -> Result<()>;
    /// Puts a change beside the collection, where nobody sees it before [`Self::merge_stage`]; replaces the one of the same key.
    fn stage(&mut self, collection: CollectionId, change: &Staged) -> Result<()>;
    /// Merges the stage by key and empties it: a document of equal content takes no generation but the staged revision,
    /// a changed one gets a new generation, a vanished one becomes a tombstone. With `whole` the
    /// stage is all that is left; without, documents that are not staged stay as they are.
    ///
    /// # Errors
    /// [`Error::Unique`] if the merged documents break a unique index.
    fn merge_stage(&mut self, collection: CollectionId, whole: bool) -> Result<Merged>;
}

/// Keeps history for somebody who reads over several transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Random id.
    pub id: Uuid,
    /// Everything after this generation is kept, and what was live at it.
    pub generation: Generation,
    /// From when on it counts no more.
    pub expires_at: Timestamp,
}

/// A change that waits beside a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staged {
    /// Which document.
    pub key: String,
    /// Its revision and JSON text; `None` to remove it.
    pub document: Option<(Revision, String)>,
}

/// What a stage is of: whoever fills it says so, and finds it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedStage {
    /// Whose stage.
    pub collection: CollectionId,
    /// What it is of, in the words of whoever fills it.
    pub origin: String,
    /// When that was said.
    pub at: Timestamp,
}

/// What a merge did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merged {
    /// Documents that were not there.
    pub inserted: u64,
    /// Documents whose content changed.
    pub replaced: u64,
    /// Documents that went.
    pub removed: u64,
    /// Documents that were equal.
    pub equal: u64,
}

/// A document that a merge of the stage would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Its key.
    pub key: String,
    /// What would become of it.
    pub change: WouldBe,
}

/// What a merge would do to a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WouldBe {
    /// It is not here.
    Insert,
    /// It is another one here.
    Replace,
    /// The primary does not have it.
    Remove,
}

/// A document as a record.
pub fn document(key: &str, body: impl Into<String>) -> Record {
    Record {
        global_id: GlobalId::Text(key.into()),
        object_id: None,
        values: vec![Value::Text(body.into())],
        geometry: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_collections_are_free_whatever_their_names() {
        let mut service = Service::of_documents("db");
        for name in ["Trees", "trees", "_graphs", "gpkg_contents", "a-b"] {
            let new = service.new_documents(name, false).unwrap();
            assert!(service.collection(new.id).is_none());
            service.collections.push(new);
        }
        let mut tables: Vec<_> = service
            .collections
            .iter()
            .map(|c| c.table.to_lowercase())
            .collect();
        tables.sort();
        tables.dedup();
        assert_eq!(tables.len(), 5, "{tables:?}");
        assert!(tables.iter().all(|table| !table.starts_with("gpkg_")));
        assert!(service.new_documents("trees", true).is_err());
        for name in ["", "1a", "a b", "a%", "é"] {
            assert!(service.new_documents(name, false).is_err(), "{name}");
        }
    }
}

//! Data values and completions: documents of the face under what they are about, records of the copy under a uid that follows from it.

use haversack_model::documents::document;
use haversack_model::{CollectionId, Record};
use serde_json::{Map, Value, json};

use super::Result;
use super::edit::is_same;
use super::install::Installer;
use crate::face::aggregate::completions::COMPLETIONS;
use crate::face::aggregate::values::VALUES;
use crate::face::instance::Stored;
use crate::remote::layout::{self, AggregateKey, Role, Table};

/// Collections of the face, and their tables in the copy.
pub(super) const BOTH: [(&str, CollectionId); 2] = [
    (VALUES, layout::DATA_VALUES),
    (COMPLETIONS, layout::COMPLETIONS),
];
/// The member by which both are told as taken back.
const DELETED: &str = "deleted";

/// The collection of the face whose documents a table holds.
pub(super) fn collection_of(table: &Table) -> Option<&'static str> {
    let mut both = BOTH.iter();
    let found = both.find(|(_, id)| *id == table.id());
    found.map(|(collection, _)| *collection)
}

/// The record of a document; none of one that was deleted.
pub(super) fn record(table: &Table, document: &Stored) -> Option<Record> {
    if document.members.get(DELETED) == Some(&Value::Bool(true)) {
        return None;
    }
    let told = Value::Object(document.members.clone());
    Some(match table.role {
        Role::Completions => table.of_completion(&told),
        _ => table.of_data_value(&told, ""),
    })
}

/// The document of a record; `known` is the one that is there.
fn document_of(table: &Table, record: &Record, known: Option<&Stored>) -> Value {
    let of_known = |name: &str| known.map(|known| known.text(name).to_owned());
    let mut told = if table.role == Role::Completions {
        table.completion(record, false)
    } else {
        let mut told = table.data_value(record, false);
        let created = of_known("created").filter(|at| !at.is_empty());
        told["created"] = created
            .unwrap_or_else(|| table.text(record, "created_at"))
            .into();
        told["storedBy"] = table.text(record, "stored_by").into();
        told
    };
    if told.get(DELETED).is_none() {
        told[DELETED] = false.into();
    }
    told
}

/// The key of the document of a record.
fn key_of(table: &Table, record: &Record) -> String {
    table.aggregate_key(record, None).0.join(".")
}

impl Installer<'_> {
    /// Writes a data value or a completion, if it differs.
    pub(super) fn aggregate(
        &mut self,
        table: &Table,
        collection: &str,
        row: &Record,
    ) -> Result<()> {
        let id = key_of(table, row);
        let known = self.instance.object(&*self.face, collection, &id)?;
        let there = known.as_ref().and_then(|known| record(table, known));
        if there.is_some_and(|there| is_same(table, &there, row)) {
            return Ok(());
        }
        let body = document_of(table, row, known.as_ref());
        self.put(collection, &id, &body)
    }

    /// Tells that a data value or a completion was taken back: the one whose uid this is.
    pub(super) fn take_back(&mut self, collection: &str, uid: &str) -> Result<()> {
        let Some(id) = self.key_of_uid(collection, uid)? else {
            return Ok(());
        };
        let Some(known) = self.instance.object(&*self.face, collection, &id)? else {
            return Ok(());
        };
        let mut members: Map<String, Value> = known.members;
        if members.insert(DELETED.to_owned(), json!(true)) == Some(json!(true)) {
            return Ok(());
        }
        members.remove("comment");
        if collection == COMPLETIONS {
            members.insert("completed".to_owned(), json!(false));
        }
        self.put(collection, &id, &Value::Object(members))
    }

    /// A uid does not tell what it is about, so the keys of all are read, once.
    fn key_of_uid(&mut self, collection: &str, uid: &str) -> Result<Option<String>> {
        if !self.keys.contains_key(collection) {
            let mut keys = std::collections::HashMap::new();
            self.instance.each(&*self.face, collection, |found| {
                let parts = found.id.split('.').map(str::to_owned).collect();
                keys.insert(AggregateKey(parts).uid(), found.id);
                Ok(())
            })?;
            self.keys.insert(collection.to_owned(), keys);
        }
        let keys = self.keys.get(collection);
        Ok(keys.and_then(|keys| keys.get(uid)).cloned())
    }

    fn put(&mut self, collection: &str, id: &str, body: &Value) -> Result<()> {
        let collection = self.instance.collection(collection)?;
        self.face
            .put(collection, &document(id, body.to_string()), None)?;
        self.written += 1;
        Ok(())
    }
}

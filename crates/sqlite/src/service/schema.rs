//! The definition of a service with the SQL of each of its collections, made once and shared.

use haversack_model::{Collection, CollectionId, Error, Record, Result, Service, Track};
use haversack_model::{Generation, GlobalId, ObjectId, ReplicaId, Revision, Timestamp};
use rusqlite::Row;
use rusqlite::types::ValueRef;
use uuid::Uuid;

use crate::error::{corrupt, while_doing};
use crate::gpkg::{blob, column, layer, quote_ident};

/// A service and its layers.
#[derive(Debug)]
pub(super) struct Schema {
    pub(super) service: Service,
    layers: Vec<Layer>,
}

/// A collection and the statements that concern it alone.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) collection: Collection,
    /// Quoted names.
    pub(super) table: String,
    pub(super) history: String,
    pub(super) object_id: String,
    pub(super) key_column: String,
    pub(super) geometry: Option<String>,
    /// A record by global id: its columns, then its tracking.
    pub(super) select_by_id: String,
    /// What a write must know of the present row.
    pub(super) locate: String,
    pub(super) insert: String,
    pub(super) update: String,
    pub(super) delete: String,
    /// Copies the present row of `?1` into the history: until, from, stamp, revision, origin are `?2` to `?6`.
    pub(super) keep_version: String,
    pub(super) index_put: Option<String>,
    pub(super) index_remove: Option<String>,
}

/// Tracking columns in the order of [`track_at`].
pub(super) const TRACK_COLUMNS: &str =
    "k.generation, k.stamp, k.revision, k.deleted, k.origin, k.content_generation";

impl Layer {
    fn new(collection: Collection) -> Self {
        let table = quote_ident(&collection.table);
        let history = quote_ident(&layer::history_name(&collection.table));
        let object_id = quote_ident(&collection.object_id_field);
        let global_id = quote_ident(&collection.global_id_field);
        let geometry = collection.geometry.as_ref().map(|g| quote_ident(&g.name));
        let names = layer::column_names(&collection);
        let list = layer::ident_list(&names, "");
        let marks: Vec<String> = (2..names.len() + 2).map(|at| format!("?{at}")).collect();
        let assigned: Vec<String> = names
            .iter()
            .enumerate()
            .filter(|(_, name)| **name != collection.global_id_field)
            .map(|(at, name)| format!("{} = ?{}", quote_ident(name), at + 2))
            .collect();
        let assigned = if assigned.is_empty() {
            format!("{object_id} = {object_id}")
        } else {
            assigned.join(", ")
        };
        let id = collection.id.0;
        let track = format!(
            "JOIN haversack_track k ON k.collection = {id} AND k.object_id = t.{object_id}"
        );
        let shape = geometry
            .as_ref()
            .map_or("NULL".to_owned(), |g| format!("t.{g}"));
        let index = collection
            .geometry
            .as_ref()
            .map(|g| quote_ident(&layer::rtree_name(&collection.table, &g.name)));
        let columns = select_columns(&collection, "t");
        Self {
            select_by_id: format!(
                "SELECT {columns}, {TRACK_COLUMNS} FROM {table} t {track} WHERE t.{global_id} = ?1"
            ),
            locate: format!(
                "SELECT t.{object_id}, {TRACK_COLUMNS}, {shape} FROM {table} t {track} \
                 WHERE t.{global_id} = ?1"
            ),
            insert: format!(
                "INSERT INTO {table} ({object_id}, {list}) VALUES (?1, {})",
                marks.join(", ")
            ),
            update: format!("UPDATE {table} SET {assigned} WHERE {object_id} = ?1"),
            delete: format!("DELETE FROM {table} WHERE {object_id} = ?1"),
            keep_version: format!(
                "INSERT INTO {history} (haversack_until, haversack_from, haversack_stamp, \
                 haversack_revision, haversack_origin, {object_id}, {list}) \
                 SELECT ?2, ?3, ?4, ?5, ?6, {object_id}, {list} FROM {table} WHERE {object_id} = ?1"
            ),
            index_put: index
                .as_ref()
                .map(|rtree| format!("INSERT OR REPLACE INTO {rtree} VALUES (?1, ?2, ?3, ?4, ?5)")),
            index_remove: index
                .as_ref()
                .map(|rtree| format!("DELETE FROM {rtree} WHERE id = ?1")),
            table,
            history,
            object_id,
            key_column: global_id,
            geometry,
            collection,
        }
    }

    /// The columns of a record under an alias, as [`record_at`] reads them.
    pub(super) fn columns(&self, alias: &str) -> String {
        select_columns(&self.collection, alias)
    }
    /// The text under which a record's global id is stored.
    pub(super) fn key(&self, id: &GlobalId) -> Result<String> {
        column::key_text(self.collection.is_documents(), id)
    }
    /// The global id of a stored text.
    pub(super) fn global_id(&self, stored: ValueRef<'_>) -> Result<GlobalId> {
        column::key(self.collection.is_documents(), stored)
    }
    /// How many columns a record takes.
    pub(super) fn width(&self) -> usize {
        3 + self.collection.fields.len()
    }
}

fn select_columns(collection: &Collection, alias: &str) -> String {
    let column = |name: &str| format!("{alias}.{}", quote_ident(name));
    let mut columns = vec![
        column(&collection.object_id_field),
        column(&collection.global_id_field),
        collection
            .geometry
            .as_ref()
            .map_or("NULL".to_owned(), |g| column(&g.name)),
    ];
    columns.extend(collection.fields.iter().map(|f| column(&f.name)));
    columns.join(", ")
}

impl Schema {
    pub(super) fn new(service: Service) -> Self {
        let mut layers = Vec::new();
        for collection in &service.collections {
            layers.push(Layer::new(collection.clone()));
            if collection.has_attachments {
                layers.push(Layer::new(collection.attachments()));
            }
        }
        Self { service, layers }
    }

    pub(super) fn layer(&self, id: CollectionId) -> Result<&Layer> {
        self.layers
            .iter()
            .find(|layer| layer.collection.id == id)
            .ok_or(Error::NoCollection(id))
    }
    pub(super) fn layers(&self) -> &[Layer] {
        &self.layers
    }
    pub(super) fn find(&self, id: CollectionId) -> Option<&Collection> {
        self.layer(id).ok().map(|layer| &layer.collection)
    }
}

/// Reads a record from a row whose columns from `at` on are those of [`Layer::columns`].
pub(super) fn record_at(row: &Row<'_>, layer: &Layer, at: usize) -> Result<Record> {
    let failed = while_doing("reading a record");
    let global_id = layer.global_id(row.get_ref(at + 1).map_err(&failed)?)?;
    let geometry = match row.get_ref(at + 2).map_err(&failed)? {
        ValueRef::Blob(bytes) => Some(
            blob::decode(bytes)
                .map_err(|problem| corrupt(format!("{global_id} of {}: {problem}", layer.table)))?,
        ),
        _ => None,
    };
    let mut values = Vec::with_capacity(layer.collection.fields.len());
    for (offset, field) in layer.collection.fields.iter().enumerate() {
        let stored = row.get_ref(at + 3 + offset).map_err(&failed)?;
        values.push(column::from_sql(field.kind, stored));
    }
    Ok(Record {
        global_id,
        object_id: Some(ObjectId(row.get(at).map_err(&failed)?)),
        values,
        geometry,
    })
}

/// What the tracking columns say: the track, and the generation since which the content stands.
pub(super) fn track_at(row: &Row<'_>, at: usize) -> rusqlite::Result<(Track, Generation)> {
    let track = Track {
        generation: Generation(row.get::<_, i64>(at)? as u64),
        stamp: Timestamp(row.get(at + 1)?),
        revision: Revision(row.get::<_, i64>(at + 2)? as u64),
        deleted: row.get(at + 3)?,
        origin: origin_at(row, at + 4)?,
    };
    Ok((track, Generation(row.get::<_, i64>(at + 5)? as u64)))
}

/// The replica that made a change, if one did.
pub(super) fn origin_at(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<ReplicaId>> {
    let bytes: Option<[u8; 16]> = row.get(at)?;
    Ok(bytes.map(|bytes| ReplicaId(Uuid::from_bytes(bytes))))
}

/// The bytes of an origin, as stored.
pub(super) fn origin_bytes(origin: Option<ReplicaId>) -> Option<[u8; 16]> {
    origin.map(|id| id.0.into_bytes())
}

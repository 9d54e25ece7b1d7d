//! Replaces a service's definition: new collections get tables, new fields get columns, in layer and history.

use haversack_model::{Collection, Field, Result, Service};
use haversack_sync::reconcile::LeafBits;
use rusqlite::{Connection, params};

use super::books::to_json;
use super::schema::Schema;
use super::summary::{self, Side};
use super::view::View;
use super::{capture, history, indexes};
use crate::error::{invalid, while_doing};
use crate::gpkg::layer::{self, TableOptions};
use crate::gpkg::quote_ident;

/// Options of the tables of server files.
const OPTIONS: TableOptions = TableOptions {
    spatial_index: true,
    unique_global_id: true,
};

/// Creates all that belongs to a collection.
pub(super) fn create_collection(connection: &Connection, collection: &Collection) -> Result<()> {
    layer::create(connection, collection, OPTIONS)?;
    history::create(connection, collection)?;
    if collection.is_documents() {
        create_revisions(connection, collection)?;
        let bare = Collection {
            indexes: Vec::new(),
            ..collection.clone()
        };
        indexes::alter(connection, &bare, collection)?;
        summary::define(
            connection,
            collection.id,
            Side::Here,
            &summary::fresh_key()?,
            LeafBits::NARROWEST,
        )?;
    }
    capture::ensure(connection, collection).map(|_created| ())
}

impl View<'_> {
    /// Stores a definition after bringing the tables to it; returns what was stored.
    pub(super) fn alter(&self, wanted: &Service) -> Result<Service> {
        let present = &self.schema.service;
        if wanted.name != present.name {
            return Err(invalid("the service's name", "it cannot be changed"));
        }
        let target = Schema::new(wanted.clone());
        let mut altered = false;
        for old in self.schema.layers() {
            let id = old.collection.id;
            let Some(new) = target.find(id) else {
                if old.collection.is_documents() {
                    drop_collection(self.connection, &old.collection)?;
                    altered = true;
                    continue;
                }
                return Err(invalid(
                    old.collection.name.as_str(),
                    "a collection cannot be removed",
                ));
            };
            altered |= self.alter_collection(&old.collection, new)?;
        }
        for new in target.layers() {
            if self.schema.find(new.collection.id).is_none() {
                create_collection(self.connection, &new.collection)?;
                altered = true;
            }
        }
        let mut stored = wanted.clone();
        if altered {
            stored.schema_version = wanted.schema_version.max(present.schema_version + 1);
        }
        store(self.connection, &stored)?;
        Ok(stored)
    }

    fn alter_collection(&self, old: &Collection, new: &Collection) -> Result<bool> {
        let refuse = |problem: &str| Err(invalid(old.name.as_str(), problem));
        if old.table != new.table
            || old.object_id_field != new.object_id_field
            || old.global_id_field != new.global_id_field
        {
            return refuse("its table and key columns cannot be renamed");
        }
        if old.geometry != new.geometry {
            return refuse("its geometry cannot be changed");
        }
        let same = |(a, b): (&Field, &Field)| a.name == b.name && a.kind == b.kind;
        let kept = old.fields.len();
        if new.fields.len() < kept || !old.fields.iter().zip(&new.fields).all(same) {
            return refuse("existing fields keep name, type and place; new ones follow them");
        }
        if old.is_documents() != new.is_documents() {
            return refuse("a layer cannot become a document collection, nor the other way round");
        }
        if new.is_documents() {
            indexes::alter(self.connection, old, new)?;
        }
        layer::check_names(new)?;
        for field in &new.fields[kept..] {
            layer::add_column(self.connection, &old.table, field, true)?;
            layer::add_column(
                self.connection,
                &layer::history_name(&old.table),
                field,
                false,
            )?;
        }
        if old.fields != new.fields {
            layer::describe_fields(self.connection, new)
                .map_err(while_doing("describing fields"))?;
        }
        capture::ensure(self.connection, new)?;
        Ok(new.fields.len() > kept)
    }
}

/// Creates the index by revision of a document collection; layers need none.
fn create_revisions(connection: &Connection, collection: &Collection) -> Result<()> {
    connection
        .execute_batch(&format!(
            "CREATE INDEX haversack_revisions_{id} ON haversack_track (revision) \
             WHERE collection = {id} AND deleted = 0",
            id = collection.id.0
        ))
        .map_err(while_doing("creating the index of revisions"))
}

/// Removes a document collection with its history and all that is kept of it.
fn drop_collection(connection: &Connection, collection: &Collection) -> Result<()> {
    let failed = while_doing("dropping a collection");
    let history = layer::history_name(&collection.table);
    let id = collection.id.0;
    connection
        .execute_batch(&format!(
            "DROP INDEX IF EXISTS haversack_revisions_{id}; DROP TABLE {}; DROP TABLE {};",
            quote_ident(&collection.table),
            quote_ident(&history)
        ))
        .map_err(&failed)?;
    for table in BOOKS {
        connection
            .execute(&format!("DELETE FROM {table} WHERE collection = ?1"), [id])
            .map_err(&failed)?;
    }
    for table in ["gpkg_contents", "gpkg_data_columns", "gpkg_extensions"] {
        connection
            .execute(
                &format!("DELETE FROM {table} WHERE table_name IN (?1, ?2)"),
                [&collection.table, &history],
            )
            .map_err(&failed)?;
    }
    Ok(())
}

/// Tables with rows of a collection.
const BOOKS: [&str; 7] = [
    "haversack_track",
    "haversack_stage",
    "haversack_stages",
    "haversack_summaries",
    "haversack_sums",
    "haversack_unfolded",
    "haversack_upstreams",
];

/// Writes the definition and its version.
pub(super) fn store(connection: &Connection, service: &Service) -> Result<()> {
    let failed = while_doing("storing the definition of a service");
    connection
        .execute(
            "INSERT OR REPLACE INTO haversack_service VALUES (1, ?1)",
            [to_json(service)?],
        )
        .map_err(&failed)?;
    connection
        .execute(
            "UPDATE haversack_counter SET schema_version = ?1 WHERE id = 1",
            params![service.schema_version],
        )
        .map(|_| ())
        .map_err(&failed)
}

//! Replaces a service's definition: new collections get tables, new fields get columns, in layer and history.

use haversack_model::{Collection, Field, Result, Service};
use rusqlite::{Connection, params};

use super::books::to_json;
use super::schema::Schema;
use super::view::View;
use super::{capture, history};
use crate::error::{invalid, while_doing};
use crate::gpkg::layer::{self, TableOptions};

/// Options of the tables of server files.
const OPTIONS: TableOptions = TableOptions {
    spatial_index: true,
    unique_global_id: true,
};

/// Creates all that belongs to a collection.
pub(super) fn create_collection(connection: &Connection, collection: &Collection) -> Result<()> {
    layer::create(connection, collection, OPTIONS)?;
    history::create(connection, collection)?;
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

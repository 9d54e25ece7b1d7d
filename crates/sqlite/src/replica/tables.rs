//! The tables of a replica file: those that people edit, and the `haversack_*` tables beside them.

use haversack_model::local::ReplicaHeader;
use haversack_model::{Collection, CollectionId, Field, FieldType, Result, Value};
use rusqlite::{Connection, params};

use super::fault::{Doing, damaged};
use super::layer::{Layer, quoted_list, table_names};
use super::{attachments, header, triggers};
use crate::gpkg::layer::TableOptions;
use crate::gpkg::{core, quote_ident};

/// The tables that do not belong to one layer.
const SHARED: &str = include_str!("tables.sql");

/// An object whose absence or alteration means that edits may have been missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) sql: String,
}

/// Creates the GeoPackage tables, ours, and each layer's, all empty and without capture.
pub(crate) fn create(
    conn: &Connection,
    collections: &[Collection],
    replica: &ReplicaHeader,
    spatial_index: bool,
) -> Result<Vec<Layer>> {
    let doing = "creating a replica file";
    core::create(conn).doing(doing)?;
    conn.execute_batch(SHARED).doing(doing)?;
    header::store(conn, replica)?;
    let names = table_names(collections);
    let mut layers = Vec::with_capacity(collections.len());
    for (collection, table) in collections.iter().zip(names) {
        let layer = Layer::new(collection.clone(), table);
        create_layer(conn, &layer, spatial_index)?;
        layers.push(layer);
    }
    core::register_own_tables(conn).doing(doing)?;
    Ok(layers)
}

/// Creates the tables of one layer.
pub(crate) fn create_layer(conn: &Connection, layer: &Layer, spatial_index: bool) -> Result<()> {
    let doing = "creating the tables of a layer";
    create_edited_table(conn, layer, spatial_index)?;
    for (_, definition) in side_tables(layer) {
        conn.execute_batch(&definition).doing(doing)?;
    }
    let definition =
        serde_json::to_string(&layer.collection).map_err(|why| damaged("haversack_layers", why))?;
    conn.execute(
        "INSERT INTO haversack_layers (collection, table_name, name, definition) VALUES (?1, ?2, ?3, ?4)",
        params![layer.id().0, layer.table, layer.collection.name, definition],
    )
    .doing(doing)?;
    Ok(())
}

/// Names and definitions of the tables beside the edited one: versions kept aside, and confirmed versions.
pub(crate) fn side_tables(layer: &Layer) -> [(String, String); 2] {
    let (kept, versions) = (layer.kept_table(), layer.version_table());
    // Without types: a version is kept exactly as it was stored.
    let columns = quoted_list(&layer.columns(), "");
    let kept_sql = format!("CREATE TABLE {kept} (haversack_no INTEGER PRIMARY KEY, {columns})");
    let versions_sql = format!(
        "CREATE TABLE {versions} (global_id TEXT PRIMARY KEY NOT NULL, revision INTEGER NOT NULL, \
         generation INTEGER NOT NULL) WITHOUT ROWID"
    );
    [(kept, kept_sql), (versions, versions_sql)]
}

/// Creates the table that people edit.
pub(crate) fn create_edited_table(
    conn: &Connection,
    layer: &Layer,
    spatial_index: bool,
) -> Result<()> {
    let mut shape = layer.collection.clone();
    shape.table.clone_from(&layer.table);
    for field in &mut shape.fields {
        // A foreign server may send null where it promised none; the file never refuses what a server sent.
        field.nullable = true;
    }
    if layer.is_attachments() {
        shape.fields.push(Field {
            name: attachments::CONTENT.to_owned(),
            alias: attachments::CONTENT.to_owned(),
            kind: FieldType::Blob,
            length: None,
            nullable: true,
            editable: true,
            domain: None,
            default: Value::Null,
        });
    }
    let options = TableOptions {
        spatial_index,
        unique_global_id: false,
    };
    crate::gpkg::layer::create(conn, &shape, options)?;
    if layer.is_attachments() {
        let index = quote_ident(&format!("{}_new_content", layer.table));
        conn.execute_batch(&format!(
            "CREATE INDEX {index} ON {} ({}) WHERE {} IS NOT NULL",
            layer.quoted_table(),
            layer.fid(),
            attachments::CONTENT
        ))
        .doing("creating the tables of a layer")?;
    }
    Ok(())
}

/// Creates the capture triggers of a layer and lists them, and its tables, as expected.
pub(crate) fn start_capture(conn: &Connection, layer: &Layer) -> Result<()> {
    let doing = "creating the triggers of a layer";
    for trigger in triggers::capture(layer) {
        conn.execute_batch(&format!(
            "DROP TRIGGER IF EXISTS {};\n{};",
            quote_ident(&trigger.name),
            trigger.sql
        ))
        .doing(doing)?;
    }
    list_expected(conn, layer)
}

/// Writes the list of what must be in the file for a layer's edits to be captured.
fn list_expected(conn: &Connection, layer: &Layer) -> Result<()> {
    let doing = "listing the expected objects";
    conn.execute(
        "DELETE FROM haversack_objects WHERE collection = ?1",
        [layer.id().0],
    )
    .doing(doing)?;
    for object in expected(layer) {
        conn.execute(
            "INSERT INTO haversack_objects (collection, type, name, sql) VALUES (?1, ?2, ?3, ?4)",
            params![layer.id().0, object.kind, object.name, object.sql],
        )
        .doing(doing)?;
    }
    Ok(())
}

/// What must be in the file for a layer. The text of triggers must be exactly this; tables may have got more columns.
pub(crate) fn expected(layer: &Layer) -> Vec<Expected> {
    let mut all: Vec<_> = triggers::capture(layer)
        .into_iter()
        .map(|trigger| Expected {
            kind: "trigger",
            name: trigger.name,
            sql: trigger.sql,
        })
        .collect();
    for name in [
        layer.table.clone(),
        layer.kept_table(),
        layer.version_table(),
    ] {
        all.push(Expected {
            kind: "table",
            name,
            sql: String::new(),
        });
    }
    all
}

/// The layers of a file, in the order of their numbers.
pub(crate) fn load_layers(conn: &Connection) -> Result<Vec<Layer>> {
    let doing = "reading the layers of a replica file";
    let mut statement = conn
        .prepare(
            "SELECT collection, table_name, definition FROM haversack_layers ORDER BY collection",
        )
        .doing(doing)?;
    let rows = statement
        .query_map([], |row| {
            Ok((
                row.get::<_, u32>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, String>(2)?,
            ))
        })
        .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
        .doing(doing)?;
    rows.into_iter()
        .map(|(id, table, definition)| {
            let collection: Collection = serde_json::from_str(&definition)
                .map_err(|why| damaged("haversack_layers.definition", why))?;
            if collection.id == CollectionId(id) {
                Ok(Layer::new(collection, table))
            } else {
                Err(damaged("haversack_layers", "two numbers for one layer"))
            }
        })
        .collect()
}

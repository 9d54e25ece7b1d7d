//! Changes of a layer's shape that came with a download: new columns, new layers.

use haversack_model::{Collection, Error, Result};
use rusqlite::Connection;

use super::fault::{Doing, damaged};
use super::layer::{Layer, table_names};
use super::tables;
use crate::gpkg::layer::{column_definition, describe_fields};
use crate::gpkg::quote_ident;

fn refused(collection: &Collection, problem: impl Into<String>) -> Error {
    Error::Invalid {
        what: collection.name.clone(),
        problem: problem.into(),
    }
}

/// Whether two names are one to SQLite.
fn same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}

/// Gives a layer its new definition. Fields may be added; anything else about its columns is refused.
pub(crate) fn change(conn: &Connection, old: &Layer, new: &Collection) -> Result<Layer> {
    let doing = "adding a column";
    let before = &old.collection;
    let keeps_ids = same(&before.object_id_field, &new.object_id_field)
        && same(&before.global_id_field, &new.global_id_field);
    if !keeps_ids || before.geometry != new.geometry {
        return Err(refused(
            new,
            "its ids or its geometry changed; sync all edits, then check the replica out again",
        ));
    }
    for field in &before.fields {
        match new.fields.iter().find(|f| same(&f.name, &field.name)) {
            Some(now) if now.kind == field.kind => {}
            _ => {
                return Err(refused(
                    new,
                    format!(
                        "field {:?} is gone or has another type; sync all edits, then check the replica out again",
                        field.name
                    ),
                ));
            }
        }
    }
    for field in &new.fields {
        if before.fields.iter().any(|f| same(&f.name, &field.name)) {
            continue;
        }
        set_aside(conn, &old.table, &field.name)?;
        let mut column = field.clone();
        column.nullable = true;
        let definition = column_definition(&column);
        for table in [old.quoted_table(), quote_ident(&old.kept_table())] {
            conn.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {definition}"))
                .doing(doing)?;
        }
    }
    let layer = Layer::new(new.clone(), old.table.clone());
    let mut described = new.clone();
    described.table.clone_from(&layer.table);
    describe_fields(conn, &described).doing(doing)?;
    let definition = serde_json::to_string(new).map_err(|why| damaged("haversack_layers", why))?;
    conn.execute(
        "UPDATE haversack_layers SET name = ?2, definition = ?3 WHERE collection = ?1",
        rusqlite::params![new.id.0, new.name, definition],
    )
    .doing(doing)?;
    tables::start_capture(conn, &layer)?;
    Ok(layer)
}

/// A column that somebody added to the file makes room for the server's of the same name, under another one.
fn set_aside(conn: &Connection, table: &str, column: &str) -> Result<()> {
    let doing = "renaming a column that was added here";
    let present = crate::gpkg::core::columns(conn, table).doing(doing)?;
    let has = |name: &str| present.iter().any(|p| same(p, name));
    if !has(column) {
        return Ok(());
    }
    let mut name = format!("{column}_here");
    while has(&name) {
        name.push('_');
    }
    conn.execute_batch(&format!(
        "ALTER TABLE {} RENAME COLUMN {} TO {}",
        quote_ident(table),
        quote_ident(column),
        quote_ident(&name)
    ))
    .doing(doing)
}

/// Adds a layer that the file did not have.
pub(crate) fn add(conn: &Connection, layers: &[Layer], new: &Collection) -> Result<Layer> {
    let doing = "adding a layer";
    let mut all: Vec<_> = layers.iter().map(|l| l.collection.clone()).collect();
    all.push(new.clone());
    let wished = table_names(&all).pop().unwrap_or_default();
    let mut table = wished.clone();
    let mut count = 2;
    while crate::gpkg::core::has_table(conn, &table).doing(doing)?
        || layers.iter().any(|l| same(&l.table, &table))
    {
        table = format!("{wished}_{count}");
        count += 1;
    }
    let spatial_index: bool = conn
        .query_row(
            "SELECT EXISTS (SELECT 1 FROM gpkg_extensions WHERE extension_name = 'gpkg_rtree_index')",
            [],
            |row| row.get(0),
        )
        .doing(doing)?;
    let layer = Layer::new(new.clone(), table);
    tables::create_layer(conn, &layer, spatial_index)?;
    crate::gpkg::core::register_own_tables(conn).doing(doing)?;
    tables::start_capture(conn, &layer)?;
    Ok(layer)
}

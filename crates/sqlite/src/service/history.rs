//! The tables of replaced versions, one per collection, with the columns of its layer.
//!
//! A row's key is the generation that replaced it, which is unique in a service: pruning is one range of keys.

use haversack_model::{Collection, Field, Result};
use rusqlite::Connection;

use crate::error::while_doing;
use crate::gpkg::{core, layer, quote_ident};

/// Creates the history of a collection.
pub(super) fn create(connection: &Connection, collection: &Collection) -> Result<()> {
    let failed = while_doing("creating the history of a collection");
    let name = layer::history_name(&collection.table);
    let table = quote_ident(&name);
    let global_id = quote_ident(&collection.global_id_field);
    let mut columns = vec![
        "haversack_until INTEGER PRIMARY KEY".to_owned(),
        "haversack_from INTEGER NOT NULL".to_owned(),
        "haversack_stamp INTEGER NOT NULL".to_owned(),
        "haversack_revision INTEGER NOT NULL".to_owned(),
        "haversack_origin BLOB".to_owned(),
        format!(
            "{} INTEGER NOT NULL",
            quote_ident(&collection.object_id_field)
        ),
    ];
    columns.extend(
        collection
            .geometry
            .iter()
            .map(|g| format!("{} BLOB", quote_ident(&g.name))),
    );
    columns.push(format!("{global_id} TEXT"));
    columns.extend(collection.fields.iter().map(|field| {
        layer::column_definition(&Field {
            nullable: true,
            ..field.clone()
        })
    }));
    connection
        .execute_batch(&format!(
            "CREATE TABLE {table} ({});\nCREATE INDEX {} ON {table} ({global_id});",
            columns.join(", "),
            quote_ident(&format!("{name}_global_id")),
        ))
        .map_err(&failed)?;
    core::register_own_table(connection, &name).map_err(&failed)
}

//! The table of a collection: typed columns, geometry, R-tree, domains, and its entries in the GeoPackage tables.
//!
//! The R-tree's triggers are those of the specification with one change: where it says
//! `AFTER UPDATE .. WHEN OLD.fid != NEW.fid` ours say `AFTER UPDATE OF fid`. SQLite compiles every trigger that
//! could fire, so with the former any update of any column fails in a program without the spatial functions.
//! GDAL 3.6 puts `AFTER UPDATE OF` in `update3` back to `AFTER UPDATE` when it opens a file for writing; it looks for these
//! words with single blanks, so there is a line break in ours
//! (`tests/replica`: `plain_sqlite_still_works_after_gdal_opened_the_file_for_update`).

use haversack_model::documents::MAX_KEY_BYTES;
use haversack_model::schema::GeometryKind;
use haversack_model::{
    Collection, CollectionKind, Domain, Error, Field, FieldType, GeometryColumn, Result, Value,
};
use rusqlite::{Connection, params};

use super::{column, core, quote_ident};
use crate::error::{invalid, while_doing};

/// Name of a layer's R-tree.
pub fn rtree_name(table: &str, geometry: &str) -> String {
    format!("rtree_{table}_{geometry}")
}

/// Name of the table of replaced versions.
pub fn history_name(table: &str) -> String {
    format!("haversack_history_{table}")
}

/// Options of [`create`].
#[derive(Clone, Copy, Debug)]
pub struct TableOptions {
    /// Create the R-tree and its triggers.
    pub spatial_index: bool,
    /// Whether no two rows may have one global id. Without it a paste of a copied row is not refused.
    pub unique_global_id: bool,
}

/// The columns of a collection's table in order, without the object id: geometry, global id, fields.
pub fn column_names(collection: &Collection) -> Vec<&str> {
    let geometry = collection.geometry.iter().map(|g| g.name.as_str());
    geometry
        .chain(std::iter::once(collection.global_id_field.as_str()))
        .chain(collection.fields.iter().map(|f| f.name.as_str()))
        .collect()
}

/// The GeoPackage name of a layer's geometry type. Lines and areas may be single or multi, so theirs is general.
fn geometry_type(kind: GeometryKind) -> &'static str {
    match kind {
        GeometryKind::Point => "POINT",
        GeometryKind::Multipoint => "MULTIPOINT",
        GeometryKind::Polyline | GeometryKind::Polygon => "GEOMETRY",
    }
}

/// The definition of one field's column.
pub fn column_definition(field: &Field) -> String {
    let mut text = format!("{} {}", quote_ident(&field.name), column::sql_type(field));
    if !field.nullable {
        text.push_str(" NOT NULL");
    }
    if !field.default.is_null() {
        let is_date = field.kind == FieldType::Date;
        text.push_str(" DEFAULT ");
        text.push_str(&super::ident::quote_value(&field.default, is_date));
    }
    text
}

/// Refuses names that would collide with ours or with each other.
///
/// # Errors
/// [`Error::Invalid`] that names the table or column.
pub fn check_names(collection: &Collection) -> Result<()> {
    let table = collection.table.as_str();
    let reserved = ["gpkg_", "sqlite_", "haversack_", "rtree_"];
    let lower = table.to_ascii_lowercase();
    if table.is_empty() || reserved.iter().any(|prefix| lower.starts_with(prefix)) {
        return Err(invalid(
            format!("table {table:?}"),
            "the name is reserved or empty",
        ));
    }
    let mut seen = std::collections::HashSet::new();
    let names =
        std::iter::once(collection.object_id_field.as_str()).chain(column_names(collection));
    for name in names {
        let lower = name.to_lowercase();
        if name.is_empty() || name.contains('\0') || lower.starts_with("haversack_") {
            return Err(invalid(
                format!("column {name:?} of {table}"),
                "the name is reserved or empty",
            ));
        }
        if !seen.insert(lower) {
            return Err(invalid(
                format!("column {name:?} of {table}"),
                "another column has this name",
            ));
        }
    }
    Ok(())
}

fn key_index(collection: &Collection) -> String {
    quote_ident(&format!("{}_global_id", collection.table))
}

/// Creates the index by global id.
///
/// # Errors
/// The database's, also if an id is there twice and must not be.
pub fn create_key_index(
    connection: &Connection,
    collection: &Collection,
    is_unique: bool,
) -> Result<()> {
    connection
        .execute_batch(&format!(
            "CREATE {}INDEX {} ON {} ({})",
            if is_unique { "UNIQUE " } else { "" },
            key_index(collection),
            quote_ident(&collection.table),
            quote_ident(&collection.global_id_field),
        ))
        .map_err(while_doing("creating the index by global id"))
}

/// Removes the index by global id.
///
/// # Errors
/// The database's.
pub fn drop_key_index(connection: &Connection, collection: &Collection) -> Result<()> {
    connection
        .execute_batch(&format!("DROP INDEX {}", key_index(collection)))
        .map_err(while_doing("dropping the index by global id"))
}

/// Creates the table of a collection with everything that belongs to it.
///
/// # Errors
/// [`Error::Invalid`] for names that cannot be, else the database's.
pub fn create(
    connection: &Connection,
    collection: &Collection,
    options: TableOptions,
) -> Result<()> {
    check_names(collection)?;
    let failed = while_doing("creating the table of a collection");
    let table = quote_ident(&collection.table);
    let mut columns = vec![format!(
        "{} INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL",
        quote_ident(&collection.object_id_field)
    )];
    if let Some(geometry) = &collection.geometry {
        columns.push(format!(
            "{} {}",
            quote_ident(&geometry.name),
            geometry_type(geometry.kind)
        ));
    }
    let longest = if collection.is_documents() {
        MAX_KEY_BYTES
    } else {
        38
    };
    columns.push(format!(
        "{} TEXT({longest})",
        quote_ident(&collection.global_id_field)
    ));
    columns.extend(collection.fields.iter().map(|field| {
        let definition = column_definition(field);
        if collection.is_documents() {
            let name = quote_ident(&field.name);
            // Also refuses what is no JSON.
            format!("{definition} CHECK (json_type({name}) = 'object')")
        } else {
            definition
        }
    }));
    connection
        .execute_batch(&format!("CREATE TABLE {table} ({})", columns.join(", ")))
        .map_err(&failed)?;
    create_key_index(connection, collection, options.unique_global_id)?;
    if let Some(geometry) = &collection.geometry {
        core::register_srs(connection, geometry.srid).map_err(&failed)?;
    }
    register(connection, collection)?;
    if let Some(geometry) = &collection.geometry {
        register_geometry(connection, &collection.table, geometry).map_err(&failed)?;
        if options.spatial_index {
            create_rtree(connection, collection, geometry).map_err(&failed)?;
        }
    }
    describe_fields(connection, collection).map_err(&failed)
}

fn register(connection: &Connection, collection: &Collection) -> Result<()> {
    let data_type = if collection.geometry.is_some() {
        "features"
    } else {
        "attributes"
    };
    let insert = |identifier: &str| {
        connection.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier, description, srs_id) \
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                collection.table,
                data_type,
                identifier,
                collection.description,
                collection.geometry.as_ref().map(|g| g.srid)
            ],
        )
    };
    // Identifiers are unique in a GeoPackage, names of layers need not be.
    let title = match collection.kind {
        CollectionKind::Attachments { .. } => &collection.table,
        CollectionKind::Layer | CollectionKind::Table | CollectionKind::Documents { .. } => {
            &collection.name
        }
    };
    insert(title)
        .or_else(|_taken| insert(&collection.table))
        .map(|_| ())
        .map_err(while_doing("registering a table"))
}

fn register_geometry(
    connection: &Connection,
    table: &str,
    geometry: &GeometryColumn,
) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT INTO gpkg_geometry_columns \
         (table_name, column_name, geometry_type_name, srs_id, z, m) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            table,
            geometry.name,
            geometry_type(geometry.kind),
            geometry.srid,
            i32::from(geometry.has_z),
            i32::from(geometry.has_m)
        ],
    )?;
    Ok(())
}

/// Creates the R-tree of a layer, empty, and the triggers that keep it.
///
/// # Errors
/// The database's.
pub fn create_rtree(
    connection: &Connection,
    collection: &Collection,
    geometry: &GeometryColumn,
) -> rusqlite::Result<()> {
    let rtree = rtree_name(&collection.table, &geometry.name);
    connection.execute_batch(&format!(
        "CREATE VIRTUAL TABLE {} USING rtree(id, minx, maxx, miny, maxy);",
        quote_ident(&rtree)
    ))?;
    connection.execute_batch(&rtree_triggers(collection, geometry))?;
    connection.execute(
        "INSERT OR IGNORE INTO gpkg_extensions VALUES \
         (?1, ?2, 'gpkg_rtree_index', 'http://www.geopackage.org/spec120/#extension_rtree', 'write-only')",
        params![collection.table, geometry.name],
    )?;
    Ok(())
}

/// Creates the R-tree of a layer again, with all rows, if a program removed it. Returns whether it was missing.
///
/// # Errors
/// The database's.
pub fn restore_rtree(connection: &Connection, collection: &Collection) -> rusqlite::Result<bool> {
    let Some(geometry) = &collection.geometry else {
        return Ok(false);
    };
    let rtree = rtree_name(&collection.table, &geometry.name);
    if core::has_table(connection, &rtree)? {
        return Ok(false);
    }
    create_rtree(connection, collection, geometry)?;
    let column = quote_ident(&geometry.name);
    connection.execute_batch(&format!(
        "INSERT INTO {} SELECT {}, ST_MinX({column}), ST_MaxX({column}), ST_MinY({column}), \
         ST_MaxY({column}) FROM {} WHERE ST_IsEmpty({column}) = 0",
        quote_ident(&rtree),
        quote_ident(&collection.object_id_field),
        quote_ident(&collection.table),
    ))?;
    Ok(true)
}

/// The triggers that keep an R-tree when other programs write.
pub fn rtree_triggers(collection: &Collection, geometry: &GeometryColumn) -> String {
    let rtree = rtree_name(&collection.table, &geometry.name);
    let name = |suffix: &str| quote_ident(&format!("{rtree}_{suffix}"));
    let table = quote_ident(&collection.table);
    let g = quote_ident(&geometry.name);
    let fid = quote_ident(&collection.object_id_field);
    let rtree = quote_ident(&rtree);
    let full = format!("NEW.{g} NOT NULL AND NOT ST_IsEmpty(NEW.{g})");
    let void = format!("NEW.{g} IS NULL OR ST_IsEmpty(NEW.{g})");
    let put = format!(
        "INSERT OR REPLACE INTO {rtree} VALUES (NEW.{fid}, ST_MinX(NEW.{g}), ST_MaxX(NEW.{g}), \
         ST_MinY(NEW.{g}), ST_MaxY(NEW.{g}));"
    );
    let remove = format!("DELETE FROM {rtree} WHERE id = OLD.{fid};");
    format!(
        "CREATE TRIGGER {insert} AFTER INSERT ON {table} WHEN ({full}) BEGIN {put} END;\n\
         CREATE TRIGGER {update1} AFTER UPDATE OF {g} ON {table} \
         WHEN OLD.{fid} = NEW.{fid} AND ({full}) BEGIN {put} END;\n\
         CREATE TRIGGER {update2} AFTER UPDATE OF {g} ON {table} \
         WHEN OLD.{fid} = NEW.{fid} AND ({void}) BEGIN {remove} END;\n\
         CREATE TRIGGER {update3} AFTER UPDATE\nOF {fid} ON {table} \
         WHEN OLD.{fid} != NEW.{fid} AND ({full}) BEGIN {remove} {put} END;\n\
         CREATE TRIGGER {update4} AFTER UPDATE OF {fid} ON {table} \
         WHEN OLD.{fid} != NEW.{fid} AND ({void}) \
         BEGIN DELETE FROM {rtree} WHERE id IN (OLD.{fid}, NEW.{fid}); END;\n\
         CREATE TRIGGER {delete} AFTER DELETE ON {table} WHEN OLD.{g} NOT NULL BEGIN {remove} END;",
        insert = name("insert"),
        update1 = name("update1"),
        update2 = name("update2"),
        update3 = name("update3"),
        update4 = name("update4"),
        delete = name("delete"),
    )
}

/// Writes aliases and domains of the fields; existing entries of the table are replaced.
///
/// # Errors
/// The database's.
pub fn describe_fields(connection: &Connection, collection: &Collection) -> rusqlite::Result<()> {
    let table = &collection.table;
    connection.execute(
        "DELETE FROM gpkg_data_columns WHERE table_name = ?1",
        [table],
    )?;
    for field in &collection.fields {
        let constraint = match &field.domain {
            Some(domain) => Some(write_domain(connection, table, field, domain)?),
            None => None,
        };
        if constraint.is_some() || field.alias != field.name {
            connection.execute(
                "INSERT INTO gpkg_data_columns (table_name, column_name, title, constraint_name) \
                 VALUES (?1, ?2, ?3, ?4)",
                params![table, field.name, field.alias, constraint],
            )?;
        }
    }
    Ok(())
}

fn write_domain(
    connection: &Connection,
    table: &str,
    field: &Field,
    domain: &Domain,
) -> rusqlite::Result<String> {
    // One constraint per field: domains of one name may differ between fields.
    let constraint = format!("{table}_{}", field.name).to_lowercase();
    connection.execute(
        "DELETE FROM gpkg_data_column_constraints WHERE constraint_name = ?1",
        [&constraint],
    )?;
    match domain {
        Domain::Coded { values, .. } => {
            for (code, label) in values {
                let code = match code {
                    Value::Text(text) => text.clone(),
                    Value::Integer(n) => n.to_string(),
                    Value::Real(x) => x.to_string(),
                    Value::Null | Value::Blob(_) => continue,
                };
                connection.execute(
                    "INSERT OR IGNORE INTO gpkg_data_column_constraints \
                     (constraint_name, constraint_type, value, description) VALUES (?1, 'enum', ?2, ?3)",
                    params![constraint, code, label],
                )?;
            }
        }
        Domain::Range { min, max, .. } => {
            connection.execute(
                "INSERT INTO gpkg_data_column_constraints (constraint_name, constraint_type, \
                 min, min_is_inclusive, max, max_is_inclusive) VALUES (?1, 'range', ?2, 1, ?3, 1)",
                params![constraint, min, max],
            )?;
        }
    }
    Ok(constraint)
}

/// Adds a column for a new field, with its default in existing rows.
///
/// # Errors
/// [`Error::Invalid`] if existing rows could not have a value.
pub fn add_column(connection: &Connection, table: &str, field: &Field, strict: bool) -> Result<()> {
    if !field.nullable && field.default.is_null() {
        return Err(Error::Invalid {
            what: field.name.clone(),
            problem: "a new field must be nullable or have a default".to_owned(),
        });
    }
    let lenient = Field {
        nullable: true,
        ..field.clone()
    };
    let definition = column_definition(if strict { field } else { &lenient });
    connection
        .execute_batch(&format!(
            "ALTER TABLE {} ADD COLUMN {definition}",
            quote_ident(table)
        ))
        .map_err(while_doing("adding a column"))
}

/// A list of identifiers, quoted and separated by commas, each behind `prefix`.
pub fn ident_list(names: &[&str], prefix: &str) -> String {
    let quoted: Vec<String> = names
        .iter()
        .map(|name| format!("{prefix}{}", quote_ident(name)))
        .collect();
    quoted.join(", ")
}

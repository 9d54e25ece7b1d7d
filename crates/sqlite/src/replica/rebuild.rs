//! Brings the tables of a replica file back into shape for [`super::repair`]: names that people changed, tables that were
//! overwritten or dropped. Columns that people added stay.

use std::collections::HashSet;

use haversack_model::{GlobalId, Result};
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::fault::Doing;
use super::layer::{Layer, quoted_list};
use super::{Problem, check, recent, tables, triggers};
use crate::gpkg::layer::{describe_fields, rtree_name};
use crate::gpkg::{core, quote_ident};
use crate::rtree;

/// Takes over the names that people gave to tables: nothing was missed, only the names differ.
pub(crate) fn adopt_names(conn: &Connection, layers: &mut [Layer]) -> Result<Vec<Problem>> {
    let doing = "taking over a new table name";
    let mut renamed = Vec::new();
    for layer in layers {
        let Some(to) = check::renamed_to(conn, layer)? else {
            continue;
        };
        renamed.push(Problem::Renamed {
            layer: layer.collection.name.clone(),
            from: layer.table.clone(),
            to: to.clone(),
        });
        conn.execute(
            "UPDATE haversack_layers SET table_name = ?2 WHERE collection = ?1",
            params![layer.id().0, to],
        )
        .doing(doing)?;
        // SQLite rewrote the name in the triggers too. Whatever else is wrong is found afterwards.
        *layer = Layer::new(layer.collection.clone(), to);
    }
    Ok(renamed)
}

/// Gives columns back the names by which the server knows them: nothing was missed, since SQLite rewrote the triggers too.
pub(crate) fn restore_column_names(conn: &Connection, layers: &[Layer]) -> Result<Vec<Problem>> {
    let doing = "giving a column its name back";
    let mut restored = Vec::new();
    for layer in layers {
        for (ours, now) in check::renamed_columns(conn, layer)? {
            conn.execute_batch(&format!(
                "ALTER TABLE {} RENAME COLUMN {} TO {}",
                layer.quoted_table(),
                quote_ident(&now),
                quote_ident(&ours)
            ))
            .doing(doing)?;
            if core::has_table(conn, "gpkg_data_columns").doing(doing)? {
                conn.execute(
                    "DELETE FROM gpkg_data_columns WHERE lower(table_name) = lower(?1) AND lower(column_name) = lower(?2)",
                    params![layer.table, now],
                )
                .doing(doing)?;
                let mut shape = layer.collection.clone();
                shape.table.clone_from(&layer.table);
                describe_fields(conn, &shape).doing(doing)?;
            }
            restored.push(Problem::RenamedColumn {
                table: layer.table.clone(),
                column: ours,
                to: now,
            });
        }
    }
    Ok(restored)
}

/// Whether any geometry survived under another column name.
pub(crate) fn has_values(conn: &Connection, layer: &Layer) -> Result<bool> {
    let Some(geometry) = &layer.collection.geometry else {
        return Ok(false);
    };
    conn.query_row(
        &format!(
            "SELECT EXISTS (SELECT 1 FROM {} WHERE {} IS NOT NULL)",
            layer.quoted_table(),
            quote_ident(&geometry.name)
        ),
        [],
        |row| row.get(0),
    )
    .doing("looking for geometries")
}

/// Makes the versions and the kept rows again if they are gone.
pub(crate) fn rebuild_side_tables(conn: &Connection, layer: &Layer) -> Result<()> {
    let doing = "rebuilding the tables of a layer";
    let mut forgot = false;
    for (table, definition) in tables::side_tables(layer) {
        if !core::has_table(conn, &table).doing(doing)? {
            conn.execute_batch(&definition).doing(doing)?;
            forgot = true;
        }
    }
    if forgot {
        core::register_own_tables(conn).doing(doing)?;
        // Without its base an edit is compared with the server's row like any other.
        conn.execute(
            "DELETE FROM haversack_outbox WHERE collection = ?1",
            [layer.id().0],
        )
        .doing(doing)?;
        conn.execute_batch(&format!(
            "DELETE FROM {}; DELETE FROM {}",
            layer.kept_table(),
            layer.version_table()
        ))
        .doing(doing)?;
        recent::forget(conn, layer.id())?;
    }
    Ok(())
}

/// Puts what stands in the place of the edited table into a table of the right shape.
pub(crate) fn rebuild_edited_table(conn: &Connection, layer: &Layer) -> Result<()> {
    let doing = "rebuilding the table of a layer";
    let found = layer.table.as_str();
    let aside = "haversack_overwritten";
    let has_table = core::has_table(conn, found).doing(doing)?;
    let present = Present::of(conn, found)?;
    let has_index = present.geometry.as_deref().map_or(Ok(true), |geometry| {
        core::has_table(conn, &rtree_name(found, geometry))
    });
    let spatial_index = !has_table || has_index.doing(doing)?;
    if has_table {
        for trigger in &present.triggers {
            conn.execute_batch(&format!("DROP TRIGGER {}", quote_ident(trigger)))
                .doing(doing)?;
        }
        for index in &present.indexes {
            conn.execute_batch(&format!("DROP INDEX {}", quote_ident(index)))
                .doing(doing)?;
        }
        if let Some(geometry) = &present.geometry {
            let rtree = rtree_name(found, geometry);
            conn.execute_batch(&format!("DROP TABLE IF EXISTS {}", quote_ident(&rtree)))
                .doing(doing)?;
        }
        conn.execute_batch(&format!(
            "DROP TABLE IF EXISTS {aside}; ALTER TABLE {} RENAME TO {aside}",
            quote_ident(found)
        ))
        .doing(doing)?;
    }
    for (table, column) in [
        ("gpkg_geometry_columns", "table_name"),
        ("gpkg_extensions", "table_name"),
        ("gpkg_contents", "table_name"),
        ("gpkg_ogr_contents", "table_name"),
    ] {
        if core::has_table(conn, table).doing(doing)? {
            conn.execute(
                &format!("DELETE FROM {table} WHERE lower({column}) IN (lower(?1), ?2)"),
                params![found, aside],
            )
            .doing(doing)?;
        }
    }
    tables::create_edited_table(conn, layer, false)?;
    if has_table {
        let mut pairs = vec![(
            layer.collection.object_id_field.clone(),
            present.key.clone(),
        )];
        if let (Some(ours), Some(theirs)) = (&layer.collection.geometry, &present.geometry) {
            pairs.push((ours.name.clone(), theirs.clone()));
        }
        let taken: Vec<String> = pairs.iter().map(|(ours, _)| ours.clone()).collect();
        for column in layer.columns() {
            let same = present
                .columns
                .iter()
                .find(|c| c.name.eq_ignore_ascii_case(&column));
            if let (false, Some(same)) = (taken.contains(&column), same) {
                pairs.push((column, same.name.clone()));
            }
        }
        pairs.extend(keep_extra_columns(conn, layer, &present, &pairs)?);
        let (ours, theirs): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        conn.execute_batch(&format!(
            "INSERT INTO {} ({}) SELECT {} FROM {aside}; DROP TABLE {aside}",
            layer.quoted_table(),
            quoted_list(&ours, ""),
            quoted_list(&theirs, ""),
        ))
        .doing(doing)?;
    }
    if let (true, Some(geometry)) = (spatial_index, &layer.collection.geometry) {
        let mut shape = layer.collection.clone();
        shape.table.clone_from(&layer.table);
        crate::gpkg::layer::create_rtree(conn, &shape, geometry).doing(doing)?;
        rtree::index_table(
            conn,
            &layer.table,
            &shape.object_id_field,
            &geometry.name,
            &rtree_name(&layer.table, &geometry.name),
        )?;
    }
    Ok(())
}

/// Columns that the schema does not know stay, with their values: pairs of names there and here. `taken` are those whose
/// place in the rebuilt table is known.
fn keep_extra_columns(
    conn: &Connection,
    layer: &Layer,
    present: &Present,
    taken: &[(String, String)],
) -> Result<Vec<(String, String)>> {
    let doing = "keeping a column";
    let mut kept = Vec::new();
    let own = core::columns(conn, &layer.table).doing(doing)?;
    let schema = layer.columns();
    let is_in = |names: &[String], name: &str| names.iter().any(|n| n.eq_ignore_ascii_case(name));
    for column in &present.columns {
        if is_in(&schema, &column.name) || taken.iter().any(|(_, from)| *from == column.name) {
            continue;
        }
        if !is_in(&own, &column.name) {
            conn.execute_batch(&format!(
                "ALTER TABLE {} ADD COLUMN {} {}",
                layer.quoted_table(),
                quote_ident(&column.name),
                column.kind
            ))
            .doing(doing)?;
        }
        kept.push((column.name.clone(), column.name.clone()));
    }
    Ok(kept)
}

/// A column of a table that stands in the place of ours.
struct PresentColumn {
    name: String,
    /// Its declared type, if that is a plain one.
    kind: String,
    is_key: bool,
}

/// What is known of a table that stands in the place of ours.
struct Present {
    key: String,
    geometry: Option<String>,
    columns: Vec<PresentColumn>,
    triggers: Vec<String>,
    indexes: Vec<String>,
}

impl Present {
    fn of(conn: &Connection, table: &str) -> Result<Self> {
        let doing = "reading the shape of a table";
        let columns: Vec<PresentColumn> = conn
            .prepare(&format!("PRAGMA table_info({})", quote_ident(table)))
            .and_then(|mut statement| {
                statement
                    .query_map([], |row| {
                        let kind: String = row.get(2)?;
                        let is_plain = |c: char| c.is_ascii_alphanumeric() || " (),".contains(c);
                        Ok(PresentColumn {
                            name: row.get(1)?,
                            kind: if kind.chars().all(is_plain) {
                                kind
                            } else {
                                String::new()
                            },
                            is_key: row.get::<_, i64>(5)? == 1,
                        })
                    })?
                    .collect()
            })
            .doing(doing)?;
        let geometry = conn
            .query_row(
                "SELECT column_name FROM gpkg_geometry_columns WHERE lower(table_name) = lower(?1)",
                [table],
                |row| row.get(0),
            )
            .optional()
            .doing(doing)?;
        let objects = |kind: &str| -> Result<Vec<String>> {
            conn.prepare(
                "SELECT name FROM sqlite_master WHERE type = ?1 AND lower(tbl_name) = lower(?2) AND sql IS NOT NULL",
            )
            .and_then(|mut statement| {
                statement
                    .query_map([kind, table], |row| row.get(0))?
                    .collect()
            })
            .doing(doing)
        };
        let key = columns.iter().find(|column| column.is_key);
        Ok(Self {
            key: key.map_or_else(|| "rowid".to_owned(), |column| column.name.clone()),
            geometry,
            triggers: objects("trigger")?,
            indexes: objects("index")?,
            columns,
        })
    }
}

/// An id that nobody has.
fn fresh(conn: &Connection, layer: &Layer) -> Result<GlobalId> {
    if !layer.collection.has_uids() {
        return Ok(GlobalId::Uuid(Uuid::new_v4()));
    }
    let uid: String = conn
        .query_row(&format!("SELECT {}", triggers::fresh_uid()), [], |row| {
            row.get(0)
        })
        .doing("giving rows their global ids")?;
    Ok(GlobalId::Text(uid.into()))
}

/// Gives every row a global id of its own, in our form.
pub(crate) fn give_identities(conn: &Connection, layer: &Layer) -> Result<()> {
    let doing = "giving rows their global ids";
    let (table, fid, gid) = (layer.quoted_table(), layer.fid(), layer.gid());
    let rows: Vec<(i64, Option<String>)> = conn
        .prepare(&format!(
            "SELECT {fid}, CAST({gid} AS TEXT) FROM {table} ORDER BY {fid}"
        ))
        .and_then(|mut statement| {
            statement
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
        .doing(doing)?;
    let mut taken = HashSet::with_capacity(rows.len());
    for (key, text) in rows {
        let own = text
            .as_deref()
            .and_then(|text| layer.collection.parse_id(text).ok())
            .filter(|id| *id != GlobalId::Text("".into()));
        let id = match own {
            Some(id) if taken.insert(id.clone()) => id,
            _ => {
                let fresh = fresh(conn, layer)?;
                taken.insert(fresh.clone());
                fresh
            }
        };
        let id = id.to_string();
        if text.as_deref() != Some(id.as_str()) {
            conn.prepare_cached(&format!("UPDATE {table} SET {gid} = ?2 WHERE {fid} = ?1"))
                .and_then(|mut statement| statement.execute(params![key, id]))
                .doing(doing)?;
        }
    }
    Ok(())
}

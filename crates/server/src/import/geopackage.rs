//! GeoPackage files that others made, read as hostile data.
//!
//! The file is copied (with a journal that its last program left), opened without trust: no triggers, views, virtual tables
//! or functions of its own run; only named tables are read. Source: OGC 12-128r17; SQLite, "Defense Against The Dark Arts".

use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use uuid::Uuid;

use haversack_model::schema::GeometryKind;
use haversack_model::{FieldType, Host as _, Principal, Value};
use haversack_sqlite::gpkg::{blob, column, quote_ident};

use super::geojson::parse_id;
use super::{Reader, SourceField, SourceGeometry, SourceLayer, SourceRow, convert, invalid};
use crate::Server;
use crate::error::{Result, at_path, while_doing};

const MAX_VALUE_BYTES: i32 = 256 * 1024 * 1024;
const MAX_COLUMNS: usize = 1000;
const READING: &str = "reading the GeoPackage";

/// A copy of a GeoPackage, open for reading.
#[derive(Debug)]
pub(super) struct GeoPackage<'a> {
    server: &'a Server,
    copy: Uuid,
    path: PathBuf,
    connection: Connection,
    layers: Vec<SourceLayer>,
    tables: Vec<Table>,
}

/// How a layer is read.
#[derive(Clone, Debug)]
struct Table {
    sql: String,
    fields: Vec<FieldType>,
    has_geometry: bool,
    has_global_id: bool,
}

impl Drop for GeoPackage<'_> {
    fn drop(&mut self) {
        for name in ["-wal", "-shm", "-journal"] {
            let _ = std::fs::remove_file(beside(&self.path, name));
        }
        // What cannot be removed now is swept later.
        let _ = self.server.remove_file(self.copy);
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

impl<'a> GeoPackage<'a> {
    /// Copies and opens a file.
    pub(super) fn open(server: &'a Server, file: &Path) -> Result<Self> {
        let owner = Principal {
            name: crate::accounts::OPERATOR.to_owned(),
            is_admin: true,
        };
        let copy = server.create_file(&owner, "gpkg")?;
        std::fs::copy(file, &copy.path).map_err(at_path("copying", file))?;
        // QGIS leaves its last edits in the write-ahead log, a cut-off program its journal.
        for suffix in ["-wal", "-journal"] {
            let from = beside(file, suffix);
            if from.exists() {
                std::fs::copy(&from, beside(&copy.path, suffix))
                    .map_err(at_path("copying", from))?;
            }
        }
        let connection = open_hostile(&copy.path).map_err(while_doing("opening the GeoPackage"))?;
        let mut opened = Self {
            server,
            copy: copy.id,
            path: copy.path,
            connection,
            layers: Vec::new(),
            tables: Vec::new(),
        };
        opened.check(file)?;
        // After the check, which reads the schema with whatever functions its constraints name.
        opened
            .connection
            .authorizer(Some(only_reads))
            .map_err(while_doing("opening the GeoPackage"))?;
        opened.survey(file)?;
        Ok(opened)
    }

    fn check(&self, file: &Path) -> Result<()> {
        let found: rusqlite::Result<String> =
            self.connection
                .query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
        match found {
            Ok(word) if word == "ok" => Ok(()),
            Ok(problem) => Err(invalid(file, format!("it is damaged: {problem}"))),
            Err(error) => Err(invalid(file, format!("it is no GeoPackage: {error}"))),
        }
    }

    fn survey(&mut self, file: &Path) -> Result<()> {
        let no_gpkg = |e: rusqlite::Error| invalid(file, format!("it is no GeoPackage: {e}"));
        let found: Vec<(String, String)> = self
            .connection
            .prepare(
                "SELECT table_name, coalesce(nullif(identifier, ''), table_name) FROM gpkg_contents
                 WHERE data_type IN ('features', 'attributes') ORDER BY rowid",
            )
            .and_then(|mut statement| {
                statement
                    .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                    .collect()
            })
            .map_err(no_gpkg)?;
        for (table, name) in found {
            if is_about_layers(&table) {
                continue;
            }
            let is_table: i64 = self
                .connection
                .query_row(
                    "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND lower(name) = lower(?1) AND sql NOT LIKE 'CREATE VIRTUAL%'",
                    [&table],
                    |row| row.get(0),
                )
                .map_err(while_doing(READING))?;
            if is_table != 1 {
                return Err(invalid(
                    file,
                    format!("layer {table:?} is a view or a virtual table"),
                ));
            }
            self.survey_table(file, &table, name)?;
        }
        Ok(())
    }

    fn survey_table(&mut self, file: &Path, table: &str, name: String) -> Result<()> {
        let geometry = self.geometry_of(file, table)?;
        let mut columns = Vec::new();
        let mut fields = Vec::new();
        let mut global_id = None;
        for (column, declared, is_key) in self.columns(table)? {
            let is_geometry = geometry
                .as_ref()
                .is_some_and(|(name, _)| name.eq_ignore_ascii_case(&column));
            if is_key || is_geometry {
                continue;
            }
            if column.eq_ignore_ascii_case("GlobalID") && self.holds_ids(table, &column)? {
                global_id = Some(column);
                continue;
            }
            let (kind, length) = field_type(&declared);
            columns.push(column.clone());
            fields.push(SourceField {
                name: column,
                kind,
                length,
            });
        }
        if fields.len() > MAX_COLUMNS {
            return Err(invalid(
                file,
                format!("layer {table:?} has {} fields", fields.len()),
            ));
        }
        let count: i64 = self
            .connection
            .query_row(
                &format!("SELECT count(*) FROM {}", quote_ident(table)),
                [],
                |row| row.get(0),
            )
            .map_err(while_doing(READING))?;
        let geometry_column = geometry.as_ref().map(|(name, _)| name.clone());
        let selected: Vec<String> = columns
            .iter()
            .chain(&geometry_column)
            .chain(&global_id)
            .map(|name| quote_ident(name))
            .collect();
        let selected = if selected.is_empty() {
            "1".to_owned()
        } else {
            selected.join(", ")
        };
        self.tables.push(Table {
            sql: format!(
                "SELECT {selected} FROM {} ORDER BY rowid",
                quote_ident(table)
            ),
            fields: fields.iter().map(|f| f.kind).collect(),
            has_geometry: geometry.is_some(),
            has_global_id: global_id.is_some(),
        });
        self.layers.push(SourceLayer {
            name,
            fields,
            geometry: geometry.map(|(_, geometry)| geometry),
            count: count as u64,
        });
        Ok(())
    }

    /// Name, declared type and whether it is the integer key, of every ordinary column.
    fn columns(&self, table: &str) -> Result<Vec<(String, String, bool)>> {
        self.connection
            .prepare("SELECT name, type, pk FROM pragma_table_xinfo(?1) WHERE hidden = 0")
            .and_then(|mut statement| {
                statement
                    .query_map([table], |row| {
                        let declared: String = row.get(1)?;
                        let is_key = row.get::<_, i64>(2)? > 0
                            && declared.to_ascii_uppercase().contains("INT");
                        Ok((row.get(0)?, declared, is_key))
                    })?
                    .collect()
            })
            .map_err(while_doing(READING))
    }

    fn holds_ids(&self, table: &str, column: &str) -> Result<bool> {
        let (table, column) = (quote_ident(table), quote_ident(column));
        let mut statement = self
            .connection
            .prepare(&format!("SELECT {column} FROM {table}"))
            .map_err(while_doing(READING))?;
        let mut rows = statement.query([]).map_err(while_doing(READING))?;
        let mut seen = std::collections::HashSet::new();
        while let Some(row) = rows.next().map_err(while_doing(READING))? {
            let text = row.get_ref(0).ok().and_then(|v| v.as_str().ok());
            if !text.and_then(parse_id).is_some_and(|id| seen.insert(id)) {
                return Ok(false);
            }
        }
        Ok(!seen.is_empty())
    }

    fn geometry_of(&self, file: &Path, table: &str) -> Result<Option<(String, SourceGeometry)>> {
        let has_list: i64 = self
            .connection
            .query_row(
                "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'gpkg_geometry_columns'",
                [],
                |row| row.get(0),
            )
            .map_err(while_doing(READING))?;
        if has_list == 0 {
            return Ok(None);
        }
        let found = self
            .connection
            .prepare(
                "SELECT c.column_name, upper(c.geometry_type_name), c.z, c.m, c.srs_id, upper(s.organization), s.organization_coordsys_id
                 FROM gpkg_geometry_columns c LEFT JOIN gpkg_spatial_ref_sys s ON s.srs_id = c.srs_id
                 WHERE lower(c.table_name) = lower(?1)",
            )
            .and_then(|mut statement| {
                let mut rows = statement.query([table])?;
                rows.next()?
                    .map(|row| {
                        let column: String = row.get(0)?;
                        let kind: String = row.get(1)?;
                        let (z, m): (i64, i64) = (row.get(2)?, row.get(3)?);
                        let srid: i32 = row.get(4)?;
                        let organization: Option<String> = row.get(5)?;
                        let code: Option<i32> = row.get(6)?;
                        Ok((column, kind, z, m, srid, organization.zip(code)))
                    })
                    .transpose()
            })
            .map_err(while_doing(READING))?;
        let Some((column, kind, z, m, srid, reference)) = found else {
            return Ok(None);
        };
        let srid = match reference {
            Some((organization, code)) if organization == "EPSG" => code,
            _ if srid > 0 => srid,
            _ => {
                return Err(invalid(
                    file,
                    format!("layer {table:?} has no EPSG reference system"),
                ));
            }
        };
        let kind = match kind.as_str() {
            "POINT" => GeometryKind::Point,
            "MULTIPOINT" => GeometryKind::Multipoint,
            "LINESTRING" | "MULTILINESTRING" => GeometryKind::Polyline,
            "POLYGON" | "MULTIPOLYGON" => GeometryKind::Polygon,
            _ => self.kind_of_content(file, table, &column)?,
        };
        let geometry = SourceGeometry {
            kind,
            srid,
            has_z: z == 1 || (z == 2 && self.any_has(table, &column, |p| p.z.is_some())?),
            has_m: m == 1 || (m == 2 && self.any_has(table, &column, |p| p.m.is_some())?),
        };
        Ok(Some((column, geometry)))
    }

    /// What a layer of any geometries really holds: one kind, or it cannot be a layer here.
    fn kind_of_content(&self, file: &Path, table: &str, column: &str) -> Result<GeometryKind> {
        let mut kinds = Vec::new();
        self.each_geometry(table, column, &mut |geometry| {
            let kind = geometry.kind();
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
            Ok(())
        })?;
        match kinds.as_slice() {
            [] | [GeometryKind::Point] => Ok(GeometryKind::Point),
            [one] => Ok(*one),
            several => {
                let only_points =
                    |k: &GeometryKind| matches!(k, GeometryKind::Point | GeometryKind::Multipoint);
                if several.iter().all(only_points) {
                    return Ok(GeometryKind::Multipoint);
                }
                Err(invalid(
                    file,
                    format!("layer {table:?} mixes {several:?}; split it first"),
                ))
            }
        }
    }

    fn any_has(
        &self,
        table: &str,
        column: &str,
        test: impl Fn(&haversack_model::Position) -> bool,
    ) -> Result<bool> {
        let mut any = false;
        self.each_geometry(table, column, &mut |geometry| {
            geometry.shape().for_each_position(&mut |p| any |= test(p));
            Ok(())
        })?;
        Ok(any)
    }

    fn each_geometry(
        &self,
        table: &str,
        column: &str,
        visit: &mut dyn FnMut(haversack_model::Geometry) -> Result<()>,
    ) -> Result<()> {
        let (table, column) = (quote_ident(table), quote_ident(column));
        let mut statement = self
            .connection
            .prepare(&format!(
                "SELECT {column} FROM {table} WHERE {column} IS NOT NULL"
            ))
            .map_err(while_doing(READING))?;
        let mut rows = statement.query([]).map_err(while_doing(READING))?;
        while let Some(row) = rows.next().map_err(while_doing(READING))? {
            if let Ok(bytes) = row.get_ref(0).map_err(while_doing(READING))?.as_blob() {
                visit(blob::decode(bytes)?)?;
            }
        }
        Ok(())
    }
}

impl Reader for GeoPackage<'_> {
    fn layers(&self) -> &[SourceLayer] {
        &self.layers
    }

    fn read(&mut self, layer: usize, visit: &mut dyn FnMut(SourceRow) -> Result<()>) -> Result<()> {
        let (table, of) = (&self.tables[layer], &self.layers[layer]);
        let mut statement = self
            .connection
            .prepare(&table.sql)
            .map_err(while_doing(READING))?;
        let mut rows = statement.query([]).map_err(while_doing(READING))?;
        while let Some(row) = rows.next().map_err(while_doing(READING))? {
            let stored = |at: usize| row.get_ref(at).map_err(while_doing(READING));
            let mut values = Vec::with_capacity(table.fields.len());
            for (at, kind) in table.fields.iter().enumerate() {
                values.push(value_of(*kind, stored(at)?));
            }
            let mut next = table.fields.len();
            let mut geometry = None;
            if table.has_geometry {
                if let ValueRef::Blob(bytes) = stored(next)? {
                    let shape = blob::decode(bytes)?.shape();
                    geometry = of
                        .geometry
                        .map(|g| convert::fit(&shape, g.kind, g.has_z, g.has_m));
                }
                next += 1;
            }
            let global_id = if table.has_global_id {
                stored(next)?.as_str().ok().and_then(parse_id)
            } else {
                None
            };
            visit(SourceRow {
                values,
                geometry: geometry.filter(|g| !g.is_empty()),
                global_id,
            })?;
        }
        Ok(())
    }
}

/// Tables that programs keep beside layers and list as attributes: our own, and the styles of QGIS.
fn is_about_layers(table: &str) -> bool {
    let table = table.to_ascii_lowercase();
    table.starts_with("haversack_") || table == "layer_styles"
}

fn value_of(kind: FieldType, stored: ValueRef<'_>) -> Value {
    column::from_sql(kind, stored)
}

fn open_hostile(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    for (config, on) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
    ] {
        connection.set_db_config(config, on)?;
    }
    for (limit, value) in [
        (Limit::SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES),
        (Limit::SQLITE_LIMIT_SQL_LENGTH, 1_000_000),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 50),
    ] {
        connection.set_limit(limit, value)?;
    }
    connection.execute_batch(
        "PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0; PRAGMA query_only = ON;
         PRAGMA ignore_check_constraints = ON;",
    )?;
    Ok(connection)
}

/// Allows plain reading and what [`open_hostile`]'s callers ask of the schema; nothing that a file could bring along.
fn only_reads(context: AuthContext<'_>) -> Authorization {
    let is_ours = context.accessor.is_none();
    let allowed = match context.action {
        AuthAction::Select | AuthAction::Read { .. } => true,
        AuthAction::Pragma { pragma_name, .. } => {
            matches!(pragma_name, "quick_check" | "table_xinfo")
        }
        AuthAction::Function { function_name } => {
            matches!(
                function_name,
                "count" | "lower" | "upper" | "coalesce" | "nullif" | "like"
            )
        }
        _ => false,
    };
    if allowed && is_ours {
        Authorization::Allow
    } else {
        Authorization::Deny
    }
}

/// The type for a declared one of the standard, and of programs that write others.
fn field_type(declared: &str) -> (FieldType, Option<u32>) {
    let upper = declared.trim().to_ascii_uppercase();
    let (name, length) = match upper.split_once('(') {
        Some((name, rest)) => (
            name.trim().to_owned(),
            rest.trim_end_matches(')').trim().parse().ok(),
        ),
        None => (upper, None),
    };
    let kind = match name.as_str() {
        "BOOLEAN" | "BOOL" | "TINYINT" | "SMALLINT" => FieldType::SmallInteger,
        "MEDIUMINT" => FieldType::Integer,
        "INT" | "INTEGER" | "BIGINT" => FieldType::BigInteger,
        "FLOAT" => FieldType::Single,
        "DOUBLE" | "REAL" | "NUMERIC" | "DECIMAL" => FieldType::Double,
        "BLOB" => FieldType::Blob,
        "DATE" => FieldType::DateOnly,
        "DATETIME" | "TIMESTAMP" => FieldType::Date,
        _ => FieldType::String,
    };
    let length = length.filter(|n| kind == FieldType::String && *n > 0);
    (kind, length)
}

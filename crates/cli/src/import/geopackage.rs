//! Reads the layers and attribute tables of a GeoPackage that anybody made.
//!
//! The file is opened read-only and without trust in its views and triggers. Source: OGC 12-128r17.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use haversack_model::schema::GeometryKind;
use haversack_model::{FieldType, Geometry, GlobalId, Value};
use haversack_sqlite::gpkg::{blob, datetime, quote_ident};
use rusqlite::config::DbConfig;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use uuid::Uuid;

use super::{Dataset, Row, Source, SourceField, Visit, fit};

/// A GeoPackage whose tables are known.
#[derive(Debug)]
pub(super) struct GeoPackage {
    path: PathBuf,
    tables: Vec<Table>,
    datasets: Vec<Dataset>,
}

/// How one dataset stands in the file.
#[derive(Debug)]
struct Table {
    name: String,
    columns: Vec<String>,
    geometry: Option<String>,
    global_id: Option<String>,
}

/// One row of `gpkg_contents` with its geometry column.
struct Content {
    table: String,
    identifier: String,
    geometry: Option<(String, String, i32)>,
}

impl GeoPackage {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let db = connect(path)?;
        let mut tables = Vec::new();
        let mut datasets = Vec::new();
        for content in
            contents(&db).with_context(|| format!("{} is not a GeoPackage", path.display()))?
        {
            for (table, dataset) in describe(&db, &content)? {
                tables.push(table);
                datasets.push(dataset);
            }
        }
        if datasets.is_empty() {
            bail!("{} holds no layers or tables", path.display());
        }
        Ok(Self {
            path: path.to_owned(),
            tables,
            datasets,
        })
    }
}

impl Source for GeoPackage {
    fn datasets(&self) -> &[Dataset] {
        &self.datasets
    }

    fn read(&self, dataset: usize, visit: Visit<'_>) -> Result<()> {
        let (table, wanted) = (&self.tables[dataset], &self.datasets[dataset]);
        let db = connect(&self.path)?;
        let mut statement = db.prepare(&select(table))?;
        let mut rows = statement.query([])?;
        let mut number = 0_u64;
        while let Some(row) = rows.next()? {
            number += 1;
            let at = || format!("row {number} of {}", table.name);
            let mut values = Vec::with_capacity(wanted.fields.len());
            for (i, field) in wanted.fields.iter().enumerate() {
                values.push(value(row.get_ref(i)?, field.kind).with_context(at)?);
            }
            let mut next = wanted.fields.len();
            let mut geometry = None;
            if table.geometry.is_some() {
                geometry = read_geometry(row.get_ref(next)?).with_context(at)?;
                next += 1;
            }
            let mut global_id = None;
            if table.global_id.is_some() {
                global_id = row.get_ref(next)?.as_str().ok().and_then(uuid);
            }
            visit(Row {
                global_id,
                values,
                geometry: match wanted.kind {
                    Some(kind) => geometry.map(|g| fit(g, kind)),
                    None => None,
                },
            })?;
        }
        Ok(())
    }
}

fn connect(path: &Path) -> Result<Connection> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .with_context(|| format!("opening {}", path.display()))?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    Ok(db)
}

fn contents(db: &Connection) -> rusqlite::Result<Vec<Content>> {
    let sql = "SELECT c.table_name, coalesce(nullif(c.identifier, ''), c.table_name), g.column_name, g.geometry_type_name, \
                      coalesce(CASE WHEN upper(s.organization) = 'EPSG' THEN s.organization_coordsys_id END, g.srs_id) \
               FROM gpkg_contents c \
               JOIN sqlite_master m ON m.name = c.table_name AND m.type = 'table' \
               LEFT JOIN gpkg_geometry_columns g ON g.table_name = c.table_name \
               LEFT JOIN gpkg_spatial_ref_sys s ON s.srs_id = g.srs_id \
               WHERE c.data_type IN ('features', 'attributes') ORDER BY c.rowid";
    db.prepare(sql)?
        .query_map([], |row| {
            let column: Option<String> = row.get(2)?;
            Ok(Content {
                table: row.get(0)?,
                identifier: row.get(1)?,
                geometry: match column {
                    Some(column) => Some((
                        column,
                        row.get::<_, Option<String>>(3)?.unwrap_or_default(),
                        row.get::<_, Option<i32>>(4)?.unwrap_or(0),
                    )),
                    None => None,
                },
            })
        })?
        .collect()
}

/// The dataset of a table. More than one kind of geometry in it is an error that says how to split it.
fn describe(db: &Connection, content: &Content) -> Result<Vec<(Table, Dataset)>> {
    let mut columns = Vec::new();
    let mut fields = Vec::new();
    let mut global_id = None;
    let mut statement = db.prepare("SELECT name, type, pk FROM pragma_table_info(?1)")?;
    let mut rows = statement.query([&content.table])?;
    while let Some(row) = rows.next()? {
        let (name, declared, key): (String, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let is_geometry = content
            .geometry
            .as_ref()
            .is_some_and(|(column, ..)| *column == name);
        if key == 1 && declared.eq_ignore_ascii_case("INTEGER") || is_geometry {
            continue;
        }
        if name.eq_ignore_ascii_case("GlobalID") {
            global_id = Some(name);
            continue;
        }
        let (kind, length) = field_type(&declared);
        fields.push(SourceField {
            name: name.clone(),
            kind,
            length,
        });
        columns.push(name);
    }
    let table = Table {
        name: content.table.clone(),
        columns,
        geometry: content.geometry.as_ref().map(|(column, ..)| column.clone()),
        global_id,
    };
    let mut dataset = Dataset {
        name: content.identifier.clone(),
        srid: content.geometry.as_ref().map_or(4326, |(_, _, srid)| *srid),
        kind: None,
        has_z: false,
        has_m: false,
        fields,
        rows: 0,
    };
    survey(db, &table, content, &mut dataset)?;
    Ok(vec![(table, dataset)])
}

/// Reads all rows once: how many there are, which kind of geometry they have, whether all values fit.
fn survey(db: &Connection, table: &Table, content: &Content, dataset: &mut Dataset) -> Result<()> {
    let mut statement = db.prepare(&select(table))?;
    let mut rows = statement.query([])?;
    let mut kinds = Vec::new();
    while let Some(row) = rows.next()? {
        dataset.rows += 1;
        let at = || format!("row {} of {}", dataset.rows, table.name);
        for (i, field) in dataset.fields.iter().enumerate() {
            value(row.get_ref(i)?, field.kind).with_context(at)?;
        }
        if table.geometry.is_some()
            && let Some(geometry) =
                read_geometry(row.get_ref(dataset.fields.len())?).with_context(at)?
        {
            geometry.shape().for_each_position(&mut |p| {
                dataset.has_z |= p.z.is_some();
                dataset.has_m |= p.m.is_some();
            });
            if !kinds.contains(&geometry.kind()) {
                kinds.push(geometry.kind());
            }
        }
    }
    let Some((_, declared, srid)) = &content.geometry else {
        return Ok(());
    };
    kinds.sort_by_key(|kind| format!("{kind:?}"));
    dataset.kind = Some(match kinds[..] {
        [kind] => kind,
        [GeometryKind::Multipoint, GeometryKind::Point] => GeometryKind::Multipoint,
        [] => declared_kind(declared),
        _ => bail!(
            "{} holds geometries of several kinds; a layer has one. Split it first, for example with `ogr2ogr -where \"OGR_GEOMETRY='POINT'\"`",
            table.name
        ),
    });
    if *srid <= 0 {
        bail!(
            "the coordinate system of {} is not defined; assign one first",
            table.name
        );
    }
    Ok(())
}

fn select(table: &Table) -> String {
    let mut columns: Vec<String> = table.columns.iter().map(|c| quote_ident(c)).collect();
    columns.extend(table.geometry.iter().map(|c| quote_ident(c)));
    columns.extend(table.global_id.iter().map(|c| quote_ident(c)));
    if columns.is_empty() {
        columns.push("1".to_owned());
    }
    format!(
        "SELECT {} FROM {}",
        columns.join(", "),
        quote_ident(&table.name)
    )
}

fn field_type(declared: &str) -> (FieldType, Option<u32>) {
    let upper = declared.to_ascii_uppercase();
    let (name, rest) = upper.split_once('(').unwrap_or((&upper, ""));
    let length = rest.trim_end_matches(')').trim().parse().ok();
    match name.trim() {
        "BOOLEAN" | "TINYINT" | "SMALLINT" => (FieldType::SmallInteger, None),
        "MEDIUMINT" => (FieldType::Integer, None),
        "INT" | "INTEGER" => (FieldType::BigInteger, None),
        "FLOAT" => (FieldType::Single, None),
        "DOUBLE" | "REAL" => (FieldType::Double, None),
        "DATE" => (FieldType::DateOnly, None),
        "DATETIME" => (FieldType::Date, None),
        "BLOB" => (FieldType::Blob, None),
        "TEXT" => (FieldType::String, length),
        _ => (FieldType::String, None),
    }
}

fn declared_kind(name: &str) -> GeometryKind {
    match name.to_ascii_uppercase().as_str() {
        "MULTIPOINT" => GeometryKind::Multipoint,
        "LINESTRING" | "MULTILINESTRING" | "CURVE" | "MULTICURVE" => GeometryKind::Polyline,
        "POLYGON" | "MULTIPOLYGON" | "SURFACE" | "MULTISURFACE" => GeometryKind::Polygon,
        _ => GeometryKind::Point,
    }
}

fn read_geometry(stored: ValueRef<'_>) -> Result<Option<Geometry>> {
    match stored {
        ValueRef::Null => Ok(None),
        ValueRef::Blob(bytes) => Ok(Some(blob::decode(bytes)?)),
        _ => bail!("its geometry is not a GeoPackage geometry"),
    }
}

fn uuid(text: &str) -> Option<Uuid> {
    match GlobalId::parse_uuid(text) {
        Ok(GlobalId::Uuid(uuid)) => Some(uuid),
        _ => None,
    }
}

/// A stored value as an attribute of the declared type. SQLite keeps what it is given, so it may not fit.
fn value(stored: ValueRef<'_>, kind: FieldType) -> Result<Value> {
    let text = |bytes: &[u8]| -> Result<String> {
        Ok(std::str::from_utf8(bytes)
            .context("a text is not UTF-8")?
            .to_owned())
    };
    Ok(match (stored, kind) {
        (ValueRef::Null, _) => Value::Null,
        (
            ValueRef::Integer(n),
            FieldType::SmallInteger | FieldType::Integer | FieldType::BigInteger,
        ) => Value::Integer(n),
        (ValueRef::Integer(n), FieldType::Single | FieldType::Double) => Value::Real(n as f64),
        (ValueRef::Real(x), FieldType::Single | FieldType::Double) if x.is_finite() => {
            Value::Real(x)
        }
        (ValueRef::Text(bytes), FieldType::Date) => {
            let text = text(bytes)?;
            Value::Integer(
                datetime::from_text(&text)
                    .with_context(|| format!("{text:?} is not a date and time"))?,
            )
        }
        (ValueRef::Text(bytes), FieldType::String | FieldType::DateOnly) => {
            Value::Text(text(bytes)?)
        }
        (ValueRef::Integer(n), FieldType::String) => Value::Text(n.to_string()),
        (ValueRef::Real(x), FieldType::String) => Value::Text(x.to_string()),
        (ValueRef::Blob(bytes), FieldType::Blob) => Value::Blob(bytes.to_owned()),
        (other, kind) => bail!(
            "a value of type {} stands in a column of type {kind:?}",
            other.data_type()
        ),
    })
}

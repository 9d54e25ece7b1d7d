//! The tables that make a SQLite file a GeoPackage, and the registration of ours in them.
//!
//! Source: OGC 12-128r17, 1.1 (core), 2.3 (extensions).

use rusqlite::{Connection, Result, params};

use super::quote_ident;

/// `GPKG`.
pub const APPLICATION_ID: i32 = 0x4750_4B47;
/// GeoPackage 1.3.0.
pub const USER_VERSION: i32 = 10300;

/// Name under which our tables are registered as an extension.
const EXTENSION: &str = "haversack_sync";
const DEFINITION: &str =
    "Change tracking and synchronisation tables of Haversack; not for editing by hand";

/// Creates the core tables of an empty file.
///
/// # Errors
/// The database's.
pub fn create(connection: &Connection) -> Result<()> {
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "user_version", USER_VERSION)?;
    connection.execute_batch(include_str!("core.sql"))?;
    for srid in [3857, 4326] {
        register_srs(connection, srid)?;
    }
    Ok(())
}

/// Makes sure that a CRS is in the file.
///
/// # Errors
/// The database's.
pub fn register_srs(connection: &Connection, srid: i32) -> Result<()> {
    let (name, definition) = match srid {
        4326 => ("WGS 84", WGS_84.to_owned()),
        3857 => ("WGS 84 / Pseudo-Mercator", web_mercator()),
        // GIS programs know the definition by organisation and code; the column may not be empty.
        _ => ("", "undefined".to_owned()),
    };
    let name = if name.is_empty() {
        format!("EPSG:{srid}")
    } else {
        name.to_owned()
    };
    connection.execute(
        "INSERT OR IGNORE INTO gpkg_spatial_ref_sys \
         (srs_name, srs_id, organization, organization_coordsys_id, definition) \
         VALUES (?1, ?2, 'EPSG', ?2, ?3)",
        params![name, srid, definition],
    )?;
    Ok(())
}

const WGS_84: &str = "GEOGCS[\"WGS 84\",DATUM[\"WGS_1984\",SPHEROID[\"WGS 84\",6378137,298.257223563,\
    AUTHORITY[\"EPSG\",\"7030\"]],AUTHORITY[\"EPSG\",\"6326\"]],PRIMEM[\"Greenwich\",0],\
    UNIT[\"degree\",0.0174532925199433],AXIS[\"Latitude\",NORTH],AXIS[\"Longitude\",EAST],\
    AUTHORITY[\"EPSG\",\"4326\"]]";

fn web_mercator() -> String {
    format!(
        "PROJCS[\"WGS 84 / Pseudo-Mercator\",{WGS_84},PROJECTION[\"Mercator_1SP\"],\
         PARAMETER[\"central_meridian\",0],PARAMETER[\"scale_factor\",1],\
         PARAMETER[\"false_easting\",0],PARAMETER[\"false_northing\",0],UNIT[\"metre\",1],\
         AXIS[\"Easting\",EAST],AXIS[\"Northing\",NORTH],\
         EXTENSION[\"PROJ4\",\"+proj=merc +a=6378137 +b=6378137 +lat_ts=0 +lon_0=0 +x_0=0 +y_0=0 \
         +k=1 +units=m +nadgrids=@null +wktext +no_defs\"],AUTHORITY[\"EPSG\",\"3857\"]]"
    )
}

/// Registers a table of ours, so that GIS programs know whose it is and do not offer it as a layer.
///
/// # Errors
/// The database's.
pub fn register_own_table(connection: &Connection, table: &str) -> Result<()> {
    connection.execute(
        "INSERT INTO gpkg_extensions \
         (table_name, column_name, extension_name, definition, scope) \
         SELECT ?1, NULL, ?2, ?3, 'read-write' WHERE NOT EXISTS \
         (SELECT 1 FROM gpkg_extensions WHERE table_name = ?1 AND extension_name = ?2)",
        params![table, EXTENSION, DEFINITION],
    )?;
    Ok(())
}

/// Registers all tables whose names start with `haversack_`.
///
/// # Errors
/// The database's.
pub fn register_own_tables(connection: &Connection) -> Result<()> {
    let mut statement = connection.prepare(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'haversack~_%' ESCAPE '~'",
    )?;
    let tables = statement
        .query_map([], |row| row.get::<_, String>(0))?
        .collect::<Result<Vec<_>>>()?;
    for table in tables {
        register_own_table(connection, &table)?;
    }
    hide_unlisted_tables(connection)
}

/// Keeps GDAL, and with it QGIS, from offering tables that are not in `gpkg_contents` as layers.
///
/// GDAL 3.6 lists them, each with a warning, unless the file has an attributes table or this extension of GDAL's
/// (open option `LIST_ALL_TABLES=AUTO`).
fn hide_unlisted_tables(connection: &Connection) -> Result<()> {
    connection.execute(
        "INSERT INTO gpkg_extensions (table_name, column_name, extension_name, definition, scope) \
         SELECT NULL, NULL, 'gdal_aspatial', 'http://gdal.org/geopackage_aspatial.html', 'read-write' \
         WHERE NOT EXISTS (SELECT 1 FROM gpkg_extensions WHERE extension_name = 'gdal_aspatial')",
        [],
    )?;
    Ok(())
}

/// Whether a table exists.
///
/// # Errors
/// The database's.
pub fn has_table(connection: &Connection, table: &str) -> Result<bool> {
    connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1)",
        [table],
        |row| row.get(0),
    )
}

/// Names of a table's columns, in order.
///
/// # Errors
/// The database's.
pub fn columns(connection: &Connection, table: &str) -> Result<Vec<String>> {
    let mut statement =
        connection.prepare(&format!("PRAGMA table_info({})", quote_ident(table)))?;
    statement.query_map([], |row| row.get(1))?.collect()
}

//! Records to and from rows of a layer's tables.
//!
//! Any program may have written the row, so reading is lenient: a value of another type comes back as it is stored,
//! and the server refuses it by name. Only a geometry or a global id that cannot be read is an error.

use haversack_model::{
    Envelope, Error, Field, Generation, GlobalId, ObjectId, Record, Result, Revision, RowVersion,
    Value,
};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params};

use super::fault::{Doing, fault};
use super::layer::Layer;
use super::recent;
use crate::gpkg::{blob, column};

/// What a row held, or why it cannot be a record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Readable {
    Record(Record),
    /// A sentence for people.
    No(String),
}

/// Reads a row whose columns from `at` on are those of [`Layer::columns`].
pub(crate) fn read(layer: &Layer, row: &Row<'_>, at: usize) -> Result<Readable> {
    let get = |index: usize| row.get_ref(index).doing("reading a row");
    let object_id = match get(at)? {
        ValueRef::Integer(fid) => Some(ObjectId(fid)),
        _ => None,
    };
    let Ok(global_id) = column::feature_id(layer.collection.has_uids(), get(at + 1)?) else {
        return Ok(Readable::No(format!(
            "row {} has no readable {}",
            object_id.unwrap_or_default(),
            layer.collection.global_id_field
        )));
    };
    let mut next = at + 2;
    let mut geometry = None;
    if let Some(definition) = &layer.collection.geometry {
        geometry = match get(next)? {
            ValueRef::Null => None,
            ValueRef::Blob(bytes) => match blob::decode(bytes) {
                Ok(geometry) => Some(geometry),
                Err(why) => {
                    return Ok(Readable::No(format!("{}: {why}", definition.name)));
                }
            },
            _ => {
                return Ok(Readable::No(format!(
                    "{} holds something else than a geometry",
                    definition.name
                )));
            }
        };
        next += 1;
    }
    let values = layer
        .collection
        .fields
        .iter()
        .enumerate()
        .map(|(offset, field)| Ok(column::from_sql(field.kind, get(next + offset)?)))
        .collect::<Result<_>>()?;
    Ok(Readable::Record(Record {
        global_id,
        object_id,
        values,
        geometry,
    }))
}

/// A readable row, or an error that says which row is not.
pub(crate) fn readable(layer: &Layer, row: Readable) -> Result<Record> {
    match row {
        Readable::Record(record) => Ok(record),
        Readable::No(why) => Err(Error::Invalid {
            what: layer.collection.name.clone(),
            problem: why,
        }),
    }
}

/// What is stored for a value. What does not fit its field is kept as it is: the file never refuses what a server sent.
fn bound<'a>(field: &Field, value: &'a Value) -> ToSqlOutput<'a> {
    column::to_sql(field, value).unwrap_or_else(|_misfit| {
        ToSqlOutput::Borrowed(match value {
            Value::Null => ValueRef::Null,
            Value::Integer(n) => ValueRef::Integer(*n),
            Value::Real(x) => ValueRef::Real(*x),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Blob(bytes) => ValueRef::Blob(bytes),
        })
    })
}

/// Binds a record's columns from parameter `from` on: object id, global id, geometry, values.
fn bind(
    statement: &mut CachedStatement<'_>,
    layer: &Layer,
    from: usize,
    fid: Option<i64>,
    record: &Record,
) -> rusqlite::Result<Option<Envelope>> {
    statement.raw_bind_parameter(from, fid)?;
    statement.raw_bind_parameter(from + 1, record.global_id.to_string())?;
    let mut next = from + 2;
    let mut envelope = None;
    if let Some(column) = &layer.collection.geometry {
        let encoded = record.geometry.as_ref().map(|geometry| {
            let (bytes, found) = blob::encode(geometry, column.srid);
            envelope = found;
            bytes
        });
        statement.raw_bind_parameter(next, encoded)?;
        next += 1;
    }
    for (at, field) in layer.collection.fields.iter().enumerate() {
        let value = record.values.get(at).unwrap_or(&Value::Null);
        statement.raw_bind_parameter(next + at, bound(field, value))?;
    }
    Ok(envelope)
}

/// The live row of a record.
pub(crate) fn load(conn: &Connection, layer: &Layer, id: &GlobalId) -> Result<Option<Readable>> {
    let doing = "reading a row";
    let mut statement = conn.prepare_cached(&layer.sql.select_row).doing(doing)?;
    let mut rows = statement.query([id.to_string()]).doing(doing)?;
    match rows.next().doing(doing)? {
        Some(row) => read(layer, row, 0).map(Some),
        None => Ok(None),
    }
}

/// The live row of a record that is expected under an object id. `None`: it is not there.
pub(crate) fn load_known(
    conn: &Connection,
    layer: &Layer,
    fid: i64,
    global_id: &str,
) -> Result<Option<Readable>> {
    let doing = "reading a row";
    let mut statement = conn.prepare_cached(&layer.sql.select_known).doing(doing)?;
    let mut rows = statement.query(params![fid, global_id]).doing(doing)?;
    match rows.next().doing(doing)? {
        Some(row) => read(layer, row, 0).map(Some),
        None => Ok(None),
    }
}

/// Inserts or replaces the live row of a record; the caller switched capture off. Gives the box of its geometry.
///
/// A row that was deleted here and comes back gets its old object id, if that is still free.
pub(crate) fn store(conn: &Connection, layer: &Layer, record: &Record) -> Result<Option<Envelope>> {
    let write = || -> rusqlite::Result<Option<Envelope>> {
        if let Some(sql) = &layer.sql.update_in_place {
            let mut update = conn.prepare_cached(sql)?;
            let envelope = bind(&mut update, layer, 1, None, record)?;
            if update.raw_execute()? > 0 {
                return Ok(envelope);
            }
        }
        let mut update = conn.prepare_cached(&layer.sql.update_row)?;
        let envelope = bind(&mut update, layer, 1, None, record)?;
        if update.raw_execute()? == 0 {
            let fid: Option<i64> = conn
                .prepare_cached(&layer.sql.select_old_fid)?
                .query_row([record.global_id.to_string()], |row| row.get(0))
                .optional()?;
            let mut insert = conn.prepare_cached(&layer.sql.insert_row)?;
            bind(&mut insert, layer, 1, fid, record)?;
            insert.raw_execute()?;
        }
        Ok(envelope)
    };
    write().map_err(|source| fault("writing a row", source))
}

/// Keeps a record aside under a number.
pub(crate) fn keep(conn: &Connection, layer: &Layer, no: i64, record: &Record) -> Result<()> {
    let write = || -> rusqlite::Result<()> {
        let mut insert = conn.prepare_cached(&layer.sql.insert_kept)?;
        insert.raw_bind_parameter(1, no)?;
        bind(
            &mut insert,
            layer,
            2,
            record.object_id.map(|fid| fid.0),
            record,
        )?;
        insert.raw_execute()?;
        Ok(())
    };
    write().map_err(|source| fault("keeping a version aside", source))
}

/// A record that was kept aside.
pub(crate) fn load_kept(conn: &Connection, layer: &Layer, no: i64) -> Result<Option<Record>> {
    let doing = "reading a kept version";
    let mut statement = conn.prepare_cached(&layer.sql.select_kept).doing(doing)?;
    let mut rows = statement.query([no]).doing(doing)?;
    match rows.next().doing(doing)? {
        Some(row) => readable(layer, read(layer, row, 0)?).map(Some),
        None => Ok(None),
    }
}

/// Forgets a record that was kept aside.
pub(crate) fn forget_kept(conn: &Connection, layer: &Layer, no: i64) -> Result<()> {
    conn.prepare_cached(&layer.sql.delete_kept)
        .and_then(|mut statement| statement.execute([no]))
        .doing("forgetting a kept version")?;
    Ok(())
}

/// Visits every live row of a layer.
pub(crate) fn each(
    conn: &Connection,
    layer: &Layer,
    visit: &mut dyn FnMut(Readable) -> Result<()>,
) -> Result<()> {
    let doing = "reading all rows";
    let mut statement = conn.prepare(&layer.sql.select_all).doing(doing)?;
    let mut rows = statement.query([]).doing(doing)?;
    while let Some(row) = rows.next().doing(doing)? {
        visit(read(layer, row, 0)?)?;
    }
    Ok(())
}

/// The next number of the file's counter.
pub(crate) fn next_number(conn: &Connection) -> Result<i64> {
    take_numbers(conn, 1)
}

/// Takes so many numbers of the file's counter; gives the first.
pub(crate) fn take_numbers(conn: &Connection, count: i64) -> Result<i64> {
    conn.prepare_cached(
        "UPDATE haversack_counter SET edit_no = edit_no + ?1 RETURNING edit_no - ?1 + 1",
    )
    .and_then(|mut statement| statement.query_row([count], |row| row.get(0)))
    .doing("taking a number")
}

/// The confirmed version of a record.
pub(crate) fn version(
    conn: &Connection,
    layer: &Layer,
    id: &GlobalId,
) -> Result<Option<RowVersion>> {
    let id = id.to_string();
    if let Some(version) = recent::version(conn, layer.id(), &id)? {
        return Ok(Some(version));
    }
    conn.prepare_cached(&layer.sql.select_version)
        .and_then(|mut statement| {
            statement
                .query_row([id], |row| {
                    Ok(RowVersion {
                        revision: Revision(row.get::<_, i64>(0)? as u64),
                        generation: Generation(row.get::<_, i64>(1)? as u64),
                    })
                })
                .optional()
        })
        .doing("reading a version")
}

/// Sets or forgets the confirmed version of a record.
pub(crate) fn store_version(
    conn: &Connection,
    layer: &Layer,
    id: &GlobalId,
    version: Option<RowVersion>,
) -> Result<()> {
    let id = id.to_string();
    recent::fold(conn, layer.id(), &id)?;
    let write = || match version {
        Some(version) => conn
            .prepare_cached(&layer.sql.upsert_version)?
            .execute(params![
                id,
                version.revision.0 as i64,
                version.generation.0 as i64
            ]),
        None => conn
            .prepare_cached(&layer.sql.delete_version)?
            .execute([id]),
    };
    write().doing("keeping a version")?;
    Ok(())
}

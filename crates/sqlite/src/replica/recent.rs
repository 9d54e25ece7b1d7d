//! Versions that answers to uploads brought, beside the large tables of versions.
//!
//! An upload confirms rows all over a layer. Written to the layer's table of versions, each costs a page of its own, in the
//! journal and in the file: most of what settling a batch wrote. Here they lie close together.
//!
//! The table of versions keeps its row, which says that the record is confirmed, with the version from before (`was_*`).
//! The capture triggers know only that table: an outbox line with exactly the version from before as its base was
//! captured since, and stands on the newer one. Whoever writes the table of versions folds the record first.

use haversack_model::{CollectionId, Generation, GlobalId, Result, Revision, RowVersion};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::fault::Doing;
use super::layer::Layer;

/// Joins what is here to the line `o` of an outbox.
pub(crate) const OF_LINE: &str =
    "LEFT JOIN haversack_recent r ON r.collection = o.collection AND r.global_id = o.global_id";
/// The base of the line `o`: revision, then generation.
pub(crate) const BASE_OF_LINE: [&str; 2] = [
    "CASE WHEN o.base_revision = r.was_revision AND o.base_generation = r.was_generation THEN r.revision \
     ELSE o.base_revision END",
    "CASE WHEN o.base_revision = r.was_revision AND o.base_generation = r.was_generation THEN r.generation \
     ELSE o.base_generation END",
];

fn version_at(row: &Row<'_>) -> rusqlite::Result<RowVersion> {
    Ok(RowVersion {
        revision: Revision(row.get::<_, i64>(0)? as u64),
        generation: Generation(row.get::<_, i64>(1)? as u64),
    })
}

/// The version that is here of a record.
pub(crate) fn version(
    conn: &Connection,
    collection: CollectionId,
    id: &str,
) -> Result<Option<RowVersion>> {
    conn.prepare_cached(
        "SELECT revision, generation FROM haversack_recent WHERE collection = ?1 AND global_id = ?2",
    )
    .and_then(|mut statement| {
        statement
            .query_row(params![collection.0, id], version_at)
            .optional()
    })
    .doing("reading a version")
}

/// Confirms a row of a record that has no outbox line, or loses it in this transaction. Gives whether it could: a record
/// that was not confirmed before goes into the table of versions.
pub(crate) fn confirm(
    conn: &Connection,
    layer: &Layer,
    id: &GlobalId,
    version: RowVersion,
) -> Result<bool> {
    let id = id.to_string();
    let doing = "keeping a version";
    let was = conn
        .prepare_cached(&layer.sql.select_version)
        .and_then(|mut statement| statement.query_row([&id], version_at).optional())
        .doing(doing)?;
    let Some(was) = was else {
        return Ok(false);
    };
    conn.prepare_cached(
        "INSERT INTO haversack_recent (collection, global_id, revision, generation, was_revision, was_generation) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
         ON CONFLICT (collection, global_id) DO UPDATE SET revision = excluded.revision, generation = excluded.generation",
    )
    .and_then(|mut statement| {
        statement.execute(params![
            layer.id().0,
            id,
            version.revision.0 as i64,
            version.generation.0 as i64,
            was.revision.0 as i64,
            was.generation.0 as i64
        ])
    })
    .doing(doing)?;
    Ok(true)
}

/// Forgets what is here of a record, because its row in the table of versions is about to be written. A line that was
/// captured on it names the version itself from now on.
pub(crate) fn fold(conn: &Connection, collection: CollectionId, id: &str) -> Result<()> {
    if version(conn, collection, id)?.is_none() {
        return Ok(());
    }
    let [revision, generation] = BASE_OF_LINE;
    let fold_line = format!(
        "UPDATE haversack_outbox SET (base_revision, base_generation) = \
         (SELECT {revision}, {generation} FROM haversack_outbox o {OF_LINE} WHERE o.collection = ?1 AND o.global_id = ?2) \
         WHERE collection = ?1 AND global_id = ?2 AND base_revision IS NOT NULL"
    );
    for sql in [
        fold_line.as_str(),
        "DELETE FROM haversack_recent WHERE collection = ?1 AND global_id = ?2",
    ] {
        conn.prepare_cached(sql)
            .and_then(|mut statement| statement.execute(params![collection.0, id]))
            .doing("folding a version")?;
    }
    Ok(())
}

/// Forgets all of a layer whose versions are gone.
pub(crate) fn forget(conn: &Connection, collection: CollectionId) -> Result<()> {
    conn.execute(
        "DELETE FROM haversack_recent WHERE collection = ?1",
        [collection.0],
    )
    .doing("forgetting versions")?;
    Ok(())
}

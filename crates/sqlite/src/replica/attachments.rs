//! Attachments in a replica file: rows that people can edit, content kept once by its hash.
//!
//! The table `<layer>_attachments` has a column `content` beside the fields of the schema. Whoever adds a row with
//! `parent`, `name`, `content_type` and `content` adds an attachment: plain SQL cannot hash, so the hash and the size are
//! filled in, and the content moved to `haversack_blobs`, when the file is next opened for a sync.

use haversack_model::schema::attachment_field;
use haversack_model::{BlobHash, Result};
use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest as _, Sha256};

use super::fault::Doing;
use super::layer::Layer;
use crate::gpkg::quote_ident;

/// The column that takes new content.
pub(crate) const CONTENT: &str = "content";

/// The column that names the content.
pub(crate) fn sha256_column(layer: &Layer) -> &str {
    &layer.collection.fields[attachment_field::SHA256].name
}

/// The hash under which content is kept.
pub(crate) fn hash_of(content: &[u8]) -> BlobHash {
    BlobHash(Sha256::digest(content).into())
}

/// Content by its hash.
pub(crate) fn load(conn: &Connection, hash: BlobHash) -> Result<Option<Vec<u8>>> {
    conn.prepare_cached("SELECT content FROM haversack_blobs WHERE sha256 = ?1")
        .and_then(|mut statement| {
            statement
                .query_row([hash.to_string()], |row| row.get(0))
                .optional()
        })
        .doing("reading an attachment")
}

/// Keeps content under its hash.
pub(crate) fn store(conn: &Connection, hash: BlobHash, content: &[u8]) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO haversack_blobs (sha256, content) VALUES (?1, ?2) ON CONFLICT (sha256) DO NOTHING",
    )
    .and_then(|mut statement| statement.execute(params![hash.to_string(), content]))
    .doing("keeping an attachment")?;
    Ok(())
}

/// Whether a row of a layer's attachments waits for [`take_in`].
pub(crate) fn has_new(conn: &Connection, layer: &Layer) -> Result<bool> {
    let sql = format!(
        "SELECT EXISTS (SELECT 1 FROM {} WHERE {CONTENT} IS NOT NULL)",
        layer.quoted_table()
    );
    conn.prepare_cached(&sql)
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .doing("looking for new attachments")
}

/// Moves content that people put into rows to its place, and fills in hash and size. Capture is off: the entry of the
/// outbox was made when they put it there.
pub(crate) fn take_in(conn: &Connection, layer: &Layer) -> Result<()> {
    let doing = "taking in new attachments";
    let (table, fid) = (layer.quoted_table(), layer.fid());
    let column = |at: usize| quote_ident(&layer.collection.fields[at].name);
    let select = format!("SELECT {fid} FROM {table} WHERE {CONTENT} IS NOT NULL ORDER BY {fid}");
    let rows: Vec<i64> = conn
        .prepare_cached(&select)
        .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect())
        .doing(doing)?;
    let select = format!("SELECT CAST({CONTENT} AS BLOB) FROM {table} WHERE {fid} = ?1");
    let update = format!(
        "UPDATE {table} SET {} = ?2, {} = ?3, {CONTENT} = NULL WHERE {fid} = ?1",
        column(attachment_field::SIZE),
        column(attachment_field::SHA256)
    );
    for row in rows {
        let content: Vec<u8> = conn
            .prepare_cached(&select)
            .and_then(|mut statement| statement.query_row([row], |found| found.get(0)))
            .doing(doing)?;
        let hash = hash_of(&content);
        store(conn, hash, &content)?;
        conn.prepare_cached(&update)
            .and_then(|mut statement| {
                statement.execute(params![row, content.len() as i64, hash.to_string()])
            })
            .doing(doing)?;
    }
    Ok(())
}

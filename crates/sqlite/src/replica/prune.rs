//! What a replica file need not keep any more: receipts that no restored backup will ask for, and content that nothing names.
//!
//! The rules are in `docs/replica-files.md`. No clock has a part in them: a device may have any time set. Called after a sync
//! that came to its end.

use rusqlite::{Connection, TransactionBehavior, params};

use haversack_model::Result;

use super::ReplicaFile;
use super::fault::Doing;
use super::layer::Layer;
use super::{attachments, check, header};
use crate::gpkg::quote_ident;

/// The newest receipts are kept, whatever the service has done since: ten full batches.
const NEWEST: i64 = 20_000;
/// Older ones are kept until the service has taken so many generations since: as far as servers keep history unless told.
const GENERATIONS: u64 = 1_000_000;

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Receipts.
    pub receipts: u64,
    /// Contents of attachments.
    pub blobs: u64,
}

impl ReplicaFile {
    /// Removes what the file need not keep. Nothing while a download or a comparison is under way, or edits may have been
    /// missed: what names a content may not be there then.
    pub fn prune(&mut self) -> Result<Pruned> {
        let doing = "removing what is not needed any more";
        let tx = self
            .conn
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .doing(doing)?;
        self.known.refresh(&tx)?;
        let header = header::load(&tx)?;
        if header.resyncing
            || header.download.is_some()
            || !check::problems(&tx, &self.known.layers)?.is_empty()
        {
            return Ok(Pruned::default());
        }
        let old = header.cursor.generation.0.saturating_sub(GENERATIONS);
        let receipts = tx
            .execute(
                "DELETE FROM haversack_receipts WHERE generation < ?1 \
                 AND no <= (SELECT max(no) FROM haversack_receipts) - ?2",
                params![old as i64, NEWEST],
            )
            .doing(doing)?;
        let mut blobs = 0;
        for hash in unnamed(&tx, &self.known.layers)? {
            blobs += tx
                .execute("DELETE FROM haversack_blobs WHERE sha256 = ?1", [hash])
                .doing(doing)?;
        }
        tx.commit().doing(doing)?;
        Ok(Pruned {
            receipts: receipts as u64,
            blobs: blobs as u64,
        })
    }
}

/// Contents that no attachment, no version kept aside, no batch, no receipt and no conflict names.
fn unnamed(conn: &Connection, layers: &[Layer]) -> Result<Vec<String>> {
    let doing = "looking for content that nothing names";
    let mut named = vec!["SELECT NULL WHERE 0".to_owned()];
    let mut numbers = Vec::new();
    for layer in layers.iter().filter(|layer| layer.is_attachments()) {
        let column = quote_ident(attachments::sha256_column(layer));
        for table in [layer.quoted_table(), layer.kept_table()] {
            named.push(format!(
                "SELECT lower({column}) FROM {table} WHERE {column} IS NOT NULL"
            ));
        }
        numbers.push(layer.id().0.to_string());
    }
    let (named, numbers) = (named.join(" UNION ALL "), numbers.join(", "));
    // Documents are searched for the few that are left only: what was deleted and may have to be told again.
    let sql = format!(
        "WITH candidates AS MATERIALIZED (SELECT sha256 FROM haversack_blobs WHERE lower(sha256) NOT IN ({named})) \
         SELECT sha256 FROM candidates WHERE \
         NOT EXISTS (SELECT 1 FROM haversack_batches WHERE instr(edits, sha256) > 0) AND \
         NOT EXISTS (SELECT 1 FROM haversack_receipts WHERE collection IN ({numbers}) AND instr(edit, sha256) > 0) AND \
         NOT EXISTS (SELECT 1 FROM haversack_conflicts WHERE collection IN ({numbers}) AND instr(conflict, sha256) > 0)"
    );
    conn.prepare(&sql)
        .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect())
        .doing(doing)
}

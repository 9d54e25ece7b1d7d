//! Entries of the outbox, as the core sees them.

use haversack_model::local::Removal;
use haversack_model::{
    BatchNumber, CollectionId, Generation, GlobalId, OutboxEntry, Result, Revision, RowVersion,
    SyncState, Theirs,
};
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};

use super::fault::{Doing, damaged};
use super::layer::Layer;
use super::{recent, row};

/// Gives numbers for versions that are kept aside.
pub(crate) type Numbers<'a> = &'a dyn Fn() -> Result<i64>;

/// The words of `haversack_outbox.state`.
pub(crate) fn state_word(state: SyncState) -> &'static str {
    match state {
        SyncState::Synced => "SYNCED",
        SyncState::ToPost => "TO_POST",
        SyncState::ToUpdate => "TO_UPDATE",
        SyncState::Uploading => "UPLOADING",
        SyncState::Warning => "WARNING",
        SyncState::Error => "ERROR",
        SyncState::Relationship => "RELATIONSHIP",
    }
}

pub(crate) fn state_of(word: &str) -> Result<SyncState> {
    Ok(match word {
        "SYNCED" => SyncState::Synced,
        "TO_POST" => SyncState::ToPost,
        "TO_UPDATE" => SyncState::ToUpdate,
        "UPLOADING" => SyncState::Uploading,
        "WARNING" => SyncState::Warning,
        "ERROR" => SyncState::Error,
        "RELATIONSHIP" => SyncState::Relationship,
        other => return Err(damaged("haversack_outbox.state", other)),
    })
}

fn removal_word(removal: Removal) -> &'static str {
    match removal {
        Removal::Deleted => "DELETED",
        Removal::Left => "LEFT",
        Removal::Revoked => "REVOKED",
    }
}

/// A row of `haversack_outbox`; the kept rows are still numbers.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) collection: CollectionId,
    pub(crate) global_id: String,
    pub(crate) edit_no: i64,
    pub(crate) state: String,
    pub(crate) deleted: bool,
    pub(crate) fid: Option<i64>,
    pub(crate) base: Option<(i64, RowVersion)>,
    pub(crate) theirs: String,
    pub(crate) theirs_row: Option<(i64, RowVersion)>,
    pub(crate) batch: Option<i64>,
    pub(crate) frozen_no: Option<i64>,
    pub(crate) sent: Option<String>,
    pub(crate) sent_row: Option<i64>,
    pub(crate) reason: Option<String>,
}

const COLUMNS: &str = "collection, global_id, edit_no, state, deleted, fid, base_row, base_revision, base_generation, \
     theirs, theirs_row, theirs_revision, theirs_generation, batch, frozen_no, sent, sent_row, reason";

/// Reads lines as [`Line::of`] takes them.
fn select(condition: &str) -> String {
    let [revision, generation] = recent::BASE_OF_LINE;
    let of_line = recent::OF_LINE;
    format!(
        "SELECT o.collection, o.global_id, edit_no, state, deleted, fid, base_row, {revision}, {generation}, theirs, theirs_row, \
         theirs_revision, theirs_generation, batch, frozen_no, sent, sent_row, reason FROM haversack_outbox o {of_line} \
         WHERE {condition}"
    )
}

impl Line {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        let version = |at: usize| -> rusqlite::Result<Option<(i64, RowVersion)>> {
            let Some(no) = row.get::<_, Option<i64>>(at)? else {
                return Ok(None);
            };
            let revision = row.get::<_, Option<i64>>(at + 1)?.unwrap_or(0);
            let generation = row.get::<_, Option<i64>>(at + 2)?.unwrap_or(0);
            Ok(Some((
                no,
                RowVersion {
                    revision: Revision(revision as u64),
                    generation: Generation(generation as u64),
                },
            )))
        };
        Ok(Self {
            collection: CollectionId(row.get(0)?),
            global_id: row.get(1)?,
            edit_no: row.get(2)?,
            state: row.get(3)?,
            deleted: row.get(4)?,
            fid: row.get(5)?,
            base: version(6)?,
            theirs: row.get(9)?,
            theirs_row: version(10)?,
            batch: row.get(13)?,
            frozen_no: row.get(14)?,
            sent: row.get(15)?,
            sent_row: row.get(16)?,
            reason: row.get(17)?,
        })
    }

    /// The numbers of the versions kept aside for it.
    pub(crate) fn kept(&self) -> impl Iterator<Item = i64> {
        [
            self.base.map(|(no, _)| no),
            self.theirs_row.map(|(no, _)| no),
            self.sent_row,
        ]
        .into_iter()
        .flatten()
    }

    /// Whether nobody but this file knows of the edit and nothing newer has come. Where the base is doubted the server may have
    /// something else than what is here, whatever the base says.
    pub(crate) fn is_plain_update(&self) -> bool {
        let is_known = |(_, version)| version != RowVersion::UNKNOWN;
        self.state == "TO_UPDATE"
            && !self.deleted
            && self.batch.is_none()
            && self.base.is_some_and(is_known)
    }

    /// The whole entry, kept rows included.
    pub(crate) fn entry(&self, conn: &Connection, layer: &Layer) -> Result<OutboxEntry> {
        let kept = |no: i64| {
            row::load_kept(conn, layer, no)?
                .ok_or_else(|| damaged("haversack_outbox", "a kept version is missing"))
        };
        let base = match self.base {
            Some((no, version)) => Some((kept(no)?, version)),
            None => None,
        };
        let theirs = match (self.theirs.as_str(), self.theirs_row) {
            ("UNCHANGED", _) => Theirs::Unchanged,
            ("ROW", Some((no, version))) => Theirs::Row {
                record: kept(no)?,
                version,
            },
            ("DELETED", _) => Theirs::Removed(Removal::Deleted),
            ("LEFT", _) => Theirs::Removed(Removal::Left),
            ("REVOKED", _) => Theirs::Removed(Removal::Revoked),
            (other, _) => return Err(damaged("haversack_outbox.theirs", other)),
        };
        let sent = match (self.sent.as_deref(), self.sent_row) {
            (None, _) => None,
            (Some("ROW"), Some(no)) => Some(Some(kept(no)?)),
            (Some("DELETED"), _) => Some(None),
            (Some(other), _) => return Err(damaged("haversack_outbox.sent", other)),
        };
        Ok(OutboxEntry {
            collection: self.collection,
            global_id: layer
                .collection
                .parse_id(&self.global_id)
                .map_err(|why| damaged("haversack_outbox.global_id", why))?,
            edit_no: self.edit_no as u64,
            state: state_of(&self.state)?,
            deleted: self.deleted,
            base,
            theirs,
            batch: self.batch.map(|number| BatchNumber(number as u64)),
            frozen_no: self.frozen_no.map(|number| number as u64),
            sent,
            reason: self.reason.clone(),
        })
    }
}

/// The line of a record.
pub(crate) fn line(
    conn: &Connection,
    collection: CollectionId,
    id: &GlobalId,
) -> Result<Option<Line>> {
    let sql = select("o.collection = ?1 AND o.global_id = ?2");
    conn.prepare_cached(&sql)
        .and_then(|mut statement| {
            statement
                .query_row(params![collection.0, id.to_string()], Line::of)
                .optional()
        })
        .doing("reading the outbox")
}

/// Which lines.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which {
    /// In no batch, `TO_POST` or `TO_UPDATE`, with an `edit_no` above this one.
    PendingAfter(i64),
    /// In this batch.
    Batch(BatchNumber),
    /// All.
    All,
}

/// Lines by `edit_no`.
pub(crate) fn lines(conn: &Connection, which: Which, limit: usize) -> Result<Vec<Line>> {
    let (condition, number) = match which {
        Which::PendingAfter(no) => (
            "edit_no > ?1 AND batch IS NULL AND state IN ('TO_POST', 'TO_UPDATE')",
            no,
        ),
        Which::Batch(batch) => ("batch = ?1", batch.0 as i64),
        Which::All => ("?1 = 0", 0),
    };
    let sql = select(&format!("{condition} ORDER BY o.edit_no LIMIT ?2"));
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    conn.prepare_cached(&sql)
        .and_then(|mut statement| {
            statement
                .query_map([number, limit], Line::of)?
                .collect::<rusqlite::Result<Vec<_>>>()
        })
        .doing("reading the outbox")
}

/// Removes a line and the versions kept aside for it.
pub(crate) fn remove(conn: &Connection, layer: &Layer, line: &Line) -> Result<()> {
    for no in line.kept() {
        row::forget_kept(conn, layer, no)?;
    }
    conn.prepare_cached("DELETE FROM haversack_outbox WHERE collection = ?1 AND global_id = ?2")
        .and_then(|mut statement| statement.execute(params![line.collection.0, line.global_id]))
        .doing("removing an entry of the outbox")?;
    Ok(())
}

/// Writes what freezing changes of an entry whose line is `old`: number and base stay.
pub(crate) fn store_frozen(
    conn: &Connection,
    layer: &Layer,
    entry: &OutboxEntry,
    old: &Line,
    numbers: Numbers<'_>,
) -> Result<()> {
    let theirs_row = match &entry.theirs {
        Theirs::Row { .. } => old.theirs_row,
        Theirs::Unchanged | Theirs::Removed(_) => None,
    };
    let dropped = old.theirs_row.filter(|_| theirs_row.is_none());
    for no in dropped.map(|(no, _)| no).into_iter().chain(old.sent_row) {
        row::forget_kept(conn, layer, no)?;
    }
    let (sent, sent_row) = keep_sent(conn, layer, entry, numbers)?;
    let (theirs_row, theirs_revision, theirs_generation) = columns_of(theirs_row);
    conn.prepare_cached(
        "UPDATE haversack_outbox SET state = ?3, theirs = ?4, theirs_row = ?5, theirs_revision = ?6, \
         theirs_generation = ?7, batch = ?8, frozen_no = ?9, sent = ?10, sent_row = ?11, reason = ?12 \
         WHERE collection = ?1 AND global_id = ?2",
    )
    .and_then(|mut statement| {
        statement.execute(params![
            entry.collection.0,
            old.global_id,
            state_word(entry.state),
            theirs_word(&entry.theirs),
            theirs_row,
            theirs_revision,
            theirs_generation,
            entry.batch.map(|number| number.0 as i64),
            entry.frozen_no.map(|no| no as i64),
            sent,
            sent_row,
            entry.reason,
        ])
    })
    .doing("writing to the outbox")?;
    Ok(())
}

fn theirs_word(theirs: &Theirs) -> &'static str {
    match theirs {
        Theirs::Unchanged => "UNCHANGED",
        Theirs::Row { .. } => "ROW",
        Theirs::Removed(removal) => removal_word(*removal),
    }
}

/// Keeps aside what was sent; gives the two columns that say so.
fn keep_sent(
    conn: &Connection,
    layer: &Layer,
    entry: &OutboxEntry,
    numbers: Numbers<'_>,
) -> Result<(Option<&'static str>, Option<i64>)> {
    Ok(match &entry.sent {
        None => (None, None),
        Some(None) => (Some("DELETED"), None),
        Some(Some(record)) => {
            let no = numbers()?;
            row::keep(conn, layer, no, record)?;
            (Some("ROW"), Some(no))
        }
    })
}

/// The three columns of a version that is kept aside.
fn columns_of(version: Option<(i64, RowVersion)>) -> (Option<i64>, Option<i64>, Option<i64>) {
    (
        version.map(|(no, _)| no),
        version.map(|(_, v)| v.revision.0 as i64),
        version.map(|(_, v)| v.generation.0 as i64),
    )
}

/// Adds an entry or replaces that of the line `old`. The object id of a deleted row is kept, since editors may bring it
/// back.
pub(crate) fn store(
    conn: &Connection,
    layer: &Layer,
    entry: &OutboxEntry,
    old: Option<&Line>,
    numbers: Numbers<'_>,
) -> Result<()> {
    let fid = match old {
        Some(line) => {
            remove(conn, layer, line)?;
            line.fid
        }
        None => None,
    };
    // An entry that the core made anew has no number yet.
    let edit_no = match entry.edit_no {
        0 => numbers()?,
        no => no as i64,
    };
    conn.prepare_cached("UPDATE haversack_counter SET edit_no = ?1 WHERE edit_no < ?1")
        .and_then(|mut statement| statement.execute([edit_no]))
        .doing("writing to the outbox")?;
    let keep = |record: &haversack_model::Record| -> Result<i64> {
        let no = numbers()?;
        row::keep(conn, layer, no, record)?;
        Ok(no)
    };
    let base = match &entry.base {
        Some((record, version)) => Some((keep(record)?, *version)),
        None => None,
    };
    let theirs_row = match &entry.theirs {
        Theirs::Unchanged | Theirs::Removed(_) => None,
        Theirs::Row { record, version } => Some((keep(record)?, *version)),
    };
    let (sent, sent_row) = keep_sent(conn, layer, entry, numbers)?;
    let sql = format!(
        "INSERT INTO haversack_outbox ({COLUMNS}) VALUES (:collection, :global_id, :edit_no, :state, :deleted, :fid, :base_row, \
         :base_revision, :base_generation, :theirs, :theirs_row, :theirs_revision, :theirs_generation, :batch, :frozen_no, \
         :sent, :sent_row, :reason)"
    );
    let (base_row, base_revision, base_generation) = columns_of(base);
    let (theirs_row, theirs_revision, theirs_generation) = columns_of(theirs_row);
    conn.prepare_cached(&sql)
        .and_then(|mut statement| {
            statement.execute(named_params! {
                ":collection": entry.collection.0,
                ":global_id": entry.global_id.to_string(),
                ":edit_no": edit_no,
                ":state": state_word(entry.state),
                ":deleted": entry.deleted,
                ":fid": fid,
                ":base_row": base_row,
                ":base_revision": base_revision,
                ":base_generation": base_generation,
                ":theirs": theirs_word(&entry.theirs),
                ":theirs_row": theirs_row,
                ":theirs_revision": theirs_revision,
                ":theirs_generation": theirs_generation,
                ":batch": entry.batch.map(|number| number.0 as i64),
                ":frozen_no": entry.frozen_no.map(|no| no as i64),
                ":sent": sent,
                ":sent_row": sent_row,
                ":reason": entry.reason,
            })
        })
        .doing("writing to the outbox")?;
    Ok(())
}

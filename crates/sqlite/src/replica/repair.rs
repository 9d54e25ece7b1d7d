//! Repairs a file whose capture was broken: a table was overwritten or dropped, a trigger dropped or altered.
//!
//! Edits made meanwhile are in no outbox. They are found by comparing each row with the server's row of the same global
//! id and with the version that the server last confirmed. What cannot be told apart is never thrown away: it is sent as
//! an addition that meets the server's row, so that both versions are kept as a conflict.

use std::collections::HashSet;

use haversack_model::{
    CollectionId, Error, GlobalId, OutboxEntry, Record, Result, RowVersion, SyncState, Theirs,
};
use rusqlite::Connection;

use super::fault::{Doing, damaged};
use super::layer::Layer;
use super::row::{self, Readable};
use super::{Problem, ReplicaFile, check, outbox, rebuild, tables};

/// Takes one row of the server with its version.
pub type TakeRow<'a> = dyn FnMut(&Record, RowVersion) -> Result<()> + 'a;

/// Gives all rows that the server has of a collection of this replica. Called while the file is locked, so the rows must
/// be here already: a freshly checked-out file does ([`ReplicaFile::each_confirmed`]).
pub type ServerRows<'a> = &'a mut dyn FnMut(CollectionId, &mut TakeRow<'_>) -> Result<()>;

/// What a repair did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// What was wrong.
    pub problems: Vec<Problem>,
    /// Rows that turned out to be new.
    pub added: u64,
    /// Rows that turned out to be changed.
    pub changed: u64,
    /// Rows that turned out to be deleted.
    pub deleted: u64,
    /// Rows that differ from the server's, where both sides may have changed them: each becomes a conflict.
    pub uncertain: u64,
    /// Rows taken from the server, because they were missing here and had changed there or were never here.
    pub restored: u64,
    /// Unsent changes of rows that are gone from the file and cannot be brought back, as their global ids.
    pub lost: Vec<GlobalId>,
}

impl ReplicaFile {
    /// Rebuilds what is broken and finds the edits that were not captured. Does nothing to a sound file.
    ///
    /// # Errors
    /// [`Error::Invalid`] if edits may have been missed and no rows of the server were given to tell them by.
    pub fn repair(&mut self, mut server: Option<ServerRows<'_>>) -> Result<Repaired> {
        let doing = "repairing the file";
        self.conn
            .execute_batch("BEGIN IMMEDIATE")
            .doing("waiting for the file")?;
        let mut repaired = Repaired::default();
        let mut layers = Vec::new();
        let done = self.known.refresh(&self.conn).and_then(|()| {
            layers.clone_from(&self.known.layers);
            let mut renamed = rebuild::adopt_names(&self.conn, &mut layers)?;
            renamed.extend(rebuild::restore_column_names(&self.conn, &layers)?);
            repair_all(&self.conn, &layers, &mut server, &mut repaired)?;
            repaired.problems.extend(renamed);
            Ok(())
        });
        match done {
            Ok(()) => {
                self.conn.execute_batch("COMMIT").doing(doing)?;
                self.known.layers = layers;
                self.known.schema_version = super::schema_version(&self.conn)?;
                Ok(repaired)
            }
            Err(error) => {
                self.conn.execute_batch("ROLLBACK").doing(doing)?;
                Err(error)
            }
        }
    }

    /// Visits every row of a collection that has a confirmed version, as the server sent it if nobody edited it: what
    /// [`Self::repair`] of another file compares with.
    pub fn each_confirmed(&self, collection: CollectionId, take: &mut TakeRow<'_>) -> Result<()> {
        let layer = self.layer(collection)?;
        row::each(&self.conn, layer, &mut |found| {
            let record = row::readable(layer, found)?;
            match row::version(&self.conn, layer, &record.global_id)? {
                Some(version) => take(&record, version),
                None => Ok(()),
            }
        })
    }
}

fn repair_all(
    conn: &Connection,
    layers: &[Layer],
    server: &mut Option<ServerRows<'_>>,
    repaired: &mut Repaired,
) -> Result<()> {
    let doing = "repairing the file";
    repaired.problems = check::problems(conn, layers)?;
    if repaired.problems.is_empty() {
        return Ok(());
    }
    let Some(server) = server.as_mut() else {
        return Err(Error::Invalid {
            what: "replica file".to_owned(),
            problem: "edits made while it was broken can only be told by comparing with the server; connect to it and repair again"
                .to_owned(),
        });
    };
    conn.execute_batch(
        "DELETE FROM haversack_writer; DELETE FROM haversack_replaced; INSERT INTO haversack_writer VALUES ('repair')",
    )
    .doing(doing)?;
    let capture_was_off = repaired.problems.contains(&Problem::CaptureOff);
    for layer in layers {
        let own: Vec<_> = repaired
            .problems
            .iter()
            .filter(|problem| problem.concerns(layer))
            .cloned()
            .collect();
        if own.is_empty() && !capture_was_off {
            continue;
        }
        rebuild::rebuild_side_tables(conn, layer)?;
        let is_gone = own
            .iter()
            .any(|p| matches!(p, Problem::MissingTable { table, .. } if *table == layer.table));
        let overwritten = own
            .iter()
            .any(|p| !matches!(p, Problem::AlteredTrigger { .. }));
        if overwritten {
            rebuild::rebuild_edited_table(conn, layer)?;
        }
        rebuild::give_identities(conn, layer)?;
        Comparison {
            conn,
            layer,
            missing_fields: own
                .iter()
                .filter_map(|p| match p {
                    Problem::MissingColumn { column, .. } => layer.collection.field_index(column),
                    _ => None,
                })
                .collect(),
            lacks_geometry: own.iter().any(|p| match (p, &layer.collection.geometry) {
                (Problem::MissingColumn { column, .. }, Some(g)) => {
                    column.eq_ignore_ascii_case(&g.name)
                }
                _ => false,
            }) && !rebuild::has_values(conn, layer)?,
            is_gone,
            seen: HashSet::new(),
            repaired,
        }
        .run(&mut **server)?;
        tables::start_capture(conn, layer)?;
    }
    conn.execute_batch("DELETE FROM haversack_writer")
        .doing(doing)
}

/// Compares the rows of one layer with the server's.
struct Comparison<'a> {
    conn: &'a Connection,
    layer: &'a Layer,
    /// Fields that whoever overwrote the table dropped: they have the server's values.
    missing_fields: Vec<usize>,
    lacks_geometry: bool,
    /// Whether the whole table was gone: then a missing row is not a deletion.
    is_gone: bool,
    seen: HashSet<GlobalId>,
    repaired: &'a mut Repaired,
}

impl Comparison<'_> {
    fn run(mut self, server: ServerRows<'_>) -> Result<()> {
        server(self.layer.id(), &mut |theirs, version| {
            self.seen.insert(theirs.global_id.clone());
            self.compare(theirs, version)
        })?;
        self.rest()
    }

    /// The row here; `None` if there is none. One that cannot be read counts as changed.
    fn mine(&self, id: &GlobalId) -> Result<Option<Readable>> {
        row::load(self.conn, self.layer, id)
    }

    fn compare(&mut self, theirs: &Record, version: RowVersion) -> Result<()> {
        let id = &theirs.global_id;
        let confirmed = row::version(self.conn, self.layer, id)?;
        let mut mine = self.mine(id)?;
        if let Some(Readable::Record(record)) = &mut mine {
            self.fill_missing(record, theirs)?;
        }
        if let Some(line) = outbox::line(self.conn, self.layer.id(), id)? {
            let mut entry = line.entry(self.conn, self.layer)?;
            match (entry.deleted, &mine) {
                (true, Some(_)) => entry.deleted = false,
                (false, None) if self.is_gone => {
                    self.repaired.lost.push(id.clone());
                    outbox::remove(self.conn, self.layer, &line)?;
                    return self.restore(theirs, version);
                }
                (false, None) => entry.deleted = true,
                _ => return Ok(()),
            }
            return self.log(entry);
        }
        let base_is_theirs = confirmed.is_some_and(|v| v.revision == version.revision);
        match mine {
            Some(Readable::Record(mine)) if mine.same_content(theirs) => {
                row::store_version(self.conn, self.layer, id, Some(version))
            }
            Some(_) if base_is_theirs => {
                self.repaired.changed += 1;
                self.log(self.update(theirs, version))
            }
            Some(_) => {
                self.repaired.uncertain += 1;
                row::store_version(self.conn, self.layer, id, None)?;
                let mut entry = self.update(theirs, version);
                entry.state = SyncState::ToPost;
                entry.base = None;
                entry.theirs = Theirs::Row {
                    record: theirs.clone(),
                    version,
                };
                self.log(entry)
            }
            None if base_is_theirs && !self.is_gone => {
                self.repaired.deleted += 1;
                let mut entry = self.update(theirs, version);
                entry.deleted = true;
                self.log(entry)
            }
            None => self.restore(theirs, version),
        }
    }

    fn restore(&mut self, theirs: &Record, version: RowVersion) -> Result<()> {
        self.repaired.restored += 1;
        row::store(self.conn, self.layer, theirs)?;
        row::store_version(self.conn, self.layer, &theirs.global_id, Some(version))
    }

    /// Gives a row the server's values where whoever overwrote the table dropped a column.
    fn fill_missing(&self, mine: &mut Record, theirs: &Record) -> Result<()> {
        if self.missing_fields.is_empty() && !self.lacks_geometry {
            return Ok(());
        }
        for &at in &self.missing_fields {
            if let (Some(to), Some(from)) = (mine.values.get_mut(at), theirs.values.get(at)) {
                to.clone_from(from);
            }
        }
        if self.lacks_geometry {
            mine.geometry.clone_from(&theirs.geometry);
        }
        row::store(self.conn, self.layer, mine).map(|_| ())
    }

    fn update(&self, base: &Record, version: RowVersion) -> OutboxEntry {
        OutboxEntry {
            collection: self.layer.id(),
            global_id: base.global_id.clone(),
            edit_no: 0,
            state: SyncState::ToUpdate,
            deleted: false,
            base: Some((base.clone(), version)),
            theirs: Theirs::Unchanged,
            batch: None,
            frozen_no: None,
            sent: None,
            reason: None,
        }
    }

    fn log(&self, mut entry: OutboxEntry) -> Result<()> {
        entry.edit_no = 0;
        let old = outbox::line(self.conn, entry.collection, &entry.global_id)?;
        let numbers = || row::next_number(self.conn);
        outbox::store(self.conn, self.layer, &entry, old.as_ref(), &numbers)
    }

    /// Rows that the server does not have: new ones, and ones that it deleted, which the next download removes.
    fn rest(&mut self) -> Result<()> {
        let mut rest = Vec::new();
        row::each(self.conn, self.layer, &mut |found| {
            match found {
                Readable::Record(record) if self.seen.contains(&record.global_id) => {}
                Readable::Record(record) => rest.push(record.global_id),
                Readable::No(why) => return Err(damaged(&self.layer.collection.name, why)),
            }
            Ok(())
        })?;
        for id in rest {
            let has_line = outbox::line(self.conn, self.layer.id(), &id)?.is_some();
            if has_line || row::version(self.conn, self.layer, &id)?.is_some() {
                continue;
            }
            self.repaired.added += 1;
            self.log(OutboxEntry {
                state: SyncState::ToPost,
                base: None,
                ..self.update(
                    &Record {
                        global_id: id,
                        object_id: None,
                        values: Vec::new(),
                        geometry: None,
                    },
                    RowVersion {
                        revision: haversack_model::Revision(0),
                        generation: haversack_model::Generation(0),
                    },
                )
            })?;
        }
        Ok(())
    }
}

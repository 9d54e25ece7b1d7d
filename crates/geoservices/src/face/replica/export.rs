//! The download of a synchronisation: what changed, layer by layer, in the form of `edits`.
//!
//! The core tells changes in generation order; the document wants adds, updates and deletions apart. Each goes to a spool
//! of its own, so that memory stays bounded, and the three are joined.

use std::io::Write;

use haversack_model::store::Flow;
use haversack_model::{CollectionId, Generation, ReadTx, ReplicaLayer};
use haversack_sync::{DeltaChange, Sent, delta};
use serde_json::Value;

use super::super::answer::Spool;
use super::super::problem::{Problem, Result};
use super::document::{Writer, io, separate};
use crate::wire::json::write_text;

/// A list that is written as it arises.
#[derive(Debug)]
pub(crate) struct List {
    content: Spool,
    first: bool,
    /// How many items it has.
    pub(crate) count: u64,
}

impl List {
    fn new() -> Self {
        Self {
            content: Spool::new(),
            first: true,
            count: 0,
        }
    }
    /// Adds one item.
    pub(crate) fn push(&mut self, item: &[u8]) -> Result<()> {
        separate(&mut self.content, &mut self.first)?;
        self.count += 1;
        self.content.write_all(item).map_err(io)
    }
    fn copy_to(&mut self, out: &mut Spool, name: &str) -> Result<()> {
        write!(out, "\"{name}\":[").map_err(io)?;
        self.content.copy_to(out).map_err(io)?;
        out.write_all(b"]").map_err(io)
    }
}

/// The changes of one collection.
#[derive(Debug)]
pub(crate) struct Changes {
    pub(crate) adds: List,
    pub(crate) updates: List,
    /// Global ids of deleted records.
    pub(crate) deletes: List,
    /// The deleted records as they were, where that was asked for.
    pub(crate) deleted: Option<List>,
}

impl Changes {
    /// No changes yet, with a place for deleted records.
    pub(crate) fn with_deleted() -> Self {
        Self {
            deleted: Some(List::new()),
            ..Self::none()
        }
    }
    /// No changes.
    pub(crate) fn none() -> Self {
        Self {
            adds: List::new(),
            updates: List::new(),
            deletes: List::new(),
            deleted: None,
        }
    }
    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.adds.count + self.updates.count + self.deletes.count == 0
    }
    /// Writes `{"adds":[..],"updates":[..],"deleteIds":[..]}` with further members before it.
    pub(crate) fn copy_to(&mut self, out: &mut Spool, before: Option<&Value>) -> Result<()> {
        self.copy_named(out, before, "deleteIds")
    }
    /// The same with another name for the deletions.
    pub(crate) fn copy_named(
        &mut self,
        out: &mut Spool,
        before: Option<&Value>,
        deletions: &str,
    ) -> Result<()> {
        match before {
            Some(members) => super::document::open_object(out, members)?,
            None => out.write_all(b"{").map_err(io)?,
        }
        self.adds.copy_to(out, "adds")?;
        out.write_all(b",").map_err(io)?;
        self.updates.copy_to(out, "updates")?;
        out.write_all(b",").map_err(io)?;
        self.deletes.copy_to(out, deletions)?;
        if let Some(deleted) = &mut self.deleted {
            out.write_all(b",").map_err(io)?;
            deleted.copy_to(out, "deletes")?;
        }
        out.write_all(b"}").map_err(io)
    }
}

/// A range of generations, and what the request itself sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range<'a> {
    pub(crate) since: Generation,
    pub(crate) upto: Generation,
    pub(crate) sent: &'a Sent,
}

/// The changes of a layer's features.
pub(crate) fn features(
    writer: &Writer<'_>,
    tx: &dyn ReadTx,
    layer: &ReplicaLayer,
    range: Range<'_>,
) -> Result<Changes> {
    let style = writer.style(layer.collection)?;
    let mut changes = Changes::none();
    told(tx, layer, range, &mut |change| {
        let mut text = Vec::new();
        match change {
            DeltaChange::Add(version) => {
                style.write(&mut text, &version.record)?;
                changes.adds.push(&text)
            }
            DeltaChange::Update(version) => {
                style.write(&mut text, &version.record)?;
                changes.updates.push(&text)
            }
            DeltaChange::Remove { global_id, .. } => {
                write_text(&mut text, &global_id.braced()).map_err(io)?;
                changes.deletes.push(&text)
            }
        }
    })?;
    Ok(changes)
}

/// The changes of a layer's attachments. `layer` is the hidden collection.
pub(crate) fn attachments(
    writer: &Writer<'_>,
    tx: &dyn ReadTx,
    parent: CollectionId,
    layer: &ReplicaLayer,
    range: Range<'_>,
) -> Result<Changes> {
    let mut changes = Changes::none();
    told(tx, layer, range, &mut |change| match change {
        DeltaChange::Add(version) => {
            let told = writer.attachment(tx, parent, &version.record)?;
            changes.adds.push(told.to_string().as_bytes())
        }
        DeltaChange::Update(version) => {
            let told = writer.attachment(tx, parent, &version.record)?;
            changes.updates.push(told.to_string().as_bytes())
        }
        DeltaChange::Remove { global_id, .. } => {
            let mut text = Vec::new();
            write_text(&mut text, &global_id.braced()).map_err(io)?;
            changes.deletes.push(&text)
        }
    })?;
    Ok(changes)
}

/// Runs the core's download, letting the visitor fail in the face's terms.
///
/// A range may end before the head. A record that changed within it and again behind it is told as it is now: the next
/// range repeats it, and nothing is left out.
pub(crate) fn told(
    tx: &dyn ReadTx,
    layer: &ReplicaLayer,
    range: Range<'_>,
    visit: &mut dyn FnMut(DeltaChange) -> Result<()>,
) -> Result<()> {
    let head = tx.head()?.generation;
    let mut problem: Option<Problem> = None;
    delta(tx, layer, range.since, head, range.sent, &mut |change| {
        let told = if range.upto < head && !changed_within(tx, layer, range, &change)? {
            Ok(())
        } else {
            visit(change)
        };
        Ok(match told {
            Ok(()) => Flow::Continue(()),
            Err(error) => {
                problem = Some(error);
                Flow::Break(())
            }
        })
    })?;
    problem.map_or(Ok(()), Err)
}

/// Whether any change of the record lies within the range, be it not the last one.
fn changed_within(
    tx: &dyn ReadTx,
    layer: &ReplicaLayer,
    range: Range<'_>,
    change: &DeltaChange,
) -> haversack_model::Result<bool> {
    let id = match change {
        DeltaChange::Add(version) | DeltaChange::Update(version) => &version.record.global_id,
        DeltaChange::Remove { global_id, .. } => global_id,
    };
    let collection = layer.collection;
    let last = tx.track(collection, id)?.map(|track| track.generation);
    if last.is_some_and(|last| last <= range.upto) {
        return Ok(true);
    }
    let at_the_end = tx.record_as_of(collection, id, range.upto)?;
    Ok(match at_the_end {
        Some(version) => version.track.generation > range.since,
        None => {
            range.since > Generation::ZERO
                && tx.record_as_of(collection, id, range.since)?.is_some()
        }
    })
}

//! The server's side of our own clients: numbered batches with stored replies, and pages of changes.
//!
//! Owns: when a batch is new, a repeat or a sign of a cloned file; which cursors can be continued; where a page ends.
//! Does not own: encodings and requests (the server), blobs, which arrive before the batch that names them.
//! Rule source: DESIGN 4 and 5, GUARANTEES 2.1 and 2.3.

use haversack_model::local::{Download, FrozenBatch, RowVersion};
use haversack_model::remote::{BatchReply, Page, RemoteChange};
use haversack_model::store::{Flow, Head, StoredReply};
use haversack_model::{
    BatchNumber, CollectionId, Cursor, Direction, Error, Filter, Generation, HistoryId, ReadTx,
    Replica, ReplicaLayer, Result, Timestamp, Track, Versions, WriteTx,
};

use crate::apply::apply_batch;
use crate::delta::{DeltaChange, Range, Sent, changed, entered_or_left};
use crate::{Ids, Uploader};

/// What a replica asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pull {
    /// Up to where it has stored the server's changes. Generation zero asks for everything.
    pub cursor: Cursor,
    /// The download that is under way, as its last page said.
    pub download: Option<Download>,
    /// Versions above the cursor that it holds: they are left out where they stand and match.
    pub ahead: Versions,
    /// Version of the schema in its file.
    pub schema_version: u32,
    /// Most changes of one page.
    pub max_changes: usize,
}

/// Applies a numbered batch, once: a repeat gets the stored reply. `hash` is that of the batch as it was sent.
///
/// The reply is encoded by the caller, stored with the number in the same transaction, and given back.
///
/// # Errors
/// [`Error::BatchReused`] and [`Error::BatchOrder`] if the file was cloned or rewound; [`Error::NewHistory`] and
/// [`Error::Resync`] if the batch was frozen in a history that is not the present one: nothing is applied then.
#[expect(
    clippy::too_many_arguments,
    reason = "the transaction, who, what, and the two sources of chance"
)]
pub fn push(
    tx: &mut dyn WriteTx,
    replica: &Replica,
    by: &Uploader<'_>,
    batch: &FrozenBatch,
    hash: [u8; 32],
    encode: &dyn Fn(&BatchReply) -> Vec<u8>,
    now: Timestamp,
    ids: &mut Ids<'_>,
) -> Result<Vec<u8>> {
    // Read again inside the transaction: a repeat may have been applied since the caller looked.
    let mut replica = tx
        .replica(replica.id)?
        .ok_or(Error::NoReplica(replica.id))?;
    let stored = tx.stored_reply(replica.id)?;
    let stored = stored.filter(|stored| stored.batch == batch.number);
    if let Some(stored) = &stored
        && stored.hash == hash
    {
        return Ok(stored.reply.clone());
    }
    // Before the numbers: a server that was put back may have forgotten some.
    let head = tx.head()?;
    check_history(tx, &head, batch.cursor)?;
    if stored.is_some() {
        return Err(Error::BatchReused(batch.number.0));
    }
    if batch.number.0 != replica.last_batch.0 + 1 {
        return Err(Error::BatchOrder {
            sent: batch.number.0,
            last: replica.last_batch.0,
        });
    }
    // Who missed deletions that are forgotten learns of them first: the edits then meet them as conflicts.
    if batch.cursor.generation < head.floor && replica.direction != Direction::Upload {
        return Err(below_floor(batch.cursor.generation));
    }
    let by = Uploader {
        replica: Some(replica.id),
        cursor: Some(batch.cursor.generation),
        ..*by
    };
    let mut applied = apply_batch(tx, &by, &batch.edits, now, ids)?;
    for receipt in &mut applied.receipts {
        let layer = replica
            .layers
            .iter()
            .find(|layer| layer.collection == receipt.collection);
        let is_live = receipt.after.is_some() || receipt.version.is_some();
        if is_live
            && let Some(layer) = layer
            && *layer.filter_now() != Filter::All
            && !tx.matches(receipt.collection, &receipt.global_id, layer.filter_now())?
        {
            // No download tells of a record that never was in the part: the receipt must.
            receipt.after = None;
            receipt.version = None;
            receipt.left = true;
        }
    }
    let reply = BatchReply {
        receipts: applied.receipts,
        conflicts: applied.conflicts,
        generation: tx.head()?.generation,
    };
    let bytes = encode(&reply);
    replica.last_batch = batch.number;
    replica.synced_at = now;
    note_cursor(&mut replica, batch.cursor.generation);
    tx.store_replica(&replica)?;
    tx.store_reply(
        replica.id,
        &StoredReply {
            batch: batch.number,
            hash,
            reply: bytes.clone(),
        },
    )?;
    Ok(bytes)
}

/// Notes how far a replica has come, so that history that it does not need can go. Store the replica afterwards.
pub fn note_cursor(replica: &mut Replica, generation: Generation) {
    replica.is_dormant = false;
    for layer in &mut replica.layers {
        layer.cursor = layer.cursor.max(generation);
    }
}

/// The page of changes after a cursor, in generation order over all layers of the replica.
///
/// A download of several pages is judged by where it began: the feed is compact, so a record that has left may be
/// missing on the page on which it left, and the cursor of a later page no longer tells that the replica had it.
/// Rows that enter or leave because the filter changed come on the last page.
///
/// # Errors
/// [`Error::NewHistory`] if the cursor is of another history; [`Error::Resync`] if it is below the floor or above the
/// head, or if the filter changed while pages were fetched. Then ask with generation zero, which is always answered.
pub fn pull(tx: &dyn ReadTx, replica: &Replica, asked: &Pull) -> Result<Page> {
    let head = tx.head()?;
    check_history(tx, &head, asked.cursor)?;
    let changes_of_filters = replica
        .layers
        .iter()
        .filter_map(|layer| layer.filters.last());
    let filters = changes_of_filters
        .map(|(from, _)| *from)
        .max()
        .unwrap_or_default();
    let (from, since) = match asked.download {
        Some(download) if download.filters == filters => (download.from, asked.cursor.generation),
        // What matched the former filter has been told as found: only a new comparison removes it.
        Some(_) => {
            return Err(Error::Resync {
                asked: asked.cursor.generation,
                reason: "the filter changed in the middle of a download",
            });
        }
        None => (asked.cursor.generation, asked.cursor.generation),
    };
    let begun = asked
        .download
        .map_or(head.generation, |download| download.begun);
    let service = tx.service()?;
    let nothing = Versions::default();
    // A comparison tells everything, and in another schema the replica holds less of a version than there is.
    let is_plain = from != Generation::ZERO && service.schema_version == asked.schema_version;
    let span = Span {
        from,
        since,
        begun,
        head: &head,
        ahead: if is_plain { &asked.ahead } else { &nothing },
    };
    let (mut changes, left_out, upto) = span.changes(tx, replica, asked.max_changes.max(1))?;
    let more = upto < head.generation;
    if !more {
        for layer in &replica.layers {
            entered_or_left(tx, layer, from, &Sent::default(), &mut |change| {
                changes.push(as_sent(layer.collection, change));
                Ok(Flow::Continue(()))
            })?;
        }
    }
    Ok(Page {
        schema: (service.schema_version != asked.schema_version).then_some(service),
        changes,
        cursor: Cursor::bare(head.history, upto),
        layer_cursors: Vec::new(),
        more,
        download: more.then_some(Download {
            from,
            filters,
            begun,
        }),
        held: left_out,
    })
}

/// What a page covers: from `since` towards the head, for a replica that had what there was as of `from`, in a download
/// whose first page was read when the head was `begun`.
struct Span<'a> {
    from: Generation,
    since: Generation,
    begun: Generation,
    head: &'a Head,
    ahead: &'a Versions,
}

impl Span<'_> {
    /// The first changes of all layers by generation, what was left out of them, and the generation up to which they are
    /// complete.
    fn changes(
        &self,
        tx: &dyn ReadTx,
        replica: &Replica,
        most: usize,
    ) -> Result<(Vec<RemoteChange>, Versions, Generation)> {
        let mut all = Vec::new();
        let mut held = Versions::default();
        for layer in &replica.layers {
            let mut count = 0;
            let mut visit = |generation, change: DeltaChange| {
                if let DeltaChange::Add(version) | DeltaChange::Update(version) = &change {
                    let version = version_of(&version.track);
                    if self.ahead.contains(version) {
                        held.insert(version);
                        return Ok(Flow::Continue(()));
                    }
                }
                all.push((generation, as_sent(layer.collection, change)));
                count += 1;
                // One more than fits tells whether the page is the last.
                Ok(if count > most {
                    Flow::Break(())
                } else {
                    Flow::Continue(())
                })
            };
            self.layer_changes(tx, layer, &mut visit)?;
        }
        all.sort_by_key(|(generation, _)| *generation);
        let upto = if all.len() > most {
            all[most - 1].0
        } else {
            self.head.generation
        };
        all.truncate(most);
        let changes = all.into_iter().map(|(_, change)| change).collect();
        Ok((changes, held, upto))
    }

    fn layer_changes(
        &self,
        tx: &dyn ReadTx,
        layer: &ReplicaLayer,
        visit: &mut dyn FnMut(Generation, DeltaChange) -> Result<Flow>,
    ) -> Result<()> {
        if self.from == Generation::ZERO {
            return self.compared(tx, layer, visit);
        }
        if self.from < self.head.floor {
            return Err(below_floor(self.from));
        }
        let range = Range {
            had: self.from,
            since: self.since,
            upto: self.head.generation,
            is_forgotten: false,
        };
        changed(tx, layer, &range, &Sent::default(), visit)
    }

    /// The replica has nothing, or compares everything anew: rows that no page names go at its end. What an earlier
    /// page named and is gone since must be told.
    fn compared(
        &self,
        tx: &dyn ReadTx,
        layer: &ReplicaLayer,
        visit: &mut dyn FnMut(Generation, DeltaChange) -> Result<Flow>,
    ) -> Result<()> {
        let filter = layer.filter_now();
        let is_first = self.since == Generation::ZERO;
        let mut stopped = false;
        if is_first || self.since < self.head.floor {
            // Below the floor there is no feed of changes. What an earlier page named and is gone went after the first
            // page was read. Usually the replica's cursor holds the floor below that; not that of a copy of its file.
            if !is_first && self.begun < self.head.floor {
                return Err(below_floor(self.since));
            }
            tx.live_after(layer.collection, self.since, filter, &mut |version| {
                let generation = version.track.generation;
                if !is_first && generation > self.head.floor {
                    return Ok(Flow::Break(()));
                }
                let flow = visit(generation, DeltaChange::Add(version))?;
                stopped |= flow.is_break();
                Ok(flow)
            })?;
        }
        if is_first || stopped {
            return Ok(());
        }
        let range = Range {
            had: Generation::ZERO,
            since: self.since.max(self.head.floor),
            upto: self.head.generation,
            is_forgotten: self.begun < self.head.floor,
        };
        changed(tx, layer, &range, &Sent::default(), visit)
    }
}

fn version_of(track: &Track) -> RowVersion {
    RowVersion {
        revision: track.revision,
        generation: track.generation,
    }
}

fn as_sent(collection: CollectionId, change: DeltaChange) -> RemoteChange {
    match change {
        DeltaChange::Add(version) | DeltaChange::Update(version) => RemoteChange::Put {
            collection,
            version: version_of(&version.track),
            record: version.record,
        },
        DeltaChange::Remove { global_id, removal } => RemoteChange::Remove {
            collection,
            global_id,
            removal,
        },
    }
}

/// Whether a cursor is one of this history.
fn check_history(tx: &dyn ReadTx, head: &Head, cursor: Cursor) -> Result<()> {
    if cursor.history != head.history {
        return Err(Error::NewHistory {
            history: head.history,
            fork: tx.common_with(cursor.history)?.unwrap_or(Generation::ZERO),
        });
    }
    if cursor.generation > head.generation {
        return Err(Error::Resync {
            asked: cursor.generation,
            reason: "it is above the head",
        });
    }
    Ok(())
}

fn below_floor(asked: Generation) -> Error {
    Error::Resync {
        asked,
        reason: "it is below the retained history",
    }
}

/// Starts a new history if a valid cursor of the present one is above the head: proof that the server was rewound.
/// Call it when [`pull`] or [`push`] answered [`Error::Resync`] for such a cursor, commit, and ask again.
pub fn start_history_if_rewound(
    tx: &mut dyn WriteTx,
    cursor: Cursor,
    ids: &mut Ids<'_>,
) -> Result<bool> {
    let head = tx.head()?;
    if cursor.history != head.history || cursor.generation <= head.generation {
        return Ok(false);
    }
    tx.start_history(HistoryId((ids.0)()))?;
    Ok(true)
}

/// The number that the next batch of a replica must have.
pub fn next_batch(replica: &Replica) -> BatchNumber {
    BatchNumber(replica.last_batch.0 + 1)
}

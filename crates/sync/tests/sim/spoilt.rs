//! The deliberate bugs of the server: what it is sent, and what it tells, is spoilt.

use std::collections::BTreeSet;

use haversack_model::conflict::Decided;
use haversack_model::local::{ReplicaHeader, RowVersion};
use haversack_model::remote::{Page, RemoteChange};
use haversack_model::store::StoredReply;
use haversack_model::{
    BatchNumber, Edit, Generation, ReadTx, Replica, Result, Revision, Track, Value, Versions,
    WriteTx,
};
use haversack_sync::{Ids, Uploader, apply_edits};

use crate::chance::Chance;
use crate::memory::bug::Bug;
use crate::message::Request;
use crate::oracle::rows;
use crate::server::{Server, user_name};

impl Server<'_> {
    /// The deliberate bugs of an upload.
    pub fn spoil_push(
        &self,
        tx: &mut dyn WriteTx,
        replica: &mut Replica,
        batch: &mut haversack_model::local::FrozenBatch,
        hash: [u8; 32],
    ) -> Result<()> {
        match self.bug {
            Some(Bug::NoIdempotency) => {
                replica.last_batch = BatchNumber(batch.number.0 - 1);
                tx.store_replica(replica)?;
                let none = StoredReply {
                    batch: BatchNumber(0),
                    hash,
                    reply: Vec::new(),
                };
                tx.store_reply(replica.id, &none)?;
            }
            Some(Bug::CloneUnnoticed) => {
                if let Some(stored) = tx.stored_reply(replica.id)? {
                    tx.store_reply(replica.id, &StoredReply { hash, ..stored })?;
                }
            }
            Some(Bug::TouchIsAChange) => {
                for (collection, edit) in &mut batch.edits {
                    let track = tx.track(*collection, edit.global_id())?;
                    let moved =
                        track.is_some_and(|track| track.generation > batch.cursor.generation);
                    if let Edit::Update {
                        base: Some(base), ..
                    } = edit
                        && moved
                    {
                        for value in base.content.values.values_mut() {
                            *value = Value::from("another");
                        }
                        base.revision = Revision(0);
                    }
                }
            }
            Some(Bug::SilentUndelete) => {
                for (collection, edit) in &mut batch.edits {
                    let history = tx.history(*collection, edit.global_id())?;
                    let dead = tx
                        .track(*collection, edit.global_id())?
                        .is_some_and(|track| track.deleted);
                    if let (Edit::Update { mine, .. }, Some(last), true) =
                        (&*edit, history.first(), dead)
                    {
                        let mut record = last.record.clone();
                        mine.apply_to(&mut record);
                        *edit = Edit::Add {
                            record,
                            undelete: true,
                        };
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The first half of a batch in a transaction of its own, for [`Bug::HalfBatch`].
    pub fn store_half(&mut self, request: &Request, chance: &mut Chance) -> Result<()> {
        let Request::Push { header, batch, .. } = request else {
            return Ok(());
        };
        let mut tx = self.begin(chance)?;
        let (replica, user) = Self::replica(&*tx, header.id)?;
        if batch.edits.len() < 2 || replica.last_batch >= batch.number {
            return Ok(());
        }
        let name = user_name(user);
        let now = self.now(chance);
        let by = Uploader {
            user: &name,
            replica: Some(replica.id),
            policy: replica.policy,
            access: &self.users[user],
            cursor: Some(batch.cursor.generation),
        };
        let ids = &mut || chance.uuid();
        apply_edits(&mut *tx, &by, &batch.edits[..1], false, now, &mut Ids(ids))?;
        tx.commit()?;
        Ok(())
    }

    /// The replica as a spoilt download sees it.
    pub fn spoilt(&self, replica: &Replica) -> Replica {
        let mut replica = replica.clone();
        if self.bug == Some(Bug::FilterByPresentAlone) {
            for layer in &mut replica.layers {
                layer.filters = vec![(Generation::ZERO, layer.filter_now().clone())];
            }
        }
        replica
    }

    /// Forgets the decisions that stand, so that others take their place.
    pub fn reopen(tx: &mut dyn WriteTx, decided: &[Decided]) -> Result<()> {
        for told in decided {
            if let Some(mut conflict) = tx.conflict(told.conflict)? {
                conflict.resolution = None;
                tx.store_conflict(&conflict)?;
            }
        }
        Ok(())
    }

    /// The deliberate bugs of a page.
    pub fn spoil_page(
        &self,
        tx: &dyn ReadTx,
        replica: &Replica,
        header: &ReplicaHeader,
        page: &mut Page,
    ) {
        if self.bug == Some(Bug::EchoByOrigin) {
            page.changes.retain(|change| match change {
                RemoteChange::Put {
                    collection, record, ..
                } => tx
                    .track(*collection, &record.global_id)
                    .is_ok_and(|track| track.is_none_or(|t| t.origin != Some(replica.id))),
                RemoteChange::Remove { .. } => true,
            });
        }
        if self.bug == Some(Bug::HeldOutside) {
            page.held = header.ahead.clone();
            page.changes.retain(|change| match change {
                RemoteChange::Remove {
                    collection,
                    global_id,
                    ..
                } => tx
                    .track(*collection, global_id)
                    .is_ok_and(|track| track.is_none_or(|t| !header.ahead.contains(version(&t)))),
                RemoteChange::Put { .. } => true,
            });
        }
        if self.bug == Some(Bug::ClockCursor) {
            let since = header.synced_at.unwrap_or_default();
            page.changes.retain(|change| match change {
                RemoteChange::Put {
                    collection, record, ..
                } => tx
                    .track(*collection, &record.global_id)
                    .is_ok_and(|track| track.is_none_or(|t| t.stamp > since)),
                RemoteChange::Remove { .. } => true,
            });
        }
    }
}

fn version(track: &Track) -> RowVersion {
    RowVersion {
        revision: track.revision,
        generation: track.generation,
    }
}

/// The versions that stand at the generations of others.
pub fn standing(tx: &dyn ReadTx, ahead: &Versions) -> Result<Versions> {
    let generations: BTreeSet<_> = ahead
        .upto(Generation(u64::MAX))
        .map(|v| v.generation)
        .collect();
    let mut found = Versions::default();
    for (_, row) in rows(tx)? {
        if generations.contains(&row.track.generation) {
            found.insert(version(&row.track));
        }
    }
    Ok(found)
}

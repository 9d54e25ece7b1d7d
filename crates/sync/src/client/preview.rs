//! What a sync would do, without doing it.

use std::collections::BTreeMap;

use haversack_model::local::{LocalReplica, ReplicaHeader};
use haversack_model::remote::RemoteChange;
use haversack_model::{
    Changes, CollectionId, GlobalId, OutboxEntry, Record, Remote, Result, SyncState, Theirs,
};

use super::{PlannedUpload, Preview};
use crate::merge::{three_way, whole};

/// The server's version of a record since the replica's cursor; `None`: it has none.
type Newer = BTreeMap<(CollectionId, GlobalId), Option<Record>>;

/// Puts and removals per collection.
type Counts = Vec<(CollectionId, u64, u64)>;

/// What [`synchronise`](super::synchronise) would do. Nothing is stored on either side.
///
/// # Errors
/// Those of the remote; [`Error::Resync`](haversack_model::Error::Resync) and
/// [`Error::NewHistory`](haversack_model::Error::NewHistory) mean that a sync would compare everything anew.
pub fn preview(local: &mut dyn LocalReplica, remote: &mut dyn Remote) -> Result<Preview> {
    let (header, entries, mine) = {
        let tx = local.begin()?;
        let entries = tx.entries()?;
        let mut mine = Vec::with_capacity(entries.len());
        for entry in &entries {
            mine.push(if entry.deleted {
                None
            } else {
                tx.row(entry.collection, &entry.global_id)?
            });
        }
        (tx.header()?, entries, mine)
    };
    let (newer, downloads) = read_ahead(remote, header, &entries)?;
    let uploads = entries
        .into_iter()
        .zip(mine)
        .filter(|(entry, _)| entry.state != SyncState::Error)
        .map(|(entry, mine)| plan(entry, mine, &newer))
        .filter(|planned| planned.mine.is_none() || !planned.changes.is_empty())
        .collect();
    Ok(Preview { uploads, downloads })
}

fn read_ahead(
    remote: &mut dyn Remote,
    mut header: ReplicaHeader,
    entries: &[OutboxEntry],
) -> Result<(Newer, Counts)> {
    let mut newer = Newer::new();
    let mut counts: BTreeMap<CollectionId, (u64, u64)> = BTreeMap::new();
    let edited: std::collections::BTreeSet<_> = entries
        .iter()
        .map(|entry| (entry.collection, &entry.global_id))
        .collect();
    loop {
        let page = remote.pull(&header)?;
        for change in page.changes {
            let (collection, id, record) = match change {
                RemoteChange::Put {
                    collection, record, ..
                } => (collection, record.global_id.clone(), Some(record)),
                RemoteChange::Remove {
                    collection,
                    global_id,
                    ..
                } => (collection, global_id, None),
            };
            let count = counts.entry(collection).or_default();
            if record.is_some() {
                count.0 += 1;
            } else {
                count.1 += 1;
            }
            if edited.contains(&(collection, &id)) {
                newer.insert((collection, id), record);
            }
        }
        header.cursor = page.cursor;
        header.download = page.download;
        if !page.layer_cursors.is_empty() {
            header.layer_cursors = page.layer_cursors;
        }
        if !page.more {
            let downloads = counts
                .into_iter()
                .map(|(of, (put, removed))| (of, put, removed));
            return Ok((newer, downloads.collect()));
        }
    }
}

fn plan(entry: OutboxEntry, mine: Option<Record>, newer: &Newer) -> PlannedUpload {
    let base = entry.base.map(|(record, _)| record);
    let key = (entry.collection, entry.global_id);
    let theirs = match (newer.get(&key), entry.theirs) {
        (Some(now), _) => now.clone(),
        (None, Theirs::Row { record, .. }) => Some(record),
        (None, Theirs::Removed(_)) => None,
        (None, Theirs::Unchanged) => base.clone(),
    };
    let changes = match (&base, &mine) {
        (Some(base), Some(mine)) => Changes::between(base, mine),
        (None, Some(mine)) => whole(mine),
        (_, None) => Changes::default(),
    };
    let known = base.as_ref().map(whole).unwrap_or_default();
    let clashes = match &theirs {
        Some(theirs) => three_way(&known, &changes, theirs).clashes,
        None => Changes::default(),
    };
    let conflict = match (&base, &mine, &theirs) {
        (_, None, None) | (None, Some(_), None) => false,
        (Some(base), None, Some(theirs)) => !base.same_content(theirs),
        (Some(_), Some(_), None) | (None, None, Some(_)) => true,
        (_, Some(_), Some(_)) => !clashes.is_empty(),
    };
    PlannedUpload {
        collection: key.0,
        global_id: key.1,
        base,
        mine,
        theirs,
        changes,
        clashes,
        conflict,
    }
}

//! A page of the download: rows without local work are replaced, rows with it keep the server's version beside them.

use std::collections::HashSet;

use haversack_model::edit::Base;
use haversack_model::local::{Removal, ReplicaHeader};
use haversack_model::remote::{Page, RemoteChange};
use haversack_model::{
    CollectionId, Edit, Generation, GlobalId, OutboxEntry, Record, ReplicaTx, Result, Revision,
    RowVersion, Service, SyncState, Theirs,
};

use super::freeze::{
    has_arrived, is_stored, keep_seen, made_here, put_confirmed, remove_confirmed,
};
use crate::merge::{whole, widen};
use crate::states::{self, Event, Step};

/// Stores a page that answers the request with the header `asked`, in one transaction with the cursor. A page for
/// another cursor or schema (a late answer, another process was faster) is dropped: `None`. Gives how many rows went that
/// the page does not name.
pub fn apply_page(
    tx: &mut dyn ReplicaTx,
    asked: &ReplicaHeader,
    page: &Page,
) -> Result<Option<u64>> {
    let mut header = tx.header()?;
    let fits = header.id == asked.id
        && header.cursor == asked.cursor
        && header.download == asked.download
        && header.layer_cursors == asked.layer_cursors
        && header.schema_version == asked.schema_version;
    if !fits {
        return Ok(None);
    }
    if let Some(service) = &page.schema {
        doubt_ahead(tx, &mut header)?;
        apply_schema(tx, service)?;
        header.schema_version = service.schema_version;
    }
    for change in &page.changes {
        match change {
            RemoteChange::Put {
                collection,
                record,
                version,
            } => put(tx, header.resyncing, *collection, record, *version)?,
            RemoteChange::Remove {
                collection,
                global_id,
                removal,
            } if !is_ahead(tx, *collection, global_id, page)? => {
                let seen = page.cursor.generation;
                remove(tx, *collection, global_id, *removal, seen)?;
            }
            RemoteChange::Remove { .. } => {}
        }
    }
    let mut gone = leave_behind(tx, &header, page)?;
    header.cursor = page.cursor;
    header.download = page.download;
    header.ahead.drop_upto(page.cursor.generation);
    for (collection, generation) in &page.layer_cursors {
        match header
            .layer_cursors
            .iter_mut()
            .find(|(of, _)| of == collection)
        {
            Some((_, known)) => *known = *generation,
            None => header.layer_cursors.push((*collection, *generation)),
        }
    }
    if header.resyncing && !page.more {
        gone += sweep(tx)?;
        header.resyncing = false;
    }
    tx.store_header(&header)?;
    Ok(Some(gone))
}

/// An answer to an upload brings versions ahead of the cursor. A download that passes such a version without naming
/// the record tells that it has gone again: the feed knows nothing of what came and went between two cursors.
fn leave_behind(tx: &mut dyn ReplicaTx, before: &ReplicaHeader, page: &Page) -> Result<u64> {
    let (from, upto) = (before.cursor.generation, page.cursor.generation);
    let begun = before.download.map_or(from, |download| download.from);
    // The pages of a full comparison tell of all that went.
    if upto == from || begun == Generation::ZERO || before.cursor.history != page.cursor.history {
        return Ok(0);
    }
    if tells_all_ahead(before, page) {
        return Ok(0);
    }
    let changes = page.changes.iter();
    let named: HashSet<_> = changes
        .map(|change| match change {
            RemoteChange::Put {
                collection, record, ..
            } => (*collection, &record.global_id),
            RemoteChange::Remove {
                collection,
                global_id,
                ..
            } => (*collection, global_id),
        })
        .collect();
    let mut gone = 0;
    for (collection, edit) in tx.receipts_above(begun)? {
        let id = edit.global_id();
        let is_named = named.contains(&(collection, id));
        let Some(version) = tx.version(collection, id)?.filter(|_| !is_named) else {
            continue;
        };
        if version.generation <= from || version.generation > upto || page.held.contains(version) {
            continue;
        }
        if page.more {
            // It may have changed once more: a later page will name it.
            let version = RowVersion {
                generation: upto.next(),
                ..version
            };
            tx.store_version(collection, id, Some(version))?;
        } else {
            tx.store_version(collection, id, None)?;
            remove(tx, collection, id, Removal::Left, upto)?;
            gone += 1;
        }
    }
    Ok(gone)
}

/// Whether a page names all versions that the file has ahead of its cursor, or says that they stand: the usual case,
/// in which no record need be looked up.
fn tells_all_ahead(before: &ReplicaHeader, page: &Page) -> bool {
    // A page before this one may have raised versions, and one with a schema finds none.
    if before.ahead.is_empty() || before.download.is_some() || page.schema.is_some() {
        return false;
    }
    let named: HashSet<_> = page
        .changes
        .iter()
        .filter_map(|change| match change {
            RemoteChange::Put { version, .. } => Some(*version),
            RemoteChange::Remove { .. } => None,
        })
        .collect();
    let mut passed = before.ahead.upto(page.cursor.generation);
    passed.all(|version| page.held.contains(version) || named.contains(&version))
}

/// What answers to uploads told in an older schema lacks the new fields: the page and those after it tell it again.
fn doubt_ahead(tx: &mut dyn ReplicaTx, header: &mut ReplicaHeader) -> Result<()> {
    let from = header.cursor.generation;
    for (collection, edit) in tx.receipts_above(from)? {
        let id = edit.global_id();
        if let Some(version) = tx.version(collection, id)?
            && version.generation > from
        {
            let doubted = RowVersion {
                revision: Revision(0),
                ..version
            };
            tx.store_version(collection, id, Some(doubted))?;
            header.ahead.insert(doubted);
        }
        if let Some(mut entry) = tx.entry(collection, id)?
            && let Some((_, version)) = &mut entry.base
            && version.generation > from
        {
            version.revision = Revision(0);
            tx.store_entry(&entry)?;
        }
    }
    Ok(())
}

fn apply_schema(tx: &mut dyn ReplicaTx, service: &Service) -> Result<()> {
    let held = tx.collections()?;
    let now: Vec<_> = held
        .iter()
        .filter_map(|collection| match collection.id.attachments_of() {
            Some(parent) => service
                .collection(parent)
                .map(haversack_model::Collection::attachments),
            None => service.collection(collection.id).cloned(),
        })
        .collect();
    tx.store_collections(&now)?;
    widen_unsent(tx)
}

/// Versions kept beside unsent work get the columns that were added.
fn widen_unsent(tx: &mut dyn ReplicaTx) -> Result<()> {
    let collections = tx.collections()?;
    for mut entry in tx.entries()? {
        let Some(shape) = collections.iter().find(|c| c.id == entry.collection) else {
            continue;
        };
        let before = entry.clone();
        if let Some((base, _)) = &mut entry.base {
            widen(base, shape);
        }
        if let Theirs::Row { record, .. } = &mut entry.theirs {
            widen(record, shape);
        }
        if let Some(Some(sent)) = &mut entry.sent {
            widen(sent, shape);
        }
        if entry != before {
            tx.store_entry(&entry)?;
        }
    }
    Ok(())
}

fn put(
    tx: &mut dyn ReplicaTx,
    resyncing: bool,
    collection: CollectionId,
    record: &Record,
    version: RowVersion,
) -> Result<()> {
    let id = &record.global_id;
    let Some(entry) = tx.entry(collection, id)? else {
        if is_known(tx.version(collection, id)?, version) {
            return Ok(());
        }
        return put_confirmed(tx, collection, record, version);
    };
    if resyncing && tx.version(collection, id)?.is_some() {
        // Seen: the end of the resync must not take it for gone.
        tx.store_version(collection, id, Some(version))?;
    }
    put_beside(tx, entry, record, version)
}

/// A version of the server beside unsent work.
fn put_beside(
    tx: &mut dyn ReplicaTx,
    mut entry: OutboxEntry,
    record: &Record,
    version: RowVersion,
) -> Result<()> {
    let (collection, id) = (entry.collection, &record.global_id);
    let was_removed = matches!(entry.theirs, Theirs::Removed(_));
    let base = entry.base.as_ref().map(|(_, base)| *base);
    if is_known(base, version) && !was_removed {
        return Ok(());
    }
    if let Some((base, known)) = &mut entry.base
        && base.same_content(record)
    {
        // Touched, or it had left and is back as it was.
        *known = version;
        entry.theirs = Theirs::Unchanged;
        return tx.store_entry(&entry);
    }
    if states::step(Event::Downloaded, Some(entry.state)) != Step::Beside {
        return Ok(());
    }
    let is_doubted = base.is_none_or(|base| base == RowVersion::UNKNOWN);
    if entry.batch.is_none()
        && is_doubted
        && let Some(Some(sent)) = &entry.sent
        && is_stored(&tx.collections()?, collection, sent, record)
    {
        // Nobody knew whether it had arrived: it has.
        has_arrived(tx, &mut entry, record, version)?;
        if entry.state == SyncState::ToPost {
            entry.state = states::pending(true);
        }
        return tx.store_entry(&entry);
    }
    if entry.batch.is_none()
        && !entry.deleted
        && let Some(mine) = tx.row(collection, id)?
        && mine.same_content(record)
    {
        // Both did the same.
        keep_seen(tx, collection, &made_here(&entry, mine), version)?;
        put_confirmed(tx, collection, record, version)?;
        return tx.remove_entry(collection, id);
    }
    entry.theirs = Theirs::Row {
        record: record.clone(),
        version,
    };
    tx.store_entry(&entry)
}

/// An answer to an upload brings its versions ahead of the pages, which may be older or tell the same again. The
/// generation alone does not tell that: `leave_behind` raises it.
fn is_known(known: Option<RowVersion>, version: RowVersion) -> bool {
    known.is_some_and(|known| known == version || known.generation > version.generation)
}

/// Whether an answer to an upload brought a version that is newer than a whole page: what that removes is back.
fn is_ahead(
    tx: &dyn ReplicaTx,
    collection: CollectionId,
    id: &GlobalId,
    page: &Page,
) -> Result<bool> {
    let known = match tx.entry(collection, id)? {
        Some(entry) => entry.known(),
        None => tx.version(collection, id)?,
    };
    Ok(known.is_some_and(|known| known.generation > page.cursor.generation))
}

/// `seen`: up to where the server tells of it.
fn remove(
    tx: &mut dyn ReplicaTx,
    collection: CollectionId,
    id: &GlobalId,
    removal: Removal,
    seen: Generation,
) -> Result<()> {
    let Some(mut entry) = tx.entry(collection, id)? else {
        return remove_confirmed(tx, collection, id);
    };
    if entry.batch.is_none() && entry.deleted && removal == Removal::Deleted {
        // Both did the same.
        let base = entry.base.as_ref().map(|(base, version)| Base {
            revision: version.revision,
            content: whole(base),
        });
        let edit = Edit::Delete {
            global_id: id.clone(),
            base,
        };
        let version = RowVersion {
            revision: Revision(0),
            generation: seen,
        };
        keep_seen(tx, collection, &edit, version)?;
        remove_confirmed(tx, collection, id)?;
        return tx.remove_entry(collection, id);
    }
    if states::step(Event::Removed, Some(entry.state)) == Step::Beside {
        entry.theirs = Theirs::Removed(removal);
        tx.store_entry(&entry)?;
    }
    Ok(())
}

/// The end of a full resync: what the server did not name is not in this part. Whether it was deleted is not known,
/// so a local deletion stays in the outbox.
fn sweep(tx: &mut dyn ReplicaTx) -> Result<u64> {
    let mut gone = 0;
    for collection in tx.collections()? {
        for id in tx.confirmed(collection.id)? {
            let version = tx.version(collection.id, &id)?;
            if version.is_some_and(|version| version.generation == Generation::ZERO) {
                tx.store_version(collection.id, &id, None)?;
                if tx.entry(collection.id, &id)?.is_none() {
                    remove(tx, collection.id, &id, Removal::Left, Generation::ZERO)?;
                    gone += 1;
                }
            }
        }
    }
    for mut entry in tx.entries()? {
        let unseen = |known: RowVersion| known.generation == Generation::ZERO;
        if !entry.known().is_some_and(unseen) {
            continue;
        }
        if let (None, None, Some(Some(sent))) = (entry.batch, &entry.base, &entry.sent) {
            // It seemed to have arrived: others may have deleted it, and that is not undone without being asked for.
            entry.base = Some((sent.clone(), RowVersion::UNKNOWN));
            tx.store_entry(&entry)?;
        }
        let seen = Generation::ZERO;
        remove(tx, entry.collection, &entry.global_id, Removal::Left, seen)?;
    }
    Ok(gone)
}

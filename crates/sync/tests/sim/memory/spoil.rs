//! The deliberate bugs of a replica file: what a transaction would have stored is spoilt at its commit.

use haversack_model::{SyncState, Theirs};

use super::bug::Bug;
use super::replica::File;

/// Spoils what is about to be stored. `true`: the program is killed in the middle, with `now` as it then is.
pub fn spoil(bug: Bug, now: &mut File, new: &mut File, strikes: bool) -> bool {
    let was_answered = now
        .batches
        .keys()
        .any(|number| !new.batches.contains_key(number));
    match bug {
        Bug::ClearAllOnReply if was_answered => new.outbox.clear(),
        Bug::OldBaseAfterReceipt if was_answered => {
            for (key, entry) in new.outbox.iter_mut() {
                if let Some(old) = now.outbox.get(key).filter(|old| old.batch.is_some())
                    && old.base.is_some()
                {
                    entry.base.clone_from(&old.base);
                }
            }
        }
        Bug::RejectedForgotten => new
            .outbox
            .retain(|_, entry| entry.state != SyncState::Error),
        Bug::WarningForgotten => new
            .outbox
            .retain(|_, entry| entry.state != SyncState::Warning),
        Bug::ConflictForgotten => new.conflicts.clone_from(&now.conflicts),
        Bug::CursorBeforeRows
            if strikes && now.header.cursor != new.header.cursor && now.rows != new.rows =>
        {
            now.header.clone_from(&new.header);
            return true;
        }
        Bug::DownloadOverwritesDirty => {
            let hit: Vec<_> = new
                .outbox
                .iter()
                .filter(|(key, entry)| {
                    entry.theirs != Theirs::Unchanged && now.outbox.get(*key) != Some(*entry)
                })
                .map(|(key, entry)| (key.clone(), entry.theirs.clone()))
                .collect();
            for (key, theirs) in hit {
                if let Theirs::Row { record, version } = theirs {
                    new.rows.insert(key.clone(), record.into());
                    new.versions.insert(key.clone(), version);
                    new.outbox.remove(&key);
                }
            }
        }
        Bug::TheirsNotKept => {
            for entry in new.outbox.values_mut() {
                entry.theirs = Theirs::Unchanged;
            }
        }
        Bug::ResyncKeepsRows if now.header.resyncing && !new.header.resyncing => {
            for (key, row) in now.rows.iter() {
                if !new.rows.contains_key(key) && !new.outbox.contains_key(key) {
                    new.rows.insert(key.clone(), row.clone());
                }
            }
        }
        Bug::ResyncDropsEdits if !now.header.resyncing && new.header.resyncing => {
            new.outbox.clear();
        }
        Bug::ReceiptsForgotten => new.receipts.clear(),
        _ => {}
    }
    false
}

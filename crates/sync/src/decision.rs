//! Decisions of conflicts, wherever they were made: what one stores, and how it gets to the other side.
//!
//! A decision has two parts. Its content is an edit like any other. That it was made closes the conflict: it travels between
//! replica and server as a message that may be repeated, and whichever decision a server got first stands in its row.
//! Rule source: DESIGN 5, *Conflict*.

use haversack_model::conflict::Decided;
use haversack_model::{
    Changes, Collection, Conflict, ConflictId, Edit, Principal, ReadTx, Record, Replica, Result,
    Timestamp, WriteTx,
};

use crate::merge::{take_fields, widen};

/// What can have been decided.
pub const KEPT: [&str; 5] = ["mine", "theirs", "base", "stored", "edited"];

/// The record that a decision for `chosen` makes of the one that is there now: only what the conflict was about is set,
/// because the rest may have gone on since. Where somebody wrote a content of their own (`is_edited`), so is what they
/// wrote beyond that.
pub fn decide_for(
    collection: &Collection,
    conflict: &Conflict,
    now: &Record,
    chosen: &Record,
    is_edited: bool,
) -> Record {
    if conflict.fields.is_empty() {
        return Record {
            global_id: now.global_id.clone(),
            object_id: now.object_id,
            ..chosen.clone()
        };
    }
    let versions = [&conflict.mine, &conflict.theirs];
    let mut record = now.clone();
    take_fields(collection, &conflict.fields, chosen, &mut record);
    if is_edited {
        for (at, to) in record.values.iter_mut().enumerate() {
            let Some(own) = chosen.values.get(at) else {
                continue;
            };
            let mut known = versions.iter().copied().flatten();
            if known.all(|version| version.values.get(at) != Some(own)) {
                to.clone_from(own);
            }
        }
    }
    record
}

/// The online edit that makes a decision for `wanted` (`None`: the deletion) true on the server; `None` if it is already.
///
/// # Errors
/// The store's.
pub fn edit_for(
    tx: &dyn ReadTx,
    conflict: &Conflict,
    wanted: Option<&Record>,
    is_edited: bool,
) -> Result<Option<Edit>> {
    let global_id = conflict.global_id.clone();
    let now = tx.record(conflict.collection, &global_id)?;
    Ok(match (wanted, now) {
        (None, None) => None,
        (None, Some(_)) => Some(Edit::Delete {
            global_id,
            base: None,
        }),
        (Some(chosen), None) => {
            let record = Record {
                global_id,
                object_id: None,
                ..chosen.clone()
            };
            Some(Edit::Add {
                record,
                undelete: true,
            })
        }
        (Some(chosen), Some(now)) => {
            let shape = tx.collection(conflict.collection)?;
            let mut chosen = chosen.clone();
            // The version may be of an older shape.
            widen(&mut chosen, &shape);
            let record = decide_for(&shape, conflict, &now.record, &chosen, is_edited);
            let mine = Changes::between(&now.record, &record);
            (!mine.is_empty()).then_some(Edit::Update {
                global_id,
                mine,
                base: None,
            })
        }
    })
}

/// The server's side of an exchange: closes the conflicts that a replica decided, where they are still open, and gives the
/// decisions that stand for all that were named. Nothing comes back of an open one, or of one that nobody here may see; what
/// was decided of a conflict that is not known is given back as it came, so that it is not told again.
///
/// `may_edit`: whether the caller may close conflicts at all.
///
/// # Errors
/// The store's.
pub fn exchange(
    tx: &mut dyn WriteTx,
    replica: &Replica,
    by: &Principal,
    may_edit: bool,
    decided: &[Decided],
    open: &[ConflictId],
    now: Timestamp,
) -> Result<Vec<Decided>> {
    let mut stand = Vec::new();
    for told in decided {
        let Some(mut conflict) = visible(tx, replica, by, told.conflict)? else {
            stand.push(told.clone());
            continue;
        };
        if conflict.resolution.is_none()
            && may_edit
            && KEPT.contains(&told.resolution.kept.as_str())
        {
            let mut resolution = told.resolution.clone();
            if !by.name.is_empty() {
                resolution.user.clone_from(&by.name);
            }
            resolution.at = resolution.at.min(now);
            resolution.told = true;
            conflict.resolution = Some(resolution);
            tx.store_conflict(&conflict)?;
        }
        stand.extend(standing(&conflict));
    }
    stand.extend(closed(tx, replica, by, open)?);
    Ok(stand)
}

/// The decisions that stand for conflicts which a replica holds open.
///
/// # Errors
/// The store's.
pub fn closed(
    tx: &dyn ReadTx,
    replica: &Replica,
    by: &Principal,
    open: &[ConflictId],
) -> Result<Vec<Decided>> {
    let mut found = Vec::new();
    for id in open {
        if let Some(conflict) = visible(tx, replica, by, *id)? {
            found.extend(standing(&conflict));
        }
    }
    Ok(found)
}

/// A conflict of this replica, or of the same person: a file that got a new identity keeps its conflicts.
fn visible(
    tx: &dyn ReadTx,
    replica: &Replica,
    by: &Principal,
    id: ConflictId,
) -> Result<Option<Conflict>> {
    let found = tx.conflict(id)?;
    Ok(found.filter(|conflict| {
        by.is_admin || conflict.replica == Some(replica.id) || conflict.user == by.name
    }))
}

fn standing(conflict: &Conflict) -> Option<Decided> {
    let resolution = conflict.resolution.clone()?;
    Some(Decided {
        conflict: conflict.id,
        resolution,
    })
}

//! Up: what devices changed in the face since the cursor becomes edits of the copy.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use haversack_model::documents::DocumentRead;
use haversack_model::store::ChangeQuery;
use haversack_model::{Filter, Generation, ReplicaTx, Timestamp};

use super::edit::{Edited, edit, keep_both};
use super::family::View;
use super::{Mark, Result};
use crate::face::instance::Instance;
use crate::remote::copy;
use crate::remote::layout::{Layout, Role};
use crate::wire::tracker::Kind;

/// Collects the changes up to the head of `read`; gives how many records of the copy were edited. The cursor stands at the head afterwards.
pub(super) fn collect(
    instance: &Instance,
    read: &dyn DocumentRead,
    tx: &mut dyn ReplicaTx,
    now: Timestamp,
) -> Result<usize> {
    let head = Mark::of_head(read)?;
    let begin = begin(read, tx)?;
    if begin == Begin::At(head.generation) {
        return Ok(0);
    }
    let since = match begin {
        Begin::At(since) => since,
        Begin::Rewound(since) => {
            every_name(tx)?;
            since
        }
        Begin::Anew => {
            every_name(tx)?;
            Generation::ZERO
        }
    };
    let layout = Layout::of(&tx.collections()?);
    let view = |at| View { instance, read, at };
    let (then, present) = (view(Some(since)), view(None));
    let mut edited = 0;
    for kind in Kind::ALL {
        for uid in changed(instance, read, kind, (since, head.generation))? {
            let before = then.records(&layout, kind, &uid)?;
            let after = present.records(&layout, kind, &uid)?;
            let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
            let mut by = None;
            for key in keys {
                let (before, after) = (before.get(key), after.get(key));
                if before == after {
                    continue;
                }
                let by = match &by {
                    Some(by) => by,
                    None => by.insert(present.by(kind, &uid)?),
                };
                let Some(table) = layout.table(key.0) else {
                    continue;
                };
                if begin == Begin::Anew && tx.row(key.0, &key.1)?.is_some() {
                    keep_both(tx, table, after, by, now)?;
                    continue;
                }
                let told = Edited { before, after, by };
                edited += usize::from(edit(tx, table, &key.1, &told, now)?);
            }
        }
    }
    head.store(tx)?;
    Ok(edited)
}

/// Histories begin at multiples of this generation, where nothing was pruned since.
const HISTORY: u64 = 1 << 40;

/// Where the changes begin that the copy does not have yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    /// After this generation.
    At(Generation),
    /// After this one, with which a new history began when the face was put back: what the copy got since then comes down again.
    Rewound(Generation),
    /// The history is gone.
    Anew,
}

fn begin(read: &dyn DocumentRead, tx: &dyn ReplicaTx) -> Result<Begin> {
    let Some(mark) = Mark::load(tx)? else {
        return Ok(Begin::At(Generation::ZERO));
    };
    let head = read.head()?;
    if mark.history == head.history && (head.floor..=head.generation).contains(&mark.generation) {
        return Ok(Begin::At(mark.generation));
    }
    let common = read.common_with(mark.history)?;
    // A new history begins at its floor, with what the old one had where they parted. What devices had done until then is collected.
    let is_known = common.is_some_and(|common| common <= mark.generation);
    if is_known && mark.history != head.history && head.floor.0.is_multiple_of(HISTORY) {
        tracing::warn!(
            "the data of this server was put back to a backup: what came since then comes again"
        );
        return Ok(Begin::Rewound(head.floor));
    }
    tracing::warn!(floor = %head.floor, "what devices changed is compared anew: its history is gone");
    Ok(Begin::Anew)
}

/// Has all that the copy holds come down again.
fn every_name(tx: &mut dyn ReplicaTx) -> Result<()> {
    let layout = Layout::of(&tx.collections()?);
    for table in layout.tables() {
        if table.role.kind().is_some() || table.role == Role::Notes {
            for id in tx.confirmed(table.id())? {
                copy::came(tx, table.id(), &id)?;
            }
        }
    }
    for entry in tx.entries()? {
        copy::came(tx, entry.collection, &entry.global_id)?;
    }
    Ok(())
}

/// The objects of a kind that were changed or touched.
fn changed(
    instance: &Instance,
    read: &dyn DocumentRead,
    kind: Kind,
    (since, upto): (Generation, Generation),
) -> Result<Vec<String>> {
    let query = ChangeQuery {
        collection: instance.collection(kind.collection())?,
        since,
        upto,
        filter: &Filter::All,
        filter_then: &Filter::All,
    };
    let mut uids = Vec::new();
    read.changes(&query, &mut |change| {
        uids.push(change.global_id.to_string());
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(uids)
}

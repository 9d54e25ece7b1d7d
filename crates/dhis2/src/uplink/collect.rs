//! Up: what devices changed in the face since the cursor becomes edits of the copy.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use haversack_model::documents::DocumentRead;
use haversack_model::store::ChangeQuery;
use haversack_model::{Filter, Generation, ReplicaTx, Timestamp};

use super::edit::{Edited, edit, keep_both};
use super::family::{Records, View};
use super::files::{self, Names};
use super::{Mark, Result, aggregate, glass};
use crate::face::instance::Instance;
use crate::face::tracker::ownership::BROKEN;
use crate::remote::copy;
use crate::remote::layout::Layout;
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
    let names = Names::load(tx)?;
    let view = |at| View {
        instance,
        read,
        at,
        names: &names,
    };
    let (then, present) = (view(Some(since)), view(None));
    let mut collecting = Collecting {
        instance,
        read,
        tx,
        layout: &layout,
        is_anew: begin == Begin::Anew,
        now,
        edited: 0,
    };
    let range = (since, head.generation);
    for kind in Kind::ALL {
        for uid in changed(instance, read, kind.collection(), range)? {
            let before = then.records(&layout, kind, &uid)?;
            let after = present.records(&layout, kind, &uid)?;
            collecting.all(&before, &after, &|| {
                present.by(kind.collection(), &uid, "by")
            })?;
        }
    }
    for (collection, id) in aggregate::BOTH {
        let Some(table) = layout.table(id) else {
            continue;
        };
        for id in changed(instance, read, collection, range)? {
            let before = then.aggregate(table, &id)?;
            let after = present.aggregate(table, &id)?;
            collecting.all(&before, &after, &|| present.by(collection, &id, "storedBy"))?;
        }
    }
    let edited = collecting.edited;
    for id in changed(instance, read, BROKEN, range)? {
        // Those that are over are removed.
        if let Some(found) = instance.object(read, BROKEN, &id)? {
            glass::collect(tx, found)?;
        }
    }
    head.store(tx)?;
    Ok(edited)
}

struct Collecting<'a> {
    instance: &'a Instance,
    read: &'a dyn DocumentRead,
    tx: &'a mut dyn ReplicaTx,
    layout: &'a Layout,
    /// Whether what devices had before is not known.
    is_anew: bool,
    now: Timestamp,
    edited: usize,
}

impl Collecting<'_> {
    /// Puts what differs between the records of a document before and after into the outbox, with the files that it names.
    fn all(
        &mut self,
        before: &Records,
        after: &Records,
        by: &dyn Fn() -> Result<String>,
    ) -> Result<()> {
        let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
        let mut who = None;
        for key in keys {
            let (before, after) = (before.get(key), after.get(key));
            if before == after {
                continue;
            }
            let who = match &who {
                Some(who) => who,
                None => who.insert(by()?),
            };
            let Some(table) = self.layout.table(key.0) else {
                continue;
            };
            if self.is_anew && self.tx.row(key.0, &key.1)?.is_some() {
                keep_both(self.tx, table, after, who, self.now)?;
                continue;
            }
            if let Some(after) = after {
                let of = (self.layout, table);
                files::collect(self.instance, self.read, self.tx, of, (after, who))?;
            }
            let told = Edited {
                before,
                after,
                by: who,
            };
            self.edited += usize::from(edit(self.tx, table, &key.1, &told, self.now)?);
        }
        Ok(())
    }
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
        if super::install::rank(table).is_some() {
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

/// The documents of a collection that were changed or touched.
fn changed(
    instance: &Instance,
    read: &dyn DocumentRead,
    collection: &str,
    (since, upto): (Generation, Generation),
) -> Result<Vec<String>> {
    let query = ChangeQuery {
        collection: instance.collection(collection)?,
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

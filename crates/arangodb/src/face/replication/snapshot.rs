//! Reading a collection as it was at the generation of a batch.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use haversack_model::documents::DocumentRead;
use haversack_model::store::ChangeQuery;
use haversack_model::{Collection, Filter, Generation, GlobalId, Revision, Versioned};

use super::super::problem::Result;

/// A collection at a generation.
pub(super) struct Snapshot<'a> {
    tx: &'a dyn DocumentRead,
    pub(super) collection: &'a Collection,
    generation: Generation,
    /// What has changed since, and the revision that it had then.
    changed: BTreeMap<GlobalId, Option<Revision>>,
}

impl<'a> Snapshot<'a> {
    /// Costs what has changed since.
    pub(super) fn new(
        tx: &'a dyn DocumentRead,
        collection: &'a Collection,
        generation: Generation,
    ) -> Result<Self> {
        let head = tx.head()?.generation;
        let mut changed = BTreeMap::new();
        if head > generation {
            let query = ChangeQuery {
                collection: collection.id,
                since: generation,
                upto: head,
                filter: &Filter::All,
                filter_then: &Filter::All,
            };
            tx.changes(&query, &mut |change| {
                changed.insert(change.global_id, None);
                Ok(ControlFlow::Continue(()))
            })?;
            for (id, then) in &mut changed {
                let found = tx.record_as_of(collection.id, id, generation)?;
                *then = found.map(|found| found.track.revision);
            }
        }
        Ok(Self {
            tx,
            collection,
            generation,
            changed,
        })
    }

    /// How many documents there were.
    pub(super) fn count(&self) -> Result<u64> {
        let now = self.tx.count(self.collection.id)?;
        let mut live_now = 0;
        for id in self.changed.keys() {
            let track = self.tx.track(self.collection.id, id)?;
            live_now += u64::from(track.is_some_and(|track| !track.deleted));
        }
        let live_then = self.changed.values().flatten().count() as u64;
        Ok((now + live_then).saturating_sub(live_now))
    }

    /// Documents with keys above `after`, in the order of their keys.
    pub(super) fn by_key(
        &self,
        after: Option<&str>,
        visit: &mut dyn FnMut(Versioned) -> ControlFlow<()>,
    ) -> Result<()> {
        let (id, at) = (self.collection.id, self.generation);
        Ok(self
            .tx
            .live_as_of(id, at, after, &mut |found| Ok(visit(found)))?)
    }

    /// One document.
    pub(super) fn document(&self, id: &GlobalId) -> Result<Option<Versioned>> {
        if self.changed.contains_key(id) {
            return Ok(self
                .tx
                .record_as_of(self.collection.id, id, self.generation)?);
        }
        Ok(self.tx.record(self.collection.id, id)?)
    }

    /// Revisions within a range, in ascending order.
    pub(super) fn revisions(
        &self,
        from: Revision,
        upto: Revision,
        visit: &mut dyn FnMut(Revision, &GlobalId) -> ControlFlow<()>,
    ) -> Result<()> {
        self.within(&[(from, upto)], &mut |_, revision, id| visit(revision, id))
    }

    /// The records that have these ascending revisions.
    pub(super) fn of_revisions(&self, wanted: &[Revision]) -> Result<BTreeMap<Revision, GlobalId>> {
        let ranges: Vec<_> = wanted
            .iter()
            .map(|&revision| (revision, revision))
            .collect();
        let mut found = BTreeMap::new();
        self.within(&ranges, &mut |_, revision, id| {
            found.insert(revision, id.clone());
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    /// Revisions within ranges that ascend and do not overlap, in ascending order, each with the place of its range.
    ///
    /// A layer has no index of revisions: it is read once for all ranges.
    pub(super) fn within(
        &self,
        ranges: &[(Revision, Revision)],
        visit: &mut dyn FnMut(usize, Revision, &GlobalId) -> ControlFlow<()>,
    ) -> Result<()> {
        let then = self.changed.iter();
        let then = then.filter_map(|(id, revision)| Some(((*revision)?, id)));
        let mut then: Vec<(Revision, &GlobalId)> = then.collect();
        then.sort();
        let whole = match (ranges.first(), ranges.last()) {
            (Some(first), Some(last)) if !self.collection.is_documents() => {
                Some([(first.0, last.1)])
            }
            _ => None,
        };
        let mut places = ranges.iter().enumerate().peekable();
        let mut tell = |revision: Revision, id: &GlobalId| {
            while places.next_if(|(_, (_, upto))| *upto < revision).is_some() {}
            match places.peek() {
                Some((place, (from, _))) if *from <= revision => visit(*place, revision, id),
                _ => ControlFlow::Continue(()),
            }
        };
        for &(from, upto) in whole.as_ref().map_or(ranges, |whole| &whole[..]) {
            let start = then.partition_point(|(revision, _)| *revision < from);
            let then = then.get(start..).unwrap_or_default().iter();
            let then = then.take_while(|(revision, _)| *revision <= upto);
            if self.each(from, upto, then.copied(), &mut tell)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Revisions within one range: those of today that have not changed, and those that there were.
    fn each<'b>(
        &self,
        from: Revision,
        upto: Revision,
        then: impl Iterator<Item = (Revision, &'b GlobalId)>,
        visit: &mut dyn FnMut(Revision, &GlobalId) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let mut then = then.peekable();
        let mut flow = ControlFlow::Continue(());
        self.tx
            .revisions(self.collection.id, from, upto, &mut |revision, id| {
                if self.changed.contains_key(&id) {
                    return Ok(ControlFlow::Continue(()));
                }
                while let Some((earlier, id)) = then.next_if(|(earlier, _)| *earlier < revision) {
                    flow = visit(earlier, id);
                    if flow.is_break() {
                        return Ok(flow);
                    }
                }
                flow = visit(revision, &id);
                Ok(flow)
            })?;
        for (revision, id) in then {
            if flow.is_break() {
                break;
            }
            flow = visit(revision, id);
        }
        Ok(flow)
    }
}

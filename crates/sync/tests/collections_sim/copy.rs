//! The copy of a world: a collection with a unique value in each record, which may have a deliberate bug.

use std::collections::BTreeMap;

use haversack_model::{Error, Generation, GlobalId, HistoryId, Result};
use haversack_sync::reconcile::{
    Base, Delivered, FpKey, Item, Proof, Secondary, SecondaryState, Span, Sum,
};

use crate::memory::Collection;

/// A bug that stores have had, or might have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// Records are seen before the whole is proven.
    SwapBeforeProof,
    /// A full copy empties the collection first.
    TruncationInPlace,
    /// A cursor is kept although the primary's history is another one.
    CursorKept,
    /// Records are put one by one, and what stood in their way of a unique value before the first of them is removed: the
    /// transaction does not see its own writes (ArangoDB 13507).
    BlindWrites,
    /// What the primary does not have stays.
    VanishedStay,
}

impl Bug {
    pub(crate) const ALL: [Self; 5] = [
        Self::SwapBeforeProof,
        Self::TruncationInPlace,
        Self::CursorKept,
        Self::BlindWrites,
        Self::VanishedStay,
    ];
}

/// The unique value of a body: its first eight bytes.
pub(crate) fn unique(body: &[u8]) -> [u8; 8] {
    *body.first_chunk().expect("a body begins with its value")
}

/// The copy. A clone of it is what a crash leaves.
#[derive(Clone)]
pub(crate) struct Copy {
    pub(crate) inner: Collection,
    pub(crate) bug: Option<Bug>,
    /// What the buggy ones need to know of the primary.
    pub(crate) history: Option<HistoryId>,
    staged: Vec<Delivered>,
}

impl Copy {
    pub(crate) fn new(bug: Option<Bug>) -> Self {
        Self {
            inner: Collection::new(2),
            bug,
            history: None,
            staged: Vec::new(),
        }
    }
    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }
    /// Refuses two records with one value.
    fn check(&self) -> Result<()> {
        let mut holders: BTreeMap<[u8; 8], GlobalId> = BTreeMap::new();
        for (id, body) in self.inner.live() {
            if holders.insert(unique(&body), id).is_some() {
                return Err(Error::Corrupt("two records have one value".to_owned()));
            }
        }
        Ok(())
    }
    /// Puts records one by one over those that held their values before.
    fn put_over(&mut self, before: &BTreeMap<GlobalId, Vec<u8>>) {
        let mut live = before.clone();
        for record in std::mem::take(&mut self.staged) {
            let id = record.global_id;
            let Some(body) = record.body else {
                live.remove(&id);
                continue;
            };
            let held = |of: &GlobalId| {
                before
                    .get(of)
                    .is_some_and(|known| unique(known) == unique(&body))
            };
            live.retain(|of, _| *of == id || !held(of));
            live.insert(id, body.to_vec());
        }
        let gone: Vec<_> = self.inner.live().into_keys().collect();
        let gone = gone.into_iter().filter(|id| !live.contains_key(id));
        for id in gone.collect::<Vec<_>>() {
            // Lost without a trace, as the conflicting document was.
            self.inner.rows.get_mut(&id).expect("it is live").deleted = true;
        }
    }
}

impl Secondary for Copy {
    fn state(&self) -> Result<SecondaryState> {
        let mut state = Secondary::state(&self.inner)?;
        if self.has(Bug::CursorKept) && state.history.is_some() {
            state.history = self.history;
        }
        Ok(state)
    }
    fn nodes(
        &self,
        level: u8,
        from: u64,
        upto: u64,
        visit: &mut dyn FnMut(u64, Sum) -> Result<()>,
    ) -> Result<()> {
        Secondary::nodes(&self.inner, level, from, upto, visit)
    }
    fn items(&self, spans: &[Span], visit: &mut dyn FnMut(Item) -> Result<()>) -> Result<()> {
        Secondary::items(&self.inner, spans, visit)
    }
    fn tombstones(
        &self,
        upto: Generation,
        visit: &mut dyn FnMut(Item) -> Result<()>,
    ) -> Result<()> {
        self.inner.tombstones(upto, visit)
    }
    fn contents(&self, visit: &mut dyn FnMut(Item) -> Result<()>) -> Result<()> {
        Secondary::contents(&self.inner, visit)
    }
    fn held(&self, id: &GlobalId) -> Result<Option<Item>> {
        self.inner.held(id)
    }
    fn rekey(&mut self, key: &FpKey) -> Result<()> {
        self.inner.rekey(key)
    }
    fn begin(&mut self, base: Base) -> Result<()> {
        self.staged.clear();
        self.inner.begin(base)?;
        if base == Base::Void && self.has(Bug::TruncationInPlace) {
            let all: Vec<_> = self.inner.live().into_keys().collect();
            self.inner.delete(all);
        }
        Ok(())
    }
    fn stage(&mut self, record: Delivered) -> Result<()> {
        self.staged.push(record.clone());
        if self.has(Bug::SwapBeforeProof)
            && let Some(body) = &record.body
        {
            self.inner.put([(record.global_id.clone(), body.to_vec())]);
        }
        self.inner.stage(record)
    }
    fn mark_dropped(&mut self, id: &GlobalId) -> Result<()> {
        if self.has(Bug::VanishedStay) {
            return Ok(());
        }
        self.inner.mark_dropped(id)
    }
    fn adopt(&mut self, id: &GlobalId, generation: Generation) -> Result<()> {
        self.inner.adopt(id, generation)
    }
    fn commit(&mut self, proof: &Proof) -> Result<()> {
        let before = self.clone();
        let done = self.inner.commit(proof).and_then(|()| {
            if self.has(Bug::BlindWrites) {
                self.put_over(&before.inner.live());
            }
            self.check()
        });
        if done.is_err() {
            *self = before;
        } else {
            self.staged.clear();
        }
        done
    }
}

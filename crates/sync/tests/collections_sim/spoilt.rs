//! Deliberate bugs: ways in which a store, a server or a client keeps collections equal wrongly. Each must be found.
//!
//! They stand between the walk and a side, so that every store has them alike; the walk itself is the real one.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use haversack_model::store::Flow;
use haversack_model::{Error, Generation, GlobalId, HistoryId, Result};
use haversack_sync::reconcile::{
    Base, Delivered, FpKey, Item, PrimaryState, Proof, Secondary, SecondaryState, Snapshot, Span,
    Sum,
};

use crate::side::{Copying, Edit, Live, Side, unique};

/// A bug that stores have had, or might have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// Records are seen before the whole is proven.
    SwapBeforeProof,
    /// A full copy empties the collection first.
    TruncationInPlace,
    /// A cursor is kept although the primary's history is another one.
    CursorKept,
    /// A backup of the primary is put back, and its history goes on as if nothing had been.
    HistoryKept,
    /// Records are put one by one, and what stood in their way of a unique value before the first of them is removed: the
    /// transaction does not see its own writes (ArangoDB 13507).
    BlindWrites,
    /// What the primary does not have stays.
    VanishedStay,
    /// What the primary deleted stays where the copy has it: the wrong side wins.
    DeletedStay,
    /// What was edited in the copy wins over the primary.
    EditsHereWin,
    /// A tombstone is purged, and the sums of the primary are not told.
    TombstoneForgotten,
    /// A record is written, and the sums of the primary are not told in the same transaction.
    SumsForgotten,
    /// Cursor and sums of the copy are written before the records that they are of.
    CursorBeforeRecords,
    /// A merge is more than one transaction.
    TornMerge,
    /// What was written while copies were compared is not asked for.
    CatchUpSkipped,
    /// What is newer is taken for all that differs: nobody compares the sums in the end.
    ProofSkipped,
    /// Copies that were made apart are matched by key alone.
    ContentsIgnored,
}

impl Bug {
    pub(crate) const ALL: [Self; 15] = [
        Self::SwapBeforeProof,
        Self::TruncationInPlace,
        Self::CursorKept,
        Self::HistoryKept,
        Self::BlindWrites,
        Self::VanishedStay,
        Self::DeletedStay,
        Self::EditsHereWin,
        Self::TombstoneForgotten,
        Self::SumsForgotten,
        Self::CursorBeforeRecords,
        Self::TornMerge,
        Self::CatchUpSkipped,
        Self::ProofSkipped,
        Self::ContentsIgnored,
    ];
}

/// What buggy ones keep from one walk to the next.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// What a copy says of itself, whatever it has.
    pub(crate) lie: Option<SecondaryState>,
    /// What was edited in the copy since it was proven last.
    pub(crate) edited: Edits,
}

/// Edits by id.
pub(crate) type Edits = BTreeMap<GlobalId, Option<String>>;

const EVERYTHING: Span = Span {
    from: 0,
    upto: u64::MAX,
};

/// A copy with a bug, or none.
pub(crate) struct Spoilt<'a, S> {
    pub(crate) copy: &'a mut dyn Copying,
    pub(crate) bug: Option<Bug>,
    pub(crate) side: &'a S,
    pub(crate) primary: &'a S,
    pub(crate) kept: &'a RefCell<Kept>,
    /// Whether the process dies before the merge is committed.
    pub(crate) dies: bool,
    staged: BTreeMap<GlobalId, Option<String>>,
}

impl<'a, S: Side> Spoilt<'a, S> {
    pub(crate) fn new(
        copy: &'a mut dyn Copying,
        bug: Option<Bug>,
        (side, primary): (&'a S, &'a S),
        kept: &'a RefCell<Kept>,
        dies: bool,
    ) -> Self {
        Self {
            copy,
            bug,
            side,
            primary,
            kept,
            dies,
            staged: BTreeMap::new(),
        }
    }
    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }
    /// Writes into the copy, past the walk. What a unique value refuses is not written.
    fn write(&self, edits: &[Edit]) {
        if self.side.write(edits).is_err() {
            for edit in edits {
                let _refused = self.side.write(std::slice::from_ref(edit));
            }
        }
    }
    /// What does not survive records that are put one by one over those that held their values before.
    fn lost(&self, before: &Live) -> Vec<Edit> {
        let mut live = before.clone();
        for (id, body) in &self.staged {
            let Some(body) = body else {
                live.remove(id);
                continue;
            };
            let held = |of: &GlobalId| {
                let known = before.get(of);
                known.is_some_and(|known| unique(known) == unique(body))
            };
            live.retain(|of, _| of == id || !held(of));
            live.insert(id.clone(), body.clone());
        }
        let gone = self.side.live().into_keys();
        gone.filter(|id| !live.contains_key(id))
            .map(|id| (id, None))
            .collect()
    }
    /// The sum that would make the primary believe that nothing differs but what is newer.
    fn believed(&self, since: Generation) -> Result<Sum> {
        self.primary.with_primary(|primary| {
            let snapshot = primary.snapshot()?;
            let state = snapshot.state()?;
            let newer = Span {
                from: since.0 + 1,
                upto: u64::MAX,
            };
            let mut sum = state.root;
            snapshot.items(&[newer], &mut |item| {
                sum = sum.minus(Sum::of(state.key.numbered(&item)));
                Ok(())
            })?;
            Ok(sum)
        })
    }
    /// The sum of what the copy would be.
    fn staged_sum(&self) -> Result<Sum> {
        let key = self.copy.state()?.key;
        let key = key.ok_or_else(|| Error::Corrupt("no key".to_owned()))?;
        let mut sum = Sum::ZERO;
        self.copy.items(&[EVERYTHING], &mut |item| {
            sum = sum.plus(Sum::of(key.numbered(&item)));
            Ok(())
        })?;
        Ok(sum)
    }
}

impl<S: Side> Copying for Spoilt<'_, S> {
    fn save(&mut self, walk: Option<&str>) -> Result<()> {
        self.copy.save(walk)
    }
    fn saved(&self) -> Result<Option<String>> {
        self.copy.saved()
    }
    fn give_up(&mut self) -> Result<()> {
        self.copy.give_up()
    }
    fn take_prepared(&mut self, file: &Path) -> Result<Option<Proof>> {
        self.copy.take_prepared(file)
    }
}

impl<S: Side> Secondary for Spoilt<'_, S> {
    fn state(&self) -> Result<SecondaryState> {
        let mut state = self.copy.state()?;
        let history = self.primary.head().0;
        if self.has(Bug::CursorKept) && state.history.is_some() {
            state.history = Some(history);
        }
        if state.history == Some(history) {
            if let Some(lie) = &self.kept.borrow().lie {
                return Ok(lie.clone());
            }
            if self.has(Bug::ProofSkipped) {
                state.root = self.believed(state.since)?;
                state.complete = true;
            }
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
        self.copy.nodes(level, from, upto, visit)
    }
    fn items(&self, spans: &[Span], visit: &mut dyn FnMut(Item) -> Result<()>) -> Result<()> {
        self.copy.items(spans, visit)
    }
    fn tombstones(
        &self,
        upto: Generation,
        visit: &mut dyn FnMut(Item) -> Result<()>,
    ) -> Result<()> {
        self.copy.tombstones(upto, visit)
    }
    fn contents(&self, visit: &mut dyn FnMut(Item) -> Result<()>) -> Result<()> {
        let ignored = self.has(Bug::ContentsIgnored);
        self.copy.contents(&mut |mut item| {
            item.content *= u128::from(!ignored);
            visit(item)
        })
    }
    fn held(&self, id: &GlobalId) -> Result<Option<Item>> {
        self.copy.held(id)
    }
    fn rekey(&mut self, key: &FpKey) -> Result<()> {
        self.copy.rekey(key)
    }
    fn begin(&mut self, base: Base) -> Result<()> {
        self.staged.clear();
        self.copy.begin(base)?;
        if base == Base::Void && self.has(Bug::TruncationInPlace) {
            let all: Vec<Edit> = self.side.live().into_keys().map(|id| (id, None)).collect();
            self.write(&all);
        }
        Ok(())
    }
    fn stage(&mut self, record: Delivered) -> Result<()> {
        let text = |body: &[u8]| String::from_utf8(body.to_vec()).expect("bodies are texts");
        let edit = (record.global_id.clone(), record.body.as_deref().map(text));
        if self.has(Bug::SwapBeforeProof) {
            self.write(std::slice::from_ref(&edit));
        }
        self.staged.insert(edit.0, edit.1);
        self.copy.stage(record)
    }
    fn mark_dropped(&mut self, id: &GlobalId) -> Result<()> {
        if self.has(Bug::VanishedStay) {
            return Ok(());
        }
        self.copy.mark_dropped(id)
    }
    fn adopt(&mut self, id: &GlobalId, generation: Generation) -> Result<()> {
        self.copy.adopt(id, generation)
    }
    fn commit(&mut self, proof: &Proof) -> Result<()> {
        let before = self.side.live();
        let mut proof = *proof;
        if self.has(Bug::ProofSkipped) {
            proof.root = self.staged_sum()?;
        }
        if self.has(Bug::TornMerge) && self.dies {
            let half = self.staged.len().div_ceil(2);
            let edits: Vec<Edit> = self.staged.clone().into_iter().take(half).collect();
            self.write(&edits);
        }
        if self.has(Bug::CursorBeforeRecords) && self.dies {
            self.kept.borrow_mut().lie = Some(SecondaryState {
                history: Some(proof.history),
                root: proof.root,
                since: proof.generation,
                complete: true,
                ..self.copy.state()?
            });
        }
        self.copy.commit(&proof)?;
        let mut kept = self.kept.borrow_mut();
        kept.lie = None;
        let edited = std::mem::take(&mut kept.edited);
        drop(kept);
        match self.bug {
            Some(Bug::BlindWrites) => self.write(&self.lost(&before)),
            Some(Bug::DeletedStay) => {
                let deleted = self.staged.iter().filter(|(_, body)| body.is_none());
                let ids: BTreeSet<&GlobalId> = deleted.map(|(id, _)| id).collect();
                let stays = before.into_iter().filter(|(id, _)| ids.contains(id));
                let edits: Vec<Edit> = stays.map(|(id, body)| (id, Some(body))).collect();
                self.write(&edits);
            }
            Some(Bug::EditsHereWin) => self.write(&edited.into_iter().collect::<Vec<Edit>>()),
            _ => {}
        }
        Ok(())
    }
}

/// A snapshot of a primary with a bug, or none.
pub(crate) struct SpoiltSnapshot<'a> {
    pub(crate) snapshot: Box<dyn Snapshot + 'a>,
    pub(crate) bug: Option<Bug>,
    /// Where the primary stood when the walk began.
    pub(crate) first: &'a RefCell<Option<PrimaryState>>,
}

impl SpoiltSnapshot<'_> {
    fn is_late(&self, generation: Generation) -> bool {
        self.bug == Some(Bug::CatchUpSkipped)
            && self
                .first
                .borrow()
                .as_ref()
                .is_some_and(|first| generation > first.generation)
    }
}

impl Snapshot for SpoiltSnapshot<'_> {
    fn state(&self) -> Result<PrimaryState> {
        let state = self.snapshot.state()?;
        if self.bug != Some(Bug::CatchUpSkipped) {
            return Ok(state);
        }
        let mut first = self.first.borrow_mut();
        let first = first.get_or_insert_with(|| state.clone());
        if first.history != state.history {
            *first = state.clone();
        }
        Ok(PrimaryState {
            root: first.root,
            ..state
        })
    }
    fn common_with(&self, history: HistoryId) -> Result<Option<Generation>> {
        self.snapshot.common_with(history)
    }
    fn nodes(
        &self,
        level: u8,
        from: u64,
        upto: u64,
        visit: &mut dyn FnMut(u64, Sum) -> Result<()>,
    ) -> Result<()> {
        self.snapshot.nodes(level, from, upto, visit)
    }
    fn items(&self, spans: &[Span], visit: &mut dyn FnMut(Item) -> Result<()>) -> Result<()> {
        self.snapshot.items(spans, visit)
    }
    fn records(
        &self,
        spans: &[Span],
        visit: &mut dyn FnMut(Delivered) -> Result<Flow>,
    ) -> Result<()> {
        self.snapshot.records(spans, &mut |record| {
            if self.is_late(record.generation) {
                return Ok(Flow::Continue(()));
            }
            visit(record)
        })
    }
    fn contents(&self, visit: &mut dyn FnMut(Item) -> Result<()>) -> Result<()> {
        let ignored = self.bug == Some(Bug::ContentsIgnored);
        self.snapshot.contents(&mut |mut item| {
            item.content *= u128::from(!ignored);
            visit(item)
        })
    }
}

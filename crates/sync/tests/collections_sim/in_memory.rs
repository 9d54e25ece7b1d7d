//! A side in memory: the smallest store that a walk can use, what its process knows apart from what it has on disk.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::Path;

use haversack_model::{Error, Generation, GlobalId, HistoryId, Result};
use haversack_sync::reconcile::{
    Base, Delivered, Deltas, FpKey, Item, Primary, Proof, Secondary, SecondaryState, Span, Sum,
};

use crate::memory::{Collection, Shared};
use crate::side::{Copying, Death, Edit, Live, Side, id, unique};

pub(crate) struct InMemory {
    process: Shared,
    /// What a death leaves: the collection with its stage, and the state of the walk that filled it.
    disk: RefCell<(Collection, Option<String>)>,
    is_dead: Cell<bool>,
}

impl InMemory {
    /// The same in the process and on disk, whatever is staged in either.
    fn change(&self, work: impl Fn(&mut Collection)) {
        work(&mut self.process.collection.borrow_mut());
        work(&mut self.disk.borrow_mut().0);
    }
    fn open(&self, collection: Collection, walk: Option<String>) {
        *self.process.collection.borrow_mut() = collection.clone();
        *self.disk.borrow_mut() = (collection, walk);
    }
    fn keep(&self, walk: Option<String>) {
        *self.disk.borrow_mut() = (self.process.collection.borrow().clone(), walk);
    }
}

fn text(body: Vec<u8>) -> String {
    String::from_utf8(body).expect("bodies are texts")
}

impl Side for InMemory {
    type Backup = (Collection, Option<String>);

    fn new(number: u8) -> Self {
        let collection = Collection::new(number);
        Self {
            process: Shared::new(collection.clone()),
            disk: RefCell::new((collection, None)),
            is_dead: Cell::new(false),
        }
    }
    fn head(&self) -> (HistoryId, u64) {
        let collection = self.process.collection.borrow();
        (collection.history, collection.generation)
    }
    fn live(&self) -> Live {
        let live = self.process.collection.borrow().live().into_iter();
        live.map(|(id, body)| (id, text(body))).collect()
    }
    fn write(&self, edits: &[Edit]) -> Result<()> {
        let bytes = |(id, body): &Edit| (id.clone(), body.clone().map(String::into_bytes));
        self.change(|collection| collection.write(edits.iter().map(bytes)));
        Ok(())
    }
    fn write_by_hand(&self, edits: &[Edit]) {
        self.write(edits).unwrap();
    }
    fn purge(&self, upto: u64) {
        self.change(|collection| collection.purge(upto));
    }
    fn backup(&self) -> Self::Backup {
        self.disk.borrow().clone()
    }
    fn put_back(&self, (collection, walk): &Self::Backup) {
        self.open(collection.clone(), walk.clone());
    }
    fn start_history(&self, history: HistoryId, is_told: bool) {
        self.change(|collection| {
            collection.common.clear();
            if is_told {
                let upto = collection.generation;
                collection.common.insert(collection.history, upto);
            }
            collection.history = history;
        });
    }
    fn die(&self) {
        self.is_dead.set(false);
        let (collection, walk) = self.disk.borrow().clone();
        self.open(collection, walk);
    }
    fn die_amid(&self, _edits: &[Edit]) {
        self.die();
    }
    fn is_dead(&self) -> bool {
        self.is_dead.get()
    }
    fn renew(&self, number: u8) {
        self.open(Collection::new(number), None);
    }
    fn lose_cursor(&self) {
        self.change(Collection::lose_cursor);
    }
    fn damage(&self, place: u64) -> bool {
        let Some(key) = self.process.collection.borrow().up_key.clone() else {
            return false;
        };
        self.change(|collection| {
            let mut stale = Deltas::new(collection.up_bits);
            let item = Collection::item(&id(u64::MAX - place), place, false);
            stale.add(place, key.numbered(&item));
            // Rows that are damaged already may refuse it.
            let _refused = stale.fold_into(&mut collection.up_nodes);
        });
        true
    }
    fn miscount(&self, level: u8, count: u64) {
        self.change(|collection| {
            let rows = collection.up_nodes.0.iter_mut();
            for (_, sum) in rows.filter(|(node, _)| node.level == level) {
                sum.count = count;
            }
        });
    }
    fn without_sums(&self, work: &mut dyn FnMut()) {
        let before = self.process.collection.borrow().nodes.clone();
        work();
        self.change(|collection| collection.nodes = before.clone());
    }
    fn check(&self) -> bool {
        let is_sound = self.process.collection.borrow().is_sound();
        if !is_sound {
            self.change(Collection::rebuild_up);
        }
        is_sound
    }
    fn with_primary<T>(&self, work: impl FnOnce(&dyn Primary) -> T) -> T {
        work(&self.process)
    }
    fn with_copy<T>(&self, death: Option<Death>, work: impl FnOnce(&mut dyn Copying) -> T) -> T {
        work(&mut Held { side: self, death })
    }
    fn prepare(&self, _file: &Path) -> bool {
        false
    }
}

/// A side as a copy.
struct Held<'a> {
    side: &'a InMemory,
    death: Option<Death>,
}

impl Held<'_> {
    fn collection(&self) -> std::cell::Ref<'_, Collection> {
        self.side.process.collection.borrow()
    }
    fn change<T>(&mut self, work: impl FnOnce(&mut Collection) -> T) -> T {
        work(&mut self.side.process.collection.borrow_mut())
    }
    fn dies(&self, here: Death) -> Result<()> {
        if self.death == Some(here) {
            self.side.is_dead.set(true);
            return Err(Error::Corrupt("the process is dead".to_owned()));
        }
        Ok(())
    }
}

/// Refuses two records with one value.
fn check(collection: &Collection) -> Result<()> {
    let mut seen = BTreeSet::new();
    for body in collection.live().into_values() {
        if !seen.insert(unique(&text(body)).to_owned()) {
            return Err(Error::Corrupt("two records have one value".to_owned()));
        }
    }
    Ok(())
}

impl Copying for Held<'_> {
    fn save(&mut self, walk: Option<&str>) -> Result<()> {
        self.side.keep(walk.map(str::to_owned));
        Ok(())
    }
    fn saved(&self) -> Result<Option<String>> {
        Ok(self.side.disk.borrow().1.clone())
    }
    fn give_up(&mut self) -> Result<()> {
        self.begin(Base::Kept)?;
        self.side.check();
        Ok(())
    }
    fn take_prepared(&mut self, _file: &Path) -> Result<Option<Proof>> {
        Ok(None)
    }
}

impl Secondary for Held<'_> {
    fn state(&self) -> Result<SecondaryState> {
        Secondary::state(&*self.collection())
    }
    fn nodes(
        &self,
        level: u8,
        from: u64,
        upto: u64,
        visit: &mut dyn FnMut(u64, Sum) -> Result<()>,
    ) -> Result<()> {
        Secondary::nodes(&*self.collection(), level, from, upto, visit)
    }
    fn items(&self, spans: &[Span], visit: &mut dyn FnMut(Item) -> Result<()>) -> Result<()> {
        Secondary::items(&*self.collection(), spans, visit)
    }
    fn tombstones(
        &self,
        upto: Generation,
        visit: &mut dyn FnMut(Item) -> Result<()>,
    ) -> Result<()> {
        self.collection().tombstones(upto, visit)
    }
    fn contents(&self, visit: &mut dyn FnMut(Item) -> Result<()>) -> Result<()> {
        Secondary::contents(&*self.collection(), visit)
    }
    fn held(&self, id: &GlobalId) -> Result<Option<Item>> {
        self.collection().held(id)
    }
    fn rekey(&mut self, key: &FpKey) -> Result<()> {
        self.change(|collection| collection.rekey(key))?;
        self.side.keep(None);
        Ok(())
    }
    fn begin(&mut self, base: Base) -> Result<()> {
        self.change(|collection| collection.begin(base))?;
        self.side.keep(None);
        Ok(())
    }
    fn stage(&mut self, record: Delivered) -> Result<()> {
        self.change(|collection| collection.stage(record))
    }
    fn mark_dropped(&mut self, id: &GlobalId) -> Result<()> {
        self.change(|collection| collection.mark_dropped(id))
    }
    fn adopt(&mut self, id: &GlobalId, generation: Generation) -> Result<()> {
        self.change(|collection| collection.adopt(id, generation))
    }
    fn commit(&mut self, proof: &Proof) -> Result<()> {
        self.dies(Death::BeforeMerge)?;
        let before = self.collection().clone();
        let done = self.change(|collection| {
            collection.commit(proof)?;
            check(collection)
        });
        let done = done.and_then(|()| self.dies(Death::BeforeCommit));
        if done.is_err() {
            self.change(|collection| *collection = before);
            return done;
        }
        self.side.keep(None);
        self.dies(Death::AfterCommit)
    }
}

//! A collection in memory, which others copy and which may itself be a copy: the smallest store that a walk can use.
//!
//! It keeps both summaries as a store does: deltas of a transaction, folded into rows. The example shares it.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "a fixture: not every user needs all of it"
)]

mod pair;
mod primary;
pub(crate) mod scenario;
mod secondary;
pub(crate) mod wire;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use haversack_model::{Generation, GlobalId, HistoryId, Result, Revision};
use haversack_sync::reconcile::{
    Base, Delivered, Deltas, FpKey, Item, LeafBits, Node, NodeRows, SelfCheck, Sum,
};
use uuid::Uuid;

#[allow(unused_imports, reason = "not every user needs all of it")]
pub(crate) use pair::{Shared, Wire, sync, sync_with};

/// A record and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// The generation here; zero for a tombstone that was purged.
    pub(crate) generation: u64,
    pub(crate) deleted: bool,
    pub(crate) revision: u64,
    pub(crate) body: Box<[u8]>,
    /// The primary's generation of it; zero if there is none.
    pub(crate) up: u64,
}

/// Summary rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rows(pub(crate) BTreeMap<Node, Sum>);

impl NodeRows for Rows {
    fn load_node(&mut self, node: Node) -> Result<Sum> {
        Ok(self.0.get(&node).copied().unwrap_or_default())
    }
    fn store_node(&mut self, node: Node, sum: Sum) -> Result<()> {
        if sum == Sum::ZERO {
            self.0.remove(&node);
        } else {
            self.0.insert(node, sum);
        }
        Ok(())
    }
}

impl Rows {
    pub(crate) fn root(&self) -> Sum {
        self.0.get(&Node::ROOT).copied().unwrap_or_default()
    }
    fn read(
        &self,
        level: u8,
        from: u64,
        upto: u64,
        visit: &mut dyn FnMut(u64, Sum) -> Result<()>,
    ) -> Result<()> {
        let (from, upto) = (Node { level, index: from }, Node { level, index: upto });
        for (node, sum) in self.0.range(from..=upto) {
            visit(node.index, *sum)?;
        }
        Ok(())
    }
}

/// What waits for the commit.
#[derive(Clone, Debug)]
enum Staged {
    Put(Delivered),
    Dropped,
    Adopted(u64),
}

/// A collection.
#[derive(Clone, Debug)]
pub(crate) struct Collection {
    pub(crate) history: HistoryId,
    pub(crate) generation: u64,
    pub(crate) floor: u64,
    pub(crate) key: FpKey,
    pub(crate) bits: LeafBits,
    pub(crate) rows: HashMap<GlobalId, Row>,
    pub(crate) by_generation: BTreeMap<u64, GlobalId>,
    pub(crate) nodes: Rows,
    /// Histories of which this one is a continuation, each up to where.
    pub(crate) common: BTreeMap<HistoryId, u64>,
    // As a copy:
    pub(crate) up_history: Option<HistoryId>,
    pub(crate) up_key: Option<FpKey>,
    pub(crate) up_bits: LeafBits,
    pub(crate) up_nodes: Rows,
    pub(crate) by_up: BTreeSet<(u64, GlobalId)>,
    pub(crate) up_since: u64,
    pub(crate) up_floor: u64,
    /// The root that was proven last.
    pub(crate) proven: Option<Sum>,
    /// Whether a live record may have no generation of the primary.
    unnumbered: bool,
    /// A deliberate bug: the next commit loses one record of its stage.
    pub(crate) forgets_a_staged_record: bool,
    base: Base,
    stage: HashMap<GlobalId, Staged>,
}

pub(crate) fn id(n: u64) -> GlobalId {
    GlobalId::Uuid(Uuid::from_u128(
        u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835),
    ))
}

pub(crate) fn history(n: u128) -> HistoryId {
    HistoryId(Uuid::from_u128(n))
}

pub(crate) fn content(body: &[u8]) -> u128 {
    let hash = *blake3::hash(body).as_bytes();
    u128::from_le_bytes(*hash.first_chunk().expect("a hash has 32 bytes"))
}

impl Collection {
    /// An empty one. `n` tells its history and its key apart from others'.
    pub(crate) fn new(n: u8) -> Self {
        Self {
            history: history(u128::from(n)),
            generation: 0,
            floor: 0,
            key: FpKey::new([n; 32]),
            bits: LeafBits::NARROWEST,
            rows: HashMap::new(),
            by_generation: BTreeMap::new(),
            nodes: Rows::default(),
            common: BTreeMap::new(),
            up_history: None,
            up_key: None,
            up_bits: LeafBits::NARROWEST,
            up_nodes: Rows::default(),
            by_up: BTreeSet::new(),
            up_since: 0,
            up_floor: 0,
            proven: None,
            unnumbered: false,
            forgets_a_staged_record: false,
            base: Base::Kept,
            stage: HashMap::new(),
        }
    }

    pub(crate) fn item(id: &GlobalId, generation: u64, deleted: bool) -> Item {
        Item {
            global_id: id.clone(),
            generation: Generation(generation),
            deleted,
            content: 0,
        }
    }

    /// Inserts or replaces records in one transaction.
    pub(crate) fn put(&mut self, records: impl IntoIterator<Item = (GlobalId, Vec<u8>)>) {
        self.write(records.into_iter().map(|(id, body)| (id, Some(body))));
    }
    /// Deletes records in one transaction.
    pub(crate) fn delete(&mut self, ids: impl IntoIterator<Item = GlobalId>) {
        self.write(ids.into_iter().map(|id| (id, None)));
    }
    /// One transaction of somebody who works here. An edit takes the record out of the primary's numbers.
    pub(crate) fn write(&mut self, edits: impl IntoIterator<Item = (GlobalId, Option<Vec<u8>>)>) {
        let (mut here, mut up) = (Deltas::new(self.bits), Deltas::new(self.up_bits));
        for (id, body) in edits {
            self.unnumber(&mut up, &id);
            if matches!(self.stage.get(&id), Some(Staged::Adopted(_))) {
                // It may be equal no more.
                self.stage.remove(&id);
            }
            self.change(&mut here, id, body.map(Vec::into_boxed_slice), None);
            self.unnumbered = true;
        }
        self.fold_here(&here);
        if up.fold_into(&mut self.up_nodes).is_err() {
            // The edit is not at fault, the sums are.
            self.rebuild_up();
        }
    }
    /// Folds deltas of the generations here. What does not fit is not at fault: the rows are, and are built anew.
    fn fold_here(&mut self, deltas: &Deltas) {
        if deltas.fold_into(&mut self.nodes).is_err() {
            self.refold(self.bits);
        }
    }
    /// Changes one record; the deltas are folded by the caller.
    fn change(
        &mut self,
        deltas: &mut Deltas,
        id: GlobalId,
        body: Option<Box<[u8]>>,
        revision: Option<Revision>,
    ) {
        self.generation += 1;
        let generation = self.generation;
        let deleted = body.is_none();
        let before = self.rows.get(&id);
        let up = before.map_or(0, |row| row.up);
        if let Some(row) = before.filter(|row| row.generation > 0) {
            let item = Self::item(&id, row.generation, row.deleted);
            deltas.remove(row.generation, self.key.numbered(&item));
            self.by_generation.remove(&row.generation);
        }
        let item = Self::item(&id, generation, deleted);
        deltas.add(generation, self.key.numbered(&item));
        self.by_generation.insert(generation, id.clone());
        let row = Row {
            generation,
            deleted,
            revision: revision.map_or(generation << 20, |revision| revision.0),
            body: body.unwrap_or_default(),
            up,
        };
        self.rows.insert(id, row);
    }
    /// Takes a record's generation of the primary away.
    fn unnumber(&mut self, deltas: &mut Deltas, id: &GlobalId) {
        let Some(row) = self.rows.get_mut(id).filter(|row| row.up > 0) else {
            return;
        };
        let item = Self::item(id, row.up, row.deleted);
        let key = self.up_key.as_ref().expect("numbers have a key");
        deltas.remove(row.up, key.numbered(&item));
        self.by_up.remove(&(row.up, id.clone()));
        row.up = 0;
    }
    /// Forgets tombstones at or below a generation.
    pub(crate) fn purge(&mut self, upto: u64) {
        let mut deltas = Deltas::new(self.bits);
        let old: Vec<(u64, GlobalId)> = self
            .by_generation
            .range(..=upto)
            .filter(|(_, id)| self.rows[*id].deleted)
            .map(|(generation, id)| (*generation, id.clone()))
            .collect();
        for (generation, id) in old {
            self.by_generation.remove(&generation);
            let item = Self::item(&id, generation, true);
            deltas.remove(generation, self.key.numbered(&item));
            let row = self.rows.get_mut(&id).expect("it is there");
            row.generation = 0;
            // The primary's tombstone stays until the primary forgets it.
            if row.up == 0 {
                self.rows.remove(&id);
            }
        }
        self.fold_here(&deltas);
        self.floor = self.floor.max(upto);
    }
    /// Folds to leaves of another width, by one scan.
    pub(crate) fn refold(&mut self, bits: LeafBits) {
        self.bits = bits;
        let mut all = Deltas::new(bits);
        for (generation, id) in &self.by_generation {
            let item = Self::item(id, *generation, self.rows[id].deleted);
            all.add(*generation, self.key.numbered(&item));
        }
        self.nodes = Rows::default();
        all.fold_into(&mut self.nodes).unwrap();
    }
    /// The summary of the primary's numbers, by one scan.
    pub(crate) fn rebuild_up(&mut self) {
        let mut all = Deltas::new(self.up_bits);
        if let Some(key) = &self.up_key {
            for (up, id) in &self.by_up {
                let item = Self::item(id, *up, self.rows[id].deleted);
                all.add(*up, key.numbered(&item));
            }
        }
        self.up_nodes = Rows::default();
        all.fold_into(&mut self.up_nodes).unwrap();
    }

    /// Live records by id: what a person sees.
    pub(crate) fn live(&self) -> BTreeMap<GlobalId, Vec<u8>> {
        let live = self.rows.iter().filter(|(_, row)| !row.deleted);
        live.map(|(id, row)| (id.clone(), row.body.to_vec()))
            .collect()
    }
    /// Items by the generations here.
    pub(crate) fn items_here(&self) -> BTreeSet<(u64, GlobalId, bool)> {
        self.by_generation
            .iter()
            .map(|(generation, id)| (*generation, id.clone(), self.rows[id].deleted))
            .collect()
    }
    /// Items by the primary's generations.
    pub(crate) fn items_up(&self) -> BTreeSet<(u64, GlobalId, bool)> {
        self.by_up
            .iter()
            .map(|(up, id)| (*up, id.clone(), self.rows[id].deleted))
            .collect()
    }
    /// What the stage holds: records and tombstones by generation, ids that are marked.
    pub(crate) fn staged(&self) -> (BTreeSet<(u64, GlobalId)>, BTreeSet<GlobalId>) {
        let mut found = (BTreeSet::new(), BTreeSet::new());
        for (id, staged) in &self.stage {
            match staged {
                Staged::Put(record) => found.0.insert((record.generation.0, id.clone())),
                Staged::Dropped => found.1.insert(id.clone()),
                Staged::Adopted(_) => false,
            };
        }
        found
    }
    /// Whether both summaries agree with themselves and their records.
    pub(crate) fn is_sound(&self) -> bool {
        let holds = |rows: &Rows, count: usize| {
            let mut check = SelfCheck::default();
            rows.0.iter().for_each(|(node, sum)| check.see(*node, *sum));
            check.holds(Some(count as u64))
        };
        holds(&self.nodes, self.by_generation.len()) && holds(&self.up_nodes, self.by_up.len())
    }
}

impl Collection {
    /// Makes a copy forget what it was told of a record: it has an older version of it again, or nothing.
    pub(crate) fn lose(&mut self, id: &GlobalId, older: Option<(u64, Vec<u8>)>) {
        let (mut here, mut up) = (Deltas::new(self.bits), Deltas::new(self.up_bits));
        self.unnumber(&mut up, id);
        let (generation, body) = older.unzip();
        let is_live = self.rows.get(id).is_some_and(|row| !row.deleted);
        if is_live || body.is_some() {
            self.change(&mut here, id.clone(), body.map(Vec::into_boxed_slice), None);
        }
        if let Some(generation) = generation {
            let key = self.up_key.as_ref().expect("numbers have a key");
            let item = Self::item(id, generation, false);
            up.add(generation, key.numbered(&item));
            self.by_up.insert((generation, id.clone()));
            self.rows.get_mut(id).expect("it was just written").up = generation;
        }
        here.fold_into(&mut self.nodes).unwrap();
        up.fold_into(&mut self.up_nodes).unwrap();
    }
    /// Makes a copy forget up to where it was proven.
    pub(crate) fn lose_cursor(&mut self) {
        self.proven = None;
    }
}

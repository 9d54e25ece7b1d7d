//! The walk: nodes, lists, sketches, and the generations of what is equal by key.

use std::collections::BTreeMap;

use haversack_model::Generation;

use crate::reconcile::cells::Block;
use crate::reconcile::error::{Error, Result};
use crate::reconcile::frame::{
    Adopt, Cells, Descend, Family, Get, LeafNumbers, List, Part, Refusal, Scope, Sketch,
};
use crate::reconcile::item::{Item, Order, Span, covers, joined, singles};
use crate::reconcile::sum::{ItemHash, Sum};
use crate::reconcile::tree::{FAN_BITS, LEVELS};

use super::{Answering, PrimaryState, Shape, Snapshot, Told};

/// The tree begins at the coarsest level with so many nodes. A level has 64 times the nodes of the one above it, so that the
/// first answer has between 64 bytes and 4 KB of prints.
const TOP_NODES: usize = 16;
/// Levels below are told unasked while the answer is shorter than this.
const UNASKED_BYTES: usize = 4096;
/// Prints of one part.
const PART_PRINTS: usize = 1 << 14;
/// Dropped ids of one part.
const PART_IDS: usize = 1 << 16;
/// Cells of one part.
const PART_CELLS: usize = 1 << 15;
/// Generations of one part.
const PART_NUMBERS: usize = 1 << 15;
const FAMILY: u64 = (1 << FAN_BITS) - 1;

impl Answering<'_, '_> {
    /// The top of the tree.
    pub(super) fn tree(
        &mut self,
        scope: &Scope,
        snapshot: &dyn Snapshot,
        state: &PrimaryState,
    ) -> Result<()> {
        let shape = Shape::new(scope, snapshot, state)?;
        let mut level = LEVELS - 1;
        let mut nodes = shape.nodes(level, 0, u64::MAX)?;
        while nodes.len() < TOP_NODES && level > 0 {
            level -= 1;
            nodes = shape.nodes(level, 0, u64::MAX)?;
        }
        self.nodes(scope, state, level, &nodes)?;
        Ok(())
    }

    /// Sends nodes of a level; how many bytes that took.
    fn nodes(
        &mut self,
        scope: &Scope,
        state: &PrimaryState,
        level: u8,
        nodes: &BTreeMap<u64, Sum>,
    ) -> Result<usize> {
        let mut families: Vec<Family> = Vec::new();
        let (mut bytes, mut prints) = (0, 0);
        for (index, sum) in nodes.iter().filter(|(_, sum)| !sum.is_zero()) {
            let parent = index >> FAN_BITS;
            if families.last().is_none_or(|last| last.parent != parent) {
                if prints >= PART_PRINTS {
                    let families = std::mem::take(&mut families);
                    self.part(&Part::Nodes { level, families })?;
                    prints = 0;
                }
                bytes += 9;
                families.push(Family {
                    parent,
                    present: 0,
                    prints: Vec::new(),
                });
            }
            if let Some(family) = families.last_mut() {
                family.present |= 1 << (index & FAMILY);
                family.prints.push(state.key.print(*sum, scope.salt));
                (bytes, prints) = (bytes + 4, prints + 1);
            }
        }
        if !families.is_empty() {
            self.part(&Part::Nodes { level, families })?;
        }
        Ok(bytes)
    }

    pub(super) fn descend(&mut self, ask: &Descend) -> Result<Told> {
        self.check_listed(ask.nodes.len())?;
        if ask.level == 0 || ask.level >= LEVELS {
            return Err(Error::Broken("there is no such level"));
        }
        let (snapshot, state) = match self.snapshot(ask.scope.epoch)? {
            Ok(read) => read,
            Err(refusal) => return Ok(Told::Refused(refusal)),
        };
        if ask.scope.order == Order::Generation && ask.scope.bits < state.bits {
            // The collection was folded to wider leaves meanwhile.
            return Ok(Told::Refused(Refusal::Epoch));
        }
        let shape = Shape::new(&ask.scope, snapshot.as_ref(), &state)?;
        let (mut level, mut parents, mut bytes) = (ask.level, ask.nodes.clone(), 0);
        while level == ask.level
            || (level > 0 && bytes + parents.len() * (9 + 4 * FAMILY as usize) < UNASKED_BYTES)
        {
            level -= 1;
            let mut children = BTreeMap::new();
            for parent in &parents {
                let first = parent << FAN_BITS;
                children.extend(shape.nodes(level, first, first | FAMILY)?);
            }
            bytes += self.nodes(&ask.scope, &state, level, &children)?;
            parents = children.into_keys().collect();
        }
        Ok(Told::All)
    }

    pub(super) fn list(&mut self, ask: &List) -> Result<Told> {
        self.check_listed(ask.ids.len().max(ask.leaves.len()))?;
        let (snapshot, state) = match self.snapshot(ask.scope.epoch)? {
            Ok(read) => read,
            Err(refusal) => return Ok(Told::Refused(refusal)),
        };
        let mut theirs = ask.ids.clone();
        theirs.sort_unstable();
        theirs.dedup();
        let mut is_here = vec![false; theirs.len()];
        let mut missing = Vec::new();
        let spans = leaf_spans(&ask.scope, &ask.leaves);
        visit(
            snapshot.as_ref(),
            &state,
            &ask.scope,
            &spans,
            |item, hash| {
                let id = if ask.wide {
                    hash.0
                } else {
                    u128::from(state.key.short(hash, ask.scope.salt))
                };
                match theirs.binary_search(&id) {
                    Ok(at) => is_here[at] = true,
                    Err(_) => missing.push(item.generation.0),
                }
            },
        )?;
        let fetch = generations_of(snapshot.as_ref(), &state, &ask.scope, &ask.fetch)?;
        drop(snapshot);
        let mut here = is_here.into_iter();
        theirs.retain(|_| !here.next().unwrap_or_default());
        for ids in theirs.chunks(PART_IDS) {
            self.part(&Part::Drops {
                wide: ask.wide,
                ids: ids.to_vec(),
            })?;
        }
        self.deliver(&ask.scope, missing, fetch, ask.since)
    }

    pub(super) fn get(&mut self, ask: &Get) -> Result<Told> {
        self.check_listed(ask.ids.len().max(ask.leaves.len()))?;
        let (snapshot, state) = match self.snapshot(ask.scope.epoch)? {
            Ok(read) => read,
            Err(refusal) => return Ok(Told::Refused(refusal)),
        };
        let mut wanted = ask.ids.clone();
        wanted.sort_unstable();
        let mut missing = Vec::new();
        let spans = leaf_spans(&ask.scope, &ask.leaves);
        visit(
            snapshot.as_ref(),
            &state,
            &ask.scope,
            &spans,
            |item, hash| {
                let id = state.key.short(hash, ask.scope.salt);
                if wanted.binary_search(&id).is_ok() {
                    missing.push(item.generation.0);
                }
            },
        )?;
        let fetch = generations_of(snapshot.as_ref(), &state, &ask.scope, &ask.fetch)?;
        drop(snapshot);
        self.deliver(&ask.scope, missing, fetch, ask.since)
    }

    /// Sends records of single generations and of runs, then the changes if they are wanted.
    fn deliver(
        &mut self,
        scope: &Scope,
        mut missing: Vec<u64>,
        mut fetch: Vec<Span>,
        since: Option<Generation>,
    ) -> Result<Told> {
        missing.sort_unstable();
        fetch.extend(singles(&missing));
        fetch.sort_unstable_by_key(|span| span.from);
        if let Some(refusal) = self.missing(scope.epoch, &joined(fetch))? {
            return Ok(Told::Refused(refusal));
        }
        match since {
            Some(since) => Ok(self.changes(scope.epoch, since)?.into()),
            None => Ok(Told::All),
        }
    }

    pub(super) fn sketch(&mut self, ask: &Sketch) -> Result<Told> {
        self.check_listed(ask.leaves.len())?;
        let (snapshot, state) = match self.snapshot(ask.scope.epoch)? {
            Ok(read) => read,
            Err(refusal) => return Ok(Told::Refused(refusal)),
        };
        let most = state
            .root
            .count
            .saturating_mul(3)
            .max(self.limits.max_listed);
        let is_run = ask.from < ask.upto && ask.upto - ask.from <= self.limits.max_listed;
        if !is_run || ask.upto > most {
            return Err(Error::Limit {
                what: "a sketch",
                limit: most,
            });
        }
        let mut block = Block::new(ask.from, ask.upto);
        let mut sum = Sum::ZERO;
        let spans = leaf_spans(&ask.scope, &ask.leaves);
        visit(snapshot.as_ref(), &state, &ask.scope, &spans, |_, hash| {
            let id = state.key.short(hash, ask.scope.salt);
            block.add(id, state.key.check(id, ask.scope.salt));
            sum = sum.plus(Sum::of(hash));
        })?;
        drop(snapshot);
        let mut from = ask.from;
        for cells in block.into_cells().chunks(PART_CELLS) {
            self.part(&Part::Cells(Cells {
                from,
                sum,
                cells: cells.to_vec(),
            }))?;
            from += cells.len() as u64;
        }
        Ok(Told::All)
    }

    pub(super) fn adopt(&mut self, ask: &Adopt) -> Result<Told> {
        self.check_listed(ask.leaves.len())?;
        let (snapshot, state) = match self.snapshot(ask.scope.epoch)? {
            Ok(read) => read,
            Err(refusal) => return Ok(Told::Refused(refusal)),
        };
        let scope = &ask.scope;
        let mut standing = Vec::new();
        let spans = places(scope, &ask.leaves);
        visit(snapshot.as_ref(), &state, scope, &spans, |item, hash| {
            let leaf = scope.bits.index(0, state.key.place(scope.order, &item));
            let id = state.key.short(hash, scope.salt);
            standing.push((leaf, id, item.generation, hash));
        })?;
        let mut tombstones = Vec::new();
        if ask.since.is_some() {
            snapshot.items(&[Span::ALL], &mut |item| {
                if item.deleted {
                    tombstones.push(item.generation.0);
                }
                Ok(())
            })?;
        }
        drop(snapshot);
        standing.sort_unstable_by_key(|(leaf, id, ..)| (*leaf, *id));
        let (mut leaves, mut numbers) = (Vec::new(), 0);
        for leaf in standing.chunk_by(|a, b| a.0 == b.0) {
            let all =
                |sum: Sum, (.., hash): &(u64, u64, Generation, ItemHash)| sum.plus(Sum::of(*hash));
            leaves.push(LeafNumbers {
                leaf: leaf[0].0,
                print: state
                    .key
                    .print(leaf.iter().fold(Sum::ZERO, all), scope.salt),
                generations: leaf
                    .iter()
                    .map(|(_, _, generation, _)| *generation)
                    .collect(),
            });
            numbers += leaf.len();
            if numbers >= PART_NUMBERS {
                self.part(&Part::Numbers(std::mem::take(&mut leaves)))?;
                numbers = 0;
            }
        }
        if !leaves.is_empty() {
            self.part(&Part::Numbers(leaves))?;
        }
        self.deliver(scope, tombstones, Vec::new(), ask.since)
    }

    fn check_listed(&self, count: usize) -> Result<()> {
        if count as u64 > self.limits.max_listed {
            return Err(Error::Limit {
                what: "a list",
                limit: self.limits.max_listed,
            });
        }
        Ok(())
    }
}

/// The places of runs of leaves.
fn places(scope: &Scope, leaves: &[Span]) -> Vec<Span> {
    let bits = u32::from(scope.bits.bits());
    joined(leaves.iter().map(|leaf| {
        let last = leaf
            .upto
            .checked_shl(bits)
            .filter(|last| last >> bits == leaf.upto);
        Span {
            from: leaf.from << bits,
            upto: last.map_or(u64::MAX, |last| last | ((1 << bits) - 1)),
        }
    }))
}

fn leaf_spans(scope: &Scope, leaves: &[u64]) -> Vec<Span> {
    places(scope, &singles(leaves))
}

/// Visits the items that stand in runs of places.
fn visit(
    snapshot: &dyn Snapshot,
    state: &PrimaryState,
    scope: &Scope,
    spans: &[Span],
    mut each: impl FnMut(Item, ItemHash),
) -> Result<()> {
    match scope.order {
        Order::Generation => snapshot.items(spans, &mut |item| {
            let hash = state.key.numbered(&item);
            each(item, hash);
            Ok(())
        })?,
        Order::Key => snapshot.contents(&mut |item| {
            if covers(spans, state.key.place(Order::Key, &item)) {
                let hash = state.key.item(Order::Key, &item);
                each(item, hash);
            }
            Ok(())
        })?,
    }
    Ok(())
}

/// The generations of what stands in runs of places.
fn generations_of(
    snapshot: &dyn Snapshot,
    state: &PrimaryState,
    scope: &Scope,
    spans: &[Span],
) -> Result<Vec<Span>> {
    if scope.order == Order::Generation || spans.is_empty() {
        return Ok(spans.to_vec());
    }
    let mut generations = Vec::new();
    visit(snapshot, state, scope, spans, |item, _| {
        generations.push(item.generation.0);
    })?;
    generations.sort_unstable();
    Ok(singles(&generations))
}

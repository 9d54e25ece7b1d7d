//! The copy as it will be: its sums and items with the stage applied.

use std::collections::BTreeMap;

use haversack_model::{Generation, Result as StoreResult};

use crate::reconcile::error::{Error, Result};
use crate::reconcile::item::{Delivered, Item, MAX_GENERATION, Order, Span, covers, joined};
use crate::reconcile::key::FpKey;
use crate::reconcile::secondary::{Base, Secondary};
use crate::reconcile::sum::{ItemHash, Sum};
use crate::reconcile::tree::{Deltas, read_level};

use super::{Suspect, Walk};

/// The sums of one side in the shape that is compared.
pub(super) enum Sums {
    /// By generation: read from the summary where they are wanted.
    Stored,
    /// By key: of one scan.
    Scanned(Deltas),
}

impl Walk {
    /// The sums in the present order.
    pub(super) fn sums(&self, copy: &dyn Secondary, key: &FpKey) -> Result<Sums> {
        let scope = self.scope()?;
        if scope.order == Order::Generation {
            return Ok(Sums::Stored);
        }
        let mut sums = Deltas::new(scope.bits);
        copy.contents(&mut |item| {
            sums.add(key.place(Order::Key, &item), key.item(Order::Key, &item));
            Ok(())
        })?;
        Ok(Sums::Scanned(sums))
    }
    /// Adds the nodes of a level in a run.
    pub(super) fn nodes(
        &self,
        copy: &dyn Secondary,
        sums: &Sums,
        level: u8,
        (from, upto): (u64, u64),
        nodes: &mut BTreeMap<u64, Sum>,
    ) -> Result<()> {
        if let Sums::Scanned(sums) = sums {
            sums.add_to(level, from, upto, nodes);
            return Ok(());
        }
        let bits = self.scope()?.bits;
        if self.base == Base::Kept {
            let read =
                |level: u8, from, upto, visit: &mut dyn FnMut(u64, Sum) -> StoreResult<()>| {
                    copy.nodes(level, from, upto, visit)
                };
            read_level(copy.state()?.bits, bits, level, (from, upto), &read, nodes)?;
        }
        self.staged.add_to(level, from, upto, nodes);
        Ok(())
    }
    /// Visits what stands in runs of places.
    pub(super) fn visit(
        &self,
        copy: &dyn Secondary,
        key: &FpKey,
        spans: &[Span],
        mut each: impl FnMut(Item, ItemHash),
    ) -> Result<()> {
        match self.scope()?.order {
            Order::Generation => copy.items(spans, &mut |item| {
                let hash = key.numbered(&item);
                each(item, hash);
                Ok(())
            })?,
            Order::Key => copy.contents(&mut |item| {
                if covers(spans, key.place(Order::Key, &item)) {
                    let hash = key.item(Order::Key, &item);
                    each(item, hash);
                }
                Ok(())
            })?,
        }
        Ok(())
    }
    /// The places of leaves.
    pub(super) fn leaf_spans(&self, suspects: &[Suspect]) -> Result<Vec<Span>> {
        let leaves: Result<Vec<Span>> = suspects
            .iter()
            .map(|suspect| self.node_span(0, suspect.index))
            .collect();
        Ok(joined(leaves?))
    }
    /// The places of a node.
    pub(super) fn node_span(&self, level: u8, index: u64) -> Result<Span> {
        let shift = self.scope()?.bits.shift(level);
        let from = index
            .checked_shl(shift)
            .filter(|from| from >> shift == index);
        let from = from.ok_or(Error::Broken("there is no such node"))?;
        Ok(Span {
            from,
            upto: from | ((1 << shift) - 1),
        })
    }

    /// Stages a record.
    pub(super) fn stage(
        &mut self,
        copy: &mut dyn Secondary,
        key: &FpKey,
        record: Delivered,
    ) -> Result<()> {
        if record.generation.0 > MAX_GENERATION {
            return Err(Error::Broken("there is no such generation"));
        }
        let (item, before) = (record.item(), copy.held(&record.global_id)?);
        let body = record.body.as_ref().map_or(0, |body| body.len());
        self.report.bytes_of_records += (item.global_id.as_bytes().len() + 8 + body) as u64;
        let is_again =
            |before: &Item| before.generation == item.generation && before.deleted == item.deleted;
        match &before {
            // Sent again after an answer was cut off.
            Some(before) if is_again(before) => {}
            _ if item.deleted => self.report.removed += 1,
            Some(before) if !before.deleted => self.report.replaced += 1,
            _ => self.report.inserted += 1,
        }
        if let Some(before) = before {
            self.uncount(key, &before);
        }
        self.count(key, &item);
        Ok(copy.stage(record)?)
    }
    /// Marks items as here only.
    pub(super) fn drop_items(
        &mut self,
        copy: &mut dyn Secondary,
        key: &FpKey,
        items: Vec<Item>,
    ) -> Result<()> {
        for item in items {
            self.uncount(key, &item);
            self.report.dropped += 1;
            copy.mark_dropped(&item.global_id)?;
        }
        Ok(())
    }
    /// Marks all that stands in runs of places.
    pub(super) fn drop_spans(
        &mut self,
        copy: &mut dyn Secondary,
        key: &FpKey,
        spans: &[Span],
    ) -> Result<()> {
        if spans.is_empty() {
            return Ok(());
        }
        let mut items = Vec::new();
        self.visit(copy, key, spans, |item, _| items.push(item))?;
        self.drop_items(copy, key, items)
    }
    /// Marks tombstones that the primary has forgotten.
    pub(super) fn raise_floor(
        &mut self,
        copy: &mut dyn Secondary,
        key: &FpKey,
        floor: Generation,
    ) -> Result<()> {
        if floor == Generation::ZERO {
            return Ok(());
        }
        let mut items = Vec::new();
        copy.tombstones(floor, &mut |item| {
            items.push(item);
            Ok(())
        })?;
        for item in items {
            self.uncount(key, &item);
            copy.mark_dropped(&item.global_id)?;
        }
        Ok(())
    }

    pub(super) fn count(&mut self, key: &FpKey, item: &Item) {
        let hash = key.numbered(item);
        self.staged.add(item.generation.0, hash);
        self.held = self.held.plus(Sum::of(hash));
    }
    pub(super) fn uncount(&mut self, key: &FpKey, item: &Item) {
        if item.generation == Generation::ZERO {
            return;
        }
        let hash = key.numbered(item);
        self.staged.remove(item.generation.0, hash);
        self.held = self.held.minus(Sum::of(hash));
    }
}

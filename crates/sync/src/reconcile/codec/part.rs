//! The bytes of the parts of an answer.

use haversack_model::{Generation, GlobalId, Revision};

use crate::reconcile::cells::{Cell, expected};
use crate::reconcile::error::{Error, Result};
use crate::reconcile::frame::{Cells, Family, Head, LeafNumbers, Part, Refusal};
use crate::reconcile::item::Delivered;

use super::{Reader, Writer};

const HEAD: u8 = 1;
const MISSING: u8 = 2;
const CHANGED: u8 = 3;
const NODES: u8 = 4;
const DROPS: u8 = 5;
const CELLS: u8 = 6;
const NUMBERS: u8 = 7;
const ROOT: u8 = 8;
const REFUSED: u8 = 9;
const END: u8 = 10;

const HAS_KEY: u8 = 1;
const HAS_FORK: u8 = 2;

const IS_UUID: u8 = 1;
const IS_DELETED: u8 = 2;

/// The bytes of a part.
pub fn encode_part(part: &Part) -> Vec<u8> {
    let mut out = Writer(Vec::new());
    match part {
        Part::Head(head) => put_head(&mut out, head),
        Part::Missing(records) => put_records(&mut out, MISSING, records),
        Part::Changed(records) => put_records(&mut out, CHANGED, records),
        Part::Nodes { level, families } => {
            out.byte(NODES);
            out.byte(*level);
            out.number(families.len() as u64);
            let mut next = 0;
            for family in families {
                out.number(family.parent.wrapping_sub(next));
                next = family.parent.wrapping_add(1);
                out.fixed_64(family.present);
                for print in &family.prints {
                    out.0.extend_from_slice(&print.to_le_bytes());
                }
            }
        }
        Part::Drops { wide, ids } => {
            out.byte(DROPS);
            out.ids(*wide, ids);
        }
        Part::Cells(cells) => put_cells(&mut out, cells),
        Part::Numbers(leaves) => put_numbers(&mut out, leaves),
        Part::Root(root) => {
            out.byte(ROOT);
            out.root(root);
        }
        Part::Refused(refusal) => {
            out.byte(REFUSED);
            out.byte(match refusal {
                Refusal::Epoch => 1,
                Refusal::Damaged => 2,
            });
        }
        Part::End => out.byte(END),
    }
    out.0
}

fn put_head(out: &mut Writer, head: &Head) {
    out.byte(HEAD);
    let has_key = if head.key.is_some() { HAS_KEY } else { 0 };
    let has_fork = if head.fork.is_some() { HAS_FORK } else { 0 };
    out.byte(has_key | has_fork);
    out.history(head.history);
    out.order(head.order);
    out.byte(head.bits.bits());
    if let Some(key) = &head.key {
        out.0.extend_from_slice(key);
    }
    if let Some(fork) = head.fork {
        out.generation(fork);
    }
    out.root(&head.root);
}

fn put_records(out: &mut Writer, tag: u8, records: &[Delivered]) {
    out.byte(tag);
    out.number(records.len() as u64);
    // Written one after the other, they have revisions close to each other, too.
    let (mut before, mut revision) = (0, 0_u64);
    for record in records {
        let is_uuid = matches!(record.global_id, GlobalId::Uuid(_));
        let uuid = if is_uuid { IS_UUID } else { 0 };
        let deleted = if record.body.is_none() { IS_DELETED } else { 0 };
        out.byte(uuid | deleted);
        out.number(record.generation.0.wrapping_sub(before));
        before = record.generation.0;
        out.global_id(&record.global_id);
        out.signed(record.revision.0.wrapping_sub(revision) as i64);
        revision = record.revision.0;
        if let Some(body) = &record.body {
            out.bytes(body);
        }
    }
}

fn put_cells(out: &mut Writer, cells: &Cells) {
    out.byte(CELLS);
    out.number(cells.from);
    out.sum(cells.sum);
    out.number(cells.cells.len() as u64);
    for (index, cell) in (cells.from..).zip(&cells.cells) {
        out.fixed_64(cell.id);
        out.fixed_64(cell.check);
        let usual = expected(cells.sum.count, index);
        out.signed(cell.count.wrapping_sub(usual));
    }
}

fn put_numbers(out: &mut Writer, leaves: &[LeafNumbers]) {
    out.byte(NUMBERS);
    out.number(leaves.len() as u64);
    let (mut next, mut before) = (0, 0);
    for leaf in leaves {
        out.number(leaf.leaf.wrapping_sub(next));
        next = leaf.leaf.wrapping_add(1);
        out.0.extend_from_slice(&leaf.print.to_le_bytes());
        out.number(leaf.generations.len() as u64);
        for generation in &leaf.generations {
            out.signed(generation.0.wrapping_sub(before) as i64);
            before = generation.0;
        }
    }
}

/// Reads a part.
///
/// # Errors
/// [`Error::Malformed`].
pub fn decode_part(bytes: &[u8]) -> Result<Part> {
    let mut from = Reader(bytes);
    let part = match from.byte()? {
        HEAD => Part::Head(take_head(&mut from)?),
        MISSING => Part::Missing(take_records(&mut from)?),
        CHANGED => Part::Changed(take_records(&mut from)?),
        NODES => Part::Nodes {
            level: from.byte()?,
            families: take_families(&mut from)?,
        },
        DROPS => {
            let (wide, ids) = from.ids()?;
            if ids.is_empty() {
                return Err(Error::Malformed("a list is empty"));
            }
            Part::Drops { wide, ids }
        }
        CELLS => Part::Cells(take_cells(&mut from)?),
        NUMBERS => Part::Numbers(take_numbers(&mut from)?),
        ROOT => Part::Root(from.root()?),
        REFUSED => Part::Refused(match from.byte()? {
            1 => Refusal::Epoch,
            2 => Refusal::Damaged,
            _ => return Err(Error::Malformed("a refusal is unknown")),
        }),
        END => Part::End,
        _ => return Err(Error::Malformed("there is no such part")),
    };
    from.end()?;
    Ok(part)
}

fn take_head(from: &mut Reader<'_>) -> Result<Head> {
    let flags = from.byte()?;
    if flags & !(HAS_KEY | HAS_FORK) != 0 {
        return Err(Error::Malformed("a flag is unknown"));
    }
    let (history, order, bits) = (from.history()?, from.order()?, from.bits()?);
    let key = if flags & HAS_KEY == 0 {
        None
    } else {
        Some(from.array()?)
    };
    let fork = if flags & HAS_FORK == 0 {
        None
    } else {
        Some(from.generation()?)
    };
    Ok(Head {
        history,
        order,
        bits,
        fork,
        key,
        root: from.root()?,
    })
}

fn take_records(from: &mut Reader<'_>) -> Result<Vec<Delivered>> {
    let count = from.some(4)?;
    let mut records = Vec::with_capacity(count.min(4096));
    let (mut before, mut revision) = (0_u64, 0_u64);
    for _ in 0..count {
        let flags = from.byte()?;
        if flags & !(IS_UUID | IS_DELETED) != 0 {
            return Err(Error::Malformed("a flag is unknown"));
        }
        let generation = before.checked_add(from.number()?);
        let generation = generation.filter(|generation| *generation > before);
        before = generation.ok_or(Error::Malformed("records are not in order"))?;
        let global_id = from.global_id(flags & IS_UUID != 0)?;
        revision = revision.wrapping_add(from.signed()? as u64);
        records.push(Delivered {
            generation: Generation(before),
            global_id,
            revision: Revision(revision),
            body: if flags & IS_DELETED == 0 {
                Some(from.bytes()?.into())
            } else {
                None
            },
        });
    }
    Ok(records)
}

fn take_families(from: &mut Reader<'_>) -> Result<Vec<Family>> {
    let count = from.some(9)?;
    let mut families = Vec::with_capacity(count.min(4096));
    let mut next = Some(0u64);
    for _ in 0..count {
        let gap = from.number()?;
        let parent = next.and_then(|next| next.checked_add(gap));
        let parent = parent.ok_or(Error::Malformed("nodes are not in order"))?;
        next = parent.checked_add(1);
        let present = from.fixed_64()?;
        let prints = (0..present.count_ones()).map(|_| from.array().map(u32::from_le_bytes));
        families.push(Family {
            parent,
            present,
            prints: prints.collect::<Result<_>>()?,
        });
    }
    Ok(families)
}

fn take_cells(from: &mut Reader<'_>) -> Result<Cells> {
    let (first, sum) = (from.number()?, from.sum()?);
    let count = from.some(17)?;
    if first.checked_add(count as u64).is_none() {
        return Err(Error::Malformed("there are not that many cells"));
    }
    let mut cells = Vec::with_capacity(count);
    for index in (first..).take(count) {
        cells.push(Cell {
            id: from.fixed_64()?,
            check: from.fixed_64()?,
            count: from.signed()?.wrapping_add(expected(sum.count, index)),
        });
    }
    Ok(Cells {
        from: first,
        sum,
        cells,
    })
}

fn take_numbers(from: &mut Reader<'_>) -> Result<Vec<LeafNumbers>> {
    let count = from.some(6)?;
    let mut leaves = Vec::with_capacity(count.min(4096));
    let (mut next, mut before) = (Some(0u64), 0u64);
    for _ in 0..count {
        let gap = from.number()?;
        let leaf = next.and_then(|next| next.checked_add(gap));
        let leaf = leaf.ok_or(Error::Malformed("leaves are not in order"))?;
        next = leaf.checked_add(1);
        let print = u32::from_le_bytes(from.array()?);
        let numbers = from.count(1)?;
        let mut generations = Vec::with_capacity(numbers);
        for _ in 0..numbers {
            before = before.wrapping_add(from.signed()? as u64);
            generations.push(Generation(before));
        }
        leaves.push(LeafNumbers {
            leaf,
            print,
            generations,
        });
    }
    Ok(leaves)
}

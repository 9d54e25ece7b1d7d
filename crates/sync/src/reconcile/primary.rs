//! The primary's side: answers one question at a time and remembers nothing in between.
//!
//! Owns: what is told of a collection, and in which pages. Does not own: who may ask (the server checks that first).
//! Every step reads in a short snapshot of its own, closed before anything is sent; only the last page of changes and
//! the root that proves it are of one snapshot. So a slow secondary holds nothing, and no writer waits.

mod compare;
mod pages;

use std::collections::BTreeMap;

use haversack_model::{Generation, HistoryId, Result as StoreResult};

use super::codec::{decode_request, encode_part, put_framed};
use super::error::{Error, Result};
use super::frame::{Head, Open, Part, Refusal, Request, Root, Scope};
use super::item::{Delivered, Item, Order, Span};
use super::key::FpKey;
use super::limits::Limits;
use super::sum::Sum;
use super::tree::{Deltas, LEVELS, LeafBits, Node, SelfCheck, read_level};

/// A collection that others copy.
pub trait Primary {
    /// A snapshot of it. It is dropped soon.
    fn snapshot(&self) -> StoreResult<Box<dyn Snapshot + '_>>;
}

/// Where a primary stands.
#[derive(Clone, Debug, PartialEq)]
pub struct PrimaryState {
    /// The history of its service.
    pub history: HistoryId,
    /// The newest generation of the service.
    pub generation: Generation,
    /// All tombstones of the collection above this exist; those at or below it do not, nor do their items.
    pub floor: Generation,
    /// The key of its sums.
    pub key: FpKey,
    /// The width of its leaves.
    pub bits: LeafBits,
    /// The sum of all items, tombstones included: the root row.
    pub root: Sum,
}

/// What is read of a collection, all of one moment.
pub trait Snapshot {
    /// Where it stands. Costs one row.
    fn state(&self) -> StoreResult<PrimaryState>;
    /// Up to which generation another history is common with this one, if that is known.
    fn common_with(&self, history: HistoryId) -> StoreResult<Option<Generation>>;
    /// Summary rows of a level with `from <= index <= upto`, in order.
    fn nodes(
        &self,
        level: u8,
        from: u64,
        upto: u64,
        visit: &mut dyn FnMut(u64, Sum) -> StoreResult<()>,
    ) -> StoreResult<()>;
    /// Items whose generation is in the runs, tombstones included, in order. Of the index alone: no content is read.
    fn items(
        &self,
        spans: &[Span],
        visit: &mut dyn FnMut(Item) -> StoreResult<()>,
    ) -> StoreResult<()>;
    /// Records whose generation is in the runs, tombstones included, in order, until `visit` wants no more.
    fn records(
        &self,
        spans: &[Span],
        visit: &mut dyn FnMut(Delivered) -> StoreResult<haversack_model::store::Flow>,
    ) -> StoreResult<()>;
    /// All live records with the hash of their content, in any order. A scan, for copies that were made apart.
    fn contents(&self, visit: &mut dyn FnMut(Item) -> StoreResult<()>) -> StoreResult<()>;
}

/// Answers a question. `send` gets the bytes of the answer in pieces; it may block.
///
/// # Errors
/// [`Error::Malformed`], [`Error::Broken`] and [`Error::Limit`] if the question is at fault.
pub fn answer(
    primary: &dyn Primary,
    request: &[u8],
    limits: &Limits,
    send: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    if request.len() as u64 > limits.max_request_bytes {
        return Err(Error::Limit {
            what: "a question",
            limit: limits.max_request_bytes,
        });
    }
    let mut answering = Answering {
        primary,
        limits,
        send,
        queue: Vec::new(),
    };
    let told = match decode_request(request)? {
        Request::Open(ask) => answering.open(&ask)?,
        Request::Descend(ask) => answering.descend(&ask)?,
        Request::List(ask) => answering.list(&ask)?,
        Request::Sketch(ask) => answering.sketch(&ask)?,
        Request::Get(ask) => answering.get(&ask)?,
        Request::Adopt(ask) => answering.adopt(&ask)?,
        Request::Changes(ask) => answering.changes(ask.scope.epoch, ask.since)?.into(),
    };
    if let Told::Refused(refusal) = told {
        answering.part(&Part::Refused(refusal))?;
    }
    answering.part(&Part::End)?;
    answering.flush()
}

/// A snapshot and where it stands.
type Read<'a> = (Box<dyn Snapshot + 'a>, PrimaryState);

/// Whether an answer came to its end.
enum Told {
    All,
    Refused(Refusal),
}

/// The last page of changes, or why there is none.
enum Pages<'a> {
    Told {
        snapshot: Box<dyn Snapshot + 'a>,
        state: PrimaryState,
        /// The sum of all that was told.
        told: Sum,
    },
    Refused(Refusal),
}

impl From<Pages<'_>> for Told {
    fn from(pages: Pages<'_>) -> Self {
        match pages {
            Pages::Told { .. } => Self::All,
            Pages::Refused(refusal) => Self::Refused(refusal),
        }
    }
}

struct Answering<'a, 's> {
    primary: &'a dyn Primary,
    limits: &'a Limits,
    send: &'s mut dyn FnMut(&[u8]) -> Result<()>,
    /// What was told and not sent yet: nothing is sent while a snapshot is open.
    queue: Vec<u8>,
}

impl<'a> Answering<'a, '_> {
    fn part(&mut self, part: &Part) -> Result<()> {
        let frame = encode_part(part);
        if frame.len() as u64 > self.limits.max_frame_bytes {
            return Err(Error::Limit {
                what: "a record",
                limit: self.limits.max_frame_bytes,
            });
        }
        put_framed(&mut self.queue, &frame);
        Ok(())
    }
    /// Sends what was told.
    fn flush(&mut self) -> Result<()> {
        if !self.queue.is_empty() {
            (self.send)(&self.queue)?;
            self.queue.clear();
        }
        Ok(())
    }

    /// A snapshot, unless the walk began in another history or under another key.
    fn snapshot(&self, epoch: u64) -> Result<Result<Read<'a>, Refusal>> {
        let snapshot = self.primary.snapshot()?;
        let state = snapshot.state()?;
        if state.key.epoch(state.history) != epoch {
            return Ok(Err(Refusal::Epoch));
        }
        Ok(Ok((snapshot, state)))
    }

    fn open(&mut self, ask: &Open) -> Result<Told> {
        let snapshot = self.primary.snapshot()?;
        let state = snapshot.state()?;
        if ask.attempt > 0 && !agrees_with_itself(snapshot.as_ref(), &state)? {
            return Ok(Told::Refused(Refusal::Damaged));
        }
        let same_history = ask.history == Some(state.history);
        let fork = match ask.history {
            Some(history) if !same_history => snapshot.common_with(history)?,
            _ => None,
        };
        let order = if ask.deep || ask.has_records && !same_history && fork.is_none() {
            Order::Key
        } else {
            Order::Generation
        };
        let key_known = ask.key_name == state.key.name();
        let bits = match order {
            Order::Generation => ask.bits.max(state.bits),
            Order::Key => LeafBits::by_key(state.root.count),
        };
        self.part(&Part::Head(Head {
            history: state.history,
            order,
            bits,
            fork,
            key: (!key_known).then(|| *state.key.as_bytes()),
            root: state.as_root(),
        }))?;
        let scope = Scope {
            epoch: state.key.epoch(state.history),
            order,
            bits,
            salt: ask.attempt,
        };
        if order == Order::Key {
            self.tree(&scope, snapshot.as_ref(), &state)?;
            return Ok(Told::All);
        }
        if key_known && same_history && ask.root == state.root {
            return Ok(Told::All);
        }
        let since = ask.since.min(fork.unwrap_or(ask.since));
        let begins_tree = ask.has_records
            && (!ask.complete
                || !same_history
                || !key_known
                || ask.attempt > 0
                || since < state.floor);
        if since >= state.generation {
            if begins_tree {
                self.tree(&scope, snapshot.as_ref(), &state)?;
            }
            return Ok(Told::All);
        }
        drop(snapshot);
        match self.changes(scope.epoch, since)? {
            // If all that was told was new, the sum says that the copies are equal now: no tree then.
            Pages::Told { state, told, .. } if key_known && ask.root.plus(told) == state.root => {
                Ok(Told::All)
            }
            Pages::Told {
                snapshot, state, ..
            } if begins_tree => {
                if state.bits > scope.bits {
                    // It was folded to wider leaves meanwhile.
                    return Ok(Told::Refused(Refusal::Epoch));
                }
                self.tree(&scope, snapshot.as_ref(), &state)?;
                Ok(Told::All)
            }
            pages => Ok(pages.into()),
        }
    }
}

impl PrimaryState {
    fn as_root(&self) -> Root {
        Root {
            generation: self.generation,
            floor: self.floor,
            sum: self.root,
        }
    }
}

/// Whether the root is the sum of every level.
fn agrees_with_itself(snapshot: &dyn Snapshot, state: &PrimaryState) -> StoreResult<bool> {
    let mut check = SelfCheck::default();
    check.see(Node::ROOT, state.root);
    for level in 0..LEVELS {
        snapshot.nodes(level, 0, u64::MAX, &mut |index, sum| {
            check.see(Node { level, index }, sum);
            Ok(())
        })?;
    }
    Ok(check.holds(None))
}

/// The sums of one shape, read as far as they are asked for; by key of one scan.
struct Shape<'a> {
    snapshot: &'a dyn Snapshot,
    own: LeafBits,
    bits: LeafBits,
    by_key: Option<Deltas>,
}

impl<'a> Shape<'a> {
    fn new(scope: &Scope, snapshot: &'a dyn Snapshot, state: &PrimaryState) -> Result<Self> {
        let by_key = match scope.order {
            Order::Key => Some(key_sums(snapshot, &state.key, scope.bits)?),
            Order::Generation => None,
        };
        Ok(Self {
            snapshot,
            own: state.bits,
            bits: scope.bits,
            by_key,
        })
    }
    /// The nodes of a level in a run.
    fn nodes(&self, level: u8, from: u64, upto: u64) -> Result<BTreeMap<u64, Sum>> {
        let mut nodes = BTreeMap::new();
        if let Some(sums) = &self.by_key {
            sums.add_to(level, from, upto, &mut nodes);
        } else {
            let read =
                |level: u8, from, upto, visit: &mut dyn FnMut(u64, Sum) -> StoreResult<()>| {
                    self.snapshot.nodes(level, from, upto, visit)
                };
            read_level(self.own, self.bits, level, (from, upto), &read, &mut nodes)?;
        }
        Ok(nodes)
    }
}

/// The sums by key, of one scan.
fn key_sums(snapshot: &dyn Snapshot, key: &FpKey, bits: LeafBits) -> StoreResult<Deltas> {
    let mut sums = Deltas::new(bits);
    snapshot.contents(&mut |item| {
        sums.add(key.place(Order::Key, &item), key.item(Order::Key, &item));
        Ok(())
    })?;
    Ok(sums)
}

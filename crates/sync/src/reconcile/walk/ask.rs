//! The questions of a walk, each made of its state alone, so that it can be asked again.

use crate::reconcile::error::{Error, Result};
use crate::reconcile::frame::{Adopt, Changes, Descend, Get, List, Open, Request, Sketch};
use crate::reconcile::item::{Order, Span, joined};
use crate::reconcile::secondary::Secondary;

use super::settle::WIDE;
use super::{Suspect, Walk, key_of};

impl Walk {
    pub(super) fn ask_open(&self, copy: &dyn Secondary) -> Result<Request> {
        let state = copy.state()?;
        Ok(Request::Open(Open {
            history: self.history,
            key_name: state.key.map_or(0, |key| key.name()),
            bits: self.staged.bits(),
            root: self.held,
            since: self.since,
            complete: !self.wants_tree,
            has_records: state.has_records || self.held.count > 0,
            // Once it is numbered, generations prove what contents have shown.
            deep: self.options.deep && !self.numbered,
            attempt: self.attempt,
        }))
    }
    pub(super) fn ask_descend(&self) -> Result<Request> {
        Ok(Request::Descend(Descend {
            scope: self.scope()?,
            level: self.level,
            nodes: indices(&self.suspects),
        }))
    }
    pub(super) fn ask_list(&self, copy: &dyn Secondary) -> Result<Request> {
        let (scope, suspects) = (self.scope()?, self.listed());
        let (key, wide) = (key_of(copy)?, self.attempt >= WIDE);
        let mut ids = Vec::new();
        let spans = self.leaf_spans(suspects)?;
        self.visit(copy, &key, &spans, |_, hash| {
            ids.push(if wide {
                hash.0
            } else {
                u128::from(key.short(hash, scope.salt))
            });
        })?;
        let is_last = self.next as usize + suspects.len() == self.suspects.len();
        Ok(Request::List(List {
            scope,
            wide,
            leaves: indices(suspects),
            ids,
            fetch: if is_last { self.fetched() } else { Vec::new() },
            since: (is_last && scope.order == Order::Generation).then_some(self.since),
        }))
    }
    /// The suspects of the open list: as many as may be listed at once.
    pub(super) fn listed(&self) -> &[Suspect] {
        let rest = &self.suspects[(self.next as usize).min(self.suspects.len())..];
        let (mut ids, mut leaves) = (0, 0);
        for suspect in rest {
            // A damaged summary of the copy may count anything.
            ids = u64::saturating_add(ids, suspect.count);
            if leaves > 0 && ids.max(leaves + 1) > self.options.limits.max_listed {
                break;
            }
            leaves += 1;
        }
        &rest[..leaves as usize]
    }
    fn fetched(&self) -> Vec<Span> {
        let mut fetch = self.fetch.clone();
        fetch.sort_unstable_by_key(|span| span.from);
        joined(fetch)
    }
    pub(super) fn ask_sketch(&self) -> Result<Request> {
        let sketch = self.sketch.as_ref();
        let sketch = sketch.ok_or(Error::Broken("no sketch was begun"))?;
        Ok(Request::Sketch(Sketch {
            scope: self.scope()?,
            leaves: indices(&self.suspects),
            from: sketch.decoder.len(),
            upto: sketch.upto,
        }))
    }
    pub(super) fn ask_get(&self) -> Result<Request> {
        let scope = self.scope()?;
        Ok(Request::Get(Get {
            scope,
            leaves: if self.wanted.is_empty() {
                Vec::new()
            } else {
                indices(&self.suspects)
            },
            ids: self.wanted.clone(),
            fetch: self.fetched(),
            since: (scope.order == Order::Generation).then_some(self.since),
        }))
    }
    pub(super) fn ask_adopt(&self) -> Result<Request> {
        let leaves = self.to_number.last().cloned().unwrap_or_default();
        Ok(Request::Adopt(Adopt {
            scope: self.scope()?,
            leaves,
            since: (self.to_number.len() < 2).then_some(self.since),
        }))
    }
    pub(super) fn ask_changes(&self) -> Result<Request> {
        Ok(Request::Changes(Changes {
            scope: self.scope()?,
            since: self.since,
        }))
    }
}

fn indices(suspects: &[Suspect]) -> Vec<u64> {
    suspects.iter().map(|suspect| suspect.index).collect()
}

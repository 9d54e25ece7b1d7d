//! Records in pages, each read in a short snapshot and sent after it.

use std::ops::ControlFlow;

use haversack_model::Generation;

use crate::reconcile::error::Result;
use crate::reconcile::frame::{Part, Refusal};
use crate::reconcile::item::{Delivered, Span};
use crate::reconcile::limits::Limits;
use crate::reconcile::sum::Sum;

use super::{Answering, Pages, PrimaryState, Snapshot};

/// How many pages the writers of the primary may add to an answer before the rest is read in one snapshot.
const PAGES_BEHIND_WRITERS: u32 = 64;

impl<'a> Answering<'a, '_> {
    /// All that changed after a generation, and the root of the snapshot in which that ended.
    pub(super) fn changes(&mut self, epoch: u64, since: Generation) -> Result<Pages<'a>> {
        let mut next = since.0.saturating_add(1);
        let mut head = None;
        let mut behind = 0;
        let mut told = Sum::ZERO;
        loop {
            let (snapshot, state) = match self.snapshot(epoch)? {
                Ok(read) => read,
                Err(refusal) => return Ok(Pages::Refused(refusal)),
            };
            let first_head = *head.get_or_insert(state.generation.0);
            if next > first_head {
                behind += 1;
            }
            if behind > PAGES_BEHIND_WRITERS {
                // They are faster than this answer: the rest is of one snapshot, which stays open until it is sent.
                while self.page(snapshot.as_ref(), &state, &mut next, &mut told)? {
                    self.flush()?;
                }
            } else if self.page(snapshot.as_ref(), &state, &mut next, &mut told)? {
                drop(snapshot);
                self.flush()?;
                continue;
            }
            self.part(&Part::Root(state.as_root()))?;
            return Ok(Pages::Told {
                snapshot,
                state,
                told,
            });
        }
    }

    /// Tells one page of changes. Whether there may be more.
    fn page(
        &mut self,
        snapshot: &dyn Snapshot,
        state: &PrimaryState,
        next: &mut u64,
        told: &mut Sum,
    ) -> Result<bool> {
        let rest = Span {
            from: *next,
            upto: u64::MAX,
        };
        let (page, is_full) = read_page(self.limits, snapshot, &[rest])?;
        for record in &page {
            *told = told.plus(Sum::of(state.key.numbered(&record.item())));
            *next = record.generation.0 + 1;
        }
        if !page.is_empty() {
            self.part(&Part::Changed(page))?;
        }
        Ok(is_full)
    }

    /// The records of these generations that are still there. Who has moved on is among the changes.
    pub(super) fn missing(&mut self, epoch: u64, spans: &[Span]) -> Result<Option<Refusal>> {
        let mut rest = spans.to_vec();
        while !rest.is_empty() {
            let (page, is_full) = match self.snapshot(epoch)? {
                Ok((snapshot, _)) => read_page(self.limits, snapshot.as_ref(), &rest)?,
                Err(refusal) => return Ok(Some(refusal)),
            };
            match page.last() {
                Some(last) if is_full => after(&mut rest, last.generation.0),
                _ => rest.clear(),
            }
            if !page.is_empty() {
                self.part(&Part::Missing(page))?;
                self.flush()?;
            }
        }
        Ok(None)
    }
}

/// Takes everything up to a place off the runs.
fn after(spans: &mut Vec<Span>, place: u64) {
    let done = spans.partition_point(|span| span.upto <= place);
    spans.drain(..done);
    if let Some(first) = spans.first_mut() {
        first.from = first.from.max(place + 1);
    }
}

/// A page of records, and whether there may be more.
fn read_page(
    limits: &Limits,
    snapshot: &dyn Snapshot,
    spans: &[Span],
) -> Result<(Vec<Delivered>, bool)> {
    let (mut page, mut bytes, mut is_full) = (Vec::new(), 0, false);
    snapshot.records(spans, &mut |record| {
        bytes += 64 + record.body.as_ref().map_or(0, |body| body.len());
        page.push(record);
        is_full = page.len() >= limits.page_records || bytes >= limits.page_bytes;
        Ok(if is_full {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    })?;
    Ok((page, is_full))
}

//! Two collections and the wire between them.

use std::cell::{Cell, RefCell};

use haversack_model::Result as StoreResult;
use haversack_sync::reconcile::{
    Error, Limits, Options, Primary, Report, Result, Snapshot, Step, Walk, answer,
};

use super::Collection;

/// Somebody who writes to the primary between two of its snapshots.
type Writer = Box<dyn FnMut(&mut Collection)>;

/// A primary that others write to meanwhile.
pub(crate) struct Shared {
    pub(crate) collection: RefCell<Collection>,
    pub(crate) writer: RefCell<Option<Writer>>,
    pub(crate) snapshots: Cell<u32>,
}

impl Shared {
    pub(crate) fn new(collection: Collection) -> Self {
        Self {
            collection: RefCell::new(collection),
            writer: RefCell::new(None),
            snapshots: Cell::new(0),
        }
    }
    pub(crate) fn written_by(self, writer: impl FnMut(&mut Collection) + 'static) -> Self {
        *self.writer.borrow_mut() = Some(Box::new(writer));
        self
    }
}

struct Borrowed<'a>(std::cell::Ref<'a, Collection>);

impl Primary for Shared {
    fn snapshot(&self) -> StoreResult<Box<dyn Snapshot + '_>> {
        self.snapshots.set(self.snapshots.get() + 1);
        if let Some(writer) = self.writer.borrow_mut().as_mut() {
            writer(&mut self.collection.borrow_mut());
        }
        Ok(Box::new(Borrowed(self.collection.borrow())))
    }
}

/// Passes every read on.
mod passed {
    use haversack_model::store::Flow;
    use haversack_model::{Generation, HistoryId, Result};
    use haversack_sync::reconcile::{Delivered, Item, PrimaryState, Snapshot, Span, Sum};

    impl Snapshot for super::Borrowed<'_> {
        fn state(&self) -> Result<PrimaryState> {
            Snapshot::state(&*self.0)
        }
        fn common_with(&self, history: HistoryId) -> Result<Option<Generation>> {
            self.0.common_with(history)
        }
        fn nodes(
            &self,
            level: u8,
            from: u64,
            upto: u64,
            visit: &mut dyn FnMut(u64, Sum) -> Result<()>,
        ) -> Result<()> {
            Snapshot::nodes(&*self.0, level, from, upto, visit)
        }
        fn items(&self, spans: &[Span], visit: &mut dyn FnMut(Item) -> Result<()>) -> Result<()> {
            Snapshot::items(&*self.0, spans, visit)
        }
        fn records(
            &self,
            spans: &[Span],
            visit: &mut dyn FnMut(Delivered) -> Result<Flow>,
        ) -> Result<()> {
            self.0.records(spans, visit)
        }
        fn contents(&self, visit: &mut dyn FnMut(Item) -> Result<()>) -> Result<()> {
            Snapshot::contents(&*self.0, visit)
        }
    }
}

/// What carries bytes: a question in, the answer out in pieces.
pub(crate) type Wire<'a> = dyn FnMut(&[u8], &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> + 'a;

/// Synchronises over a wire that may do anything.
pub(crate) fn sync_with(
    wire: &mut Wire<'_>,
    copy: &mut Collection,
    options: Options,
) -> Result<Report> {
    let mut walk = Walk::new(options);
    let mut question = walk.start(copy)?;
    loop {
        let mut next = None;
        wire(&question, &mut |piece| {
            if next.is_some() {
                return Err(Error::Malformed("the answer goes on"));
            }
            match walk.feed(copy, piece)? {
                Step::More => {}
                step => next = Some(step),
            }
            Ok(())
        })?;
        match next {
            Some(Step::Ask(ask)) => question = ask,
            Some(Step::Done(report)) => return Ok(*report),
            _ => return Err(Error::Malformed("the answer was cut off")),
        }
    }
}

/// Synchronises a copy with its primary, as a server would.
pub(crate) fn sync(primary: &Shared, copy: &mut Collection, options: Options) -> Result<Report> {
    let limits = Limits::default();
    sync_with(
        &mut |question, send| answer(primary, question, &limits, send),
        copy,
        options,
    )
}

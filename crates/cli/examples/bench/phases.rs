//! Where the time of a sync goes, as seen by the client: between the calls of its remote and the steps that it tells.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::rc::Rc;
use std::time::{Duration, Instant};

use haversack_model::local::{FrozenBatch, ReplicaHeader};
use haversack_model::remote::{BatchReply, Page, Renewed};
use haversack_model::{BlobHash, CollectionId, GlobalId, Remote, Result};
use haversack_sync::client::Step;

/// What the client was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Freeze,
    Push,
    Reply,
    Pull,
    Page,
}

const ALL: [(Phase, &str); 5] = [
    (Phase::Freeze, "freezing batches in the replica file"),
    (
        Phase::Push,
        "batch to the server and receipts back: encoding, http, applying, tracking, history, commit",
    ),
    (Phase::Reply, "storing receipts in the replica file"),
    (Phase::Pull, "asking for what remains"),
    (Phase::Page, "storing that, and the end of the sync"),
];

/// A clock that is told what begins.
#[derive(Clone, Debug)]
pub(crate) struct Clock(Rc<RefCell<State>>);

#[derive(Debug)]
struct State {
    doing: Phase,
    since: Instant,
    spent: [Duration; ALL.len()],
}

impl Clock {
    /// Begins with the first freeze.
    pub(crate) fn start() -> Self {
        Self(Rc::new(RefCell::new(State {
            doing: Phase::Freeze,
            since: Instant::now(),
            spent: [Duration::ZERO; ALL.len()],
        })))
    }

    fn begins(&self, phase: Phase) {
        let mut state = self.0.borrow_mut();
        let now = Instant::now();
        let spent = now - state.since;
        let at = state.doing as usize;
        state.spent[at] += spent;
        state.doing = phase;
        state.since = now;
    }

    /// Notes a step of the sync.
    pub(crate) fn step(&self, step: &Step) {
        if matches!(step, Step::Uploaded(_)) {
            self.begins(Phase::Freeze);
        }
    }

    /// Microseconds per edit of each phase.
    pub(crate) fn per_edit(&self, edits: u64) -> Vec<f64> {
        self.begins(Phase::Page);
        let state = self.0.borrow();
        let micros = |spent: &Duration| spent.as_secs_f64() * 1e6 / edits as f64;
        state.spent.iter().map(micros).collect()
    }
}

/// The phases as a Markdown table.
pub(crate) fn table(per_edit: &[f64]) -> String {
    let mut text = String::from("| phase of an upload | µs per edit |\n| --- | --- |\n");
    for ((_, name), micros) in ALL.iter().zip(per_edit) {
        // Writing to a string cannot fail.
        let _ok = writeln!(text, "| {name} | {micros:.1} |");
    }
    text
}

/// A remote that tells the clock what it does.
#[derive(Debug)]
pub(crate) struct Watched<'a, R> {
    pub(crate) remote: &'a mut R,
    pub(crate) clock: Clock,
}

impl<R: Remote> Remote for Watched<'_, R> {
    fn push(&mut self, header: &ReplicaHeader, batch: &FrozenBatch) -> Result<BatchReply> {
        self.clock.begins(Phase::Push);
        let reply = self.remote.push(header, batch);
        self.clock.begins(Phase::Reply);
        reply
    }
    fn pull(&mut self, header: &ReplicaHeader) -> Result<Page> {
        self.clock.begins(Phase::Pull);
        let page = self.remote.pull(header);
        self.clock.begins(Phase::Page);
        page
    }
    fn push_blob(&mut self, header: &ReplicaHeader, hash: BlobHash, content: &[u8]) -> Result<()> {
        self.remote.push_blob(header, hash, content)
    }
    fn pull_blob(
        &mut self,
        header: &ReplicaHeader,
        collection: CollectionId,
        attachment: &GlobalId,
        hash: BlobHash,
    ) -> Result<Vec<u8>> {
        self.remote.pull_blob(header, collection, attachment, hash)
    }
    fn renew(&mut self, header: &ReplicaHeader) -> Result<Renewed> {
        self.remote.renew(header)
    }
    fn release(&mut self, header: &ReplicaHeader) -> Result<()> {
        self.remote.release(header)
    }
}

//! Where the time of a sync goes, as seen by the client: between the calls of its remote and the steps that it tells.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::rc::Rc;
use std::time::{Duration, Instant};

use haversack_model::local::{FrozenBatch, ReplicaHeader};
use haversack_model::remote::{BatchReply, Page, Renewed};
use haversack_model::{BlobHash, CollectionId, GlobalId, Remote, Result};
use haversack_sync::client::Step;

use crate::usage::Usage;

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
    (Phase::Freeze, "freezing the first batch, and what was left"),
    (
        Phase::Push,
        "batch to the server and receipts back; settling the one before and freezing the next meanwhile",
    ),
    (Phase::Reply, "keeping answers, settling the last"),
    (Phase::Pull, "asking for what remains"),
    (Phase::Page, "storing that, and the end of the sync"),
];

/// What a phase took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    pub(crate) wall: Duration,
    pub(crate) client: Usage,
    pub(crate) server: Usage,
}

/// A clock that is told what begins.
#[derive(Clone, Debug)]
pub(crate) struct Clock(Rc<RefCell<State>>);

#[derive(Debug)]
struct State {
    server: u32,
    doing: Phase,
    since: Instant,
    client_then: Usage,
    server_then: Usage,
    spent: [Spent; ALL.len()],
}

impl Clock {
    /// Begins with the first freeze.
    pub(crate) fn start(server: u32) -> Self {
        Self(Rc::new(RefCell::new(State {
            server,
            doing: Phase::Freeze,
            client_then: usage(std::process::id()),
            server_then: usage(server),
            since: Instant::now(),
            spent: [Spent::default(); ALL.len()],
        })))
    }

    fn begins(&self, phase: Phase) {
        let mut state = self.0.borrow_mut();
        let (now, client, server) = (
            Instant::now(),
            usage(std::process::id()),
            usage(state.server),
        );
        let at = state.doing as usize;
        let (wall, client_used, server_used) = (
            now - state.since,
            client.since(state.client_then),
            server.since(state.server_then),
        );
        let spent = &mut state.spent[at];
        spent.wall += wall;
        spent.client.add(client_used);
        spent.server.add(server_used);
        state.doing = phase;
        state.since = now;
        state.client_then = client;
        state.server_then = server;
    }

    /// Notes a step of the sync.
    pub(crate) fn step(&self, step: &Step) {
        if matches!(step, Step::Uploaded(_)) && self.0.borrow().doing == Phase::Reply {
            self.begins(Phase::Freeze);
        }
    }

    /// What each phase took.
    pub(crate) fn spent(&self) -> Vec<Spent> {
        self.begins(Phase::Page);
        self.0.borrow().spent.to_vec()
    }
}

/// Nothing where Linux does not tell: the wall clock still counts.
fn usage(process: u32) -> Usage {
    Usage::of(process).unwrap_or_default()
}

/// The phases as a Markdown table, each figure per edit.
pub(crate) fn table(spent: &[Spent], edits: u64) -> String {
    let mut text = String::from(
        "| phase of an upload, per edit | µs | µs of the client's CPU | µs of the server's CPU | client writes, bytes | server writes, bytes |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    let edits = edits as f64;
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / edits;
    let mut all = Spent::default();
    let mut line = |name: &str, spent: &Spent| {
        // Writing to a string cannot fail.
        let _ok = writeln!(
            text,
            "| {name} | {:.1} | {:.1} | {:.1} | {:.0} | {:.0} |",
            micros(spent.wall),
            micros(spent.client.cpu),
            micros(spent.server.cpu),
            spent.client.written as f64 / edits,
            spent.server.written as f64 / edits,
        );
    };
    for ((_, name), spent) in ALL.iter().zip(spent) {
        line(name, spent);
        all.wall += spent.wall;
        all.client.add(spent.client);
        all.server.add(spent.server);
    }
    line("all", &all);
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
    fn push_while(
        &mut self,
        header: &ReplicaHeader,
        batch: &FrozenBatch,
        meanwhile: &mut dyn FnMut(),
    ) -> Result<BatchReply> {
        self.clock.begins(Phase::Push);
        let reply = self.remote.push_while(header, batch, meanwhile);
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

//! The secondary's side: a walk from what it has to proven equality, as a machine without input and output.
//!
//! The caller carries bytes: each question from [`Walk::start`] or [`Step::Ask`] to the primary, the pieces of the answer
//! into [`Walk::feed`], until [`Step::Done`]. Between two questions the whole walk can be stored (serde) beside the
//! stage; [`Walk::resume`] asks again what was open. Nothing of the copy changes before its sum is that of the primary.
//!
//! What is found missing is staged, what is found to be here only is marked. Both may be overtaken by writers of the
//! primary; so each walk ends with what changed since it began, and with a sum and a generation of one snapshot.

mod ask;
mod compare;
mod find;
mod inbox;
mod number;
mod settle;
mod virtual_copy;

use haversack_model::{Generation, HistoryId};
use serde::{Deserialize, Serialize};

use super::cells::Decoder;
use super::error::{Error, Result};
use super::frame::{Request, Root, Scope};
use super::item::{Order, Span};
use super::key::FpKey;
use super::limits::Limits;
use super::report::Report;
use super::secondary::{Base, Secondary};
use super::sum::Sum;
use super::tree::{Deltas, LeafBits};

use inbox::Inbox;

/// How a walk is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Commit nothing: the stage then tells what would change.
    pub dry_run: bool,
    /// Compare contents too, by key: finds damage that no generation tells of. Reads everything on both sides.
    pub deep: bool,
    /// What is accepted of the primary.
    pub limits: Limits,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The answer goes on.
    More,
    /// Ask this.
    Ask(Vec<u8>),
    /// The copies are equal, or would be after the commit that a dry run leaves out.
    Done(Box<Report>),
}

/// Which question is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    Open,
    Descend,
    List,
    Sketch,
    Get,
    Adopt,
    Changes,
    Done,
}

/// A node in which the copies differ, and how many items are here in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Suspect {
    index: u64,
    count: u64,
}

/// A walk towards one primary.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Walk {
    options: Options,
    phase: Phase,
    /// How many proofs failed; each next method is stronger.
    attempt: u8,
    base: Base,
    /// What the primary is held to for the rest of the walk; `None` before its first answer.
    scope: Option<Scope>,
    history: Option<HistoryId>,
    /// What the primary told last.
    root: Root,
    /// Up to here all changes are staged.
    since: Generation,
    /// What the open question named as `since`.
    asked_since: Generation,
    /// Whether the next [`Request::Open`] asks for the tree.
    wants_tree: bool,
    /// What the stage adds to the summary of the copy and takes from it.
    staged: Deltas,
    /// The sum of the copy with its stage.
    held: Sum,
    level: u8,
    suspects: Vec<Suspect>,
    /// Runs of places of which nothing is here.
    fetch: Vec<Span>,
    /// How many leaves were compared to find the suspects.
    compared: u64,
    /// The first suspect that was not listed yet.
    next: u64,
    sketch: Option<Sketching>,
    /// Short ids to get.
    wanted: Vec<u64>,
    /// Runs of leaves by key for each question for generations, last first.
    to_number: Vec<Vec<Span>>,
    /// Leaves by key that changed while they were numbered.
    stale: Vec<Suspect>,
    stale_rounds: u32,
    /// Whether all that was matched by key has its generation.
    numbered: bool,
    report: Report,
    #[serde(skip)]
    inbox: Inbox,
}

/// A sketch that grows.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Sketching {
    decoder: Decoder,
    /// Ask for cells up to here.
    upto: u64,
    /// The sums of both sides that all its blocks must have.
    sums: Option<(Sum, Sum)>,
    /// How often it began again because they were not.
    moves: u8,
}

impl Walk {
    /// A walk that has not begun.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            phase: Phase::Open,
            attempt: 0,
            base: Base::Kept,
            scope: None,
            history: None,
            root: Root::default(),
            since: Generation::ZERO,
            asked_since: Generation::ZERO,
            wants_tree: false,
            staged: Deltas::new(LeafBits::NARROWEST),
            held: Sum::ZERO,
            level: 0,
            suspects: Vec::new(),
            fetch: Vec::new(),
            compared: 0,
            next: 0,
            sketch: None,
            wanted: Vec::new(),
            to_number: Vec::new(),
            stale: Vec::new(),
            stale_rounds: 0,
            numbered: false,
            report: Report::default(),
            inbox: Inbox::default(),
        }
    }
    /// Begins, with an empty stage: the first question.
    pub fn start(&mut self, copy: &mut dyn Secondary) -> Result<Vec<u8>> {
        self.begin(copy)?;
        self.ask(copy)
    }
    /// Asks again what was open when the walk was stored or its answer was cut off.
    pub fn resume(&mut self, copy: &mut dyn Secondary) -> Result<Vec<u8>> {
        let by_key = self.scope.is_some_and(|scope| scope.order == Order::Key);
        if self.phase == Phase::Open && by_key && !self.numbered {
            // Half a tree by key is no state of its own.
            self.begin(copy)?;
        }
        self.ask(copy)
    }
    /// Takes a piece of the answer, of any size.
    ///
    /// # Errors
    /// Any [`Error`]; the copy is then as it was. The stage is left: the next walk empties it.
    pub fn feed(&mut self, copy: &mut dyn Secondary, piece: &[u8]) -> Result<Step> {
        if self.phase == Phase::Done {
            return Err(Error::Broken("an answer follows that nobody asked for"));
        }
        self.report.bytes_received += piece.len() as u64;
        let most = self.options.limits.max_received_bytes;
        if self.report.bytes_received > most {
            return Err(Error::Limit {
                what: "the answer",
                limit: most,
            });
        }
        self.receive(copy, piece)
    }
    /// What it did so far.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// All from the copy's own state.
    fn begin(&mut self, copy: &mut dyn Secondary) -> Result<()> {
        copy.begin(Base::Kept)?;
        let state = copy.state()?;
        *self = Self {
            history: state.history,
            since: state.since,
            wants_tree: !state.complete,
            staged: Deltas::new(state.bits),
            held: state.root,
            report: std::mem::take(&mut self.report),
            ..Self::new(self.options.clone())
        };
        Ok(())
    }
    fn ask(&mut self, copy: &dyn Secondary) -> Result<Vec<u8>> {
        let request = self.question(copy)?;
        self.asked_since = self.since;
        self.inbox = Inbox::default();
        let bytes = super::codec::encode_request(&request);
        let limits = &self.options.limits;
        if self.report.rounds >= limits.max_rounds {
            return Err(Error::Limit {
                what: "the number of questions",
                limit: limits.max_rounds.into(),
            });
        }
        self.report.rounds += 1;
        self.report.bytes_sent += bytes.len() as u64;
        Ok(bytes)
    }
    fn question(&self, copy: &dyn Secondary) -> Result<Request> {
        match self.phase {
            Phase::Open => self.ask_open(copy),
            Phase::Descend => self.ask_descend(),
            Phase::List => self.ask_list(copy),
            Phase::Sketch => self.ask_sketch(),
            Phase::Get => self.ask_get(),
            Phase::Adopt => self.ask_adopt(),
            Phase::Changes => self.ask_changes(),
            Phase::Done => Err(Error::Broken("the walk is done")),
        }
    }
    /// The next question, as a step.
    fn go(&mut self, copy: &dyn Secondary, phase: Phase) -> Result<Step> {
        self.phase = phase;
        Ok(Step::Ask(self.ask(copy)?))
    }
    fn scope(&self) -> Result<Scope> {
        self.scope.ok_or(Error::Broken("nothing was opened"))
    }
}

/// The key of the copy's sums.
fn key_of(copy: &dyn Secondary) -> Result<FpKey> {
    let key = copy.state()?.key;
    key.ok_or(Error::Broken("no key was told"))
}

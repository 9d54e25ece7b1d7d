//! What must hold: after every commit of the server, after every step of a client, and at rest.
//!
//! Every text that a simulated person writes is a token of its own. So the oracle sees where each edit went, and how
//! often, without repeating the rules of the core. Guarantees are numbered as in the project's list of them.

mod commit;
mod local;
mod rest;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use haversack_model::{ConflictId, Generation, HistoryId, Record, Resolution, Service};

use crate::ground::Key;
use crate::message::Party;

pub use commit::rows;
pub use local::{Local, tokens_of};
pub use rest::{check_equal, check_theirs, refused_tokens, server_view};

/// What was found wrong.
pub type Check<T = ()> = Result<T, String>;

/// One token: one person's text in one field of one record.
#[derive(Clone, Debug)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "what befell an edit, in any combination"
)]
pub struct Mark {
    pub party: Party,
    pub key: Key,
    pub at: usize,
    /// Overwritten by the same person before it was sent.
    pub superseded: bool,
    /// Gone with a file that was replaced by an old copy, or given up by a decision.
    pub lost: bool,
    /// Copied or brought back: it may take effect more than once.
    pub exempt: bool,
    /// The server was restored after it was made.
    pub shaken: bool,
    /// Its receipt or conflict went with a file that was replaced by an old copy, or a person decided about the record since:
    /// a server that is restored, too, is not told of it again.
    pub frail: bool,
    /// A foreign client was told that it was refused.
    pub refused: bool,
    /// The tokens that were written over it by those who saw it, here or in their own files: each of them may be what a
    /// third one has in its place.
    pub followed_by: BTreeSet<u64>,
}

/// What the server has, as far as commits were seen. Restored together with the server.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    pub head: Option<(HistoryId, Generation)>,
    pub view: BTreeMap<Key, Seen>,
    /// How often a token was stored.
    pub applied: BTreeMap<u64, u32>,
    /// Tokens that a conflict holds.
    pub in_conflict: BTreeSet<u64>,
    pub conflicts: BTreeSet<ConflictId>,
    /// The decision that closed a conflict.
    pub decisions: BTreeMap<ConflictId, Resolution>,
}

impl Ledger {
    /// Columns were added: every record has their default in them.
    pub fn widen(&mut self, service: &Service) {
        for (key, seen) in &mut self.view {
            if let (Some(record), Some(shape)) = (&mut seen.record, service.collection(key.0)) {
                let missing = shape.fields.iter().skip(record.values.len());
                let defaults: Vec<_> = missing.map(|field| field.default.clone()).collect();
                Arc::make_mut(record).values.extend(defaults);
            }
        }
    }
}

/// A record as last seen.
#[derive(Clone, Debug)]
pub struct Seen {
    pub generation: Generation,
    /// `None`: deleted.
    pub record: Option<Arc<Record>>,
    /// What was deleted: whoever makes the record anew writes over it.
    pub deleted: Option<Arc<Record>>,
}

/// The oracle of one case.
#[derive(Debug, Default)]
pub struct Oracle {
    pub marks: Vec<Mark>,
    pub ledger: Ledger,
    /// Deletions that people made, and records that they made anew: by whom, of what, and how many tokens there were then.
    /// Both replace the whole record.
    pub replaced: Vec<(Party, Key, u64)>,
    /// Records that were deleted at some time.
    pub ever_dead: BTreeSet<Key>,
}

impl Oracle {
    /// A new token for a field.
    pub fn mark(&mut self, party: Party, key: &Key, at: usize) -> u64 {
        self.marks.push(Mark {
            party,
            key: key.clone(),
            at,
            superseded: false,
            lost: false,
            exempt: false,
            shaken: false,
            frail: false,
            refused: false,
            followed_by: BTreeSet::new(),
        });
        self.marks.len() as u64 - 1
    }

    pub fn is_applied(&self, token: u64) -> bool {
        self.ledger.applied.contains_key(&token)
    }

    pub fn change(&mut self, token: u64, change: impl FnOnce(&mut Mark)) {
        if let Some(mark) = self.marks.get_mut(token as usize) {
            change(mark);
        }
    }

    pub fn is_exempt(&self, token: u64) -> bool {
        self.marks
            .get(token as usize)
            .is_none_or(|mark| mark.exempt)
    }

    /// The server was put back to a backup.
    pub fn restored(&mut self, ledger: Ledger) {
        self.ledger = ledger;
        for mark in &mut self.marks {
            mark.shaken = true;
        }
    }
}

//! Conflicts with the country, for an administrator who is elsewhere: read and decided over the network, as with the file of the copy.

use haversack_model::local::LocalReplica as _;
use haversack_model::{Conflict, ConflictId, Record};
use haversack_sqlite::replica::ReplicaFile;
use haversack_sync::client::{self, Choice};

use super::Upstream;
use crate::clock;
use crate::error::{Error, Result};
use crate::native::wire::{Decision, KeptConflicts};

impl Upstream {
    /// The conflicts, with the definitions that they need to be read.
    pub(crate) fn conflicts(&self, open_only: bool) -> Result<KeptConflicts> {
        if !self.file.exists() {
            return Ok(KeptConflicts::default());
        }
        let mut file = ReplicaFile::open(&self.file)?;
        let tx = file.begin()?;
        Ok(KeptConflicts {
            collections: tx.collections()?,
            conflicts: tx.conflicts(open_only)?,
        })
    }

    /// Closes one, in somebody's name; gives it. What was decided goes up and down with the next round, which begins at once.
    pub(crate) fn decide(&self, id: ConflictId, decision: &Decision, by: &str) -> Result<Conflict> {
        let missing = || Error::invalid("conflict", "there is none of this id");
        if !self.file.exists() {
            return Err(missing());
        }
        let mut file = ReplicaFile::open(&self.file)?;
        let mut tx = file.begin()?;
        let conflict = tx.conflict(id)?.ok_or_else(missing)?;
        let choice = choice(&conflict, decision)?;
        client::resolve(&mut *tx, id, choice, by, clock::now())?;
        let decided = tx.conflict(id)?.ok_or_else(missing)?;
        tx.commit()?;
        self.turns.hurry();
        Ok(decided)
    }
}

fn choice(conflict: &Conflict, decision: &Decision) -> Result<Choice> {
    let edited = |record: &Option<Record>| {
        let missing = || Error::invalid("record", "the edited record is missing");
        record.clone().map(Choice::Edited).ok_or_else(missing)
    };
    match decision.keep.as_str() {
        "mine" => Ok(Choice::Mine),
        "theirs" => Ok(Choice::Theirs),
        "base" => Ok(Choice::Base),
        "edited" => edited(&decision.record),
        other => Err(Error::invalid(
            "keep",
            format!(
                "{other:?} is not known for {}; it must be mine, theirs, base or edited",
                conflict.id
            ),
        )),
    }
}

//! The uplink of a clinic: the face of this server over data that itself synchronises with a DHIS2 server above it.
//!
//! Owns: what passes between the documents of the face and the copy that `remote` keeps of the upper server. Does not own: when that
//! happens, credentials, files (the server), the protocol (`remote`), what devices may do (`face`).
//!
//! **Up.** What devices changed since a generation of the face becomes edits of the copy, field by field: the versions as of
//! that generation are compared with the present ones (`collect`). The cursor is a note in the copy and moves in the transaction in which the edits
//! enter its outbox. **Down.** Downloads keep the names of what they brought; `install` writes these records into the face's
//! documents, in a write transaction that has first collected what devices did until then. So nothing is told twice or lost wherever the process
//! dies: what is read again finds the copy as it would make it. For the same reason nothing goes in circles: a change that came
//! from above is equal to the copy. **Together.** Before edits are sent they are put onto what the country has by now, field by field;
//! where both changed the same field the device's value is sent, and the country's is kept in a conflict (`rebase`).
//!
//! `docs/decisions/0023` says why.

mod aggregate;
mod collect;
mod edit;
mod family;
mod files;
mod glass;
mod install;
mod metadata;
mod rebase;
mod rewind;
mod round;
mod state;
pub mod values;

use std::sync::Arc;

use haversack_model::documents::DocumentRead;
use haversack_model::{
    CollectionId, Generation, GlobalId, HistoryId, Host, Principal, ReplicaTx, Right,
};
use serde::{Deserialize, Serialize};

use crate::face::instance::Instance;
use crate::face::problem::Problem;
use crate::remote;

pub use round::{Done, Round, local};
pub use state::{Field, Open, Said, State, state, users};

/// Topic of what the uplink keeps for itself.
const OWN: &str = "dhis2 uplink";
/// Topic of the users whose edits wait or were refused: `<collection>/<uid>`.
const WHO: &str = "dhis2 uplink who";

/// A round that could not be finished.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The upper server, or the copy of it.
    #[error(transparent)]
    Remote(#[from] remote::error::Error),
    /// The data that devices see.
    #[error("the data of this server: {0}")]
    Face(String),
}

impl From<haversack_model::Error> for Error {
    fn from(error: haversack_model::Error) -> Self {
        Self::Remote(error.into())
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::Model(error) => error.into(),
            problem => Self::Face(problem.to_string()),
        }
    }
}

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The face's side: whose data it is, and as whom it is written.
#[derive(Debug)]
pub struct House {
    instance: Instance,
}

impl House {
    /// Opens the instance, and makes it if there is none. `operator` administers the host.
    ///
    /// # Errors
    /// [`Error::Face`].
    pub fn open(host: &Arc<dyn Host>, operator: &Principal) -> Result<Self> {
        Ok(Self {
            instance: Instance::open_as(host, &Arc::default(), operator, Right::Publish)?,
        })
    }
}

/// Up to where the face's changes are in the copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    history: HistoryId,
    generation: Generation,
}

impl Mark {
    const NAME: &'static str = "cursor";

    fn of_head(read: &dyn DocumentRead) -> Result<Self> {
        let head = read.head()?;
        Ok(Self {
            history: head.history,
            generation: head.generation,
        })
    }
    /// `None` before the first time, and if what is kept cannot be read.
    fn load(tx: &dyn ReplicaTx) -> Result<Option<Self>> {
        let text = tx.note(OWN, Self::NAME)?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }
    fn store(self, tx: &mut dyn ReplicaTx) -> Result<()> {
        let text = serde_json::to_string(&self)
            .map_err(|error| Error::Face(format!("a cursor cannot be written: {error}")))?;
        Ok(tx.store_note(OWN, Self::NAME, Some(&text))?)
    }
}

fn name_of(collection: CollectionId, id: &GlobalId) -> String {
    format!("{collection}/{id}")
}

/// The record of a name.
fn named(name: &str) -> Option<(CollectionId, GlobalId)> {
    let (collection, uid) = name.split_once('/')?;
    Some((
        CollectionId(collection.parse().ok()?),
        GlobalId::Text(uid.into()),
    ))
}

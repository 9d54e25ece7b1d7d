//! Broken glass: that somebody of this server looked behind it, and why, is told to the country, which keeps such reasons.
//!
//! The country knows one account, that of this server. So who it was and when stands in the reason. What the country does not take is kept for a
//! while, for whoever looks after this server.

use haversack_model::local::LocalReplica;
use haversack_model::{ReplicaTx, Timestamp};
use serde::{Deserialize, Serialize};

use super::Result;
use crate::face::instance::Stored;
use crate::remote::error::Error as RemoteError;
use crate::remote::server::Server;
use crate::remote::{self, pull};
use crate::wire::date;

/// Topic of what is to be told, and of what was refused.
const TOPIC: &str = "dhis2 uplink glass";
/// For how long a refusal is shown.
const SHOWN_MS: i64 = 30 * 24 * 3_600_000;

/// A glass that was broken here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Broken {
    pub(super) user: String,
    pub(super) tracked_entity: String,
    program: String,
    reason: String,
    pub(super) created: String,
    /// What the country said when it did not take it.
    pub(super) refusal: Option<String>,
}

impl Broken {
    fn name(&self) -> String {
        format!("{}/{}/{}", self.tracked_entity, self.program, self.user)
    }
    fn store(&self, tx: &mut dyn ReplicaTx) -> Result<()> {
        let text = serde_json::to_string(self)
            .map_err(|error| super::Error::Face(format!("a reason cannot be kept: {error}")))?;
        Ok(tx.store_note(TOPIC, &self.name(), Some(&text))?)
    }
}

/// Keeps a document of the face that tells of one, for the next round.
pub(super) fn collect(tx: &mut dyn ReplicaTx, found: Stored) -> Result<()> {
    let members = serde_json::Value::Object(found.members);
    match serde_json::from_value::<Broken>(members) {
        Ok(broken) => broken.store(tx),
        Err(error) => Err(super::Error::Face(format!(
            "the reason {} cannot be read: {error}",
            found.id
        ))),
    }
}

/// All that were not told, or not taken.
pub(super) fn open(tx: &dyn ReplicaTx) -> Result<Vec<Broken>> {
    let notes = tx.notes(TOPIC)?.into_iter();
    let read = notes.filter_map(|(_, text)| serde_json::from_str(&text).ok());
    Ok(read.collect())
}

/// Those that are to be told; refusals that were shown for long are forgotten.
pub(super) fn untold(copy: &mut dyn LocalReplica, now: Timestamp) -> Result<Vec<Broken>> {
    let (refused, untold): (Vec<_>, Vec<_>) = open(&*copy.begin()?)?
        .into_iter()
        .partition(|broken| broken.refusal.is_some());
    for broken in refused {
        if date::parse(&broken.created).is_none_or(|at| now.0 - at.0 > SHOWN_MS) {
            broken.forget(copy)?;
        }
    }
    Ok(untold)
}

impl Broken {
    /// Tells the country.
    pub(super) fn tell(&self, server: &Server) -> remote::error::Result<()> {
        let reason = format!("{} ({}, {})", self.reason, self.user, self.created);
        pull::break_glass(server, &self.tracked_entity, &self.program, &reason)
    }
    pub(super) fn forget(&self, copy: &mut dyn LocalReplica) -> Result<()> {
        let mut tx = copy.begin()?;
        tx.store_note(TOPIC, &self.name(), None)?;
        Ok(tx.commit()?)
    }
    /// Keeps what the country said.
    pub(super) fn refused(mut self, copy: &mut dyn LocalReplica, why: &RemoteError) -> Result<()> {
        tracing::warn!(tracked_entity = self.tracked_entity, program = self.program, user = self.user, reason = %why, "the upper server does not take that the glass was broken");
        self.refusal = Some(why.to_string());
        let mut tx = copy.begin()?;
        self.store(&mut *tx)?;
        Ok(tx.commit()?)
    }
}

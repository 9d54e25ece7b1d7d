//! At rest: every edit has ended in one way (G1), replicas equal the server's filtered view (G4), what is unsent has
//! the server's version beside it, conflicts are on both sides (G6).

use std::collections::{BTreeMap, BTreeSet};

use haversack_model::store::Flow;
use haversack_model::{
    Query, QueryRow, Record, ReplicaId, Result, Store, SyncState, Theirs, Versioned,
};

use super::{Check, Oracle};
use crate::ground::{Key, short, token_of};
use crate::memory::File;
use crate::message::Party;

/// What the server shows to one replica.
pub type ServerView = BTreeMap<Key, Versioned>;

/// The records of a replica's part, by its present filters.
pub fn server_view(store: &dyn Store, id: ReplicaId) -> Result<ServerView> {
    let tx = store.begin_read()?;
    let mut view = ServerView::new();
    let Some(replica) = tx.replica(id)? else {
        return Ok(view);
    };
    for layer in &replica.layers {
        let query = Query::records(layer.collection, layer.filter_now().clone());
        tx.query(&query, &mut |row| {
            if let QueryRow::Record(row) = row {
                let key = (layer.collection, row.record.global_id.clone());
                view.insert(key, *row);
            }
            Ok(Flow::Continue(()))
        })?;
    }
    Ok(view)
}

impl Oracle {
    /// Every edit of a client has ended (G1). `refused` are the tokens that the clients hold with a reason, `told`
    /// those in conflicts that they keep: the server's may have gone with a restore.
    pub fn all_ended(&self, refused: &BTreeSet<u64>, told: &BTreeSet<u64>) -> Check {
        for (number, mark) in self.marks.iter().enumerate() {
            let token = number as u64;
            let is_kept = |token: u64| {
                self.is_applied(token)
                    || self.ledger.in_conflict.contains(&token)
                    || refused.contains(&token)
                    || told.contains(&token)
            };
            let is_asked = !matches!(mark.party, Party::Online);
            let ended = mark.superseded
                || mark.lost
                || mark.refused
                || (mark.frail && mark.shaken)
                || is_kept(token)
                || (mark.shaken
                    && (self.was_followed(mark, token)
                        || self.followers(token).into_iter().any(is_kept)));
            if is_asked && !ended {
                return Err(format!(
                    "G1: e{token} of {} by {:?} was neither applied nor refused nor kept in a conflict",
                    short(&mark.key),
                    mark.party
                ));
            }
        }
        Ok(())
    }

    /// What was written over a token, one after the other: after a restore it may be sent again in its place.
    fn followers(&self, token: u64) -> BTreeSet<u64> {
        let mut found = BTreeSet::new();
        let mut next = vec![token];
        while let Some(token) = next.pop() {
            let followed_by = self.marks.get(token as usize).map(|mark| &mark.followed_by);
            next.extend(
                followed_by
                    .into_iter()
                    .flatten()
                    .filter(|t| found.insert(**t)),
            );
        }
        found
    }

    /// After a restore only the last of a replica's edits of a field is sent again. A foreign client keeps nothing of
    /// what it sent.
    fn was_followed(&self, mark: &super::Mark, token: u64) -> bool {
        let later = self.marks[token as usize + 1..]
            .iter()
            .any(|other| (other.party, &other.key, other.at) == (mark.party, &mark.key, mark.at));
        let replaced = self
            .replaced
            .iter()
            .any(|(party, key, at)| *party == mark.party && *key == mark.key && *at > token);
        later || replaced || matches!(mark.party, Party::Foreign(_))
    }
}

/// Tokens that the file holds back with a reason.
pub fn refused_tokens(file: &File) -> BTreeSet<u64> {
    let refused = file
        .outbox
        .values()
        .filter(|entry| entry.state == SyncState::Error && entry.reason.is_some());
    refused
        .filter_map(|entry| file.rows.get(&(entry.collection, entry.global_id.clone())))
        .flat_map(|row| row.values.iter().filter_map(token_of).collect::<Vec<_>>())
        .collect()
}

/// What is unsent has the server's version as its base or beside it.
pub fn check_theirs(file: &File, view: &ServerView) -> Check {
    for (key, entry) in file.outbox.iter() {
        let known: Option<&Record> = match (&entry.theirs, &entry.base) {
            (Theirs::Row { record, .. }, _) => Some(record),
            (Theirs::Removed(_), _) | (Theirs::Unchanged, None) => None,
            (Theirs::Unchanged, Some((base, _))) => Some(base),
        };
        let same = match (known, view.get(key)) {
            (Some(known), Some(row)) => {
                let mut known = known.clone();
                known
                    .values
                    .resize(row.record.values.len(), haversack_model::Value::Null);
                known.same_content(&row.record)
            }
            (None, None) => true,
            _ => false,
        };
        if !same {
            return Err(format!(
                "the server's version of {} is not kept beside the unsent one: {:?}, base {:?} for {:?}",
                short(key),
                entry.theirs,
                entry.base,
                view.get(key)
            ));
        }
    }
    Ok(())
}

/// The rows equal the server's view, row for row (G4).
pub fn check_equal(who: &str, rows: &BTreeMap<Key, Record>, view: &ServerView) -> Check {
    for (key, row) in rows {
        match view.get(key) {
            None => return Err(format!("G4: {who} has {}, the server has not", short(key))),
            Some(served) if !served.record.same_content(row) => {
                return Err(format!(
                    "G4: {who} has another {}: {:?} for {:?}",
                    short(key),
                    row.values,
                    served.record.values
                ));
            }
            Some(_) => {}
        }
    }
    match view.keys().find(|key| !rows.contains_key(*key)) {
        Some(key) => Err(format!("G4: {who} lacks {}", short(key))),
        None => Ok(()),
    }
}

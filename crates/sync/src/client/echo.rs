//! What of a download is news: not what this very sync has sent and now gets back, nor what a comparison finds equal.
//!
//! Owns: the counts that people read. Does not own: what a page does to the file ([`super::apply_page`]).

use std::collections::HashSet;

use haversack_model::remote::{BatchReply, Page, RemoteChange};
use haversack_model::{Collection, CollectionId, GlobalId, Outcome, ReplicaTx, Result};

use super::freeze::is_stored;

/// The records of which this sync has sent an edit that was not refused.
#[derive(Debug, Default)]
pub(super) struct Sent(HashSet<(CollectionId, GlobalId)>);

/// How many records a page adds or replaces, and removes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct News {
    pub(super) put: u64,
    pub(super) removed: u64,
}

impl Sent {
    pub(super) fn note(&mut self, answer: &BatchReply) {
        let receipts = answer.receipts.iter();
        let stored = receipts.filter(|of| !matches!(of.outcome, Outcome::Rejected { .. }));
        self.0
            .extend(stored.map(|of| (of.collection, of.global_id.clone())));
    }

    /// The news of a page that is not stored yet.
    pub(super) fn news(&self, tx: &dyn ReplicaTx, page: &Page) -> Result<News> {
        let is_comparison = tx.header()?.resyncing;
        let collections = if self.0.is_empty() && !is_comparison {
            Vec::new()
        } else {
            tx.collections()?
        };
        let mut news = News::default();
        for change in &page.changes {
            if (is_comparison || self.has_sent(change)) && is_here(tx, &collections, change)? {
                continue;
            }
            match change {
                RemoteChange::Put { .. } => news.put += 1,
                RemoteChange::Remove { .. } => news.removed += 1,
            }
        }
        Ok(news)
    }

    fn has_sent(&self, change: &RemoteChange) -> bool {
        let (collection, id) = record_of(change);
        !self.0.is_empty() && self.0.contains(&(collection, id.clone()))
    }
}

fn record_of(change: &RemoteChange) -> (CollectionId, &GlobalId) {
    match change {
        RemoteChange::Put {
            collection, record, ..
        } => (*collection, &record.global_id),
        RemoteChange::Remove {
            collection,
            global_id,
            ..
        } => (*collection, global_id),
    }
}

/// Whether the file has it so already, but for the stamps that the server puts on rows.
fn is_here(tx: &dyn ReplicaTx, collections: &[Collection], change: &RemoteChange) -> Result<bool> {
    let (collection, id) = record_of(change);
    Ok(match (change, tx.row(collection, id)?) {
        (RemoteChange::Put { record, .. }, Some(here)) => {
            is_stored(collections, collection, &here, record)
        }
        (RemoteChange::Put { .. }, None) | (RemoteChange::Remove { .. }, Some(_)) => false,
        (RemoteChange::Remove { .. }, None) => true,
    })
}

//! Where the pages of lists ended: the next page begins there, whatever was made or went away since.
//!
//! Pages are asked for by number. With the place where page 1 ended page 2 costs what is on it, not what is on both; and nothing is told twice or
//! left out because something before it came or went. A list that begins anew, at page 1, forgets its old places; a page whose place is not known
//! is counted from the beginning. Source: `spec/dhis2.md` 5.2.

use std::collections::BTreeMap;
use std::sync::Arc;

use haversack_model::{CollectionId, Generation, GlobalId, HistoryId, ObjectId, Timestamp};

use crate::face::call::Call;

/// How many lists are remembered at once.
const MAX_CHAINS: usize = 64;
/// How long, since a page of it was asked for.
const LASTS_MS: i64 = 15 * 60_000;
/// Most changed objects whose ids are kept for the next page; of more the objects themselves are read again.
pub(super) const MAX_CHANGED: usize = 20_000;

/// Ids of objects, in the order of the first.
pub(super) type Ids = Arc<Vec<(ObjectId, GlobalId)>>;

/// Where a page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Behind this object.
    pub(super) after: ObjectId,
    /// How many objects of the list come before it.
    pub(super) seen: u64,
}

/// One list of one user.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    pub(super) history: HistoryId,
    /// The snapshot in which it began, and in which it was counted.
    pub(super) generation: Generation,
    /// When its last page was asked for.
    pub(super) at: Timestamp,
    /// Beginnings of pages from the second on.
    pub(super) begins: BTreeMap<u64, Place>,
    /// How many objects it has, if they were counted.
    pub(super) total: Option<u64>,
    /// With a time since when: what changed since then.
    pub(super) changed: Option<Ids>,
}

impl Chain {
    /// Where to begin for a page: its own beginning, or the nearest one before it.
    pub(super) fn place(&self, page: u64) -> Option<Place> {
        self.begins
            .range(..=page)
            .next_back()
            .map(|(_, place)| *place)
    }
}

/// The lists that were asked for last.
#[derive(Debug, Default)]
pub(crate) struct Chains(BTreeMap<String, Chain>);

impl Chains {
    /// The list of a request, if it is remembered.
    pub(super) fn get(&self, key: &str, history: HistoryId, now: Timestamp) -> Option<Chain> {
        let chain = self.0.get(key)?;
        // Clocks jump both ways.
        let is_fresh = now.0.abs_diff(chain.at.0) <= LASTS_MS.unsigned_abs();
        (is_fresh && chain.history == history).then(|| chain.clone())
    }
    /// Remembers a list, and forgets the one that was asked for longest ago if there are too many.
    pub(super) fn keep(&mut self, key: String, chain: Chain) {
        if !self.0.contains_key(&key) && self.0.len() >= MAX_CHAINS {
            let oldest = self.0.iter().min_by_key(|(_, chain)| chain.at);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.0.remove(&oldest);
            }
        }
        self.0.insert(key, chain);
    }
}

/// What makes two requests pages of one list: who asks, for what, by which parameters but the number of the page and the fields.
pub(super) fn key(call: &Call, collection: CollectionId) -> String {
    let of_page = |name: &str| matches!(name, "page" | "fields") || name.contains(' ');
    let mut parameters: Vec<_> = call
        .query
        .iter()
        .filter(|(name, _)| !of_page(name))
        .collect();
    parameters.sort();
    format!("{:?} {} {parameters:?}", call.principal.name, collection.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(at: i64) -> Chain {
        Chain {
            history: HistoryId(uuid::Uuid::nil()),
            generation: Generation(1),
            at: Timestamp(at),
            begins: [(2, 50), (4, 150)]
                .into_iter()
                .map(|(page, seen)| {
                    (
                        page,
                        Place {
                            after: ObjectId(1000 - seen),
                            seen: seen.unsigned_abs(),
                        },
                    )
                })
                .collect(),
            total: None,
            changed: None,
        }
    }

    #[test]
    fn a_page_begins_at_the_nearest_place_before_it() {
        let chain = chain(0);
        let seen = |page| chain.place(page).map(|place| place.seen);
        assert_eq!(
            [1, 2, 3, 4, 9].map(seen),
            [None, Some(50), Some(50), Some(150), Some(150)]
        );
    }

    #[test]
    fn lists_are_forgotten_with_time_with_their_history_and_when_there_are_too_many() {
        let mut chains = Chains::default();
        let history = HistoryId(uuid::Uuid::nil());
        for n in 0..=MAX_CHAINS {
            chains.keep(n.to_string(), chain(n as i64));
        }
        assert_eq!(chains.0.len(), MAX_CHAINS);
        assert!(
            chains.get("0", history, Timestamp(0)).is_none(),
            "the oldest went"
        );
        assert!(chains.get("1", history, Timestamp(0)).is_some());
        for now in [LASTS_MS + 2, -LASTS_MS] {
            assert!(chains.get("1", history, Timestamp(now)).is_none(), "{now}");
        }
        assert!(
            chains
                .get("1", HistoryId(uuid::Uuid::max()), Timestamp(0))
                .is_none()
        );
    }
}

//! What this process remembers from one request to the next. All of it can be forgotten at any time: it is made of what is stored.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use haversack_model::documents::DocumentRead;
use haversack_model::store::ChangeQuery;
use haversack_model::{CollectionId, Error, Filter, Generation, HistoryId};

use super::aggregate::Sets;
use super::alias::Aliases;
use super::instance::Instance;
use super::problem::Result;
use super::system::People;
use super::tracker::catalog::Catalog;
use super::tracker::chain::Chains;
use super::tracker::rules::Rules;

/// Everything that is remembered.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) catalog: Kept<Catalog>,
    pub(crate) people: Kept<People>,
    pub(crate) sets: Kept<Sets>,
    pub(crate) rules: Kept<Rules>,
    pub(crate) chains: Mutex<Chains>,
    pub(crate) aliases: Mutex<Aliases>,
}

/// The value behind a lock, also after a panic of who held it: nothing in here is ever half done.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Something that is made of collections, as long as nothing in these changes.
#[derive(Debug)]
pub(crate) struct Kept<T>(Mutex<Option<(HistoryId, Generation, Arc<T>)>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> Kept<T> {
    /// What a snapshot holds: what is kept if the collections did not change since, else made anew. The snapshot may be that of a write
    /// transaction that has not changed the collections itself.
    pub(crate) fn get(
        &self,
        instance: &Instance,
        tx: &dyn DocumentRead,
        collections: &[&str],
        make: impl FnOnce() -> Result<T>,
    ) -> Result<Arc<T>> {
        let head = tx.head()?;
        let kept = locked(&self.0).clone();
        let kept = kept.filter(|(history, generation, _)| {
            *history == head.history && *generation <= head.generation
        });
        let mut value = None;
        if let Some((_, generation, known)) = kept {
            let mut changed = false;
            for name in collections {
                let collection = instance.collection(name)?;
                changed = changed || has_changed(tx, collection, generation, head.generation)?;
            }
            value = (!changed).then_some(known);
        }
        let value = match value {
            Some(value) => value,
            None => Arc::new(make()?),
        };
        let mut slot = locked(&self.0);
        // A snapshot may be older than what another request has kept meanwhile.
        let is_newer = slot.as_ref().is_none_or(|(history, generation, _)| {
            *history != head.history || *generation < head.generation
        });
        if is_newer {
            *slot = Some((head.history, head.generation, Arc::clone(&value)));
        }
        Ok(value)
    }
}

/// Whether anything in a collection was made, changed or deleted between two generations. One seek.
fn has_changed(
    tx: &dyn DocumentRead,
    collection: CollectionId,
    since: Generation,
    upto: Generation,
) -> Result<bool> {
    if since == upto {
        return Ok(false);
    }
    let mut changed = false;
    let query = ChangeQuery {
        collection,
        since,
        upto,
        filter: &Filter::All,
        filter_then: &Filter::All,
    };
    let asked = tx.changes(&query, &mut |_| {
        changed = true;
        Ok(ControlFlow::Break(()))
    });
    match asked {
        // What was deleted that long ago is not told any more.
        Err(Error::Resync { .. }) => Ok(true),
        Err(error) => Err(error.into()),
        // With nothing kept, zero is never below the floor, and tells of no deletions.
        Ok(()) => Ok(changed || since == Generation::ZERO),
    }
}

//! The objects of a list, page by page.
//!
//! The order is that in which objects were made, the newest first unless asked otherwise; for any other order all objects are looked at. What changed since a time is found by generations, at the
//! cost of what changed; a page begins where the one before it ended ([`super::chain`]).

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use haversack_model::documents::DocumentRead;
use haversack_model::filter::{Comparison, Expr};
use haversack_model::store::Flow;
use haversack_model::{
    CollectionId, Filter, Generation, GlobalId, Order, Query, QueryRow, Timestamp, Versioned,
};
use serde_json::Value;

use super::chain::{self, Chain, Ids, MAX_CHANGED, Place};
use super::rows::{Object, Row};
use super::select::{self, Sort, Window};
use crate::face::call::Call;
use crate::face::instance::Instance;
use crate::face::memory::locked;
use crate::face::metadata::filter::{self, Order as ByMember};
use crate::face::problem::{Problem, Result};

/// Something that is made of a stored object.
pub(super) trait Listed {
    type Object: Object;
    fn object(&self) -> &Self::Object;
}

impl<T: Object> Listed for Row<T> {
    type Object = T;
    fn object(&self) -> &T {
        &self.object
    }
}

impl<T: Object, With> Listed for (Row<T>, With) {
    type Object = T;
    fn object(&self) -> &T {
        &self.0.object
    }
}

/// Puts the objects of a page: of those that `wants` makes something of, those on the page that is asked for.
pub(super) fn pages<T: Listed>(
    call: &Call,
    (instance, tx): (&Instance, &dyn DocumentRead),
    mut wants: impl FnMut(&Versioned) -> Result<Option<T>>,
    mut put: impl FnMut(T) -> Result<()>,
) -> Result<Window> {
    let mut window = Window::of(call)?;
    let kind = T::Object::KIND;
    let collection = instance.collection(kind.collection())?;
    let since = select::time(call, "updatedAfter")?;
    let is_ascending = match select::sort(call, kind)? {
        Sort::Made(is_ascending) => is_ascending,
        Sort::By(order) => {
            sorted(
                tx,
                collection,
                since,
                &order,
                &mut window,
                &mut wants,
                &mut put,
            )?;
            return Ok(window);
        }
    };
    let (head, now) = (tx.head()?, call.host.now());
    let key = chain::key(call, collection);
    let known = locked(&instance.memory().chains).get(&key, head.history, now);
    let place = known
        .as_ref()
        .and_then(|chain| chain.place(window.number()?));
    let continues = place.is_some();
    let known = known.filter(|chain| continues || chain.generation == head.generation);
    if let Some(chain) = &known {
        window.known_total = chain.total;
    }
    if let Some(place) = place {
        window.seen = place.seen;
    }
    let changed = match (
        since,
        known.as_ref().and_then(|chain| chain.changed.clone()),
    ) {
        (Some(_), Some(changed)) => Some(changed),
        (Some(since), None) => changed_since(tx, collection, since)?,
        (None, _) => None,
    };
    let mut next = None;
    let (mut visited, mut is_cut) = (0_u64, false);
    let mut step = |found: &Versioned| -> Result<Flow> {
        visited += 1;
        // Where there are too many changes to name them all are looked at, and this is the cheapest look.
        if since.is_some_and(|since| found.track.stamp < since) {
            return Ok(ControlFlow::Continue(()));
        }
        if let Some(object) = wants(found)? {
            if window.takes() {
                put(object)?;
            }
            if window.is_full() {
                next = found.record.object_id.map(|after| Place {
                    after,
                    seen: window.seen,
                });
            }
        }
        let flow = window.flow();
        is_cut |= flow.is_break();
        Ok(flow)
    };
    match &changed {
        Some(ids) => of_ids(tx, collection, ids, place, is_ascending, &mut step)?,
        None => of_all(tx, collection, place, is_ascending, &mut step)?,
    }
    tracing::debug!(server = %call.host.server_id(), visited, told = window.seen, "a page of a list");
    if !is_cut {
        window.known_total = Some(window.seen);
    }
    if let Some(page) = window.number() {
        let (generation, mut begins) = match known {
            Some(chain) if continues => (chain.generation, chain.begins),
            _ => (head.generation, BTreeMap::new()),
        };
        if let Some(next) = next {
            begins.insert(page + 1, next);
        }
        let chain = Chain {
            history: head.history,
            generation,
            at: now,
            begins,
            total: window.known_total,
            changed,
        };
        locked(&instance.memory().chains).keep(key, chain);
    }
    Ok(window)
}

/// Puts the objects of a page in an order of what is in them. Of all that are asked for the keys are held, and of those on the page the objects.
fn sorted<T: Listed>(
    tx: &dyn DocumentRead,
    collection: CollectionId,
    since: Option<Timestamp>,
    order: &[ByMember],
    window: &mut Window,
    wants: &mut impl FnMut(&Versioned) -> Result<Option<T>>,
    put: &mut impl FnMut(T) -> Result<()>,
) -> Result<()> {
    let changed = match since {
        Some(since) => changed_since(tx, collection, since)?,
        None => None,
    };
    let mut all: Vec<(Value, GlobalId)> = Vec::new();
    let mut step = |found: &Versioned| -> Result<Flow> {
        let is_old = since.is_some_and(|since| found.track.stamp < since);
        if let Some(object) = wants(found).map(|object| object.filter(|_| !is_old))? {
            all.push((key(order, object.object())?, found.record.global_id.clone()));
        }
        Ok(ControlFlow::Continue(()))
    };
    // The newest first, and so they stay where the order says nothing.
    match &changed {
        Some(ids) => of_ids(tx, collection, ids, None, false, &mut step)?,
        None => of_all(tx, collection, None, false, &mut step)?,
    }
    all.sort_by(|a, b| filter::compare_by(order, &a.0, &b.0));
    for (_, id) in all {
        if window.takes()
            && let Some(found) = tx.record(collection, &id)?
            && let Some(object) = wants(&found)?
        {
            put(object)?;
        }
    }
    Ok(())
}

/// What an object is ordered by.
fn key(order: &[ByMember], object: &impl Object) -> Result<Value> {
    let whole =
        serde_json::to_value(object).map_err(|error| Problem::Internal(error.to_string()))?;
    let value = |name: &str| {
        let lists = [("attributes", "attribute"), ("dataValues", "dataElement")];
        let mut values = lists.iter().filter_map(|(list, member)| {
            let mut list = whole.get(list)?.as_array()?.iter();
            let found = list.find(|one| one.get(member).is_some_and(|id| id == name))?;
            found.get("value").cloned()
        });
        whole.get(name).cloned().or_else(|| values.next())
    };
    let members = order.iter().map(|by| {
        let name = by.member();
        (name.to_owned(), value(name).unwrap_or_default())
    });
    Ok(Value::Object(members.collect()))
}

/// Visits the objects with these ids.
fn of_ids(
    tx: &dyn DocumentRead,
    collection: CollectionId,
    ids: &Ids,
    place: Option<Place>,
    is_ascending: bool,
    step: &mut dyn FnMut(&Versioned) -> Result<Flow>,
) -> Result<()> {
    let left = match place {
        None => &ids[..],
        Some(place) if is_ascending => &ids[ids.partition_point(|(id, _)| *id <= place.after)..],
        Some(place) => &ids[..ids.partition_point(|(id, _)| *id < place.after)],
    };
    let mut each = left.iter();
    let mut next = || {
        if is_ascending {
            each.next()
        } else {
            each.next_back()
        }
    };
    while let Some((_, id)) = next() {
        if let Some(found) = tx.record(collection, id)?
            && step(&found)?.is_break()
        {
            break;
        }
    }
    Ok(())
}

/// Visits all objects behind a place.
fn of_all(
    tx: &dyn DocumentRead,
    collection: CollectionId,
    place: Option<Place>,
    is_ascending: bool,
    step: &mut dyn FnMut(&Versioned) -> Result<Flow>,
) -> Result<()> {
    let filter = place.map_or(Filter::All, |place| Filter::Compare {
        left: Expr::ObjectId,
        op: if is_ascending {
            Comparison::Greater
        } else {
            Comparison::Less
        },
        right: Expr::Literal(haversack_model::Value::Integer(place.after.0)),
    });
    let order = Order {
        expr: Expr::ObjectId,
        descending: !is_ascending,
    };
    let query = Query {
        order: vec![order],
        ..Query::records(collection, filter)
    };
    let mut failed = None;
    tx.query(&query, &mut |row| {
        let QueryRow::Record(found) = row else {
            return Ok(ControlFlow::Continue(()));
        };
        Ok(step(&found).unwrap_or_else(|problem| {
            failed = Some(problem);
            ControlFlow::Break(())
        }))
    })?;
    failed.map_or(Ok(()), Err)
}

/// What changed at or after a time, in the order in which it was made; nothing if that is too much to be named.
fn changed_since(
    tx: &dyn DocumentRead,
    collection: CollectionId,
    since: Timestamp,
) -> Result<Option<Ids>> {
    let after = generation_before(tx, collection, since)?;
    let mut changed = Vec::new();
    tx.live_after(collection, after, &Filter::All, &mut |found| {
        let id = found.record.global_id;
        changed.extend(found.record.object_id.map(|number| (number, id)));
        Ok(if changed.len() > MAX_CHANGED {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    })?;
    if changed.len() > MAX_CHANGED {
        return Ok(None);
    }
    changed.sort();
    Ok(Some(Arc::new(changed)))
}

/// The last generation whose stamp is before a time. Stamps grow with generations, so it is found by halving: a seek each.
fn generation_before(
    tx: &dyn DocumentRead,
    collection: CollectionId,
    since: Timestamp,
) -> Result<Generation> {
    let (mut low, mut high) = (0, tx.head()?.generation.0);
    while low < high {
        let middle = low + (high - low) / 2;
        let mut next = None;
        tx.live_after(collection, Generation(middle), &Filter::All, &mut |found| {
            next = Some(found.track);
            Ok(ControlFlow::Break(()))
        })?;
        match next {
            Some(track) if track.stamp < since => low = track.generation.0,
            _ => high = middle,
        }
    }
    Ok(Generation(low))
}

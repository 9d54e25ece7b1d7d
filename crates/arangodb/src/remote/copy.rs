//! A full copy by dump. Source: `spec/arangodb.md` 6.5.
//!
//! A dump does not say how many documents it should have had. Where the primary has a revision tree, what arrived is compared with it;
//! otherwise with the count of its keys.

use std::time::Instant;

use serde_json::Value;

use super::primary::{Found, Primary};
use super::stage::{Origin, Stage};
use super::target::Target;
use super::{Done, Error, Order, Result};
use crate::wire::dump::Line;
use crate::wire::tree::Tree;

/// Copies one collection.
pub(super) fn full(
    order: &Order<'_>,
    primary: &Primary<'_>,
    found: &Found,
    target: &Target,
) -> Result<Done> {
    let name = &found.parameters.name;
    target.begin(order, &Origin::of(primary, found, true))?;
    let mut stage = Stage::new(order, target.id);
    let mut tree = Some(Tree::default());
    let (mut documents, mut shown) = (0_u64, Instant::now());
    let count = std::cell::Cell::new(0);
    (order.progress)(&format!("fetching collection '{name}'"));
    let dumped = primary.dump(
        name,
        |line| {
            match line {
                Line::Document(found) => {
                    let (_, revision) = stage.put(Value::Object(found), name)?;
                    documents += 1;
                    if tree
                        .as_mut()
                        .is_some_and(|tree| tree.add(revision).is_err())
                    {
                        tree = None;
                    }
                }
                Line::Removal(key) => {
                    stage.remove(key)?;
                    // The revision of what it removes is not known.
                    tree = None;
                }
            }
            count.set(documents);
            Ok(())
        },
        |bytes| {
            if shown.elapsed().as_millis() >= 200 {
                let text = format!(
                    "fetching collection '{name}': {} documents, {bytes} bytes",
                    count.get()
                );
                (order.progress)(&text);
                shown = Instant::now();
            }
        },
    );
    stage.flush()?;
    dumped?;
    (order.progress)(&format!("checking collection '{name}'"));
    let expected = expected_count(primary, found, tree.as_ref())?;
    if expected.is_some_and(|expected| expected != documents) {
        let expected = expected.unwrap_or_default();
        return Err(Error::invalid(format!(
            "the dump of {name:?} has {documents} documents, the leader counts {expected}"
        )));
    }
    (order.progress)(&format!("replacing collection '{name}'"));
    let done = target.merge(order, found, true, |tx| {
        // The same key twice in a dump would be one document here.
        let count = tx.count(target.id)?;
        if tree.is_some() && count != documents {
            return Err(Error::invalid(format!(
                "the dump of {name:?} names a key twice"
            )));
        }
        Ok(true)
    })?;
    done.ok_or_else(|| Error::invalid("a copy is not what was fetched"))
}

/// How many documents there must be; `None` if the primary cannot say.
fn expected_count(
    primary: &Primary<'_>,
    found: &Found,
    tree: Option<&Tree>,
) -> Result<Option<u64>> {
    let name = &found.parameters.name;
    if let Some(tree) = tree.filter(|_| found.parameters.sync_by_revision && primary.has_trees) {
        match primary.tree(name) {
            Err(error) if error.is_unsupported() => {}
            Err(error) => return Err(error),
            Ok((theirs, _)) => {
                let is_equal = theirs
                    .differences(tree)
                    .is_ok_and(|ranges| ranges.is_empty());
                if !is_equal {
                    return Err(Error::invalid(format!(
                        "the dump of {name:?} is not what the leader's revisions say"
                    )));
                }
                return Ok(Some(theirs.count()));
            }
        }
    }
    match primary.keys(name) {
        Ok((id, count)) => {
            primary.forget_keys(&id);
            Ok(Some(count))
        }
        Err(error) if error.is_unsupported() => Ok(None),
        Err(error) => Err(error),
    }
}

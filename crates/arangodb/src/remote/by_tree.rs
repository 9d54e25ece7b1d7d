//! Fetches what differs by revision trees. Source: `spec/arangodb.md` 8.5.
//!
//! Removals are staged first, then documents: the revision that a document had here may be met after the one that it has there.

use std::collections::BTreeMap;

use haversack_model::documents::DocumentRead;
use haversack_model::{CollectionId, Revision};
use serde_json::json;

use super::copy;
use super::primary::{Found, ON, Primary};
use super::stage::Stage;
use super::target::Target;
use super::{Done, Error, Order, Result};
use crate::wire::revision;
use crate::wire::tree::{Digest, Tree};

/// Documents that are asked for at once.
const PART: usize = 5000;
/// How often it is begun anew when the collection is changed here meanwhile.
const ROUNDS: u32 = 3;

/// Makes one collection equal to the primary's. What is staged already counts as if it were here; with `whole` nothing else does.
///
/// Where that does not come out, as documents here and there were given the same revisions, all of it is copied.
pub(super) fn fetch(
    order: &Order<'_>,
    primary: &Primary<'_>,
    found: &Found,
    target: &Target,
    whole: bool,
) -> Result<Done> {
    let name = &found.parameters.name;
    (order.progress)(&format!("comparing collection '{name}' by revisions"));
    let (theirs, digest) = primary.tree(name)?;
    for _ in 0..ROUNDS {
        let Some((ours, _)) = tree(order.store.read_documents()?.as_ref(), target.id, whole)?
        else {
            return super::by_keys::fetch(order, primary, found, target, whole);
        };
        let Ok(ranges) = ours.differences(&theirs) else {
            return super::by_keys::fetch(order, primary, found, target, whole);
        };
        if !ranges.is_empty() {
            stage_differences(order, primary, found, (target.id, whole), &ranges)?;
        }
        (order.progress)(&format!("updating collection '{name}'"));
        let done = target.merge(order, found, whole, |tx| {
            let Some((merged, merged_digest)) = tree(tx, target.id, false)? else {
                return Ok(false);
            };
            let is_equal = merged
                .differences(&theirs)
                .is_ok_and(|ranges| ranges.is_empty());
            Ok(is_equal
                && digest
                    .as_ref()
                    .is_none_or(|digest| *digest == merged_digest.text()))
        })?;
        if let Some(done) = done {
            return Ok(done);
        }
    }
    copy::full(order, primary, found, target)
}

/// The tree of what a merge would leave; `None` if it has none, as revisions repeat or are too far apart.
fn tree(
    tx: &dyn DocumentRead,
    collection: CollectionId,
    whole: bool,
) -> Result<Option<(Tree, Digest)>> {
    let (mut tree, mut digest) = (Tree::default(), Digest::default());
    let (mut last, mut is_fit) = (None, true);
    tx.merged_revisions(
        collection,
        whole,
        (Revision(0), Revision(i64::MAX as u64)),
        &mut |key, revision| {
            digest.add(key, revision.0);
            is_fit &= last != Some(revision) && tree.add(revision.0).is_ok();
            last = Some(revision);
            ON
        },
    )?;
    Ok(is_fit.then_some((tree, digest)))
}

fn stage_differences(
    order: &Order<'_>,
    primary: &Primary<'_>,
    found: &Found,
    (collection, whole): (CollectionId, bool),
    ranges: &[(u64, u64)],
) -> Result<()> {
    let name = &found.parameters.name;
    let mut stage = Stage::new(order, collection);
    let wanted = compare(
        order,
        primary,
        name,
        (collection, whole),
        ranges,
        &mut stage,
    )?;
    stage.flush()?;
    let fetched = stage_wanted(order, primary, name, &wanted, &mut stage);
    stage.flush()?;
    fetched
}

fn stage_wanted(
    order: &Order<'_>,
    primary: &Primary<'_>,
    name: &str,
    wanted: &[u64],
    stage: &mut Stage<'_, '_>,
) -> Result<()> {
    let mut left: &[u64] = wanted;
    while !left.is_empty() {
        let part: Vec<String> = left
            .iter()
            .take(PART)
            .map(|&revision| revision::encode(revision))
            .collect();
        let documents = primary.documents(name, &part)?;
        if documents.is_empty() || documents.len() > part.len() {
            return Err(Error::invalid(
                "another number of documents than was asked for",
            ));
        }
        let count = documents.len();
        for (document, &asked) in documents.into_iter().zip(left) {
            let (_, revision) = stage.put(document, name)?;
            if revision != asked {
                return Err(Error::invalid(
                    "a document of another revision than was asked for",
                ));
            }
        }
        left = &left[count..];
        let done = wanted.len() - left.len();
        (order.progress)(&format!(
            "fetching collection '{name}': {done} of {} documents",
            wanted.len()
        ));
    }
    Ok(())
}

/// Stages removals; gives the revisions that must be fetched, in ascending order.
fn compare(
    order: &Order<'_>,
    primary: &Primary<'_>,
    name: &str,
    (collection, whole): (CollectionId, bool),
    ranges: &[(u64, u64)],
    stage: &mut Stage<'_, '_>,
) -> Result<Vec<u64>> {
    let asked: Vec<[String; 2]> = ranges
        .iter()
        .map(|&(low, high)| [revision::encode(low), revision::encode(high)])
        .collect();
    let asked = json!(asked).to_string();
    let mut wanted = Vec::new();
    let mut resume = ranges.first().map_or(0, |range| range.0);
    loop {
        let (told, next) = primary.ranges(name, &asked, &revision::encode(resume))?;
        let next = match next {
            None => None,
            Some(text) => {
                let next = revision::decode(&text).ok().filter(|&next| next > resume);
                Some(next.ok_or_else(|| Error::invalid("ranges of revisions do not advance"))?)
            }
        };
        let open: Vec<(u64, u64)> = ranges
            .iter()
            .copied()
            .filter(|&(_, high)| high >= resume)
            .collect();
        if told.len() > open.len() || (next.is_none() && told.len() != open.len()) {
            return Err(Error::invalid(
                "another number of ranges than was asked for",
            ));
        }
        let last = next.map_or(u64::MAX, |next| next - 1);
        let told_of: Vec<(u64, u64)> = open
            .into_iter()
            .take(told.len())
            .map(|(low, high)| (low.max(resume), high.min(last)))
            .collect();
        let mut ours = within(order, (collection, whole), &told_of)?;
        for (revisions, (low, high)) in told.iter().zip(told_of) {
            for revision in decode(revisions, low, high)? {
                if ours.remove(&revision).is_none() {
                    wanted.push(revision);
                }
            }
        }
        for (_, key) in ours {
            stage.remove(key)?;
        }
        match next {
            None => return Ok(wanted),
            Some(next) => resume = next,
        }
    }
}

/// Revisions and keys of ours within ranges, which are in their order. They are read in one go: the stage has no index of them.
fn within(
    order: &Order<'_>,
    (collection, whole): (CollectionId, bool),
    ranges: &[(u64, u64)],
) -> Result<BTreeMap<u64, String>> {
    let mut found = BTreeMap::new();
    let (Some((first, _)), Some((_, last))) = (ranges.first(), ranges.last()) else {
        return Ok(found);
    };
    let mut left = ranges.iter().peekable();
    order.store.read_documents()?.merged_revisions(
        collection,
        whole,
        (Revision(*first), Revision(*last)),
        &mut |key, revision| {
            while left.next_if(|(_, high)| *high < revision.0).is_some() {}
            if left.peek().is_some_and(|(low, _)| *low <= revision.0) {
                found.insert(revision.0, key.to_owned());
            }
            ON
        },
    )?;
    Ok(found)
}

fn decode(revisions: &[String], low: u64, high: u64) -> Result<Vec<u64>> {
    let mut decoded = Vec::with_capacity(revisions.len());
    for text in revisions {
        let revision = revision::decode(text)
            .ok()
            .filter(|revision| (low..=high).contains(revision));
        let revision =
            revision.filter(|&revision| decoded.last().is_none_or(|&last| last < revision));
        decoded.push(
            revision
                .ok_or_else(|| Error::invalid("revisions that do not belong into their range"))?,
        );
    }
    Ok(decoded)
}

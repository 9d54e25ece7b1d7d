//! The secondary: copies collections of an ArangoDB 3.x, or of another Haversack, into a database of ours.
//!
//! Owns: the requests to the primary and their order, waits and retries, what is staged, and when it replaces what was there. Does not
//! own: codecs ([`crate::wire`]), the order of a client and who may give it (`face`), the data (`DocumentStore`).
//!
//! Nothing that is there is touched before all of the new is here and fits: documents are staged beside the collection and merged in
//! one transaction, so that a failure at any point leaves what was there. The batch on the primary is prolonged by a timer and
//! released after every end. Source: `spec/arangodb.md` 3, 5, 7, 8 and 17.

mod by_keys;
mod by_tree;
mod copy;
mod error;
mod http;
mod native;
mod primary;
mod stage;
mod target;

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use haversack_model::copies::Copies;
use haversack_model::documents::{Difference, DocumentStore, Merged};
use haversack_model::{CollectionId, Generation, Timestamp};
use serde_json::{Value, json};

pub use crate::known::server_number;
pub use error::{Error, Result};
pub use target::remove_left;

use crate::wire::config::Config;
use crate::wire::endpoint::Endpoint;
use primary::Primary;
use stage::Origin;
use target::{Target, Way};

/// What a synchronisation needs of the server that does it.
pub struct Order<'a> {
    /// The database that is written.
    pub store: &'a dyn DocumentStore,
    /// Its name.
    pub database: &'a str,
    /// What was asked.
    pub config: &'a Config,
    /// Where the primary is; it was checked against the list.
    pub endpoint: Endpoint,
    /// The number of this server, which the primary must not have.
    pub server: u64,
    /// How long the primary keeps a batch without hearing of us.
    pub batch_ttl: Duration,
    /// Numbers that this server gives once.
    pub next_id: &'a dyn Fn() -> u64,
    /// The clock.
    pub now: &'a dyn Fn() -> Timestamp,
    /// Where progress is told.
    pub progress: &'a dyn Fn(&str),
    /// Set when it must stop.
    pub stop: Arc<AtomicBool>,
    /// More certificates (PEM) by which a primary may show who it is.
    pub ca: Option<PathBuf>,
    /// The same, as the text of such a file.
    pub more_ca: Option<&'a str>,
    /// Accept any certificate.
    pub insecure: bool,
    /// What copies from another Haversack natively.
    pub copies: Option<&'a dyn Copies>,
    /// The name of the one collection here; then it is found by that name alone, whatever its origin.
    pub local: Option<&'a str>,
    /// Nothing is to be done while the primary is at this tick.
    pub since: Option<&'a str>,
    /// Whether whoever gave the order may replace a collection; `None` is one that is not there yet.
    pub may_replace: &'a dyn Fn(Option<CollectionId>) -> bool,
    /// Change nothing, but tell so many of the differences.
    pub dry_run: Option<usize>,
}

/// What an order did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Copied {
    /// Each collection.
    pub collections: Vec<CopiedOne>,
    /// The tick of the primary of which they are copies.
    pub tick: String,
    /// Requests to the primary.
    pub requests: u32,
    /// Bytes of its answers.
    pub bytes: u64,
}

impl Copied {
    /// As clients see it.
    pub fn to_json(&self) -> Value {
        let one = |one: &CopiedOne| json!({"id": one.id, "name": one.name});
        let all: Vec<Value> = self.collections.iter().map(one).collect();
        json!({"collections": all, "lastLogTick": self.tick})
    }
}

/// What became of one collection.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CopiedOne {
    /// Its number there.
    pub id: String,
    /// Its name there.
    pub name: String,
    /// What was done, or would be.
    pub done: Done,
}

/// What was done to a collection, or would be.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Done {
    /// Whether all of it was fetched.
    pub is_whole: bool,
    /// What the merge did. It is not told of a native copy.
    pub merged: Merged,
    /// Of a dry run: the first that differ, by key.
    pub differences: Vec<Difference>,
    /// Whether there are more of them.
    pub more: bool,
    /// The generation of the primary that it is a copy of, if that is not the batch's.
    generation: Option<Generation>,
}

impl Order<'_> {
    /// The database there.
    fn there(&self) -> &str {
        if self.config.database.is_empty() {
            self.database
        } else {
            &self.config.database
        }
    }
}

impl Debug for Order<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Order")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// Copies what the order names.
///
/// # Errors
/// [`Error`]; collections that were finished before stay new, the one under way and those after it stay as they were.
pub fn synchronise(order: &Order<'_>) -> Result<Copied> {
    let restriction = order.config.restriction()?;
    (order.progress)("connecting to the primary");
    let primary = Primary::open(order)?;
    if order.since.is_some_and(|since| since == primary.tick) {
        let (requests, bytes) = primary.cost();
        return Ok(Copied {
            collections: Vec::new(),
            tick: primary.tick.clone(),
            requests,
            bytes,
        });
    }
    (order.progress)("fetching the inventory");
    let inventory = primary.inventory(order.config.include_queues)?;
    let wanted: Vec<_> = inventory
        .into_iter()
        .filter(|found| {
            !found.parameters.deleted && order.config.wants(&restriction, &found.parameters.name)
        })
        .collect();
    let mut collections = Vec::new();
    // The oldest snapshot: whoever follows from there misses nothing.
    let mut tick = None;
    for found in wanted {
        let found = &match order.local {
            Some(name) => found.named(name),
            None => found,
        };
        let target = Target::prepare(order, found)?;
        let done = match fetch(order, &primary, found, &target) {
            Ok(done) => done,
            Err(error) => {
                let is_native = order.copies.is_some() && primary.is_haversack;
                if !error.is_a_cut() || !(is_native || target.has_staged(order)) {
                    target.give_up(order);
                }
                return Err(error);
            }
        };
        tick = Some(tick.unwrap_or(done.generation).min(done.generation));
        collections.push(CopiedOne {
            id: found.parameters.id.clone(),
            name: found.parameters.name.clone(),
            done,
        });
    }
    let tick = match tick.flatten() {
        Some(Generation(generation)) => generation.max(1).to_string(),
        None => primary.tick.clone(),
    };
    (order.progress)("releasing the batch");
    let (requests, bytes) = primary.cost();
    drop(primary);
    Ok(Copied {
        collections,
        tick,
        requests,
        bytes,
    })
}

/// Copies one collection.
fn fetch(
    order: &Order<'_>,
    primary: &Primary<'_>,
    found: &primary::Found,
    target: &Target,
) -> Result<Done> {
    if let Some(generation) = native::fetch(order, primary, found, target)? {
        return Ok(Done {
            generation: Some(generation),
            ..Done::default()
        });
    }
    let whole = target.way == Way::Full;
    let origin = Origin::of(primary, found, whole);
    if !target.goes_on(order, &origin)? {
        if whole {
            return copy::full(order, primary, found, target);
        }
        target.begin(order, &origin)?;
    }
    match differences(order, primary, found, target, whole) {
        // It can dump, and nothing else.
        Err(Error::Leader {
            status: 405 | 501, ..
        }) if whole => copy::full(order, primary, found, target),
        done => done,
    }
}

/// Fetches what neither is here nor was staged by an order that was cut; with `whole` what is here does not count.
fn differences(
    order: &Order<'_>,
    primary: &Primary<'_>,
    found: &primary::Found,
    target: &Target,
    whole: bool,
) -> Result<Done> {
    if found.parameters.sync_by_revision && primary.has_trees {
        match by_tree::fetch(order, primary, found, target, whole) {
            Err(error) if error.is_unsupported() => {}
            done => return done,
        }
    }
    by_keys::fetch(order, primary, found, target, whole)
}

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
mod primary;
mod stage;
mod target;

use std::fmt::Debug;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use haversack_model::Timestamp;
use haversack_model::documents::DocumentStore;
use serde_json::{Value, json};

pub use error::{Error, Result};

use crate::wire::config::Config;
use crate::wire::endpoint::Endpoint;
use primary::Primary;
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
    pub stop: &'a AtomicBool,
}

impl Debug for Order<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Order")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// Copies what the order names; the result as clients see it.
///
/// # Errors
/// [`Error`]; collections that were finished before stay new, the one under way and those after it stay as they were.
pub fn synchronise(order: &Order<'_>) -> Result<Value> {
    let restriction = order.config.restriction()?;
    (order.progress)("connecting to the primary");
    let primary = Primary::open(order)?;
    (order.progress)("fetching the inventory");
    let inventory = primary.inventory(order.config.include_queues)?;
    let wanted: Vec<_> = inventory
        .into_iter()
        .filter(|found| {
            !found.parameters.deleted && order.config.wants(&restriction, &found.parameters.name)
        })
        .collect();
    let mut told = Vec::new();
    for found in &wanted {
        let target = Target::prepare(order, found)?;
        let copied = match target.way {
            Way::Incremental => incremental(order, &primary, found, &target),
            Way::Full => copy::full(order, &primary, found, &target),
        };
        if let Err(error) = copied {
            target.give_up(order);
            return Err(error);
        }
        told.push(json!({"id": found.parameters.id, "name": found.parameters.name}));
    }
    let tick = primary.tick.clone();
    (order.progress)("releasing the batch");
    drop(primary);
    Ok(json!({"collections": told, "lastLogTick": tick}))
}

fn incremental(
    order: &Order<'_>,
    primary: &Primary<'_>,
    found: &primary::Found,
    target: &Target,
) -> Result<()> {
    if found.parameters.sync_by_revision && primary.has_trees {
        match by_tree::fetch(order, primary, found, target) {
            Err(error) if error.is_unsupported() => {}
            done => return done,
        }
    }
    by_keys::fetch(order, primary, found, target)
}

//! A pull from a server that speaks only ArangoDB's protocols: the same command, the same report.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use haversack_arangodb::remote::{self, Copied, CopiedOne, Order};
use haversack_arangodb::wire::config::Config;
use haversack_arangodb::wire::endpoint::Endpoint;
use haversack_model::Host as _;
use haversack_model::documents::DocumentStore;
use haversack_sync::reconcile::{self, Method};
use serde_json::json;

use super::here::made;
use super::pull::{LISTED, Login, Progress, Report, Request, missing};
use super::visits::Visit;
use crate::error::{Error, Result};
use crate::{Server, clock, secret};

/// How long the primary keeps its snapshot without hearing of us.
const BATCH_TTL: Duration = Duration::from_hours(2);

/// Makes a collection of this server a copy of one of such a server.
pub(super) fn run(
    server: &Server,
    visit: &Visit<'_>,
    (service, name): (&str, &str),
    request: &Request,
    login: &Login,
    progress: &mut Progress<'_>,
) -> Result<Report> {
    let from = request.from.as_str();
    if request.deep {
        return Err(Error::invalid(
            from,
            "it is an ArangoDB, which compares revisions and no contents: leave out --deep",
        ));
    }
    let endpoint =
        Endpoint::parse(from).map_err(|error| Error::invalid(from, error.to_string()))?;
    let (store, created) = here(server, visit, (service, name), request.dry_run)?;
    let config = config(service, name, request, login);
    let progress = RefCell::new(progress);
    remote::synchronise(&Order {
        store: store.as_ref(),
        database: service,
        config: &config,
        endpoint,
        server: remote::server_number(server.server_id()),
        batch_ttl: BATCH_TTL,
        next_id: &next_id,
        now: &clock::now,
        progress: &|text| (progress.borrow_mut())(text, 0, None),
        stop: Arc::clone(server.pulls.stopping()),
        ca: server.endpoint_ca(),
        more_ca: request.ca.as_deref(),
        insecure: request.insecure,
        copies: server.copies(),
        local: Some(name),
        since: request.since.as_deref(),
        may_replace: &|_asked_before| true,
        dry_run: request.dry_run.then(|| request.list.unwrap_or(LISTED)),
    })
    .map_err(|error| Error::invalid(from, error.to_string()))
    .and_then(|copied| report(service, name, request, created, &copied))
}

fn report(
    service: &str,
    name: &str,
    request: &Request,
    created: bool,
    copied: &Copied,
) -> Result<Report> {
    let unchanged = CopiedOne::default();
    let is_unchanged = request.since.as_ref() == Some(&copied.tick);
    let found = copied.collections.first();
    let Some(one) = found.or(is_unchanged.then_some(&unchanged)) else {
        let problem = format!("its database has no collection {:?}", there(name, request));
        return Err(Error::invalid(request.from.as_str(), problem));
    };
    let merged = one.done.merged;
    let is_equal = merged.inserted + merged.replaced + merged.removed == 0;
    let method = match (is_equal, one.done.is_whole) {
        (_, true) => Method::FullCopy,
        (true, false) => Method::Equal,
        (false, false) => Method::Tree,
    };
    Ok(Report {
        service: service.to_owned(),
        collection: name.to_owned(),
        created,
        dry_run: request.dry_run,
        walk: reconcile::Report {
            method,
            rounds: copied.requests,
            bytes_received: copied.bytes,
            inserted: merged.inserted,
            replaced: merged.replaced,
            removed: merged.removed,
            ..reconcile::Report::default()
        },
        differences: one.done.differences.clone(),
        more: one.done.more,
        tick: Some(copied.tick.clone()),
    })
}

/// The name of the collection there.
fn there<'a>(name: &'a str, request: &'a Request) -> &'a str {
    if request.collection.is_empty() {
        name
    } else {
        &request.collection
    }
}

fn config(service: &str, name: &str, request: &Request, login: &Login) -> Config {
    let database = if request.database.is_empty() {
        service
    } else {
        &request.database
    };
    let mut order = json!({
        "endpoint": request.from, "database": database, "username": login.user, "password": login.password,
        "jwt": login.token, "restrictType": "include", "restrictCollections": [there(name, request)],
        // A comparison fetches what differs, not everything.
        "incremental": request.incremental || request.dry_run,
    });
    if let Some(seconds) = request.max_wait_s {
        order["initialSyncMaxWaitTime"] = json!(seconds);
    }
    let mut config = Config::default();
    if let Some(order) = order.as_object() {
        config.merge(order);
    }
    config
}

/// The database here, made if need be, and whether the collection is still to be made.
fn here(
    server: &Server,
    visit: &Visit<'_>,
    (service, name): (&str, &str),
    dry_run: bool,
) -> Result<(Arc<dyn DocumentStore>, bool)> {
    let store = match server.documents(service) {
        Some(store) => store,
        None if dry_run => return Err(missing("service", service)),
        None => made(server, visit, service)?,
    };
    let is_there = store
        .read_documents()?
        .service()?
        .collection_named(name)
        .is_some();
    if dry_run && !is_there {
        return Err(missing("collection", name));
    }
    Ok((store, !is_there))
}

/// A number that no other collection or index has.
fn next_id() -> u64 {
    // Exact in JavaScript.
    secret::random_uuid().as_u64_pair().0 >> 11
}

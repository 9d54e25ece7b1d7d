//! New events go up, one of a hundred into an organisation unit that does not have their program.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use haversack_dhis2::remote::error;
use haversack_dhis2::remote::http::{Answer, Http, Options};
use haversack_dhis2::remote::push::{Clock, Courier, Importer, Pace, Uploader, stored_conflicts};
use haversack_dhis2::remote::server::Server;
use haversack_model::Timestamp;
use haversack_model::local::LocalReplica as _;
use haversack_sqlite::replica::ReplicaFile;
use haversack_sync::{client, states};
use serde_json::Value as Json;

use super::login;
use crate::collections::Table;

/// One of so many is refused.
const REFUSED: u64 = 100;

/// The computer's own time, and how long it was waited in all, in nanoseconds.
#[derive(Clone, Debug, Default)]
struct Counted(Arc<AtomicU64>);

impl Pace for Counted {
    fn wait(&mut self, how_long: Duration) {
        let begun = Instant::now();
        Clock.wait(how_long);
        let waited = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.0.fetch_add(waited, Ordering::Relaxed);
    }
    fn now(&self) -> Timestamp {
        Clock.now()
    }
}

/// Reads along what the server reports.
struct Reader<'a> {
    http: &'a Http,
    /// Uids of events with an error.
    refused: RefCell<BTreeSet<String>>,
    /// How many the server says that it stored.
    stored: RefCell<u64>,
}

impl Courier for Reader<'_> {
    fn ask(&self, path: &str, params: &[(&str, &str)]) -> error::Result<Json> {
        let told = self.http.get(path, params)?;
        if path.ends_with("/report") {
            *self.stored.borrow_mut() += told["stats"]["created"].as_u64().unwrap_or_default();
            let errors = told["validationReport"]["errorReports"].as_array();
            let uids = errors.into_iter().flatten().filter_map(|error| {
                let uid = error["uid"].as_str()?;
                Some(uid.to_owned())
            });
            self.refused.borrow_mut().extend(uids);
        }
        Ok(told)
    }
    fn post(
        &self,
        path: &str,
        params: &[(&str, &str)],
        body: Option<&Json>,
    ) -> error::Result<Answer> {
        self.http.post(path, params, body)
    }
    fn put(&self, path: &str, params: &[(&str, &str)]) -> error::Result<Answer> {
        self.http.put(path, params, None)
    }
    fn delete(&self, path: &str, params: &[(&str, &str)]) -> error::Result<Answer> {
        self.http.delete(path, params)
    }
}

/// Adds so many events to a copy and sends them.
pub(super) fn measure(copy: &Path, url: &str, events: u64, table: &mut Table) -> Result<()> {
    println!("making {events} events ..");
    let mut edited = rusqlite::Connection::open(copy)?;
    let tx = edited.transaction()?;
    {
        let mut insert = tx.prepare(
            "INSERT INTO single_visit_form (uid, org_unit, status, occurred_at, weight) VALUES (?, ?, 'ACTIVE', '2026-10-02', ?)",
        )?;
        for n in 0..events {
            let unit = if n % REFUSED == 7 {
                "hvOuFacil02"
            } else {
                "hvOuFacil01"
            };
            insert.execute((format!("bnSv{n:07}"), unit, 40.0 + (n % 50) as f64))?;
        }
    }
    tx.commit()?;
    drop(edited);
    let wrong_ones: BTreeSet<String> = (0..events)
        .filter(|n| n % REFUSED == 7)
        .map(|n| format!("bnSv{n:07}"))
        .collect();

    let server = Server::connect(url, login(), &Options::default())?;
    let reader = Reader {
        http: &server.http,
        refused: RefCell::default(),
        stored: RefCell::default(),
    };
    let importer = Importer {
        version: server.version,
        api: server.importer(),
    };
    let pace = Counted::default();
    let waited = Arc::clone(&pace.0);
    let mut file = ReplicaFile::open(copy)?;
    let again = Box::new(ReplicaFile::open(copy)?);
    let begun = Instant::now();
    let mut uploader = Uploader::new(&reader, importer, again, Box::new(pace));
    let done = client::upload(&mut file, &mut uploader, client::MAX_BATCH, &mut |_| {})?;
    let seconds = begun.elapsed().as_secs_f64();
    drop(uploader);
    let waiting = Duration::from_nanos(waited.load(Ordering::Relaxed)).as_secs_f64();

    let (entries, said) = {
        let tx = file.begin()?;
        (tx.entries()?, stored_conflicts(&*tx)?)
    };
    let refused = reader.refused.into_inner();
    let stored = reader.stored.into_inner();
    ensure!(
        refused == wrong_ones && stored + refused.len() as u64 == events,
        "the server refused {} and stored {stored}",
        refused.len()
    );
    // What has no entry is settled; all others must be those of the report, each with what was said of it.
    let shown: BTreeSet<(String, &str)> = entries
        .iter()
        .map(|entry| (entry.global_id.to_string(), states::shown(entry)))
        .collect();
    let right: BTreeSet<(String, &str)> =
        refused.iter().map(|uid| (uid.clone(), "ERROR")).collect();
    let explained: BTreeSet<String> = said.into_iter().map(|said| said.conflict.object).collect();
    let wrong = shown.symmetric_difference(&right).count()
        + explained.symmetric_difference(&refused).count();
    let rate = events as f64 / (seconds - waiting);
    table.line(
        &format!("upload of {events} events, one of {REFUSED} refused"),
        &format!(
            "{rate:.0} objects/s outside the waiting for jobs ({seconds:.2} s, {waiting:.2} of them waiting); {} stored, {} refused, {wrong} wrong states",
            done.applied,
            done.rejected.len()
        ),
        "at least 3000 objects/s, no wrong state",
        rate >= 3000.0
            && wrong == 0
            && done.applied == stored
            && done.rejected.len() == refused.len(),
    );
    Ok(())
}

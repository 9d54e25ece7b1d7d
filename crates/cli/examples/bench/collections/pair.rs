//! Two servers of the program, a collection on both, and what is done to it.

use std::hash::{Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use haversack_model::Store as _;
use haversack_model::documents::document;
use haversack_model::{CollectionId, JobStatus, Service, Timestamp};
use haversack_server::DataDir;
use haversack_server::native::Client;
use haversack_server::native::pull::Report;
use haversack_server::native::wire::JobInfo;
use haversack_sqlite::SqliteStore;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value as Json, json};

use super::proxy::{Proxy, Traffic};
use crate::layer::{Child, PASSWORD, USER};

/// Service and collection on both servers.
pub(crate) const SERVICE: &str = "bench";
const NAME: &str = "documents";
const ID: CollectionId = CollectionId(0);
/// Edits in one request.
const AT_ONCE: usize = 1000;

/// What a synchronisation cost.
#[derive(Debug)]
pub(crate) struct Cost {
    pub(crate) traffic: Traffic,
    pub(crate) seconds: f64,
    /// CPU seconds of primary and secondary.
    pub(crate) cpu: (f64, f64),
    /// Peaks of resident memory of primary and secondary, in bytes.
    pub(crate) memory: (u64, u64),
    /// What the secondary says that it did; none by a foreign protocol.
    pub(crate) report: Option<Report>,
}

impl Cost {
    /// The larger peak in megabytes.
    pub(crate) fn megabytes(&self) -> f64 {
        self.memory.0.max(self.memory.1) as f64 / 1e6
    }
}

/// One edit.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Edit {
    Put(u64, u64),
    Delete(u64),
}

/// A primary and its secondary.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) primary: Child,
    pub(crate) secondary: Child,
    folders: [PathBuf; 2],
    token: String,
    /// Of the primary, and through it.
    pub(crate) near: Proxy,
    /// The same, 200 ms there and back.
    pub(crate) far: Proxy,
}

/// About 150 bytes with its key and revision.
pub(crate) fn body(n: u64, version: u64) -> String {
    format!(
        "{{\"n\":{n},\"version\":{version},\"name\":\"{:x<88}\"}}",
        ""
    )
}

/// A key that lies anywhere among the others.
pub(crate) fn key(n: u64) -> String {
    format!("{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

impl Pair {
    /// Makes so many documents on the primary, and an empty secondary beside it.
    pub(crate) fn start(folder: &Path, documents: u64) -> Result<Self> {
        Self::start_in(
            [folder.join("primary"), folder.join("secondary")],
            documents,
        )
    }

    /// The same in folders of either, which may lie on two disks.
    pub(crate) fn start_in(folders: [PathBuf; 2], documents: u64) -> Result<Self> {
        for (at, folder) in folders.iter().enumerate() {
            let services = DataDir::open(folder)?.services();
            let mut service = Service::of_documents(SERVICE);
            if at == 0 {
                service
                    .collections
                    .push(service.new_documents(NAME, false)?);
            }
            let store = SqliteStore::create(file(&services), &service)?;
            let mut next = 0;
            while at == 0 && next < documents {
                let mut tx = store.begin_write(Timestamp(1_780_000_000_000))?;
                for n in next..documents.min(next + 20_000) {
                    tx.put(ID, &document(&key(n), body(n, 0)), None)?;
                }
                tx.commit()?;
                next += 20_000;
            }
        }
        let primary = Child::start(&folders[0])?;
        let secondary =
            Child::start_with(&folders[1], &["--allow-endpoint", "http://127.0.0.1:*"])?;
        let login = primary
            .client()?
            .log_in(USER, PASSWORD, Duration::from_hours(24))?;
        let address = primary.address()?;
        Ok(Self {
            primary,
            secondary,
            folders,
            token: login.token,
            near: Proxy::start(address, Duration::ZERO)?,
            far: Proxy::start(address, Duration::from_millis(100))?,
        })
    }

    /// Runs something and tells what it cost both servers.
    pub(crate) fn costs(
        &self,
        proxy: &Proxy,
        work: impl FnOnce(SocketAddr) -> Result<(f64, Option<Report>)>,
    ) -> Result<Cost> {
        self.primary.reset_peak()?;
        self.secondary.reset_peak()?;
        proxy.take();
        let before = (self.primary.cpu()?, self.secondary.cpu()?);
        let (seconds, report) = work(proxy.address())?;
        Ok(Cost {
            traffic: proxy.take(),
            seconds,
            cpu: (
                self.primary.cpu()? - before.0,
                self.secondary.cpu()? - before.1,
            ),
            memory: (self.primary.peak_memory()?, self.secondary.peak_memory()?),
            report,
        })
    }

    /// Makes the secondary equal to the primary natively; fails unless that was proven.
    pub(crate) fn sync(&self, proxy: &Proxy) -> Result<Cost> {
        self.costs(proxy, |address| {
            let client = self.secondary.client()?;
            let (seconds, report) = self.pull(&client, address)?;
            ensure!(report.walk.proof.is_some(), "nothing was proven");
            Ok((seconds, Some(report)))
        })
    }

    /// So many synchronisations one after the other.
    pub(crate) fn sync_often(&self, proxy: &Proxy, times: u32) -> Result<Cost> {
        self.costs(proxy, |address| {
            let client = self.secondary.client()?;
            let mut all = 0.0;
            let mut last = None;
            for _ in 0..times {
                let (seconds, report) = self.pull(&client, address)?;
                all += seconds;
                last = Some(report);
            }
            Ok((all, last))
        })
    }

    fn pull(&self, client: &Client, address: SocketAddr) -> Result<(f64, Report)> {
        let asked =
            json!({ "from": format!("http://{address}"), "login": { "token": self.token } });
        let begun = Instant::now();
        let path = format!("/v1/services/{SERVICE}/collections/{NAME}/pull");
        let job = client.send("POST", &path, Some(&asked))?;
        let job = format!(
            "/v1/jobs/{}",
            job["id"].as_str().context("a job has an id")?
        );
        loop {
            let told: JobInfo = serde_json::from_value(client.send("GET", &job, None)?)?;
            match told.status {
                JobStatus::Failed => anyhow::bail!("{}", told.result),
                JobStatus::Completed => {
                    let report = serde_json::from_value(told.result)?;
                    return Ok((begun.elapsed().as_secs_f64(), report));
                }
                JobStatus::Pending | JobStatus::Running => {
                    // Often enough for the time, seldom enough for the CPU of the secondary.
                    let pause = begun.elapsed() / 20;
                    std::thread::sleep(
                        pause.clamp(Duration::from_millis(4), Duration::from_millis(50)),
                    );
                }
            }
        }
    }

    /// Copies the whole collection by ArangoDB's dump protocol.
    pub(crate) fn dump(&self) -> Result<Cost> {
        self.near.hide_native(true);
        let cost = self.costs(&self.near, |address| {
            let order = json!({
                "endpoint": format!("tcp://{address}"), "database": SERVICE, "jwt": self.token,
                "restrictType": "include", "restrictCollections": [NAME], "incremental": false,
            });
            let begun = Instant::now();
            let client = self.secondary.client()?;
            client.send("PUT", &face("/_api/replication/sync"), Some(&order))?;
            Ok((begun.elapsed().as_secs_f64(), None))
        });
        self.near.hide_native(false);
        cost
    }

    /// Takes the collection of the secondary away.
    pub(crate) fn forget(&self) -> Result<()> {
        let path = face(&format!("/_api/collection/{NAME}"));
        self.secondary.client()?.send("DELETE", &path, None)?;
        Ok(())
    }

    /// Takes from the secondary what it was proven to be, and up to where it has changes.
    pub(crate) fn lose_cursor(&self) -> Result<()> {
        let connection = Connection::open(file(&self.services(1)))?;
        connection.busy_timeout(Duration::from_secs(10))?;
        let lost = connection.execute(
            "UPDATE haversack_upstreams SET since = 0, proven_items = NULL, proven_high = NULL, proven_low = NULL",
            [],
        )?;
        ensure!(lost == 1, "the secondary has no cursor to lose");
        Ok(())
    }

    /// Whether both files hold the same documents, read past the servers.
    pub(crate) fn is_equal(&self) -> Result<bool> {
        let digest = |at: usize| -> Result<(u64, u64)> {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
            let connection = Connection::open_with_flags(file(&self.services(at)), flags)?;
            let definition: String =
                connection.query_row("SELECT definition FROM haversack_service", [], |row| {
                    row.get(0)
                })?;
            let service: Service = serde_json::from_str(&definition)?;
            let found = service.collection_named(NAME).context("it has documents")?;
            let sql = format!(
                "SELECT \"{}\", document FROM \"{}\"",
                found.global_id_field, found.table
            );
            let mut statement = connection.prepare(&sql)?;
            let mut rows = statement.query([])?;
            let (mut count, mut sum) = (0_u64, 0_u64);
            while let Some(row) = rows.next()? {
                let mut hasher = std::hash::DefaultHasher::new();
                (row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?).hash(&mut hasher);
                (count, sum) = (count + 1, sum.wrapping_add(hasher.finish()));
            }
            Ok((count, sum))
        };
        Ok(digest(0)? == digest(1)?)
    }

    fn services(&self, at: usize) -> PathBuf {
        self.folders[at].join("services")
    }
}

fn file(services: &Path) -> PathBuf {
    services.join(format!("{SERVICE}.gpkg"))
}

fn face(path: &str) -> String {
    format!("/_db/{SERVICE}{path}")
}

/// Makes edits on a server, by the routes that drivers use.
pub(crate) fn edit(server: &Child, edits: &[Edit]) -> Result<()> {
    let client = server.client()?;
    for some in edits.chunks(AT_ONCE) {
        let puts: Vec<Json> = some
            .iter()
            .filter_map(|edit| match edit {
                Edit::Put(n, version) => serde_json::from_str::<Json>(&body(*n, *version))
                    .ok()
                    .map(|mut document| {
                        document["_key"] = key(*n).into();
                        document
                    }),
                Edit::Delete(_) => None,
            })
            .collect();
        let deletes: Vec<Json> = some
            .iter()
            .filter_map(|edit| match edit {
                Edit::Delete(n) => Some(key(*n).into()),
                Edit::Put(..) => None,
            })
            .collect();
        if !puts.is_empty() {
            let path = face(&format!(
                "/_api/document/{NAME}?overwriteMode=replace&silent=true"
            ));
            client.send("POST", &path, Some(&puts.into()))?;
        }
        if !deletes.is_empty() {
            let path = face(&format!("/_api/document/{NAME}?silent=true"));
            client.send("DELETE", &path, Some(&deletes.into()))?;
        }
    }
    Ok(())
}

/// Writes one document every few milliseconds until it is told to stop. The longest that one took, and how many there were.
pub(crate) fn write_until(
    server: &Child,
    stop: &std::sync::atomic::AtomicBool,
) -> Result<(Duration, u64)> {
    let client = server.client()?;
    let path = face(&format!(
        "/_api/document/{NAME}?overwriteMode=replace&silent=true"
    ));
    let (mut worst, mut count) = (Duration::ZERO, 0_u64);
    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
        let document = json!({ "_key": format!("written-{}", count % 500), "n": count });
        let begun = Instant::now();
        client.send("POST", &path, Some(&document))?;
        worst = worst.max(begun.elapsed());
        count += 1;
        std::thread::sleep(Duration::from_millis(3));
    }
    Ok((worst, count))
}

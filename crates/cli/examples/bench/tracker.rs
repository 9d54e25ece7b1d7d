//! Tracker data between a server of the program and copies of it: what a download, an upload and reserved values cost.
//!
//! The downloads are made by the command, a process of its own whose peak of memory is its own, too; every byte between it and
//! the server is counted. What is measured is checked: so many records are in the copy, so many edits have the state that the
//! server's report gives them, so many numbers were given out once.

mod upload;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use haversack_dhis2::remote::http::{Credentials, Http, Options};
use serde_json::{Value as Json, json};

use crate::collections::proxy::{Proxy, Traffic};
use crate::collections::{Measured, Table};
use crate::layer::{Child, PASSWORD, USER, program};

/// How many tracked entities are measured with, unless told otherwise.
pub(crate) const ENTITIES: u64 = 10_000;
/// Visits of each, beside its enrollment.
const VISITS: u64 = 5;
/// Records of each.
const EACH: u64 = 2 + VISITS;
/// Tracked entities that change between two downloads.
const CHANGED: u64 = 100;
/// Tracked entities in one request that loads the server.
const AT_ONCE: u64 = 500;
/// How many reserve values at once, and how many values each.
const CLIENTS: u64 = 100;
const VALUES: u64 = 100;
const METADATA: &str = include_str!("../../../dhis2/samples/metadata.json");

/// What the command did.
struct Ran {
    told: Json,
    seconds: f64,
    /// The most memory that it had, in bytes.
    peak: u64,
    traffic: Traffic,
}

/// A server with so many tracked entities, and a copy of it.
struct Clinic {
    _server: Child,
    way: Proxy,
    url: String,
    copy: PathBuf,
}

/// What both downloads of a clinic cost.
struct Downloads {
    whole: Ran,
    changes: Ran,
}

/// Measures with so many tracked entities and a quarter of them.
pub(crate) fn measure(folder: &Path, entities: u64) -> Result<Measured> {
    ensure!(
        entities >= 4 * CHANGED,
        "measure with at least {} tracked entities",
        4 * CHANGED
    );
    let mut table = Table::default();
    let few = Clinic::start(&folder.join("few"), entities / 4)?.download(entities / 4)?;
    let clinic = Clinic::start(&folder.join("many"), entities)?;
    let many = clinic.download(entities)?;
    downloads(&mut table, entities, &few, &many);
    upload::measure(&clinic.copy, &clinic.url, entities, &mut table)?;
    reserve(&clinic.url, &mut table)?;
    Ok(Measured {
        section: section(entities, &table.text),
        missed: table.missed,
    })
}

/// The way to a server as its administrator.
fn http(url: &str) -> Result<Http> {
    Ok(Http::new(url, login(), &Options::default())?)
}

fn login() -> Credentials {
    Credentials::Basic {
        user: USER.to_owned(),
        password: PASSWORD.to_owned(),
    }
}

/// The n-th tracked entity: one enrollment, five visits.
fn person(n: u64) -> Json {
    let unit = "hvOuFacil01";
    let visits: Vec<Json> = (0..VISITS)
        .map(|visit| {
            json!({"event": format!("bnEv{n:06}{visit}"), "programStage": "hvStage0001", "orgUnit": unit, "status": "COMPLETED",
                "occurredAt": format!("2024-0{}-{:02}", 1 + visit, 1 + n % 28),
                "dataValues": [{"dataElement": "hvDeWeight1", "value": format!("{}.{visit}", 40 + n % 50)}]})
        })
        .collect();
    json!({
        "trackedEntity": format!("bnTe{n:07}"), "trackedEntityType": "hvTeType001", "orgUnit": unit,
        "enrollments": [{
            "enrollment": format!("bnEn{n:07}"), "program": "hvProgram01", "orgUnit": unit,
            "enrolledAt": "2024-01-01", "occurredAt": "2024-01-01",
            "attributes": [
                {"attribute": "hvAttrName1", "value": format!("Name {n}")},
                {"attribute": "hvAttrAge01", "value": (n % 90).to_string()},
            ],
            "events": visits,
        }],
    })
}

/// Sends tracked entities to a server and has them stored before it answers.
fn load(http: &Http, entities: &[Json]) -> Result<()> {
    let body = json!({ "trackedEntities": entities });
    let told = http.post("tracker", &[("async", "false")], Some(&body))?;
    ensure!(
        told.status == 200,
        "the server does not take it: {}",
        told.body
    );
    Ok(())
}

impl Clinic {
    fn start(folder: &Path, entities: u64) -> Result<Self> {
        println!("making {entities} tracked entities ..");
        std::fs::create_dir_all(folder)?;
        let server = Child::start(&folder.join("data"))?;
        let way = Proxy::start(server.address()?, Duration::ZERO)?;
        let url = format!("http://{}", way.address());
        let http = http(&url)?;
        let told = http.post("metadata", &[], Some(&serde_json::from_str(METADATA)?))?;
        ensure!(told.status == 200, "no metadata: {}", told.body);
        let begun = Instant::now();
        let mut next = 0;
        while next < entities {
            let end = entities.min(next + AT_ONCE);
            load(&http, &(next..end).map(person).collect::<Vec<_>>())?;
            next = end;
        }
        println!("  loaded in {:.1} s", begun.elapsed().as_secs_f64());
        let clinic = Self {
            _server: server,
            way,
            url,
            copy: folder.join("copy.gpkg"),
        };
        let copy = clinic.copy.display().to_string();
        clinic.run(&["login", &clinic.url, "-o", &copy])?;
        Ok(clinic)
    }

    /// Everything, then what changed.
    fn download(&self, entities: u64) -> Result<Downloads> {
        let copy = self.copy.display().to_string();
        let limit = entities.to_string();
        let order = ["download", copy.as_str(), "--limit", limit.as_str()];
        let whole = self.run(&order)?;
        ensure!(
            whole.told["put"] == entities * EACH,
            "not everything came: {}",
            whole.told
        );
        let news: Vec<Json> = (0..CHANGED)
            .map(|n| {
                json!({"trackedEntity": format!("bnTe{:07}", n * (entities / CHANGED)), "trackedEntityType": "hvTeType001",
                    "orgUnit": "hvOuFacil01", "attributes": [{"attribute": "hvAttrName1", "value": format!("Changed {n}")}]})
            })
            .collect();
        load(&http(&self.url)?, &news)?;
        let changes = self.run(&order)?;
        ensure!(
            changes.told["trackedEntities"] == CHANGED,
            "not the changes came: {}",
            changes.told
        );
        Ok(Downloads { whole, changes })
    }

    /// Runs `haversack tracker ..`.
    fn run(&self, args: &[&str]) -> Result<Ran> {
        self.way.take();
        let begun = Instant::now();
        let mut process = Command::new(program()?)
            .args(["--json", "tracker"])
            .args(args)
            .env("HAVERSACK_USER", USER)
            .env("HAVERSACK_PASSWORD", PASSWORD)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut peak = 0;
        // The system forgets the peak with the process; it only rises, so the last look is nearly the last word.
        let ended = loop {
            let looked = crate::layer::peak_of(process.id());
            if let Some(ended) = process.try_wait()? {
                break ended;
            }
            peak = looked.unwrap_or(peak);
            std::thread::sleep(Duration::from_millis(5));
        };
        let seconds = begun.elapsed().as_secs_f64();
        let out = process.wait_with_output()?;
        ensure!(
            ended.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
        Ok(Ran {
            told: serde_json::from_slice(&out.stdout).context("it tells what it did")?,
            seconds,
            peak,
            traffic: self.way.take(),
        })
    }
}

fn downloads(table: &mut Table, entities: u64, few: &Downloads, many: &Downloads) {
    let megabytes = |ran: &Ran| ran.peak as f64 / 1e6;
    let rate = (entities * EACH) as f64 / many.whole.seconds;
    let whole = format!(
        "{rate:.0} objects/s ({:.2} s, {} B, {} round trips)",
        many.whole.seconds,
        many.whole.traffic.bytes(),
        many.whole.traffic.round_trips
    );
    table.line(
        &format!("download of {entities} tracked entities, an enrollment and {VISITS} events each"),
        &whole,
        "at least 5000 objects/s",
        rate >= 5000.0,
    );
    let growth = many.whole.peak as f64 / few.whole.peak as f64;
    let memory = format!(
        "{:.0} MB, with a quarter of them {:.0} MB: {growth:.2} times",
        megabytes(&many.whole),
        megabytes(&few.whole)
    );
    table.line(
        "peak of the client's memory in it",
        &memory,
        "at most 1.25 times",
        growth <= 1.25,
    );
    let cost = |ran: &Ran| {
        format!(
            "{} B in {} round trips, {:.2} s, {:.0} MB",
            ran.traffic.bytes(),
            ran.traffic.round_trips,
            ran.seconds,
            megabytes(ran)
        )
    };
    let (small, large) = (&few.changes, &many.changes);
    let is_met = large.traffic.bytes() as f64 <= 1.1 * small.traffic.bytes() as f64
        && large.traffic.round_trips <= small.traffic.round_trips + 2
        && large.seconds <= 1.5 * small.seconds;
    table.line(
        &format!("{CHANGED} tracked entities changed since"),
        &format!("{}; of a quarter {}", cost(large), cost(small)),
        "at most 1.1 times the bytes, 2 round trips more, 1.5 times the time",
        is_met,
    );
}

/// Many clients reserve numbers at once: all get what they asked for, the numbers are the first ones, none is given twice.
fn reserve(url: &str, table: &mut Table) -> Result<()> {
    let begun = Instant::now();
    let reserved: Vec<Result<Vec<String>>> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| ask(url))).collect();
        let ended = clients.into_iter().map(std::thread::ScopedJoinHandle::join);
        ended
            .map(|ended| ended.unwrap_or_else(|_panic| Err(anyhow!("a client panicked"))))
            .collect()
    });
    let seconds = begun.elapsed().as_secs_f64();
    let mut values = Vec::new();
    for some in reserved {
        values.extend(some?);
    }
    let number = |value: &String| value.rsplit('-').next()?.parse::<u64>().ok();
    let numbers: BTreeSet<u64> = values.iter().filter_map(number).collect();
    let wanted = CLIENTS * VALUES;
    let twice = values.len() - values.iter().collect::<BTreeSet<_>>().len();
    let lost = (1..=wanted).filter(|n| !numbers.contains(n)).count();
    table.line(
        &format!(
            "{CLIENTS} clients reserve {VALUES} values each of a SEQUENTIAL attribute at once"
        ),
        &format!(
            "{} values in {seconds:.2} s, {twice} given twice, {lost} lost",
            values.len()
        ),
        &format!("{wanted} values, none twice, none lost"),
        values.len() as u64 == wanted && twice == 0 && lost == 0,
    );
    Ok(())
}

fn ask(url: &str) -> Result<Vec<String>> {
    let number = VALUES.to_string();
    let params = [
        ("numberToReserve", number.as_str()),
        ("ORG_UNIT_CODE", "HVF1"),
    ];
    let path = "trackedEntityAttributes/hvAttrSeq01/generateAndReserve";
    let told = http(url)?.get(path, &params)?;
    let told = told.as_array().context("it answers with a list")?;
    told.iter()
        .map(|one| Ok(one["value"].as_str().context("it has a value")?.to_owned()))
        .collect()
}

fn section(entities: u64, lines: &str) -> String {
    let mut text = String::from("## Tracker data offline\n\n");
    // Writing to a string cannot fail.
    let _ok = write!(
        text,
        "A server of the program with {entities} tracked entities, and `haversack tracker` or its library as the client, two processes on\n\
         this machine. Objects are records stored in the copy, and stored or refused by the server; the time of a download is that of the\n\
         whole command. Every byte between them counts, headers included; a round trip is a turn of a connection, opening one counts as one.\n\n\
         | what | measured | wanted | |\n| --- | --- | --- | --- |\n\
         {lines}"
    );
    text
}

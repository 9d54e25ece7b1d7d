//! What an app does: log in, make a copy, send what was edited in it, download what changed, with data sets and files, tell of refusals
//! and conflicts, and read.
//!
//! `haversack serve data --sample --user ada --password secret`, then
//! `cargo run -p haversack-dhis2 --example copy -- http://127.0.0.1:8080 ada secret clinic.gpkg`

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use haversack_dhis2::remote::http::{Credentials, Options};
use haversack_dhis2::remote::layout::Layout;
use haversack_dhis2::remote::pull::{self, AggregateRequest, Request};
use haversack_dhis2::remote::push::{self, Clock, Importer, Uploader};
use haversack_dhis2::remote::server::Server;
use haversack_dhis2::remote::{copy, files};
use haversack_dhis2::wire::tracker::Kind;
use haversack_model::Timestamp;
use haversack_model::local::LocalReplica as _;
use haversack_sqlite::replica::{Options as FileOptions, ReplicaFile};
use haversack_sync::client;

fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [url, user, password, path] = args.as_slice() else {
        return Err("usage: copy URL USER PASSWORD FILE".into());
    };
    synchronise(url, (user, password), Path::new(path)).map(drop)
}

/// What is left for people to look at.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// Records that the server refused, and its reasons.
    pub(crate) refused: Vec<(String, String)>,
    /// Records that were changed on both sides, and what became of them.
    pub(crate) conflicts: Vec<(String, String)>,
}

/// Makes the copy if there is none, and brings both sides together.
///
/// # Errors
/// Whatever the server, the network and the file say.
#[expect(clippy::print_stdout, reason = "an example shows what it does")]
pub(crate) fn synchronise(
    url: &str,
    (user, password): (&str, &str),
    path: &Path,
) -> Result<Left, Box<dyn Error>> {
    let login = Credentials::Basic {
        user: user.to_owned(),
        password: password.to_owned(),
    };
    let server = Server::connect(url, login, &Options::default())?;
    println!("{} runs {}", server.http.url(), server.version);

    // A copy is an ordinary replica file: any program may edit it.
    let mut file = if path.exists() {
        ReplicaFile::open(path)?
    } else {
        let options = FileOptions {
            spatial_index: false,
        };
        let header = copy::header(server.http.url(), "example");
        ReplicaFile::create(path, &copy::collections(), &header, options)?
    };
    // With more of it in memory nothing is faster, and a device has better use for that.
    file.set_cache(4000)?;
    let (metadata, stored) = copy::sync_metadata(&server, &mut file, now(), &mut |_| {})?;
    println!("{} has {:?}", metadata.user.username, stored.objects);

    upload(&server, path, &mut file)?;

    // The first download is limited; later ones bring what changed.
    let request = Request {
        limit: Some(100_000),
        ..Request::default()
    };
    let began = Instant::now();
    let done = pull::download(&server, &mut file, &request, &now, &mut |_| {})?;
    println!(
        "{} tracked entities, {} records stored, {} left alone, in {:.2} s",
        done.entities,
        done.put,
        done.protected,
        began.elapsed().as_secs_f64()
    );
    for page in &done.failed {
        println!("page {} failed: {}", page.page, page.reason);
    }

    // Data sets and their completions, then the pictures and documents that values name.
    let request = AggregateRequest::default();
    let done = pull::aggregate(&server, &mut file, &request, &now, &mut |_| {})?;
    println!(
        "{} data values, {} completions; {} data sets failed",
        done.values,
        done.completions,
        done.failed.len()
    );
    let fetched = files::fetch(&server, &mut file, files::MAX_BYTES, &mut |_| {})?;
    println!("{} files", fetched.fetched);

    // Records become the objects of the wire.
    let layout = Layout::of(&file.collections());
    let first = file.read(|tx| {
        for table in layout.of_kind(Kind::TrackedEntity) {
            if let Some(id) = tx.confirmed(table.id())?.first() {
                return Ok(tx.row(table.id(), id)?.map(|row| table.entity(&row)));
            }
        }
        Ok(None)
    })?;
    if let Some(entity) = first {
        println!("one of them: {}", serde_json::to_string_pretty(&entity)?);
    }
    left(&mut file)
}

/// What the importer said is kept in the copy, and so is each conflict, with both versions, until somebody decides
/// (`haversack_sync::client::resolve`).
#[expect(clippy::print_stdout, reason = "an example shows what it does")]
fn left(file: &mut ReplicaFile) -> Result<Left, Box<dyn Error>> {
    let tx = file.begin()?;
    let mut left = Left::default();
    for said in push::stored_conflicts(&*tx)? {
        let of = said.conflict;
        println!("{} is refused: {} {}", of.object, of.message, of.hint);
        left.refused.push((of.object, of.message));
    }
    for conflict in tx.conflicts(true)? {
        println!("{}: {}", conflict.global_id, conflict.reason);
        let id = conflict.global_id.to_string();
        left.conflicts.push((id, conflict.reason));
    }
    Ok(left)
}

/// Sends what was edited since the last time: files first, then what names them.
#[expect(clippy::print_stdout, reason = "an example shows what it does")]
fn upload(server: &Server, path: &Path, file: &mut ReplicaFile) -> Result<(), Box<dyn Error>> {
    let mut tx = file.begin()?;
    push::prepare(&mut *tx)?;
    tx.commit()?;
    let sent = files::send(&server.http, file)?;
    let importer = Importer {
        version: server.version,
        api: server.importer(),
    };
    let again = Box::new(ReplicaFile::open(path)?);
    let mut uploader = Uploader::new(&server.http, importer, again, Box::new(Clock));
    let done = client::upload(file, &mut uploader, client::MAX_BATCH, &mut |_| {})?;
    println!("sent {} files and {} records", sent.sent, done.applied);
    Ok(())
}

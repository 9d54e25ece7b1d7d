//! What an app does: log in, make a copy, send what was edited in it, download what changed, with data sets and files, and read.
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

#[expect(clippy::print_stdout, reason = "an example shows what it does")]
fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [url, user, password, path] = args.as_slice() else {
        return Err("usage: copy URL USER PASSWORD FILE".into());
    };
    let login = Credentials::Basic {
        user: user.clone(),
        password: password.clone(),
    };
    let server = Server::connect(url, login, &Options::default())?;
    println!("{} runs {}", server.http.url(), server.version);

    // A copy is an ordinary replica file: any program may edit it.
    let path = Path::new(path);
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
    Ok(())
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
    for (_, id, reason) in &done.rejected {
        println!("{id} is refused: {reason}");
    }
    Ok(())
}

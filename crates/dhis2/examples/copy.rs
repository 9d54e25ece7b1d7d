//! What an app does: log in, make a copy, download, read, and download again what changed.
//!
//! `haversack serve data --sample --user ada --password secret`, then
//! `cargo run -p haversack-dhis2 --example copy -- http://127.0.0.1:8080 ada secret clinic.gpkg`

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use haversack_dhis2::remote::copy;
use haversack_dhis2::remote::http::{Credentials, Options};
use haversack_dhis2::remote::layout::Layout;
use haversack_dhis2::remote::pull::{self, Request};
use haversack_dhis2::remote::server::Server;
use haversack_dhis2::wire::tracker::Kind;
use haversack_model::Timestamp;
use haversack_sqlite::replica::{Options as FileOptions, ReplicaFile};

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

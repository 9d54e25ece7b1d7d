//! `haversack demo`: the whole story on one machine, in under a minute.
//!
//! Nothing in it is told without being done: the edits go into the files by plain SQL, the server is stopped while they are
//! made, and every number printed is read back from the files or the server. `tests/demo.rs` checks the claims again.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use haversack_model::{Collection, CollectionId, Conflict, GlobalId, Record};
use haversack_server::native::remote::Credentials;
use haversack_server::native::wire::{LayerRequest, ReplicaRequest};
use haversack_server::{Handle, Options};
use haversack_sqlite::gpkg;
use haversack_sync::client::{Choice, Summary};
use rusqlite::Connection;
use serde_json::{Value as Json, json};

use crate::args::{ConnectArgs, DemoArgs};
use crate::commands::{conflicts, sync, verify};
use crate::connect::{self, Native};
use crate::exit::Outcome;
use crate::output::{BOLD, DIM, GREEN, Output, count};
use crate::replica::File;
use crate::{replica, view};

const POINTS: CollectionId = CollectionId(0);
const SERVICE: &str = "WildfireSync";

/// Runs the command.
pub(crate) fn run(args: &DemoArgs, out: Output) -> Result<Outcome> {
    let begun = Instant::now();
    let folder = folder(args)?;
    let data = folder.join("data");
    out.line(format_args!(
        "{BOLD}Haversack demo{BOLD:#}: two people, one map, no network.\n"
    ));

    chapter(out, 1, "A server with a sample");
    let mut server = start(&data, 0)?;
    let port = server.address.port();
    let url = format!(
        "{}/arcgis/rest/services/{SERVICE}/FeatureServer",
        server.http_url()
    );
    out.line(format_args!(
        "   It publishes fire response points at\n   {url}\n"
    ));

    chapter(out, 2, "Two people check the points out");
    let mut ada = checkout(&url, &folder.join("ada.gpkg"), true)?;
    let mut ben = checkout(&url, &folder.join("ben.gpkg"), true)?;
    let layer = view::collection(&ada.collections(), POINTS)?.clone();
    let table = ada
        .table(POINTS)
        .context("the file has the layer")?
        .to_owned();
    let rows = count_rows(ada.path(), &table)?;
    out.line(format_args!(
        "   ada.gpkg and ben.gpkg hold {rows} points each, as ordinary GeoPackage files.\n"
    ));

    chapter(out, 3, "Offline: the server is stopped, both edit");
    server.stop();
    let places = Places::choose(ada.path(), &table)?;
    edit_as_ada(ada.path(), &table, &places)?;
    edit_as_ben(ben.path(), &table, &places)?;
    out.line("   Ada edits by plain SQL, as any program would:");
    show_edits(&ada, out)?;
    out.line("   Ben edits with GeoPackage's functions, as a GIS does:");
    show_edits(&ben, out)?;

    chapter(out, 4, "Back in the network: both sync");
    server = start(&data, port)?;
    let first = synchronise(&mut ada, &url, out)?;
    out.line(format_args!(
        "   Ada sends {}: all stored.",
        count(first.applied + first.merged, "edit")
    ));
    let second = synchronise(&mut ben, &url, out)?;
    out.line(format_args!(
        "   Ben sends {}: {} stored, {} merged, {} in conflict. He fetches what Ada changed.\n",
        count(second.applied + second.merged + second.conflicts, "edit"),
        second.applied,
        second.merged,
        second.conflicts
    ));

    chapter(
        out,
        5,
        "Merged: both changed the same point, in different fields",
    );
    let merged = show_merge(&mut ben, &layer, &places, out)?;

    chapter(out, 6, "The one real conflict: both wrote the same field");
    let open = ben.read(|tx| tx.conflicts(true))?;
    let [conflict] = &open[..] else {
        bail!("one conflict was expected, there are {}", open.len());
    };
    indented(out, |out| conflicts::print(&layer, conflict, out));
    out.line("\n   Ben decides that his version is right:");
    out.line(format_args!(
        "   {DIM}haversack conflicts resolve ben.gpkg {} --keep mine{DIM:#}",
        &conflict.id.to_string()[..8]
    ));
    conflicts::decide(&mut ben, conflict, Choice::Mine)?;
    synchronise(&mut ben, &url, out)?;
    synchronise(&mut ada, &url, out)?;
    ensure!(
        ben.read(|tx| tx.conflicts(true))?.is_empty(),
        "the conflict is closed"
    );
    out.line("   Both sync once more; the decision is everywhere.\n");

    chapter(out, 7, "Proof: server and files hold the same rows");
    let native = native(&url)?;
    let mut proofs = Vec::new();
    for (name, file) in [("ada.gpkg", &ada), ("ben.gpkg", &ben)] {
        let digests = native.client.digests(SERVICE, file.header()?.id)?;
        let there: Vec<_> = digests
            .collections
            .iter()
            .map(|c| (c.collection, c.digest))
            .collect();
        let compared = verify::compare(file, &file.collections(), &there)?;
        ensure!(
            compared.iter().all(verify::Compared::is_equal),
            "{name} differs from the server: {compared:?}"
        );
        out.line(format_args!("   {name}"));
        indented(out, |out| verify::print(&compared, out));
        proofs.push(json!({"file": name, "equal": true, "rows": compared.iter().map(|c| c.here.count).sum::<u64>()}));
    }

    out.line("");
    chapter(out, 8, "Unregister, and look for yourself");
    for file in [&ada, &ben] {
        native.client.release(SERVICE, file.header()?.id)?;
    }
    let left = native.client.replicas(SERVICE)?.len();
    ensure!(left == 0, "{left} replicas are still registered");
    drop((ada, ben));
    server.stop();
    let document = document(&folder, &table, &places, conflict, &merged, &proofs, begun);
    out.result(&document, |out| epilogue(&folder, &table, begun, out));
    Ok(Outcome::Done)
}

/// The records that the story is about.
struct Places {
    merged: i64,
    clashed: i64,
    deleted: i64,
    moved: i64,
}

impl Places {
    fn choose(path: &Path, table: &str) -> Result<Self> {
        let db = Connection::open(path)?;
        let sql = format!(
            "SELECT OBJECTID FROM {} WHERE status = 'active' ORDER BY OBJECTID LIMIT 4",
            gpkg::quote_ident(table)
        );
        let ids: Vec<i64> = db
            .prepare(&sql)?
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        match ids[..] {
            [merged, clashed, deleted, moved] => Ok(Self {
                merged,
                clashed,
                deleted,
                moved,
            }),
            _ => bail!("the sample has too few active points"),
        }
    }
}

fn chapter(out: Output, number: u32, title: &str) {
    out.line(format_args!("{BOLD}{number}. {title}{BOLD:#}"));
}

fn indented(out: Output, print: impl FnOnce(Output)) {
    print(out.indented());
}

fn folder(args: &DemoArgs) -> Result<PathBuf> {
    let folder = args
        .dir
        .clone()
        .unwrap_or_else(|| PathBuf::from("haversack-demo"));
    let is_used = folder
        .read_dir()
        .is_ok_and(|mut entries| entries.next().is_some());
    if is_used {
        bail!(
            "{} is not empty; remove it, or name another folder with --dir",
            folder.display()
        );
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    folder.canonicalize().context("finding the folder")
}

fn start(data: &Path, port: u16) -> Result<Handle> {
    let options = Options {
        dir: data.to_owned(),
        port: Some(port),
        sample: true,
        ..Options::default()
    };
    Ok(haversack_server::start(&options)?)
}

fn native(url: &str) -> Result<Native> {
    Ok(Native {
        client: connect::with_credentials(url, Credentials::Anonymous, &ConnectArgs::default())?,
        service: SERVICE.to_owned(),
    })
}

fn checkout(url: &str, path: &Path, spatial_index: bool) -> Result<File> {
    let request = ReplicaRequest {
        name: path
            .file_stem()
            .map_or_else(String::new, |s| s.to_string_lossy().into_owned()),
        url: url.to_owned(),
        layers: vec![LayerRequest {
            collection: POINTS,
            condition: None,
            bbox: None,
            bbox_srid: None,
        }],
        policy: haversack_model::Policy::Merge,
        direction: haversack_model::Direction::Bidirectional,
        attachments: false,
        spatial_index,
        key: None,
    };
    native(url)?
        .client
        .checkout(SERVICE, &request, path, &mut |_phase, _done, _total| {})?;
    replica::open(path)
}

fn count_rows(path: &Path, table: &str) -> Result<i64> {
    let db = Connection::open(path)?;
    Ok(db.query_row(
        &format!("SELECT count(*) FROM {}", gpkg::quote_ident(table)),
        [],
        |row| row.get(0),
    )?)
}

/// No function of ours is registered here: this is what the `sqlite3` shell or any script would do.
fn edit_as_ada(path: &Path, table: &str, places: &Places) -> Result<()> {
    let db = Connection::open(path)?;
    let table = gpkg::quote_ident(table);
    db.execute(
        &format!("UPDATE {table} SET status = 'contained' WHERE OBJECTID = ?1"),
        [places.merged],
    )?;
    db.execute(
        &format!(
            "UPDATE {table} SET remarks = 'Bridge is out, come from the north' WHERE OBJECTID = ?1"
        ),
        [places.clashed],
    )?;
    db.execute(
        &format!("DELETE FROM {table} WHERE OBJECTID = ?1"),
        [places.deleted],
    )?;
    Ok(())
}

fn edit_as_ben(path: &Path, table: &str, places: &Places) -> Result<()> {
    let db = Connection::open(path)?;
    gpkg::functions::register(&db)?;
    let table = gpkg::quote_ident(table);
    db.execute(
        &format!("UPDATE {table} SET personnel = 12 WHERE OBJECTID = ?1"),
        [places.merged],
    )?;
    db.execute(
        &format!(
            "UPDATE {table} SET remarks = 'Bridge repaired, trucks may cross' WHERE OBJECTID = ?1"
        ),
        [places.clashed],
    )?;
    db.execute(
        &format!("INSERT INTO {table} (geom, name, kind, status) SELECT geom, 'New water source', 'water', 'reported' FROM {table} WHERE OBJECTID = ?1"),
        [places.moved],
    )?;
    Ok(())
}

fn show_edits(file: &File, out: Output) -> Result<()> {
    file.each_edit(&mut |layer, entry, mine| {
        let base = entry.base.as_ref().map(|(record, _)| record);
        let title = view::title(layer, mine.as_ref().or(base), &entry.global_id);
        let what = match (base, &mine) {
            (_, None) => "deleted".to_owned(),
            (None, Some(_)) => "added".to_owned(),
            (Some(_), Some(_)) => view::differences(layer, &[base, mine.as_ref()])
                .iter()
                .map(|row| format!("{}: {} → {}", row.field, row.values[0], row.values[1]))
                .collect::<Vec<_>>()
                .join(", "),
        };
        out.line(format_args!("     {title}  {what}"));
        Ok(())
    })?;
    out.line("");
    Ok(())
}

fn synchronise(file: &mut File, url: &str, out: Output) -> Result<Summary> {
    let mut remote = native(url)?.remote(&file.collections());
    sync::synchronise(file, &mut remote, url, out)
}

fn show_merge(file: &mut File, layer: &Collection, places: &Places, out: Output) -> Result<Json> {
    let id = global_id(file, places.merged)?;
    let record: Record = file
        .read(|tx| tx.row(POINTS, &id))?
        .context("the merged record is there")?;
    let value = |name: &str| -> Result<String> {
        let at = layer
            .field_index(name)
            .with_context(|| format!("the layer has a field {name}"))?;
        Ok(view::value(&layer.fields[at], &record.values[at]))
    };
    let (status, personnel) = (value("status")?, value("personnel")?);
    ensure!(
        status.contains("contained") && personnel == "12",
        "both changes are in the merged record"
    );
    let title = view::title(layer, Some(&record), &id);
    out.line(format_args!("   {title} now has status {GREEN}{status}{GREEN:#} (Ada's) and personnel {GREEN}{personnel}{GREEN:#} (Ben's). Nobody was asked.\n"));
    Ok(json!({"globalId": id.to_string(), "status": status, "personnel": personnel}))
}

fn global_id(file: &File, object_id: i64) -> Result<GlobalId> {
    let table = file.table(POINTS).context("the file has the layer")?;
    let db = Connection::open(file.path())?;
    let sql = format!(
        "SELECT GlobalID FROM {} WHERE OBJECTID = ?1",
        gpkg::quote_ident(table)
    );
    let text: String = db.query_row(&sql, [object_id], |row| row.get(0))?;
    Ok(GlobalId::parse_uuid(&text)?)
}

fn document(
    folder: &Path,
    table: &str,
    places: &Places,
    conflict: &Conflict,
    merged: &Json,
    proofs: &[Json],
    begun: Instant,
) -> Json {
    json!({
        "folder": folder,
        "table": table,
        "merged": merged,
        "conflict": {"globalId": conflict.global_id.to_string(), "objectId": places.clashed, "fields": conflict.fields},
        "deleted": places.deleted,
        "proofs": proofs,
        "seconds": begun.elapsed().as_secs_f64(),
    })
}

fn epilogue(folder: &Path, table: &str, begun: Instant, out: Output) {
    let folder = folder.display();
    out.line(format_args!("   Everything is in {BOLD}{folder}{BOLD:#}:"));
    out.line("     ada.gpkg, ben.gpkg                 the two files; open them in QGIS (Layer > Add Vector Layer),");
    out.line(format_args!(
        "                                        or: ogrinfo -al -so {folder}/ada.gpkg"
    ));
    out.line(format_args!("                                        or: sqlite3 {folder}/ada.gpkg 'SELECT name, status FROM {table} LIMIT 5'"));
    out.line(format_args!(
        "     data/services/{SERVICE}.gpkg   the server's own layers, a GeoPackage as well"
    ));
    out.line(format_args!("\n   Go on: haversack serve {folder}/data\n"));
    out.line(format_args!(
        "{DIM}{:.1} seconds. `haversack help` lists the commands used here.{DIM:#}",
        begun.elapsed().as_secs_f64()
    ));
}

//! Downloads of few changes out of many rows, and uploads of many edits.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use haversack_model::{GlobalId, Timestamp};
use haversack_server::native::NativeRemote;
use haversack_sqlite::ReplicaFile;
use haversack_sqlite::gpkg::quote_ident;
use haversack_sync::client::{self, Summary};
use rusqlite::{Connection, params};

use crate::checkout::checkout;
use crate::layer::{BIG, Child, LARGE, LAYER, SMALL, TINY, record};
use crate::phases::{self, Clock, Watched};
use crate::report::{Bound, Figure};
use crate::{figure, median, timed};

const CHANGES: u64 = 100;
const EDITS: u64 = 10_000;
const ROUNDS: u64 = 7;
const UPLOAD_ROUNDS: u64 = 3;

fn now() -> Timestamp {
    haversack_server::clock::now()
}

fn synchronise(server: &Child, service: &str, file: &mut ReplicaFile) -> Result<Summary> {
    let mut remote = NativeRemote::new(server.client()?, service);
    Ok(client::synchronise(
        file,
        &mut remote,
        &now,
        &mut |_step| {},
    )?)
}

fn table(file: &ReplicaFile) -> Result<String> {
    Ok(quote_ident(
        file.table(LAYER).context("the file has the layer")?,
    ))
}

/// Rows far apart from one another, other ones in every round.
fn rows(count: u64, of: u64, round: u64) -> impl Iterator<Item = GlobalId> {
    (0..count).map(move |i| record((i * (of / count) + round) % of).global_id)
}

/// Edits some rows of a file by SQL, as any program does.
fn edit(path: &Path, table: &str, ids: impl Iterator<Item = GlobalId>, word: &str) -> Result<()> {
    let mut db = Connection::open(path)?;
    db.execute_batch("PRAGMA synchronous = FULL")?;
    let tx = db.transaction()?;
    {
        let mut statement = tx.prepare(&format!(
            "UPDATE {table} SET name = ?1, height = ?2 WHERE GlobalID = ?3"
        ))?;
        for (n, id) in ids.enumerate() {
            ensure!(
                statement.execute(params![format!("{word} {n}"), n as f64, id.braced()])? == 1,
                "{id} is not there"
            );
        }
    }
    tx.commit()?;
    Ok(())
}

/// Two files per service: the changes come from one and are fetched by the other.
pub(crate) fn measure_download(server: &Child, folder: &Path) -> Result<Figure> {
    let mut medians = Vec::new();
    for (service, of) in [(BIG, LARGE), (TINY, SMALL)] {
        let paths = ["from", "to"].map(|end| folder.join(format!("{service}-{end}.gpkg")));
        for path in &paths {
            checkout(server, service, path)?;
        }
        let mut files = [ReplicaFile::open(&paths[0])?, ReplicaFile::open(&paths[1])?];
        let table = table(&files[0])?;
        let mut seconds = Vec::new();
        for round in 0..ROUNDS {
            edit(
                &paths[0],
                &table,
                rows(CHANGES, of, round),
                &format!("round {round}"),
            )?;
            synchronise(server, service, &mut files[0])?;
            let mut fetched = 0;
            seconds.push(timed(|| {
                fetched = synchronise(server, service, &mut files[1])?.put;
                Ok(())
            })?);
            ensure!(fetched == CHANGES, "{fetched} changes were fetched");
        }
        medians.push(median(seconds));
        for (file, path) in files.into_iter().zip(&paths) {
            server.client()?.release(service, file.header()?.id)?;
            drop(file);
            std::fs::remove_file(path)?;
        }
    }
    let (large, small) = (medians[0], medians[1]);
    Ok(figure(
        "download",
        format!(
            "{CHANGES} changes of {LARGE} rows: {:.1} ms, of {SMALL} rows: {:.1} ms",
            large * 1e3,
            small * 1e3
        ),
        large / small,
        Bound::AtMost(1.5),
    ))
}

/// From the outbox to the receipts in the file, everything durable, against the same updates of a plain copy of the table.
/// Gives the figure, and where the time of the median round went.
pub(crate) fn measure_upload(
    server: &Child,
    data: &Path,
    folder: &Path,
) -> Result<(Figure, String)> {
    let path = folder.join("upload.gpkg");
    checkout(server, BIG, &path)?;
    let mut file = ReplicaFile::open(&path)?;
    let table = table(&file)?;
    let plain = plain_copy(data, folder)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut spent = Vec::new();
    for round in 0..UPLOAD_ROUNDS {
        edit(
            &path,
            &table,
            rows(EDITS, LARGE, round),
            &format!("upload {round}"),
        )?;
        let mut applied = 0;
        let mut remote = NativeRemote::new(server.client()?, BIG);
        let clock = Clock::start();
        let seconds = timed(|| {
            let mut watched = Watched {
                remote: &mut remote,
                clock: clock.clone(),
            };
            let mut step = |step| clock.step(&step);
            applied = client::synchronise(&mut file, &mut watched, &now, &mut step)?.applied;
            Ok(())
        })?;
        ours.push(seconds);
        spent.push((seconds, clock.per_edit(EDITS)));
        ensure!(applied == EDITS, "{applied} edits were applied");
        theirs.push(timed(|| {
            edit(
                &plain,
                "points",
                rows(EDITS, LARGE, round),
                &format!("plain {round}"),
            )
        })?);
    }
    let (ours, theirs) = (median(ours), median(theirs));
    let rate = |seconds: f64| EDITS as f64 / seconds;
    let of_median = spent
        .iter()
        .find(|(seconds, _)| seconds.total_cmp(&ours).is_eq());
    let phases = of_median.map_or_else(String::new, |(_, spent)| phases::table(spent));
    let figure = figure(
        "upload",
        format!(
            "{EDITS} edits end to end: {:.0} per second, plain updates in one transaction: {:.0} per second",
            rate(ours),
            rate(theirs)
        ),
        rate(ours) / rate(theirs),
        Bound::AtLeast(0.25),
    );
    Ok((figure, phases))
}

/// The same rows with the same index on GlobalID, without triggers and tracking, as durable as ours.
fn plain_copy(data: &Path, folder: &Path) -> Result<std::path::PathBuf> {
    let path = folder.join("plain.gpkg");
    let source = data.join("services").join(format!("{BIG}.gpkg"));
    let db = Connection::open(&path)?;
    db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")?;
    db.execute(
        "ATTACH ?1 AS source",
        [source.to_str().context("the path is text")?],
    )?;
    db.execute_batch(
        "CREATE TABLE points AS SELECT * FROM source.points; CREATE UNIQUE INDEX points_id ON points (GlobalID); DETACH source;",
    )?;
    Ok(path)
}

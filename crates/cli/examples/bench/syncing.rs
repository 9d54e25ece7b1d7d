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
use crate::phases::{self, Clock, Spent, Watched};
use crate::report::{Bound, Figure};
use crate::usage::Usage;
use crate::{figure, median, timed};

const CHANGES: u64 = 100;
const EDITS: u64 = 10_000;
const ROUNDS: u64 = 25;
const UPLOAD_ROUNDS: u64 = 5;

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
    let mut rounds = Vec::new();
    for round in 0..UPLOAD_ROUNDS {
        edit(
            &path,
            &table,
            rows(EDITS, LARGE, round),
            &format!("upload {round}"),
        )?;
        let mut applied = 0;
        let mut remote = NativeRemote::new(server.client()?, BIG);
        let clock = Clock::start(server.id());
        let ours = timed(|| {
            let mut watched = Watched {
                remote: &mut remote,
                clock: clock.clone(),
            };
            let mut step = |step| clock.step(&step);
            applied = client::synchronise(&mut file, &mut watched, &now, &mut step)?.applied;
            Ok(())
        })?;
        let spent = clock.spent();
        ensure!(applied == EDITS, "{applied} edits were applied");
        let before = Usage::of(std::process::id())?;
        let theirs = timed(|| {
            edit(
                &plain,
                "points",
                rows(EDITS, LARGE, round),
                &format!("plain {round}"),
            )
        })?;
        let used = Usage::of(std::process::id())?.since(before);
        println!(
            "  upload, round {round}: {:.1} µs per edit, plain {:.1} µs ({:.1} of CPU, {} bytes written): {:.3}",
            ours * 1e6 / EDITS as f64,
            theirs * 1e6 / EDITS as f64,
            used.cpu.as_secs_f64() * 1e6 / EDITS as f64,
            used.written / EDITS,
            theirs / ours
        );
        println!("{}", phases::table(&spent, EDITS));
        rounds.push(Round {
            ours,
            theirs,
            spent,
        });
    }
    // The machine may do other things, too: what was measured one right after the other is compared.
    rounds.sort_by(|a, b| a.ratio().total_cmp(&b.ratio()));
    let middle = &rounds[rounds.len() / 2];
    let rate = |seconds: f64| EDITS as f64 / seconds;
    let figure = figure(
        "upload",
        format!(
            "{EDITS} edits end to end: {:.0} per second, plain updates in one transaction: {:.0} per second",
            rate(middle.ours),
            rate(middle.theirs)
        ),
        middle.ratio(),
        Bound::AtLeast(0.25),
    );
    Ok((figure, phases::table(&middle.spent, EDITS)))
}

/// Seconds of an upload and of the plain updates right after it.
struct Round {
    ours: f64,
    theirs: f64,
    spent: Vec<Spent>,
}

impl Round {
    /// Of the rate.
    fn ratio(&self) -> f64 {
        self.theirs / self.ours
    }
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

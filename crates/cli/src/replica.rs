//! Opens replica files and runs transactions on them.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use haversack_model::local::LocalReplica as _;
use haversack_model::{Collection, Remote, ReplicaTx, Timestamp};
use haversack_server::native::remote::service_in_url;
pub(crate) use haversack_sqlite::replica::ReplicaFile as File;

use crate::args::ConnectArgs;
use crate::connect::{self, Native};
use crate::exit::NeedsRepair;
use crate::view;

/// Opens a replica file, whatever state it is in.
///
/// # Errors
/// If it is not a replica file.
pub(crate) fn open_any(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("opening {}", path.display()))
}

/// Opens a replica file whose edits are captured.
///
/// # Errors
/// [`NeedsRepair`] if some may have been missed.
pub(crate) fn open(path: &Path) -> Result<File> {
    let file = open_any(path)?;
    let problems = file.problems()?;
    if problems.is_empty() {
        return Ok(file);
    }
    let listed: Vec<String> = problems.iter().take(3).map(ToString::to_string).collect();
    let more = if problems.len() > 3 { "; and more" } else { "" };
    Err(NeedsRepair(format!(
        "{}: {}{more}. Run `haversack repair {}` first",
        path.display(),
        listed.join("; "),
        path.display()
    ))
    .into())
}

/// Reads in one transaction.
pub(crate) fn read<T>(
    file: &mut File,
    read: impl FnOnce(&dyn ReplicaTx) -> haversack_model::Result<T>,
) -> Result<T> {
    let tx = file.begin()?;
    Ok(read(&*tx)?)
}

/// Writes in one transaction.
pub(crate) fn write<T>(
    file: &mut File,
    write: impl FnOnce(&mut dyn ReplicaTx) -> haversack_model::Result<T>,
) -> Result<T> {
    let mut tx = file.begin()?;
    let done = write(&mut *tx)?;
    tx.commit()?;
    Ok(done)
}

/// How many rows each visible layer and table has.
pub(crate) fn row_counts<'a>(
    path: &Path,
    file: &File,
    collections: &'a [Collection],
) -> Result<Vec<LayerRows<'a>>> {
    let db =
        rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    db.busy_timeout(std::time::Duration::from_secs(10))?;
    let mut counts = Vec::new();
    for collection in collections.iter().filter(|c| view::is_visible(c)) {
        let table = file
            .table(collection.id)
            .unwrap_or(&collection.table)
            .to_owned();
        let sql = format!("SELECT count(*) FROM \"{}\"", table.replace('"', "\"\""));
        let rows = db
            .query_row(&sql, [], |row| row.get::<_, i64>(0))
            .with_context(|| format!("counting the rows of {table}"))?;
        counts.push(LayerRows {
            collection,
            table,
            rows: rows.unsigned_abs(),
        });
    }
    Ok(counts)
}

/// A layer or table of a file, and how many rows it has.
#[derive(Debug)]
pub(crate) struct LayerRows<'a> {
    /// Its definition.
    pub(crate) collection: &'a Collection,
    /// The table in which people edit it.
    pub(crate) table: String,
    /// Rows in it.
    pub(crate) rows: u64,
}

/// The wall clock.
pub(crate) fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}

/// The server of a replica file, as the sync core speaks to it.
///
/// # Errors
/// If credentials are missing or the file's protocol is not known.
pub(crate) fn remote(file: &File, connect: &ConnectArgs) -> Result<Box<dyn Remote>> {
    Ok(Box::new(native(file, connect)?.remote()))
}

/// The Haversack of a replica file.
///
/// # Errors
/// If the file was checked out from another server.
pub(crate) fn native(file: &File, connect: &ConnectArgs) -> Result<Native> {
    let header = file.header()?;
    if header.protocol != connect::NATIVE {
        bail!(
            "{} speaks the protocol {:?}, which this program does not know",
            file.path().display(),
            header.protocol
        );
    }
    let service = service_in_url(&header.url)
        .with_context(|| format!("{:?} is not the URL of a feature service", header.url))?;
    Ok(Native {
        client: connect::client(&header.url, connect)?,
        service,
    })
}

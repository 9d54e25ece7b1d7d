//! Prepares a whole replica file on the server: rows by `INSERT .. SELECT` from a snapshot of the service's file, the
//! spatial index in bulk, triggers last.
//!
//! The file is built under another name without journal and sync, made durable once, and then gets its name; what fails
//! leaves nothing behind under it. Every row gets its confirmed version (revision and generation) from the service's
//! tracking, so an edit's base is known without asking the server, and a row without a version is known to be new.

use std::path::Path;

use haversack_model::local::ReplicaHeader;
use haversack_model::store::{Head, Store as _};
use haversack_model::{
    Collection, CollectionId, Cursor, Envelope, Error, Filter, ReplicaId, Result, Service,
};
use rusqlite::{Connection, OpenFlags, params, params_from_iter};

use super::fault::{Doing, fault};
use super::layer::{Layer, quoted_list};
use super::{Options, attachments, connect, header, publish, remove_file, scratch_path, tables};
use crate::gpkg::filter::Printer;
use crate::gpkg::layer::{create_rtree, rtree_name};
use crate::gpkg::{Sql, quote_ident};
use crate::rtree;
use crate::service::{ServiceSnapshot, SqliteStore};

/// What goes into a prepared file.
#[derive(Clone, Debug)]
pub struct Checkout<'a> {
    /// The collections, hidden attachment collections included where they are wanted, each with the filter in force.
    pub layers: Vec<(CollectionId, &'a Filter)>,
    /// What the file says of itself. Its cursor and schema version are replaced by the snapshot's.
    pub header: ReplicaHeader,
    /// Whether layers get a spatial index.
    pub options: Options,
    /// Whether the content of attachments goes into the file too; otherwise it is fetched by the next sync.
    pub content: bool,
    /// Seals the snapshot's cursor for the replica.
    pub seal: &'a dyn Sealer,
}

/// Vouches for the cursor of a prepared file.
pub trait Sealer: std::fmt::Debug {
    /// The cursor with the seal of whoever prepares the file.
    fn seal(&self, replica: ReplicaId, cursor: Cursor) -> Cursor;
}

/// Nobody vouches.
impl Sealer for () {
    fn seal(&self, _replica: ReplicaId, cursor: Cursor) -> Cursor {
        cursor
    }
}

/// A prepared file.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// What the file says of itself.
    pub header: ReplicaHeader,
    /// Where the history stood in the snapshot that was copied.
    pub head: Head,
    /// Rows in all layers.
    pub rows: u64,
}

/// Progress of a preparation: what is being done, steps done, all steps.
pub type PrepareProgress<'a> = &'a mut dyn FnMut(&str, u64, Option<u64>);

/// Writes a replica file with all that `checkout` asks for, as of one generation of the service. An existing file of the
/// name is replaced.
///
/// # Errors
/// [`Error::NoCollection`] for an unknown collection, [`Error::DiskFull`], else the database's.
pub fn prepare_replica(
    store: &SqliteStore,
    checkout: &Checkout<'_>,
    path: &Path,
    progress: PrepareProgress<'_>,
) -> Result<Prepared> {
    let scratch = scratch_path(path);
    let built = build(store, checkout, &scratch, progress);
    match built {
        Ok(prepared) => {
            progress("saving the file", 1, None);
            publish(&scratch, path)?;
            Ok(prepared)
        }
        Err(error) => {
            // The error that is being told is the cause.
            let _best_effort = remove_file(&scratch);
            Err(error)
        }
    }
}

fn build(
    store: &SqliteStore,
    checkout: &Checkout<'_>,
    scratch: &Path,
    progress: PrepareProgress<'_>,
) -> Result<Prepared> {
    let steps = Some(2 * checkout.layers.len() as u64 + 1);
    // The definition may change between reading it and the snapshot: then the empty file is made again.
    let (snapshot, layers) = loop {
        remove_file(scratch)?;
        let service = store.begin_read()?.service()?;
        let collections = wanted(&service, checkout)?;
        let conn = scratch_connection(scratch)?;
        let doing = "creating a replica file";
        conn.execute_batch("BEGIN").doing(doing)?;
        let layers = tables::create(&conn, &collections, &checkout.header, false)?;
        for layer in &layers {
            conn.execute_batch(&format!("DROP INDEX {}", index_name(layer)))
                .doing(doing)?;
        }
        conn.execute_batch("COMMIT").doing(doing)?;
        close(conn)?;
        let snapshot = store.snapshot_into(scratch)?;
        if snapshot.service().schema_version == service.schema_version {
            break (snapshot, layers);
        }
        snapshot.finish()?;
    };
    let head = snapshot.head();
    let mut replica = checkout.header.clone();
    let cursor = Cursor::bare(head.history, head.generation);
    replica.cursor = checkout.seal.seal(replica.id, cursor);
    replica.schema_version = snapshot.service().schema_version;

    let all = every_collection(snapshot.service());
    let mut rows = 0;
    for (at, (layer, (_, filter))) in layers.iter().zip(&checkout.layers).enumerate() {
        progress("copying rows", at as u64, steps);
        rows += copy_rows(&snapshot, &all, layer, filter)?;
        if checkout.content && layer.is_attachments() {
            copy_content(&snapshot, layer)?;
        }
    }
    snapshot.finish()?;

    let conn = scratch_connection(scratch)?;
    let doing = "finishing a replica file";
    conn.execute_batch("BEGIN").doing(doing)?;
    for (at, layer) in layers.iter().enumerate() {
        progress("indexing", (layers.len() + at) as u64, steps);
        if checkout.options.spatial_index {
            index(&conn, layer)?;
        }
        tables::start_capture(&conn, layer)?;
    }
    header::store(&conn, &replica)?;
    conn.execute_batch("COMMIT").doing(doing)?;
    close(conn)?;
    Ok(Prepared {
        header: replica,
        head,
        rows,
    })
}

/// Definitions of what was asked for, in that order.
fn wanted(service: &Service, checkout: &Checkout<'_>) -> Result<Vec<Collection>> {
    let all = every_collection(service);
    let find = |id: CollectionId| all.iter().find(|c| c.id == id).cloned();
    checkout
        .layers
        .iter()
        .map(|(id, _)| find(*id).ok_or(Error::NoCollection(*id)))
        .collect()
}

/// All collections of a service, hidden ones included.
fn every_collection(service: &Service) -> Vec<Collection> {
    let hidden = service.collections.iter().filter(|c| c.has_attachments);
    let mut all: Vec<_> = hidden.map(Collection::attachments).collect();
    all.extend(service.collections.iter().cloned());
    all
}

fn scratch_connection(scratch: &Path) -> Result<Connection> {
    let conn = connect(
        scratch,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
    )?;
    conn.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")
        .doing("opening a scratch file")?;
    Ok(conn)
}

fn close(conn: Connection) -> Result<()> {
    conn.close()
        .map_err(|(_conn, source)| fault("closing a scratch file", source))
}

fn index_name(layer: &Layer) -> String {
    quote_ident(&format!("{}_global_id", layer.table))
}

/// Copies the rows that match, their versions, and makes the index of global ids from all at once.
fn copy_rows(
    snapshot: &ServiceSnapshot,
    all: &[Collection],
    layer: &Layer,
    filter: &Filter,
) -> Result<u64> {
    let doing = "copying the rows of a layer";
    let conn = snapshot.connection();
    let (id, table, fid, gid) = (layer.id().0, layer.quoted_table(), layer.fid(), layer.gid());
    let columns = layer.columns();
    let mut sql = Sql::new(format!(
        "INSERT INTO target.{table} ({}) SELECT {} FROM main.{} t WHERE ",
        quoted_list(&columns, ""),
        quoted_list(&columns, "t."),
        quote_ident(&layer.collection.table),
    ));
    let printer = Printer {
        find: &|wanted| all.iter().find(|c| c.id == wanted),
        collection: &layer.collection,
        alias: "t".to_owned(),
        as_of: None,
    };
    printer.condition(&mut sql, filter)?;
    let rows = conn
        .execute(&sql.text, params_from_iter(&sql.params))
        .doing(doing)?;
    conn.execute_batch(&format!(
        "CREATE INDEX target.{} ON {table} ({gid});",
        index_name(layer)
    ))
    .doing(doing)?;
    // In the order of the key of the versions, which the new index has; tracking is found by the row's key.
    let versions = conn
        .execute(
            &format!(
                "INSERT INTO target.{} (global_id, revision, generation) \
                 SELECT t.{gid}, k.revision, k.generation FROM target.{table} t \
                 JOIN main.haversack_track k ON k.collection = ?1 AND k.object_id = t.{fid} ORDER BY t.{gid}",
                layer.version_table()
            ),
            [id],
        )
        .doing(doing)?;
    if versions != rows {
        return Err(Error::Corrupt(format!(
            "{} has {rows} rows of which {versions} are tracked",
            layer.collection.name
        )));
    }
    Ok(rows as u64)
}

/// Copies the content that copied attachments name.
fn copy_content(snapshot: &ServiceSnapshot, layer: &Layer) -> Result<()> {
    let doing = "copying the content of attachments";
    let sha256 = quote_ident(attachments::sha256_column(layer));
    snapshot
        .connection()
        .execute_batch(&format!(
            "INSERT INTO target.haversack_blobs (sha256, content) SELECT lower(hex(b.hash)), b.content \
             FROM main.haversack_blobs b WHERE b.hash IN (SELECT unhex(t.{sha256}) FROM target.{} t) \
             AND NOT EXISTS (SELECT 1 FROM target.haversack_blobs o WHERE o.sha256 = lower(hex(b.hash)))",
            layer.quoted_table()
        ))
        .doing(doing)
}

/// Builds the spatial index of a layer in bulk, with its triggers, and tells GIS programs the layer's extent.
fn index(conn: &Connection, layer: &Layer) -> Result<()> {
    let Some(geometry) = &layer.collection.geometry else {
        return Ok(());
    };
    let mut shape = layer.collection.clone();
    shape.table.clone_from(&layer.table);
    create_rtree(conn, &shape, geometry).doing("creating the spatial index")?;
    let extent = rtree::index_table(
        conn,
        &layer.table,
        &shape.object_id_field,
        &geometry.name,
        &rtree_name(&layer.table, &geometry.name),
    )?;
    if let Some(extent) = extent {
        store_extent(conn, &layer.table, &extent)?;
    }
    Ok(())
}

fn store_extent(conn: &Connection, table: &str, extent: &Envelope) -> Result<()> {
    conn.execute(
        "UPDATE gpkg_contents SET min_x = ?2, min_y = ?3, max_x = ?4, max_y = ?5 WHERE table_name = ?1",
        params![table, extent.min_x, extent.min_y, extent.max_x, extent.max_y],
    )
    .doing("writing the extent")?;
    Ok(())
}

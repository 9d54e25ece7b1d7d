//! A copy as a whole: made, brought up to date with the server's metadata, wiped.

use haversack_model::local::{LocalReplica, ReplicaHeader};
use haversack_model::{
    BatchNumber, Collection, CollectionId, Cursor, Direction, Generation, GlobalId, HistoryId,
    Policy, ReplicaId, ReplicaTx, Timestamp, Versions,
};
use serde_json::json;
use uuid::Uuid;

use super::PROTOCOL;
use super::error::{Error, Result};
use super::layout::{self, INSTANCE, Layout, MARKS, RESERVED_VALUES, Role, Schema};
use super::metadata::{self, Metadata, Stored};
use super::server::Server;
use crate::wire::date;

/// Topic of the records that downloads brought to a copy which feeds something else: `<collection>/<uid>`. Whoever feeds takes them away.
pub const CAME: &str = "dhis2 came";
/// The name in that topic by which a copy is told to keep them.
pub const KEEP: &str = "";

/// Has a copy keep the names of the records that downloads bring.
///
/// # Errors
/// The copy's.
pub fn keep_names(tx: &mut dyn ReplicaTx) -> haversack_model::Result<()> {
    tx.store_note(CAME, KEEP, Some(""))
}

/// Keeps the name of a record that a download brought or removed, if the copy feeds something.
pub(crate) fn came(
    tx: &mut dyn ReplicaTx,
    collection: CollectionId,
    id: &GlobalId,
) -> haversack_model::Result<()> {
    if tx.note(CAME, KEEP)?.is_some() {
        tx.store_note(CAME, &format!("{collection}/{id}"), Some(""))?;
    }
    Ok(())
}

/// What a new copy says of itself.
pub fn header(url: &str, name: &str) -> ReplicaHeader {
    ReplicaHeader {
        id: ReplicaId(Uuid::new_v4()),
        name: name.to_owned(),
        url: url.to_owned(),
        protocol: PROTOCOL.to_owned(),
        // The server knows neither histories nor generations: the copy counts its pages.
        cursor: Cursor::bare(HistoryId(Uuid::nil()), Generation(1)),
        layer_cursors: Vec::new(),
        direction: Direction::Bidirectional,
        policy: Policy::Merge,
        next_batch: BatchNumber(1),
        schema_version: 1,
        resyncing: false,
        download: None,
        ahead: Versions::default(),
        synced_at: None,
        filter: "{}".to_owned(),
    }
}

/// The collections of a copy before its first metadata.
pub fn collections() -> Vec<Collection> {
    layout::plan(&[], &Schema::default())
}

/// Fetches the metadata and stores it in one transaction.
///
/// # Errors
/// The server's and the copy's. [`Error::Parameter`] if the copy is of another user: its unsent work would be sent as this one's.
pub fn sync_metadata(
    server: &Server,
    local: &mut dyn LocalReplica,
    now: Timestamp,
    progress: &mut dyn FnMut(&str),
) -> Result<(Metadata, Stored)> {
    let found = metadata::fetch(server, progress)?;
    let mut tx = local.begin()?;
    let of = fact(&*tx, "username")?;
    if let Some(of) = of.filter(|of| *of != found.user.username) {
        return Err(Error::Parameter {
            what: "user",
            problem: format!("this copy is {of}'s; log in as {of}, or make another copy"),
        });
    }
    let roots = |roots: &[metadata::Root]| {
        let ids: Vec<&str> = roots.iter().map(|root| root.id.as_str()).collect();
        ids.join(",")
    };
    let user = &found.user;
    let facts = [
        ("version", server.version.to_string()),
        ("time_zone", server.time_zone.clone()),
        ("username", user.username.clone()),
        ("user", user.id.clone()),
        ("authorities", json!(user.authorities).to_string()),
        ("capture", roots(&user.capture)),
        ("search", roots(&user.search)),
        ("metadata_server_date", server.server_date.clone()),
        ("metadata_at", date::format(now)),
    ];
    let stored = metadata::store(&mut *tx, &found, &facts)?;
    tx.commit()?;
    Ok((found, stored))
}

/// What a copy knows of its server or user under a name.
///
/// # Errors
/// The copy's.
pub fn fact(tx: &dyn ReplicaTx, name: &str) -> haversack_model::Result<Option<String>> {
    let layout = Layout::of(&tx.collections()?);
    let Some(table) = layout.table(INSTANCE) else {
        return Ok(None);
    };
    let row = tx.row(table.id(), &GlobalId::Text(name.into()))?;
    Ok(row
        .map(|row| table.text(&row, "value"))
        .filter(|text| !text.is_empty()))
}

/// What waits in a copy and would be lost with it: unsent records and open conflicts.
///
/// # Errors
/// The copy's.
pub fn unsent(tx: &dyn ReplicaTx) -> haversack_model::Result<(usize, usize)> {
    let layout = Layout::of(&tx.collections()?);
    let entries = tx.entries()?;
    let is_data = |of| {
        let role = layout.table(of).map(|table| &table.role);
        role.is_some_and(Role::is_data)
    };
    let records = entries.iter().filter(|entry| is_data(entry.collection));
    Ok((records.count(), tx.conflicts(true)?.len()))
}

/// Copies the metadata of a copy, and what is known of server and user, into an empty one. What is not copied is gone when the
/// new file takes the old one's place: tracker data, marks, reserved values, receipts and conflicts.
///
/// # Errors
/// Those of the copies.
pub fn copy_metadata(from: &dyn ReplicaTx, to: &mut dyn ReplicaTx) -> haversack_model::Result<()> {
    let collections = from.collections()?;
    to.store_collections(&collections)?;
    for table in Layout::of(&collections).tables() {
        let is_wanted = match table.role {
            Role::Metadata { .. } => true,
            Role::Kept => ![MARKS, RESERVED_VALUES, layout::IMPORT_CONFLICTS].contains(&table.id()),
            _ => false,
        };
        if !is_wanted {
            continue;
        }
        for id in from.confirmed(table.id())? {
            if let Some(row) = from.row(table.id(), &id)? {
                to.put_row(table.id(), &row)?;
                to.store_version(table.id(), &id, from.version(table.id(), &id)?)?;
            }
        }
    }
    Ok(())
}

/// Removes the metadata of a copy; tracker data and unsent work stay.
///
/// # Errors
/// The copy's.
pub fn wipe_metadata(tx: &mut dyn ReplicaTx) -> haversack_model::Result<usize> {
    let layout = Layout::of(&tx.collections()?);
    let mut removed = 0;
    for table in layout.tables() {
        let is_metadata =
            matches!(table.role, Role::Metadata { .. }) || table.id() == layout::VIOLATIONS;
        if is_metadata {
            for id in tx.confirmed(table.id())? {
                metadata::remove(tx, table.id(), &id)?;
                removed += 1;
            }
        }
    }
    Ok(removed)
}

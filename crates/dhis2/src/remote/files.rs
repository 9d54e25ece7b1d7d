//! File resources: pictures and documents that values of attributes and data elements name.
//!
//! A file is a row of its own in the copy, with its content; a value names it by its uid. Upwards the file goes first, one by one and
//! outside of batches; the server gives it another uid, and the values that name it follow. What names a file that is not sent
//! yet waits. A file that is sent twice, since the answer was lost, is an orphan there and no harm. Downwards files come only when
//! they are asked for. A file on the server is never changed. Source: `spec/dhis2.md` 9.

use std::collections::{BTreeMap, BTreeSet};

use haversack_model::local::LocalReplica;
use haversack_model::{
    GlobalId, OutboxEntry, Record, ReplicaTx, RowVersion, SyncState, Value as Cell,
};

use super::error::{Error, Result};
use super::http::Http;
use super::layout::{FILES, Layout, Role, Table};
use super::server::Server;
use crate::wire::tracker::Kind;
use crate::wire::uid;

/// Most bytes of a file that is fetched, as the app's own limit.
pub const MAX_BYTES: usize = 6_000_000;
/// Topic of the server's uids of files that were sent, by their uids here.
pub(crate) const SENT: &str = "dhis2 files";

/// What sending files did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SentFiles {
    /// Files that are on the server now.
    pub sent: usize,
    /// Files that are not, and why; what names them waits.
    pub refused: Vec<(String, String)>,
}

/// Sends the files that were added, before what names them is frozen. One that was refused is not sent again before it is made
/// pending, by an edit or by whoever retries.
///
/// # Errors
/// The network's and the copy's. A file that the server does not take is in the result.
pub fn send(http: &Http, local: &mut dyn LocalReplica) -> Result<SentFiles> {
    let mut done = SentFiles::default();
    let waiting: Vec<OutboxEntry> = {
        let tx = local.begin()?;
        let all = tx.entries()?.into_iter();
        let is_due = |entry: &OutboxEntry| entry.deleted || entry.state != SyncState::Error;
        all.filter(|entry| entry.collection == FILES && is_due(entry))
            .collect()
    };
    for entry in waiting {
        let id = entry.global_id.to_string();
        match one(http, local, &entry)? {
            Step::Sent => done.sent += 1,
            Step::Nothing => {}
            Step::Refused(reason) => done.refused.push((id, reason)),
        }
    }
    let mut tx = local.begin()?;
    if follow(&mut *tx)? {
        tx.commit()?;
    }
    Ok(done)
}

enum Step {
    Sent,
    Nothing,
    Refused(String),
}

fn one(http: &Http, local: &mut dyn LocalReplica, entry: &OutboxEntry) -> Result<Step> {
    let id = &entry.global_id;
    let (row, table) = {
        let tx = local.begin()?;
        let layout = Layout::of(&tx.collections()?);
        (tx.row(FILES, id)?, layout.table(FILES).cloned())
    };
    let Some(table) = table else {
        return Ok(Step::Nothing);
    };
    let Some(row) = row else {
        // The server keeps what values name; here it is gone.
        let mut tx = local.begin()?;
        tx.remove_entry(FILES, id)?;
        tx.store_version(FILES, id, None)?;
        tx.commit()?;
        return Ok(Step::Nothing);
    };
    if let Some((base, _)) = &entry.base {
        let is_same = table.cell(base, "content") == table.cell(&row, "content");
        let mut tx = local.begin()?;
        if is_same {
            // Its name is our own.
            tx.remove_entry(FILES, id)?;
            tx.commit()?;
            return Ok(Step::Nothing);
        }
        let reason = "a file does not change on the server: add another and name that";
        return refuse(tx, id, reason.to_owned());
    }
    let content = match table.cell(&row, "content") {
        Some(Cell::Blob(content)) if !content.is_empty() => content.clone(),
        _ => return refuse(local.begin()?, id, "it has no content".to_owned()),
    };
    let text = |column: &str, usual: &str| {
        let text = table.text(&row, column);
        if text.is_empty() {
            usual.to_owned()
        } else {
            text
        }
    };
    let name = text("name", "file");
    let kind = text("content_type", "application/octet-stream");
    let answer = match http.post_file("fileResources", &name, &kind, &content) {
        Ok(answer) if answer.status < 300 => answer,
        Ok(answer) => {
            let error = super::http::refusal("fileResources", &answer);
            return refuse(local.begin()?, id, error.to_string());
        }
        // Its turn comes with the next upload.
        Err(error @ Error::Refused { .. }) if error.is_passing() => {
            return Ok(Step::Refused(error.to_string()));
        }
        Err(error @ Error::Refused { .. }) => {
            return refuse(local.begin()?, id, error.to_string());
        }
        Err(error) => return Err(error),
    };
    let given = answer.body.pointer("/response/fileResource/id");
    let Some(given) = given.and_then(serde_json::Value::as_str) else {
        let reason = "the server's answer does not name it".to_owned();
        return refuse(local.begin()?, id, reason);
    };
    let mut tx = local.begin()?;
    tx.remove_entry(FILES, id)?;
    tx.remove_row(FILES, id)?;
    tx.store_version(FILES, id, None)?;
    put(
        &mut *tx,
        &Record {
            global_id: GlobalId::Text(given.into()),
            object_id: None,
            ..row
        },
    )?;
    // One that the server had and lost has a name from before.
    let id = id.to_string();
    for (name, known) in tx.notes(SENT)? {
        if known == id {
            tx.store_note(SENT, &name, Some(given))?;
        }
    }
    tx.store_note(SENT, &id, Some(given))?;
    tx.commit()?;
    Ok(Step::Sent)
}

fn refuse(mut tx: Box<dyn ReplicaTx + '_>, id: &GlobalId, reason: String) -> Result<Step> {
    if let Some(mut entry) = tx.entry(FILES, id)? {
        entry.state = SyncState::Error;
        entry.reason = Some(reason.clone());
        tx.store_entry(&entry)?;
        tx.commit()?;
    }
    Ok(Step::Refused(reason))
}

/// Stores a file that the server has.
fn put(tx: &mut dyn ReplicaTx, record: &Record) -> haversack_model::Result<()> {
    let version = RowVersion {
        generation: RowVersion::UNKNOWN.generation.next(),
        ..RowVersion::UNKNOWN
    };
    tx.put_row(FILES, record)?;
    tx.store_version(FILES, &record.global_id, Some(version))
}

/// Lets unsent values name files by the uids that the server gave them; gives whether there were some.
fn follow(tx: &mut dyn ReplicaTx) -> haversack_model::Result<bool> {
    let sent: BTreeMap<String, String> = tx.notes(SENT)?.into_iter().collect();
    if sent.is_empty() {
        return Ok(false);
    }
    let layout = Layout::of(&tx.collections()?);
    let places = Places::of(tx, &layout)?;
    let mut has_changed = false;
    for entry in tx.entries()? {
        let Some(table) = layout.table(entry.collection) else {
            continue;
        };
        let columns = places.columns(table);
        if columns.is_empty() {
            continue;
        }
        let Some(mut row) = tx.row(table.id(), &entry.global_id)? else {
            continue;
        };
        let mut is_new = false;
        for (column, _) in columns {
            let Some(slot) = row.values.get_mut(column) else {
                continue;
            };
            let named = match slot {
                Cell::Text(text) => sent.get(text),
                _ => None,
            };
            if let Some(given) = named {
                *slot = given.as_str().into();
                is_new = true;
            }
        }
        if is_new {
            tx.put_row(table.id(), &row)?;
            has_changed = true;
        }
    }
    Ok(has_changed)
}

/// Which columns name files.
struct Places {
    /// Attributes and data elements, and whether they are pictures.
    fields: BTreeMap<String, bool>,
}

impl Places {
    fn of(tx: &dyn ReplicaTx, layout: &Layout) -> haversack_model::Result<Self> {
        let mut fields = BTreeMap::new();
        for of in ["trackedEntityAttributes", "dataElements"] {
            let Some(table) = layout.metadata(of) else {
                continue;
            };
            for id in tx.confirmed(table.id())? {
                let Some(row) = tx.row(table.id(), &id)? else {
                    continue;
                };
                match table.text(&row, "value_type").as_str() {
                    "IMAGE" => fields.insert(id.to_string(), true),
                    "FILE_RESOURCE" => fields.insert(id.to_string(), false),
                    _ => None,
                };
            }
        }
        Ok(Self { fields })
    }
    /// Columns of a table that may name files, and of which field they are; of data values each row says it.
    fn columns(&self, table: &Table) -> Vec<(usize, Option<String>)> {
        if table.role == Role::DataValues {
            let value = table.column("value").filter(|_| !self.fields.is_empty());
            return value.into_iter().map(|at| (at, None)).collect();
        }
        let values = table.values().iter();
        let named = values.filter(|(_, uid)| self.fields.contains_key(uid));
        named.map(|(at, uid)| (*at, Some(uid.clone()))).collect()
    }
}

/// What fetching files did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchedFiles {
    /// Files that came.
    pub fetched: usize,
    /// Files that the copy had.
    pub known: usize,
    /// Files that are larger than was asked for: the values' uids.
    pub too_large: Vec<String>,
    /// Files that could not be had, and why.
    pub failed: Vec<(String, String)>,
    /// Files that nothing names any more, and which the copy does not hold now.
    pub dropped: usize,
}

/// A value that names a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Named {
    file: String,
    path: String,
    params: Vec<(&'static str, String)>,
}

/// Fetches the files that values of the copy name and which it does not hold, and drops those that nothing names. Looks at all records.
///
/// # Errors
/// Those of the copy, and of a login that is not accepted. Files that cannot be had are in the result.
pub fn fetch(
    server: &Server,
    local: &mut dyn LocalReplica,
    max_bytes: usize,
    progress: &mut dyn FnMut(usize),
) -> Result<FetchedFiles> {
    let mut done = FetchedFiles::default();
    let named = {
        let tx = local.begin()?;
        named(&*tx, server)?
    };
    let wanted: BTreeSet<&str> = named.iter().map(|one| one.file.as_str()).collect();
    done.dropped = drop_unnamed(local, &wanted)?;
    let mut last = "";
    for one in &named {
        // Two values may name the same file.
        if one.file == last {
            continue;
        }
        last = &one.file;
        let id = GlobalId::Text(one.file.as_str().into());
        if local.begin()?.row(FILES, &id)?.is_some() {
            done.known += 1;
            continue;
        }
        let params: Vec<(&str, &str)> = one.params.iter().map(|(n, v)| (*n, v.as_str())).collect();
        match server.http.get_file(&one.path, &params, max_bytes) {
            Ok(Some(found)) => {
                let mut tx = local.begin()?;
                let layout = Layout::of(&tx.collections()?);
                if let Some(table) = layout.table(FILES) {
                    put(&mut *tx, &table.of_file(&one.file, &found))?;
                    tx.commit()?;
                    done.fetched += 1;
                }
            }
            Ok(None) => done.too_large.push(one.file.clone()),
            Err(
                error @ (Error::BadCredentials | Error::AccountDisabled | Error::AccountLocked),
            ) => return Err(error),
            Err(error) => done.failed.push((one.file.clone(), error.to_string())),
        }
        progress(done.fetched);
    }
    Ok(done)
}

/// All values that name files of the server.
fn named(tx: &dyn ReplicaTx, server: &Server) -> haversack_model::Result<Vec<Named>> {
    let layout = Layout::of(&tx.collections()?);
    let places = Places::of(tx, &layout)?;
    let mut ids: BTreeSet<_> = tx
        .entries()?
        .into_iter()
        .map(|entry| (entry.collection, entry.global_id))
        .collect();
    for table in layout.tables() {
        if !places.columns(table).is_empty() {
            let confirmed = tx.confirmed(table.id())?.into_iter();
            ids.extend(confirmed.map(|id| (table.id(), id)));
        }
    }
    let mut found = Vec::new();
    for (of, id) in ids {
        let Some(table) = layout.table(of) else {
            continue;
        };
        let columns = places.columns(table);
        if columns.is_empty() {
            continue;
        }
        let Some(row) = tx.row(of, &id)? else {
            continue;
        };
        for (column, field) in columns {
            let file = match row.values.get(column) {
                Some(Cell::Text(text)) if uid::is_uid(text) => text.clone(),
                _ => continue,
            };
            let field = field.unwrap_or_else(|| table.text(&row, "data_element"));
            let Some(is_picture) = places.fields.get(&field) else {
                continue;
            };
            found.extend(address(server, table, &row, &field, *is_picture, file));
        }
    }
    found.sort();
    Ok(found)
}

/// Where the file of a value is.
fn address(
    server: &Server,
    table: &Table,
    row: &Record,
    field: &str,
    is_picture: bool,
    file: String,
) -> Option<Named> {
    let is_new = server.version.line >= 42;
    let word = if is_picture { "image" } else { "file" };
    let own = row.global_id.to_string();
    let (path, params) = match table.role.kind() {
        Some(Kind::TrackedEntity | Kind::Enrollment) => {
            let mut params = Vec::new();
            let mut entity = own;
            if let Role::Enrollments { program } = &table.role {
                entity = table.text(row, "tracked_entity");
                if is_new {
                    params.push(("program", program.clone()));
                }
            }
            let path = if is_new {
                format!("tracker/trackedEntities/{entity}/attributes/{field}/{word}")
            } else {
                format!("trackedEntityInstances/{entity}/{field}/{word}")
            };
            (path, params)
        }
        Some(Kind::Event) if is_new => (
            format!("tracker/events/{own}/dataValues/{field}/{word}"),
            Vec::new(),
        ),
        Some(Kind::Event) => (
            "events/files".to_owned(),
            vec![("eventUid", own), ("dataElementUid", field.to_owned())],
        ),
        _ if table.role == Role::DataValues => {
            let of = |column: &str| table.text(row, column);
            let params = vec![
                ("de", field.to_owned()),
                ("pe", of("period")),
                ("ou", of("org_unit")),
                ("co", of("category_option_combo")),
            ];
            ("dataValues/files".to_owned(), params)
        }
        _ => return None,
    };
    let is_word = |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric());
    let is_safe = path.split('/').all(is_word);
    is_safe.then_some(Named { file, path, params })
}

fn drop_unnamed(local: &mut dyn LocalReplica, wanted: &BTreeSet<&str>) -> Result<usize> {
    let mut tx = local.begin()?;
    let mut dropped = 0;
    for id in tx.confirmed(FILES)? {
        if !wanted.contains(id.to_string().as_str()) && tx.entry(FILES, &id)?.is_none() {
            tx.remove_row(FILES, &id)?;
            tx.store_version(FILES, &id, None)?;
            dropped += 1;
        }
    }
    tx.commit()?;
    Ok(dropped)
}

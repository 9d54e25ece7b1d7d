//! A whole document collection as a file of its own: written by a primary from one snapshot, taken over by an empty copy in one
//! transaction. What a first copy of a large collection travels as.
//!
//! Owns: the file's two tables, its checks, and the way in and out of a service file. Does not own: how the file travels. The file
//! comes from elsewhere, so it is read without trust: its schema must be ours to the letter before anything else of it is
//! looked at, nothing in it is ever run, and what it holds must have exactly the sum that it names.

use std::path::Path;

use haversack_model::store::WriteTx;
use haversack_model::{CollectionId, Generation, GlobalId, Result};
use haversack_sync::reconcile::{Deltas, FpKey, Item, LeafBits, Proof, Secondary as _, Sum};
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, params};

use super::bulk::Source;
use super::secondary::SqliteSecondary;
use super::summary::{Side, fresh_key};
use super::write::SqliteWrite;
use super::{SqliteStore, checkpoint, lock};
use crate::error::{corrupt, invalid, while_doing};
use crate::gpkg::column;

/// The tables of a prepared file, as they stand in its schema.
const TABLES: [(&str, &str); 2] = [
    (
        "about",
        "CREATE TABLE about (history TEXT NOT NULL, generation INTEGER NOT NULL, floor INTEGER NOT NULL, \
         items INTEGER NOT NULL, high INTEGER NOT NULL, low INTEGER NOT NULL, fp_key BLOB NOT NULL, bits INTEGER NOT NULL)",
    ),
    (
        "documents",
        "CREATE TABLE documents (key TEXT NOT NULL, generation INTEGER NOT NULL, revision INTEGER NOT NULL, body TEXT)",
    ),
];
/// How often a snapshot is taken again because another program edited the collection just before it.
const TRIES: u32 = 8;
/// Longest document that is taken.
const MAX_VALUE_BYTES: i32 = 64 << 20;
const WRITING: &str = "preparing a collection";
const READING: &str = "reading a prepared collection";
const TAKING: &str = "taking a prepared collection over";

/// Its rows.
const ROWS: Source<'_> = Source {
    from: "prepared.documents ORDER BY rowid",
    place: "rowid",
    key: "key",
    body: "body",
    deleted: "(body IS NULL)",
    up: "generation",
};

/// What a prepared file says of itself.
#[derive(Clone, Debug, PartialEq)]
struct About {
    proof: Proof,
    key: FpKey,
    bits: LeafBits,
}

impl SqliteStore {
    /// Whether a collection was made a copy of another server's natively before.
    ///
    /// # Errors
    /// The database's.
    pub fn is_copy(&self, id: CollectionId) -> Result<bool> {
        let doing = "looking whether a collection is a copy";
        let read = self.read()?;
        let view = read.view();
        view.prepare(
            "SELECT 1 FROM haversack_upstreams WHERE collection = ?1 AND history IS NOT NULL",
            doing,
        )?
        .exists([id.0])
        .map_err(while_doing(doing))
    }

    /// How many items a collection has, tombstones included, if it can be prepared: what is one of documents.
    ///
    /// # Errors
    /// The database's.
    pub fn preparable(&self, id: CollectionId) -> Result<Option<u64>> {
        let read = self.read()?;
        let view = read.view();
        if !view.layer(id)?.collection.is_documents() {
            return Ok(None);
        }
        Ok(Some(view.root(id, Side::Here)?.count))
    }

    /// Writes a document collection into a new file, all of one snapshot. No writer waits for it.
    ///
    /// # Errors
    /// [`Error::Invalid`](haversack_model::Error::Invalid) if it is none of documents; the database's.
    pub fn prepare_collection(
        &self,
        id: CollectionId,
        target: &Path,
        now: haversack_model::Timestamp,
    ) -> Result<()> {
        for _ in 0..TRIES {
            self.ready(id, now, false)?;
            let snapshot = self.snapshot_into(target)?;
            if snapshot.write_collection(id)? {
                return snapshot.finish();
            }
        }
        Err(invalid(
            "the collection",
            "other programs edit it all the time; try again",
        ))
    }
}

impl super::ServiceSnapshot {
    /// Whether the sums of the snapshot hold, so that it could be written.
    fn write_collection(&self, id: CollectionId) -> Result<bool> {
        let failed = while_doing(WRITING);
        let layer = self.schema.layer(id)?;
        if !layer.collection.is_documents() {
            return Err(invalid(
                layer.collection.name.as_str(),
                "only documents can be prepared",
            ));
        }
        let view = self.view();
        let Some(summary) = view.summary(id, Side::Here)?.filter(|s| !s.stale) else {
            return Ok(false);
        };
        if view.has_unfolded(id)? {
            return Ok(false);
        }
        let root = view.root(id, Side::Here)?;
        let head = self.head();
        for (name, sql) in TABLES {
            let qualified = sql.replacen(name, &format!("target.{name}"), 1);
            self.connection.execute_batch(&qualified).map_err(&failed)?;
        }
        self.connection
            .execute(
                "INSERT INTO target.about VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    head.history.to_string(),
                    head.generation.0 as i64,
                    head.floor.0 as i64,
                    root.count as i64,
                    root.high as i64,
                    root.low as i64,
                    summary.key.as_bytes(),
                    summary.bits.bits()
                ],
            )
            .map_err(&failed)?;
        let sql = format!(
            "INSERT INTO target.documents SELECT k.global_id, k.generation, k.revision, t.document \
             FROM main.haversack_track k LEFT JOIN main.{} t ON t.{} = k.object_id AND k.deleted = 0 \
             WHERE k.collection = ?1 AND (k.deleted = 0 OR k.generation > ?2) ORDER BY k.object_id",
            layer.table, layer.object_id
        );
        self.connection
            .execute(&sql, params![id.0, head.floor.0 as i64])
            .map_err(&failed)?;
        Ok(true)
    }
}

impl SqliteSecondary<'_> {
    /// Whether nothing is here yet, and nothing of an interrupted synchronisation: then a prepared file can be taken over.
    ///
    /// # Errors
    /// The database's.
    pub fn is_new(&self) -> Result<bool> {
        Ok(!self.state()?.has_records && self.saved()?.is_none())
    }

    /// Takes a prepared file over, in one transaction with what changes together with the documents: afterwards the copy is what the primary was when it wrote the file.
    ///
    /// # Errors
    /// [`Error::Corrupt`](haversack_model::Error::Corrupt) and [`Error::Invalid`](haversack_model::Error::Invalid) if the file is not one, or does not hold what it says; [`Error::Invalid`](haversack_model::Error::Invalid) if
    /// the copy is not empty. Nothing has changed then.
    pub fn take_prepared(&mut self, file: &Path) -> Result<Proof> {
        let about = check(file)?;
        self.let_go();
        let attached = Attached::new(self.store(), file)?;
        let mut tx = self.store().write(self.now())?;
        let taken = self.with_definition(&mut tx, |tx, id| tx.take_prepared(id, file, &about));
        let done = taken.and_then(|()| Box::new(tx).commit().map(|_head| about.proof));
        drop(attached);
        done
    }
}

/// A prepared file on the connection that writes, as `prepared`. The log, as long as the collection, is moved into the file aside from
/// the commit.
struct Attached<'a> {
    store: &'a SqliteStore,
}

impl<'a> Attached<'a> {
    fn new(store: &'a SqliteStore, file: &Path) -> Result<Self> {
        let linked = lock(&store.writer);
        let connection = &linked.connection;
        connection
            .execute("ATTACH DATABASE ?1 AS prepared", [uri(file)?])
            .and_then(|_| connection.pragma_update(None, "wal_autocheckpoint", 0))
            .map_err(while_doing(TAKING))?;
        Ok(Self { store })
    }
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        let linked = lock(&self.store.writer);
        linked.connection.flush_prepared_statement_cache();
        let done = linked
            .connection
            .execute_batch("DETACH DATABASE prepared")
            .and_then(|()| {
                linked
                    .connection
                    .pragma_update(None, "wal_autocheckpoint", checkpoint::MOST)
            });
        if let Err(error) = done {
            tracing::error!(%error, "a prepared file could not be let go");
        }
    }
}

/// A file's name for SQLite, which must not write to it and finds no journal of it.
fn uri(file: &Path) -> Result<String> {
    let path = file
        .to_str()
        .ok_or_else(|| invalid("file", "its name is not UTF-8"))?;
    let escaped = path
        .replace('%', "%25")
        .replace('?', "%3f")
        .replace('#', "%23");
    Ok(format!("file:{escaped}?mode=ro&immutable=1"))
}

/// Opens a file of which nothing is known.
fn open_hostile(file: &Path) -> Result<Connection> {
    let failed = while_doing(READING);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(uri(file)?, flags).map_err(&failed)?;
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)
        .and_then(|_| connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false))
        .and_then(|_| connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false))
        .and_then(|_| connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false))
        .and_then(|_| connection.pragma_update(None, "cell_size_check", true))
        .and_then(|()| connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES))
        .map_err(&failed)?;
    Ok(connection)
}

/// Reads what a file says of itself, if it is a prepared one to the letter.
fn check(file: &Path) -> Result<About> {
    let failed = while_doing(READING);
    let connection = open_hostile(file)?;
    let mut statement = connection
        .prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name")
        .map_err(&failed)?;
    let found: Vec<(String, String, String, String)> = statement
        .query_map([], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .and_then(Iterator::collect)
        .map_err(|_other| corrupt("the prepared file has another schema"))?;
    let expected = TABLES.map(|(name, sql)| {
        let name = name.to_owned();
        ("table".to_owned(), name.clone(), name, sql.to_owned())
    });
    if found != expected {
        return Err(corrupt("the prepared file has another schema"));
    }
    let sound: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(&failed)?;
    if sound != "ok" {
        return Err(corrupt(format!("the prepared file is damaged: {sound}")));
    }
    read_about(&connection)
}

fn read_about(connection: &Connection) -> Result<About> {
    let (history, numbers, key, bits): (String, [i64; 5], [u8; 32], u8) = connection
        .query_row(
            "SELECT history, generation, floor, items, high, low, fp_key, bits FROM about",
            [],
            |row| {
                let mut numbers = [0; 5];
                for (at, number) in numbers.iter_mut().enumerate() {
                    *number = row.get(at + 1)?;
                }
                Ok((row.get(0)?, numbers, row.get(6)?, row.get(7)?))
            },
        )
        .map_err(|error| {
            corrupt(format!(
                "the prepared file does not say what it is: {error}"
            ))
        })?;
    let [generation, floor, items, high, low] = numbers;
    let is_possible = generation >= 0 && (0..=generation).contains(&floor) && items >= 0;
    let bits = LeafBits::new(bits).filter(|_| is_possible);
    Ok(About {
        proof: Proof {
            history: history
                .parse()
                .map_err(|_not_an_id| corrupt("the prepared file has no history"))?,
            generation: Generation(generation as u64),
            floor: Generation(floor as u64),
            root: Sum {
                count: items as u64,
                high: high as u64,
                low: low as u64,
            },
        },
        key: FpKey::new(key),
        bits: bits.ok_or_else(|| corrupt("the prepared file says what cannot be"))?,
    })
}

/// The sums of a prepared file: by the primary's generations, and by those that its rows get here.
struct Sums {
    up: Deltas,
    here: Deltas,
    tombstones: u64,
}

/// Reads every key of a file. `here`: how the sums of this service are made, and its last generation before.
fn read_sums(file: &Path, about: &About, here: (&FpKey, LeafBits, u64)) -> Result<Sums> {
    let failed = while_doing(READING);
    let connection = open_hostile(file)?;
    let (key_here, bits, before) = here;
    let mut sums = Sums {
        up: Deltas::new(about.bits),
        here: Deltas::new(bits),
        tombstones: 0,
    };
    let mut statement = connection
        .prepare("SELECT rowid, key, generation, typeof(revision), typeof(body) FROM documents ORDER BY rowid")
        .map_err(&failed)?;
    let mut rows = statement.query([]).map_err(&failed)?;
    let mut count = 0_u64;
    while let Some(row) = rows.next().map_err(&failed)? {
        count += 1;
        let at = |column| row.get_ref(column).map_err(&failed);
        let (ValueRef::Integer(place), ValueRef::Text(key), ValueRef::Integer(generation)) =
            (at(0)?, at(1)?, at(2)?)
        else {
            return Err(corrupt("a row of the prepared file is of other types"));
        };
        let deleted = match (at(3)?, at(4)?) {
            (ValueRef::Text(b"integer"), ValueRef::Text(b"text")) => false,
            (ValueRef::Text(b"integer"), ValueRef::Text(b"null")) => true,
            _ => return Err(corrupt("a row of the prepared file is of other types")),
        };
        let is_numbered = place as u64 == count
            && generation > 0
            && generation as u64 <= about.proof.generation.0;
        if !is_numbered || count > about.proof.root.count {
            return Err(corrupt(
                "rows of the prepared file are not numbered as they should be",
            ));
        }
        let key = std::str::from_utf8(key).map_err(|_not_utf8| corrupt("a key is not UTF-8"))?;
        let mut item = Item {
            global_id: GlobalId::Text(key.into()),
            generation: Generation(generation as u64),
            deleted,
            content: 0,
        };
        column::key_text(true, &item.global_id)?;
        sums.up.add(item.generation.0, about.key.numbered(&item));
        item.generation = Generation(before + count);
        sums.here.add(item.generation.0, key_here.numbered(&item));
        sums.tombstones += u64::from(deleted);
    }
    if sums.up.total() != about.proof.root {
        return Err(corrupt("the prepared file does not hold what it says"));
    }
    Ok(sums)
}

impl SqliteWrite<'_> {
    fn take_prepared(&mut self, id: CollectionId, file: &Path, about: &About) -> Result<()> {
        if self.has_records(id)? {
            return Err(invalid("the copy", "it has documents already"));
        }
        self.empty_stage(id)?;
        self.rebuild(id, Side::Up, &about.key, about.bits)?;
        let summary = self.view().summary(id, Side::Here)?.filter(|s| !s.stale);
        let (key, bits) = match &summary {
            Some(summary) => (summary.key.clone(), summary.bits),
            // It is built when somebody asks for it; the sums of this file are not kept then.
            None => (fresh_key()?, LeafBits::NARROWEST),
        };
        let before = self.state.head.generation.0;
        self.next_generations(about.proof.root.count);
        // The keys are read on a connection of their own while this one writes.
        let sums = std::thread::scope(|scope| {
            let reading = scope.spawn(|| read_sums(file, about, (&key, bits, before)));
            let written = self.change(id, |tx, layer| tx.insert_all(layer, before, &ROWS));
            let read = reading
                .join()
                .map_err(|_it_panicked| corrupt("a prepared file was not read"));
            // What is wrong with the file is the reason of whatever else failed.
            let sums = read??;
            written.map(|()| sums)
        })?;
        if sums.tombstones > 0 {
            self.check_tombstones(id)?;
        }
        self.fold(id, Side::Up, &sums.up)?;
        if summary.is_some() {
            self.fold(id, Side::Here, &sums.here)?;
        }
        self.seal()?;
        if self.view().root(id, Side::Up)? != about.proof.root {
            return Err(corrupt("the copy is not what was prepared"));
        }
        self.note_proof(id, &about.proof)
    }

    /// No key is a document and a tombstone at once.
    fn check_tombstones(&self, id: CollectionId) -> Result<()> {
        let view = self.view();
        let layer = view.layer(id)?;
        let sql = format!(
            "SELECT 1 FROM haversack_track k JOIN {} t ON t.{} = k.global_id \
             WHERE k.collection = ?1 AND k.deleted = 1",
            layer.table, layer.key_column
        );
        let is_both = view
            .prepare(&sql, TAKING)?
            .exists([id.0])
            .map_err(while_doing(TAKING))?;
        if is_both {
            return Err(corrupt("a key of the prepared file is live and deleted"));
        }
        Ok(())
    }
}

//! Capture triggers: an edit made directly in a server's file by another program is tracked like any other.
//!
//! In plain SQL, inside the editor's transaction: generation, stamp and revision come from the counter row, the
//! replaced version goes to the history, a deletion leaves a tombstone, a row without a GlobalID gets one. Our own
//! writer runs with triggers off and keeps the books itself. Rule source: `spec/geopackage.md`, capture by triggers.
//!
//! `INSERT OR REPLACE` fires no delete trigger unless recursive triggers are on, so a BEFORE INSERT trigger keeps
//! the row that is about to be replaced under a negative key, and AFTER INSERT gives it its place.

use haversack_model::{Collection, Result};
use rusqlite::{Connection, OptionalExtension};

use crate::error::while_doing;
use crate::gpkg::{layer, quote_ident};

/// Milliseconds since 1970, in SQL that every SQLite knows.
const NOW: &str = "CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER)";
/// A random UUID, version 4, as stored.
const NEW_ID: &str = "'{' || hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || \
    substr(hex(randomblob(2)), 2) || '-' || substr('89AB', 1 + (abs(random()) % 4), 1) || \
    substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6)) || '}'";

/// A random key of a document, as stored.
const NEW_KEY: &str = "lower(hex(randomblob(16)))";
/// The columns of a new tracking row.
const TRACKED: &str = "collection, object_id, global_id, generation, content_generation, stamp, \
    revision, deleted, origin";

struct Names {
    id: u32,
    table: String,
    history: String,
    oid: String,
    gid: String,
    /// All columns but the object id, quoted.
    columns: Vec<String>,
    rtree: Option<String>,
    attachments: Option<String>,
    is_documents: bool,
}

impl Names {
    fn of(collection: &Collection) -> Self {
        let rtree = collection.geometry.as_ref();
        Self {
            id: collection.id.0,
            table: quote_ident(&collection.table),
            history: quote_ident(&layer::history_name(&collection.table)),
            oid: quote_ident(&collection.object_id_field),
            gid: quote_ident(&collection.global_id_field),
            columns: layer::column_names(collection)
                .into_iter()
                .map(quote_ident)
                .collect(),
            rtree: rtree.map(|g| quote_ident(&layer::rtree_name(&collection.table, &g.name))),
            attachments: collection
                .has_attachments
                .then(|| quote_ident(&collection.attachments().table)),
            is_documents: collection.is_documents(),
        }
    }

    fn new_id(&self) -> &'static str {
        if self.is_documents { NEW_KEY } else { NEW_ID }
    }

    fn list(&self, prefix: &str) -> String {
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|c| format!("{prefix}{c}"))
            .collect();
        columns.join(", ")
    }

    /// Takes a generation, with a revision after those of the tracking rows that `own` selects.
    fn bump(&self, own: &str, condition: &str) -> String {
        format!(
            "UPDATE haversack_counter SET generation = generation + 1, \
             stamp = max({NOW}, stamp + 1), revision = max({NOW} * 1048576, revision + 1, \
             1 + coalesce((SELECT max(k.revision) FROM haversack_track k \
             WHERE k.collection = {} AND {own}), 0)) WHERE id = 1 AND {condition};",
            self.id
        )
    }

    /// Copies a version to the history: `values` are those of the columns, `until` its key.
    fn keep(&self, until: &str, values: &str, from: &str) -> String {
        format!(
            "INSERT INTO {history} (haversack_until, haversack_from, haversack_stamp, \
             haversack_revision, haversack_origin, {oid}, {columns}) \
             SELECT {until}, k.content_generation, k.stamp, k.revision, k.origin, {values} {from};",
            history = self.history,
            oid = self.oid,
            columns = self.list(""),
        )
    }

    fn update(&self) -> String {
        let Self { id, oid, gid, .. } = self;
        let changed: Vec<String> = self
            .columns
            .iter()
            .filter(|column| *column != gid)
            .chain([oid])
            .map(|column| format!("OLD.{column} IS NOT NEW.{column}"))
            .collect();
        format!(
            "AFTER UPDATE ON {table} WHEN OLD.{gid} IS NOT NULL AND ({changed}) BEGIN {bump} {keep} \
             UPDATE haversack_track SET {take}, origin = NULL \
             WHERE collection = {id} AND object_id = OLD.{oid}; \
             UPDATE haversack_track SET object_id = -generation WHERE collection = {id} \
             AND object_id = NEW.{oid} AND NEW.{oid} <> OLD.{oid}; \
             UPDATE haversack_track SET object_id = NEW.{oid} WHERE collection = {id} \
             AND object_id = OLD.{oid} AND NEW.{oid} <> OLD.{oid}; END",
            table = self.table,
            changed = changed.join(" OR "),
            bump = self.bump(&format!("k.object_id = OLD.{oid}"), "1"),
            keep = self.keep(
                "c.generation",
                &format!("OLD.{oid}, {}", self.list("OLD.")),
                &format!(
                    "FROM haversack_track k, haversack_counter c \
                     WHERE k.collection = {id} AND k.object_id = OLD.{oid}"
                )
            ),
            take = TAKE,
        )
    }

    /// The identity of a record cannot be edited.
    fn identity(&self) -> String {
        let Self {
            id,
            table,
            oid,
            gid,
            ..
        } = self;
        format!(
            "AFTER UPDATE OF {gid} ON {table} WHEN OLD.{gid} IS NOT NEW.{gid} AND EXISTS \
             (SELECT 1 FROM haversack_track WHERE collection = {id} AND object_id = NEW.{oid} \
             AND global_id = OLD.{gid} AND deleted = 0) \
             BEGIN UPDATE {table} SET {gid} = OLD.{gid} WHERE {oid} = NEW.{oid}; END"
        )
    }

    fn delete(&self) -> String {
        let Self { id, oid, gid, .. } = self;
        let live = format!("collection = {id} AND object_id = OLD.{oid} AND deleted = 0");
        let orphans = self.attachments.as_ref().map_or(String::new(), |table| {
            format!("DELETE FROM {table} WHERE parent = OLD.{gid};")
        });
        format!(
            "AFTER DELETE ON {table} WHEN OLD.{gid} IS NOT NULL BEGIN \
             DELETE FROM {history} WHERE haversack_until = -OLD.{oid}; {bump} {keep} \
             UPDATE haversack_track SET {take}, origin = NULL, deleted = 1 WHERE {live}; {orphans} END",
            table = self.table,
            history = self.history,
            bump = self.bump(
                &format!("k.object_id = OLD.{oid}"),
                &format!("EXISTS (SELECT 1 FROM haversack_track WHERE {live})")
            ),
            keep = self.keep(
                "c.generation",
                &format!("OLD.{oid}, {}", self.list("OLD.")),
                &format!(
                    "FROM haversack_track k, haversack_counter c WHERE k.collection = {id} \
                     AND k.object_id = OLD.{oid} AND k.deleted = 0"
                )
            ),
            take = TAKE,
        )
    }

    fn before_insert(&self) -> String {
        let Self {
            id,
            table,
            history,
            oid,
            gid,
            ..
        } = self;
        format!(
            "BEFORE INSERT ON {table} WHEN EXISTS (SELECT 1 FROM {table} \
             WHERE {oid} = NEW.{oid} OR {gid} = NEW.{gid}) BEGIN \
             DELETE FROM {history} WHERE haversack_until < 0; {keep} END",
            keep = self.keep(
                &format!("-t.{oid}"),
                &format!("t.{oid}, {}", self.list("t.")),
                &format!(
                    "FROM {table} t JOIN haversack_track k ON k.collection = {id} \
                     AND k.object_id = t.{oid} WHERE t.{oid} = NEW.{oid} OR t.{gid} = NEW.{gid}"
                )
            )
        )
    }

    fn insert(&self) -> String {
        let Self {
            id,
            table,
            history,
            oid,
            gid,
            ..
        } = self;
        let bare = format!("trim(NEW.{gid}, '{{}} ')");
        let is_id = format!(
            "({bare} LIKE '________-____-____-____-____________' AND {bare} NOT GLOB '*[^0-9A-Fa-f-]*')"
        );
        let given = if self.is_documents {
            format!("CASE WHEN NEW.{gid} <> '' THEN CAST(NEW.{gid} AS TEXT) END")
        } else {
            format!("CASE WHEN {is_id} THEN '{{' || upper({bare}) || '}}' END")
        };
        let new_id = self.new_id();
        let here = format!("collection = {id} AND object_id = NEW.{oid}");
        let stranger = format!("{here} AND global_id <> ({given})");
        let final_id = format!("(SELECT {gid} FROM {table} WHERE {oid} = NEW.{oid})");
        let generation = "(SELECT generation FROM haversack_counter)";
        let moved = format!(
            "(SELECT {oid} FROM {history} WHERE haversack_until = {generation} AND {oid} <> NEW.{oid})"
        );
        let unindex = self.rtree.as_ref().map_or(String::new(), |rtree| {
            format!("DELETE FROM {rtree} WHERE id IN {moved};")
        });
        // A row that took the place of another record: that one is deleted. A tombstone makes room.
        let displace = format!(
            "{bump} \
             UPDATE {history} SET haversack_until = {generation} WHERE haversack_until = -NEW.{oid} \
             AND EXISTS (SELECT 1 FROM haversack_track WHERE {stranger} AND deleted = 0); \
             UPDATE haversack_track SET {TAKE}, origin = NULL, deleted = 1, \
             object_id = -{generation} WHERE {stranger} AND deleted = 0; \
             UPDATE haversack_track SET object_id = -generation WHERE {stranger};",
            bump = self.bump(
                &format!("k.object_id = NEW.{oid}"),
                &format!("EXISTS (SELECT 1 FROM haversack_track WHERE {stranger} AND deleted = 0)")
            ),
        );
        format!(
            "AFTER INSERT ON {table} BEGIN {displace} \
             UPDATE {table} SET {gid} = coalesce({given}, \
             (SELECT global_id FROM haversack_track WHERE {here}), {new_id}) WHERE {oid} = NEW.{oid}; \
             {bump} \
             UPDATE {history} SET haversack_until = {generation} \
             WHERE haversack_until < 0 AND {gid} = {final_id}; \
             DELETE FROM {history} WHERE haversack_until < 0; {unindex} \
             DELETE FROM haversack_track WHERE collection = {id} AND object_id IN {moved}; \
             DELETE FROM haversack_track WHERE collection = {id} AND global_id = {final_id} AND deleted = 1; \
             DELETE FROM haversack_track WHERE {here}; \
             INSERT INTO haversack_track ({TRACKED}) SELECT {id}, NEW.{oid}, {final_id}, c.generation, \
             c.generation, c.stamp, c.revision, 0, NULL FROM haversack_counter c; END",
            bump = self.bump(
                &format!(
                    "(k.object_id = NEW.{oid} OR (k.global_id = {final_id} AND k.deleted = 1))"
                ),
                "1"
            ),
        )
    }
}

/// Sets a tracking row to what the counter says.
const TAKE: &str = "generation = (SELECT generation FROM haversack_counter), \
    content_generation = (SELECT generation FROM haversack_counter), \
    stamp = (SELECT stamp FROM haversack_counter), revision = (SELECT revision FROM haversack_counter)";

/// Name and SQL of each trigger.
fn triggers(collection: &Collection) -> [(String, String); 5] {
    let names = Names::of(collection);
    [
        ("keep", names.before_insert()),
        ("insert", names.insert()),
        ("update", names.update()),
        ("identity", names.identity()),
        ("delete", names.delete()),
    ]
    .map(|(kind, body)| {
        let name = format!("haversack_{kind}_{}", collection.table);
        let sql = format!("CREATE TRIGGER {} {body}", quote_ident(&name));
        (name, sql)
    })
}

/// Makes sure that a collection has exactly the triggers that it should have. Returns whether it had them.
pub(super) fn ensure(connection: &Connection, collection: &Collection) -> Result<bool> {
    let failed = while_doing("creating capture triggers");
    let mut intact = true;
    for (name, sql) in triggers(collection) {
        let present: Option<String> = connection
            .query_row(
                "SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND name = ?1",
                [&name],
                |row| row.get(0),
            )
            .optional()
            .map_err(&failed)?;
        if present.as_deref() != Some(&sql) {
            intact = false;
            connection
                .execute_batch(&format!(
                    "DROP TRIGGER IF EXISTS {}; {sql}",
                    quote_ident(&name)
                ))
                .map_err(&failed)?;
        }
    }
    Ok(intact)
}

/// Brings tracking back in line with the rows, after a program removed the triggers and edited: rows without
/// tracking are new, tracking without a row is a deletion. What was updated meanwhile cannot be known.
pub(super) fn reconcile(connection: &Connection, collection: &Collection) -> Result<usize> {
    let names = Names::of(collection);
    let failed = while_doing("tracking rows that were edited without triggers");
    let Names {
        id,
        table,
        oid,
        gid,
        ..
    } = &names;
    let strangers: Vec<i64> = connection
        .prepare(&format!(
            "SELECT t.{oid} FROM {table} t LEFT JOIN haversack_track k ON k.collection = {id} \
             AND k.object_id = t.{oid} AND k.deleted = 0 AND k.global_id = t.{gid} \
             WHERE k.object_id IS NULL"
        ))
        .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect())
        .map_err(&failed)?;
    let lost: Vec<i64> = connection
        .prepare(&format!(
            "SELECT k.object_id FROM haversack_track k LEFT JOIN {table} t ON t.{oid} = k.object_id \
             WHERE k.collection = {id} AND k.deleted = 0 AND t.{oid} IS NULL"
        ))
        .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect())
        .map_err(&failed)?;
    for object_id in &lost {
        let own = format!("k.object_id = {object_id}");
        connection
            .execute_batch(&format!(
                "{} UPDATE haversack_track SET {TAKE}, origin = NULL, deleted = 1 \
                 WHERE collection = {id} AND object_id = {object_id}",
                names.bump(&own, "1")
            ))
            .map_err(&failed)?;
    }
    let new_id = names.new_id();
    for object_id in &strangers {
        let here = format!("collection = {id} AND object_id = {object_id}");
        let final_id = format!("(SELECT {gid} FROM {table} WHERE {oid} = {object_id})");
        connection
            .execute_batch(&format!(
                "UPDATE {table} SET {gid} = {new_id} WHERE {oid} = {object_id} AND {gid} IS NULL; {} \
                 DELETE FROM haversack_track WHERE collection = {id} AND global_id = {final_id} \
                 AND deleted = 1; \
                 UPDATE haversack_track SET object_id = -generation, deleted = 1 WHERE {here}; \
                 INSERT INTO haversack_track ({TRACKED}) SELECT {id}, {object_id}, {final_id}, c.generation, \
                 c.generation, c.stamp, c.revision, 0, NULL FROM haversack_counter c",
                names.bump(&format!("k.object_id = {object_id}"), "1")
            ))
            .map_err(&failed)?;
    }
    Ok(strangers.len() + lost.len())
}

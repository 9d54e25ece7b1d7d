//! The triggers that capture edits of any program, in plain SQL: no function of ours, nothing newer than SQLite 3.15.
//!
//! They keep the outbox in the same transaction as the edit. What each must do is the table "Capture by triggers" of the
//! GeoPackage notes; `tests/replica/capture.rs` has a test per row.
//!
//! Three rules hold throughout. A statement's own conflict clause (`INSERT OR REPLACE`) overrides those inside
//! triggers, so nothing here relies on one: every insert is guarded by `NOT EXISTS`. A row in `haversack_writer` switches
//! capture off; it is only ever set inside a transaction that removes it again, so no other program can see it and
//! a crash takes it back. And a trigger that fires for an insert which is then ignored must leave nothing behind but an
//! edit that equals its base, which is dropped when a batch is frozen.

use super::layer::{Layer, quoted_list};
use crate::gpkg::{quote_ident, quote_text};

/// A trigger as it must stand in the file.
#[derive(Clone, Debug)]
pub(crate) struct Trigger {
    pub(crate) name: String,
    pub(crate) sql: String,
}

const CAPTURING: &str = "NOT EXISTS (SELECT 1 FROM haversack_writer)";
const BUMP: &str = "UPDATE haversack_counter SET edit_no = edit_no + 1";

/// Why a record gets a line.
#[derive(Clone, Copy, Debug)]
enum Line {
    /// Its row was changed: an update, or an addition if the server never confirmed it.
    Changed,
    /// Its row was deleted. A deletion of what the server never confirmed is nothing to tell.
    Deleted,
    /// Its row is new: nothing was kept aside.
    New,
}

/// Parts that the triggers of one layer share.
struct Parts<'a> {
    layer: &'a Layer,
    /// Collection number as text.
    id: String,
    table: String,
    fid: String,
    gid: String,
    kept: String,
    versions: String,
}

/// How many triggers a layer has.
pub(crate) const COUNT: usize = 6;

/// Name of the trigger that captures changes.
pub(crate) fn update_name(layer: &Layer) -> String {
    format!("haversack_update_{}", super::layer::suffix(layer.id()))
}

/// The columns that the text of the trigger for changes keeps aside, in the order of [`Layer::columns`]; after a column was
/// renamed, its new name.
pub(crate) fn kept_columns(sql: &str) -> Vec<String> {
    let mut columns = Vec::new();
    let Some((_, mut rest)) = sql.split_once("SELECT c.edit_no, ") else {
        return columns;
    };
    while let Some(quoted) = rest.strip_prefix("OLD.\"") {
        let mut name = String::new();
        let mut characters = quoted.char_indices();
        let mut end = quoted.len();
        while let Some((at, c)) = characters.next() {
            if c != '"' {
                name.push(c);
            } else if quoted[at + 1..].starts_with('"') {
                name.push(c);
                characters.next();
            } else {
                end = at + 1;
                break;
            }
        }
        columns.push(name);
        rest = quoted[end..].strip_prefix(", ").unwrap_or_default();
    }
    columns
}

/// The capture triggers of a layer.
pub(crate) fn capture(layer: &Layer) -> [Trigger; COUNT] {
    let parts = Parts {
        layer,
        id: layer.id().0.to_string(),
        table: layer.quoted_table(),
        fid: layer.fid(),
        gid: layer.gid(),
        kept: layer.kept_table(),
        versions: layer.version_table(),
    };
    let suffix = super::layer::suffix(layer.id());
    [
        ("before_insert", parts.before_insert()),
        ("insert", parts.insert()),
        ("update", parts.update()),
        ("delete", parts.delete()),
        ("identity", parts.identity()),
        ("key", parts.key()),
    ]
    .map(|(event, body)| {
        let name = format!("haversack_{event}_{suffix}");
        Trigger {
            sql: format!("CREATE TRIGGER {} {body}", quote_ident(&name)),
            name,
        }
    })
}

/// A fresh uid as an SQL expression: a letter and ten letters or digits.
pub(crate) fn fresh_uid() -> String {
    const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let draw = |of: &str| format!("substr('{of}', 1 + abs(random() % {}), 1)", of.len());
    let any = draw(&format!("{LETTERS}0123456789"));
    format!("{} || {}", draw(LETTERS), [any.as_str(); 10].join(" || "))
}

impl Parts<'_> {
    /// Condition on an outbox line of this layer.
    fn line_of(&self, global_id: &str) -> String {
        format!("collection = {} AND global_id = {global_id}", self.id)
    }
    fn no_line(&self, global_id: &str) -> String {
        format!(
            "NOT EXISTS (SELECT 1 FROM haversack_outbox WHERE {})",
            self.line_of(global_id)
        )
    }

    /// Keeps the confirmed version aside, once. `from`: `OLD.` or `t.`; `source`: tables after the counter.
    fn keep_base(&self, from: &str, source: &str) -> String {
        let columns = self.layer.columns();
        let gid = format!("{from}{}", self.gid);
        format!(
            "INSERT INTO {kept} (haversack_no, {names}) SELECT c.edit_no, {values} FROM haversack_counter c{source} \
             WHERE {no_line} AND EXISTS (SELECT 1 FROM {versions} WHERE global_id = {gid})",
            kept = self.kept,
            names = quoted_list(&columns, ""),
            values = quoted_list(&columns, from),
            no_line = self.no_line(&gid),
            versions = self.versions,
        )
    }

    /// Adds the line of a record that has none; with a confirmed version the kept row of the same number is its base.
    fn add_line(&self, from: &str, source: &str, line: Line) -> String {
        let gid = format!("{from}{}", self.gid);
        let (join, and) = match line {
            Line::Changed => ("LEFT JOIN", ""),
            Line::Deleted => ("JOIN", ""),
            Line::New => ("LEFT JOIN", " AND 0"),
        };
        format!(
            "INSERT INTO haversack_outbox (collection, global_id, edit_no, state, deleted, fid, base_row, base_revision, base_generation) \
             SELECT {id}, {gid}, c.edit_no, CASE WHEN v.global_id IS NULL THEN 'TO_POST' ELSE 'TO_UPDATE' END, {deleted}, {from}{fid}, \
             CASE WHEN v.global_id IS NULL THEN NULL ELSE c.edit_no END, v.revision, v.generation \
             FROM haversack_counter c{source} {join} {versions} v ON v.global_id = {gid}{and} WHERE {no_line}",
            id = self.id,
            fid = self.fid,
            versions = self.versions,
            no_line = self.no_line(&gid),
            deleted = u8::from(matches!(line, Line::Deleted)),
        )
    }

    /// Marks the line of a record that has one as edited again. A batch under way keeps its state and reason.
    fn touch_line(&self, global_id: &str, deleted: bool, more: &str) -> String {
        format!(
            "UPDATE haversack_outbox SET edit_no = (SELECT edit_no FROM haversack_counter), deleted = {deleted}{more}, \
             state = CASE WHEN batch IS NOT NULL THEN state WHEN base_row IS NULL THEN 'TO_POST' ELSE 'TO_UPDATE' END, \
             reason = CASE WHEN batch IS NOT NULL THEN reason END WHERE {line}",
            deleted = u8::from(deleted),
            line = self.line_of(global_id),
        )
    }

    /// Any change of content, by any program. Rewriting the same values is no edit.
    fn update(&self) -> String {
        let mut content = self.layer.content_columns();
        if self.layer.is_attachments() {
            content.push(super::attachments::CONTENT.to_owned());
        }
        let (old, new) = (quoted_list(&content, "OLD."), quoted_list(&content, "NEW."));
        let changed = match content.len() {
            0 => "0".to_owned(),
            1 => format!("{old} IS NOT {new}"),
            _ => format!("({old}) IS NOT ({new})"),
        };
        let gid = format!("OLD.{}", self.gid);
        format!(
            "AFTER UPDATE ON {table} WHEN {CAPTURING} AND {changed} BEGIN {BUMP}; {keep}; {touch}; {add}; END",
            table = self.table,
            keep = self.keep_base("OLD.", ""),
            touch = self.touch_line(&gid, false, ""),
            add = self.add_line("OLD.", "", Line::Changed),
        )
    }

    /// A deletion keeps the old row; an addition that was never sent just vanishes.
    fn delete(&self) -> String {
        let gid = format!("OLD.{}", self.gid);
        format!(
            "AFTER DELETE ON {table} WHEN {CAPTURING} BEGIN {BUMP}; {keep}; {touch}; {add}; \
             DELETE FROM haversack_outbox WHERE {line} AND base_row IS NULL AND frozen_no IS NULL AND theirs = 'UNCHANGED'; END",
            table = self.table,
            keep = self.keep_base("OLD.", ""),
            touch = self.touch_line(&gid, true, &format!(", fid = OLD.{}", self.fid)),
            add = self.add_line("OLD.", "", Line::Deleted),
            line = self.line_of(&gid),
        )
    }

    /// Remembers whose row an insert with an explicit key replaces: `INSERT OR REPLACE` fires no delete trigger unless
    /// recursive triggers are on, and brings no global id. The replaced row's base is kept here, while it still exists.
    fn before_insert(&self) -> String {
        let (id, table, fid, gid) = (&self.id, &self.table, &self.fid, &self.gid);
        let source = format!(" JOIN {table} t ON t.{fid} = NEW.{fid}");
        format!(
            "BEFORE INSERT ON {table} WHEN {CAPTURING} BEGIN DELETE FROM haversack_replaced; \
             INSERT INTO haversack_replaced (collection, fid, global_id) SELECT {id}, {fid}, {gid} FROM {table} WHERE {fid} = NEW.{fid}; \
             INSERT INTO haversack_replaced (collection, fid, global_id) SELECT {id}, fid, global_id FROM haversack_outbox \
             WHERE collection = {id} AND fid = NEW.{fid} AND deleted = 1 AND NOT EXISTS (SELECT 1 FROM haversack_replaced); \
             UPDATE haversack_counter SET edit_no = edit_no + 1 WHERE EXISTS (SELECT 1 FROM haversack_replaced); \
             {keep}; {add}; END",
            keep = self.keep_base("t.", &source),
            add = self.add_line("t.", &source, Line::Changed),
        )
    }

    /// Gives the new row its identity: that of the row it replaces, else its own if it is a UUID that no other row has,
    /// else a fresh one. In a layer of uids the same holds for those. A record that was deleted and comes back is an update.
    fn insert(&self) -> String {
        let (id, table, fid, gid) = (&self.id, &self.table, &self.fid, &self.gid);
        let bare = format!(
            "upper(replace(replace(replace(trim(NEW.{gid}), '{{', ''), '}}', ''), '-', ''))"
        );
        let braced = "'{' || substr(g.u, 1, 8) || '-' || substr(g.u, 9, 4) || '-' || substr(g.u, 13, 4) || '-' \
                      || substr(g.u, 17, 4) || '-' || substr(g.u, 21, 12) || '}'";
        let fresh = "'{' || hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2) || '-' \
                     || substr('89AB', 1 + (random() & 3), 1) || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6)) || '}'";
        let (own, fresh) = if self.layer.collection.has_uids() {
            let own = format!(
                "SELECT NEW.{gid} WHERE length(NEW.{gid}) = 11 AND NEW.{gid} GLOB '[A-Za-z]*' AND NEW.{gid} NOT GLOB '*[^0-9A-Za-z]*' \
                 AND NOT EXISTS (SELECT 1 FROM {table} o WHERE o.{gid} = NEW.{gid} AND o.{fid} <> NEW.{fid})"
            );
            (own, fresh_uid())
        } else {
            let own = format!(
                "SELECT {braced} FROM (SELECT {bare} AS u) g WHERE length(g.u) = 32 AND g.u NOT GLOB '*[^0-9A-F]*' \
             AND NOT EXISTS (SELECT 1 FROM {table} o WHERE o.{gid} = {braced} AND o.{fid} <> NEW.{fid})"
            );
            (own, fresh.to_owned())
        };
        let source = format!(" JOIN {table} t ON t.{fid} = NEW.{fid}");
        let new_id = format!("(SELECT {gid} FROM {table} WHERE {fid} = NEW.{fid})");
        format!(
            "AFTER INSERT ON {table} WHEN {CAPTURING} BEGIN {BUMP}; INSERT INTO haversack_writer (note) VALUES ('identity'); \
             UPDATE {table} SET {gid} = coalesce((SELECT global_id FROM haversack_replaced WHERE collection = {id} AND fid = NEW.{fid}), \
             ({own}), {fresh}) WHERE {fid} = NEW.{fid}; \
             DELETE FROM haversack_writer; DELETE FROM haversack_replaced; {touch}; {add}; END",
            touch = self.touch_line(&new_id, false, &format!(", fid = NEW.{fid}")),
            add = self.add_line("t.", &source, Line::New),
        )
    }

    /// The identity of a record is not edited: it is set back.
    fn identity(&self) -> String {
        let (table, fid, gid) = (&self.table, &self.fid, &self.gid);
        format!(
            "AFTER UPDATE OF {gid} ON {table} WHEN {CAPTURING} AND OLD.{gid} IS NOT NEW.{gid} BEGIN \
             INSERT INTO haversack_writer (note) VALUES ('identity'); \
             UPDATE {table} SET {gid} = OLD.{gid} WHERE {fid} = NEW.{fid}; DELETE FROM haversack_writer; END"
        )
    }

    /// `UPDATE OR REPLACE` of the key could remove another record without any trigger firing for it.
    fn key(&self) -> String {
        let (table, fid) = (&self.table, &self.fid);
        let words = quote_text("this key belongs to another record");
        format!(
            "BEFORE UPDATE OF {fid} ON {table} WHEN {CAPTURING} AND OLD.{fid} IS NOT NEW.{fid} \
             AND EXISTS (SELECT 1 FROM {table} WHERE {fid} = NEW.{fid}) BEGIN SELECT RAISE(ABORT, {words}); END"
        )
    }
}

//! One collection as it stands in a replica file: names, columns and the statements that read and write its rows.

use std::collections::HashSet;

use haversack_model::{Collection, CollectionId, CollectionKind};

use crate::gpkg::quote_ident;

/// A collection and its tables.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) collection: Collection,
    /// Table that people edit.
    pub(crate) table: String,
    pub(crate) sql: Statements,
}

/// SQL built once per layer. Placeholders follow [`Layer::columns`].
#[derive(Clone, Debug)]
pub(crate) struct Statements {
    pub(crate) select_row: String,
    /// By object id and global id.
    pub(crate) select_known: String,
    pub(crate) select_all: String,
    pub(crate) insert_row: String,
    pub(crate) update_row: String,
    /// As `update_row` for a row whose geometry stays: it leaves the spatial index alone.
    pub(crate) update_in_place: Option<String>,
    pub(crate) select_old_fid: String,
    pub(crate) delete_row: String,
    pub(crate) select_kept: String,
    pub(crate) insert_kept: String,
    pub(crate) delete_kept: String,
    pub(crate) select_version: String,
    pub(crate) upsert_version: String,
    pub(crate) delete_version: String,
}

impl Layer {
    pub(crate) fn new(collection: Collection, table: String) -> Self {
        let columns = columns(&collection);
        let list = quoted_list(&columns, "");
        let placeholders = |from: usize| {
            (from..from + columns.len())
                .map(|at| format!("?{at}"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let (quoted, id) = (quote_ident(&table), suffix(collection.id));
        let fid = quote_ident(&collection.object_id_field);
        let gid = quote_ident(&collection.global_id_field);
        // The key is never changed by an update; the id column is what the row is found by.
        let assignments = columns
            .iter()
            .enumerate()
            .skip(2)
            .map(|(at, column)| format!("{} = ?{}", quote_ident(column), at + 1))
            .collect::<Vec<_>>();
        let update_in_place = match &collection.geometry {
            Some(geometry) if assignments.len() > 1 => Some(format!(
                "UPDATE {quoted} SET {} WHERE {gid} = ?2 AND ?1 IS NULL AND {} IS ?3",
                assignments[1..].join(", "),
                quote_ident(&geometry.name)
            )),
            _ => None,
        };
        let update_row = if assignments.is_empty() {
            format!("UPDATE {quoted} SET {gid} = ?2 WHERE {gid} = ?2 AND ?1 IS NULL")
        } else {
            format!(
                "UPDATE {quoted} SET {} WHERE {gid} = ?2 AND ?1 IS NULL",
                assignments.join(", ")
            )
        };
        let sql = Statements {
            select_row: format!(
                "SELECT {list} FROM {quoted} WHERE {gid} = ?1 ORDER BY {fid} LIMIT 1"
            ),
            select_known: format!("SELECT {list} FROM {quoted} WHERE {fid} = ?1 AND {gid} = ?2"),
            select_all: format!("SELECT {list} FROM {quoted}"),
            insert_row: format!("INSERT INTO {quoted} ({list}) VALUES ({})", placeholders(1)),
            update_row,
            update_in_place,
            select_old_fid: format!(
                "SELECT fid FROM haversack_outbox o WHERE collection = {} AND global_id = ?1 AND deleted = 1 \
                 AND NOT EXISTS (SELECT 1 FROM {quoted} t WHERE t.{fid} = o.fid)",
                collection.id
            ),
            delete_row: format!("DELETE FROM {quoted} WHERE {gid} = ?1"),
            select_kept: format!("SELECT {list} FROM haversack_kept_{id} WHERE haversack_no = ?1"),
            insert_kept: format!(
                "INSERT INTO haversack_kept_{id} (haversack_no, {list}) VALUES (?1, {})",
                placeholders(2)
            ),
            delete_kept: format!("DELETE FROM haversack_kept_{id} WHERE haversack_no = ?1"),
            select_version: format!(
                "SELECT revision, generation FROM haversack_version_{id} WHERE global_id = ?1"
            ),
            upsert_version: format!(
                "INSERT INTO haversack_version_{id} (global_id, revision, generation) VALUES (?1, ?2, ?3) \
                 ON CONFLICT (global_id) DO UPDATE SET revision = excluded.revision, generation = excluded.generation"
            ),
            delete_version: format!("DELETE FROM haversack_version_{id} WHERE global_id = ?1"),
        };
        Self {
            collection,
            table,
            sql,
        }
    }

    pub(crate) fn id(&self) -> CollectionId {
        self.collection.id
    }
    /// Columns of a record, in the order of all statements: object id, global id, geometry if any, fields.
    pub(crate) fn columns(&self) -> Vec<String> {
        columns(&self.collection)
    }
    /// The columns whose change is an edit: all but the two ids.
    pub(crate) fn content_columns(&self) -> Vec<String> {
        self.columns().split_off(2)
    }
    pub(crate) fn quoted_table(&self) -> String {
        quote_ident(&self.table)
    }
    pub(crate) fn fid(&self) -> String {
        quote_ident(&self.collection.object_id_field)
    }
    pub(crate) fn gid(&self) -> String {
        quote_ident(&self.collection.global_id_field)
    }
    pub(crate) fn kept_table(&self) -> String {
        format!("haversack_kept_{}", suffix(self.id()))
    }
    pub(crate) fn version_table(&self) -> String {
        format!("haversack_version_{}", suffix(self.id()))
    }
    /// Whether it is an attachment table, which has a column for content that people may fill.
    pub(crate) fn is_attachments(&self) -> bool {
        matches!(self.collection.kind, CollectionKind::Attachments { .. })
    }
}

/// What tells the side tables of collections apart: the layer's number, and a word for attachments.
pub(crate) fn suffix(id: CollectionId) -> String {
    match id.attachments_of() {
        Some(of) => format!("{of}_attachments"),
        None => id.to_string(),
    }
}

fn columns(collection: &Collection) -> Vec<String> {
    let mut columns = vec![
        collection.object_id_field.clone(),
        collection.global_id_field.clone(),
    ];
    columns.extend(collection.geometry.as_ref().map(|g| g.name.clone()));
    columns.extend(collection.fields.iter().map(|f| f.name.clone()));
    columns
}

/// Comma-separated quoted identifiers, each with a prefix such as `OLD.`.
pub(crate) fn quoted_list(columns: &[String], prefix: &str) -> String {
    columns
        .iter()
        .map(|column| format!("{prefix}{}", quote_ident(column)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Table names for the collections of a file, in their order: the layer's name with everything but letters and digits
/// of any script replaced by `_`, made unique without regard to case.
pub(crate) fn table_names(collections: &[Collection]) -> Vec<String> {
    let mut taken = HashSet::new();
    let mut names: Vec<String> = Vec::with_capacity(collections.len());
    for collection in collections {
        let parent = collection.id.attachments_of().and_then(|of| {
            let at = collections.iter().position(|c| c.id == of)?;
            names.get(at).cloned()
        });
        let wished = parent.map_or_else(
            || sanitised(&collection.name),
            |parent| format!("{parent}_attachments"),
        );
        let mut name = wished.clone();
        let mut count = 2;
        while !taken.insert(name.to_lowercase()) {
            name = format!("{wished}_{count}");
            count += 1;
        }
        names.push(name);
    }
    names
}

fn sanitised(name: &str) -> String {
    let mut clean = String::new();
    for c in name.trim().chars().take(100) {
        if c.is_alphanumeric() {
            clean.push(c);
        } else if !clean.ends_with('_') {
            clean.push('_');
        }
    }
    let clean = clean.trim_matches('_');
    let lower = clean.to_lowercase();
    let reserved = ["gpkg", "rtree", "sqlite", "haversack"]
        .iter()
        .any(|word| lower.starts_with(word));
    match (clean.is_empty(), reserved) {
        (true, _) => "layer".to_owned(),
        (_, true) => format!("layer_{clean}"),
        _ => clean.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_script_and_never_look_like_system_tables() {
        assert_eq!(sanitised("Häfen & ports (10 m)"), "Häfen_ports_10_m");
        assert_eq!(sanitised("港口"), "港口");
        assert_eq!(sanitised("gpkg_contents"), "layer_gpkg_contents");
        assert_eq!(sanitised("\"; DROP TABLE x"), "DROP_TABLE_x");
        assert_eq!(sanitised("***"), "layer");
    }
}

//! Unique indexes of document collections, as SQLite indexes on expressions.
//!
//! In plain SQL, so that files stay writable by any tool. Each attribute is compared by its JSON type and its value: 1, "1"
//! and true differ, 1 and 1.0 do not, an absent attribute is null. Indexes that are not unique are not built: nothing here
//! reads them.

use haversack_model::documents::Index;
use haversack_model::{Collection, Error, Result};
use rusqlite::{Connection, OptionalExtension, params};

use super::schema::Layer;
use super::view::View;
use super::write::SqliteWrite;
use crate::error::{invalid, while_doing};
use crate::gpkg::quote_ident;

/// Type and value of each attribute of a document in SQL, and whether all are there.
struct Terms {
    terms: Vec<String>,
    present: String,
}

fn terms(index: &Index, document: &str) -> Result<Terms> {
    let mut all = Terms {
        terms: Vec::new(),
        present: "1".to_owned(),
    };
    for field in &index.fields {
        let is_plain = !field.is_empty() && !field.contains(['"', '\'', '\\', '[', ']', '\0', '`']);
        if !is_plain {
            return Err(invalid(
                format!("index {:?}", index.name),
                format!("the attribute {field:?} cannot be in a unique index"),
            ));
        }
        let parts: Vec<String> = field.split('.').map(|part| format!("\"{part}\"")).collect();
        let path = format!("'$.{}'", parts.join("."));
        let (kind, value) = (
            format!("json_type({document}, {path})"),
            format!("json_extract({document}, {path})"),
        );
        all.terms.push(format!(
            "CASE {kind} WHEN 'real' THEN 'integer' ELSE coalesce({kind}, 'null') END"
        ));
        all.terms.push(format!("coalesce({value}, '')"));
        all.present = format!("{} AND {value} IS NOT NULL", all.present);
    }
    Ok(all)
}

/// The unique indexes that are built: whatever holds the key is unique by itself.
fn built(collection: &Collection) -> impl Iterator<Item = &Index> {
    let by_key = |index: &Index| index.fields.iter().any(|f| f == "_key" || f == "_id");
    collection
        .indexes
        .iter()
        .filter(move |index| index.unique && !index.fields.is_empty() && !by_key(index))
}

fn name_of(collection: &Collection, index: &Index) -> String {
    quote_ident(&format!("{}_unique_{}", collection.table, index.id))
}

fn create(connection: &Connection, collection: &Collection, index: &Index) -> Result<()> {
    let table = quote_ident(&collection.table);
    let Terms { terms, present } = terms(index, &quote_ident("document"))?;
    let condition = if index.sparse {
        format!(" WHERE {present}")
    } else {
        String::new()
    };
    let created = connection.execute_batch(&format!(
        "CREATE UNIQUE INDEX {} ON {table} ({}){condition}",
        name_of(collection, index),
        terms.join(", ")
    ));
    let Err(error) = created else { return Ok(()) };
    if error.sqlite_error_code() != Some(rusqlite::ErrorCode::ConstraintViolation) {
        return Err(while_doing("creating a unique index")(error));
    }
    let key = quote_ident(&collection.global_id_field);
    let (first, second) = connection
        .query_row(
            &format!(
                "SELECT min({key}), max({key}) FROM {table}{condition} GROUP BY {} \
                 HAVING count(*) > 1 LIMIT 1",
                terms.join(", ")
            ),
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .map_err(while_doing("looking for what breaks a unique index"))?;
    Err(Error::Unique {
        index: index.name.clone(),
        index_id: index.id.clone(),
        key: second,
        conflicting: first,
    })
}

/// Brings the indexes of a collection from those of `old` to its own.
pub(super) fn alter(connection: &Connection, old: &Collection, new: &Collection) -> Result<()> {
    let differs = |index: &Index, other: &Collection| {
        !built(other).any(|same| {
            same.id == index.id && same.fields == index.fields && same.sparse == index.sparse
        })
    };
    for index in built(old).filter(|index| differs(index, new)) {
        connection
            .execute_batch(&format!("DROP INDEX IF EXISTS {}", name_of(old, index)))
            .map_err(while_doing("dropping a unique index"))?;
    }
    for index in built(new).filter(|index| differs(index, old)) {
        create(connection, new, index)?;
    }
    Ok(())
}

impl View<'_> {
    /// Which unique index refuses a document, if one does.
    pub(super) fn unique_conflict(
        &self,
        layer: &Layer,
        key: &str,
        body: &str,
    ) -> Result<Option<Error>> {
        let doing = "looking for the document that has the values of a unique index";
        for index in built(&layer.collection) {
            let there = terms(index, &format!("t.{}", quote_ident("document")))?;
            let here = terms(index, "?1")?;
            let mut conditions: Vec<String> = there
                .terms
                .iter()
                .zip(&here.terms)
                .map(|(there, here)| format!("{there} = {here}"))
                .collect();
            if index.sparse {
                conditions.extend([there.present, here.present]);
            }
            let found: Option<String> = self
                .prepare(
                    &format!(
                        "SELECT t.{key} FROM {} t WHERE {} AND t.{key} <> ?2 LIMIT 1",
                        layer.table,
                        conditions.join(" AND "),
                        key = layer.key_column
                    ),
                    doing,
                )?
                .query_row(params![body, key], |row| row.get(0))
                .optional()
                .map_err(while_doing(doing))?;
            if let Some(conflicting) = found {
                return Ok(Some(Error::Unique {
                    index: index.name.clone(),
                    index_id: index.id.clone(),
                    key: key.to_owned(),
                    conflicting,
                }));
            }
        }
        Ok(None)
    }
}

impl SqliteWrite<'_> {
    /// Takes the unique indexes away for the rest of a merge.
    pub(super) fn drop_indexes(&self, layer: &Layer) -> Result<()> {
        let bare = Collection {
            indexes: Vec::new(),
            ..layer.collection.clone()
        };
        alter(&self.linked.connection, &layer.collection, &bare)
    }
    /// Builds them again.
    pub(super) fn create_indexes(&self, layer: &Layer) -> Result<()> {
        let bare = Collection {
            indexes: Vec::new(),
            ..layer.collection.clone()
        };
        alter(&self.linked.connection, &bare, &layer.collection)
    }
}

//! Notices when a file no longer captures edits: a table was overwritten or dropped, a trigger dropped or altered.

use std::collections::HashMap;
use std::fmt;

use haversack_model::{Error, Result};
use rusqlite::{Connection, OptionalExtension};

use super::fault::Doing;
use super::layer::Layer;
use super::tables;
use crate::gpkg::core;

/// Something in a replica file that is not as it must be for edits to be captured.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    /// A table is gone.
    MissingTable {
        /// Name of the layer.
        layer: String,
        /// Name of the table.
        table: String,
    },
    /// A layer's table was renamed. Its edits are still captured.
    Renamed {
        /// Name of the layer.
        layer: String,
        /// What the table was called.
        from: String,
        /// What it is called now.
        to: String,
    },
    /// A column that the schema names is gone.
    MissingColumn {
        /// Name of the table.
        table: String,
        /// Name of the column.
        column: String,
    },
    /// A column that the schema names was renamed. Its edits are still captured.
    RenamedColumn {
        /// Name of the table.
        table: String,
        /// What the schema calls it.
        column: String,
        /// What it is called now.
        to: String,
    },
    /// A capture trigger is gone, as after the table was overwritten.
    MissingTrigger {
        /// Name of the layer.
        layer: String,
        /// Name of the trigger.
        trigger: String,
    },
    /// A capture trigger is not what it was.
    AlteredTrigger {
        /// Name of the layer.
        layer: String,
        /// Name of the trigger.
        trigger: String,
    },
    /// Somebody switched capture off by hand.
    CaptureOff,
}

impl Problem {
    /// Whether edits may have been missed, which only the server's rows can tell.
    pub fn needs_server(&self) -> bool {
        !matches!(self, Self::Renamed { .. } | Self::RenamedColumn { .. })
    }
    /// Whether it is about a layer.
    pub(crate) fn concerns(&self, of: &Layer) -> bool {
        match self {
            Self::MissingTable { layer, .. }
            | Self::MissingTrigger { layer, .. }
            | Self::AlteredTrigger { layer, .. }
            | Self::Renamed { layer, .. } => *layer == of.collection.name,
            Self::MissingColumn { table, .. } | Self::RenamedColumn { table, .. } => {
                *table == of.table
            }
            Self::CaptureOff => false,
        }
    }
    /// Whether it leaves nothing of a layer to read.
    pub(crate) fn hides(&self, of: &Layer) -> bool {
        match self {
            Self::MissingTable { layer, .. } | Self::Renamed { layer, .. } => {
                *layer == of.collection.name
            }
            Self::MissingColumn { table, .. } | Self::RenamedColumn { table, .. } => {
                *table == of.table
            }
            Self::MissingTrigger { .. } | Self::AlteredTrigger { .. } | Self::CaptureOff => false,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingTable { layer, table } => {
                write!(f, "the table {table:?} of layer {layer:?} is gone")
            }
            Self::Renamed { layer, from, to } => write!(
                f,
                "the table of layer {layer:?} was renamed from {from:?} to {to:?}"
            ),
            Self::MissingColumn { table, column } => {
                write!(f, "the column {column:?} of table {table:?} is gone")
            }
            Self::RenamedColumn { table, column, to } => write!(
                f,
                "the column {column:?} of table {table:?} was renamed to {to:?}, which the server does not know"
            ),
            Self::MissingTrigger { layer, trigger } => write!(
                f,
                "layer {layer:?} was overwritten or its trigger {trigger:?} dropped, so edits of it may not have been noticed"
            ),
            Self::AlteredTrigger { layer, trigger } => {
                write!(f, "the trigger {trigger:?} of layer {layer:?} was altered")
            }
            Self::CaptureOff => f.write_str("capture of edits was switched off by hand"),
        }
    }
}

/// What is wrong with the file, in a fixed order; empty if nothing is.
pub(crate) fn problems(conn: &Connection, layers: &[Layer]) -> Result<Vec<Problem>> {
    let doing = "checking the replica file";
    let mut objects: HashMap<(String, String), String> = conn
        .prepare_cached("SELECT type, name, coalesce(sql, '') FROM sqlite_master WHERE type IN ('table', 'trigger')")
        .and_then(|mut statement| {
            statement
                .query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?
                .collect()
        })
        .doing(doing)?;
    let mut found = Vec::new();
    for layer in layers {
        let name = || layer.collection.name.clone();
        if let Some(to) = renamed_to(conn, layer)? {
            found.push(Problem::Renamed {
                layer: name(),
                from: layer.table.clone(),
                to,
            });
            continue;
        }
        let renamed = renamed_columns(conn, layer)?;
        if !renamed.is_empty() {
            let table = &layer.table;
            found.extend(
                renamed
                    .into_iter()
                    .map(|(column, to)| Problem::RenamedColumn {
                        table: table.clone(),
                        column,
                        to,
                    }),
            );
            continue;
        }
        for object in tables::expected(layer) {
            let present = objects.remove(&(object.kind.to_owned(), object.name.clone()));
            match (object.kind, present) {
                ("table", None) => found.push(Problem::MissingTable {
                    layer: name(),
                    table: object.name,
                }),
                ("table", Some(_)) => {}
                (_, None) => found.push(Problem::MissingTrigger {
                    layer: name(),
                    trigger: object.name,
                }),
                (_, Some(sql)) if sql != object.sql => found.push(Problem::AlteredTrigger {
                    layer: name(),
                    trigger: object.name,
                }),
                (_, Some(_)) => {}
            }
        }
        found.extend(missing_columns(conn, layer)?);
    }
    let off: bool = conn
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM haversack_writer)")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .doing(doing)?;
    if off {
        found.push(Problem::CaptureOff);
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// The present name of a layer's table, if it was renamed: SQLite takes a table's triggers along.
pub(crate) fn renamed_to(conn: &Connection, layer: &Layer) -> Result<Option<String>> {
    let doing = "looking for a renamed table";
    if core::has_table(conn, &layer.table).doing(doing)? {
        return Ok(None);
    }
    for trigger in crate::replica::triggers::capture(layer) {
        let table: Option<String> = conn
            .query_row(
                "SELECT tbl_name FROM sqlite_master WHERE type = 'trigger' AND name = ?1",
                [trigger.name],
                |row| row.get(0),
            )
            .optional()
            .doing(doing)?;
        if table.is_some() {
            return Ok(table);
        }
    }
    Ok(None)
}

/// Columns of the schema that were renamed, with their present names: SQLite wrote those into the triggers, too. The
/// geometry is not looked for, since more than its table names it.
pub(crate) fn renamed_columns(conn: &Connection, layer: &Layer) -> Result<Vec<(String, String)>> {
    let doing = "looking for renamed columns";
    let present = core::columns(conn, &layer.table).doing(doing)?;
    let has = |name: &str| present.iter().any(|p| p.eq_ignore_ascii_case(name));
    let columns = layer.columns();
    if columns.iter().all(|column| has(column)) {
        return Ok(Vec::new());
    }
    let sql: Option<String> = conn
        .query_row(
            "SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name = ?1",
            [crate::replica::triggers::update_name(layer)],
            |row| row.get(0),
        )
        .optional()
        .doing(doing)?;
    let now = sql.as_deref().map(crate::replica::triggers::kept_columns);
    let geometry = layer.collection.geometry.as_ref().map(|g| g.name.as_str());
    Ok(columns
        .into_iter()
        .zip(now.unwrap_or_default())
        .filter(|(ours, now)| !has(ours) && has(now) && geometry != Some(ours))
        .collect())
}

/// Columns of the schema that the edited table lacks. A missing table is another problem.
pub(crate) fn missing_columns(conn: &Connection, layer: &Layer) -> Result<Vec<Problem>> {
    let present = core::columns(conn, &layer.table).doing("reading the columns")?;
    if present.is_empty() {
        return Ok(Vec::new());
    }
    Ok(layer
        .columns()
        .into_iter()
        .filter(|column| !present.iter().any(|p| p.eq_ignore_ascii_case(column)))
        .map(|column| Problem::MissingColumn {
            table: layer.table.clone(),
            column,
        })
        .collect())
}

/// Problems as one sentence; the triggers of a layer are told as one.
pub fn in_words(problems: &[Problem]) -> String {
    let mut told: Vec<String> = Vec::new();
    for problem in problems {
        let text = match problem {
            Problem::MissingTrigger { layer, .. } if is_gone(problems, layer) => continue,
            Problem::MissingTrigger { layer, .. } => {
                let names = triggers(problems, |p| match p {
                    Problem::MissingTrigger { layer: l, trigger } if l == layer => Some(trigger),
                    _ => None,
                });
                let which = if names.len() == super::triggers::COUNT {
                    "its triggers".to_owned()
                } else {
                    format!("triggers of it ({})", names.join(", "))
                };
                format!(
                    "layer {layer:?} was overwritten or {which} dropped, so edits of it may not have been noticed"
                )
            }
            Problem::AlteredTrigger { layer, .. } => {
                let names = triggers(problems, |p| match p {
                    Problem::AlteredTrigger { layer: l, trigger } if l == layer => Some(trigger),
                    _ => None,
                });
                format!(
                    "triggers of layer {layer:?} were altered ({})",
                    names.join(", ")
                )
            }
            other => other.to_string(),
        };
        if !told.contains(&text) {
            told.push(text);
        }
    }
    told.join("; ")
}

fn triggers<'a>(
    problems: &'a [Problem],
    name: impl Fn(&'a Problem) -> Option<&'a String>,
) -> Vec<&'a str> {
    problems
        .iter()
        .filter_map(name)
        .map(String::as_str)
        .collect()
}

/// Whether the whole table of a layer is gone, and its triggers with it.
fn is_gone(problems: &[Problem], of: &str) -> bool {
    problems
        .iter()
        .any(|p| matches!(p, Problem::MissingTable { layer, .. } if layer == of))
}

/// The sentence with which a sync is refused.
pub(crate) fn refusal(problems: &[Problem]) -> Error {
    Error::Invalid {
        what: "replica file".to_owned(),
        problem: format!(
            "{}. Run `haversack repair` on it before the next sync",
            in_words(problems)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_triggers_of_a_layer_are_told_in_one_sentence() {
        let dropped = |layer: &str, trigger: &str| Problem::MissingTrigger {
            layer: layer.to_owned(),
            trigger: trigger.to_owned(),
        };
        let two = [dropped("Parks", "a_0"), dropped("Parks", "b_0")];
        assert_eq!(
            in_words(&two),
            "layer \"Parks\" was overwritten or triggers of it (a_0, b_0) dropped, so edits of it may not have been noticed"
        );
        let all: Vec<_> = (0..super::super::triggers::COUNT)
            .map(|n| dropped("Parks", &n.to_string()))
            .collect();
        assert!(in_words(&all).contains("or its triggers dropped"));
        let gone = [
            Problem::MissingTable {
                layer: "Parks".to_owned(),
                table: "parks".to_owned(),
            },
            dropped("Parks", "a_0"),
        ];
        assert_eq!(
            in_words(&gone),
            "the table \"parks\" of layer \"Parks\" is gone"
        );
    }
}

//! `haversack conflicts`: list, show and decide the conflicts of a replica file.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use haversack_model::{Changes, Collection, Conflict, FieldType, Value, Winner};
use haversack_sync::client::{self, Choice};
use serde_json::{Value as Json, json};

use crate::args::{ConflictAction, ConflictsArgs, Keep};
use crate::exit::Outcome;
use crate::output::{BOLD, DIM, GREEN, Output, count, time};
use crate::{replica, view};

/// Runs the command.
pub(crate) fn run(args: &ConflictsArgs, out: Output) -> Result<Outcome> {
    match &args.action {
        ConflictAction::List { file, all } => list(file, *all, out),
        ConflictAction::Show { file, id } => show(file, id, out),
        ConflictAction::Resolve {
            file,
            id,
            keep,
            set,
        } => resolve(file, id, *keep, set, out),
    }
}

fn list(path: &Path, all: bool, out: Output) -> Result<Outcome> {
    let mut file = replica::open(path)?;
    let (collections, conflicts) = file.read(|tx| Ok((tx.collections()?, tx.conflicts(!all)?)))?;
    let mut documents = Vec::new();
    let mut rows = Vec::new();
    for conflict in &conflicts {
        let collection = view::collection(&collections, conflict.collection)?;
        documents.push(view::conflict_json(collection, conflict));
        rows.push(vec![
            short(conflict),
            collection.name.clone(),
            view::title(
                collection,
                conflict.theirs.as_ref().or(conflict.mine.as_ref()),
                &conflict.global_id,
            ),
            conflict.reason.clone(),
            conflict
                .resolution
                .as_ref()
                .map_or_else(|| "open".to_owned(), |r| format!("kept {}", r.kept)),
        ]);
    }
    let open = conflicts.iter().filter(|c| c.resolution.is_none()).count();
    out.result(&Json::Array(documents), |out| {
        if rows.is_empty() {
            out.line("No conflicts.");
            return;
        }
        out.table(&["id", "layer", "record", "what clashed", "state"], rows);
        if open > 0 {
            out.line("");
            out.line(format_args!(
                "`haversack conflicts show {} ID` shows one side by side.",
                path.display()
            ));
        }
    });
    Ok(if open == 0 {
        Outcome::Done
    } else {
        Outcome::Attention
    })
}

fn show(path: &Path, id: &str, out: Output) -> Result<Outcome> {
    let mut file = replica::open(path)?;
    let (collections, conflicts) = file.read(|tx| Ok((tx.collections()?, tx.conflicts(false)?)))?;
    let conflict = find(&conflicts, id)?;
    let collection = view::collection(&collections, conflict.collection)?;
    out.result(&view::conflict_json(collection, conflict), |out| {
        print(collection, conflict, out);
        if conflict.resolution.is_none() {
            out.line("");
            out.line(format_args!("Decide with `haversack conflicts resolve {} {} --keep mine|theirs|base`,", path.display(), short(conflict)));
            out.line("or with `--set FIELD=VALUE` for a value of your own; then `haversack sync` sends the decision.");
        }
    });
    Ok(if conflict.resolution.is_none() {
        Outcome::Attention
    } else {
        Outcome::Done
    })
}

/// Prints a conflict: what clashed, and its versions side by side.
pub(crate) fn print(collection: &Collection, conflict: &Conflict, out: Output) {
    let title = view::title(
        collection,
        conflict.base.as_ref().or(conflict.theirs.as_ref()),
        &conflict.global_id,
    );
    out.line(format_args!(
        "{BOLD}{title}{BOLD:#} in {} {DIM}conflict {}, {}{DIM:#}",
        collection.name,
        short(conflict),
        time(conflict.at)
    ));
    out.line(format_args!("{}", conflict.reason));
    let versions = [
        conflict.base.as_ref(),
        conflict.mine.as_ref(),
        conflict.theirs.as_ref(),
    ];
    let rows = view::differences(collection, &versions)
        .into_iter()
        .map(|row| {
            let mark = if conflict.fields.contains(&row.field) {
                "← clash"
            } else {
                ""
            };
            std::iter::once(row.field)
                .chain(row.values)
                .chain([mark.to_owned()])
                .collect()
        })
        .collect();
    out.table(&["", "base", "mine", "theirs", ""], rows);
    let stored = match conflict.winner {
        Winner::Mine => "The server stored mine.",
        Winner::Theirs => "The server kept theirs.",
        Winner::Merged => "The server kept theirs where it clashed, and took my other changes.",
    };
    out.line(stored);
    if let Some(resolution) = &conflict.resolution {
        out.line(format_args!(
            "{GREEN}Decided{GREEN:#} by {}: {}.",
            resolution.user, resolution.kept
        ));
    }
}

fn resolve(
    path: &Path,
    id: &str,
    keep: Option<Keep>,
    set: &[String],
    out: Output,
) -> Result<Outcome> {
    let mut file = replica::open_to_write(path, out)?;
    let (collections, conflicts) = file.read(|tx| Ok((tx.collections()?, tx.conflicts(false)?)))?;
    let conflict = find(&conflicts, id)?;
    if let Some(resolution) = &conflict.resolution {
        bail!(
            "conflict {} was decided already ({})",
            short(conflict),
            resolution.kept
        );
    }
    let collection = view::collection(&collections, conflict.collection)?;
    let choice = if set.is_empty() {
        match keep {
            Some(Keep::Mine) => Choice::Mine,
            Some(Keep::Base) => Choice::Base,
            Some(Keep::Theirs) | None => Choice::Theirs,
        }
    } else {
        let start = match keep {
            Some(Keep::Mine) => &conflict.mine,
            Some(Keep::Base) => &conflict.base,
            Some(Keep::Theirs) | None => &conflict.theirs,
        };
        let mut record = start
            .clone()
            .context("that version is a deletion: it has no fields to set")?;
        changes(collection, set)?.apply_to(&mut record);
        Choice::Edited(record)
    };
    decide(&mut file, conflict, choice)?;
    let left = conflicts
        .iter()
        .filter(|c| c.resolution.is_none() && c.id != conflict.id)
        .count();
    out.result(
        &json!({"resolved": conflict.id.to_string(), "open": left}),
        |out| {
            out.line(format_args!(
                "{GREEN}Decided.{GREEN:#} `haversack sync {}` makes it known.",
                path.display()
            ));
            if left > 0 {
                out.line(format_args!(
                    "{} left.",
                    count(left as u64, "open conflict")
                ));
            }
        },
    );
    Ok(Outcome::Done)
}

/// Closes a conflict in the name of the local user.
pub(crate) fn decide(file: &mut replica::File, conflict: &Conflict, choice: Choice) -> Result<()> {
    let user = std::env::var("USER").unwrap_or_else(|_unset| "local".to_owned());
    let now = replica::now();
    replica::write(file, |tx| {
        client::resolve(tx, conflict.id, choice, &user, now)
    })
}

fn find<'a>(conflicts: &'a [Conflict], id: &str) -> Result<&'a Conflict> {
    let wanted = id.to_ascii_lowercase();
    let mut found = conflicts
        .iter()
        .filter(|c| c.id.to_string().starts_with(&wanted));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => {
            bail!("there is no conflict {id:?} in this file; `haversack conflicts list` names them")
        }
        (Some(_), Some(_)) => {
            bail!("{id:?} is the beginning of more than one conflict; give more of it")
        }
    }
}

fn short(conflict: &Conflict) -> String {
    conflict.id.to_string().chars().take(8).collect()
}

/// Reads `FIELD=VALUE` settings by the fields' types.
fn changes(collection: &Collection, set: &[String]) -> Result<Changes> {
    let mut changes = Changes::default();
    for one in set {
        let (name, text) = one
            .split_once('=')
            .with_context(|| format!("{one:?} is not FIELD=VALUE"))?;
        let at = collection
            .field_index(name)
            .with_context(|| format!("there is no field {name:?} in {}", collection.name))?;
        changes
            .values
            .insert(at, parse(collection.fields[at].kind, name, text)?);
    }
    Ok(changes)
}

fn parse(kind: FieldType, name: &str, text: &str) -> Result<Value> {
    if text.is_empty() {
        return Ok(Value::Null);
    }
    Ok(match kind {
        FieldType::SmallInteger | FieldType::Integer | FieldType::BigInteger => Value::Integer(
            text.parse()
                .with_context(|| format!("{name}: {text:?} is not a whole number"))?,
        ),
        FieldType::Single | FieldType::Double => {
            let number: f64 = text
                .parse()
                .with_context(|| format!("{name}: {text:?} is not a number"))?;
            if !number.is_finite() {
                bail!("{name}: {text:?} is not a finite number");
            }
            Value::Real(number)
        }
        FieldType::Date => {
            let at: jiff::Timestamp = text.parse().with_context(|| {
                format!("{name}: {text:?} is not a time such as 2026-05-01T12:00:00Z")
            })?;
            Value::Integer(at.as_millisecond())
        }
        FieldType::Blob => bail!("{name}: bytes cannot be set on the command line"),
        _ => Value::Text(text.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_read_by_the_type_of_its_field() {
        assert_eq!(
            parse(FieldType::Integer, "n", "7").unwrap(),
            Value::Integer(7)
        );
        assert_eq!(
            parse(FieldType::String, "s", "7").unwrap(),
            Value::from("7")
        );
        assert_eq!(parse(FieldType::String, "s", "").unwrap(), Value::Null);
        assert_eq!(
            parse(FieldType::Date, "d", "1970-01-01T00:00:01Z").unwrap(),
            Value::Integer(1000)
        );
        assert!(parse(FieldType::Double, "x", "inf").is_err());
        assert!(parse(FieldType::Integer, "n", "seven").is_err());
    }
}

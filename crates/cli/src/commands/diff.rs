//! `haversack diff`: the edits that have not been sent yet, field by field.

use anyhow::Result;
use haversack_model::{OutboxEntry, Record, Theirs};
use serde_json::{Value as Json, json};

use crate::args::FileArgs;
use crate::exit::Outcome;
use crate::output::{BOLD, DIM, Output, YELLOW};
use crate::{replica, view};

/// One edit with what it is about.
struct Edited {
    entry: OutboxEntry,
    mine: Option<Record>,
}

/// Runs the command.
pub(crate) fn run(args: &FileArgs, out: Output) -> Result<Outcome> {
    let mut file = replica::open(&args.file)?;
    let (collections, edits) = replica::read(&mut file, |tx| {
        let mut edits = Vec::new();
        for entry in tx.entries()? {
            let mine = if entry.deleted {
                None
            } else {
                tx.row(entry.collection, &entry.global_id)?
            };
            edits.push(Edited { entry, mine });
        }
        Ok((tx.collections()?, edits))
    })?;

    let mut documents = Vec::new();
    for Edited { entry, mine } in &edits {
        let collection = view::collection(&collections, entry.collection)?;
        let base = entry.base.as_ref().map(|(record, _)| record);
        let rows = view::differences(collection, &[base, mine.as_ref()]);
        documents.push(json!({
            "layer": collection.name,
            "globalId": entry.global_id.to_string(),
            "state": view::state(entry.state, entry.deleted),
            "edit": verb(entry),
            "reason": entry.reason,
            "serverChangedToo": entry.theirs != Theirs::Unchanged,
            "base": view::record_json(collection, base),
            "mine": view::record_json(collection, mine.as_ref()),
            "fields": rows.iter().map(|r| r.field.clone()).collect::<Vec<_>>(),
        }));
        if out.is_json() {
            continue;
        }
        let title = view::title(collection, mine.as_ref().or(base), &entry.global_id);
        out.line(format_args!(
            "{BOLD}{} {title}{BOLD:#} in {} {DIM}{}{DIM:#}",
            verb(entry),
            collection.name,
            view::short(&entry.global_id)
        ));
        for row in rows {
            match (base, mine) {
                (Some(_), Some(_)) => out.line(format_args!(
                    "    {}: {} → {}",
                    row.field, row.values[0], row.values[1]
                )),
                (None, _) if row.values[1] != view::NOTHING => {
                    out.line(format_args!("    {}: {}", row.field, row.values[1]));
                }
                _ => {}
            }
        }
        if entry.theirs != Theirs::Unchanged {
            out.line(format_args!(
                "    {YELLOW}the server has changed it, too{YELLOW:#}"
            ));
        }
        if let Some(reason) = &entry.reason {
            out.line(format_args!("    {YELLOW}{reason}{YELLOW:#}"));
        }
    }
    out.result(&Json::Array(documents), |out| {
        if edits.is_empty() {
            out.line("No edits wait to be sent.");
        }
    });
    Ok(Outcome::Done)
}

fn verb(entry: &OutboxEntry) -> &'static str {
    match (entry.deleted, &entry.base) {
        (true, _) => "delete",
        (false, None) => "add",
        (false, Some(_)) => "update",
    }
}

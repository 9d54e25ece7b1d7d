//! `haversack diff`: the edits that have not been sent yet, field by field.

use anyhow::Result;
use haversack_model::{Collection, OutboxEntry, Record, Theirs};
use serde_json::json;

use crate::args::FileArgs;
use crate::exit::Outcome;
use crate::output::{BOLD, DIM, Output, YELLOW};
use crate::{replica, view};

/// Runs the command. Edits are told one by one: a file may hold a million of them.
pub(crate) fn run(args: &FileArgs, out: Output) -> Result<Outcome> {
    let file = replica::open(&args.file)?;
    let mut told = 0;
    let mut list = out.json_list();
    file.each_edit(&mut |collection, entry, mine| {
        told += 1;
        let base = entry.base.as_ref().map(|(record, _)| record);
        let rows = view::differences(collection, &[base, mine.as_ref()]);
        list.push(&json!({
            "layer": collection.name,
            "globalId": entry.global_id.to_string(),
            "state": view::state(entry.state, entry.deleted),
            "edit": verb(&entry),
            "reason": entry.reason,
            "serverChangedToo": entry.theirs != Theirs::Unchanged,
            "base": view::record_json(collection, base),
            "mine": view::record_json(collection, mine.as_ref()),
            "fields": rows.iter().map(|r| r.field.clone()).collect::<Vec<_>>(),
        }));
        print(collection, &entry, mine.as_ref(), &rows, out);
        Ok(())
    })?;
    list.end();
    if told == 0 {
        out.line("No edits wait to be sent.");
    }
    Ok(Outcome::Done)
}

/// One edit with the fields in which it differs from its base.
pub(crate) fn print(
    collection: &Collection,
    entry: &OutboxEntry,
    mine: Option<&Record>,
    rows: &[view::Row],
    out: Output,
) {
    let base = entry.base.as_ref().map(|(record, _)| record);
    out.line(format_args!(
        "{BOLD}{} {}{BOLD:#} in {} {DIM}{}{DIM:#}",
        verb(entry),
        view::title(collection, mine.or(base), &entry.global_id),
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

fn verb(entry: &OutboxEntry) -> &'static str {
    match (entry.deleted, &entry.base) {
        (true, _) => "delete",
        (false, None) => "add",
        (false, Some(_)) => "update",
    }
}

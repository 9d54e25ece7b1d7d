//! `haversack status`: what a replica file holds.

use std::collections::BTreeMap;

use anyhow::Result;
use haversack_model::{Collection, SyncState};
use haversack_sqlite::replica::{Status, Troubled, in_words};
use serde_json::json;

use crate::args::FileArgs;
use crate::exit::Outcome;
use crate::output::{BOLD, DIM, GREEN, Output, RED, YELLOW, count, time};
use crate::{replica, view};

/// Runs the command. Ends with [`Outcome::Attention`] if something waits for a decision, and with [`Outcome::Broken`] if
/// edits may have been missed.
pub(crate) fn run(args: &FileArgs, out: Output) -> Result<Outcome> {
    let file = replica::open_any(&args.file)?;
    let collections = file.collections();
    let status = file.status()?;
    let by_state = count_by_state(&status);
    let header = &status.header;
    let document = json!({
        "file": args.file,
        "replica": header.id.to_string(),
        "name": header.name,
        "url": header.url,
        "protocol": header.protocol,
        "policy": format!("{:?}", header.policy).to_lowercase(),
        "generation": header.cursor.generation.0,
        "lastSync": header.synced_at.map(|t| t.0),
        "layers": view::layers_json(&status, &collections),
        "pending": status.pending,
        "states": by_state,
        "openConflicts": status.open_conflicts,
        "problems": status.troubled.iter().map(|t| json!({
            "layer": t.collection.0, "globalId": t.global_id.to_string(),
            "state": view::state(t.state, t.deleted), "reason": t.reason,
        })).collect::<Vec<_>>(),
        "broken": status.problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    out.result(&document, |out| {
        out.line(format_args!(
            "{BOLD}{}{BOLD:#}, a replica of {}",
            args.file.display(),
            header.url
        ));
        let last = header.synced_at.map_or_else(
            || "not synced since it was checked out".to_owned(),
            |at| format!("last sync {}", time(at)),
        );
        out.line(format_args!("{DIM}{last}, replica {}{DIM:#}", header.id));
        out.line("");
        view::print_layers(&status, &collections, out);
        out.line("");
        print(args, &status, &by_state, &collections, out);
    });
    Ok(if !status.problems.is_empty() {
        Outcome::Broken
    } else if status.open_conflicts > 0 || by_state.contains_key("ERROR") {
        Outcome::Attention
    } else {
        Outcome::Done
    })
}

/// How many edits are in which state.
fn count_by_state(status: &Status) -> BTreeMap<&'static str, u64> {
    let mut by_state = BTreeMap::new();
    for layer in &status.layers {
        if layer.to_delete > 0 {
            *by_state
                .entry(view::state(SyncState::ToUpdate, true))
                .or_default() += layer.to_delete;
        }
        for (state, n) in &layer.states {
            *by_state.entry(view::state(*state, false)).or_default() += n;
        }
    }
    by_state
}

/// What waits, and what to do about it.
fn print(
    args: &FileArgs,
    status: &Status,
    by_state: &BTreeMap<&'static str, u64>,
    collections: &[Collection],
    out: Output,
) {
    let file = args.file.display();
    if by_state.is_empty() && status.open_conflicts == 0 && status.problems.is_empty() {
        out.line(format_args!(
            "{GREEN}Nothing waits.{GREEN:#} Every row is as the server confirmed it last."
        ));
    }
    if status.pending > 0 {
        let unsettled = ["TO_POST", "TO_UPDATE", "TO_DELETE", "UPLOADING"];
        let words = ["new", "changed", "deleted", "sent without an answer"];
        let parts: Vec<String> = unsettled
            .iter()
            .zip(words)
            .filter_map(|(state, word)| Some(format!("{} {word}", by_state.get(state)?)))
            .collect();
        out.line(format_args!(
            "{} to send ({}). `haversack diff {file}` shows them, `haversack sync {file}` sends them.",
            count(status.pending, "edit"),
            parts.join(", ")
        ));
    }
    for Troubled {
        collection,
        global_id,
        state,
        deleted,
        reason,
    } in &status.troubled
    {
        let layer = collections
            .iter()
            .find(|c| c.id == *collection)
            .map_or("?", |c| c.name.as_str());
        out.line(format_args!(
            "{YELLOW}{}{YELLOW:#} {layer} {}: {reason}",
            view::state_in_words(*state, *deleted),
            view::short(global_id),
        ));
    }
    if by_state.contains_key("ERROR") {
        out.line("An edit that was refused stays in the file; change the record again, or undo it, and sync.");
    }
    if status.open_conflicts > 0 {
        out.line(format_args!(
            "{YELLOW}{}{YELLOW:#} to decide: `haversack conflicts list {file}`.",
            count(status.open_conflicts, "open conflict"),
        ));
    }
    if !status.problems.is_empty() {
        out.line(format_args!(
            "{RED}Needs repair:{RED:#} {}. Run `haversack repair {file}` before the next sync.",
            in_words(&status.problems)
        ));
    }
}

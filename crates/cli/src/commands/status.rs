//! `haversack status`: what a replica file holds.

use std::collections::BTreeMap;

use anyhow::Result;
use haversack_model::SyncState;
use serde_json::json;

use crate::args::FileArgs;
use crate::exit::Outcome;
use crate::output::{BOLD, DIM, GREEN, Output, YELLOW, count, time};
use crate::{replica, view};

/// Runs the command. Ends with [`Outcome::Attention`] if something waits for a decision.
pub(crate) fn run(args: &FileArgs, out: Output) -> Result<Outcome> {
    let mut file = replica::open(&args.file)?;
    let (header, collections, entries, open) = replica::read(&mut file, |tx| {
        Ok((
            tx.header()?,
            tx.collections()?,
            tx.entries()?,
            tx.conflicts(true)?,
        ))
    })?;
    let rows = replica::row_counts(&args.file, &file, &collections)?;

    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in &entries {
        *states
            .entry(view::state(entry.state, entry.deleted))
            .or_default() += 1;
    }
    let waiting = entries
        .iter()
        .filter(|e| {
            matches!(
                e.state,
                SyncState::ToPost | SyncState::ToUpdate | SyncState::Uploading
            )
        })
        .count();
    let troubled: Vec<_> = entries.iter().filter(|e| e.reason.is_some()).collect();

    let document = json!({
        "file": args.file,
        "replica": header.id.to_string(),
        "name": header.name,
        "url": header.url,
        "protocol": header.protocol,
        "policy": format!("{:?}", header.policy).to_lowercase(),
        "generation": header.cursor.generation.0,
        "lastSync": header.synced_at.map(|t| t.0),
        "layers": rows.iter().map(|l| json!({"id": l.collection.id.0, "name": l.collection.name, "table": l.table, "rows": l.rows})).collect::<Vec<_>>(),
        "pending": waiting,
        "states": states,
        "openConflicts": open.len(),
        "problems": troubled.iter().map(|e| json!({
            "layer": e.collection.0, "globalId": e.global_id.to_string(),
            "state": view::state(e.state, e.deleted), "reason": e.reason,
        })).collect::<Vec<_>>(),
    });
    out.result(&document, |out| {
        out.line(format_args!(
            "{BOLD}{}{BOLD:#}, a replica of {}",
            args.file.display(),
            header.url
        ));
        let last = header.synced_at.map_or_else(|| "never".to_owned(), time);
        out.line(format_args!(
            "{DIM}last sync {last}, replica {}, {}{DIM:#}",
            header.id, header.protocol
        ));
        out.line("");
        out.table(
            &["", "layer", "rows"],
            rows.iter()
                .map(|l| {
                    vec![
                        l.collection.id.to_string(),
                        l.collection.name.clone(),
                        l.rows.to_string(),
                    ]
                })
                .collect(),
        );
        out.line("");
        if entries.is_empty() && open.is_empty() {
            out.line(format_args!(
                "{GREEN}Nothing waits.{GREEN:#} Everything is as the server has confirmed it."
            ));
            return;
        }
        if waiting > 0 {
            let by_state: Vec<String> = states
                .iter()
                .map(|(state, n)| format!("{n} {state}"))
                .collect();
            out.line(format_args!(
                "{} to send ({}). `haversack diff` shows them, `haversack sync` sends them.",
                count(waiting, "edit"),
                by_state.join(", ")
            ));
        }
        for entry in &troubled {
            let layer = collections
                .iter()
                .find(|c| c.id == entry.collection)
                .map_or("?", |c| c.name.as_str());
            out.line(format_args!(
                "{YELLOW}{}{YELLOW:#} {layer} {}: {}",
                view::state(entry.state, entry.deleted),
                view::short(&entry.global_id),
                entry.reason.as_deref().unwrap_or("")
            ));
        }
        if !open.is_empty() {
            out.line(format_args!(
                "{YELLOW}{}{YELLOW:#} to decide: `haversack conflicts list {}`.",
                count(open.len(), "open conflict"),
                args.file.display()
            ));
        }
    });
    let refused = entries.iter().any(|e| e.state == SyncState::Error);
    Ok(if open.is_empty() && !refused {
        Outcome::Done
    } else {
        Outcome::Attention
    })
}

//! `haversack sync`: sends the edits of a replica file and fetches what others changed.

use std::path::Path;

use anyhow::Result;
use haversack_model::{Changes, Collection, Remote};
use haversack_sync::client::{self, Preview, Step, Summary};
use serde_json::{Value as Json, json};

use crate::args::SyncArgs;
use crate::exit::Outcome;
use crate::output::{BOLD, DIM, GREEN, Output, Unit, YELLOW, count};
use crate::replica::{File, Origin};
use crate::{connect, replica, view};

/// Runs the command. Ends with [`Outcome::Attention`] if an edit was refused or met a conflict.
pub(crate) fn run(args: &SyncArgs, out: Output) -> Result<Outcome> {
    let mut file = replica::open_to_write(&args.file, out)?;
    let url = file.header()?.url;
    let mut remote = Origin::of(&file, &args.connect)?.remote(&file);
    if args.dry_run {
        let preview = client::preview(&mut file, remote.as_mut())
            .map_err(|error| connect::explain(error, &url))?;
        return show_preview(&args.file, &file.collections(), &preview, out);
    }
    if args.resync {
        replica::write(&mut file, |tx| {
            client::thaw(tx)?;
            let history = tx.header()?.cursor.history;
            client::start_resync(tx, history)
        })?;
    }
    let summary = match synchronise(&mut file, remote.as_mut(), &url, out) {
        Err(error) if replica::is_disk_full(&error) && file.give_up_reserve() => {
            out.warn("the disk is full: the space that was kept for this is used to send your edits. Free some space soon");
            synchronise(&mut file, remote.as_mut(), &url, out)?
        }
        done => done?,
    };
    file.keep_reserve();
    // The sync is done without it, and the next one tries again.
    let _pruned = file.prune();
    report(&args.file, &mut file, &summary, out)
}

/// Synchronises with progress.
pub(crate) fn synchronise(
    file: &mut File,
    remote: &mut dyn Remote,
    url: &str,
    out: Output,
) -> Result<Summary> {
    let bar = out.progress("comparing", Unit::Rows);
    let done = client::synchronise(file, remote, &replica::now, &mut |step| {
        match step {
        Step::Blobs(done, all) => {
            bar.set_message("sending attachments");
            crate::output::advance(&bar, Unit::Rows, done, Some(all));
        }
        Step::Uploading(edits) => bar.set_message(format!("sending {}", count(edits as u64, "edit"))),
        Step::Uploaded(edits) => {
            bar.set_message("sent");
            bar.set_position(edits);
        }
        Step::Downloaded(changes) => {
            bar.set_message("fetching changes");
            bar.set_position(changes);
        }
        Step::BlobsFetched(done, all) => {
            bar.set_message("fetching attachments");
            crate::output::advance(&bar, Unit::Rows, done, Some(all));
        }
        Step::Renewed => bar.suspend(|| out.warn("this file was copied or put back to an earlier state; it is a replica of its own now")),
        Step::RegisteredAgain => bar.suspend(|| out.warn("the server did not know this file (any more): it was released, or the server was put back to an earlier state. It is registered again, everything is compared anew, unsent edits stay")),
        Step::Resync => bar.suspend(|| out.warn("the server's history cannot be continued; everything is compared anew, unsent edits stay")),
        _ => {}
    }
    });
    bar.finish_and_clear();
    done.map_err(|error| connect::explain(error, url))
}

fn report(path: &Path, file: &mut File, summary: &Summary, out: Output) -> Result<Outcome> {
    let collections = file.collections();
    let open = file.read(|tx| tx.conflicts(true))?.len() as u64;
    let document = json!({
        "applied": summary.applied,
        "merged": summary.merged,
        "conflicts": summary.conflicts,
        "rejected": summary.rejected.iter().map(|(layer, id, reason)| json!({"layer": layer.0, "globalId": id.to_string(), "reason": reason})).collect::<Vec<_>>(),
        "put": summary.put,
        "removed": summary.removed,
        "resynced": summary.resynced,
        "openConflicts": open,
    });
    out.result(&document, |out| {
        let sent = summary.applied + summary.merged + summary.conflicts + summary.rejected.len() as u64;
        if sent == 0 && summary.put + summary.removed == 0 {
            out.line(format_args!("{GREEN}Nothing to do:{GREEN:#} file and server are equal."));
        }
        if sent > 0 {
            out.line(format_args!(
                "{BOLD}Sent {}{BOLD:#}: {} stored as sent, {} merged with changes of others, {} in conflict, {} refused",
                count(sent, "edit"), summary.applied, summary.merged, summary.conflicts, summary.rejected.len()
            ));
        }
        if summary.put + summary.removed > 0 {
            out.line(format_args!("{BOLD}Fetched{BOLD:#} {}, {}", count(summary.put, "new or changed row"), count(summary.removed, "removal")));
        }
        for (layer, id, reason) in &summary.rejected {
            let layer = collections.iter().find(|c| c.id == *layer).map_or("?", |c| c.name.as_str());
            out.line(format_args!("{YELLOW}refused{YELLOW:#} {layer} {}: {reason}", view::short(id)));
        }
        if open > 0 {
            out.line(format_args!("{YELLOW}{}{YELLOW:#} to decide: `haversack conflicts list {}`", count(open, "open conflict"), path.display()));
        }
    });
    let troubled = summary.conflicts > 0 || !summary.rejected.is_empty();
    Ok(if troubled || open > 0 {
        Outcome::Attention
    } else {
        Outcome::Done
    })
}

fn show_preview(
    path: &Path,
    collections: &[Collection],
    preview: &Preview,
    out: Output,
) -> Result<Outcome> {
    let mut uploads = Vec::new();
    for planned in &preview.uploads {
        let collection = view::collection(collections, planned.collection)?;
        uploads.push(json!({
            "layer": collection.name,
            "globalId": planned.global_id.to_string(),
            "edit": verb(planned),
            "fields": view::names(collection, &planned.changes),
            "conflict": planned.conflict,
            "clashes": view::names(collection, &planned.clashes),
            "base": view::record_json(collection, planned.base.as_ref()),
            "mine": view::record_json(collection, planned.mine.as_ref()),
            "theirs": view::record_json(collection, planned.theirs.as_ref()),
        }));
    }
    let downloads: Vec<Json> = preview
        .downloads
        .iter()
        .map(|(layer, put, removed)| json!({"layer": layer.0, "put": put, "removed": removed}))
        .collect();
    let conflicts = preview.uploads.iter().filter(|p| p.conflict).count();
    out.result(
        &json!({"uploads": uploads, "downloads": downloads, "conflicts": conflicts}),
        |out| {
            if preview.uploads.is_empty()
                && preview
                    .downloads
                    .iter()
                    .all(|(_, put, removed)| put + removed == 0)
            {
                out.line("A sync would do nothing: file and server are equal.");
                return;
            }
            for planned in &preview.uploads {
                show_planned(collections, planned, out);
            }
            for (layer, put, removed) in preview
                .downloads
                .iter()
                .filter(|(_, put, removed)| put + removed > 0)
            {
                let name = collections
                    .iter()
                    .find(|c| c.id == *layer)
                    .map_or("?", |c| c.name.as_str());
                out.line(format_args!(
                    "{BOLD}fetch{BOLD:#} for {name}: {}, {}",
                    count(*put, "new or changed row"),
                    count(*removed, "removal")
                ));
            }
            out.line("");
            out.line(format_args!(
                "{DIM}Nothing was sent. `haversack sync {}` does it.{DIM:#}",
                path.display()
            ));
        },
    );
    Ok(if conflicts == 0 {
        Outcome::Done
    } else {
        Outcome::Attention
    })
}

fn verb(planned: &client::PlannedUpload) -> &'static str {
    match (&planned.base, &planned.mine) {
        (_, None) => "delete",
        (None, Some(_)) => "add",
        (Some(_), Some(_)) => "update",
    }
}

fn show_planned(collections: &[Collection], planned: &client::PlannedUpload, out: Output) {
    let Ok(collection) = view::collection(collections, planned.collection) else {
        return;
    };
    let title = view::title(
        collection,
        planned.mine.as_ref().or(planned.base.as_ref()),
        &planned.global_id,
    );
    out.line(format_args!(
        "{BOLD}send{BOLD:#} {} of {title} in {}",
        verb(planned),
        collection.name
    ));
    let clashes = view::names(collection, &planned.clashes);
    if planned.base.is_some() && planned.mine.is_some() && planned.changes != Changes::default() {
        let versions = [
            planned.base.as_ref(),
            planned.mine.as_ref(),
            planned.theirs.as_ref().or(planned.base.as_ref()),
        ];
        for row in view::differences(collection, &versions) {
            let note = if clashes.contains(&row.field) {
                format!(
                    "  {YELLOW}clash: the server has {}{YELLOW:#}",
                    row.values[2]
                )
            } else if row.values[2] != row.values[0] {
                format!("  {DIM}(the server: {}){DIM:#}", row.values[2])
            } else {
                String::new()
            };
            out.line(format_args!(
                "    {}: {} → {}{note}",
                row.field, row.values[0], row.values[1]
            ));
        }
    }
    if planned.conflict && clashes.is_empty() {
        out.line(format_args!(
            "    {YELLOW}conflict: one side changes what the other deletes{YELLOW:#}"
        ));
    }
}

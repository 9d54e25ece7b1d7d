//! `haversack tracker upload`: sends what was edited in a copy.

use anyhow::Result;
use haversack_dhis2::remote::files::{self, SentFiles};
use haversack_dhis2::remote::layout::Layout;
use haversack_dhis2::remote::push::{
    self, Clock, Importer, StoredConflict, Uploader, stored_conflicts,
};
use haversack_dhis2::wire::version::Api;
use haversack_sync::client::{self, Step, Summary};
use serde_json::{Value as Json, json};

use super::args::{ApiArg, UploadArgs};
use super::{explain, open, server_of};
use crate::exit::Outcome;
use crate::output::{BOLD, DIM, GREEN, Output, Unit, YELLOW, count};
use crate::{connect, replica};

/// Runs the command. Ends with [`Outcome::Attention`] if something was refused or waits.
pub(super) fn run(args: &UploadArgs, out: Output) -> Result<Outcome> {
    let mut file = open(&args.file, out)?;
    let server = server_of(&mut file, &args.connect)?;
    if args.retry_errors {
        replica::write(&mut file, client::retry)?;
    }
    replica::write(&mut file, push::prepare)?;
    let files =
        files::send(&server.http, &mut file).map_err(|error| explain(error, server.http.url()))?;
    let chosen = args.api.map(|api| match api {
        ApiArg::Old => Api::Old,
        ApiArg::New => Api::New,
    });
    let importer = Importer {
        version: server.version,
        api: server.version.importer(chosen.or(server.chosen.importer)),
    };
    // The edits are frozen in one connection; the remote reads whole records and keeps job numbers in another.
    let again = Box::new(replica::open(&args.file)?);
    let mut uploader = Uploader::new(&server.http, importer, again, Box::new(Clock));
    let bar = out.progress("sending", Unit::Rows);
    let done = client::upload(
        &mut file,
        &mut uploader,
        client::MAX_BATCH,
        &mut |step| match step {
            Step::Uploading(edits) => {
                bar.set_message(format!("sending {}", count(edits as u64, "edit")));
            }
            Step::Uploaded(edits) => {
                bar.set_message("sent");
                bar.set_position(edits);
            }
            _ => {}
        },
    );
    bar.finish_and_clear();
    let summary = done.map_err(|error| connect::explain(error, server.http.url()))?;
    let layout = Layout::of(&file.collections());
    let (said, waiting) = file.read(|tx| {
        let said = stored_conflicts(tx).map_err(|error| error.to_string());
        Ok((said, tx.entries()?.len()))
    })?;
    let said = said.map_err(anyhow::Error::msg)?;
    report(&layout, &summary, &said, &files, waiting, out);
    let is_whole = summary.rejected.is_empty() && waiting == 0;
    Ok(if is_whole {
        Outcome::Done
    } else {
        Outcome::Attention
    })
}

fn report(
    layout: &Layout,
    summary: &Summary,
    said: &[StoredConflict],
    files: &SentFiles,
    waiting: usize,
    out: Output,
) {
    let kind = |of| {
        layout
            .table(of)
            .map_or("record", |table| table.role.member())
    };
    let refused: Vec<Json> = summary
        .rejected
        .iter()
        .map(|(of, id, reason)| json!({"kind": kind(*of), "uid": id.to_string(), "reason": reason}))
        .collect();
    let conflicts: Vec<Json> = said.iter().map(conflict).collect();
    let document = json!({
        "sent": summary.applied + summary.untold + summary.rejected.len() as u64,
        "stored": summary.applied,
        "refused": refused,
        "untold": summary.untold,
        "waiting": waiting,
        "conflicts": conflicts,
        "files": {"sent": files.sent, "refused": files.refused.iter().map(|(uid, reason)| json!({"uid": uid, "reason": reason})).collect::<Vec<_>>()},
    });
    out.result(&document, |out| {
        if files.sent > 0 {
            out.line(format_args!("{GREEN}Sent {}{GREEN:#}", count(files.sent as u64, "file")));
        }
        for (uid, reason) in &files.refused {
            out.line(format_args!("  {YELLOW}file {uid}{YELLOW:#}: {reason}. What names it waits."));
        }
        let refused = summary.rejected.len() as u64;
        if summary.applied + refused + summary.untold == 0 {
            out.line(if waiting == 0 {
                "There is nothing to send."
            } else {
                "There is nothing to send but what was refused before: correct it, or use --retry-errors."
            });
            return;
        }
        out.line(format_args!(
            "{GREEN}Stored {}{GREEN:#}, {} refused, {} without an answer",
            count(summary.applied, "record"),
            refused,
            summary.untold
        ));
        for (of, id, reason) in &summary.rejected {
            out.line(format_args!("  {YELLOW}{} {id}{YELLOW:#}: {reason}", kind(*of)));
        }
        for said in said.iter().filter(|said| said.conflict.is_warning) {
            let conflict = &said.conflict;
            out.line(format_args!(
                "  {BOLD}{} {}{BOLD:#} {DIM}is stored with a warning:{DIM:#} {}",
                conflict.kind, conflict.object, conflict.message
            ));
        }
        if summary.untold > 0 {
            out.line("What has no answer is sent again with the next upload.");
        }
    });
}

fn conflict(said: &StoredConflict) -> Json {
    let conflict = &said.conflict;
    json!({
        "kind": conflict.kind, "uid": conflict.object, "code": conflict.code, "field": conflict.field, "value": conflict.value,
        "status": if conflict.is_warning { "WARNING" } else { "ERROR" }, "message": conflict.message, "hint": conflict.hint,
        "at": said.at,
    })
}

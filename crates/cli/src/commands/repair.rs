//! `haversack repair`: puts a replica file right whose edits may have been missed.

use anyhow::{Context as _, Result};
use haversack_model::CollectionId;
use haversack_sqlite::replica::{Problem, Repaired, TakeRow, in_words};
use serde_json::json;

use crate::args::ServerFileArgs;
use crate::exit::Outcome;
use crate::output::{BOLD, DIM, GREEN, Output, Unit, YELLOW, advance, count};
use crate::replica::{self, File, Origin};

/// Runs the command.
pub(crate) fn run(args: &ServerFileArgs, out: Output) -> Result<Outcome> {
    let mut file = replica::open_any(&args.file)?;
    if file.problems()?.is_empty() {
        out.result(
            &json!({"problems": [], "added": 0, "changed": 0, "deleted": 0}),
            |out| {
                out.line(format_args!(
                    "{GREEN}Nothing is wrong{GREEN:#} with {}.",
                    args.file.display()
                ));
            },
        );
        return Ok(Outcome::Done);
    }
    let repaired = if file.problems()?.iter().any(Problem::needs_server) {
        compare(args, &mut file, out)?
    } else {
        file.repair(None)?
    };

    let document = json!({
        "problems": repaired.problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "added": repaired.added,
        "changed": repaired.changed,
        "deleted": repaired.deleted,
        "uncertain": repaired.uncertain,
        "restored": repaired.restored,
        "lost": repaired.lost.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    out.result(&document, |out| print(args, &repaired, out));
    Ok(if repaired.uncertain == 0 && repaired.lost.is_empty() {
        Outcome::Done
    } else {
        Outcome::Attention
    })
}

/// Finds the edits that were missed by comparing the file with the server.
fn compare(args: &ServerFileArgs, file: &mut File, out: Output) -> Result<Repaired> {
    let mut origin = Origin::of(file, &args.connect)?;
    let folder = tempfile::tempdir_in(
        args.file
            .parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(std::path::Path::new(".")),
    )
    .context("making a folder for the comparison beside the file")?;
    let bar = out.progress("fetching the server's rows", Unit::Bytes);
    let fresh = origin.fetch_fresh(
        file,
        &folder.path().join("fresh.gpkg"),
        &mut |phase, done, total| {
            bar.set_message(phase.to_owned());
            advance(&bar, Unit::Bytes, done, total);
        },
    )?;
    bar.finish_and_clear();
    let mut rows =
        |collection: CollectionId, take: &mut TakeRow<'_>| fresh.each_confirmed(collection, take);
    Ok(file.repair(Some(&mut rows))?)
}

/// What was wrong, what was found, and what to do next.
fn print(args: &ServerFileArgs, repaired: &Repaired, out: Output) {
    out.line(format_args!(
        "{GREEN}Repaired.{GREEN:#} {DIM}What was wrong:{DIM:#} {}.",
        in_words(&repaired.problems)
    ));
    let found = repaired.added + repaired.changed + repaired.deleted + repaired.uncertain;
    if !repaired.problems.iter().any(Problem::needs_server) {
        out.line("Edits were captured all the time: nothing was missed.");
    } else if found == 0 {
        out.line("Every row was compared with the server: no edit had been missed.");
    } else {
        out.line(format_args!(
            "{BOLD}Found {}{BOLD:#} that had not been noticed: {} added, {} changed, {} deleted.",
            count(found, "edit"),
            repaired.added,
            repaired.changed + repaired.uncertain,
            repaired.deleted
        ));
    }
    if repaired.uncertain > 0 {
        out.line(format_args!(
            "{YELLOW}{}{YELLOW:#} may have changed on both sides; the next sync makes each a conflict.",
            count(repaired.uncertain, "row")
        ));
    }
    if repaired.restored > 0 {
        out.line(format_args!(
            "{} that the file had lost came back from the server.",
            count(repaired.restored, "row")
        ));
    }
    for id in &repaired.lost {
        out.line(format_args!(
            "{YELLOW}lost{YELLOW:#} an unsent change of {id}: its row is gone from the file"
        ));
    }
    let file = args.file.display();
    out.line(format_args!(
        "`haversack diff {file}` shows what waits, `haversack sync {file}` sends it."
    ));
}

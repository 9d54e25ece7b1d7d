//! `haversack repair`: puts a replica file right whose edits may have been missed.

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::args::ServerFileArgs;
use crate::exit::Outcome;
use crate::output::{DIM, GREEN, Output, Unit, YELLOW, advance, count};
use crate::replica::{self, Origin};

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
    let mut origin = Origin::of(&file, &args.connect)?;
    let folder = tempfile::tempdir_in(
        args.file
            .parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(std::path::Path::new(".")),
    )
    .context("making a folder for the comparison beside the file")?;
    let bar = out.progress("fetching the server's rows", Unit::Bytes);
    let fresh = origin.fetch_fresh(
        &file,
        &folder.path().join("fresh.gpkg"),
        &mut |phase, done, total| {
            bar.set_message(phase.to_owned());
            advance(&bar, Unit::Bytes, done, total);
        },
    )?;
    bar.finish_and_clear();
    let repaired = file.repair(Some(&mut |collection, take| {
        fresh.each_confirmed(collection, take)
    }))?;

    let document = json!({
        "problems": repaired.problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "added": repaired.added,
        "changed": repaired.changed,
        "deleted": repaired.deleted,
        "uncertain": repaired.uncertain,
        "restored": repaired.restored,
        "lost": repaired.lost.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    out.result(&document, |out| {
        for problem in &repaired.problems {
            out.line(format_args!("{DIM}repaired:{DIM:#} {problem}"));
        }
        let found = (repaired.added + repaired.changed + repaired.deleted + repaired.uncertain) as usize;
        out.line(format_args!(
            "{GREEN}Found {}{GREEN:#} that had not been noticed: {} added, {} changed, {} deleted.",
            count(found, "edit"), repaired.added, repaired.changed, repaired.deleted
        ));
        if repaired.uncertain > 0 {
            out.line(format_args!(
                "{YELLOW}{}{YELLOW:#} may have changed on both sides; the next sync makes each a conflict.",
                count(repaired.uncertain as usize, "row")
            ));
        }
        for id in &repaired.lost {
            out.line(format_args!("{YELLOW}lost{YELLOW:#} an unsent change of {id}: its row is gone from the file"));
        }
        out.line(format_args!("`haversack diff {}` shows them, `haversack sync` sends them.", args.file.display()));
    });
    Ok(if repaired.uncertain == 0 && repaired.lost.is_empty() {
        Outcome::Done
    } else {
        Outcome::Attention
    })
}

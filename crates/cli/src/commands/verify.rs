//! `haversack verify`: proves that a replica file holds what its server says it should, row for row.

use anyhow::{Context as _, Result};
use haversack_model::record::Digest;
use haversack_model::{Collection, CollectionId};
use serde_json::json;

use crate::args::{ConnectArgs, ServerFileArgs};
use crate::exit::Outcome;
use crate::output::{DIM, GREEN, Output, Unit, YELLOW, count};
use crate::replica::{File, Origin};
use crate::{connect, replica};

/// One collection on both sides.
#[derive(Debug)]
pub(crate) struct Compared {
    /// Which one.
    pub(crate) id: CollectionId,
    /// Its name.
    pub(crate) name: String,
    /// In the file.
    pub(crate) here: Digest,
    /// At the server.
    pub(crate) there: Digest,
}

impl Compared {
    /// Whether the rows are the same.
    pub(crate) fn is_equal(&self) -> bool {
        self.here == self.there
    }
}

/// Runs the command. Ends with [`Outcome::Attention`] if they differ.
pub(crate) fn run(args: &ServerFileArgs, out: Output) -> Result<Outcome> {
    let file = replica::open(&args.file)?;
    let waiting = file.status()?.pending;
    let bar = out.progress("comparing", Unit::Rows);
    let there = digests(&file, &args.connect)?;
    let compared = compare(&file, &file.collections(), &there)?;
    bar.finish_and_clear();

    let is_equal = compared.iter().all(Compared::is_equal);
    let document = json!({
        "equal": is_equal,
        "pending": waiting,
        "layers": compared.iter().map(|c| json!({
            "id": c.id.0, "name": c.name, "equal": c.is_equal(),
            "here": {"rows": c.here.count, "digest": digest(&c.here)},
            "there": {"rows": c.there.count, "digest": digest(&c.there)},
        })).collect::<Vec<_>>(),
    });
    out.result(&document, |out| {
        print(&compared, out);
        if is_equal {
            out.line(format_args!("{GREEN}Equal.{GREEN:#} Every row is the same on both sides."));
        } else if waiting > 0 {
            out.line(format_args!("{YELLOW}They differ:{YELLOW:#} {} not sent yet. `haversack sync {}` first.", count(waiting, "edit"), args.file.display()));
        } else {
            out.line(format_args!("{YELLOW}They differ:{YELLOW:#} others may have changed something. `haversack sync {}`, then verify again.", args.file.display()));
        }
    });
    Ok(if is_equal {
        Outcome::Done
    } else {
        Outcome::Attention
    })
}

/// What the server's rows sum to. A server that cannot tell is asked for the rows themselves.
fn digests(file: &File, connection: &ConnectArgs) -> Result<Vec<(CollectionId, Digest)>> {
    let header = file.header()?;
    let mut origin = Origin::of(file, connection)?;
    if let Origin::Native(native) = &origin {
        let digests = native
            .client
            .digests(&native.service, header.id)
            .map_err(|error| connect::explain(error, &header.url))?;
        return Ok(digests
            .collections
            .iter()
            .map(|c| (c.collection, c.digest))
            .collect());
    }
    let folder = tempfile::tempdir().context("making a folder for the comparison")?;
    let fresh = origin.fetch_fresh(
        file,
        &folder.path().join("fresh.gpkg"),
        &mut |_phase, _done, _total| {},
    )?;
    fresh
        .collections()
        .iter()
        .map(|collection| Ok((collection.id, fresh.digest(collection.id)?)))
        .collect()
}

/// Digests of the file beside those of the server.
pub(crate) fn compare(
    file: &File,
    collections: &[Collection],
    there: &[(CollectionId, Digest)],
) -> Result<Vec<Compared>> {
    let mut compared = Vec::new();
    for collection in collections {
        let other = there
            .iter()
            .find(|(id, _)| *id == collection.id)
            .map(|(_, digest)| *digest);
        compared.push(Compared {
            id: collection.id,
            name: collection.name.clone(),
            here: file.digest(collection.id)?,
            there: other.unwrap_or_default(),
        });
    }
    Ok(compared)
}

/// Prints a comparison.
pub(crate) fn print(compared: &[Compared], out: Output) {
    let rows = compared
        .iter()
        .map(|c| {
            let verdict = if c.is_equal() { "equal" } else { "DIFFERENT" };
            vec![
                c.name.clone(),
                c.here.count.to_string(),
                c.there.count.to_string(),
                digest(&c.here),
                digest(&c.there),
                verdict.to_owned(),
            ]
        })
        .collect();
    out.table(
        &[
            "layer",
            "rows here",
            "at the server",
            "digest here",
            "at the server",
            "",
        ],
        rows,
    );
    out.line(format_args!(
        "{DIM}A digest sums a hash of every row; equal digests mean equal rows.{DIM:#}"
    ));
}

fn digest(digest: &Digest) -> String {
    format!("{:016x}{:016x}", digest.sum.0, digest.sum.1)
        .chars()
        .take(12)
        .collect()
}

//! `haversack tracker login`, `logout` and `metadata`.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use haversack_dhis2::remote::copy;
use haversack_dhis2::remote::metadata::{Metadata, Stored};
use haversack_dhis2::remote::server::Server;
use serde_json::json;

use super::args::{FileArgs, LoginArgs, RemoteArgs};
use super::{check_new, explain, open, server, server_of, stem};
use crate::connect;
use crate::credentials::{self, KeptLogin};
use crate::exit::Outcome;
use crate::output::{BOLD, DIM, GREEN, Output, Unit, YELLOW, count};
use crate::replica::{self, File, Options};

/// How long a token is kept; the server may end it before.
const KEPT_MS: i64 = 365 * 24 * 3_600_000;

/// Runs `login`. The file appears under its name when the metadata is in it.
pub(super) fn login(args: &LoginArgs, out: Output) -> Result<Outcome> {
    check_new(&args.output)?;
    let server = server(&args.url, &args.connect)?;
    let mut filling = args.output.clone().into_os_string();
    filling.push(".filling");
    let filling = PathBuf::from(filling);
    if filling.exists() {
        std::fs::remove_file(&filling)
            .with_context(|| format!("removing {}", filling.display()))?;
    }
    let header = copy::header(server.http.url(), &stem(&args.output)?);
    // A program without spatial functions must be able to add rows: see docs/decisions/0022.
    let options = Options {
        spatial_index: false,
    };
    let filled = File::create(&filling, &copy::collections(), &header, options)
        .map_err(anyhow::Error::from)
        .and_then(|mut file| {
            let found = fetch(&server, &mut file, out)?;
            file.publish(&args.output)?;
            Ok(found)
        });
    let (metadata, stored) = match filled {
        Ok(found) => found,
        Err(error) => {
            // The first error is the one to tell.
            let _removed = std::fs::remove_file(&filling);
            return Err(error);
        }
    };
    keep_token(args, &metadata)?;
    report(&args.output, &server, &metadata, &stored, out);
    Ok(outcome(&metadata))
}

/// Runs `metadata`.
pub(super) fn metadata(args: &RemoteArgs, out: Output) -> Result<Outcome> {
    let mut file = open(&args.file, out)?;
    let server = server_of(&file, &args.connect)?;
    let (metadata, stored) = fetch(&server, &mut file, out)?;
    report(&args.file, &server, &metadata, &stored, out);
    Ok(outcome(&metadata))
}

/// Runs `logout`.
pub(super) fn logout(args: &FileArgs, out: Output) -> Result<Outcome> {
    let file = open(&args.file, out)?;
    let origin = connect::origin(&file.header()?.url)?;
    let had = credentials::forget(&origin)?;
    out.result(&json!({"forgotten": had}), |out| {
        out.line(if had {
            "Forgotten. The copy stays as it is."
        } else {
            "No token was kept for its server."
        });
    });
    Ok(Outcome::Done)
}

fn fetch(server: &Server, file: &mut File, out: Output) -> Result<(Metadata, Stored)> {
    let bar = out.progress("fetching metadata", Unit::Rows);
    let found = copy::sync_metadata(server, file, replica::now(), &mut |what| {
        bar.set_message(format!("fetching {what}"));
    });
    bar.finish_and_clear();
    found.map_err(|error| explain(error, server.http.url()))
}

/// Keeps a token for later commands; passwords are never kept.
fn keep_token(args: &LoginArgs, metadata: &Metadata) -> Result<()> {
    let Some(token) = &args.connect.token else {
        return Ok(());
    };
    let login = KeptLogin {
        user: metadata.user.username.clone(),
        token: token.clone(),
        expires_at_ms: replica::now().0 + KEPT_MS,
    };
    credentials::keep(&connect::origin(&args.url)?, login)?;
    Ok(())
}

fn outcome(metadata: &Metadata) -> Outcome {
    if metadata.user.capture.is_empty() {
        Outcome::Attention
    } else {
        Outcome::Done
    }
}

fn report(
    path: &std::path::Path,
    server: &Server,
    metadata: &Metadata,
    stored: &Stored,
    out: Output,
) {
    let document = json!({
        "file": path,
        "server": server.http.url(),
        "version": server.version.to_string(),
        "user": metadata.user.username,
        "objects": stored.objects,
        "changed": stored.changed,
        "removed": stored.removed,
        "missingReferences": stored.violations,
        "skipped": metadata.skipped.iter().map(|(of, reason)| json!({"type": of, "reason": reason})).collect::<Vec<_>>(),
    });
    let of = |name: &str| stored.objects.get(name).copied().unwrap_or(0) as u64;
    out.result(&document, |out| {
        out.line(format_args!(
            "{GREEN}{}{GREEN:#} is a copy of {} ({}) for {}.",
            path.display(),
            server.http.url(),
            server.version,
            metadata.user.username
        ));
        out.line(format_args!(
            "{BOLD}Metadata{BOLD:#}: {}, {}, {}, {}; {} changed, {} removed",
            count(of("organisationUnits"), "organisation unit"),
            count(of("programs"), "program"),
            count(of("programStages"), "stage"),
            count(of("dataSets"), "data set"),
            stored.changed,
            stored.removed
        ));
        for (of, reason) in &metadata.skipped {
            out.line(format_args!("{DIM}without {of}: {reason}{DIM:#}"));
        }
        if stored.violations > 0 {
            out.line(format_args!(
                "{YELLOW}{}{YELLOW:#} to objects that did not come: see the table \"DHIS2 missing references\".",
                count(stored.violations as u64, "reference")
            ));
        }
        if metadata.user.capture.is_empty() {
            out.line(format_args!("{YELLOW}This user has no organisation unit to enter data in.{YELLOW:#}"));
        }
        out.line(format_args!(
            "{DIM}`haversack tracker download {}` fetches the data.{DIM:#}",
            path.display()
        ));
    });
}

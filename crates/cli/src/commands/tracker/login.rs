//! `haversack tracker login`, `logout` and `metadata`.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use haversack_dhis2::remote::copy;
use haversack_dhis2::remote::http::Credentials;
use haversack_dhis2::remote::metadata::{self, Metadata, Stored};
use haversack_dhis2::remote::proof::{Proof, log_in_offline};
use haversack_dhis2::remote::server::Server;
use serde_json::json;

use super::args::{FileArgs, LoginArgs, RemoteArgs};
use super::{check_new, credentials, explain, open, server, server_as, server_of, stem};
use crate::connect;
use crate::credentials as kept;
use crate::credentials::KeptLogin;
use crate::exit::{NeedsLogin, Outcome, Unreachable};
use crate::output::{BOLD, DIM, GREEN, Output, Unit, YELLOW, count};
use crate::replica::{self, File, Options};

/// How long a token is kept; the server may end it before.
const KEPT_MS: i64 = 365 * 24 * 3_600_000;

/// Runs `login`. The file appears under its name when the metadata is in it.
pub(super) fn login(args: &LoginArgs, out: Output) -> Result<Outcome> {
    let Some(output) = &args.output else {
        return again(args, out);
    };
    check_new(output)?;
    let credentials = credentials(&args.at, &args.connect)?;
    let server = server(&args.at, credentials.clone(), &args.connect)?;
    let mut filling = output.clone().into_os_string();
    filling.push(".filling");
    let filling = PathBuf::from(filling);
    if filling.exists() {
        std::fs::remove_file(&filling)
            .with_context(|| format!("removing {}", filling.display()))?;
    }
    let header = copy::header(server.http.url(), &stem(output)?);
    // A program without spatial functions must be able to add rows: see docs/decisions/0022.
    let options = Options {
        spatial_index: false,
    };
    let filled = File::create(&filling, &copy::collections(), &header, options)
        .map_err(anyhow::Error::from)
        .and_then(|mut file| {
            let found = fetch(&server, &mut file, out)?;
            file.publish(output)?;
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
    keep_login(server.http.url(), &credentials, &metadata.user.username)?;
    report(output, &server, &metadata, &stored, out);
    Ok(outcome(&metadata))
}

/// Logs in to a copy that is there: at its server, or by what was kept of the last login where that cannot be reached.
fn again(args: &LoginArgs, out: Output) -> Result<Outcome> {
    let path = PathBuf::from(&args.at);
    if !path.is_file() {
        bail!("name the file to make with -o FILE, or a copy that is there instead of the URL");
    }
    let mut file = open(&path, out)?;
    let url = file.header()?.url;
    let of = file
        .read(|tx| copy::fact(tx, "username"))?
        .unwrap_or_default();
    let origin = connect::origin(&url)?;
    let credentials = credentials(&url, &args.connect)?;
    let is_offline = match server_as(&mut file, credentials.clone(), &args.connect) {
        Ok(server) => {
            let user = metadata::user(&server).map_err(|error| explain(error, &url))?;
            if user.username != of {
                bail!(
                    "this copy is {of}'s, not {}'s: log in as {of}, or make another copy",
                    user.username
                );
            }
            keep_login(&url, &credentials, &of)?;
            false
        }
        Err(error) if error.is::<Unreachable>() => {
            let proof = kept::proof(&origin, &of)?;
            let proof = proof.as_deref().map(Proof::from_text);
            let is_other = args.connect.user.as_ref().is_some_and(|user| *user != of);
            let proof = proof.as_ref().filter(|_| !is_other);
            log_in_offline(proof, secret(&credentials)).map_err(|why| {
                NeedsLogin(format!(
                    "{}: {url} cannot be reached, and what was kept of the last login does not do",
                    why.word()
                ))
            })?;
            true
        }
        Err(error) => return Err(error),
    };
    out.result(
        &json!({"file": path, "server": url, "user": of, "offline": is_offline}),
        |out| {
            out.line(format_args!(
                "{GREEN}Logged in{GREEN:#} as {of}{}.",
                if is_offline {
                    ", without the network"
                } else {
                    ""
                }
            ));
        },
    );
    Ok(Outcome::Done)
}

/// The password or token.
fn secret(credentials: &Credentials) -> &str {
    match credentials {
        Credentials::Anonymous => "",
        Credentials::Token(secret)
        | Credentials::Basic {
            password: secret, ..
        } => secret,
    }
}

/// Runs `metadata`.
pub(super) fn metadata(args: &RemoteArgs, out: Output) -> Result<Outcome> {
    let mut file = open(&args.file, out)?;
    let server = server_of(&mut file, &args.connect)?;
    let (metadata, stored) = fetch(&server, &mut file, out)?;
    report(&args.file, &server, &metadata, &stored, out);
    Ok(outcome(&metadata))
}

/// Runs `logout`.
pub(super) fn logout(args: &FileArgs, out: Output) -> Result<Outcome> {
    let file = open(&args.file, out)?;
    let origin = connect::origin(&file.header()?.url)?;
    let had = kept::forget(&origin)?;
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

/// Keeps a token for later commands, and what proves the login without the network. Passwords are never kept.
fn keep_login(url: &str, credentials: &Credentials, user: &str) -> Result<()> {
    let origin = connect::origin(url)?;
    let proof = Proof::of(secret(credentials)).map_err(|error| explain(error, url))?;
    kept::keep_proof(&origin, user, proof.text())?;
    let Credentials::Token(token) = credentials else {
        return Ok(());
    };
    let login = KeptLogin {
        user: user.to_owned(),
        token: token.clone(),
        expires_at_ms: replica::now().0 + KEPT_MS,
    };
    kept::keep(&origin, login)?;
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

//! `haversack pull`: makes a collection of this server a copy of another server's, and keeps it one.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use haversack_server::native::Client;
use haversack_server::native::pull::{self, Asked, Login, Report, Request};
use haversack_server::native::remote::Credentials;
use haversack_server::native::wire::JobInfo;
use haversack_sqlite::service::Change;
use haversack_sync::reconcile::Method;
use serde_json::json;

use crate::args::{PullArgs, PullFrom};
use crate::connect;
use crate::directory::Directory;
use crate::exit::Outcome;
use crate::output::{DIM, GREEN, Output, Unit, advance, count};

/// How long `--follow` waits for the other server to say that something changed; then it asks all the same.
const FOLLOW: Duration = Duration::from_secs(30);
/// How long it waits before it asks a server again that cannot say that.
const PAUSE: Duration = Duration::from_secs(2);

/// Runs the command.
pub(crate) fn run(args: &PullArgs, out: Output) -> Result<Outcome> {
    let directory = Directory::open_existing(&args.from.data)?;
    let mut asked = asked(&args.from)?;
    asked.request.dry_run = args.dry_run;
    asked.request.incremental = args.incremental;
    if args.detach {
        let Directory::Running(client) = &directory else {
            bail!(
                "--async needs a server that runs on {}",
                args.from.data.display()
            );
        };
        let job = start(client, &args.from, &asked)?;
        out.result(&json!({ "job": job.id }), |out| {
            out.line(format_args!("job {}", job.id));
            out.line(format_args!(
                "{DIM}`haversack job {} --data {}` says how far it is.{DIM:#}",
                job.id,
                args.from.data.display()
            ));
        });
        return Ok(Outcome::Done);
    }
    loop {
        let report = fetch(&directory, &args.from, &asked, out)?;
        let differs = report.dry_run && !report.differences.is_empty();
        if !args.follow || report.walk.method != Method::Equal {
            out.result(&serde_json::to_value(&report)?, |out| show(&report, out));
        }
        if !args.follow {
            return Ok(if differs {
                Outcome::Attention
            } else {
                Outcome::Done
            });
        }
        asked.request.incremental = true;
        asked.request.since.clone_from(&report.tick);
        wait_for_change(&args.from, &report);
    }
}

/// Waits until the other server may have something new.
fn wait_for_change(from: &PullFrom, report: &Report) {
    let url = web_url(&from.from);
    let there = from.collection.as_ref().unwrap_or(&from.name);
    let waited = report.walk.proof.map(|proof| {
        let credentials = connect::chosen(&url, &from.connect)?;
        let client = connect::with_credentials(&url, credentials, &from.connect)?;
        let told = client.wait_for_change((&from.database, there), &proof, FOLLOW);
        anyhow::Ok(told?)
    });
    if !matches!(waited, Some(Ok(_has_changed))) {
        std::thread::sleep(PAUSE);
    }
}

/// What is asked of the server that is to have the copy.
pub(crate) fn asked(from: &PullFrom) -> Result<Asked> {
    let url = web_url(&from.from);
    let login = match connect::chosen(&url, &from.connect)? {
        Credentials::Anonymous => Login::default(),
        Credentials::Token(token) => Login {
            token,
            ..Login::default()
        },
        Credentials::Basic { user, password } => Login {
            user,
            password,
            ..Login::default()
        },
    };
    let ca = from.connect.ca.as_ref().map(|path| {
        std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
    });
    Ok(Asked {
        request: Request {
            ca: ca.transpose()?,
            from: from.from.clone(),
            database: from.database.clone(),
            collection: from.collection.clone().unwrap_or_default(),
            max_wait_s: from.max_wait.or(from.connect.patience),
            insecure: from.connect.insecure,
            deep: from.deep,
            ..Request::default()
        },
        login,
    })
}

/// Makes the copy, in the server that runs or in the directory itself.
pub(crate) fn fetch(
    directory: &Directory,
    from: &PullFrom,
    asked: &Asked,
    out: Output,
) -> Result<Report> {
    let bar = out.progress("asking the other server", Unit::Rows);
    let mut progress = |phase: &str, done: u64, total: Option<u64>| {
        bar.set_message(phase.to_owned());
        advance(&bar, Unit::Rows, done, total);
    };
    let service = from.service();
    let report = match directory {
        Directory::Opened(server) => pull::run(
            server,
            service,
            &from.name,
            &asked.request,
            &asked.login,
            &mut progress,
        )?,
        Directory::Running(client) => {
            let job = start(client, from, asked)?;
            let report = client
                .wait_for(job.id, &mut progress)
                .map_err(|error| match error {
                    // The reason in full.
                    haversack_model::Error::Refused { message, .. } => anyhow::anyhow!(message),
                    other => other.into(),
                })?;
            serde_json::from_value(report).context("reading the server's report")?
        }
    };
    bar.finish_and_clear();
    Ok(report)
}

fn start(client: &Client, from: &PullFrom, asked: &Asked) -> Result<JobInfo> {
    let path = format!(
        "/v1/services/{}/collections/{}/pull",
        from.service(),
        from.name
    );
    let job = client.send("POST", &path, Some(&serde_json::to_value(asked)?))?;
    serde_json::from_value(job).context("reading the server's answer")
}

/// The URL of an endpoint, under which its login is kept.
fn web_url(endpoint: &str) -> String {
    let endpoint = endpoint.replacen("tcp://", "http://", 1);
    endpoint.replacen("ssl://", "https://", 1)
}

fn show(report: &Report, out: Output) {
    let Report { walk, .. } = report;
    let bytes = walk.bytes_sent + walk.bytes_received;
    let cost = format!(
        "{}, {} bytes",
        count(u64::from(walk.rounds), "round trip"),
        bytes
    );
    if report.dry_run {
        differences(report, out);
    } else if walk.was_equal() {
        out.line(format_args!(
            "{GREEN}equal{GREEN:#}: nothing to do {DIM}({cost}){DIM:#}"
        ));
    } else {
        out.line(format_args!(
            "{GREEN}{} is a copy{GREEN:#}: {} inserted, {} replaced, {} removed {DIM}({cost}){DIM:#}",
            report.collection,
            walk.inserted,
            walk.replaced,
            walk.removed + walk.dropped,
        ));
    }
}

/// What a dry run or a comparison found.
pub(crate) fn differences(report: &Report, out: Output) {
    if report.differences.is_empty() {
        out.line(format_args!("{GREEN}equal{GREEN:#}"));
        return;
    }
    for difference in &report.differences {
        let word = match difference.change {
            Change::Insert => "insert ",
            Change::Replace => "replace",
            Change::Remove => "remove ",
        };
        out.line(format_args!("{word} {}", difference.key));
    }
    if report.more {
        out.line(format_args!("{DIM}... and more{DIM:#}"));
    }
}

//! `haversack job`: how far a job of a server is, and what came of it.

use anyhow::{Result, bail};
use haversack_model::JobStatus;
use haversack_server::native::wire::JobInfo;

use crate::args::JobArgs;
use crate::directory::Directory;
use crate::exit::Outcome;
use crate::output::{DIM, GREEN, Output, Unit, advance};

/// Runs the command.
pub(crate) fn run(args: &JobArgs, out: Output) -> Result<Outcome> {
    let Directory::Running(client) = Directory::open_existing(&args.data)? else {
        bail!(
            "no server runs on {}; `haversack serve {}` goes on with its jobs",
            args.data.display(),
            args.data.display()
        );
    };
    if args.wait {
        let bar = out.progress("waiting for the server", Unit::Rows);
        let ended = client.wait_for(args.id, &mut |phase, done, total| {
            bar.set_message(phase.to_owned());
            advance(&bar, Unit::Rows, done, total);
        });
        bar.finish_and_clear();
        // A job that failed is shown below like any other.
        if let Err(error) = ended
            && !matches!(error, haversack_model::Error::Refused { .. })
        {
            return Err(error.into());
        }
    }
    let shown = client.send("GET", &format!("/v1/jobs/{}", args.id), None)?;
    let job: JobInfo = serde_json::from_value(shown.clone())?;
    out.result(&shown, |out| {
        let line = match job.status {
            JobStatus::Pending => format!("{} waits for its turn", job.kind),
            JobStatus::Running => format!("{} runs: {}, {} done", job.kind, job.phase, job.done),
            JobStatus::Completed => format!("{GREEN}{} is done{GREEN:#}", job.kind),
            JobStatus::Failed => format!("{} failed", job.kind),
        };
        out.line(line);
        if !job.result.is_null() {
            out.line(format_args!("{DIM}{}{DIM:#}", job.result));
        }
    });
    Ok(if job.status == JobStatus::Failed {
        Outcome::Attention
    } else {
        Outcome::Done
    })
}

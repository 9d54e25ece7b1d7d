//! `haversack compare`: whether a collection equals another server's, and where it does not. Changes nothing.

use anyhow::Result;

use super::pull;
use crate::args::CompareArgs;
use crate::directory::Directory;
use crate::exit::Outcome;
use crate::output::Output;

/// Runs the command.
pub(crate) fn run(args: &CompareArgs, out: Output) -> Result<Outcome> {
    let directory = Directory::open_existing(&args.with.data)?;
    let mut asked = pull::asked(&args.with)?;
    asked.request.dry_run = true;
    asked.request.list = args.list;
    let report = pull::fetch(&directory, &args.with, &asked, out)?;
    out.result(&serde_json::to_value(&report)?, |out| {
        pull::differences(&report, out);
    });
    Ok(if report.differences.is_empty() {
        Outcome::Done
    } else {
        Outcome::Attention
    })
}

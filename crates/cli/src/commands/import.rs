//! `haversack import`: loads a GeoJSON or GeoPackage file into a service.

use anyhow::{Context as _, Result};
use haversack_model::{CollectionId, Error as ModelError};
use haversack_server::import::{self, Report, Request, Source};
use serde_json::json;

use crate::args::ImportArgs;
use crate::directory::Directory;
use crate::exit::Outcome;
use crate::output::{DIM, GREEN, Output, Unit, advance, count};

/// Runs the command.
pub(crate) fn run(args: &ImportArgs, out: Output) -> Result<Outcome> {
    let format = Source::of_file(&args.file).with_context(|| {
        format!("{} is neither GeoJSON nor GeoPackage by its name; convert it first, for example with `ogr2ogr -f GPKG`", args.file.display())
    })?;
    anyhow::ensure!(
        args.file.is_file(),
        "there is no file {}",
        args.file.display()
    );
    haversack_server::services::check_name(&args.service)?;
    let layer = args.layer.map(CollectionId);
    let bar = out.progress("reading", Unit::Rows);
    let mut progress = |phase: &str, done: u64, total: Option<u64>| {
        bar.set_message(phase.to_owned());
        advance(&bar, Unit::Rows, done, total);
    };
    let report: Report = match Directory::open(&args.data)? {
        Directory::Opened(server) => {
            let request = Request {
                format,
                service: args.service.clone(),
                layer,
                name: None,
            };
            import::run(&server, &args.file, &request, None, &mut progress)?
        }
        Directory::Running(client) => {
            let name = args
                .file
                .file_stem()
                .map(|stem| stem.to_string_lossy().into_owned());
            let job = client.import(
                &args.service,
                &args.file,
                format.name(),
                layer,
                name.as_deref(),
            )?;
            let report = client
                .wait_for(job, &mut progress)
                .map_err(|error| match error {
                    // The reason why the file could not be imported, in full.
                    ModelError::Refused { message, .. } => anyhow::anyhow!(message),
                    other => other.into(),
                })?;
            serde_json::from_value(report).context("reading the server's report")?
        }
    };
    bar.finish_and_clear();

    for layer in &report.layers {
        for field in &layer.ignored_fields {
            out.warn(format_args!(
                "{} has no field {field:?}; it was left out",
                layer.name
            ));
        }
        for (old, new) in &layer.renamed_fields {
            out.warn(format_args!(
                "the field {old:?} is called {new:?} in {}",
                layer.name
            ));
        }
    }
    let document = json!({
        "service": report.service,
        "layers": report.layers.iter().map(|l| json!({"id": l.layer.0, "name": l.name, "rows": l.records})).collect::<Vec<_>>(),
    });
    out.result(&document, |out| {
        for layer in &report.layers {
            out.line(format_args!("{GREEN}{}{GREEN:#} into layer {} {:?} of {}", count(layer.records, "row"), layer.layer, layer.name, report.service));
        }
        out.line(format_args!(
            "{DIM}Administrators see it; `haversack user grant anonymous {} read --data {}` shows it to everybody.{DIM:#}",
            report.service, args.data.display()
        ));
    });
    Ok(Outcome::Done)
}

//! `haversack config`: every setting, its value, and its meaning.

use std::path::Path;

use anyhow::Result;
use haversack_server::Config;
use serde_json::{Value as Json, json};

use crate::args::ConfigArgs;
use crate::exit::Outcome;
use crate::output::{BOLD, DIM, Output};

/// Runs the command.
pub(crate) fn run(args: &ConfigArgs, out: Output) -> Result<Outcome> {
    let config = args
        .data
        .as_deref()
        .map_or_else(|| Ok(Config::default()), Config::load)?;
    let settings = config.settings();
    let document = settings.iter().map(
        |s| json!({"name": s.name, "value": s.value, "default": s.default, "meaning": s.meaning}),
    );
    out.result(&Json::Array(document.collect()), |out| {
        for setting in &settings {
            let changed = if setting.value == setting.default {
                String::new()
            } else {
                format!("  (default {})", setting.default)
            };
            out.line(format_args!(
                "{BOLD}{} = {}{BOLD:#}{changed}",
                setting.name, setting.value
            ));
            out.line(format_args!("    {DIM}{}{DIM:#}", setting.meaning));
        }
        let place = args
            .data
            .as_deref()
            .unwrap_or_else(|| Path::new("DIR"))
            .join(Config::FILE);
        out.line("");
        out.line(format_args!(
            "Change one by writing `name = value` into {} and starting the server again.",
            place.display()
        ));
    });
    Ok(Outcome::Done)
}

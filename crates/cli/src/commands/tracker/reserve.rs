//! `haversack tracker reserve`: fills the pools of generated values, and takes values out of them.

use anyhow::{Result, bail};
use haversack_dhis2::remote::push::Courier;
use haversack_dhis2::remote::reserved::{self, Away, Filled, Size, Wanted};
use haversack_dhis2::wire::date;
use serde_json::{Value as Json, json};

use super::args::ReserveArgs;
use super::{explain, open, server_of};
use crate::exit::{Outcome, Unreachable};
use crate::output::{BOLD, Output, YELLOW};
use crate::replica;

/// Runs the command. Ends with [`Outcome::Attention`] if a pool stays low.
pub(super) fn run(args: &ReserveArgs, out: Output) -> Result<Outcome> {
    let mut file = open(&args.file, out)?;
    let url = file.header()?.url;
    let (away, server);
    let courier: &dyn Courier = match server_of(&mut file, &args.connect) {
        Ok(reached) => {
            server = reached;
            &server.http
        }
        // What is in the pool can be given out without a network.
        Err(error) if error.is::<Unreachable>() => {
            away = Away(error.to_string());
            &away
        }
        Err(error) => return Err(error),
    };
    let all = file.read(|tx| Ok(reserved::pools(tx)))?;
    let mut wanted = all.map_err(|error| explain(error, &url))?;
    wanted.retain(|pool| {
        let is_unit = |uid: &String| pool.unit.as_ref().is_some_and(|(of, _)| of == uid);
        args.attribute
            .as_ref()
            .is_none_or(|uid| *uid == pool.attribute)
            && args
                .org_unit
                .as_ref()
                .is_none_or(|uid| pool.unit.is_none() || is_unit(uid))
    });
    if wanted.is_empty() {
        bail!(
            "the metadata of this copy has no such generated attribute; `haversack tracker metadata {}` fetches it anew",
            args.file.display()
        );
    }
    if args.take && wanted.len() != 1 {
        bail!(
            "a value is taken of one attribute at one unit: name them with --attribute and --org-unit"
        );
    }
    let size = Size {
        full: args.full,
        threshold: args.threshold,
    };
    let mut told = Vec::new();
    for pool in wanted {
        let now = replica::now();
        let (value, filled) = if args.take {
            let taken = reserved::take(&mut file, courier, &pool, size, now);
            let taken = taken.map_err(|error| explain(error, &url))?;
            (Some(taken.value), taken.pool)
        } else {
            let filled = reserved::fill(&mut file, courier, &pool, size, now);
            (None, filled.map_err(|error| explain(error, &url))?)
        };
        told.push((pool, value, filled));
    }
    report(&told, out);
    let is_low = told.iter().any(|(_, _, filled)| filled.is_low);
    Ok(if is_low {
        Outcome::Attention
    } else {
        Outcome::Done
    })
}

fn report(told: &[(Wanted, Option<String>, Filled)], out: Output) {
    let pools: Vec<Json> = told
        .iter()
        .map(|(pool, value, filled)| {
            json!({
                "attribute": pool.attribute, "organisationUnit": pool.unit.as_ref().map(|(uid, _)| uid), "pattern": pool.pattern,
                "value": value, "left": filled.left, "fetched": filled.fetched, "low": filled.is_low,
                "endsAt": filled.ends_at.map(date::format), "problem": filled.problem,
            })
        })
        .collect();
    out.result(&json!({ "pools": pools }), |out| {
        for (pool, value, filled) in told {
            if let Some(value) = value {
                out.line(format_args!("{BOLD}{value}{BOLD:#}"));
            }
            let unit = pool.unit.as_ref().map_or("", |(uid, _)| uid);
            let until = filled.ends_at.map_or(String::new(), |end| {
                format!(", the first until {}", date::format(end))
            });
            out.line(format_args!(
                "{} {unit}: {} left, {} fetched{until}",
                pool.attribute, filled.left, filled.fetched
            ));
            if filled.is_low {
                let why = filled
                    .problem
                    .as_deref()
                    .unwrap_or("more are fetched when it is half empty");
                out.line(format_args!("  {YELLOW}that is few{YELLOW:#}: {why}"));
            }
        }
    });
}

//! `haversack tracker download` and `break-glass`.

use anyhow::Result;
use haversack_dhis2::remote::pull::{self, Denied, Downloaded, Request};
use haversack_dhis2::remote::push::GLASS;
use haversack_dhis2::wire::version::Api;
use serde_json::json;

use super::args::{ApiArg, DownloadArgs, GlassArgs};
use super::{explain, open, server_of};
use crate::exit::Outcome;
use crate::output::{BOLD, GREEN, Output, Unit, YELLOW, count};
use crate::replica;

/// Runs the command. Ends with [`Outcome::Attention`] if a page failed, something was denied, or a conflict came up.
pub(super) fn run(args: &DownloadArgs, out: Output) -> Result<Outcome> {
    let mut file = open(&args.file, out)?;
    let mut server = server_of(&file, &args.connect)?;
    if let Some(api) = args.api {
        server.chosen.exporter = Some(match api {
            ApiArg::Old => Api::Old,
            ApiArg::New => Api::New,
        });
    }
    let bar = out.progress("fetching tracker data", Unit::Rows);
    let mut progress = |now: pull::Progress<'_>| {
        bar.set_message(format!("fetching {}", now.what));
        bar.set_position(now.objects as u64);
    };
    let ended = if args.uid.is_empty() {
        let request = Request {
            limit: args.limit,
            by_program: args.limit_by_program,
            by_unit: args.limit_by_orgunit,
            program: args.program.clone(),
            status: args.status.clone(),
            full: args.full,
        };
        pull::download(&server, &mut file, &request, &replica::now, &mut progress)
            .map(|done| (done, Vec::new()))
    } else {
        let program = args.program.as_deref();
        pull::by_uid(
            &server,
            &mut file,
            &args.uid,
            program,
            &replica::now,
            &mut progress,
        )
    };
    bar.finish_and_clear();
    let (done, denied) = ended.map_err(|error| explain(error, server.http.url()))?;
    report(&done, &denied, out);
    let is_whole = done.failed.is_empty() && done.unknown.is_empty() && denied.is_empty();
    Ok(if is_whole && done.conflicts == 0 && !done.no_units {
        Outcome::Done
    } else {
        Outcome::Attention
    })
}

fn word(why: &Denied) -> &'static str {
    match why {
        Denied::Ownership => "OWNERSHIP_ACCESS_DENIED",
        Denied::Closed => "PROGRAM_ACCESS_CLOSED",
        Denied::NotFound => "NOT_FOUND",
    }
}

fn report(done: &Downloaded, denied: &[(String, Denied)], out: Output) {
    let document = json!({
        "trackedEntities": done.entities,
        "events": done.events,
        "put": done.put,
        "removed": done.removed,
        "protected": done.protected,
        "conflicts": done.conflicts,
        "relationshipStubs": done.stubs,
        "droppedRelationships": done.dropped_relationships,
        "failedPages": done.failed.iter().map(|page| json!({
            "kind": page.kind.collection(), "program": page.program, "page": page.page, "reason": page.reason,
        })).collect::<Vec<_>>(),
        "unknown": done.unknown,
        "denied": denied.iter().map(|(uid, why)| json!({"trackedEntity": uid, "reason": word(why)})).collect::<Vec<_>>(),
        "noOrganisationUnits": done.no_units,
    });
    out.result(&document, |out| {
        if done.no_units {
            out.line(format_args!("{YELLOW}This user has no organisation unit: there is nothing to fetch.{YELLOW:#}"));
            return;
        }
        out.line(format_args!(
            "{GREEN}Fetched{GREEN:#} {}, {} without registration: {} stored, {}",
            match done.entities {
                1 => "1 tracked entity".to_owned(),
                n => format!("{n} tracked entities"),
            },
            count(done.events as u64, "event"),
            count(done.put as u64, "record"),
            count(done.removed as u64, "removal"),
        ));
        if done.protected > 0 {
            out.line(format_args!("{BOLD}{}{BOLD:#} with unsent work left as they are; the server's version is kept beside.", count(done.protected as u64, "record")));
        }
        if done.conflicts > 0 {
            out.line(format_args!("{YELLOW}{}{YELLOW:#}: edited here, deleted on the server. `haversack conflicts` shows and decides them.", count(done.conflicts as u64, "conflict")));
        }
        for page in &done.failed {
            out.line(format_args!(
                "{YELLOW}failed{YELLOW:#} page {} of {} in {:?}: {}. The next download asks again.",
                page.page, page.kind.collection(), page.program, page.reason
            ));
        }
        if !done.unknown.is_empty() {
            let all: Vec<&str> = done.unknown.iter().map(String::as_str).collect();
            out.line(format_args!("{YELLOW}Left out{YELLOW:#}: objects of {}; run `haversack tracker metadata` first.", all.join(", ")));
        }
        for (uid, why) in denied {
            out.line(match why {
                Denied::Ownership => format!("{uid}: another unit owns it in this protected program; `haversack tracker break-glass` asks for access"),
                Denied::Closed => format!("{uid}: the program is closed to other units"),
                Denied::NotFound => format!("{uid}: there is none that you may see"),
            });
        }
    });
}

/// Runs `break-glass`.
pub(super) fn break_glass(args: &GlassArgs, out: Output) -> Result<Outcome> {
    let mut file = open(&args.file, out)?;
    let server = server_of(&file, &args.connect)?;
    pull::break_glass(&server, &args.entity, &args.program, &args.reason)
        .map_err(|error| explain(error, server.http.url()))?;
    // An upload that comes too late breaks it again, for the same reason.
    let name = format!("{}/{}", args.entity, args.program);
    replica::write(&mut file, |tx| {
        tx.store_note(GLASS, &name, Some(&args.reason))
    })?;
    out.result(
        &json!({"trackedEntity": args.entity, "program": args.program}),
        |out| {
            out.line(format_args!(
                "Access granted for some hours. `haversack tracker download {} --uid {} --program {}` fetches it.",
                args.file.display(),
                args.entity,
                args.program
            ));
        },
    );
    Ok(Outcome::Done)
}

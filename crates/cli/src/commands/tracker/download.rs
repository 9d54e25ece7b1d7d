//! `haversack tracker download` and `break-glass`.

use anyhow::Result;
use haversack_dhis2::remote::error::Error;
use haversack_dhis2::remote::files::{self, FetchedFiles, MAX_BYTES};
use haversack_dhis2::remote::pull::{
    self, AggregateDownloaded, AggregateRequest, Denied, Downloaded, Request,
};
use haversack_dhis2::remote::push::GLASS;
use haversack_dhis2::remote::server::Server;
use haversack_dhis2::remote::settings::Settings;
use haversack_dhis2::wire::version::Api;
use serde_json::{Value as Json, json};

use super::args::{ApiArg, DownloadArgs, GlassArgs, Part};
use super::{explain, open, server_of};
use crate::exit::Outcome;
use crate::output::{BOLD, GREEN, Output, Unit, YELLOW, count};
use crate::replica::{self, File};

/// Runs the command. Ends with [`Outcome::Attention`] if a page failed, something was denied, or a conflict came up.
pub(super) fn run(args: &DownloadArgs, out: Output) -> Result<Outcome> {
    let mut file = open(&args.file, out)?;
    let mut server = server_of(&mut file, &args.connect)?;
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
    let tracker = if wants(args, Part::Tracker) {
        Some(tracker(args, &server, &mut file, &mut progress))
    } else {
        None
    };
    let tracker = tracker.transpose();
    let values = match &tracker {
        Ok(_) if wants(args, Part::Aggregate) => {
            let request = AggregateRequest {
                data_sets: args.data_sets.clone(),
                periods: args.periods.clone(),
                past: args.past_periods.map(usize::from),
                as_chosen: !args.ignore_settings,
                full: args.full,
            };
            let now = &replica::now;
            let done = pull::aggregate(&server, &mut file, &request, now, &mut progress);
            done.map(Some)
        }
        _ => Ok(None),
    };
    let chosen = file.read(Settings::load)?.max_file_bytes;
    let pictures = match &values {
        Ok(_) if args.files && tracker.is_ok() => {
            bar.set_message("fetching files");
            let chosen = chosen.filter(|_| !args.ignore_settings);
            let most = args.max_file_bytes.or(chosen).unwrap_or(MAX_BYTES);
            let mut count = |n: usize| bar.set_position(n as u64);
            files::fetch(&server, &mut file, most, &mut count).map(Some)
        }
        _ => Ok(None),
    };
    bar.finish_and_clear();
    let told = |error| explain(error, server.http.url());
    let (tracker, values) = (tracker.map_err(told)?, values.map_err(told)?);
    let pictures = pictures.map_err(told)?;
    report(tracker.as_ref(), values.as_ref(), pictures.as_ref(), out);
    let is_whole = tracker.is_none_or(|(done, denied)| {
        let came = done.failed.is_empty() && done.unknown.is_empty() && denied.is_empty();
        came && done.conflicts == 0 && !done.no_units
    });
    let has_values = values.is_none_or(|done| done.failed.is_empty() && done.conflicts == 0);
    let has_files = pictures.is_none_or(|done| done.failed.is_empty() && done.too_large.is_empty());
    Ok(if is_whole && has_values && has_files {
        Outcome::Done
    } else {
        Outcome::Attention
    })
}

/// Whether a part is asked for.
fn wants(args: &DownloadArgs, part: Part) -> bool {
    let is_narrow = !args.uid.is_empty() || args.program.is_some();
    match args.only {
        Some(only) => only == part,
        None => part == Part::Tracker || !is_narrow,
    }
}

type Tracker = (Downloaded, Vec<(String, Denied)>);

fn tracker(
    args: &DownloadArgs,
    server: &Server,
    file: &mut File,
    progress: &mut dyn FnMut(pull::Progress<'_>),
) -> Result<Tracker, Error> {
    let now = &replica::now;
    if args.uid.is_empty() {
        let request = Request {
            limit: args.limit,
            by_program: args.limit_by_program,
            by_unit: args.limit_by_orgunit,
            program: args.program.clone(),
            status: args.status.clone(),
            as_chosen: !args.ignore_settings,
            full: args.full,
            ..Request::default()
        };
        let done = pull::download(server, file, &request, now, progress)?;
        Ok((done, Vec::new()))
    } else {
        let program = args.program.as_deref();
        pull::by_uid(server, file, &args.uid, program, now, progress)
    }
}

fn word(why: &Denied) -> &'static str {
    match why {
        Denied::Ownership => "OWNERSHIP_ACCESS_DENIED",
        Denied::Closed => "PROGRAM_ACCESS_CLOSED",
        Denied::NotFound => "NOT_FOUND",
    }
}

fn report(
    tracker: Option<&Tracker>,
    values: Option<&AggregateDownloaded>,
    pictures: Option<&FetchedFiles>,
    out: Output,
) {
    let mut document = tracker.map_or_else(|| json!({}), |(done, denied)| told(done, denied));
    if let Some(done) = values {
        document["aggregate"] = json!({
            "dataValues": done.values,
            "completions": done.completions,
            "put": done.put,
            "removed": done.removed,
            "protected": done.protected,
            "conflicts": done.conflicts,
            "failed": done.failed.iter().map(|one| json!({"dataSet": one.data_set, "reason": one.reason})).collect::<Vec<_>>(),
        });
    }
    if let Some(done) = pictures {
        document["files"] = json!({
            "fetched": done.fetched,
            "known": done.known,
            "dropped": done.dropped,
            "tooLarge": done.too_large,
            "failed": done.failed.iter().map(|(uid, reason)| json!({"uid": uid, "reason": reason})).collect::<Vec<_>>(),
        });
    }
    out.result(&document, |out| {
        if let Some((done, denied)) = tracker {
            say(done, denied, out);
        }
        if let Some(done) = values {
            say_values(done, out);
        }
        if let Some(done) = pictures {
            say_files(done, out);
        }
    });
}

fn told(done: &Downloaded, denied: &[(String, Denied)]) -> Json {
    json!({
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
    })
}

fn say_values(done: &AggregateDownloaded, out: Output) {
    out.line(format_args!(
        "{GREEN}Fetched{GREEN:#} {}, {}: {} stored, {}",
        count(done.values as u64, "data value"),
        count(done.completions as u64, "completion"),
        count(done.put as u64, "record"),
        count(done.removed as u64, "removal"),
    ));
    say_protected(done.protected, done.conflicts, out);
    for one in &done.failed {
        out.line(format_args!(
            "{YELLOW}failed{YELLOW:#} data set {}: {}. The next download asks again.",
            one.data_set, one.reason
        ));
    }
}

fn say_files(done: &FetchedFiles, out: Output) {
    out.line(format_args!(
        "{GREEN}Fetched{GREEN:#} {}; {} there before",
        count(done.fetched as u64, "file"),
        done.known
    ));
    for uid in &done.too_large {
        out.line(format_args!(
            "{YELLOW}too large{YELLOW:#}: {uid}; --max-file-bytes allows more"
        ));
    }
    for (uid, reason) in &done.failed {
        out.line(format_args!("{YELLOW}failed{YELLOW:#} {uid}: {reason}"));
    }
}

fn say_protected(protected: usize, conflicts: usize, out: Output) {
    if protected > 0 {
        out.line(format_args!("{BOLD}{}{BOLD:#} with unsent work left as they are; the server's version is kept beside.", count(protected as u64, "record")));
    }
    if conflicts > 0 {
        out.line(format_args!("{YELLOW}{}{YELLOW:#}: edited here, deleted on the server. `haversack conflicts` shows and decides them.", count(conflicts as u64, "conflict")));
    }
}

fn say(done: &Downloaded, denied: &[(String, Denied)], out: Output) {
    if done.no_units {
        out.line(format_args!(
            "{YELLOW}This user has no organisation unit: there is nothing to fetch.{YELLOW:#}"
        ));
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
    say_protected(done.protected, done.conflicts, out);
    for page in &done.failed {
        out.line(format_args!(
            "{YELLOW}failed{YELLOW:#} page {} of {} in {:?}: {}. The next download asks again.",
            page.page,
            page.kind.collection(),
            page.program,
            page.reason
        ));
    }
    if !done.unknown.is_empty() {
        let all: Vec<&str> = done.unknown.iter().map(String::as_str).collect();
        out.line(format_args!(
            "{YELLOW}Left out{YELLOW:#}: objects of {}; run `haversack tracker metadata` first.",
            all.join(", ")
        ));
    }
    for (uid, why) in denied {
        out.line(match why {
                Denied::Ownership => format!("{uid}: another unit owns it in this protected program; `haversack tracker break-glass` asks for access"),
                Denied::Closed => format!("{uid}: the program is closed to other units"),
                Denied::NotFound => format!("{uid}: there is none that you may see"),
            });
    }
}

/// Runs `break-glass`.
pub(super) fn break_glass(args: &GlassArgs, out: Output) -> Result<Outcome> {
    let mut file = open(&args.file, out)?;
    let server = server_of(&mut file, &args.connect)?;
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

//! Downloads by uid, with protected programs and the glass before them. Source: `spec/dhis2.md` 5.4.

use std::collections::BTreeSet;

use haversack_model::local::LocalReplica;
use haversack_model::{GlobalId, ReplicaTx, Timestamp};

use super::bundle::Known;
use super::{Downloaded, Kind, Progress, Rest, Run, read, request};
use crate::remote::error::{Error, Result};
use crate::remote::layout::Layout;
use crate::remote::server::Server;

/// Why a tracked entity was not downloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The program is protected and another unit owns it: break the glass, with a reason.
    Ownership,
    /// The program is closed to who does not own it.
    Closed,
    /// There is none of this uid that the user may see.
    NotFound,
}

/// Downloads tracked entities by their uids, whole in one program or with what is in all of them. Those that the server does not
/// give are listed with the reason.
///
/// # Errors
/// The server's and the copy's.
pub fn by_uid(
    server: &Server,
    local: &mut dyn LocalReplica,
    uids: &[String],
    program: Option<&str>,
    now: &dyn Fn() -> Timestamp,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(Downloaded, Vec<(String, Denied)>)> {
    let known = read(local, Known::load)?;
    let level = match program {
        Some(program) => read(local, |tx| access_level(&known.layout, tx, program))?,
        None => String::new(),
    };
    let mut run = Run {
        server,
        local,
        layout: known.layout,
        now,
        progress,
        done: Downloaded::default(),
        rest: Rest::default(),
        is_troubled: false,
        hasher: std::hash::RandomState::new(),
    };
    let mut denied = Vec::new();
    for uid in uids {
        let asked = match program {
            Some(_) => request::one(server, Kind::TrackedEntity, uid, program),
            None => request::some(server, Kind::TrackedEntity, &[uid])
                .map(|found| found.into_iter().next()),
        };
        match asked {
            Ok(Some(object)) => {
                run.store(
                    Kind::TrackedEntity,
                    vec![object],
                    program,
                    1,
                    &mut BTreeSet::new(),
                )?;
            }
            Ok(None) => {
                denied.push((uid.clone(), behind_glass(server, uid, &level)));
            }
            Err(error) => match refusal(&error) {
                Some(why) => denied.push((uid.clone(), why)),
                None => return Err(error),
            },
        }
    }
    run.finish()?;
    Ok((run.done, denied))
}

/// What a refusal says of ownership, if it does.
fn refusal(error: &Error) -> Option<Denied> {
    let Error::Refused { message, code, .. } = error else {
        return None;
    };
    if message.contains("OWNERSHIP_ACCESS_DENIED") || code.as_deref() == Some("E1102") {
        Some(Denied::Ownership)
    } else if message.contains("PROGRAM_ACCESS_CLOSED") {
        Some(Denied::Closed)
    } else {
        None
    }
}

/// How a program is guarded, as the copy knows it.
fn access_level(
    layout: &Layout,
    tx: &dyn ReplicaTx,
    program: &str,
) -> haversack_model::Result<String> {
    let Some(table) = layout.metadata("programs") else {
        return Ok(String::new());
    };
    let row = tx.row(table.id(), &GlobalId::Text(program.into()))?;
    Ok(row.map_or_else(String::new, |row| table.text(&row, "access_level")))
}

/// From 2.42 on what is behind glass looks as if it were not there; asked without the program it may still be seen.
fn behind_glass(server: &Server, uid: &str, level: &str) -> Denied {
    let guard = match level {
        "PROTECTED" => Denied::Ownership,
        "CLOSED" => Denied::Closed,
        _ => return Denied::NotFound,
    };
    match request::some(server, Kind::TrackedEntity, &[uid]) {
        Ok(found) if !found.is_empty() => guard,
        _ => Denied::NotFound,
    }
}

/// Breaks the glass: the server lets this user see a tracked entity in a protected program for some hours, and writes the reason
/// down.
///
/// # Errors
/// The server's.
pub fn break_glass(server: &Server, entity: &str, program: &str, reason: &str) -> Result<()> {
    let params = [
        (server.version.glass_parameter(), entity),
        ("program", program),
        ("reason", reason),
    ];
    let answer = server
        .http
        .post("tracker/ownership/override", &params, None)?;
    if answer.status == 409 {
        return Err(crate::remote::http::refusal(
            "tracker/ownership/override",
            &answer,
        ));
    }
    Ok(())
}

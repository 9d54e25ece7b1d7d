//! Jobs of the new importer: followed until their report is there.
//!
//! A server may forget its jobs when it restarts: one that was seen and is gone, or is never seen, is lost, and what it was to do
//! is sent again, which does no harm. Source: `spec/dhis2.md` 7.1.

use std::time::Duration;

use serde_json::Value;

use super::{Courier, Pace};
use crate::remote::error::{Error, Result};
use crate::wire::report::{self, Progress, Report};

/// Wait before the first question about a new job.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Wait before each further one.
const NEXT_WAIT: Duration = Duration::from_secs(2);
/// Questions about a new job.
pub(super) const TRIES: u32 = 91;
/// Questions about a job of an earlier upload.
pub(super) const TRIES_OF_OLD: u32 = 2;
/// A job that was seen is lost when the server does not know it so often in a row.
const ABSENT: u32 = 3;

/// Where a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Followed {
    /// With a report.
    Done(Report),
    /// It is still under way.
    Open,
    /// The server does not know it.
    Lost,
}

/// Follows a job. `is_old`: it was begun by an earlier upload, so the first question need not wait.
///
/// # Errors
/// The network's, and of a server that is out of order for now: the job is to be asked again.
pub(super) fn follow(
    courier: &dyn Courier,
    pace: &mut dyn Pace,
    id: &str,
    is_old: bool,
) -> Result<Followed> {
    let tries = if is_old { TRIES_OF_OLD } else { TRIES };
    let (mut is_seen, mut absent) = (false, 0);
    for no in 0..tries {
        match (no, is_old) {
            (0, true) => {}
            (0, false) => pace.wait(FIRST_WAIT),
            _ => pace.wait(NEXT_WAIT),
        }
        let told = match courier.get(&format!("tracker/jobs/{id}")) {
            Ok(told) => told,
            Err(error) if error.status() == Some(404) => Value::Null,
            Err(error) if is_passing(&error) => return Err(error),
            Err(_) => return Ok(Followed::Lost),
        };
        let is_known = told.as_array().is_some_and(|entries| !entries.is_empty());
        match report::progress(&told) {
            Ok(Progress::Completed) => return report_of(courier, id),
            Ok(Progress::Running) if is_known => (is_seen, absent) = (true, 0),
            _ => absent += 1,
        }
        if is_seen && absent >= ABSENT {
            return Ok(Followed::Lost);
        }
    }
    Ok(if absent == 0 {
        Followed::Open
    } else {
        Followed::Lost
    })
}

fn report_of(courier: &dyn Courier, id: &str) -> Result<Followed> {
    let told = match courier.get(&format!("tracker/jobs/{id}/report")) {
        Ok(told) => told,
        Err(error) if is_passing(&error) => return Err(error),
        Err(_) => return Ok(Followed::Lost),
    };
    // Something that is no report says nothing of any object: they are sent again.
    Ok(Report::of_job(&told).map_or(Followed::Lost, Followed::Done))
}

/// Whether the same question may be answered later. A login that ended counts: nothing is known of the job.
fn is_passing(error: &Error) -> bool {
    error.is_passing()
        || matches!(
            error,
            Error::BadCredentials | Error::AccountDisabled | Error::AccountLocked
        )
}

//! Reserved values: devices get those that the country reserved for this server, and no others.
//!
//! The country gives values to other clinics, too. So nothing is generated here: a pool is kept in the copy, filled ahead, and what is not in it is refused.

use haversack_model::host::{ReservedValue, ValuesError};
use haversack_model::local::LocalReplica;
use haversack_model::{GlobalId, Timestamp};

use super::Result;
use crate::remote::error::Error as RemoteError;
use crate::remote::layout::Layout;
use crate::remote::push::Courier;
use crate::remote::reserved::{self, Size, Wanted};

/// Fills all pools that are low.
///
/// # Errors
/// Those of the copy. That the country gives no more is no error.
pub fn fill(
    copy: &mut dyn LocalReplica,
    courier: &dyn Courier,
    full: u64,
    now: Timestamp,
) -> Result<()> {
    let pools = reserved::pools(&*copy.begin()?)?;
    for wanted in pools {
        let size = Size {
            full: Some(full),
            threshold: None,
        };
        reserved::fill(copy, courier, &wanted, size, now)?;
    }
    Ok(())
}

/// Takes values of an attribute out of its pool, with the code of a unit where its pattern holds one.
///
/// # Errors
/// A sentence for people; nothing is taken then.
pub fn take(
    copy: &mut dyn LocalReplica,
    courier: &dyn Courier,
    (attribute, unit_code): (&str, Option<&str>),
    (full, count): (u64, u64),
    now: Timestamp,
) -> Result<Vec<ReservedValue>, ValuesError> {
    let wanted = wanted(copy, attribute, unit_code).map_err(|e| ValuesError(e.to_string()))?;
    let Some(wanted) = wanted else {
        return Err(ValuesError(format!(
            "The country does not know the attribute {attribute}, or no organisation unit with this code."
        )));
    };
    reserved::take_all(copy, courier, &wanted, (full, count), now).map_err(|error| match error {
        RemoteError::NoReservedValues { problem, .. } => ValuesError(format!(
            "Not enough values left to reserve {count} values: they come from the country; {problem}"
        )),
        error => ValuesError(error.to_string()),
    })
}

fn wanted(
    copy: &mut dyn LocalReplica,
    attribute: &str,
    unit_code: Option<&str>,
) -> Result<Option<Wanted>> {
    let tx = copy.begin()?;
    let layout = Layout::of(&tx.collections()?);
    let (Some(attributes), Some(units)) = (
        layout.metadata("trackedEntityAttributes"),
        layout.metadata("organisationUnits"),
    ) else {
        return Ok(None);
    };
    let id = GlobalId::Text(attribute.into());
    let Some(known) = tx.row(attributes.id(), &id)? else {
        return Ok(None);
    };
    let mut wanted = Wanted {
        attribute: attribute.to_owned(),
        pattern: attributes.text(&known, "pattern"),
        unit: None,
    };
    let needs_unit = crate::wire::pattern::TextPattern::parse(&wanted.pattern)
        .is_ok_and(|pattern| pattern.needs_org_unit());
    if !needs_unit {
        return Ok(Some(wanted));
    }
    for id in tx.confirmed(units.id())? {
        if let Some(row) = tx.row(units.id(), &id)?
            && unit_code == Some(units.text(&row, "code").as_str())
        {
            wanted.unit = Some((id.to_string(), units.text(&row, "code")));
            return Ok(Some(wanted));
        }
    }
    Ok(None)
}

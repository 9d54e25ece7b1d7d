//! What a copy remembers of its primary.

use haversack_model::{CollectionId, Generation, HistoryId, Result};
use haversack_sync::reconcile::{Base, Sum};

use crate::error::{corrupt, while_doing};
use crate::service::view::View;

/// A row of `haversack_upstreams`.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) history: Option<HistoryId>,
    pub(super) since: Generation,
    pub(super) proven: Option<Sum>,
    /// Whether a record may have no generation of the primary. Stored as 2 when records begin to be matched by key, which any
    /// edit makes 1.
    pub(super) unnumbered: bool,
    /// Whether it was edited since that, or since it was proven.
    pub(super) was_edited: bool,
    pub(super) base: Base,
}

pub(super) fn base_number(base: Base) -> i64 {
    match base {
        Base::Kept => 0,
        Base::Unnumbered => 1,
        Base::Void => 2,
    }
}

pub(super) fn upstream(view: &View<'_>, id: CollectionId) -> Result<Upstream> {
    let doing = "reading where a copy stands";
    let (history, since, items, high, low, unnumbered, base) = view
        .prepare(
            "SELECT history, since, proven_items, proven_high, proven_low, unnumbered, base \
             FROM haversack_upstreams WHERE collection = ?1",
            doing,
        )?
        .query_row([id.0], |row| {
            Ok((
                row.get::<_, Option<String>>(0)?,
                row.get::<_, i64>(1)?,
                row.get::<_, Option<i64>>(2)?,
                row.get::<_, Option<i64>>(3)?,
                row.get::<_, Option<i64>>(4)?,
                row.get::<_, i64>(5)?,
                row.get::<_, i64>(6)?,
            ))
        })
        .map_err(while_doing(doing))?;
    let history = history
        .map(|text| {
            text.parse()
                .map_err(|_not_an_id| corrupt(format!("history id {text:?}")))
        })
        .transpose()?;
    let proven = items.zip(high).zip(low).map(|((count, high), low)| Sum {
        count: count as u64,
        high: high as u64,
        low: low as u64,
    });
    Ok(Upstream {
        history,
        since: Generation(since as u64),
        proven,
        unnumbered: unnumbered != 0,
        was_edited: unnumbered == 1,
        base: match base {
            0 => Base::Kept,
            1 => Base::Unnumbered,
            _ => Base::Void,
        },
    })
}

//! How large a copy would be, asked before anything is written: what is too large is refused at once, not after an hour.
//!
//! Called by createReplica, also before it becomes a job, and by snapshots. Source: `GUARANTEES.md` 4.2, rule 10.

use haversack_model::filter::Expr;
use haversack_model::query::{Query, Select, Statistic, StatisticKind};
use haversack_model::store::Flow;
use haversack_model::{CollectionId, Filter, QueryRow, ReadTx, Value};

use super::super::call::Call;
use super::super::problem::{Problem, Result};

/// Refuses a copy of these layers (each with its filter, and that of its attachments) that is larger than the host allows.
pub(crate) fn check(
    call: &Call,
    tx: &dyn ReadTx,
    layers: &[(CollectionId, Filter, Option<Filter>)],
    with_contents: bool,
) -> Result<()> {
    let (mut rows, mut bytes) = (0_u64, 0_u64);
    for (id, filter, attached) in layers {
        rows = rows.saturating_add(number(tx, *id, filter, Select::Count)?);
        let Some(filter) = attached else {
            continue;
        };
        let hidden = id.attachments();
        rows = rows.saturating_add(number(tx, hidden, filter, Select::Count)?);
        if with_contents {
            let size = Select::Statistics {
                group_by: Vec::new(),
                statistics: vec![Statistic {
                    kind: StatisticKind::Sum,
                    expr: Some(Expr::Field("size".to_owned())),
                    name: "size".to_owned(),
                }],
                having: Filter::All,
            };
            bytes = bytes.saturating_add(number(tx, hidden, filter, size)?);
        }
    }
    let (most_rows, most_bytes) = (call.host.max_copy_rows(), call.host.max_copy_bytes());
    if rows > most_rows {
        let problem = format!(
            "the copy would hold {rows} rows and may hold {most_rows}: choose fewer layers, a smaller area or a condition"
        );
        return Err(Problem::parameter("layers", &problem));
    }
    if bytes > most_bytes {
        let problem = format!(
            "the copy would hold {bytes} bytes of attachments and may hold {most_bytes}: take them by URL"
        );
        return Err(Problem::parameter("returnAttachmentsDataByUrl", &problem));
    }
    Ok(())
}

/// A query's only number.
fn number(tx: &dyn ReadTx, id: CollectionId, filter: &Filter, select: Select) -> Result<u64> {
    let query = Query {
        select,
        ..Query::records(id, filter.clone())
    };
    let mut found = 0;
    tx.query(&query, &mut |row| {
        if let QueryRow::Values(values) = row {
            found = match values.first() {
                Some(Value::Integer(n)) => u64::try_from(*n).unwrap_or(0),
                Some(Value::Real(x)) => *x as u64,
                _ => 0,
            };
        }
        Ok(Flow::Continue(()))
    })?;
    Ok(found)
}

//! `outStatistics` and `having`.

use haversack_model::filter::Expr;
use haversack_model::query::{Statistic, StatisticKind};
use haversack_model::{Collection, Filter, Timestamp};
use serde_json::Value as Json;

use super::clauses::GroupKey;
use super::parser::{Parser, Scope};
use super::types::{Kind, kind_of};
use super::{SqlError, expression};
use crate::wire::json::{kind, member};
use crate::wire::params::choose;
use crate::{Error, Result};

/// Most statistics of one query.
const MAX_STATISTICS: usize = 100;

const KINDS: [(&str, StatisticKind); 7] = [
    ("count", StatisticKind::Count),
    ("sum", StatisticKind::Sum),
    ("min", StatisticKind::Min),
    ("max", StatisticKind::Max),
    ("avg", StatisticKind::Average),
    ("stddev", StatisticKind::StandardDeviation),
    ("var", StatisticKind::Variance),
];

/// Reads `outStatistics`: `[{statisticType, onStatisticField, outStatisticFieldName}]`.
///
/// # Errors
/// [`Error::Parameter`] or [`Error::Sql`] that names the item and what is wrong.
pub fn statistics(json: &Json, collection: &Collection, now: Timestamp) -> Result<Vec<Statistic>> {
    const NAME: &str = "outStatistics";
    let items = match json {
        Json::Array(items) if !items.is_empty() => items,
        Json::Array(_) => return Err(Error::parameter(NAME, "is an empty list")),
        other => {
            let problem = format!("must be a JSON array, not {}", kind(other));
            return Err(Error::parameter(NAME, problem));
        }
    };
    if items.len() > MAX_STATISTICS {
        let problem = format!("asks for more than {MAX_STATISTICS} statistics");
        return Err(Error::parameter(NAME, problem));
    }
    let mut all: Vec<Statistic> = Vec::with_capacity(items.len());
    for item in items {
        let Json::Object(members) = item else {
            let problem = format!("must hold objects, not {}", kind(item));
            return Err(Error::parameter(NAME, problem));
        };
        let text = |name: &str| member(members, name).and_then(Json::as_str);
        let word = text("statisticType")
            .ok_or_else(|| Error::parameter(NAME, "an item needs 'statisticType'"))?;
        let kind = choose("statisticType", word, &KINDS)?;
        let field = text("onStatisticField")
            .map(str::trim)
            .filter(|field| !field.is_empty());
        let expr = match field {
            Some("*" | "1") | None if kind == StatisticKind::Count => None,
            None => return Err(Error::parameter(NAME, "an item needs 'onStatisticField'")),
            Some(field) => {
                Some(
                    expression(field, collection, now).map_err(|source| Error::Sql {
                        parameter: "onStatisticField".to_owned(),
                        source,
                    })?,
                )
            }
        };
        computable(word, kind, expr.as_ref(), collection)?;
        let name = match text("outStatisticFieldName").filter(|name| !name.trim().is_empty()) {
            Some(name) => name.trim().to_owned(),
            None => default_name(word, field, all.len()),
        };
        if name.chars().count() > 128 {
            return Err(Error::parameter(
                "outStatisticFieldName",
                "is longer than 128 characters",
            ));
        }
        if all
            .iter()
            .any(|other| other.name.eq_ignore_ascii_case(&name))
        {
            let problem = format!("{name:?} occurs twice");
            return Err(Error::parameter("outStatisticFieldName", problem));
        }
        all.push(Statistic { kind, expr, name });
    }
    Ok(all)
}

/// `count_name`, or a number where the field is an expression.
fn default_name(word: &str, field: Option<&str>, at: usize) -> String {
    let is_name = |f: &&str| f.chars().all(|c| c.is_alphanumeric() || c == '_');
    let field = field
        .filter(is_name)
        .map_or_else(|| (at + 1).to_string(), str::to_owned);
    format!("{}_{field}", word.to_ascii_lowercase())
}

fn computable(
    word: &str,
    kind: StatisticKind,
    expr: Option<&Expr>,
    collection: &Collection,
) -> Result<()> {
    let needs_number = matches!(
        kind,
        StatisticKind::Sum
            | StatisticKind::Average
            | StatisticKind::StandardDeviation
            | StatisticKind::Variance
    );
    let found = expr.map_or(Kind::Number, |expr| kind_of(expr, collection));
    if needs_number && !found.is_number() {
        let problem = format!("{word:?} needs a number, found {}", found.word());
        return Err(Error::parameter("statisticType", problem));
    }
    if found == Kind::Blob {
        return Err(Error::parameter(
            "onStatisticField",
            "bytes have no statistics",
        ));
    }
    Ok(())
}

/// Reads `having`: a condition on aggregates, on result columns by their names and on group keys.
///
/// # Errors
/// [`SqlError`] that names what is not understood.
pub fn having(
    text: &str,
    collection: &Collection,
    statistics: &[Statistic],
    group_by: &[GroupKey],
    now: Timestamp,
) -> std::result::Result<Filter, SqlError> {
    if text.trim().is_empty() {
        return Ok(Filter::All);
    }
    let keys: Vec<Expr> = group_by.iter().map(|key| key.expr.clone()).collect();
    let scope = Scope {
        collection,
        now,
        aggregates: true,
        outputs: statistics,
        group_by: Some(&keys),
    };
    let mut parser = Parser::new(text, scope)?;
    let filter = parser.condition()?;
    parser.end()?;
    Ok(filter)
}

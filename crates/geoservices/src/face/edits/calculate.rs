//! `calculate`: new values for all records that match, computed by the store.

use haversack_model::filter::Expr;
use haversack_model::query::{Query, Select};
use haversack_model::store::Flow;
use haversack_model::{
    Changes, Collection, CollectionId, Edit, GlobalId, Outcome, QueryRow, Right, Value as Field,
};
use serde_json::json;

use super::super::answer::Answer;
use super::super::call::Call;
use super::super::problem::{Problem, Result};
use super::super::query::filter;
use crate::wire::sql::{self, Assigned, Assignment};

/// `calculate`.
pub(crate) fn calculate(call: &Call, name: &str, id: CollectionId) -> Result<Answer> {
    let opened = call.open(name, Right::Edit)?;
    opened.offers("Update")?;
    let collection = opened.collection(id)?;
    call.params.required("where")?;
    call.params.choice(
        "sqlFormat",
        &[("none", ()), ("standard", ()), ("native", ())],
    )?;
    let expression = call
        .params
        .json("calcExpression")?
        .ok_or_else(|| Problem::parameter("calcExpression", "it is required"))?;
    let assignments = sql::calculation(&expression, collection, opened.now)
        .map_err(Problem::within("calcExpression"))?;
    let condition = filter::of_params(&call.params, &opened, collection)?;
    let tx = opened.store.begin_write(call.now())?;
    let mut edits = Vec::new();
    let query = Query {
        select: Select::Distinct(columns(&assignments)),
        ..Query::records(id, condition)
    };
    tx.query(&query, &mut |row| {
        if let QueryRow::Values(values) = row
            && let Some((global_id, mine)) = new_values(collection, &assignments, &values)
        {
            let edit = Edit::Update {
                global_id,
                mine,
                base: None,
            };
            edits.push((id, edit));
        }
        Ok(Flow::Continue(()))
    })?;
    let applied = super::commit(call, &opened, tx, &edits, true)?;
    if applied.rolled_back {
        let reasons = applied
            .receipts
            .iter()
            .filter_map(|receipt| match &receipt.outcome {
                Outcome::Rejected { code, reason }
                    if *code != haversack_model::RejectCode::RolledBack =>
                {
                    Some(reason.clone())
                }
                _ => None,
            });
        return Err(Problem::RolledBack(reasons.take(5).collect()));
    }
    Ok(Answer::Json(json!({
        "success": true,
        "updatedFeatureCount": edits.len(),
    })))
}

/// The global id, which makes every row distinct, and what is computed.
fn columns(assignments: &[Assignment]) -> Vec<Expr> {
    let computed = assignments
        .iter()
        .filter_map(|assignment| match &assignment.to {
            Assigned::Expr(expr) => Some(expr.clone()),
            Assigned::Value(_) => None,
        });
    std::iter::once(Expr::GlobalId).chain(computed).collect()
}

fn new_values(
    collection: &Collection,
    assignments: &[Assignment],
    row: &[Field],
) -> Option<(GlobalId, Changes)> {
    let global_id = GlobalId::parse_uuid(row.first()?.as_text()?).ok()?;
    let mut computed = row[1..].iter();
    let mut mine = Changes::default();
    for assignment in assignments {
        let value = match &assignment.to {
            Assigned::Value(value) => value.clone(),
            Assigned::Expr(_) => {
                let field = collection.fields.get(assignment.field)?;
                fitting(field.kind, computed.next()?.clone())
            }
        };
        mine.values.insert(assignment.field, value);
    }
    Some((global_id, mine))
}

/// SQL knows integers and reals where fields know more: a whole real fits an integer field and the other way round.
fn fitting(kind: haversack_model::FieldType, value: Field) -> Field {
    use haversack_model::FieldType as T;
    match (kind, value) {
        (T::Single | T::Double, Field::Integer(n)) => Field::Real(n as f64),
        (T::SmallInteger | T::Integer | T::BigInteger | T::Date, Field::Real(x))
            if x.fract() == 0.0 && x.abs() < 9.0e18 =>
        {
            Field::Integer(x as i64)
        }
        (T::String, Field::Integer(n)) => Field::Text(n.to_string()),
        (T::String, Field::Real(x)) => Field::Text(x.to_string()),
        (_, value) => value,
    }
}

//! `validateSQL`: whether a clause would be understood.

use haversack_model::{CollectionId, Right};
use serde_json::json;

use super::super::answer::Answer;
use super::super::call::Call;
use super::super::problem::{Problem, Result};
use crate::wire::sql;

/// What a clause is meant for.
#[derive(Clone, Copy)]
enum Use {
    Where,
    Expression,
}

/// `validateSQL`.
pub(crate) fn validate(call: &Call, name: &str, id: CollectionId) -> Result<Answer> {
    let opened = call.open(name, Right::Read)?;
    let collection = opened.collection(id)?;
    let text = call.params.required("sql")?;
    if call
        .params
        .text("sqlType")
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("statement"))
    {
        return Err(Problem::parameter(
            "sqlType",
            "statements are not run here; use where or expression",
        ));
    }
    let kind = call
        .params
        .choice(
            "sqlType",
            &[("where", Use::Where), ("expression", Use::Expression)],
        )?
        .unwrap_or(Use::Where);
    let outcome = match kind {
        Use::Where => sql::condition(text, collection, opened.now).map(drop),
        Use::Expression => sql::expression(text, collection, opened.now).map(drop),
    };
    Ok(Answer::Json(match outcome {
        Ok(()) => json!({"isValidSQL": true, "validationErrors": []}),
        Err(error) => json!({
            "isValidSQL": false,
            "validationErrors": [{"errorCode": 3001, "description": error.to_string()}],
        }),
    }))
}

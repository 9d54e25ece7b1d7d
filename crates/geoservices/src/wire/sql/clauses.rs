//! Clauses beside the condition: order, groups, calculations.

use haversack_model::filter::Expr;
use haversack_model::query::{Order, Statistic};
use haversack_model::{Collection, Timestamp, Value};
use serde_json::Value as Json;

use super::SqlError;
use super::parser::{Parser, Scope};
use super::tokens::Token;
use super::types::{Kind, adapted, kind_of};
use crate::wire::feature::read_value;
use crate::wire::json::{kind, member};
use crate::{Error, Result};

/// Most sort keys or group keys of one query.
const MAX_KEYS: usize = 32;

/// Reads `orderByFields`: values with ASC or DESC, separated by commas. Result columns of `statistics` may be named.
///
/// # Errors
/// [`SqlError`] that names what is not understood.
pub fn order_by(
    text: &str,
    collection: &Collection,
    statistics: &[Statistic],
    now: Timestamp,
) -> std::result::Result<Vec<Order>, SqlError> {
    let scope = Scope {
        outputs: statistics,
        ..Scope::rows(collection, now)
    };
    let mut parser = Parser::new(text, scope)?;
    let mut keys = Vec::new();
    while *parser.peek() != Token::End {
        let expr = parser.value()?;
        let descending = parser.takes("DESC");
        if !descending {
            parser.takes("ASC");
        }
        keys.push(Order { expr, descending });
        if !parser.takes_symbol(",") {
            parser.end()?;
        } else if keys.len() == MAX_KEYS {
            return parser.error(format!("more than {MAX_KEYS} sort keys"));
        }
    }
    Ok(keys)
}

/// One group key with the name of its column in the answer.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupKey {
    /// What is grouped by.
    pub expr: Expr,
    /// Name of the column.
    pub name: String,
}

/// Reads `groupByFieldsForStatistics`: fields or expressions, separated by commas.
///
/// # Errors
/// [`SqlError`] that names what is not understood.
pub fn group_by(
    text: &str,
    collection: &Collection,
    now: Timestamp,
) -> std::result::Result<Vec<GroupKey>, SqlError> {
    let mut parser = Parser::new(text, Scope::rows(collection, now))?;
    let mut keys = Vec::new();
    while *parser.peek() != Token::End {
        let expr = parser.value()?;
        let name = match &expr {
            Expr::Field(name) => name.clone(),
            Expr::ObjectId => collection.object_id_field.clone(),
            Expr::GlobalId => collection.global_id_field.clone(),
            _ => format!("EXPR_{}", keys.len() + 1),
        };
        keys.push(GroupKey { expr, name });
        if !parser.takes_symbol(",") {
            parser.end()?;
        } else if keys.len() == MAX_KEYS {
            return parser.error(format!("more than {MAX_KEYS} group keys"));
        }
    }
    Ok(keys)
}

/// One field to set by `calculate`.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// Position of the field.
    pub field: usize,
    /// What it becomes.
    pub to: Assigned,
}

/// What a calculated field becomes.
#[derive(Clone, Debug, PartialEq)]
pub enum Assigned {
    /// The same value in every row.
    Value(Value),
    /// A value computed from the row.
    Expr(Expr),
}

/// Reads `calcExpression`: `[{field, value | sqlExpression}]` or one such object.
///
/// # Errors
/// [`Error::Parameter`], [`Error::Field`] or [`Error::Sql`] that name the field and what is wrong.
pub fn calculation(
    json: &Json,
    collection: &Collection,
    now: Timestamp,
) -> Result<Vec<Assignment>> {
    const NAME: &str = "calcExpression";
    let items = match json {
        Json::Array(items) => items.as_slice(),
        one @ Json::Object(_) => std::slice::from_ref(one),
        other => {
            let problem = format!("must be a JSON array, not {}", kind(other));
            return Err(Error::parameter(NAME, problem));
        }
    };
    if items.is_empty() {
        return Err(Error::parameter(NAME, "names no field"));
    }
    let mut assignments: Vec<Assignment> = Vec::new();
    for item in items {
        let Json::Object(members) = item else {
            let problem = format!("must hold objects, not {}", kind(item));
            return Err(Error::parameter(NAME, problem));
        };
        let name = member(members, "field")
            .and_then(Json::as_str)
            .ok_or_else(|| Error::parameter(NAME, "an item needs 'field'"))?;
        let at = collection
            .field_index(name)
            .ok_or_else(|| Error::field(name, "does not exist or cannot be set"))?;
        let field = &collection.fields[at];
        if !field.editable {
            return Err(Error::field(name, "is read-only"));
        }
        if assignments.iter().any(|a| a.field == at) {
            return Err(Error::field(name, "is set twice"));
        }
        let to = match (members.get("value"), member(members, "sqlExpression")) {
            (Some(value), None) => Assigned::Value(read_value(field, value)?),
            (None | Some(Json::Null), Some(Json::String(text))) => {
                Assigned::Expr(computed(text, collection, Kind::of_field(field.kind), now)?)
            }
            _ => {
                let problem = "an item needs 'value' or a text 'sqlExpression', and not both";
                return Err(Error::parameter(NAME, problem));
            }
        };
        assignments.push(Assignment { field: at, to });
    }
    Ok(assignments)
}

fn computed(text: &str, collection: &Collection, wanted: Kind, now: Timestamp) -> Result<Expr> {
    let sql = |source: SqlError| Error::Sql {
        parameter: "sqlExpression".to_owned(),
        source,
    };
    let expr = adapted(
        super::expression(text, collection, now).map_err(sql)?,
        wanted,
    );
    let found = kind_of(&expr, collection);
    let fits = found == wanted
        || found == Kind::Null
        || (wanted == Kind::Text && found.is_textual())
        || (wanted == Kind::Number && found.is_number());
    if fits {
        return Ok(expr);
    }
    Err(sql(SqlError {
        problem: format!(
            "the field needs {}, the expression gives {}",
            wanted.word(),
            found.word()
        ),
        at: 1,
    }))
}

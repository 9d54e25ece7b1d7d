//! The query language of the dialect: standardised SQL conditions, read into the model's filters.
//!
//! No text of a client ever reaches a database: names are looked up in the collection, functions in a list, and
//! literals become values that stores bind. Whatever is not in the grammar below is refused by name; sub-queries,
//! comments and second statements are not in it.
//!
//! The parser is our own and not a general SQL parser, because the grammar is small, because its errors are for
//! people, and because a general parser builds (and must drop) a tree as deep as a chain of operators is long:
//! 64 KiB of `+1` would end a thread's stack. Here chains of AND and OR stay flat and everything else is at most
//! [`MAX_DEPTH`] deep. A test compares what is accepted with what a general parser accepts.
//!
//! ```text
//! condition  = [NOT] predicate { AND | OR ... } | ( condition )
//! predicate  = value (= <> < <= > >=) value | value [NOT] BETWEEN .. AND .. | value [NOT] IN (..)
//!            | value [NOT] LIKE 'pattern' [ESCAPE 'c'] | value IS [NOT] NULL
//! value      = literal | field | function | value (+ - * / % ||) value | -value | ( value )
//! literal    = number | 'text' | N'text' | NULL | DATE '..' | TIMESTAMP '..' | TIME '..' | CURRENT_TIMESTAMP
//!            | CURRENT_DATE | INTERVAL 'n' unit (beside a time)
//! ```
//! Source: GeoServices "Standardized SQL functions"; `spec/geoservices.md` 5; GUARANTEES 4.2 item 1.

mod clauses;
mod functions;
mod parser;
mod predicates;
mod statistics;
mod tokens;
mod types;

use haversack_model::filter::Expr;
use haversack_model::{Collection, Filter, Timestamp};

pub use clauses::{Assigned, Assignment, GroupKey, calculation, group_by, order_by};
pub use statistics::{having, statistics};

use crate::wire::sql::parser::{Parser, Scope};

/// Longest accepted clause, in bytes.
pub const MAX_LENGTH: usize = 64 * 1024;
/// Deepest nesting of an accepted clause.
pub const MAX_DEPTH: u32 = 64;
/// Longest accepted IN list.
pub const MAX_IN: usize = 10_000;

/// What is wrong with a clause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} (at character {at})")]
pub struct SqlError {
    /// What is wrong, and what would be right.
    pub problem: String,
    /// Position of the offending word, counted in characters from 1.
    pub at: usize,
}

/// Reads a where clause. `now` is what CURRENT_TIMESTAMP stands for. An empty clause selects everything.
///
/// # Errors
/// [`SqlError`] that names the word, field or function that is not understood.
pub fn condition(text: &str, collection: &Collection, now: Timestamp) -> Result<Filter, SqlError> {
    if text.trim().is_empty() {
        return Ok(Filter::All);
    }
    let mut parser = Parser::new(text, Scope::rows(collection, now))?;
    let filter = parser.condition()?;
    parser.end()?;
    Ok(filter)
}

/// Reads one value expression, as in `sqlExpression`.
///
/// # Errors
/// As [`condition`].
pub fn expression(text: &str, collection: &Collection, now: Timestamp) -> Result<Expr, SqlError> {
    let mut parser = Parser::new(text, Scope::rows(collection, now))?;
    let expr = parser.value()?;
    parser.end()?;
    Ok(expr)
}

#[cfg(test)]
mod tests;

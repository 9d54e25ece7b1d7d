//! The part of the query language that drivers generate: one loop over one collection.
//!
//! `FOR d IN collection`, then any of `FILTER`, `SORT`, `LIMIT` in any order, then `RETURN`, or `UPDATE`, `REPLACE` or `REMOVE` of
//! the documents that are left, with `OPTIONS`. Expressions are attribute access,
//! comparisons, `AND`/`OR`/`NOT`, `IN`, `a ? b : c`, literals, arrays, objects, `HAS`, `RAND`, and bind parameters. Everything
//! else is refused by name. Parsing puts the bind parameters in place, so that no text of a client is read twice.
//! Source: `spec/arangodb.md` 10 and 17; python-arango 8.3.7 `collection.py`, arangojs 10 `aql`.

mod eval;
mod lex;
mod parse;

use serde_json::{Map, Value};

pub use eval::order;

/// A query, its bind parameters in place.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// The collection that is read.
    pub collection: String,
    /// What is done with its documents, in order.
    pub steps: Vec<Step>,
    /// What becomes of each that is left.
    pub end: End,
}

/// What ends a query.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// Something is given for each document.
    Return {
        /// What is given.
        result: Expr,
        /// Whether equal results are given once.
        distinct: bool,
    },
    /// Each document is changed.
    Write(Write),
}

/// How documents are changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// What is done.
    pub change: Change,
    /// Whether an update keeps attributes that it sets to null.
    pub keep_null: bool,
    /// Whether an update puts objects together with those that are there.
    pub merge_objects: bool,
    /// Whether documents that cannot be changed are left as they are, instead of failing the whole query.
    pub ignore_errors: bool,
}

/// What is done with each document.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Attributes are changed.
    Update(Expr),
    /// All attributes are given anew.
    Replace(Expr),
    /// The document is removed.
    Remove,
}

/// One step between the loop and its result.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Keeps documents for which it is true.
    Filter(Expr),
    /// Orders them; `true` is descending.
    Sort(Vec<(Expr, bool)>),
    /// Skips some and keeps at most so many.
    Limit {
        /// How many to skip.
        offset: u64,
        /// How many to keep; `None` is all.
        count: Option<u64>,
    },
}

/// An expression over the document.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A constant or a bind parameter.
    Value(Value),
    /// The document itself.
    Document,
    /// An attribute or element.
    Member(Box<Self>, Box<Self>),
    /// An array of expressions.
    Array(Vec<Self>),
    /// An object of expressions.
    Object(Vec<(String, Self)>),
    /// `NOT`.
    Not(Box<Self>),
    /// `AND`.
    And(Box<Self>, Box<Self>),
    /// `OR`.
    Or(Box<Self>, Box<Self>),
    /// A comparison.
    Compare(Comparison, Box<Self>, Box<Self>),
    /// `a ? b : c`.
    Choose(Box<Self>, Box<Self>, Box<Self>),
    /// Whether a document has an attribute.
    Has(Box<Self>, Box<Self>),
    /// A number from 0 to 1 that differs from document to document.
    Random,
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `==`
    Equal,
    /// `!=`
    Unequal,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `IN`
    In,
    /// `NOT IN`
    NotIn,
}

/// A query that is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadQuery {
    /// The text is wrong, or beyond what is understood here.
    #[error("{problem} near '{near}'")]
    Syntax {
        /// What is wrong.
        problem: &'static str,
        /// The text from there on, shortened.
        near: String,
    },
    /// A bind parameter that was not given, or is of the wrong type.
    #[error("no usable value was given for the bind parameter '{0}'")]
    Bind(String),
}

impl Query {
    /// Reads a query with its bind parameters; those for names of collections begin with `@`.
    ///
    /// # Errors
    /// [`BadQuery`].
    pub fn parse(text: &str, bind: &Map<String, Value>) -> Result<Self, BadQuery> {
        parse::query(text, bind)
    }

    /// Whether all documents are given as they are stored.
    pub fn is_whole(&self) -> bool {
        let whole = End::Return {
            result: Expr::Document,
            distinct: false,
        };
        self.steps.is_empty() && self.end == whole
    }
}

#[cfg(test)]
mod tests;

//! Questions to a store about one collection.

use serde::{Deserialize, Serialize};

use crate::filter::Expr;
use crate::{CollectionId, Envelope, Filter, GlobalId, ObjectId, Value, Versioned};

/// A question about the records of one collection.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Which collection.
    pub collection: CollectionId,
    /// Which records.
    pub filter: Filter,
    /// What to tell of them.
    pub select: Select,
    /// Sort keys; object id is always the last one, so that pages are stable.
    pub order: Vec<Order>,
    /// Rows to skip.
    pub offset: u64,
    /// Most rows to give.
    pub limit: Option<u64>,
}

impl Query {
    /// All records that match, in object id order.
    pub fn records(collection: CollectionId, filter: Filter) -> Self {
        Self {
            collection,
            filter,
            select: Select::Records,
            order: Vec::new(),
            offset: 0,
            limit: None,
        }
    }
}

/// What a query gives.
#[derive(Clone, Debug, PartialEq)]
pub enum Select {
    /// [`QueryRow::Record`]s.
    Records,
    /// [`QueryRow::Ids`] of all matches.
    Ids,
    /// One [`QueryRow::Values`] with one integer. Ignores paging.
    Count,
    /// One [`QueryRow::Extent`]. Ignores paging.
    Extent,
    /// [`QueryRow::Values`]: the distinct combinations of these expressions.
    Distinct(Vec<Expr>),
    /// [`QueryRow::Values`]: the group keys, then the statistics, per group.
    Statistics {
        /// Group keys.
        group_by: Vec<Expr>,
        /// What to compute per group.
        statistics: Vec<Statistic>,
        /// Condition on groups.
        having: Filter,
    },
}

/// One computed column.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistic {
    /// Which aggregate.
    pub kind: StatisticKind,
    /// Over what; `None` counts rows.
    pub expr: Option<Expr>,
    /// Name of the result column.
    pub name: String,
}

/// Aggregates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum StatisticKind {
    Count,
    CountDistinct,
    Sum,
    Min,
    Max,
    Average,
    StandardDeviation,
    Variance,
}

/// A sort key.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// By what; in statistics an [`Expr::Field`] may name a result column.
    pub expr: Expr,
    /// Largest first.
    pub descending: bool,
}

/// One row of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum QueryRow {
    /// A whole record with its tracking.
    Record(Box<Versioned>),
    /// Its two ids.
    Ids(ObjectId, GlobalId),
    /// Computed values.
    Values(Vec<Value>),
    /// Box around all matches; `None` if there is none.
    Extent(Option<Envelope>),
}

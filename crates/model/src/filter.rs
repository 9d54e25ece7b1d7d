//! Which records: an abstract syntax that each store prints with bound parameters.
//!
//! No client text reaches a database: parsers build this tree, look names up in the schema, and stores print
//! it from templates of their own.

use serde::{Deserialize, Serialize};

use crate::{CollectionId, Geometry, GlobalId, ObjectId, Timestamp, Value};

mod evaluate;

pub use evaluate::{NoParents, Parents, call_function, compare, compute, is_like, negate};

/// A condition on one record. Three-valued as in SQL: a comparison with null is neither true nor false, and
/// only records for which the whole is true are in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Filter {
    /// Every record.
    All,
    /// No record.
    Nothing,
    /// All conditions hold.
    And(Vec<Self>),
    /// At least one holds.
    Or(Vec<Self>),
    /// It does not hold.
    Not(Box<Self>),
    /// A comparison of two expressions.
    Compare {
        /// Left side.
        left: Expr,
        /// Operator.
        op: Comparison,
        /// Right side.
        right: Expr,
    },
    /// SQL `LIKE`: `%` any run, `_` any one character, ASCII case-sensitive.
    Like {
        /// What is matched.
        expr: Expr,
        /// The pattern.
        pattern: String,
        /// Character that makes the next one literal.
        escape: Option<char>,
    },
    /// One of a list.
    In {
        /// What is looked up.
        expr: Expr,
        /// Where.
        list: Vec<Expr>,
    },
    /// The expression is null.
    IsNull(Expr),
    /// The record has one of these object ids.
    ObjectIds(Vec<ObjectId>),
    /// The record has one of these global ids.
    GlobalIds(Vec<GlobalId>),
    /// The record's geometry relates to a given one, which is in the collection's own CRS.
    Spatial {
        /// How.
        relation: SpatialRelation,
        /// To what.
        geometry: Geometry,
    },
    /// The record belongs to a parent that matches: the field holds the parent's global id. The one node
    /// that looks at another record.
    ParentMatches {
        /// GUID field of this record.
        field: String,
        /// Collection of the parent.
        parent: CollectionId,
        /// Condition on the parent.
        filter: Box<Self>,
    },
}

impl Filter {
    /// Both conditions, without needless nesting.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::All, one) | (one, Self::All) => one,
            (Self::Nothing, _) | (_, Self::Nothing) => Self::Nothing,
            (Self::And(mut all), Self::And(more)) => {
                all.extend(more);
                Self::And(all)
            }
            (Self::And(mut all), one) => {
                all.push(one);
                Self::And(all)
            }
            (one, other) => Self::And(vec![one, other]),
        }
    }
}

/// A value computed from one record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Expr {
    /// An attribute, by its schema name.
    Field(String),
    /// The object id.
    ObjectId,
    /// The global id, as braced text.
    GlobalId,
    /// A constant.
    Literal(Value),
    /// A point in time, to compare with `Date` fields.
    Time(Timestamp),
    /// Arithmetic negation.
    Negate(Box<Self>),
    /// A binary operator.
    Binary {
        /// Left operand.
        left: Box<Self>,
        /// Operator.
        op: Arithmetic,
        /// Right operand.
        right: Box<Self>,
    },
    /// A known function. Its arity was checked by whoever built the tree.
    Call {
        /// Which one.
        function: Function,
        /// Arguments in order.
        args: Vec<Self>,
    },
    /// An aggregate of a group, allowed in `having` only.
    Aggregate {
        /// Which one.
        kind: crate::query::StatisticKind,
        /// Over which field; `None` counts rows.
        field: Option<Box<Self>>,
    },
}

/// Comparison operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Arithmetic and concatenation. Times plus or minus a number count days, as in standardised queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Concat,
}

/// The functions of standardised queries that stores know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Function {
    /// Lower case.
    Lower,
    /// Upper case.
    Upper,
    /// Text without blanks at both ends.
    Trim,
    /// Characters of a text.
    CharLength,
    /// `SUBSTRING(text, start, [length])`, 1-based.
    Substring,
    /// `POSITION(needle IN text)`, arguments needle, text; 1-based, 0 if absent.
    Position,
    /// Concatenation of all arguments.
    Concat,
    /// Absolute value.
    Abs,
    /// Next integer up.
    Ceiling,
    /// Next integer down.
    Floor,
    /// `ROUND(x, [digits])`.
    Round,
    /// Cut off after n digits.
    Truncate,
    /// Square root.
    Sqrt,
    /// x to the power y.
    Power,
    /// Remainder.
    Mod,
    /// First argument that is not null.
    Coalesce,
    /// Null if both are equal.
    NullIf,
    /// `EXTRACT(part FROM time)`, in UTC.
    Extract(TimePart),
    /// `CAST(x AS type)`.
    Cast(CastType),
}

/// Parts of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum TimePart {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
}

/// Targets of a cast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum CastType {
    Integer,
    Real,
    Text,
    Date,
}

/// How a record's geometry relates to a given one: `record RELATION given`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpatialRelation {
    /// They share a point.
    Intersects,
    /// Their boxes share a point.
    EnvelopeIntersects,
    /// The given one lies within the record's (the query geometry is *contained* by the feature).
    Contains,
    /// The record's lies within the given one.
    Within,
    /// Interiors cross.
    Crosses,
    /// Interiors of the same dimension overlap, neither holding the other.
    Overlaps,
    /// Only borders meet.
    Touches,
}

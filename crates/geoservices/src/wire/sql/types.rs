//! Kinds of values, and how literals adapt to what they are compared with.

use haversack_model::filter::{CastType, Expr, Function};
use haversack_model::query::StatisticKind;
use haversack_model::schema::{Collection, FieldType};
use haversack_model::{GlobalId, Timestamp, Value};

use crate::wire::feature::date_text;

/// What an expression gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Integers and floats.
    Number,
    /// Text.
    Text,
    /// A GUID or the global id: text in one fixed form.
    Guid,
    /// A point in time, in milliseconds.
    Time,
    /// A date without time, as text.
    DateOnly,
    /// Other texts with a meaning: times of day, times with offset.
    OtherText,
    /// Bytes.
    Blob,
    /// The null literal, which fits everything.
    Null,
}

impl Kind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Number => "a number",
            Self::Text | Self::OtherText => "text",
            Self::Guid => "a GUID",
            Self::Time => "a time",
            Self::DateOnly => "a date",
            Self::Blob => "bytes",
            Self::Null => "null",
        }
    }
    pub(super) fn of_field(kind: FieldType) -> Self {
        match kind {
            FieldType::SmallInteger
            | FieldType::Integer
            | FieldType::BigInteger
            | FieldType::Single
            | FieldType::Double => Self::Number,
            FieldType::String => Self::Text,
            FieldType::Date => Self::Time,
            FieldType::DateOnly => Self::DateOnly,
            FieldType::TimeOnly | FieldType::TimestampOffset => Self::OtherText,
            FieldType::Guid => Self::Guid,
            FieldType::Blob => Self::Blob,
        }
    }
    /// Whether functions of text take it.
    pub(super) fn is_textual(self) -> bool {
        matches!(
            self,
            Self::Text | Self::Guid | Self::DateOnly | Self::OtherText | Self::Null
        )
    }
    pub(super) fn is_number(self) -> bool {
        matches!(self, Self::Number | Self::Null)
    }
}

/// The kind of an expression.
pub(super) fn kind_of(expr: &Expr, collection: &Collection) -> Kind {
    match expr {
        Expr::Field(name) => collection
            .field_index(name)
            .map_or(Kind::Null, |at| Kind::of_field(collection.fields[at].kind)),
        Expr::ObjectId | Expr::Negate(_) | Expr::Literal(Value::Integer(_) | Value::Real(_)) => {
            Kind::Number
        }
        Expr::GlobalId => Kind::Guid,
        Expr::Literal(Value::Null) => Kind::Null,
        Expr::Literal(Value::Text(_)) => Kind::Text,
        Expr::Literal(Value::Blob(_)) => Kind::Blob,
        Expr::Time(_) => Kind::Time,
        Expr::Binary { left, op, right } => match op {
            haversack_model::filter::Arithmetic::Concat => Kind::Text,
            _ => match (kind_of(left, collection), kind_of(right, collection)) {
                (Kind::Time, Kind::Time) => Kind::Number,
                (Kind::Time, _) | (_, Kind::Time) => Kind::Time,
                _ => Kind::Number,
            },
        },
        Expr::Call { function, args } => match function {
            Function::Lower
            | Function::Upper
            | Function::Trim
            | Function::Substring
            | Function::Concat
            | Function::Cast(CastType::Text) => Kind::Text,
            Function::Cast(CastType::Date) => Kind::Time,
            Function::Coalesce | Function::NullIf => args
                .iter()
                .map(|arg| kind_of(arg, collection))
                .find(|kind| *kind != Kind::Null)
                .unwrap_or(Kind::Null),
            _ => Kind::Number,
        },
        Expr::Aggregate { kind, field } => match (kind, field) {
            (StatisticKind::Min | StatisticKind::Max, Some(field)) => kind_of(field, collection),
            _ => Kind::Number,
        },
    }
}

/// Adapts a literal to the kind that it is compared with: `'5'` to a number, `'2026-05-01'` to a time, a GUID to its
/// braced form. Leaves alone what cannot be adapted.
pub(super) fn adapted(expr: Expr, wanted: Kind) -> Expr {
    match (wanted, &expr) {
        (Kind::Number, Expr::Literal(Value::Text(text))) => {
            let trimmed = text.trim();
            let whole = trimmed.parse().ok().map(Value::Integer);
            let real = || trimmed.parse().ok().filter(|x: &f64| x.is_finite());
            whole
                .or_else(|| real().map(Value::Real))
                .map_or(expr, Expr::Literal)
        }
        (Kind::Text, Expr::Literal(Value::Integer(n))) => Expr::Literal(Value::Text(n.to_string())),
        (Kind::Text, Expr::Literal(Value::Real(x))) => Expr::Literal(Value::Text(x.to_string())),
        (Kind::Time, Expr::Literal(Value::Text(text))) => {
            date_text(text).map_or(expr, |ms| Expr::Time(Timestamp(ms)))
        }
        (Kind::Time, Expr::Literal(Value::Integer(ms))) => Expr::Time(Timestamp(*ms)),
        (Kind::Guid, Expr::Literal(Value::Text(text))) => match GlobalId::parse_uuid(text) {
            Ok(id) => Expr::Literal(Value::Text(id.braced())),
            Err(_not_a_guid) => expr,
        },
        (Kind::DateOnly, Expr::Time(time)) => match jiff::Timestamp::from_millisecond(time.0) {
            Ok(instant) => {
                let date = instant.to_zoned(jiff::tz::TimeZone::UTC).date();
                Expr::Literal(Value::Text(date.to_string()))
            }
            Err(_out_of_range) => expr,
        },
        _ => expr,
    }
}

/// Whether two kinds can be compared once literals are adapted.
pub(super) fn comparable(left: Kind, right: Kind) -> bool {
    left == right
        || matches!((left, right), (Kind::Null, _) | (_, Kind::Null))
        || (left.is_textual() && right.is_textual())
}

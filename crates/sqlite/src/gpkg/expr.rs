//! Prints expressions. Times are milliseconds while they are computed with.

use haversack_model::filter::{Arithmetic, CastType, Expr, Function};
use haversack_model::query::StatisticKind;
use haversack_model::{Field, FieldType, GlobalId, Result, Value};

use super::filter::Printer;
use super::{Sql, column, functions, quote_ident};

/// What an expression yields, as far as its text tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A number.
    Number,
    /// Text.
    Text,
    /// A UUID as braced text.
    Guid,
    /// Milliseconds since 1970.
    Time,
    /// Bytes.
    Blob,
    /// Null, or whatever its arguments yield.
    Unknown,
}

impl Class {
    /// Whether values of both compare by SQL's own rules as they do by ours.
    pub(super) fn is_like(self, other: Self) -> bool {
        let kind = |class| match class {
            Self::Number | Self::Time => 0,
            Self::Text | Self::Guid => 1,
            Self::Blob => 2,
            Self::Unknown => 3,
        };
        kind(self) == kind(other) && self != Self::Unknown
    }
}

fn class_of_field(field: &Field) -> Class {
    match field.kind {
        FieldType::SmallInteger
        | FieldType::Integer
        | FieldType::BigInteger
        | FieldType::Single
        | FieldType::Double => Class::Number,
        FieldType::Date => Class::Time,
        FieldType::Guid => Class::Guid,
        FieldType::Blob => Class::Blob,
        FieldType::String
        | FieldType::DateOnly
        | FieldType::TimeOnly
        | FieldType::TimestampOffset => Class::Text,
    }
}

fn class_of_value(value: &Value) -> Class {
    match value {
        Value::Null => Class::Unknown,
        Value::Integer(_) | Value::Real(_) => Class::Number,
        Value::Text(_) => Class::Text,
        Value::Blob(_) => Class::Blob,
    }
}

impl Printer<'_> {
    /// What an expression yields.
    pub fn class(&self, expr: &Expr) -> Class {
        match expr {
            Expr::Field(name) => match self.collection.field_index(name) {
                Some(at) => class_of_field(&self.collection.fields[at]),
                None if name.eq_ignore_ascii_case(&self.collection.object_id_field) => {
                    Class::Number
                }
                None => Class::Guid,
            },
            Expr::ObjectId | Expr::Negate(_) => Class::Number,
            Expr::GlobalId => Class::Guid,
            Expr::Literal(value) => class_of_value(value),
            Expr::Time(_) => Class::Time,
            Expr::Binary { left, op, right } => match (self.class(left), op, self.class(right)) {
                (_, Arithmetic::Concat, _) => Class::Text,
                (Class::Time, Arithmetic::Subtract, Class::Time) => Class::Number,
                (Class::Time, Arithmetic::Add | Arithmetic::Subtract, _)
                | (_, Arithmetic::Add, Class::Time) => Class::Time,
                _ => Class::Number,
            },
            Expr::Call { function, args } => self.class_of_call(*function, args),
            Expr::Aggregate { kind, field } => match (kind, field) {
                (StatisticKind::Min | StatisticKind::Max, Some(field)) => self.class(field),
                _ => Class::Number,
            },
        }
    }

    fn class_of_call(&self, function: Function, args: &[Expr]) -> Class {
        match function {
            Function::Lower
            | Function::Upper
            | Function::Trim
            | Function::Substring
            | Function::Concat
            | Function::Cast(CastType::Text) => Class::Text,
            Function::NullIf => args.first().map_or(Class::Unknown, |arg| self.class(arg)),
            Function::Coalesce => {
                let mut classes = args.iter().map(|arg| self.class(arg));
                let first = classes.next().unwrap_or(Class::Unknown);
                if classes.all(|class| class == first) {
                    first
                } else {
                    Class::Unknown
                }
            }
            Function::Cast(CastType::Date) => Class::Time,
            _ => Class::Number,
        }
    }

    /// Prints an expression.
    ///
    /// # Errors
    /// [`haversack_model::Error::NoField`] for a name that the schema does not have.
    pub fn expr(&self, sql: &mut Sql, expr: &Expr) -> Result<()> {
        match expr {
            Expr::Field(name) => self.field(sql, name)?,
            Expr::ObjectId => {
                sql.push(&self.column(&self.collection.object_id_field));
            }
            Expr::GlobalId => {
                sql.push(&self.column(&self.collection.global_id_field));
            }
            Expr::Literal(value) => {
                sql.bind(column::bind(value));
            }
            Expr::Time(time) => {
                sql.bind(time.0);
            }
            Expr::Negate(inner) => {
                sql.push("haversack_negate(");
                self.expr(sql, inner)?;
                sql.push(")");
            }
            Expr::Binary { left, op, right } => self.binary(sql, left, *op, right)?,
            Expr::Call { function, args } => self.call(sql, *function, args)?,
            Expr::Aggregate { kind, field } => self.aggregate(sql, *kind, field.as_deref())?,
        }
        Ok(())
    }

    fn field(&self, sql: &mut Sql, name: &str) -> Result<()> {
        let collection = self.collection;
        if let Some(at) = collection.field_index(name) {
            let field = &collection.fields[at];
            let column = self.column(&field.name);
            if field.kind == FieldType::Date {
                sql.push("haversack_ms(").push(&column).push(")");
            } else {
                sql.push(&column);
            }
        } else if name.eq_ignore_ascii_case(&collection.object_id_field) {
            sql.push(&self.column(&collection.object_id_field));
        } else if name.eq_ignore_ascii_case(&collection.global_id_field) {
            sql.push(&self.column(&collection.global_id_field));
        } else {
            return Err(haversack_model::Error::NoField {
                field: name.to_owned(),
                collection: collection.name.clone(),
            });
        }
        Ok(())
    }

    /// A column of the record in question.
    pub(super) fn column(&self, name: &str) -> String {
        format!("{}.{}", self.alias, quote_ident(name))
    }

    /// Prints an expression to be compared with one of another class: UUIDs in the form in which they are stored.
    pub(super) fn compared(&self, sql: &mut Sql, expr: &Expr, other: Class) -> Result<()> {
        match (expr, other) {
            (Expr::Literal(Value::Text(text)), Class::Guid) => {
                sql.bind(braced(text));
                Ok(())
            }
            _ => self.expr(sql, expr),
        }
    }

    fn binary(&self, sql: &mut Sql, left: &Expr, op: Arithmetic, right: &Expr) -> Result<()> {
        let side = |sql: &mut Sql, expr: &Expr| -> Result<()> {
            self.expr(sql, expr)?;
            let is_time = self.class(expr) == Class::Time;
            sql.push(if is_time { ", 1" } else { ", 0" });
            Ok(())
        };
        sql.push("haversack_compute(");
        side(sql, left)?;
        sql.push(&format!(", {}, ", functions::operator_code(op)));
        side(sql, right)?;
        sql.push(")");
        Ok(())
    }

    fn call(&self, sql: &mut Sql, function: Function, args: &[Expr]) -> Result<()> {
        if let (Function::Mod, [left, right]) = (function, args) {
            return self.binary(sql, left, Arithmetic::Modulo, right);
        }
        sql.push(functions::sql_name(function)).push("(");
        for (at, arg) in args.iter().enumerate() {
            if at > 0 {
                sql.push(", ");
            }
            self.expr(sql, arg)?;
        }
        sql.push(")");
        Ok(())
    }

    /// Prints an aggregate.
    ///
    /// # Errors
    /// As [`Self::expr`].
    pub fn aggregate(&self, sql: &mut Sql, kind: StatisticKind, of: Option<&Expr>) -> Result<()> {
        let Some(of) = of else {
            sql.push("COUNT(*)");
            return Ok(());
        };
        sql.push(match kind {
            StatisticKind::Count => "COUNT(",
            StatisticKind::CountDistinct => "COUNT(DISTINCT ",
            StatisticKind::Sum => "SUM(",
            StatisticKind::Min => "MIN(",
            StatisticKind::Max => "MAX(",
            StatisticKind::Average => "AVG(",
            StatisticKind::StandardDeviation => "haversack_stddev(",
            StatisticKind::Variance => "haversack_variance(",
        });
        self.expr(sql, of)?;
        sql.push(")");
        Ok(())
    }
}

/// A UUID in the form in which it is stored; other text as it is.
pub(super) fn braced(text: &str) -> String {
    GlobalId::parse_uuid(text).map_or_else(|_not_a_uuid| text.to_owned(), |id| id.braced())
}

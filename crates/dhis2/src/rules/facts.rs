//! What expressions are about: the values of variables for one enrollment or event, and the tree evaluated with them.

use std::collections::{BTreeMap, BTreeSet};

use super::expression::{Binary, Expression, Origin};
use super::fault::Fault;
use super::value::{Value, parse_number};

/// What a variable holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    #[default]
    Text,
    Number,
    Bool,
}

impl Kind {
    /// Of a value type of the dialect.
    pub(crate) fn of(value_type: &str) -> Self {
        match value_type {
            "NUMBER" | "UNIT_INTERVAL" | "PERCENTAGE" => Self::Number,
            integer if integer.starts_with("INTEGER") => Self::Number,
            "BOOLEAN" | "TRUE_ONLY" => Self::Bool,
            _ => Self::Text,
        }
    }
    /// What stands for a value that is not there.
    fn default(self) -> Value {
        match self {
            Self::Text => Value::text(""),
            Self::Number => Value::Number(0.0),
            Self::Bool => Value::Bool(false),
        }
    }
}

/// A variable with what is known of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Known {
    pub(crate) kind: Kind,
    /// Its value, if there is one.
    pub(crate) value: Option<String>,
    /// All values that were entered for it, the newest first.
    pub(crate) candidates: Vec<String>,
    /// The day of the newest of them.
    pub(crate) date: Option<String>,
}

impl Known {
    /// Its value; without one what stands for it.
    pub(super) fn value(&self) -> Result<Value, Fault> {
        let Some(text) = &self.value else {
            return Ok(self.kind.default());
        };
        Ok(match self.kind {
            Kind::Text => Value::text(text.clone()),
            Kind::Number => Value::Number(parse_number(text)?),
            Kind::Bool => Value::Bool(Value::text(text.clone()).to_bool()),
        })
    }
}

/// All that a rule of a program may ask about.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    /// Rule variables by their names.
    pub(crate) variables: BTreeMap<String, Known>,
    /// What the dialect always has, by its names.
    pub(crate) environment: BTreeMap<&'static str, Known>,
    /// Constants by their uids.
    pub(crate) constants: &'a BTreeMap<String, String>,
    /// Uids of the roles of who enters.
    pub(crate) roles: &'a BTreeSet<String>,
    /// Units of groups of units, by their uids and their codes.
    pub(crate) groups: &'a BTreeMap<String, BTreeSet<String>>,
    /// Where it is entered.
    pub(crate) unit: &'a str,
}

impl Facts<'_> {
    /// A rule variable, or one of the dialect's.
    pub(super) fn known(&self, name: &str) -> Result<&Known, Fault> {
        let found = self.variables.get(name).or(self.environment.get(name));
        found.ok_or_else(|| Fault::NoVariable(name.to_owned()))
    }
    fn variable(&self, origin: Origin, name: &str) -> Result<Value, Fault> {
        let absent = || Fault::NoVariable(name.to_owned());
        match origin {
            Origin::Rule => self.variables.get(name).ok_or_else(absent)?.value(),
            Origin::Environment => self.environment.get(name).ok_or_else(absent)?.value(),
            Origin::Constant => {
                let text = self.constants.get(name).ok_or_else(absent)?;
                Ok(Value::Number(parse_number(text)?))
            }
        }
    }
    /// The value of an expression.
    pub(super) fn value(&self, of: &Expression) -> Result<Value, Fault> {
        match of {
            Expression::Number(number) => Ok(Value::Number(*number)),
            Expression::Text(text) => Ok(Value::text(text.clone())),
            Expression::Bool(bool) => Ok(Value::Bool(*bool)),
            Expression::Variable(origin, name) => self.variable(*origin, name),
            Expression::Not(inner) => Ok(Value::Bool(!self.value(inner)?.to_bool())),
            Expression::Minus(inner) => Value::number(-self.value(inner)?.to_number()?),
            Expression::Binary(operator, sides) => self.binary(*operator, &sides.0, &sides.1),
            Expression::Call(function, arguments) => function.call(self, arguments),
        }
    }
    fn binary(
        &self,
        operator: Binary,
        left: &Expression,
        right: &Expression,
    ) -> Result<Value, Fault> {
        let left = self.value(left)?;
        // What decides without the other side is not asked for it.
        match operator {
            Binary::Or if left.to_bool() => return Ok(Value::Bool(true)),
            Binary::And if !left.to_bool() => return Ok(Value::Bool(false)),
            _ => {}
        }
        let right = self.value(right)?;
        let numbers = || Ok((left.to_number()?, right.to_number()?));
        let arithmetic = |work: fn(f64, f64) -> f64| {
            let (a, b) = numbers()?;
            Value::number(work(a, b))
        };
        Ok(Value::Bool(match operator {
            Binary::Or | Binary::And => right.to_bool(),
            Binary::Equal => left.equals(&right),
            Binary::Unequal => !left.equals(&right),
            Binary::Less => left.compare(&right)?.is_lt(),
            Binary::LessOrEqual => left.compare(&right)?.is_le(),
            Binary::Greater => left.compare(&right)?.is_gt(),
            Binary::GreaterOrEqual => left.compare(&right)?.is_ge(),
            Binary::Add => return arithmetic(|a, b| a + b),
            Binary::Subtract => return arithmetic(|a, b| a - b),
            Binary::Multiply => return arithmetic(|a, b| a * b),
            Binary::Divide => return arithmetic(|a, b| a / b),
            Binary::Modulo => return arithmetic(|a, b| a % b),
            Binary::Power => return arithmetic(f64::powf),
        }))
    }
}

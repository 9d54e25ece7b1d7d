//! What operators make of their operands: comparisons, lists, patterns, arithmetic.

use haversack_model::filter::{Arithmetic, CastType, Comparison, Expr, Function};
use haversack_model::{Filter, Timestamp, Value};

use super::functions::Interval;
use super::parser::{Node, Parser};
use super::tokens::Token;
use super::types::{Kind, adapted, comparable, kind_of};
use super::{MAX_IN, SqlError};

type Result<T> = std::result::Result<T, SqlError>;

impl Parser<'_> {
    pub(super) fn compared(
        &self,
        from: usize,
        left: Expr,
        op: Comparison,
        right: Expr,
    ) -> Result<Filter> {
        // `1=1` is how clients of this dialect ask for everything.
        if let (Expr::Literal(Value::Integer(a)), Expr::Literal(Value::Integer(b))) =
            (&left, &right)
        {
            let holds = match op {
                Comparison::Equal => a == b,
                Comparison::NotEqual => a != b,
                Comparison::Less => a < b,
                Comparison::LessOrEqual => a <= b,
                Comparison::Greater => a > b,
                Comparison::GreaterOrEqual => a >= b,
            };
            return Ok(if holds { Filter::All } else { Filter::Nothing });
        }
        let (left, right) = self.aligned(from, left, right)?;
        Ok(Filter::Compare { left, op, right })
    }

    /// Adapts literals on either side to the other one and checks that the two can be compared.
    pub(super) fn aligned(&self, from: usize, left: Expr, right: Expr) -> Result<(Expr, Expr)> {
        let collection = self.scope.collection;
        let right = adapted(right, kind_of(&left, collection));
        let left = adapted(left, kind_of(&right, collection));
        let (left_kind, right_kind) = (kind_of(&left, collection), kind_of(&right, collection));
        if comparable(left_kind, right_kind) {
            return Ok((left, right));
        }
        let problem = format!(
            "{} cannot be compared with {}",
            left_kind.word(),
            right_kind.word()
        );
        self.error_from(from, problem)
    }

    pub(super) fn listed(&mut self, from: usize, expr: Expr) -> Result<Filter> {
        self.needs("(")?;
        let mut list = Vec::new();
        loop {
            if list.len() == MAX_IN {
                return self.error(format!("the list of IN holds more than {MAX_IN} items"));
            }
            let item = self.value()?;
            list.push(self.aligned(from, expr.clone(), item)?.1);
            if !self.takes_symbol(",") {
                break;
            }
        }
        self.needs(")")?;
        Ok(Filter::In { expr, list })
    }

    pub(super) fn like(&mut self, from: usize, expr: Expr) -> Result<Filter> {
        let kind = kind_of(&expr, self.scope.collection);
        let expr = match kind {
            Kind::Number => Expr::Call {
                function: Function::Cast(CastType::Text),
                args: vec![expr],
            },
            kind if kind.is_textual() => expr,
            kind => {
                return self.error_from(from, format!("LIKE needs text, found {}", kind.word()));
            }
        };
        let Token::Text(pattern) = self.take() else {
            return self.error_from(from + 1, "LIKE needs a pattern in single quotes");
        };
        let mut escape = None;
        if self.takes("ESCAPE") {
            let at = self.position();
            let Token::Text(text) = self.take() else {
                return self.error_from(at, "ESCAPE needs one character in single quotes");
            };
            let mut chars = text.chars();
            let (Some(character), None) = (chars.next(), chars.next()) else {
                return self.error_from(at, "ESCAPE needs exactly one character");
            };
            let mut rest = pattern.chars();
            while let Some(c) = rest.next() {
                if c == character && rest.next().is_none() {
                    return self.error_from(at, "the pattern ends with its escape character");
                }
            }
            escape = Some(character);
        }
        Ok(Filter::Like {
            expr,
            pattern,
            escape,
        })
    }

    pub(super) fn arithmetic(
        &self,
        from: usize,
        left: Node,
        op: Arithmetic,
        right: Node,
    ) -> Result<Expr> {
        let (left, right) = match (left, right) {
            (Node::Value(left), Node::Value(right)) => (left, right),
            (Node::Value(time), Node::Interval(interval)) => {
                return self.shifted(from, time, op, interval);
            }
            (Node::Interval(interval), Node::Value(time)) if op == Arithmetic::Add => {
                return self.shifted(from, time, op, interval);
            }
            (Node::Condition(_), _) | (_, Node::Condition(_)) => {
                return self.error_from(from, "expected a value, found a condition");
            }
            _ => return self.error_from(from, "an interval needs a time beside it"),
        };
        let kinds = (
            kind_of(&left, self.scope.collection),
            kind_of(&right, self.scope.collection),
        );
        let fits = match (op, kinds) {
            (Arithmetic::Concat, _) => kinds.0 != Kind::Blob && kinds.1 != Kind::Blob,
            (Arithmetic::Add, (Kind::Time, k) | (k, Kind::Time)) => k.is_number(),
            (Arithmetic::Subtract, (Kind::Time, k)) => k.is_number() || k == Kind::Time,
            (_, (a, b)) => a.is_number() && b.is_number(),
        };
        if !fits {
            let problem = format!(
                "{} and {} cannot be computed with",
                kinds.0.word(),
                kinds.1.word()
            );
            return self.error_from(from, problem);
        }
        if let Some(time) = folded(&left, op, &right) {
            return Ok(time);
        }
        self.shallow(Expr::Binary {
            left: Box::new(left),
            op,
            right: Box::new(right),
        })
    }

    /// A time plus or minus an interval.
    fn shifted(&self, from: usize, time: Expr, op: Arithmetic, interval: Interval) -> Result<Expr> {
        let interval = match op {
            Arithmetic::Add => interval,
            Arithmetic::Subtract => interval.negated(),
            _ => return self.error_from(from, "an interval can only be added or subtracted"),
        };
        self.need_kind(
            from,
            &time,
            |kind| kind == Kind::Time,
            "a time beside the interval",
        )?;
        match (time, interval) {
            (Expr::Time(time), interval) => match interval.after(time) {
                Some(time) => Ok(Expr::Time(time)),
                None => self.error_from(from, "the time is out of range"),
            },
            (time, Interval { months: 0, ms }) => self.shallow(Expr::Binary {
                left: Box::new(time),
                op: Arithmetic::Add,
                right: Box::new(Expr::Literal(Value::Real(ms as f64 / 86_400_000.0))),
            }),
            _ => self.error_from(from, "months and years can only be added to a fixed time"),
        }
    }
}

pub(super) fn either(left: Filter, right: Filter) -> Filter {
    match (left, right) {
        (Filter::All, _) | (_, Filter::All) => Filter::All,
        (Filter::Nothing, one) | (one, Filter::Nothing) => one,
        (Filter::Or(mut all), one) => {
            all.push(one);
            Filter::Or(all)
        }
        (one, other) => Filter::Or(vec![one, other]),
    }
}

/// A fixed time plus or minus days.
fn folded(left: &Expr, op: Arithmetic, right: &Expr) -> Option<Expr> {
    let (time, number) = match (left, right) {
        (Expr::Time(time), Expr::Literal(number)) => (time, number),
        (Expr::Literal(number), Expr::Time(time)) if op == Arithmetic::Add => (time, number),
        _ => return None,
    };
    let days = match number {
        Value::Integer(n) => *n as f64,
        Value::Real(x) => *x,
        _ => return None,
    };
    let days = if op == Arithmetic::Subtract {
        -days
    } else {
        days
    };
    let ms = (days * 86_400_000.0).round();
    (ms.abs() < 1e15).then(|| Expr::Time(Timestamp(time.0.saturating_add(ms as i64))))
}

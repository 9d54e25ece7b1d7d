//! Conditions and values by precedence climbing.

use haversack_model::filter::{Arithmetic, Comparison, Expr};
use haversack_model::query::Statistic;
use haversack_model::{Collection, Filter, Timestamp, Value};

use super::functions::Interval;
use super::predicates::either;
use super::tokens::{Token, tokens};
use super::types::{Kind, kind_of};
use super::{MAX_DEPTH, SqlError};

type Result<T> = std::result::Result<T, SqlError>;

/// What names mean in a clause.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) collection: &'a Collection,
    pub(super) now: Timestamp,
    /// Whether aggregates are allowed: in `having`.
    pub(super) aggregates: bool,
    /// Result columns that may be named beside the fields.
    pub(super) outputs: &'a [Statistic],
    /// In `having`: the only bare expressions that a group has one value of.
    pub(super) group_by: Option<&'a [Expr]>,
}

impl<'a> Scope<'a> {
    /// Fields of single rows.
    pub(super) fn rows(collection: &'a Collection, now: Timestamp) -> Self {
        Self {
            collection,
            now,
            aggregates: false,
            outputs: &[],
            group_by: None,
        }
    }
}

/// What a part of a clause turned out to be.
pub(super) enum Node {
    Condition(Filter),
    Value(Expr),
    /// A span of time, which only makes sense beside a time.
    Interval(Interval),
}

pub(super) struct Parser<'a> {
    tokens: Vec<(Token, usize)>,
    next: usize,
    depth: u32,
    pub(super) scope: Scope<'a>,
}

/// Words that cannot be bare field names.
const RESERVED: [&str; 10] = [
    "AND", "OR", "NOT", "IN", "LIKE", "BETWEEN", "IS", "ESCAPE", "NULL", "FROM",
];

/// A word that joins what stands before it with what follows.
#[derive(Clone, Copy, PartialEq)]
enum Operator {
    And,
    Or,
    Compare(Comparison),
    Arithmetic(Arithmetic),
    /// Of the predicates: whether NOT stands before it.
    Between(bool),
    In(bool),
    Like(bool),
    Is,
}

impl Operator {
    fn strength(self) -> u8 {
        match self {
            Self::Or => strength::OR,
            Self::And => strength::AND,
            Self::Compare(_) | Self::Between(_) | Self::In(_) | Self::Like(_) | Self::Is => {
                strength::COMPARE
            }
            Self::Arithmetic(Arithmetic::Concat) => strength::CONCAT,
            Self::Arithmetic(Arithmetic::Add | Arithmetic::Subtract) => strength::ADD,
            Self::Arithmetic(_) => strength::MULTIPLY,
        }
    }
}

/// Binding strengths; higher binds tighter.
mod strength {
    pub(super) const OR: u8 = 1;
    pub(super) const AND: u8 = 2;
    pub(super) const NOT: u8 = 3;
    pub(super) const COMPARE: u8 = 4;
    pub(super) const CONCAT: u8 = 5;
    pub(super) const ADD: u8 = 6;
    pub(super) const MULTIPLY: u8 = 7;
    pub(super) const SIGN: u8 = 8;
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &str, scope: Scope<'a>) -> Result<Self> {
        Ok(Self {
            tokens: tokens(text)?,
            next: 0,
            depth: 0,
            scope,
        })
    }

    pub(super) fn peek(&self) -> &Token {
        self.peek_at(0)
    }
    pub(super) fn peek_at(&self, ahead: usize) -> &Token {
        let at = (self.next + ahead).min(self.tokens.len() - 1);
        &self.tokens[at].0
    }
    pub(super) fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next = (self.next + 1).min(self.tokens.len() - 1);
        token
    }
    /// An error at the next word.
    pub(super) fn error<T>(&self, problem: impl Into<String>) -> Result<T> {
        self.error_from(self.next, problem)
    }
    /// Where the next word stands, for [`Self::error_from`].
    pub(super) fn position(&self) -> usize {
        self.next
    }
    /// An error at a word taken before.
    pub(super) fn error_from<T>(&self, position: usize, problem: impl Into<String>) -> Result<T> {
        Err(SqlError {
            problem: problem.into(),
            at: self.tokens[position.min(self.tokens.len() - 1)].1,
        })
    }
    pub(super) fn takes(&mut self, keyword: &str) -> bool {
        let is = self.peek().is(keyword);
        if is {
            self.take();
        }
        is
    }
    pub(super) fn takes_symbol(&mut self, symbol: &str) -> bool {
        let is = matches!(self.peek(), Token::Symbol(s) if *s == symbol);
        if is {
            self.take();
        }
        is
    }
    pub(super) fn needs(&mut self, what: &str) -> Result<()> {
        if self.takes(what) || self.takes_symbol(what) {
            Ok(())
        } else {
            self.error(format!("expected {what}, found {}", self.peek().shown()))
        }
    }
    pub(super) fn end(&self) -> Result<()> {
        match self.peek() {
            Token::End => Ok(()),
            other => self.error(format!("did not expect {} here", other.shown())),
        }
    }
    /// Runs a deeper part of the clause, to the limit.
    fn deeper<T>(&mut self, part: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == MAX_DEPTH {
            return self.error(format!("nested deeper than {MAX_DEPTH} levels"));
        }
        self.depth += 1;
        let result = part(self);
        self.depth -= 1;
        result
    }

    /// A condition.
    pub(super) fn condition(&mut self) -> Result<Filter> {
        let from = self.next;
        match self.node(0)? {
            Node::Condition(filter) => Ok(filter),
            Node::Value(_) | Node::Interval(_) => self.error_from(
                from,
                "expected a condition such as name = 'x', found a value",
            ),
        }
    }
    /// A value.
    pub(super) fn value(&mut self) -> Result<Expr> {
        self.value_above(0)
    }
    /// A value without comparisons and predicates, as before IN.
    pub(super) fn operand(&mut self) -> Result<Expr> {
        self.value_above(strength::COMPARE)
    }
    fn value_above(&mut self, strength: u8) -> Result<Expr> {
        let from = self.next;
        match self.node(strength)? {
            Node::Value(expr) => Ok(expr),
            Node::Condition(_) => self.error_from(from, "expected a value, found a condition"),
            Node::Interval(_) => self.error_from(from, "an interval needs a time beside it"),
        }
    }

    fn node(&mut self, strength: u8) -> Result<Node> {
        self.deeper(|parser| {
            let mut left = parser.prefix()?;
            while let Some(operator) = parser.operator().filter(|o| o.strength() > strength) {
                left = parser.joined(left, operator)?;
            }
            Ok(left)
        })
    }

    fn prefix(&mut self) -> Result<Node> {
        let from = self.next;
        if self.takes("NOT") {
            return match self.node(strength::NOT)? {
                Node::Condition(filter) => Ok(Node::Condition(Filter::Not(Box::new(filter)))),
                _ => self.error_from(from, "NOT needs a condition"),
            };
        }
        if self.takes_symbol("-") {
            let operand = self.value_above(strength::SIGN)?;
            self.need_kind(from, &operand, Kind::is_number, "a number")?;
            return Ok(Node::Value(match operand {
                Expr::Literal(Value::Integer(n)) if n != i64::MIN => {
                    Expr::Literal(Value::Integer(-n))
                }
                Expr::Literal(Value::Real(x)) => Expr::Literal(Value::Real(-x)),
                other => self.shallow(Expr::Negate(Box::new(other)))?,
            }));
        }
        if self.takes_symbol("+") {
            return self.value_above(strength::SIGN).map(Node::Value);
        }
        if self.takes_symbol("(") {
            let inner = self.node(0)?;
            self.needs(")")?;
            return Ok(inner);
        }
        self.primary()
    }

    fn primary(&mut self) -> Result<Node> {
        let from = self.next;
        match self.take() {
            Token::Text(text) => Ok(Node::Value(Expr::Literal(Value::Text(text)))),
            Token::Integer(n) => Ok(Node::Value(Expr::Literal(Value::Integer(n)))),
            Token::Real(x) => Ok(Node::Value(Expr::Literal(Value::Real(x)))),
            Token::Quoted(name) => self.name(from, &name).map(Node::Value),
            Token::Word(word) => self.word(from, &word),
            other => self.error_from(from, format!("expected a value, found {}", other.shown())),
        }
    }

    fn word(&mut self, from: usize, word: &str) -> Result<Node> {
        let upper = word.to_ascii_uppercase();
        if upper == "NULL" {
            return Ok(Node::Value(Expr::Literal(Value::Null)));
        }
        if upper == "INTERVAL"
            && matches!(
                self.peek(),
                Token::Text(_) | Token::Integer(_) | Token::Real(_)
            )
        {
            return self.interval().map(Node::Interval);
        }
        if let Token::Text(_) = self.peek()
            && let Some(value) = self.typed_text(from, &upper)?
        {
            return Ok(Node::Value(value));
        }
        if matches!(self.peek(), Token::Symbol("(")) && !RESERVED.contains(&upper.as_str()) {
            return self.call(from, &upper).map(Node::Value);
        }
        if self.scope.collection.field_index(word).is_none() {
            match upper.as_str() {
                "CURRENT_TIMESTAMP" | "LOCALTIMESTAMP" => {
                    return Ok(Node::Value(Expr::Time(self.scope.now)));
                }
                "CURRENT_DATE" => {
                    let midnight = self.scope.now.0 - self.scope.now.0.rem_euclid(86_400_000);
                    return Ok(Node::Value(Expr::Time(Timestamp(midnight))));
                }
                "TRUE" => return Ok(Node::Condition(Filter::All)),
                "FALSE" => return Ok(Node::Condition(Filter::Nothing)),
                _ => {}
            }
        }
        if RESERVED.contains(&upper.as_str()) {
            return self.error_from(from, format!("did not expect {word:?} here"));
        }
        self.name(from, word).map(Node::Value)
    }

    /// A field by its name, which may be qualified by the collection's.
    fn name(&mut self, from: usize, name: &str) -> Result<Expr> {
        let collection = self.scope.collection;
        if matches!(self.peek(), Token::Symbol(".")) {
            let is_ours = name.eq_ignore_ascii_case(&collection.name)
                || name.eq_ignore_ascii_case(&collection.table);
            if !is_ours {
                return self.error_from(from, format!("there is no table {name:?} here"));
            }
            self.take();
            let from = self.next;
            return match self.take() {
                Token::Word(field) | Token::Quoted(field) => self.field(from, &field),
                other => {
                    self.error_from(from, format!("expected a field, found {}", other.shown()))
                }
            };
        }
        self.field(from, name)
    }

    fn field(&self, from: usize, name: &str) -> Result<Expr> {
        let collection = self.scope.collection;
        let output = self
            .scope
            .outputs
            .iter()
            .find(|o| o.name.eq_ignore_ascii_case(name));
        if let Some(output) = output {
            return Ok(if self.scope.aggregates {
                Expr::Aggregate {
                    kind: output.kind,
                    field: output.expr.clone().map(Box::new),
                }
            } else {
                Expr::Field(output.name.clone())
            });
        }
        let shown: String = name.chars().take(60).collect();
        let expr = if name.eq_ignore_ascii_case(&collection.object_id_field) {
            Expr::ObjectId
        } else if name.eq_ignore_ascii_case(&collection.global_id_field) {
            Expr::GlobalId
        } else if let Some(at) = collection.field_index(name) {
            Expr::Field(collection.fields[at].name.clone())
        } else {
            return self.error_from(
                from,
                format!("there is no field {shown:?} in {:?}", collection.name),
            );
        };
        match self.scope.group_by {
            Some(keys) if !keys.contains(&expr) => self.error_from(
                from,
                format!("{shown:?} is not grouped by; use it in an aggregate"),
            ),
            _ => Ok(expr),
        }
    }

    /// The operator that comes next, without taking it.
    fn operator(&self) -> Option<Operator> {
        Some(match self.peek() {
            Token::Symbol(symbol) => match *symbol {
                "=" => Operator::Compare(Comparison::Equal),
                "<>" | "!=" => Operator::Compare(Comparison::NotEqual),
                "<" => Operator::Compare(Comparison::Less),
                "<=" => Operator::Compare(Comparison::LessOrEqual),
                ">" => Operator::Compare(Comparison::Greater),
                ">=" => Operator::Compare(Comparison::GreaterOrEqual),
                "+" => Operator::Arithmetic(Arithmetic::Add),
                "-" => Operator::Arithmetic(Arithmetic::Subtract),
                "*" => Operator::Arithmetic(Arithmetic::Multiply),
                "/" => Operator::Arithmetic(Arithmetic::Divide),
                "%" => Operator::Arithmetic(Arithmetic::Modulo),
                "||" => Operator::Arithmetic(Arithmetic::Concat),
                _ => return None,
            },
            word @ Token::Word(_) => {
                let negated = word.is("NOT");
                let word = if negated { self.peek_at(1) } else { word };
                match word {
                    w if w.is("BETWEEN") => Operator::Between(negated),
                    w if w.is("IN") => Operator::In(negated),
                    w if w.is("LIKE") => Operator::Like(negated),
                    w if w.is("AND") && !negated => Operator::And,
                    w if w.is("OR") && !negated => Operator::Or,
                    w if w.is("IS") && !negated => Operator::Is,
                    _ => return None,
                }
            }
            _ => return None,
        })
    }

    /// Takes an operator and what follows it.
    fn joined(&mut self, left: Node, operator: Operator) -> Result<Node> {
        let from = self.next;
        self.take();
        if let Operator::Between(true) | Operator::In(true) | Operator::Like(true) = operator {
            self.take();
        }
        let (filter, negated) = match (left, operator) {
            (Node::Condition(left), Operator::And | Operator::Or) => {
                let Node::Condition(right) = self.node(operator.strength())? else {
                    return self.error_from(from, "expected a condition on both sides");
                };
                let both = if operator == Operator::And {
                    left.and(right)
                } else {
                    either(left, right)
                };
                (both, false)
            }
            (left @ (Node::Value(_) | Node::Interval(_)), Operator::Arithmetic(op)) => {
                let right = self.node(operator.strength())?;
                return self.arithmetic(from, left, op, right).map(Node::Value);
            }
            (Node::Value(left), Operator::Compare(op)) => {
                let right = self.value_above(strength::COMPARE)?;
                (self.compared(from, left, op, right)?, false)
            }
            (Node::Value(expr), Operator::Between(negated)) => {
                let low = self.value_above(strength::COMPARE)?;
                self.needs("AND")?;
                let high = self.value_above(strength::COMPARE)?;
                let above = self.compared(from, expr.clone(), Comparison::GreaterOrEqual, low)?;
                let below = self.compared(from, expr, Comparison::LessOrEqual, high)?;
                (above.and(below), negated)
            }
            (Node::Value(expr), Operator::In(negated)) => (self.listed(from, expr)?, negated),
            (Node::Value(expr), Operator::Like(negated)) => (self.like(from, expr)?, negated),
            (Node::Value(expr), Operator::Is) => {
                let negated = self.takes("NOT");
                self.needs("NULL")?;
                (Filter::IsNull(expr), negated)
            }
            (Node::Condition(_), _) => {
                return self.error_from(from, "expected a value on the left, found a condition");
            }
            (Node::Value(_), _) => {
                return self.error_from(from, "expected a condition on the left, found a value");
            }
            (Node::Interval(_), _) => {
                return self.error_from(from, "an interval needs a time beside it");
            }
        };
        let filter = if negated {
            Filter::Not(Box::new(filter))
        } else {
            filter
        };
        Ok(Node::Condition(filter))
    }

    /// Refuses an expression that is nested too deeply.
    pub(super) fn shallow(&self, expr: Expr) -> Result<Expr> {
        if height(&expr) > MAX_DEPTH {
            return self.error(format!("nested deeper than {MAX_DEPTH} levels"));
        }
        Ok(expr)
    }

    /// Fails unless an operand has a kind that fits.
    pub(super) fn need_kind(
        &self,
        from: usize,
        expr: &Expr,
        fits: impl Fn(Kind) -> bool,
        wanted: &str,
    ) -> Result<()> {
        let kind = kind_of(expr, self.scope.collection);
        if fits(kind) {
            return Ok(());
        }
        self.error_from(from, format!("expected {wanted}, found {}", kind.word()))
    }
}

/// Levels of nesting. Counted at every level that is added, so it never runs deeper than one beyond the limit.
fn height(expr: &Expr) -> u32 {
    let tallest = |args: &[Expr]| args.iter().map(height).max().unwrap_or(0);
    1 + match expr {
        Expr::Negate(inner) => height(inner),
        Expr::Binary { left, right, .. } => height(left).max(height(right)),
        Expr::Call { args, .. } => tallest(args),
        Expr::Aggregate { field, .. } => field.as_deref().map_or(0, height),
        Expr::Field(_) | Expr::ObjectId | Expr::GlobalId | Expr::Literal(_) | Expr::Time(_) => 0,
    }
}

//! From tokens to a query.

use serde_json::{Map, Number, Value};

use super::lex::{self, Token};
use super::{BadQuery, Change, Comparison, End, Expr, Query, Step, Write};

/// Deepest nesting of an expression.
const MAX_DEPTH: u32 = 64;

pub(super) fn query(text: &str, bind: &Map<String, Value>) -> Result<Query, BadQuery> {
    let mut parser = Parser {
        text,
        tokens: lex::tokens(text)?,
        at: 0,
        bind,
        variable: String::new(),
        depth: 0,
    };
    parser.query()
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<(usize, Token)>,
    at: usize,
    bind: &'a Map<String, Value>,
    variable: String,
    depth: u32,
}

type Parsed<T = Expr> = Result<T, BadQuery>;

impl Parser<'_> {
    fn query(&mut self) -> Parsed<Query> {
        self.expect("FOR")?;
        self.variable = self.name("the loop needs a variable")?;
        self.expect("IN")?;
        let collection = self.collection()?;
        let mut steps = Vec::new();
        let end = loop {
            if self.keyword("FILTER") {
                steps.push(Step::Filter(self.expression()?));
            } else if self.keyword("SORT") {
                steps.push(self.sort()?);
            } else if self.keyword("LIMIT") {
                steps.push(self.limit()?);
            } else if self.keyword("RETURN") {
                let distinct = self.keyword("DISTINCT");
                let result = self.expression()?;
                break End::Return { result, distinct };
            } else if let Some(change) = self.change()? {
                break End::Write(self.write(change, &collection)?);
            } else {
                return Err(self.problem(
                    "only FILTER, SORT, LIMIT, RETURN, UPDATE, REPLACE and REMOVE are understood here",
                ));
            }
        };
        if self.at < self.tokens.len() {
            return Err(self.problem(match end {
                End::Return { .. } => "nothing more is understood after RETURN",
                End::Write(_) => "nothing more is understood after a change",
            }));
        }
        Ok(Query {
            collection,
            steps,
            end,
        })
    }

    /// `UPDATE d WITH e`, `REPLACE d WITH e` or `REMOVE d`, of the document of the loop.
    fn change(&mut self) -> Parsed<Option<Change>> {
        let make = if self.keyword("UPDATE") {
            Some(Change::Update as fn(Expr) -> Change)
        } else if self.keyword("REPLACE") {
            Some(Change::Replace as fn(Expr) -> Change)
        } else if self.keyword("REMOVE") {
            None
        } else {
            return Ok(None);
        };
        let place = self.at;
        let key = Expr::Member(
            Box::new(Expr::Document),
            Box::new(Expr::Value(Value::from("_key"))),
        );
        let which = self.postfix()?;
        if which != Expr::Document && which != key {
            self.at = place;
            return Err(self.problem("only the document of the loop is changed here"));
        }
        let Some(make) = make else {
            return Ok(Some(Change::Remove));
        };
        self.expect("WITH")?;
        // No comparison: `IN` names the collection.
        Ok(Some(make(self.unary()?)))
    }

    /// `IN collection OPTIONS {..}`.
    fn write(&mut self, change: Change, read: &str) -> Parsed<Write> {
        if !self.keyword("INTO") {
            self.expect("IN")?;
        }
        let place = self.at;
        if self.collection()? != read {
            self.at = place;
            return Err(
                self.problem("only documents of the collection of the loop are changed here")
            );
        }
        let mut write = Write {
            change,
            keep_null: true,
            merge_objects: true,
            ignore_errors: false,
        };
        if self.keyword("OPTIONS") {
            self.expect_sign("{")?;
            let Expr::Object(options) = self.object()? else {
                return Err(self.problem("OPTIONS needs an object"));
            };
            for (name, value) in options {
                let option = match name.as_str() {
                    "keepNull" => &mut write.keep_null,
                    "mergeObjects" => &mut write.merge_objects,
                    "ignoreErrors" => &mut write.ignore_errors,
                    // Every change is durable, and one lock is for all: what else there is to choose says nothing here.
                    _ => continue,
                };
                match value {
                    Expr::Value(Value::Bool(chosen)) => *option = chosen,
                    // Drivers send null for what their caller did not choose.
                    Expr::Value(Value::Null) => {}
                    _ => return Err(self.problem("an option is true or false")),
                }
            }
        }
        Ok(write)
    }

    fn collection(&mut self) -> Parsed<String> {
        if let Some(Token::Bind(name, true)) = self.peek().cloned() {
            self.at += 1;
            let value = self.bind.get(&format!("@{name}")).and_then(Value::as_str);
            return value
                .map(str::to_owned)
                .ok_or(BadQuery::Bind(format!("@{name}")));
        }
        let name = self.name("the loop needs a collection")?;
        if self.sign("(") {
            return Err(self.problem("functions that give documents are not understood here"));
        }
        Ok(name)
    }

    fn sort(&mut self) -> Parsed<Step> {
        let mut keys = Vec::new();
        loop {
            let key = self.expression()?;
            let descending = self.keyword("DESC");
            if !descending {
                self.keyword("ASC");
            }
            keys.push((key, descending));
            if !self.sign(",") {
                return Ok(Step::Sort(keys));
            }
        }
    }

    fn limit(&mut self) -> Parsed<Step> {
        let first = self.count()?;
        let (offset, count) = if self.sign(",") {
            (first.unwrap_or(0), self.count()?)
        } else {
            (0, first)
        };
        Ok(Step::Limit { offset, count })
    }

    /// A whole number; `null` is no limit.
    fn count(&mut self) -> Parsed<Option<u64>> {
        let at = self.at;
        match self.primary()? {
            Expr::Value(Value::Null) => Ok(None),
            Expr::Value(Value::Number(n)) if n.as_u64().is_some() => Ok(n.as_u64()),
            _ => {
                self.at = at;
                Err(self.problem("LIMIT needs whole numbers"))
            }
        }
    }

    fn expression(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.problem("the expression is nested too deep"));
        }
        let condition = self.either()?;
        let result = if self.sign("?") {
            let yes = self.expression()?;
            self.expect_sign(":")?;
            let no = self.expression()?;
            Expr::Choose(Box::new(condition), Box::new(yes), Box::new(no))
        } else {
            condition
        };
        self.depth -= 1;
        Ok(result)
    }

    fn either(&mut self) -> Parsed {
        let mut left = self.both()?;
        while self.sign("||") || self.keyword("OR") {
            left = Expr::Or(Box::new(left), Box::new(self.both()?));
        }
        Ok(left)
    }

    fn both(&mut self) -> Parsed {
        let mut left = self.comparison()?;
        while self.sign("&&") || self.keyword("AND") {
            left = Expr::And(Box::new(left), Box::new(self.comparison()?));
        }
        Ok(left)
    }

    fn comparison(&mut self) -> Parsed {
        let left = self.unary()?;
        let comparison = if self.sign("==") {
            Comparison::Equal
        } else if self.sign("!=") {
            Comparison::Unequal
        } else if self.sign("<=") {
            Comparison::LessOrEqual
        } else if self.sign(">=") {
            Comparison::GreaterOrEqual
        } else if self.sign("<") {
            Comparison::Less
        } else if self.sign(">") {
            Comparison::Greater
        } else if self.keyword("IN") {
            Comparison::In
        } else if self.keyword("NOT") {
            self.expect("IN")?;
            Comparison::NotIn
        } else {
            return Ok(left);
        };
        let right = self.unary()?;
        Ok(Expr::Compare(comparison, Box::new(left), Box::new(right)))
    }

    fn unary(&mut self) -> Parsed {
        let mut negations = 0_u32;
        while self.sign("!") || self.keyword("NOT") {
            negations += 1;
        }
        let inner = self.postfix()?;
        Ok(match negations {
            0 => inner,
            n if n % 2 == 1 => Expr::Not(Box::new(inner)),
            _ => Expr::Not(Box::new(Expr::Not(Box::new(inner)))),
        })
    }

    fn postfix(&mut self) -> Parsed {
        let mut value = self.primary()?;
        loop {
            if self.sign(".") {
                let path = match self.next() {
                    Some(Token::Word { text, .. }) => vec![Value::from(text)],
                    Some(Token::Bind(name, false)) => match self.bound(&name)? {
                        Value::Array(path) => path,
                        other => vec![other],
                    },
                    _ => return Err(self.problem("an attribute needs a name")),
                };
                for name in path {
                    value = Expr::Member(Box::new(value), Box::new(Expr::Value(name)));
                }
            } else if self.sign("[") {
                let name = self.expression()?;
                self.expect_sign("]")?;
                value = Expr::Member(Box::new(value), Box::new(name));
            } else {
                return Ok(value);
            }
        }
    }

    fn primary(&mut self) -> Parsed {
        let place = self.at;
        match self.next() {
            Some(Token::Text(text)) => Ok(Expr::Value(Value::String(text))),
            Some(Token::Number(number)) => Ok(Expr::Value(Value::Number(number))),
            Some(Token::Bind(name, false)) => Ok(Expr::Value(self.bound(&name)?)),
            Some(Token::Sign("-")) => match self.next() {
                Some(Token::Number(number)) => Ok(Expr::Value(negated(&number))),
                _ => Err(self.problem("only numbers may be negative")),
            },
            Some(Token::Sign("(")) => {
                let inner = self.expression()?;
                self.expect_sign(")")?;
                Ok(inner)
            }
            Some(Token::Sign("[")) => self.list("]").map(Expr::Array),
            Some(Token::Sign("{")) => self.object(),
            Some(Token::Word { text, quoted }) => self.word(&text, quoted, place),
            _ => {
                self.at = place;
                Err(self.problem("a value is needed"))
            }
        }
    }

    fn word(&mut self, text: &str, quoted: bool, place: usize) -> Parsed {
        if text == self.variable {
            return Ok(Expr::Document);
        }
        let is = |word: &str| !quoted && text.eq_ignore_ascii_case(word);
        if is("true") || is("false") {
            return Ok(Expr::Value(Value::Bool(is("true"))));
        }
        if is("null") {
            return Ok(Expr::Value(Value::Null));
        }
        if self.sign("(") {
            let mut arguments = self.list(")")?;
            if is("RAND") && arguments.is_empty() {
                return Ok(Expr::Random);
            }
            if is("HAS")
                && arguments.len() == 2
                && let (Some(name), Some(object)) = (arguments.pop(), arguments.pop())
            {
                return Ok(Expr::Has(Box::new(object), Box::new(name)));
            }
        }
        self.at = place;
        Err(self.problem("this name or function is not understood here"))
    }

    fn list(&mut self, end: &'static str) -> Parsed<Vec<Expr>> {
        let mut items = Vec::new();
        while !self.sign(end) {
            if !items.is_empty() {
                self.expect_sign(",")?;
            }
            items.push(self.expression()?);
        }
        Ok(items)
    }

    fn object(&mut self) -> Parsed {
        let mut members: Vec<(String, Expr)> = Vec::new();
        while !self.sign("}") {
            if !members.is_empty() {
                self.expect_sign(",")?;
            }
            let Some(Token::Word { text: name, .. } | Token::Text(name)) = self.next() else {
                return Err(self.problem("an attribute needs a name"));
            };
            let value = if self.sign(":") {
                self.expression()?
            } else if name == self.variable {
                Expr::Document
            } else {
                return Err(self.problem("an attribute needs a value"));
            };
            members.push((name, value));
        }
        Ok(Expr::Object(members))
    }

    fn bound(&self, name: &str) -> Parsed<Value> {
        let value = self.bind.get(name).cloned();
        value.ok_or_else(|| BadQuery::Bind(name.to_owned()))
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(_, token)| token)
    }
    fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.at += 1;
        token
    }
    fn keyword(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word { text, quoted: false }) if text.eq_ignore_ascii_case(word));
        self.at += usize::from(found);
        found
    }
    fn sign(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Sign(known)) if *known == sign);
        self.at += usize::from(found);
        found
    }
    fn expect(&mut self, word: &'static str) -> Parsed<()> {
        if self.keyword(word) {
            return Ok(());
        }
        Err(self.problem(match word {
            "FOR" => "only queries that begin with FOR are understood here",
            "WITH" => "WITH is needed",
            _ => "IN is needed",
        }))
    }
    fn expect_sign(&mut self, sign: &'static str) -> Parsed<()> {
        if self.sign(sign) {
            return Ok(());
        }
        Err(self.problem("something else is needed"))
    }
    fn name(&mut self, problem: &'static str) -> Parsed<String> {
        if let Some(Token::Word { text, .. }) = self.peek().cloned() {
            self.at += 1;
            return Ok(text);
        }
        Err(self.problem(problem))
    }
    fn problem(&self, problem: &'static str) -> BadQuery {
        let at = self
            .tokens
            .get(self.at)
            .map_or(self.text.len(), |(at, _)| *at);
        lex::near(problem, self.text, at)
    }
}

fn negated(number: &Number) -> Value {
    match number.as_i64().and_then(i64::checked_neg) {
        Some(n) => Value::from(n),
        None => Value::from(-number.as_f64().unwrap_or_default()),
    }
}

//! Reads expressions of rules: the dialect's own small language, by recursive descent.
//!
//! Literals, arithmetic, comparison, logic in signs and in words, variables (`#{}`, `A{}`, `C{}`, `V{}`), functions. What a text can do to the reader
//! is bounded: its length, and how deep the tree is, which is how deep reading and evaluation go.

use super::fault::Fault;
use super::function::Function;

/// Longest text of an expression.
const MAX_CHARS: usize = 20_000;
/// How deep the tree may be.
const MAX_DEPTH: usize = 120;

/// Where a variable comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// `#{}` and `A{}`: a rule variable, by its name.
    Rule,
    /// `C{}`: a constant, by its uid.
    Constant,
    /// `V{}`: what the dialect always has.
    Environment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Or,
    And,
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
}

impl Binary {
    /// How strongly it binds.
    fn rank(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And => 2,
            Self::Equal | Self::Unequal => 3,
            Self::Less | Self::LessOrEqual | Self::Greater | Self::GreaterOrEqual => 4,
            Self::Add | Self::Subtract => 5,
            Self::Multiply | Self::Divide | Self::Modulo => 6,
            Self::Power => 7,
        }
    }
}

/// Operators by their signs; none is the beginning of one behind it.
const SIGNS: [(&str, Binary); 14] = [
    ("||", Binary::Or),
    ("&&", Binary::And),
    ("==", Binary::Equal),
    ("!=", Binary::Unequal),
    ("<>", Binary::Unequal),
    ("<=", Binary::LessOrEqual),
    (">=", Binary::GreaterOrEqual),
    ("<", Binary::Less),
    (">", Binary::Greater),
    ("+", Binary::Add),
    ("-", Binary::Subtract),
    ("*", Binary::Multiply),
    ("/", Binary::Divide),
    ("%", Binary::Modulo),
];

/// An expression that was read.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expression {
    Number(f64),
    Text(String),
    Bool(bool),
    Variable(Origin, String),
    Not(Box<Self>),
    Minus(Box<Self>),
    Binary(Binary, Box<(Self, Self)>),
    Call(Function, Vec<Self>),
}

impl Expression {
    /// Reads a text.
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let chars: Vec<char> = text.chars().take(MAX_CHARS + 1).collect();
        if chars.len() > MAX_CHARS {
            return Err(Fault::TooLarge);
        }
        let mut reader = Reader {
            chars,
            at: 0,
            depth: 0,
        };
        let (whole, _) = reader.binary(0)?;
        reader.skip_space();
        if reader.at < reader.chars.len() {
            return Err(reader.fault());
        }
        Ok(whole)
    }
    /// Visits all variables, those whose names are given to functions as well.
    pub(super) fn each_variable(&self, visit: &mut dyn FnMut(Origin, &str)) {
        match self {
            Self::Variable(origin, name) => visit(*origin, name),
            Self::Not(inner) | Self::Minus(inner) => inner.each_variable(visit),
            Self::Binary(_, sides) => {
                sides.0.each_variable(visit);
                sides.1.each_variable(visit);
            }
            Self::Call(function, arguments) => {
                for (at, argument) in arguments.iter().enumerate() {
                    match argument {
                        Self::Text(name) if at == 0 && function.takes_variable() => {
                            visit(Origin::Rule, name);
                        }
                        other => other.each_variable(visit),
                    }
                }
            }
            Self::Number(_) | Self::Text(_) | Self::Bool(_) => {}
        }
    }
}

/// An expression with how deep it is.
type Deep = (Expression, usize);

struct Reader {
    chars: Vec<char>,
    at: usize,
    /// In how many brackets, calls and signs the reader is.
    depth: usize,
}

impl Reader {
    fn fault(&self) -> Fault {
        Fault::Syntax(self.at)
    }
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }
    fn skip_space(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }
    /// Whether a text stands here; it is read then.
    fn takes(&mut self, text: &str) -> bool {
        let is_here = text
            .chars()
            .enumerate()
            .all(|(n, char)| self.chars.get(self.at + n) == Some(&char));
        if is_here {
            self.at += text.chars().count();
        }
        is_here
    }
    /// Whether a word stands here, and not the beginning of a longer one.
    fn takes_word(&mut self, word: &str) -> bool {
        let length = word.chars().count();
        let here = self.chars.get(self.at..self.at + length);
        let is_here = here.is_some_and(|here| {
            here.iter()
                .zip(word.chars())
                .all(|(a, b)| a.eq_ignore_ascii_case(&b))
        });
        let next = self.chars.get(self.at + length);
        let is_whole = !next.is_some_and(|next| next.is_alphanumeric() || "_:.".contains(*next));
        if is_here && is_whole {
            self.at += length;
        }
        is_here && is_whole
    }
    fn wrapped(depth: usize) -> Result<usize, Fault> {
        if depth >= MAX_DEPTH {
            return Err(Fault::TooLarge);
        }
        Ok(depth + 1)
    }
    /// Reads one level further in.
    fn within<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        self.depth = Self::wrapped(self.depth)?;
        let done = read(self);
        self.depth -= 1;
        done
    }

    fn operator(&mut self) -> Option<Binary> {
        self.skip_space();
        let sign = SIGNS.iter().find(|(sign, _)| self.takes(sign));
        if let Some((_, operator)) = sign {
            return Some(*operator);
        }
        if self.takes("^") {
            return Some(Binary::Power);
        }
        if self.takes_word("or") {
            return Some(Binary::Or);
        }
        self.takes_word("and").then_some(Binary::And)
    }

    /// Operators that bind more strongly than a rank, from left to right.
    fn binary(&mut self, above: u8) -> Result<Deep, Fault> {
        let (mut left, mut depth) = self.unary()?;
        loop {
            let before = self.at;
            let Some(operator) = self.operator() else {
                self.at = before;
                return Ok((left, depth));
            };
            if operator.rank() <= above {
                self.at = before;
                return Ok((left, depth));
            }
            let (right, right_depth) = self.within(|reader| reader.binary(operator.rank()))?;
            depth = Self::wrapped(depth.max(right_depth))?;
            left = Expression::Binary(operator, Box::new((left, right)));
        }
    }

    fn unary(&mut self) -> Result<Deep, Fault> {
        self.skip_space();
        let make: fn(Box<Expression>) -> Expression = if self.takes("!") || self.takes_word("not") {
            Expression::Not
        } else if self.takes("-") {
            Expression::Minus
        } else if self.takes("+") {
            |inner| *inner
        } else {
            return self.primary();
        };
        let (inner, depth) = self.within(Self::unary)?;
        Ok((make(Box::new(inner)), Self::wrapped(depth)?))
    }

    fn primary(&mut self) -> Result<Deep, Fault> {
        let Some(first) = self.peek() else {
            return Err(self.fault());
        };
        let leaf = match first {
            '(' => {
                self.at += 1;
                let inner = self.within(|reader| reader.binary(0))?;
                self.skip_space();
                return if self.takes(")") {
                    Ok(inner)
                } else {
                    Err(self.fault())
                };
            }
            '\'' | '"' => Expression::Text(self.text(first)?),
            '#' => self.variable("#{", Origin::Rule)?,
            '0'..='9' | '.' => self.number()?,
            _ if self.takes_word("true") => Expression::Bool(true),
            _ if self.takes_word("false") => Expression::Bool(false),
            'A' if self.chars.get(self.at + 1) == Some(&'{') => {
                self.variable("A{", Origin::Rule)?
            }
            'C' if self.chars.get(self.at + 1) == Some(&'{') => {
                self.variable("C{", Origin::Constant)?
            }
            'V' if self.chars.get(self.at + 1) == Some(&'{') => {
                self.variable("V{", Origin::Environment)?
            }
            _ => return self.call(),
        };
        Ok((leaf, 1))
    }

    fn text(&mut self, quote: char) -> Result<String, Fault> {
        self.at += 1;
        let mut text = String::new();
        while let Some(char) = self.peek() {
            self.at += 1;
            match char {
                // Patterns have their own escapes, which stay.
                '\\' if matches!(self.peek(), Some('\'' | '"' | '\\')) => {
                    text.extend(self.peek());
                    self.at += 1;
                }
                char if char == quote => return Ok(text),
                char => text.push(char),
            }
        }
        Err(self.fault())
    }

    fn variable(&mut self, opening: &str, origin: Origin) -> Result<Expression, Fault> {
        if !self.takes(opening) {
            return Err(self.fault());
        }
        let rest = self.chars.get(self.at..).unwrap_or_default();
        let end = rest.iter().position(|char| *char == '}');
        let end = end.ok_or_else(|| self.fault())?;
        let name: String = rest.iter().take(end).collect();
        self.at += end + 1;
        Ok(Expression::Variable(origin, name.trim().to_owned()))
    }

    fn number(&mut self) -> Result<Expression, Fault> {
        let start = self.at;
        while self
            .peek()
            .is_some_and(|char| char.is_ascii_digit() || char == '.')
        {
            self.at += 1;
        }
        let text: String = self
            .chars
            .get(start..self.at)
            .unwrap_or_default()
            .iter()
            .collect();
        let number = text.parse().ok().filter(|number: &f64| number.is_finite());
        number.map(Expression::Number).ok_or(Fault::Syntax(start))
    }

    fn call(&mut self) -> Result<Deep, Fault> {
        let start = self.at;
        while self
            .peek()
            .is_some_and(|char| char.is_ascii_alphanumeric() || "_:".contains(char))
        {
            self.at += 1;
        }
        let name: String = self
            .chars
            .get(start..self.at)
            .unwrap_or_default()
            .iter()
            .collect();
        self.skip_space();
        if name.is_empty() || !self.takes("(") {
            return Err(Fault::Syntax(start));
        }
        let function = Function::named(&name)?;
        let (mut arguments, mut depth) = (Vec::new(), 0);
        self.skip_space();
        if !self.takes(")") {
            loop {
                let (argument, inner) = self.within(|reader| reader.binary(0))?;
                arguments.push(argument);
                depth = depth.max(inner);
                self.skip_space();
                if self.takes(")") {
                    break;
                }
                if !self.takes(",") {
                    return Err(self.fault());
                }
            }
        }
        if !function.takes(arguments.len()) {
            return Err(Fault::Arguments(name));
        }
        Ok((Expression::Call(function, arguments), Self::wrapped(depth)?))
    }
}

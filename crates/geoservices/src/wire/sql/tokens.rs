//! Words of a clause.

use super::{MAX_LENGTH, SqlError};

/// One word.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A bare word: a keyword, a function or a field.
    Word(String),
    /// A name in double quotes or brackets: always a field.
    Quoted(String),
    /// A text literal.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// Another number.
    Real(f64),
    /// An operator or a separator.
    Symbol(&'static str),
    /// The end of the clause.
    End,
}

impl Token {
    /// How it is shown in errors.
    pub(super) fn shown(&self) -> String {
        let text = match self {
            Self::Word(word) | Self::Quoted(word) => word.clone(),
            Self::Text(text) => format!("'{text}'"),
            Self::Integer(n) => n.to_string(),
            Self::Real(x) => x.to_string(),
            Self::Symbol(symbol) => (*symbol).to_owned(),
            Self::End => return "the end".to_owned(),
        };
        let short: String = text.chars().take(40).collect();
        format!("{short:?}")
    }
    /// Whether it is this keyword.
    pub(super) fn is(&self, keyword: &str) -> bool {
        matches!(self, Self::Word(word) if word.eq_ignore_ascii_case(keyword))
    }
}

/// Longest first, so that `<=` is not read as `<`.
const SYMBOLS: [&str; 17] = [
    "<>", "!=", "<=", ">=", "||", "=", "<", ">", "+", "-", "*", "/", "%", "(", ")", ",", ".",
];

/// Splits a clause into words with their positions, counted in characters from 1; the last one is [`Token::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<(Token, usize)>, SqlError> {
    if text.len() > MAX_LENGTH {
        return Err(SqlError {
            problem: format!("the clause is longer than {MAX_LENGTH} bytes"),
            at: MAX_LENGTH,
        });
    }
    let mut lexer = Lexer {
        chars: text.chars().collect(),
        at: 0,
    };
    let mut tokens = Vec::new();
    loop {
        while lexer.peek().is_some_and(char::is_whitespace) {
            lexer.at += 1;
        }
        let at = lexer.at + 1;
        let token = lexer.token()?;
        let is_end = token == Token::End;
        tokens.push((token, at));
        if is_end {
            return Ok(tokens);
        }
    }
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
}

impl Lexer {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }
    fn peek_at(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }
    fn error<T>(&self, problem: impl Into<String>) -> Result<T, SqlError> {
        Err(SqlError {
            problem: problem.into(),
            at: self.at + 1,
        })
    }

    fn token(&mut self) -> Result<Token, SqlError> {
        let Some(first) = self.peek() else {
            return Ok(Token::End);
        };
        match first {
            '\'' => self.enclosed('\'').map(Token::Text),
            '"' => self.enclosed('"').map(Token::Quoted),
            '[' => self.enclosed(']').map(Token::Quoted),
            'n' | 'N' if self.peek_at(1) == Some('\'') => {
                self.at += 1;
                self.enclosed('\'').map(Token::Text)
            }
            '0'..='9' => self.number(),
            '.' if self.peek_at(1).is_some_and(|c| c.is_ascii_digit()) => self.number(),
            '-' if self.peek_at(1) == Some('-') => self.error("comments are not allowed"),
            '/' if self.peek_at(1) == Some('*') => self.error("comments are not allowed"),
            ';' => self.error("only one clause is allowed, without ';'"),
            c if c.is_alphabetic() || c == '_' => Ok(self.word()),
            c => self.symbol(c),
        }
    }

    fn symbol(&mut self, first: char) -> Result<Token, SqlError> {
        let found = SYMBOLS.iter().find(|symbol| {
            let mut wanted = symbol.chars();
            (0..symbol.len()).all(|ahead| self.peek_at(ahead) == wanted.next())
        });
        match found {
            Some(symbol) => {
                self.at += symbol.len();
                Ok(Token::Symbol(symbol))
            }
            None => self.error(format!("the character {first:?} has no meaning here")),
        }
    }

    fn word(&mut self) -> Token {
        let from = self.at;
        while self
            .peek()
            .is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$')
        {
            self.at += 1;
        }
        Token::Word(self.chars[from..self.at].iter().collect())
    }

    /// Text up to a closing character; the closing character twice stands for itself.
    fn enclosed(&mut self, close: char) -> Result<String, SqlError> {
        let from = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            match self.peek() {
                None => {
                    self.at = from;
                    return self.error(format!("{close:?} is missing at the end"));
                }
                Some('\0') => return self.error("a NUL character is not allowed"),
                Some(c) if c == close => {
                    self.at += 1;
                    if self.peek() != Some(close) {
                        return Ok(text);
                    }
                    text.push(close);
                    self.at += 1;
                }
                Some(c) => {
                    text.push(c);
                    self.at += 1;
                }
            }
        }
    }

    fn number(&mut self) -> Result<Token, SqlError> {
        let from = self.at;
        let digits = |lexer: &mut Self| {
            while lexer.peek().is_some_and(|c| c.is_ascii_digit()) {
                lexer.at += 1;
            }
        };
        digits(self);
        let mut is_whole = true;
        if self.peek() == Some('.') {
            is_whole = false;
            self.at += 1;
            digits(self);
        }
        if matches!(self.peek(), Some('e' | 'E')) {
            let sign = usize::from(matches!(self.peek_at(1), Some('+' | '-')));
            if self.peek_at(1 + sign).is_some_and(|c| c.is_ascii_digit()) {
                is_whole = false;
                self.at += 1 + sign;
                digits(self);
            }
        }
        if self.peek().is_some_and(|c| c.is_alphabetic() || c == '_') {
            return self.error("a number runs into a word");
        }
        let text: String = self.chars[from..self.at].iter().collect();
        if is_whole && let Ok(n) = text.parse() {
            return Ok(Token::Integer(n));
        }
        match text.parse::<f64>() {
            Ok(x) if x.is_finite() => Ok(Token::Real(x)),
            _ => self.error(format!("the number {text} is out of range")),
        }
    }
}

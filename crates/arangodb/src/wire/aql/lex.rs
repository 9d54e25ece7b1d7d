//! Tokens of a query.

use super::BadQuery;

/// Longest query that is read, in bytes.
const MAX_QUERY: usize = 65_536;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A word, as it was written; a quoted one is never a keyword.
    Word {
        text: String,
        quoted: bool,
    },
    /// A bind parameter; `true` for the name of a collection.
    Bind(String, bool),
    Text(String),
    Number(serde_json::Number),
    /// An operator or a bracket.
    Sign(&'static str),
}

/// Tokens with the place where each begins.
pub(super) fn tokens(text: &str) -> Result<Vec<(usize, Token)>, BadQuery> {
    if text.len() > MAX_QUERY {
        return Err(near("the query is longer than 65536 bytes", text, 0));
    }
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        if c.is_whitespace() {
            at += c.len_utf8();
        } else if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if rest.starts_with("/*") {
            let end = rest.find("*/");
            at += end.ok_or_else(|| near("a comment does not end", text, at))? + 2;
        } else {
            let (token, length) = token(text, at)?;
            found.push((at, token));
            at += length;
        }
    }
    Ok(found)
}

pub(super) fn near(problem: &'static str, text: &str, at: usize) -> BadQuery {
    BadQuery::Syntax {
        problem,
        near: text[at..].chars().take(40).collect(),
    }
}

fn token(text: &str, at: usize) -> Result<(Token, usize), BadQuery> {
    let rest = &text[at..];
    let first = rest.chars().next().unwrap_or_default();
    match first {
        '@' => {
            let collection = rest.starts_with("@@");
            let start = if collection { 2 } else { 1 };
            let length = word_length(&rest[start..]);
            if length == 0 {
                return Err(near("a bind parameter needs a name", text, at));
            }
            let name = rest[start..start + length].to_owned();
            Ok((Token::Bind(name, collection), start + length))
        }
        '"' | '\'' => quoted(text, at, first).map(|(t, n)| (Token::Text(t), n)),
        '`' => quoted(text, at, '`').map(|(text, n)| (Token::Word { text, quoted: true }, n)),
        '0'..='9' => number(text, at),
        _ if first.is_alphabetic() || first == '_' || first == '$' => {
            let length = word_length(rest);
            let text = rest[..length].to_owned();
            Ok((
                Token::Word {
                    text,
                    quoted: false,
                },
                length,
            ))
        }
        _ => {
            const SIGNS: [&str; 22] = [
                "==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "(", ")", "[", "]", "{", "}",
                ",", ".", "?", ":", "-", "+", "*",
            ];
            let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign));
            let sign = sign.ok_or_else(|| near("an unexpected character", text, at))?;
            Ok((Token::Sign(sign), sign.len()))
        }
    }
}

fn word_length(text: &str) -> usize {
    text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'))
        .unwrap_or(text.len())
}

fn number(text: &str, at: usize) -> Result<(Token, usize), BadQuery> {
    let rest = &text[at..];
    let mut length = 0;
    let bytes = rest.as_bytes();
    while length < bytes.len() {
        let exponent_sign = length > 0
            && matches!(bytes[length], b'+' | b'-')
            && matches!(bytes[length - 1], b'e' | b'E');
        if !(bytes[length].is_ascii_digit()
            || matches!(bytes[length], b'.' | b'e' | b'E')
            || exponent_sign)
        {
            break;
        }
        length += 1;
    }
    let number = serde_json::from_str(&rest[..length]);
    let number = number.map_err(|_not_a_number| near("not a number", text, at))?;
    Ok((Token::Number(number), length))
}

fn quoted(text: &str, at: usize, quote: char) -> Result<(String, usize), BadQuery> {
    let mut out = String::new();
    let mut chars = text[at..].char_indices().skip(1);
    while let Some((place, c)) = chars.next() {
        if c == quote {
            return Ok((out, place + 1));
        }
        if c != '\\' {
            out.push(c);
            continue;
        }
        let escaped = chars.next().map(|(_, c)| c);
        out.push(match escaped {
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('u') => {
                let hex: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
                let code = u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32);
                code.ok_or_else(|| near("a broken escape", text, at))?
            }
            Some(other) => other,
            None => break,
        });
    }
    Err(near("a text does not end", text, at))
}

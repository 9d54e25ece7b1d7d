//! `search`: the little query language in which clients look for items.
//!
//! Free words, `AND`, `OR`, `NOT` or `-`, parentheses, `field:value` and `field:"several words"`; words that stand beside
//! each other must all match. Fields that are not known match nothing, so that a filter never widens a search.

use serde_json::{Value, json};

use super::super::answer::Answer;
use super::super::call::Call;
use super::super::problem::{Problem, Result};
use super::{items, portal_id};

/// Longest query that is read.
const MAX_QUERY: usize = 8 << 10;
/// Deepest nesting of parentheses.
const MAX_DEPTH: usize = 64;
/// Largest page.
const MAX_PAGE: usize = 100;

/// `search`.
pub(crate) fn search(call: &Call) -> Result<Answer> {
    let text = call.params.text("q").unwrap_or_default();
    let query = Query::parse(text)?;
    let start = call.params.integer("start", -1..=i64::MAX)?.unwrap_or(1);
    let asked = call.params.integer("num", 0..=i64::MAX)?.unwrap_or(10);
    let page = usize::try_from(asked).unwrap_or(MAX_PAGE).min(MAX_PAGE);
    let organisation = portal_id(call);
    let mut found = Vec::new();
    for item in items::all(call)? {
        if query.matches(&item, &organisation) {
            found.push(item);
        }
    }
    let title = |item: &Value| item["title"].as_str().unwrap_or_default().to_owned();
    found.sort_by_key(title);
    let total = found.len();
    // A start below 1 comes from a client that asks beyond the end.
    let skip = usize::try_from(start - 1).unwrap_or(usize::MAX);
    let results: Vec<Value> = found.into_iter().skip(skip).take(page).collect();
    let end = skip.saturating_add(page);
    // `num` repeats what was asked, as portals do: the Python client counts by it.
    Ok(Answer::Json(json!({
        "query": text,
        "total": total,
        "start": start,
        "num": asked,
        "nextStart": if end < total { end as i64 + 1 } else { -1 },
        "results": results,
    })))
}

#[derive(Debug, PartialEq)]
enum Query {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    Word(String),
    Field(String, String),
}

impl Query {
    fn parse(text: &str) -> Result<Self> {
        if text.len() > MAX_QUERY {
            return Err(Problem::parameter("q", "it is too long"));
        }
        let tokens = tokenise(text)?;
        let mut at = 0;
        let query = Self::parse_any(&tokens, &mut at, 0)?;
        if at < tokens.len() {
            return Err(Problem::parameter(
                "q",
                "a parenthesis is closed that was not opened",
            ));
        }
        Ok(query)
    }

    fn parse_any(tokens: &[Token], at: &mut usize, depth: usize) -> Result<Self> {
        if depth > MAX_DEPTH {
            return Err(Problem::parameter("q", "too many parentheses"));
        }
        let mut branches = Vec::new();
        let mut terms = Vec::new();
        let mut negate = false;
        while let Some(token) = tokens.get(*at) {
            *at += 1;
            let term = match token {
                Token::And => continue,
                Token::Or => {
                    branches.push(Self::All(std::mem::take(&mut terms)));
                    continue;
                }
                Token::Not => {
                    negate = true;
                    continue;
                }
                Token::Open => {
                    let inner = Self::parse_any(tokens, at, depth + 1)?;
                    if tokens.get(*at) != Some(&Token::Close) {
                        return Err(Problem::parameter("q", "a parenthesis is not closed"));
                    }
                    *at += 1;
                    inner
                }
                Token::Close => {
                    *at -= 1;
                    break;
                }
                Token::Word(word) => Self::Word(word.to_lowercase()),
                Token::Field(field, value) => {
                    Self::Field(field.to_lowercase(), value.to_lowercase())
                }
            };
            terms.push(if std::mem::take(&mut negate) {
                Self::Not(Box::new(term))
            } else {
                term
            });
        }
        branches.push(Self::All(terms));
        Ok(Self::Any(branches))
    }

    fn matches(&self, item: &Value, organisation: &str) -> bool {
        let text = |field: &str| item[field].as_str().unwrap_or_default().to_lowercase();
        let tags = || {
            let tags = item["tags"]
                .as_array()
                .map(Vec::as_slice)
                .unwrap_or_default();
            let words = tags.iter().filter_map(Value::as_str);
            words.map(str::to_lowercase).collect::<Vec<_>>()
        };
        match self {
            Self::All(terms) => terms.iter().all(|t| t.matches(item, organisation)),
            Self::Any(terms) => terms.iter().any(|t| t.matches(item, organisation)),
            Self::Not(term) => !term.matches(item, organisation),
            Self::Word(word) if word == "*" => true,
            Self::Word(word) => {
                let word = word.trim_end_matches('*');
                ["title", "name", "snippet", "description"]
                    .iter()
                    .any(|field| text(field).contains(word))
                    || tags().iter().any(|tag| tag.contains(word))
            }
            Self::Field(field, value) => match field.as_str() {
                "type" | "owner" | "id" | "access" | "name" => text(field) == *value,
                "title" => text(field).contains(value.trim_end_matches('*')),
                "tags" => tags().contains(value),
                "typekeywords" => {
                    let words = item["typeKeywords"].as_array();
                    let words = words.map(Vec::as_slice).unwrap_or_default();
                    let mut words = words.iter().filter_map(Value::as_str);
                    words.any(|word| word.to_lowercase() == *value)
                }
                "accountid" | "orgid" => *value == organisation,
                _ => false,
            },
        }
    }
}

#[derive(Debug, PartialEq)]
enum Token {
    And,
    Or,
    Not,
    Open,
    Close,
    Word(String),
    Field(String, String),
}

fn tokenise(text: &str) -> Result<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        match first {
            '(' => tokens.push(Token::Open),
            ')' => tokens.push(Token::Close),
            '-' => tokens.push(Token::Not),
            '+' => {}
            _ => {
                let (word, after) = take_word(rest)?;
                rest = after;
                if let Some(value) = rest.strip_prefix(':') {
                    let (value, after) = take_word(value.trim_start())?;
                    rest = after.trim_start();
                    tokens.push(Token::Field(word, value));
                    continue;
                }
                tokens.push(match word.as_str() {
                    "AND" | "&&" => Token::And,
                    "OR" | "||" => Token::Or,
                    "NOT" => Token::Not,
                    _ => Token::Word(word),
                });
                rest = rest.trim_start();
                continue;
            }
        }
        rest = rest[first.len_utf8()..].trim_start();
    }
    Ok(tokens)
}

fn take_word(text: &str) -> Result<(String, &str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        let (word, rest) = quoted
            .split_once('"')
            .ok_or_else(|| Problem::parameter("q", "a quotation mark is not closed"))?;
        return Ok((word.to_owned(), rest));
    }
    let end = text
        .find(|c: char| c.is_whitespace() || "():\"".contains(c))
        .unwrap_or(text.len());
    if end == 0 {
        return Err(Problem::parameter("q", "a colon stands alone"));
    }
    Ok((text[..end].to_owned(), &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(query: &str) -> bool {
        let item = json!({
            "title": "Ports along west coast", "name": "Ports", "type": "Feature Service",
            "owner": "haversack", "tags": ["sea", "harbours"], "id": "abc", "access": "public",
        });
        Query::parse(query).unwrap().matches(&item, "org")
    }

    #[test]
    fn the_query_of_the_python_client_finds_the_item() {
        assert!(found(
            r#"Ports along west coast AND  (type:"feature service") accountid:org"#
        ));
    }

    #[test]
    fn all_words_must_match_unless_joined_by_or() {
        assert!(!found("Ports inland"));
        assert!(found("inland OR ports"));
        assert!(found("por* -inland"));
        assert!(!found("ports NOT coast"));
        assert!(found("tags:sea AND (owner:haversack OR owner:other)"));
        assert!(!found("accountid:elsewhere"));
        assert!(!found("unknown:field"));
        assert!(found(""));
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        for query in ["(a", "a)", "title:\"x", ":x", &"(".repeat(100)] {
            assert!(Query::parse(query).is_err(), "{query}");
        }
    }
}

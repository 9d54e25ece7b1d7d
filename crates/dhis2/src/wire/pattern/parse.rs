//! Reads patterns.

use super::{BadPattern, CodePart, DatePart, Segment, TextPattern, is_generated};

/// Most characters of a generated piece.
const MAX_GENERATED: usize = 12;
/// Longest pattern that is read, in bytes.
const MAX_LENGTH: usize = 1000;

fn wrong(at: &str, problem: &'static str) -> BadPattern {
    BadPattern::Syntax {
        at: at.chars().take(40).collect(),
        problem,
    }
}

pub(super) fn parse(text: &str) -> Result<TextPattern, BadPattern> {
    if text.len() > MAX_LENGTH {
        return Err(wrong(text, "it is too long"));
    }
    let mut pattern = TextPattern {
        segments: Vec::new(),
        written: Vec::new(),
    };
    let mut rest = text.trim();
    loop {
        let (segment, left) = if rest.starts_with('"') {
            quoted(rest)?
        } else {
            method(rest)?
        };
        pattern
            .written
            .push(rest[..rest.len() - left.len()].trim().to_owned());
        pattern.segments.push(segment);
        rest = left.trim_start();
        if rest.is_empty() {
            break;
        }
        rest = rest
            .strip_prefix('+')
            .ok_or_else(|| wrong(rest, "segments are joined by +"))?
            .trim_start();
    }
    if pattern
        .segments
        .iter()
        .filter(|segment| is_generated(segment))
        .count()
        > 1
    {
        return Err(wrong(text, "only one segment may be RANDOM or SEQUENTIAL"));
    }
    Ok(pattern)
}

/// A text in quotes, in which a backslash takes the next character as it is.
fn quoted(text: &str) -> Result<(Segment, &str), BadPattern> {
    let mut out = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Ok((Segment::Text(out), &text[at + 1..])),
            '\\' => match characters.next() {
                Some((_, escaped)) => out.push(escaped),
                None => break,
            },
            c => out.push(c),
        }
    }
    Err(wrong(text, "a quote is not closed"))
}

fn method(text: &str) -> Result<(Segment, &str), BadPattern> {
    let (name, after) = text
        .split_once('(')
        .ok_or_else(|| wrong(text, "a text in quotes or NAME(..) is needed"))?;
    let (argument, left) = after
        .split_once(')')
        .ok_or_else(|| wrong(text, "a bracket is not closed"))?;
    let is_made_of = |letters: &str| {
        (1..=MAX_GENERATED).contains(&argument.len())
            && argument.chars().all(|c| letters.contains(c))
    };
    let segment = match name.trim() {
        "RANDOM" if is_made_of("#Xx*") => Segment::Random(argument.to_owned()),
        "RANDOM" => return Err(wrong(argument, "RANDOM takes 1 to 12 of # X x *")),
        "SEQUENTIAL" if is_made_of("#") => Segment::Sequential(argument.len() as u32),
        "SEQUENTIAL" => return Err(wrong(argument, "SEQUENTIAL takes 1 to 12 of #")),
        "ORG_UNIT_CODE" => Segment::OrgUnitCode(code_part(argument)?),
        "CURRENT_DATE" => Segment::CurrentDate(date_format(argument)?),
        _ => {
            return Err(wrong(
                text,
                "only RANDOM, SEQUENTIAL, ORG_UNIT_CODE and CURRENT_DATE are known",
            ));
        }
    };
    Ok((segment, left))
}

fn code_part(argument: &str) -> Result<CodePart, BadPattern> {
    let (from_end, dots) = match (argument.strip_prefix('^'), argument.strip_suffix('$')) {
        (None, Some(dots)) => (true, dots),
        (Some(dots), None) => (false, dots),
        (None, None) => (false, argument),
        (Some(_), Some(_)) => return Err(wrong(argument, "either the start or the end of a code")),
    };
    if dots.len() > 50 || dots.chars().any(|c| c != '.') {
        return Err(wrong(argument, "ORG_UNIT_CODE takes dots, ^dots or dots$"));
    }
    Ok(match (dots.len(), from_end) {
        (0, _) => CodePart::Whole,
        (n, true) => CodePart::Last(n),
        (n, false) => CodePart::First(n),
    })
}

fn date_format(argument: &str) -> Result<Vec<DatePart>, BadPattern> {
    let mut parts: Vec<DatePart> = Vec::new();
    let mut characters = argument.chars().peekable();
    let literal = |parts: &mut Vec<DatePart>, c: char| match parts.last_mut() {
        Some(DatePart::Text(text)) => text.push(c),
        _ => parts.push(DatePart::Text(c.to_string())),
    };
    while let Some(c) = characters.next() {
        match c {
            'y' | 'Y' | 'u' | 'M' | 'd' | 'D' | 'w' | 'H' | 'm' | 's' => {
                let mut width = 1;
                while characters.next_if_eq(&c).is_some() {
                    width += 1;
                }
                if width > 4 || (c == 'M' && width > 2) {
                    return Err(wrong(
                        argument,
                        "names of months and longer fields are not known",
                    ));
                }
                parts.push(DatePart::Field(c, width));
            }
            '\'' => loop {
                match characters.next() {
                    Some('\'') => break,
                    Some(c) => literal(&mut parts, c),
                    None => return Err(wrong(argument, "a quote is not closed")),
                }
            },
            c if c.is_ascii_alphabetic() => {
                return Err(wrong(argument, "this letter of a date is not known"));
            }
            c => literal(&mut parts, c),
        }
    }
    if parts.is_empty() {
        return Err(wrong(argument, "CURRENT_DATE takes a format"));
    }
    Ok(parts)
}

//! Patterns of generated values: `ORG_UNIT_CODE(...) + "-" + CURRENT_DATE(yyyy) + "-" + SEQUENTIAL(#####)`.
//!
//! Owns: reading a pattern, what a value of it is made of, whether a value fits. Does not own: which values are taken (the face), when
//! (an argument). Source: `spec/dhis2.md` 10. Weeks are those of ISO 8601: the original's depend on the server's locale.

mod parse;

use std::fmt::Write as _;

use haversack_model::Timestamp;
use jiff::civil::{Date, DateTime};

use super::date;

/// Digits, upper-case, lower-case letters, and all of them.
const DIGITS: &str = "0123456789";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const LOWER: &str = "abcdefghijklmnopqrstuvwxyz";
const ALL: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A pattern that cannot be read, or used with what was given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// It is not written as patterns are.
    #[error("the pattern cannot be read at {at:?}: {problem}")]
    Syntax {
        /// What is left where it went wrong, shortened.
        at: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// Something that it needs was not given.
    #[error("Missing required values: {0}")]
    Missing(&'static str),
    /// The code of the organisation unit is too short for it.
    #[error(
        "the code {code:?} of the organisation unit is shorter than the pattern needs ({needed})"
    )]
    ShortCode {
        /// The code.
        code: String,
        /// How many characters are needed.
        needed: usize,
    },
}

/// Which part of an organisation unit's code is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodePart {
    /// All of it.
    Whole,
    /// So many characters from the start.
    First(usize),
    /// So many characters at the end.
    Last(usize),
}

/// A piece of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// The text itself.
    Text(String),
    /// Of the code of the organisation unit.
    OrgUnitCode(CodePart),
    /// The day, by a format.
    CurrentDate(Vec<DatePart>),
    /// Characters by chance: `#` a digit, `X` an upper-case letter, `x` a lower-case one, `*` any of them.
    Random(String),
    /// A number that counts up, with so many digits.
    Sequential(u32),
}

/// A piece of a date's format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatePart {
    /// The text itself.
    Text(String),
    /// A letter and how often it is there.
    Field(char, usize),
}

/// A pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextPattern {
    segments: Vec<Segment>,
    /// How the segments were written, for keys.
    written: Vec<String>,
}

/// What a pattern is filled with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Given<'a> {
    /// Code of the organisation unit.
    pub org_unit_code: Option<&'a str>,
    /// Now.
    pub now: Timestamp,
}

impl TextPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`BadPattern::Syntax`].
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        parse::parse(text)
    }
    /// Its pieces.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }
    /// Whether it needs the code of an organisation unit.
    pub fn needs_org_unit(&self) -> bool {
        self.segments
            .iter()
            .any(|segment| matches!(segment, Segment::OrgUnitCode(_)))
    }
    /// The piece that makes values differ, if there is one.
    pub fn generated(&self) -> Option<&Segment> {
        self.segments.iter().find(|segment| is_generated(segment))
    }
    /// How many values there are with the same key.
    pub fn capacity(&self) -> u128 {
        match self.generated() {
            // Counting begins at 1.
            Some(Segment::Sequential(digits)) => 10_u128.pow(*digits) - 1,
            Some(Segment::Random(alphabet)) => {
                alphabet.chars().map(|c| letters(c).len() as u128).product()
            }
            None | Some(_) => 1,
        }
    }

    /// Everything but the generated piece filled in, and that as it is written: values of one key are of one pool.
    ///
    /// # Errors
    /// [`BadPattern`] if something is missing or does not do.
    pub fn key(&self, given: &Given<'_>) -> Result<String, BadPattern> {
        let pieces = self.segments.iter().zip(&self.written);
        pieces
            .map(|(segment, written)| match segment {
                segment if is_generated(segment) => Ok(written.clone()),
                segment => fixed(segment, given),
            })
            .collect()
    }
    /// A value: everything filled in, `generated` in its place.
    ///
    /// # Errors
    /// [`BadPattern`] if something is missing or does not do.
    pub fn render(&self, given: &Given<'_>, generated: &str) -> Result<String, BadPattern> {
        let pieces = self.segments.iter().map(|segment| match segment {
            segment if is_generated(segment) => Ok(generated.to_owned()),
            segment => fixed(segment, given),
        });
        pieces.collect()
    }
    /// The generated piece of the n-th value of a sequence, counted from 1; `None` when they are used up or there is no sequence.
    pub fn nth(&self, n: u64) -> Option<String> {
        match self.generated() {
            Some(Segment::Sequential(digits)) if n > 0 && u128::from(n) <= self.capacity() => {
                Some(format!("{n:0>width$}", width = *digits as usize))
            }
            _ => None,
        }
    }
    /// The generated piece by chance: `draw(n)` gives a number below n. Empty if nothing in it is random.
    pub fn random(&self, mut draw: impl FnMut(usize) -> usize) -> String {
        let Some(Segment::Random(alphabet)) = self.generated() else {
            return String::new();
        };
        let pick = |c: char| {
            let letters = letters(c).as_bytes();
            char::from(letters[draw(letters.len()) % letters.len()])
        };
        alphabet.chars().map(pick).collect()
    }
    /// Whether a value has the shape of this pattern. Codes and dates count by their shape: which unit and which day it was made for is not known.
    pub fn fits(&self, value: &str) -> bool {
        fits(&self.segments, value)
    }
    /// From when on new values look otherwise, because of a date in it: the next week, month, day or year. A value reserved before should not be
    /// handed out after.
    ///
    /// Stricter than the SDK, which forgets days and lower-case years.
    pub fn changes_at(&self, now: Timestamp) -> Option<Timestamp> {
        let fields = self.segments.iter().filter_map(|segment| match segment {
            Segment::CurrentDate(parts) => Some(parts),
            _ => None,
        });
        let fields = fields.flatten().filter_map(|part| match part {
            DatePart::Field(letter, _) => Some(*letter),
            DatePart::Text(_) => None,
        });
        fields
            .filter_map(|letter| next_change(letter, date::civil(now)))
            .min()
    }
}

fn is_generated(segment: &Segment) -> bool {
    matches!(segment, Segment::Random(_) | Segment::Sequential(_))
}

fn letters(of: char) -> &'static str {
    match of {
        '#' => DIGITS,
        'X' => UPPER,
        'x' => LOWER,
        _ => ALL,
    }
}

fn fixed(segment: &Segment, given: &Given<'_>) -> Result<String, BadPattern> {
    match segment {
        Segment::Text(text) => Ok(text.clone()),
        Segment::OrgUnitCode(part) => {
            let code = given
                .org_unit_code
                .ok_or(BadPattern::Missing("ORG_UNIT_CODE"))?;
            let characters: Vec<char> = code.chars().collect();
            let take = match part {
                CodePart::Whole => return Ok(code.to_owned()),
                CodePart::First(n) => characters.get(..*n),
                CodePart::Last(n) => characters
                    .len()
                    .checked_sub(*n)
                    .and_then(|from| characters.get(from..)),
            };
            take.map(|characters| characters.iter().collect())
                .ok_or_else(|| BadPattern::ShortCode {
                    code: code.to_owned(),
                    needed: match part {
                        CodePart::First(n) | CodePart::Last(n) => *n,
                        CodePart::Whole => 0,
                    },
                })
        }
        Segment::CurrentDate(parts) => Ok(format_date(parts, date::civil(given.now))),
        Segment::Random(_) | Segment::Sequential(_) => Ok(String::new()),
    }
}

fn format_date(parts: &[DatePart], at: DateTime) -> String {
    let iso = at.date().iso_week_date();
    let mut out = String::new();
    for part in parts {
        let (letter, width) = match part {
            DatePart::Text(text) => {
                out.push_str(text);
                continue;
            }
            DatePart::Field(letter, width) => (*letter, *width),
        };
        let number = match letter {
            'y' | 'u' => i64::from(at.year()),
            'Y' => i64::from(iso.year()),
            'M' => i64::from(at.month()),
            'd' => i64::from(at.day()),
            'D' => i64::from(at.day_of_year()),
            'w' => i64::from(iso.week()),
            'H' => i64::from(at.hour()),
            'm' => i64::from(at.minute()),
            _ => i64::from(at.second()),
        };
        let number = if matches!(letter, 'y' | 'Y') && width == 2 {
            number % 100
        } else {
            number
        };
        let _infallible = write!(out, "{number:0>width$}");
    }
    out
}

fn next_change(letter: char, now: DateTime) -> Option<Timestamp> {
    let today = now.date();
    let next = |date: Result<Date, jiff::Error>| date.ok().and_then(date::of_day);
    match letter {
        'w' => {
            let ahead = 8 - i64::from(today.weekday().to_monday_one_offset());
            next(today.checked_add(jiff::Span::new().days(ahead)))
        }
        'M' => next(today.last_of_month().tomorrow()),
        'y' | 'u' | 'Y' => next(today.last_of_year().tomorrow()),
        // Days. Hours and less would be stale at once, so they last the day.
        _ => next(today.tomorrow()),
    }
}

/// How many characters a piece takes: one number, or a range.
fn widths(segment: &Segment) -> (usize, usize) {
    match segment {
        Segment::Text(text) => (text.chars().count(), text.chars().count()),
        Segment::OrgUnitCode(CodePart::Whole) => (1, 50),
        Segment::OrgUnitCode(CodePart::First(n) | CodePart::Last(n)) => (*n, *n),
        Segment::Random(alphabet) => (alphabet.len(), alphabet.len()),
        Segment::Sequential(digits) => (*digits as usize, *digits as usize),
        Segment::CurrentDate(parts) => parts.iter().fold((0, 0), |(low, high), part| {
            let (least, most) = match part {
                DatePart::Text(text) => (text.chars().count(), text.chars().count()),
                DatePart::Field(letter, width) => field_width(*letter, *width),
            };
            (low + least, high + most)
        }),
    }
}

fn field_width(letter: char, width: usize) -> (usize, usize) {
    let natural = match letter {
        'y' | 'Y' if width == 2 => 2,
        'y' | 'Y' | 'u' => 4,
        'D' => 3,
        _ => 2,
    };
    (
        width.max(if matches!(letter, 'y' | 'Y' | 'u') {
            natural
        } else {
            1
        }),
        width.max(natural),
    )
}

fn fits(segments: &[Segment], value: &str) -> bool {
    let Some((first, rest)) = segments.split_first() else {
        return value.is_empty();
    };
    let (least, most) = widths(first);
    let mut ends = value.char_indices().map(|(at, _)| at).chain([value.len()]);
    let ends: Vec<usize> = ends.by_ref().take(most + 1).collect();
    let candidates = ends.get(least..).unwrap_or_default();
    candidates.iter().any(|end| {
        let (piece, left) = value.split_at(*end);
        piece_fits(first, piece) && fits(rest, left)
    })
}

fn piece_fits(segment: &Segment, piece: &str) -> bool {
    match segment {
        Segment::Text(text) => text == piece,
        Segment::OrgUnitCode(_) => true,
        Segment::Random(alphabet) => {
            let mut pairs = alphabet.chars().zip(piece.chars());
            pairs.all(|(of, c)| letters(of).contains(c))
        }
        Segment::Sequential(_) => {
            piece.bytes().all(|b| b.is_ascii_digit()) && piece.bytes().any(|b| b != b'0')
        }
        Segment::CurrentDate(parts) => date_fits(parts, piece),
    }
}

fn date_fits(parts: &[DatePart], piece: &str) -> bool {
    let Some((first, rest)) = parts.split_first() else {
        return piece.is_empty();
    };
    match first {
        DatePart::Text(text) => piece
            .strip_prefix(text.as_str())
            .is_some_and(|left| date_fits(rest, left)),
        DatePart::Field(letter, width) => {
            let (least, most) = field_width(*letter, *width);
            (least..=most).any(|length| {
                let number = piece
                    .get(..length)
                    .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
                let number = number.and_then(|digits| digits.parse::<u32>().ok());
                number.is_some_and(|n| is_possible(*letter, n)) && date_fits(rest, &piece[length..])
            })
        }
    }
}

fn is_possible(letter: char, number: u32) -> bool {
    let (least, most) = match letter {
        'M' => (1, 12),
        'd' => (1, 31),
        'D' => (1, 366),
        'w' => (1, 53),
        'H' => (0, 23),
        'm' | 's' => (0, 59),
        _ => (0, 9999),
    };
    (least..=most).contains(&number)
}

#[cfg(test)]
mod tests;

//! Values in expressions: numbers, texts, truth values; dates are texts. Each becomes the others as the dialect's engine has it.

use std::cmp::Ordering;

use jiff::civil::Date;

use super::fault::Fault;

/// What an expression comes to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Number(f64),
    Text(String),
    Bool(bool),
}

impl Value {
    /// A number that is one, to the sixteen digits that the engine counts with: 0.1 + 0.2 is 0.3.
    pub(super) fn number(number: f64) -> Result<Self, Fault> {
        if !number.is_finite() {
            return Err(Fault::NotFinite);
        }
        let counted: Option<f64> = format!("{number:.15e}").parse().ok();
        Ok(Self::Number(counted.unwrap_or(number)))
    }
    #[expect(clippy::cast_precision_loss, reason = "counts are small")]
    pub(super) fn count(count: i64) -> Self {
        Self::Number(count as f64)
    }
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }
    /// As a number; truth is one.
    pub(super) fn to_number(&self) -> Result<f64, Fault> {
        match self {
            Self::Number(number) => Ok(*number),
            Self::Bool(bool) => Ok(f64::from(u8::from(*bool))),
            Self::Text(text) => parse_number(text),
        }
    }
    /// As a whole number of a size that texts and days have.
    pub(super) fn to_whole(&self) -> Result<i32, Fault> {
        let number = self.to_number()?.trunc();
        #[expect(clippy::cast_possible_truncation, reason = "it is within the range")]
        let whole = (number.abs() <= 10_000_000.0).then_some(number as i32);
        whole.ok_or(Fault::NoNumber)
    }
    /// As truth: other numbers than zero, and the word.
    pub(super) fn to_bool(&self) -> bool {
        match self {
            Self::Bool(bool) => *bool,
            Self::Number(number) => *number != 0.0,
            Self::Text(text) => text.eq_ignore_ascii_case("true"),
        }
    }
    /// As it is told: whole numbers without a point.
    pub(crate) fn to_text(&self) -> String {
        match self {
            Self::Number(number) if *number == 0.0 => "0".to_owned(),
            Self::Number(number) => number.to_string(),
            Self::Bool(bool) => bool.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
    /// As a day, whatever the time.
    pub(super) fn to_date(&self) -> Result<Date, Fault> {
        let Self::Text(text) = self else {
            return Err(Fault::NoDate);
        };
        let day = text
            .get(..10)
            .filter(|_| text.len() == 10 || text[10..].starts_with('T'));
        day.and_then(|day| day.parse().ok()).ok_or(Fault::NoDate)
    }
    /// Whether a condition holds: if it comes to truth, or to its word; a number is none.
    pub(super) fn holds(&self) -> bool {
        !matches!(self, Self::Number(_)) && self.to_bool()
    }
    /// Whether two are equal: as numbers if one is a number, then as truth values.
    pub(super) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Number(_), _) | (_, Self::Number(_)) => {
                let both = self.to_number().ok().zip(other.to_number().ok());
                both.is_some_and(|(a, b)| a.partial_cmp(&b).is_some_and(Ordering::is_eq))
            }
            (Self::Bool(_), _) | (_, Self::Bool(_)) => self.to_bool() == other.to_bool(),
            (Self::Text(a), Self::Text(b)) => a == b,
        }
    }
    /// The order of two: texts as texts, all else as numbers.
    pub(super) fn compare(&self, other: &Self) -> Result<Ordering, Fault> {
        if let (Self::Text(a), Self::Text(b)) = (self, other) {
            return Ok(a.cmp(b));
        }
        let (a, b) = (self.to_number()?, other.to_number()?);
        a.partial_cmp(&b).ok_or(Fault::NotFinite)
    }
}

/// Reads a number; words for numbers that are none are not read.
pub(super) fn parse_number(text: &str) -> Result<f64, Fault> {
    let text = text.trim();
    let is_plain = !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    let number = text.parse().ok().filter(|_| is_plain);
    number
        .filter(|number: &f64| number.is_finite())
        .ok_or(Fault::NoNumber)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_and_counted_as_people_do() {
        let sum = |a: f64, b: f64| Value::number(a + b).unwrap().to_text();
        assert_eq!(sum(0.1, 0.2), "0.3");
        assert_eq!(sum(1.0, 1.0), "2");
        assert_eq!(sum(-0.5, 0.5), "0");
        assert_eq!(Value::number(-0.0).unwrap().to_text(), "0");
        assert_eq!(Value::number(f64::NAN), Err(Fault::NotFinite));
    }

    #[test]
    fn a_text_is_a_number_only_if_it_looks_like_one() {
        for (text, number) in [("10", Ok(10.0)), (" -1.5 ", Ok(-1.5)), ("1e2", Ok(100.0))] {
            assert_eq!(parse_number(text), number, "{text}");
        }
        for text in ["", "NaN", "inf", "infinity", "1,5", "0x10", "1e999", "ten"] {
            assert_eq!(parse_number(text), Err(Fault::NoNumber), "{text}");
        }
    }

    #[test]
    fn what_is_of_different_kinds_is_compared_as_the_engine_does() {
        let text = |text: &str| Value::text(text);
        assert!(text("10").equals(&Value::Number(10.0)));
        assert!(!text("ten").equals(&Value::Number(10.0)));
        assert!(text("TRUE").equals(&Value::Bool(true)));
        assert!(Value::Bool(true).equals(&Value::Number(1.0)));
        assert!(
            text("2026-01-02")
                .compare(&text("2026-01-10"))
                .unwrap()
                .is_lt()
        );
        assert!(text("9").compare(&Value::Number(10.0)).unwrap().is_lt());
        assert!(text("x").compare(&Value::Number(10.0)).is_err());
    }
}

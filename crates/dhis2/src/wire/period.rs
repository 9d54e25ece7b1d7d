//! Periods of aggregate data: `20261121`, `2026W5`, `2026BiW2`, `202611`, `202603B`, `2026Q4`, `2026S1`, `2026`, `2026April`.
//!
//! Of the financial types those that begin in April, July and October. Source: the platform's guide to date and period formats.

use jiff::civil::{Date, ISOWeekDate, Weekday};
use jiff::{Span, ToSpan as _};

/// How long periods of a type are, and when they begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Day,
    /// That many weeks, counted from the first week of a year.
    Weeks(u8),
    /// That many months, from a month on.
    Months(u8, u8),
}

/// Types by the names that data sets have for them, and how an id tells the number within the year.
const TYPES: &[(&str, Length, &str)] = &[
    ("Daily", Length::Day, ""),
    ("Weekly", Length::Weeks(1), "W"),
    ("BiWeekly", Length::Weeks(2), "BiW"),
    ("Monthly", Length::Months(1, 1), ""),
    ("BiMonthly", Length::Months(2, 1), "B"),
    ("Quarterly", Length::Months(3, 1), "Q"),
    ("SixMonthly", Length::Months(6, 1), "S"),
    ("SixMonthlyApril", Length::Months(6, 4), "AprilS"),
    ("Yearly", Length::Months(12, 1), ""),
    ("FinancialApril", Length::Months(12, 4), "April"),
    ("FinancialJuly", Length::Months(12, 7), "July"),
    ("FinancialOct", Length::Months(12, 10), "Oct"),
];

/// A stretch of time that a value is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    at: usize,
    /// Its first day.
    pub start: Date,
}

impl Period {
    /// Reads an id; `None` if it is none, or of a day or week that does not exist.
    pub fn parse(id: &str) -> Option<Self> {
        let digits = id.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = id.split_at(digits);
        if let (6, "B") = (digits, rest) {
            return Self::numbered("BiMonthly", year(&number[..4])?, number[4..].parse().ok()?);
        }
        match (digits, rest) {
            (8, "") => {
                let date = Date::new(
                    year(&number[..4])?,
                    number[4..6].parse().ok()?,
                    number[6..].parse().ok()?,
                );
                Self::of("Daily", date.ok()?)
            }
            (6, "") => Self::numbered("Monthly", year(&number[..4])?, number[4..].parse().ok()?),
            (4, "") => Self::numbered("Yearly", year(number)?, 1),
            (4, _) => {
                let last = rest.trim_end_matches(|c: char| c.is_ascii_digit()).len();
                let (word, count) = rest.split_at(last);
                let (name, length, _) = TYPES
                    .iter()
                    .find(|(.., known)| *known == word && !matches!(word, "" | "B"))?;
                let whole_year = matches!(length, Length::Months(12, _));
                if whole_year != count.is_empty() || count.starts_with('0') {
                    return None;
                }
                let count = if whole_year { 1 } else { count.parse().ok()? };
                Self::numbered(name, year(number)?, count)
            }
            _ => None,
        }
    }

    /// The period of a type that holds a day; `None` for a type that is not known.
    pub fn of(kind: &str, day: Date) -> Option<Self> {
        let at = TYPES.iter().position(|(name, ..)| *name == kind)?;
        let start = match TYPES[at].1 {
            Length::Day => day,
            Length::Weeks(weeks) => {
                let week = day.iso_week_date();
                let first = (week.week() - 1) / weeks as i8 * weeks as i8 + 1;
                ISOWeekDate::new(week.year(), first, Weekday::Monday)
                    .ok()?
                    .date()
            }
            Length::Months(months, from) => {
                let since = (i32::from(day.month()) - i32::from(from)).rem_euclid(12);
                let back = since.rem_euclid(i32::from(months));
                day.first_of_month().checked_sub(back.months()).ok()?
            }
        };
        Some(Self { at, start })
    }

    fn numbered(kind: &str, year: i16, number: u8) -> Option<Self> {
        let at = TYPES.iter().position(|(name, ..)| *name == kind)?;
        let before = number.checked_sub(1)?;
        let start = match TYPES[at].1 {
            Length::Day => return None,
            Length::Weeks(weeks) => {
                let week = i8::try_from(u16::from(before) * u16::from(weeks) + 1).ok()?;
                ISOWeekDate::new(year, week, Weekday::Monday).ok()?.date()
            }
            Length::Months(months, from) => {
                if u16::from(before) * u16::from(months) >= 12 {
                    return None;
                }
                let first = Date::new(year, i8::try_from(from).ok()?, 1).ok()?;
                let months = i32::from(before) * i32::from(months);
                first.checked_add(months.months()).ok()?
            }
        };
        Some(Self { at, start })
    }

    /// The name of its type, `Monthly`.
    pub fn kind(&self) -> &'static str {
        TYPES[self.at].0
    }
    /// Its last day.
    pub fn end(&self) -> Date {
        self.next().map_or(Date::MAX, |next| {
            next.start.yesterday().unwrap_or(self.start)
        })
    }
    /// The one after it; `None` at the end of the calendar.
    pub fn next(&self) -> Option<Self> {
        let span: Span = match TYPES[self.at].1 {
            Length::Day => 1.day(),
            // The last two weeks of a year may be one.
            Length::Weeks(weeks) => {
                let later = self.start.checked_add(i32::from(weeks).weeks()).ok()?;
                return Self::of(self.kind(), later);
            }
            Length::Months(months, _) => i32::from(months).months(),
        };
        let start = self.start.checked_add(span).ok()?;
        Some(Self { start, ..*self })
    }
    /// Its id.
    pub fn id(&self) -> String {
        let (_, length, word) = TYPES[self.at];
        let year = self.start.year();
        match length {
            Length::Day => {
                format!("{year:04}{:02}{:02}", self.start.month(), self.start.day())
            }
            Length::Weeks(weeks) => {
                let week = self.start.iso_week_date();
                let number = (week.week() - 1) / weeks as i8 + 1;
                format!("{:04}{word}{number}", week.year())
            }
            Length::Months(12, _) => format!("{year:04}{word}"),
            Length::Months(1, _) => format!("{year:04}{:02}", self.start.month()),
            Length::Months(months, from) => {
                let since = (self.start.month() - from as i8).rem_euclid(12);
                let number = since / months as i8 + 1;
                let year = if self.start.month() < from as i8 {
                    year - 1
                } else {
                    year
                };
                if word == "B" {
                    format!("{year:04}{number:02}B")
                } else {
                    format!("{year:04}{word}{number}")
                }
            }
        }
    }
}

fn year(text: &str) -> Option<i16> {
    text.parse().ok().filter(|year| *year > 0)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_are_read_as_first_and_last_day() {
        for (id, kind, start, end) in [
            ("20261121", "Daily", date(2026, 11, 21), date(2026, 11, 21)),
            ("2026W5", "Weekly", date(2026, 1, 26), date(2026, 2, 1)),
            ("2026W53", "Weekly", date(2026, 12, 28), date(2027, 1, 3)),
            ("2026BiW2", "BiWeekly", date(2026, 1, 12), date(2026, 1, 25)),
            ("202602", "Monthly", date(2026, 2, 1), date(2026, 2, 28)),
            (
                "202606B",
                "BiMonthly",
                date(2026, 11, 1),
                date(2026, 12, 31),
            ),
            ("2026Q4", "Quarterly", date(2026, 10, 1), date(2026, 12, 31)),
            ("2026S2", "SixMonthly", date(2026, 7, 1), date(2026, 12, 31)),
            (
                "2026AprilS2",
                "SixMonthlyApril",
                date(2026, 10, 1),
                date(2027, 3, 31),
            ),
            ("2026", "Yearly", date(2026, 1, 1), date(2026, 12, 31)),
            (
                "2026April",
                "FinancialApril",
                date(2026, 4, 1),
                date(2027, 3, 31),
            ),
            (
                "2026Oct",
                "FinancialOct",
                date(2026, 10, 1),
                date(2027, 9, 30),
            ),
        ] {
            let period = Period::parse(id).expect(id);
            assert_eq!(
                (period.kind(), period.start, period.end()),
                (kind, start, end),
                "{id}"
            );
            assert_eq!(period.id(), id);
        }
    }

    #[test]
    fn what_is_no_period_is_none() {
        for id in [
            "",
            "false_period",
            "202613",
            "202600",
            "20260230",
            "2026W54",
            "2025W53",
            "2026W0",
            "2026W05",
            "2026Q5",
            "2026S3",
            "2026B1",
            "202607B",
            "2026April1",
            "2026Q",
            "0000",
            "2026 ",
            "-2026",
            "2026'",
            "99999",
            "2026BiW28",
        ] {
            assert_eq!(Period::parse(id), None, "{id}");
        }
    }

    proptest! {
        #[test]
        fn the_period_of_a_day_holds_it_and_its_id_is_read_back(days in 0_i32..40_000, at in 0..TYPES.len()) {
            let day = date(1980, 1, 1).checked_add(days.days()).unwrap();
            let period = Period::of(TYPES[at].0, day).unwrap();
            prop_assert!(period.start <= day && day <= period.end(), "{period:?} {day}");
            prop_assert_eq!(Period::parse(&period.id()), Some(period), "{}", period.id());
            let next = period.next().unwrap();
            prop_assert_eq!(next.start.yesterday().unwrap(), period.end());
        }
        #[test]
        fn no_text_breaks_the_reader(text in "[0-9A-Za-zé]{0,12}") {
            let _read = Period::parse(&text);
        }
    }
}

//! Dates and times: written in UTC without a zone, read in every form that some version sends.

use haversack_model::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};

/// A time as the dialect writes it: `2026-11-21T10:00:00.000`, UTC.
pub fn format(at: Timestamp) -> String {
    let at = civil(at);
    let (date, time) = (at.date(), at.time());
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}",
        date.year(),
        date.month(),
        date.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.millisecond()
    )
}

/// Date and time of day in UTC; times outside of what calendars hold become the nearest.
pub fn civil(at: Timestamp) -> DateTime {
    let clamped = jiff::Timestamp::from_millisecond(at.0).unwrap_or(if at.0 < 0 {
        jiff::Timestamp::MIN
    } else {
        jiff::Timestamp::MAX
    });
    clamped.to_zoned(TimeZone::UTC).datetime()
}

/// The beginning of a day in UTC.
pub fn of_day(date: Date) -> Option<Timestamp> {
    let start = date.to_datetime(Time::midnight());
    let at = Offset::UTC.to_timestamp(start).ok()?;
    Some(Timestamp(at.as_millisecond()))
}

/// Reads `2026-11-21`, `2026-11-21T10:00`, with seconds, with a fraction, with `Z` or an offset; without either it is UTC.
pub fn parse(text: &str) -> Option<Timestamp> {
    let (day, rest) = match text.split_once('T') {
        Some((day, rest)) => (day, Some(rest)),
        None => (text, None),
    };
    let date = parse_day(day)?;
    let Some(rest) = rest else {
        return of_day(date);
    };
    let (clock, offset_s) = match rest.find(['Z', '+', '-']) {
        None => (rest, 0),
        Some(at) => (&rest[..at], offset_seconds(&rest[at..])?),
    };
    let mut parts = clock.split(':');
    let hour: i64 = digits(parts.next()?, 2)?;
    let minute: i64 = digits(parts.next()?, 2)?;
    let (second, ms) = match parts.next() {
        None => (0, 0),
        Some(text) => match text.split_once('.') {
            None => (digits(text, 2)?, 0),
            Some((second, fraction)) => (digits(second, 2)?, milliseconds(fraction)?),
        },
    };
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let of_day = of_day(date)?;
    Some(Timestamp(
        of_day.0 + ((hour * 60 + minute) * 60 + second - offset_s) * 1000 + ms,
    ))
}

fn parse_day(text: &str) -> Option<Date> {
    let mut parts = text.split('-');
    let year: i64 = digits(parts.next()?, 4)?;
    let month: i64 = digits(parts.next()?, 2)?;
    let day: i64 = digits(parts.next()?, 2)?;
    if parts.next().is_some() {
        return None;
    }
    Date::new(
        i16::try_from(year).ok()?,
        i8::try_from(month).ok()?,
        i8::try_from(day).ok()?,
    )
    .ok()
}

fn digits(text: &str, length: usize) -> Option<i64> {
    let fits = text.len() == length && text.bytes().all(|b| b.is_ascii_digit());
    fits.then(|| text.parse().ok()).flatten()
}

fn milliseconds(fraction: &str) -> Option<i64> {
    let is_fraction =
        (1..=9).contains(&fraction.len()) && fraction.bytes().all(|b| b.is_ascii_digit());
    is_fraction.then(|| format!("{fraction:0<3}")[..3].parse().ok())?
}

fn offset_seconds(text: &str) -> Option<i64> {
    if text == "Z" {
        return Some(0);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let plain = text[1..].replace(':', "");
    let (hours, minutes) = match plain.len() {
        2 => (digits(&plain, 2)?, 0),
        4 => (digits(&plain[..2], 2)?, digits(&plain[2..], 2)?),
        _ => return None,
    };
    Some(sign * (hours * 60 + minutes) * 60)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_that_versions_send_is_read() {
        let noon = 1_795_262_400_000;
        for (text, ms) in [
            ("2026-11-21", noon - 12 * 3_600_000),
            ("2026-11-21T12:00", noon),
            ("2026-11-21T12:00:00", noon),
            ("2026-11-21T12:00:00.5", noon + 500),
            ("2026-11-21T12:00:00.123456", noon + 123),
            ("2026-11-21T12:00:00.000Z", noon),
            ("2026-11-21T14:00:00.000+0200", noon),
            ("2026-11-21T06:30:00.000-05:30", noon),
        ] {
            assert_eq!(parse(text), Some(Timestamp(ms)), "{text}");
        }
        for text in [
            "",
            "2026-13-01",
            "2026-02-30",
            "20261121",
            "2026-11-21T25:00",
            "2026-11-21T12",
            "2026-11-21T12:00:00.",
            "2026-11-21T12:00:00+1",
            "x' OR 1=1",
            "2026-11-21T12:00:00.é",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(ms in -60_000_000_000_000_i64..200_000_000_000_000) {
            prop_assert_eq!(parse(&format(Timestamp(ms))), Some(Timestamp(ms)));
        }
        #[test]
        fn no_text_breaks_the_reader(text in "[0-9TZ:.+\\-é]{0,30}") {
            let _read = parse(&text);
        }
    }
}

//! Times: milliseconds since 1970 UTC here, ISO 8601 text in the file.
//!
//! Written as `YYYY-MM-DDTHH:MM:SS.mmmZ`, the form that GeoPackage asks for. Read more freely, since other
//! programs write seconds without a fraction, a blank for the `T`, dates alone and offsets.

const MS_PER_DAY: i64 = 86_400_000;

/// Days since 1970-01-01 of a civil date (proleptic Gregorian).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month and day of a number of days since 1970-01-01.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let month = if month_shifted < 10 {
        month_shifted + 3
    } else {
        month_shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * month_shifted + 2) / 5 + 1)
}

/// Year, month, day, hour, minute, second and millisecond in UTC.
pub fn parts(ms: i64) -> [i64; 7] {
    let (year, month, day) = civil_from_days(ms.div_euclid(MS_PER_DAY));
    let of_day = ms.rem_euclid(MS_PER_DAY);
    [
        year,
        month,
        day,
        of_day / 3_600_000,
        of_day / 60_000 % 60,
        of_day / 1000 % 60,
        of_day % 1000,
    ]
}

/// The text of a time; `None` outside the years 0 to 9999, which the format cannot hold.
pub fn to_text(ms: i64) -> Option<String> {
    let [year, month, day, hour, minute, second, milli] = parts(ms);
    if !(0..=9999).contains(&year) {
        return None;
    }
    // By hand: with `format!` this was a fourteenth of an upload's time.
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let mut put = |end: usize, mut number: i64, digits: usize| {
        for at in (end - digits..end).rev() {
            text[at] = b'0' + (number % 10) as u8;
            number /= 10;
        }
    };
    put(4, year, 4);
    put(7, month, 2);
    put(10, day, 2);
    put(13, hour, 2);
    put(16, minute, 2);
    put(19, second, 2);
    put(23, milli, 3);
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// Reads digits from the front.
fn digits(text: &[u8], count: usize) -> Option<(i64, &[u8])> {
    let (number, rest) = text.split_at_checked(count)?;
    let mut value = 0;
    for byte in number {
        value = value * 10 + i64::from(byte.is_ascii_digit().then(|| byte - b'0')?);
    }
    Some((value, rest))
}

fn expect<'a>(text: &'a [u8], one_of: &[u8]) -> Option<&'a [u8]> {
    let (first, rest) = text.split_first()?;
    one_of.contains(first).then_some(rest)
}

/// Reads a time; `None` if it is not one. Without an offset it is UTC.
pub fn from_text(text: &str) -> Option<i64> {
    let rest = text.trim().as_bytes();
    let (year, rest) = digits(rest, 4)?;
    let (month, rest) = digits(expect(rest, b"-")?, 2)?;
    let (day, rest) = digits(expect(rest, b"-")?, 2)?;
    let days = days_from_civil(year, month, day);
    if !(1..=12).contains(&month) || civil_from_days(days) != (year, month, day) {
        return None;
    }
    let midnight = days * MS_PER_DAY;
    if rest.is_empty() {
        return Some(midnight);
    }
    let (hour, rest) = digits(expect(rest, b"T ")?, 2)?;
    let (minute, mut rest) = digits(expect(rest, b":")?, 2)?;
    let (mut second, mut milli) = (0, 0);
    if let Some(after) = expect(rest, b":") {
        (second, rest) = digits(after, 2)?;
        if let Some(fraction) = expect(rest, b".,") {
            let count = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
            if count == 0 {
                return None;
            }
            milli = (0..3).fold(0, |ms, at| {
                let digit = if at < count { fraction[at] - b'0' } else { 0 };
                ms * 10 + i64::from(digit)
            });
            rest = &fraction[count..];
        }
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let offset_minutes = match rest {
        [] | [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), rest @ ..] => {
            let (hours, rest) = digits(rest, 2)?;
            let rest = expect(rest, b":").unwrap_or(rest);
            let (minutes, rest) = if rest.is_empty() {
                (0, rest)
            } else {
                digits(rest, 2)?
            };
            if !rest.is_empty() {
                return None;
            }
            (hours * 60 + minutes) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    Some(midnight + hour * 3_600_000 + (minute - offset_minutes) * 60_000 + second * 1000 + milli)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn other_programs_forms_are_read() {
        let noon = 1_709_208_000_000;
        for text in [
            "2024-02-29T12:00:00.000Z",
            "2024-02-29T12:00:00Z",
            "2024-02-29 12:00",
            "2024-02-29T14:00:00+02:00",
            "2024-02-29T12:00:00.0009Z",
        ] {
            assert_eq!(from_text(text), Some(noon), "{text}");
        }
        assert_eq!(from_text("2024-02-29"), Some(noon - 43_200_000));
        for text in ["2023-02-29", "2024-13-01", "noon", "", "2024-02-29T25:00"] {
            assert_eq!(from_text(text), None, "{text}");
        }
    }

    #[test]
    fn years_that_four_digits_cannot_hold_have_no_text() {
        assert_eq!(to_text(253_402_300_800_000), None);
        assert_eq!(
            to_text(253_402_300_799_999).as_deref(),
            Some("9999-12-31T23:59:59.999Z")
        );
    }

    proptest! {
        #[test]
        fn every_time_survives_the_text(ms in -62_167_219_200_000_i64..253_402_300_800_000) {
            prop_assert_eq!(from_text(&to_text(ms).unwrap()), Some(ms));
        }
    }
}

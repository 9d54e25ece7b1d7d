//! Whether a value fits the type of its attribute or data element.

use crate::wire::date;

/// What is wrong with a value; `None` if it fits. Types that hold any text, and those that are not known, take everything.
pub(crate) fn misfit(value_type: &str, value: &str) -> Option<&'static str> {
    let number = || {
        value
            .parse::<f64>()
            .ok()
            .filter(|number| number.is_finite() && !value.contains(['e', 'E', 'n', 'N']))
    };
    let integer = || {
        let digits = value.strip_prefix('-').unwrap_or(value);
        let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        value.parse::<i64>().ok().filter(|_| is_number)
    };
    let fits = match value_type {
        "NUMBER" => number().is_some(),
        "UNIT_INTERVAL" => number().is_some_and(|number| (0.0..=1.0).contains(&number)),
        "PERCENTAGE" => number().is_some_and(|number| (0.0..=100.0).contains(&number)),
        "INTEGER" => integer().is_some(),
        "INTEGER_POSITIVE" => integer().is_some_and(|number| number > 0),
        "INTEGER_NEGATIVE" => integer().is_some_and(|number| number < 0),
        "INTEGER_ZERO_OR_POSITIVE" => integer().is_some_and(|number| number >= 0),
        "BOOLEAN" => matches!(value, "true" | "false"),
        "TRUE_ONLY" => value == "true",
        "DATE" | "AGE" => !value.contains('T') && date::parse(value).is_some(),
        "DATETIME" => date::parse(value).is_some(),
        "TIME" => is_time(value),
        "LETTER" => value.chars().count() == 1 && value.chars().all(char::is_alphabetic),
        "EMAIL" => value
            .split_once('@')
            .is_some_and(|(name, host)| !name.is_empty() && host.contains('.')),
        "URL" => value.starts_with("http://") || value.starts_with("https://"),
        "COORDINATE" => is_coordinate(value),
        _ => true,
    };
    if fits {
        return None;
    }
    Some(match value_type {
        "NUMBER" => "value_not_numeric",
        "UNIT_INTERVAL" => "value_not_unit_interval",
        "PERCENTAGE" => "value_not_percentage",
        "INTEGER" => "value_not_integer",
        "INTEGER_POSITIVE" => "value_not_positive_integer",
        "INTEGER_NEGATIVE" => "value_not_negative_integer",
        "INTEGER_ZERO_OR_POSITIVE" => "value_not_zero_or_positive_integer",
        "BOOLEAN" => "value_not_bool",
        "TRUE_ONLY" => "value_not_true_only",
        "DATE" | "AGE" => "value_not_valid_date",
        "DATETIME" => "value_not_valid_datetime",
        "COORDINATE" => "value_not_coordinate",
        "URL" => "value_not_url",
        _ => "value_not_valid",
    })
}

fn is_time(value: &str) -> bool {
    let number = |text: &str| text.parse::<u8>().ok().filter(|_| text.len() == 2);
    let parts = value
        .split_once(':')
        .and_then(|(hour, minute)| number(hour).zip(number(minute)));
    parts.is_some_and(|(hour, minute)| hour < 24 && minute < 60)
}

fn is_coordinate(value: &str) -> bool {
    let inner = value
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let pair = inner.and_then(|inner| inner.split_once(','));
    let number = |text: &str, most: f64| {
        text.trim()
            .parse::<f64>()
            .is_ok_and(|number| number.abs() <= most)
    };
    pair.is_some_and(|(lon, lat)| number(lon, 180.0) && number(lat, 90.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fit_their_types_or_are_told_why_not() {
        for (of, good, bad) in [
            ("NUMBER", "-1.5", "1e5"),
            ("NUMBER", "10", "NaN"),
            ("INTEGER", "-7", "7.0"),
            ("INTEGER", "0", "+7"),
            ("INTEGER_POSITIVE", "1", "0"),
            ("INTEGER_NEGATIVE", "-1", "1"),
            ("INTEGER_ZERO_OR_POSITIVE", "0", "-1"),
            ("PERCENTAGE", "100", "101"),
            ("UNIT_INTERVAL", "0.5", "2"),
            ("BOOLEAN", "false", "0"),
            ("TRUE_ONLY", "true", "false"),
            ("DATE", "2026-02-28", "2026-02-30"),
            ("DATETIME", "2026-02-28T10:00", "soon"),
            ("TIME", "23:59", "24:00"),
            ("COORDINATE", "[-11.78,8.25]", "[200,1]"),
            ("EMAIL", "a@b.org", "a@b"),
            ("URL", "https://a", "a"),
            ("LETTER", "é", "ab"),
        ] {
            assert_eq!(misfit(of, good), None, "{of} {good}");
            assert!(
                misfit(of, bad).is_some_and(|word| word.starts_with("value_not_")),
                "{of} {bad}"
            );
        }
        assert_eq!(misfit("TEXT", "anything"), None);
    }
}
